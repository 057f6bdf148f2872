//! Reads the text of a program back: names become tensors, axes and expressions.
//!
//! Axes with the same label and extent in different pieces become one axis. A parsed program is well formed as a data
//! structure; whether it means something is for the [`verifier`](super::verifier) to say.

use crate::base::hash::HashMap;

use super::expr::{Binary, Expr, ExprId, Unary};
use super::index::{Atom, Axis, Index};
use super::printer::unary_name;
use super::program::{Equation, Piece, Program, Tensor};
use super::text::{self, ParseError, labels::name_of, tree};

/// Numbers in a text are no larger, so that arithmetic on indices cannot overflow.
const LARGEST_INTEGER: i64 = 1 << 31;

/// Reads a program.
///
/// # Errors
///
/// Where the text does not follow the grammar, or uses a name that it does not declare.
pub fn parse(text: &str) -> Result<Program, ParseError> {
    program(text, &text::program(text)?)
}

/// The program of a tree, which may be part of a larger text.
///
/// # Errors
///
/// Where it uses a name that it does not declare.
pub fn program(text: &str, tree: &tree::Program) -> Result<Program, ParseError> {
    let mut resolver = Resolver::new(text);
    resolver.signature(&tree.inputs, &tree.outputs)?;
    for item in &tree.items {
        match item {
            tree::Item::Declare(tensor) => {
                resolver.declare(tensor)?;
            }
            tree::Item::Piece(piece) => resolver.equation(piece)?,
        }
    }
    Ok(resolver.program)
}

/// A program in the making and the names that it knows.
pub struct Resolver<'a> {
    pub program: Program,
    text: &'a str,
    tensors: HashMap<String, Tensor>,
    axes: HashMap<(String, i64), Axis>,
    /// The axes in scope, innermost last.
    scope: Vec<(String, Axis)>,
    locals: HashMap<u32, ExprId>,
}

/// What goes wrong inside a line, which is named by the caller.
type Resolved<T> = Result<T, String>;

