//! What is wrong with a block, model or op whoever calls it: found without a call, in items that nothing calls and in
//! branches that no call takes.
//!
//! Shapes and options are unknown here. An error is what every call that comes by would meet: names that nothing has,
//! calls that do not match, what does not stand in its place, constants that do not fit. Texts and places are those of
//! elaboration, from the same functions.

mod blocks;
mod calls;
mod equations;

use std::collections::{HashMap, HashSet};

use super::evaluate::{at, unknown_name};
use super::module::Module;
use super::value::Value;
use super::{interpolate, types};
use crate::base::diagnostic::Diagnostic;
use crate::base::span::Span;
use crate::elab::no_names::NoNames;
use crate::syntax::ast::{
    Block, Else, Expr, ExprKind, FnItem, FnKind, IfExpr, Item, Name, Param, Stmt, StmtKind, Text, TypeExpr,
    TypeKind,
};
use crate::te::DType;

/// More errors are not looked for.
const MOST_ERRORS: usize = 100;

/// What is known of a value without a call.
#[derive(Clone, Debug)]
enum Known {
    /// The same in every call.
    Value(Value),
    /// A tensor of the equations, with so many axes.
    Tensor(usize),
    /// What differs from element to element.
    Element,
    /// What `param` declares.
    Param,
    Results(usize),
    Unknown,
}

/// Where an expression stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// A block, or a type of one.
    Block,
    /// What an op knows at compile time: bounds, `let`, `assert`, types.
    Constant,
}

impl Module {
    /// The errors of the user's blocks, models and ops that no call is needed for.
    pub fn audit(&self) -> Vec<Diagnostic> {
        let mut audit = Audit::new(self);
        for item in self.own_items() {
            if audit.found.len() >= MOST_ERRORS {
                break;
            }
            audit.scopes = vec![HashMap::new()];
            audit.axes.clear();
            match item {
                Item::Fn(item) => audit.function(item),
                Item::Op(item) => audit.op(item),
                Item::Use(_) | Item::Data(_) | Item::Train(_) => {}
            }
        }
        audit.found
    }
}

struct Audit<'m> {
    module: &'m Module,
    found: Vec<Diagnostic>,
    /// The names in scope, the innermost scope last.
    scopes: Vec<HashMap<String, Known>>,
    /// The axes in scope.
    axes: Vec<String>,
    /// Variables that are given another value somewhere.
    assigned: HashSet<String>,
    /// Whether the present place is behind a condition that is known to be false.
    dead: bool,
}