impl<'a> Resolver<'a> {
    /// Knows nothing yet.
    pub fn new(text: &'a str) -> Resolver<'a> {
        let (tensors, axes, locals) = (HashMap::default(), HashMap::default(), HashMap::default());
        Resolver { program: Program::default(), text, tensors, axes, scope: Vec::new(), locals }
    }

    /// Declares inputs and outputs.
    ///
    /// # Errors
    ///
    /// Where a tensor is declared twice; an output may be an input of the same type.
    pub fn signature(&mut self, inputs: &[tree::Tensor], outputs: &[tree::Tensor]) -> Result<(), ParseError> {
        for input in inputs {
            let tensor = self.declare(input)?;
            self.program.inputs.push(tensor);
        }
        for output in outputs {
            let tensor = match self.tensors.get(&output.name) {
                Some(tensor) => self.same_type(output, *tensor)?,
                None => self.declare(output)?,
            };
            self.program.outputs.push(tensor);
        }
        Ok(())
    }

    fn same_type(&self, declared: &tree::Tensor, tensor: Tensor) -> Result<Tensor, ParseError> {
        let data = &self.program.tensors[tensor];
        if data.dtype == declared.dtype && data.shape == declared.shape {
            return Ok(tensor);
        }
        Err(self.error(declared.offset, format!("`{}` is declared with another type", declared.name)))
    }

    /// A new tensor.
    ///
    /// # Errors
    ///
    /// Where there is one of that name.
    pub fn declare(&mut self, tensor: &tree::Tensor) -> Result<Tensor, ParseError> {
        if self.tensors.contains_key(&tensor.name) {
            return Err(self.error(tensor.offset, format!("`{}` is declared twice", tensor.name)));
        }
        if tensor.shape.iter().any(|extent| *extent > LARGEST_INTEGER) {
            return Err(self.error(tensor.offset, format!("`{}` is too large", tensor.name)));
        }
        let new = self.program.tensor(name_of(&tensor.name), tensor.dtype, tensor.shape.clone());
        self.tensors.insert(tensor.name.clone(), new);
        Ok(new)
    }

    /// An error at a byte of the text.
    pub fn error(&self, offset: usize, message: impl Into<String>) -> ParseError {
        ParseError::at(self.text, offset, message)
    }

    /// The tensor of a label.
    ///
    /// # Errors
    ///
    /// Where there is none.
    pub fn tensor(&self, label: &str) -> Resolved<Tensor> {
        self.tensors.get(label).copied().ok_or_else(|| format!("no tensor is called `{label}`"))
    }

    fn equation(&mut self, tree: &tree::Piece) -> Result<(), ParseError> {
        let (result, piece) = self.piece(tree).map_err(|message| self.error(tree.offset, message))?;
        match self.program.equations.last_mut() {
            Some(last) if last.result == result => last.pieces.push(piece),
            _ => self.program.equations.push(Equation { result, pieces: vec![piece] }),
        }
        Ok(())
    }

    fn piece(&mut self, tree: &tree::Piece) -> Resolved<(Tensor, Piece)> {
        self.scope.clear();
        self.locals.clear();
        let result = self.tensor(&tree.result)?;
        let axes = match &tree.axes {
            Some(axes) => self.bind(axes)?,
            None => self.bind(&identity_binders(&tree.at)?)?,
        };
        let at = tree.at.iter().map(|at| self.index(&at.index)).collect::<Resolved<_>>()?;
        let body = self.term(&tree.body)?;
        Ok((result, Piece { axes, at, body }))
    }

    /// The result, the element and the body of a statement under axes that are bound already.
    ///
    /// # Errors
    ///
    /// Where it uses a name that is not declared.
    pub fn statement(&mut self, tree: &tree::Piece) -> Result<(Tensor, Vec<Index>, ExprId), ParseError> {
        self.locals.clear();
        let result = self.tensor(&tree.result).and_then(|result| {
            let at = tree.at.iter().map(|at| self.index(&at.index)).collect::<Resolved<_>>()?;
            Ok((result, at, self.term(&tree.body)?))
        });
        result.map_err(|message| self.error(tree.offset, message))
    }

    /// Starts a nest: forgets all axes in scope.
    pub fn leave(&mut self) {
        self.scope.clear();
    }

    /// Brings axes into scope.
    ///
    /// # Errors
    ///
    /// Where an extent is too large.
    pub fn bind(&mut self, binders: &[tree::Binder]) -> Resolved<Vec<Axis>> {
        let axes = self.axes(binders)?;
        self.scope.extend(binders.iter().map(|binder| binder.name.clone()).zip(axes.iter().copied()));
        Ok(axes)
    }

    /// The axes that binders stand for.
    ///
    /// # Errors
    ///
    /// Where an extent is too large.
    pub fn axes(&mut self, binders: &[tree::Binder]) -> Resolved<Vec<Axis>> {
        let mut axes = Vec::new();
        for binder in binders {
            if binder.extent > LARGEST_INTEGER {
                return Err(format!("the extent of `{}` is too large", binder.name));
            }
            let (program, key) = (&mut self.program, (binder.name.clone(), binder.extent));
            let new = || program.axis(name_of(&binder.name), binder.extent);
            axes.push(*self.axes.entry(key).or_insert_with(new));
        }
        Ok(axes)
    }

    fn index(&self, tree: &tree::Index) -> Resolved<Index> {
        let small = |k: i64| match k.abs() > LARGEST_INTEGER {
            true => Err(format!("{k} is too large")),
            false => Ok(k),
        };
        let divisor = |k: i64| if k > 0 { small(k) } else { Err(format!("division by {k}")) };
        let boxed = |tree: &tree::Index| Ok::<_, String>(Box::new(self.index(tree)?));
        let atom = |atom: Atom| Index::from_terms(vec![(atom, 1)], 0);
        Ok(match tree {
            tree::Index::Integer(value) => Index::from(small(*value)?),
            tree::Index::Axis(name) => Index::from(self.axis(name)?),
            tree::Index::Add(x, k, y) => self.added(&self.index(x)?, *k, &self.index(y)?)?,
            tree::Index::Scale(k, x) => self.added(&Index::from(0), small(*k)?, &self.index(x)?)?,
            tree::Index::Div(x, k) => atom(Atom::Div(boxed(x)?, divisor(*k)?)),
            tree::Index::Rem(x, k) => atom(Atom::Rem(boxed(x)?, divisor(*k)?)),
            tree::Index::Min(x, y) => atom(Atom::Min(boxed(x)?, boxed(y)?)),
            tree::Index::Max(x, y) => atom(Atom::Max(boxed(x)?, boxed(y)?)),
        })
    }

    /// `x + k * y` as written: nothing is simplified, so that the text of an index is read back as the same index.
    fn added(&self, x: &Index, k: i64, y: &Index) -> Resolved<Index> {
        let large = || "an index is too large".to_string();
        let scaled = |value: i64| {
            let scaled = value.checked_mul(k).filter(|value| value.abs() <= LARGEST_INTEGER);
            scaled.ok_or_else(large)
        };
        let mut terms = x.terms().to_vec();
        for (atom, coefficient) in y.terms() {
            terms.push((atom.clone(), scaled(*coefficient)?));
        }
        let constant = x.constant().checked_add(scaled(y.constant())?).ok_or_else(large)?;
        Ok(Index::from_terms(terms, constant))
    }

    fn axis(&self, name: &str) -> Resolved<Axis> {
        let found = self.scope.iter().rev().find(|(other, _)| other == name);
        found.map(|(_, axis)| *axis).ok_or_else(|| format!("no axis `{name}` is in scope"))
    }

    fn term(&mut self, tree: &tree::Term) -> Resolved<ExprId> {
        let expr = match tree {
            tree::Term::Number(value) => Expr::Const((*value).into()),
            tree::Term::Group(inner) => return self.term(inner),
            tree::Term::Negative(x) => Expr::Unary(Unary::Neg, self.term(x)?),
            tree::Term::Not(x) => Expr::Unary(Unary::Not, self.term(x)?),
            tree::Term::Binary(op, x, y) => Expr::Binary(*op, self.term(x)?, self.term(y)?),
            tree::Term::Select(c, x, y) => Expr::Select(self.term(c)?, self.term(x)?, self.term(y)?),
            tree::Term::Read { tensor, index, fill } => {
                let index = index.iter().map(|index| self.index(index)).collect::<Resolved<_>>()?;
                Expr::Read { tensor: self.tensor(tensor)?, index, fill: fill.map(Into::into) }
            }
            tree::Term::Call { function, arguments } => self.call(function, arguments)?,
            tree::Term::Local(number) => {
                return self.locals.get(number).copied().ok_or_else(|| format!("${number} is not defined"));
            }
            tree::Term::Int(index) => Expr::Number(self.index(index)?),
            tree::Term::Uniform { stream, element } => {
                let stream = u32::try_from(*stream).map_err(|_| format!("{stream} is no stream"))?;
                Expr::Uniform { stream, element: self.index(element)? }
            }
            tree::Term::Reduce { op, axes, body } => {
                let before = self.scope.len();
                let axes = self.bind(axes)?;
                let body = self.term(body)?;
                self.scope.truncate(before);
                Expr::Reduce { op: *op, axes, body }
            }
            tree::Term::Block { lets, body } => {
                for (number, value) in lets {
                    let value = self.term(value)?;
                    self.locals.insert(*number, value);
                }
                return self.term(body);
            }
        };
        Ok(self.program.exprs.add(expr))
    }

    fn call(&mut self, function: &str, arguments: &[tree::Term]) -> Resolved<Expr> {
        let arguments: Vec<ExprId> =
            arguments.iter().map(|argument| self.term(argument)).collect::<Resolved<_>>()?;
        match (function, arguments.as_slice()) {
            ("pow", [x, y]) => Ok(Expr::Binary(Binary::Pow, *x, *y)),
            ("detach", [x]) => Ok(Expr::Detach(*x)),
            (_, [x]) => {
                let op = Unary::FUNCTIONS.into_iter().find(|op| unary_name(*op) == function);
                op.map(|op| Expr::Unary(op, *x))
                    .ok_or_else(|| format!("no function `{function}` of one number"))
            }
            _ => Err(format!("no function `{function}` of {} numbers", arguments.len())),
        }
    }
}

/// The axes of a left side such as `y[n < 2, c < 3]`.
fn identity_binders(at: &[tree::At]) -> Resolved<Vec<tree::Binder>> {
    let binder = |at: &tree::At| match (&at.index, at.extent) {
        (tree::Index::Axis(name), Some(extent)) => Ok(tree::Binder { name: name.clone(), extent }),
        _ => Err("an index on the left side binds no axis; write `for` behind it".to_string()),
    };
    at.iter().map(binder).collect()
}