impl<'m> Audit<'m> {
    fn new(module: &'m Module) -> Audit<'m> {
        Audit {
            module,
            found: Vec::new(),
            scopes: Vec::new(),
            axes: Vec::new(),
            assigned: HashSet::new(),
            dead: false,
        }
    }

    fn report(&mut self, error: Diagnostic) {
        if self.found.len() < MOST_ERRORS && !self.found.contains(&error) {
            self.found.push(error);
        }
    }

    /// The value of a computation with constants; its error counts where the place is reached.
    fn computed(&mut self, result: Result<Value, Diagnostic>) -> Known {
        match result {
            Ok(value) => Known::Value(value),
            Err(error) => {
                if !self.dead {
                    self.report(error);
                }
                Known::Unknown
            }
        }
    }

    fn bind(&mut self, name: &str, known: Known) {
        let known = if self.assigned.contains(name) { Known::Unknown } else { known };
        if let Some(scope) = self.scopes.last_mut() {
            scope.insert(name.to_owned(), known);
        }
    }

    fn lookup(&self, name: &str) -> Option<&Known> {
        self.scopes.iter().rev().find_map(|scope| scope.get(name))
    }

    fn unknown_name(&mut self, name: &str, span: Span) {
        let mut known: Vec<&str> =
            self.scopes.iter().flat_map(|scope| scope.keys().map(String::as_str)).collect();
        known.extend(self.axes.iter().map(String::as_str));
        known.sort_unstable();
        let error = unknown_name(name, span, known);
        self.report(error);
    }

    fn function(&mut self, item: &FnItem) {
        self.assigned = HashSet::new();
        assigned_in(&item.body, &mut self.assigned);
        if item.kind == FnKind::Model {
            self.input(item);
        }
        self.parameters(&item.name, &item.params, Place::Block);
        self.block(&item.body, Place::Block);
        if let Some(ty) = &item.result {
            self.type_names(ty, Place::Block);
        }
    }

    /// The input of a model.
    fn input(&mut self, item: &FnItem) {
        let Some(param) = item.params.first() else {
            return self.report(at(format!("the model `{}` has no input", item.name.text), item.name.span));
        };
        if !matches!(param.ty.kind, TypeKind::Tensor { dtype: DType::F32, dims: Some(_) }) {
            let error = at(format!("the input `{}` is a tensor of f32", param.name.text), param.ty.span);
            self.report(error.help("such as `x: f32[N, 1, 28, 28]`"));
        }
    }

    /// Brings parameters and the names of their shapes into scope, and looks at their types and defaults.
    fn parameters(&mut self, callee: &Name, params: &[Param], place: Place) {
        let mut seen: HashMap<&str, Span> = HashMap::new();
        for param in params {
            if let Some(first) = seen.insert(&param.name.text, param.name.span) {
                let error = at(format!("`{}` is defined twice", param.name.text), param.name.span);
                self.report(error.secondary(first, "first here"));
            }
            if !types::has_axes(&param.ty) {
                self.bind(&param.name.text, Known::Unknown);
            }
        }
        for param in params {
            self.type_names(&param.ty, place);
            if let TypeKind::Tensor { dims: Some(dims), .. } = &param.ty.kind {
                let axes = if place == Place::Constant { Known::Tensor(dims.len()) } else { Known::Unknown };
                self.bind(&param.name.text, axes);
            }
        }
        for param in params {
            let Some(default) = &param.default else { continue };
            if let Known::Value(value) = self.expr(default, place) {
                let accepted =
                    types::accept(&mut NoNames::default(), &callee.text, param, value, default.span);
                self.computed(accepted);
            }
        }
    }

    /// The names of a shape: a name that is new is bound.
    fn type_names(&mut self, ty: &TypeExpr, place: Place) {
        match &ty.kind {
            TypeKind::Named(name) => {
                if !types::is_named(name) {
                    self.report(types::unknown_type(name, ty.span));
                }
            }
            TypeKind::Tensor { dims, .. } => {
                for dim in dims.iter().flatten() {
                    match &dim.kind {
                        ExprKind::Name(name) if self.lookup(name).is_none() => {
                            self.bind(name, Known::Unknown)
                        }
                        _ => self.extent(dim, place),
                    }
                }
            }
        }
    }

    /// An expression that is an integer.
    fn extent(&mut self, expr: &Expr, place: Place) {
        match self.expr(expr, place) {
            Known::Value(Value::Int(_)) | Known::Unknown => {}
            Known::Value(value) => {
                let error = at(format!("an extent is an integer, not {}", value.kind()), expr.span);
                self.computed(Err(error));
            }
            Known::Tensor(_) | Known::Element | Known::Param | Known::Results(_) => {}
        }
    }

    /// The values in the braces of a text.
    fn text(&mut self, text: &Text, place: Place) {
        let parts: Vec<&str> = interpolate::split(&text.value)
            .into_iter()
            .filter_map(|part| match part {
                interpolate::Part::Expr(source) => Some(source),
                interpolate::Part::Text(_) => None,
            })
            .collect();
        for source in parts {
            match interpolate::parse(source, text.span) {
                Ok(expr) => {
                    let before = self.found.len();
                    self.expr(&expr, place);
                    // The spans of the expression are not those of the file.
                    for error in self.found.split_off(before) {
                        self.report(at(error.message, text.span));
                    }
                }
                Err(error) => self.report(error),
            }
        }
    }
}

/// The variables that a block gives other values.
fn assigned_in(block: &Block, names: &mut HashSet<String>) {
    block.stmts.iter().for_each(|stmt| assigned_by(stmt, names));
    if let Some(Expr { kind: ExprKind::If(choice), .. }) = block.tail.as_deref() {
        assigned_by_if(choice, names);
    }
}

fn assigned_by(stmt: &Stmt, names: &mut HashSet<String>) {
    match &stmt.kind {
        StmtKind::Assign { name, .. } => drop(names.insert(name.text.clone())),
        StmtKind::For { body, .. } => body.iter().for_each(|stmt| assigned_by(stmt, names)),
        StmtKind::If(choice) => assigned_by_if(choice, names),
        StmtKind::Let { value: Expr { kind: ExprKind::If(choice), .. }, .. } => assigned_by_if(choice, names),
        StmtKind::Let { .. } | StmtKind::Declare { .. } | StmtKind::Update { .. } | StmtKind::Assert(_) => {}
    }
}

fn assigned_by_if(choice: &IfExpr, names: &mut HashSet<String>) {
    assigned_in(&choice.then, names);
    match &choice.otherwise {
        Some(Else::Block(block)) => assigned_in(block, names),
        Some(Else::If(next)) => assigned_by_if(next, names),
        None => {}
    }
}
