//! Derived gradients: the adjoint of a program of equations is a program of equations.
//!
//! For an equation `y[i] = reduce[k] body` and an input `x` that `body` reads at `f(i, k)`, the contribution to the
//! gradient of `x` is
//!
//! ```text
//! dx[p] = sum[i, k with f(i, k) = p] dy[i] * (derivative of body by the read)(i, k)
//! ```
//!
//! It is in *gather* form: indexed by the element of `x`, a sum over the points that reach it, which
//! [`solve`](super::solve) enumerates. Nothing is scattered, so it runs in parallel and in a fixed order everywhere.
//! A `max` passes its gradient to the saved position of its first winner; a product multiplies by the product of the
//! others, never a quotient.
//!
//! Where the body is a choice, the sum takes the points whose branch is taken, and nothing of the other branch meets the
//! gradient ([`guard`](super::guard)). That holds across the equations of a program: of an intermediate result that is
//! read in branches only (`if c { sum[k] exp(x[k]) } else { 0 }`), a further equation, its *mask*, says which elements a
//! taken branch has read, and only these pass their gradient on.

use crate::base::hash::HashMap;
use std::collections::BTreeSet;

use super::derivative::{derivatives, is_polynomial};
use super::expr::{Binary, Expr, ExprId, Reduction};
use super::guard::{Branch, Guard, Slope};
use super::index::{Axis, Index};
use super::program::{DType, Equation, Piece, Program, Tensor};
use super::solve::{Inverse, invert};

/// What an input of an adjoint program is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A tensor of the forward program: an input, a result, or an intermediate that has to be kept.
    Forward(Tensor),
    /// The gradient of an output of the forward program.
    Gradient(Tensor),
}

/// The gradient of one input.
#[derive(Clone, Debug)]
pub struct Adjoint {
    /// One output: the gradient, of the input's shape.
    pub program: Program,
    /// What the inputs of `program` are, in order.
    pub sources: Vec<Source>,
}

/// Adds to every `max` and `min` of a program in normal form an equation for the position of its winner, named
/// `<result>.winner`, that the adjoint reads.
pub fn with_winners(program: &mut Program) -> HashMap<Tensor, Tensor> {
    let mut winners = HashMap::default();
    for equation in std::mem::take(&mut program.equations) {
        if let Some(winner) = winner_of(program, &equation) {
            winners.insert(equation.result, winner.result);
            program.equations.push(equation);
            program.equations.push(winner);
        } else {
            program.equations.push(equation);
        }
    }
    winners
}

/// A position that no reduction has whose winners are bytes.
const NO_BYTE: i64 = 255;

/// Positions in windows are small: bytes hold them, a quarter of the memory that a step writes and reads again.
fn winner_of(program: &mut Program, equation: &Equation) -> Option<Equation> {
    let mut pieces = Vec::new();
    let mut positions = 0;
    for piece in &equation.pieces {
        let Expr::Reduce { op, axes, body } = program.exprs[piece.body].clone() else { return None };
        let op = match op {
            Reduction::Max => Reduction::ArgMax,
            Reduction::Min => Reduction::ArgMin,
            Reduction::Sum | Reduction::Prod | Reduction::ArgMax | Reduction::ArgMin => return None,
        };
        positions = positions.max(axes.iter().map(|axis| program.axes[*axis].extent).product());
        let body = program.exprs.reduce(op, axes, body);
        pieces.push(Piece { body, ..piece.clone() });
    }
    let data = program.tensors[equation.result].clone();
    let dtype =
        if planted!("te.adjoint.winner_bytes") || positions <= NO_BYTE { DType::U8 } else { DType::I32 };
    let result = program.tensor(format!("{}.winner", data.name), dtype, data.shape);
    Some(Equation { result, pieces })
}

/// The gradient of `input`, given those of some outputs, of a program in normal form with winners. None where no
/// given output depends on the input by a differentiable way.
pub fn adjoint(
    forward: &Program,
    winners: &HashMap<Tensor, Tensor>,
    given: &[Tensor],
    input: Tensor,
) -> Option<Adjoint> {
    let mut derivation = Derivation::new(forward, winners, input);
    derivation.accept_gradients(given);
    for equation in forward.equations.iter().rev() {
        derivation.equation(equation);
    }
    derivation.finish(input)
}

struct Derivation<'a> {
    winners: &'a HashMap<Tensor, Tensor>,
    /// Starts as the forward program without its equations, so tensors keep their ids.
    program: Program,
    /// That of which the gradient is wanted.
    input: Tensor,
    /// The tensors through which the input acts.
    active: BTreeSet<Tensor>,
    /// The contributions to the gradient of each tensor so far.
    contributions: HashMap<Tensor, Vec<Contribution>>,
    gradients: HashMap<Tensor, Tensor>,
}

/// What one read adds to the gradient of a tensor.
#[derive(Clone, Copy)]
struct Contribution {
    gradient: Tensor,
    /// Where the read counts: 1 for an element that a taken branch reads. None where that is everywhere, and for the
    /// input, of which nothing asks.
    mask: Option<Tensor>,
    /// Whether the read stands in a branch that may not be taken.
    is_guarded: bool,
}

/// The whole gradient of a tensor.
#[derive(Clone, Copy)]
struct Total {
    gradient: Tensor,
    /// The elements that count, where they may be fewer than all.
    mask: Option<Tensor>,
}

/// One read of an equation's piece, about to be turned around.
struct Use<'a> {
    equation: &'a Equation,
    piece: &'a Piece,
    /// The reduction at the root of the body, if any.
    reduction: Option<(Reduction, Vec<Axis>)>,
    /// The gradient of the equation's result.
    total: Total,
    /// The tensor that is read, and where.
    tensor: Tensor,
    index: Vec<Index>,
    /// The derivative of the body (inside the reduction) by the read, and where it counts.
    slope: ExprId,
    guard: Guard,
}

impl Use<'_> {
    /// Whether the read counts at some points of its tensor only for what a choice says.
    fn is_guarded(&self) -> bool {
        let chooses = matches!(self.reduction, Some((Reduction::Max | Reduction::Min, _)));
        chooses || self.total.mask.is_some() || !self.guard.is_empty()
    }
}

impl<'a> Derivation<'a> {
    fn new(forward: &Program, winners: &'a HashMap<Tensor, Tensor>, input: Tensor) -> Derivation<'a> {
        let mut program = forward.clone();
        let equations = std::mem::take(&mut program.equations);
        program.outputs.clear();
        let mut active = BTreeSet::from([input]);
        for equation in &equations {
            let reads =
                |piece: &Piece| program.reads(piece.body).iter().any(|tensor| active.contains(tensor));
            if program.tensors[equation.result].dtype == DType::F32 && equation.pieces.iter().any(reads) {
                active.insert(equation.result);
            }
        }
        let (contributions, gradients) = (HashMap::default(), HashMap::default());
        Derivation { winners, program, input, active, contributions, gradients }
    }

    fn accept_gradients(&mut self, given: &[Tensor]) {
        for output in given {
            let gradient = self.gradient_tensor(*output);
            self.gradients.insert(*output, gradient);
            let given = Contribution { gradient, mask: None, is_guarded: false };
            self.contributions.entry(*output).or_default().push(given);
        }
    }

    fn gradient_tensor(&mut self, of: Tensor) -> Tensor {
        let data = self.program.tensors[of].clone();
        self.program.tensor(format!("d_{}", data.name), data.dtype, data.shape)
    }

    fn equation(&mut self, equation: &Equation) {
        if !self.active.contains(&equation.result) {
            return;
        }
        let Some(total) = self.total(equation.result) else { return };
        for piece in &equation.pieces {
            self.piece(equation, piece, total);
        }
    }

    /// The sum of the contributions to the gradient of a tensor, and its mask where all of them have one.
    fn total(&mut self, tensor: Tensor) -> Option<Total> {
        let parts = self.contributions.remove(&tensor)?;
        let name = self.program.tensors[tensor].name.clone();
        let gradients: Vec<Tensor> = parts.iter().map(|part| part.gradient).collect();
        let gradient = self.joined(format!("d_{name}"), tensor, &gradients, Binary::Add)?;
        let is_guarded = parts.iter().any(|part| part.is_guarded);
        let masks: Option<Vec<Tensor>> = parts.iter().map(|part| part.mask).collect();
        let either = if planted!("te.adjoint.read_once") { Binary::Min } else { Binary::Max };
        let mask = masks
            .filter(|_| is_guarded)
            .and_then(|masks| self.joined(format!("{name}.read"), tensor, &masks, either));
        Some(Total { gradient, mask })
    }

    /// Tensors of the shape of `of`, made one element by element, called by a name.
    fn joined(&mut self, name: String, of: Tensor, parts: &[Tensor], op: Binary) -> Option<Tensor> {
        if let [only] = parts {
            return Some(*only);
        }
        let (dtype, shape) = (self.program.tensors[of].dtype, self.program.tensors[of].shape.clone());
        let total = self.program.tensor(name, dtype, shape.clone());
        let axes: Vec<Axis> = shape.iter().map(|extent| self.program.axis("i", *extent)).collect();
        let index: Vec<Index> = axes.iter().map(|axis| Index::from(*axis)).collect();
        let reads = parts.iter().map(|part| self.program.exprs.read(*part, index.clone()));
        let reads: Vec<ExprId> = reads.collect();
        let body = reads.into_iter().reduce(|x, y| self.program.exprs.binary(op, x, y))?;
        self.program.define(total, axes, body);
        Some(total)
    }

    fn piece(&mut self, equation: &Equation, piece: &Piece, total: Total) {
        let (reduction, body) = match self.program.exprs[piece.body].clone() {
            Expr::Reduce { op, axes, body } => (Some((op, axes)), body),
            _ => (None, piece.body),
        };
        if matches!(reduction, Some((Reduction::ArgMax | Reduction::ArgMin, _))) {
            return;
        }
        let slopes = derivatives(&mut self.program, body);
        let mut reads: Vec<(ExprId, Slope)> = slopes.into_iter().collect();
        reads.sort_by_key(|(read, _)| *read);
        for (read, Slope { guard, value: slope }) in reads {
            let Expr::Read { tensor, index, .. } = self.program.exprs[read].clone() else { continue };
            if !self.active.contains(&tensor) {
                continue;
            }
            let slope = if reduction.is_none() { self.reuse_result(equation, piece, slope) } else { slope };
            let reduction = reduction.clone();
            let mut used = Use { equation, piece, reduction, total, tensor, index, slope, guard };
            if matches!(used.reduction, Some((Reduction::Prod, _))) {
                used.slope = self.times_the_others(&used, body);
            }
            self.contribute(&used);
        }
    }

    /// Reads the saved result where a derivative would compute it again (`sigmoid`, `exp`).
    fn reuse_result(&mut self, equation: &Equation, piece: &Piece, slope: ExprId) -> ExprId {
        let saved = self.program.exprs.read(equation.result, piece.at.clone());
        if matches!(self.program.exprs[piece.body], Expr::Read { .. } | Expr::Const(_)) {
            return slope;
        }
        let body = self.program.exprs[piece.body].clone();
        self.program.rewrite(slope, &mut |program, expr| {
            if expr == body { saved } else { program.exprs.add(expr) }
        })
    }

    /// For a product over axes: the derivative of one factor times the product of all others.
    fn times_the_others(&mut self, used: &Use<'_>, body: ExprId) -> ExprId {
        let Some((_, axes)) = &used.reduction else { return used.slope };
        let program = &mut self.program;
        let others: Vec<Axis> = axes.iter().map(|axis| program.copy_axis(*axis)).collect();
        let renamed = axes.iter().zip(&others).map(|(old, new)| (*old, Index::from(*new))).collect();
        let factor = program.substitute(body, &renamed);
        let mut same = program.exprs.constant(1.0);
        for (one, other) in axes.iter().zip(&others) {
            let (x, y) = (Expr::Number(Index::from(*one)), Expr::Number(Index::from(*other)));
            let (x, y) = (program.exprs.add(x), program.exprs.add(y));
            let equal = program.exprs.binary(Binary::Eq, x, y);
            same = program.both(same, equal);
        }
        let one = program.exprs.constant(1.0);
        let guarded = program.exprs.select(same, one, factor);
        let product = program.exprs.reduce(Reduction::Prod, others, guarded);
        program.exprs.product(used.slope, product)
    }

    fn contribute(&mut self, used: &Use<'_>) {
        let shape = self.program.tensors[used.tensor].shape.clone();
        let inner = used.reduction.as_ref().map_or(&[][..], |(_, axes)| axes);
        let inverses = invert(&mut self.program, &used.index, &shape, &used.piece.axes, inner);
        let gradient = self.gradient_tensor(used.tensor);
        let pieces = inverses.iter().map(|inverse| self.gathered(used, inverse)).collect();
        self.program.equations.push(Equation { result: gradient, pieces });
        let is_intermediate = used.tensor != self.input;
        let mask = if is_intermediate { self.mask(used, &inverses) } else { None };
        let is_guarded = used.is_guarded();
        let contribution = Contribution { gradient, mask, is_guarded };
        self.contributions.entry(used.tensor).or_default().push(contribution);
    }

    /// The piece of the contribution that one inverse describes.
    fn gathered(&mut self, used: &Use<'_>, inverse: &Inverse) -> Piece {
        let body = if inverse.unreached {
            self.program.exprs.constant(0.0)
        } else {
            let term = self.term(used, inverse);
            self.program.sum_over(&inverse.remaining, term)
        };
        Piece { axes: inverse.axes.clone(), at: inverse.at.clone(), body }
    }

    /// Defines where a read counts, if not everywhere. Nothing computes it unless a total asks.
    fn mask(&mut self, used: &Use<'_>, inverses: &[Inverse]) -> Option<Tensor> {
        let pieces: Vec<Piece> = inverses.iter().map(|inverse| self.gathered_mask(used, inverse)).collect();
        let one = self.program.exprs.constant(1.0);
        if pieces.iter().all(|piece| piece.body == one) {
            return None;
        }
        let name = format!("{}.read", self.program.tensors[used.tensor].name);
        let shape = self.program.tensors[used.tensor].shape.clone();
        let result = self.program.tensor(name, DType::F32, shape);
        self.program.equations.push(Equation { result, pieces });
        Some(result)
    }

    fn gathered_mask(&mut self, used: &Use<'_>, inverse: &Inverse) -> Piece {
        let zero = self.program.exprs.constant(0.0);
        let mut body = zero;
        if !inverse.unreached {
            let one = self.program.exprs.constant(1.0);
            let exists = self.existence(used, inverse, false);
            let counts = self.counts(used, inverse, true);
            let guard = self.guard(used, inverse);
            body = self.program.guarded(&guard, one);
            body = self.program.exprs.choice(counts, body, zero);
            body = self.program.exprs.choice(exists, body, zero);
            let varies =
                !self.program.free_axes(body).is_disjoint(&inverse.remaining.iter().copied().collect());
            if varies {
                body = self.program.exprs.reduce(Reduction::Max, inverse.remaining.clone(), body);
            }
        }
        Piece { axes: inverse.axes.clone(), at: inverse.at.clone(), body }
    }

    fn term(&mut self, used: &Use<'_>, inverse: &Inverse) -> ExprId {
        let gradient_at = self.result_at(used, inverse);
        let program = &mut self.program;
        let slope = program.substitute(used.slope, &inverse.solved);
        let slope = fill_outside(program, slope);
        let read = filled_read(program, used.total.gradient, gradient_at, 0.0);
        let tame = planted!("te.adjoint.tame") || (used.guard.is_empty() && is_polynomial(program, slope));
        let exists = self.existence(used, inverse, tame);
        // A mask goes with a gradient of 0, to which a number does nothing.
        let is_number = self.program.exprs.as_constant(slope).is_some_and(f64::is_finite);
        let counts = self.counts(used, inverse, !is_number);
        let guard = self.guard(used, inverse);
        let condition = self.program.both(exists, counts);
        let product = self.program.exprs.product(read, slope);
        let product = self.program.guarded(&guard, product);
        let zero = self.program.exprs.constant(0.0);
        self.program.exprs.choice(condition, product, zero)
    }

    /// The element of the result that a point computes.
    fn result_at(&self, used: &Use<'_>, inverse: &Inverse) -> Vec<Index> {
        used.piece.at.iter().map(|at| solved(&self.program, inverse, at)).collect()
    }

    /// The branches in which the read stands.
    fn guard(&mut self, used: &Use<'_>, inverse: &Inverse) -> Guard {
        let program = &mut self.program;
        let branches = used.guard.iter().map(|branch| {
            let condition = program.substitute(branch.condition, &inverse.solved);
            Branch { condition: fill_outside(program, condition), ..*branch }
        });
        branches.collect()
    }

    /// Whether the point is the one that a reduction has chosen, and, if masks are asked, of an element that counts.
    fn counts(&mut self, used: &Use<'_>, inverse: &Inverse, masked: bool) -> ExprId {
        let at = self.result_at(used, inverse);
        let mut condition = self.program.exprs.constant(1.0);
        if let Some(mask) = used.total.mask.filter(|_| masked) {
            let zero = self.program.exprs.constant(0.0);
            let read = filled_read(&mut self.program, mask, at.clone(), 0.0);
            condition = self.program.exprs.binary(Binary::Ne, read, zero);
        }
        if let Some((Reduction::Max | Reduction::Min, axes)) = &used.reduction {
            let won = self.won(used, inverse, at, axes);
            condition = self.program.both(condition, won);
        }
        condition
    }

    /// Whether the point exists and counts. Points outside an axis of the result need no test where the gradient is
    /// read at that axis (it is 0 there) and the slope is `tame`: nothing else can turn the product into a NaN.
    fn existence(&mut self, used: &Use<'_>, inverse: &Inverse, tame: bool) -> ExprId {
        let program = &mut self.program;
        let mut condition = program.exprs.constant(1.0);
        let shape = program.tensors[used.equation.result].shape.clone();
        for axis in &inverse.guarded {
            let extent = program.axes[*axis].extent;
            let covered =
                used.piece.at.iter().zip(&shape).any(|(at, e)| at.as_axis() == Some(*axis) && *e == extent);
            if !(covered && tame) {
                let inside = program.within(&inverse.solved[axis], 0, extent);
                condition = program.both(condition, inside);
            }
        }
        for (left, right) in &inverse.equal {
            let left = program.exprs.add(Expr::Number(left.clone()));
            let right = program.exprs.add(Expr::Number(right.clone()));
            let equal = program.exprs.binary(Binary::Eq, left, right);
            condition = program.both(condition, equal);
        }
        condition
    }

    /// Whether this point is the one that won the reduction.
    fn won(&mut self, used: &Use<'_>, inverse: &Inverse, at: Vec<Index>, axes: &[Axis]) -> ExprId {
        let winner = self.winners[&used.equation.result];
        let program = &mut self.program;
        let mut position = Index::from(0);
        for axis in axes {
            let extent = program.axes[*axis].extent;
            position = position.scale(extent).add(&Index::from(*axis), &program.axes);
        }
        let position = solved(program, inverse, &position);
        let position = program.exprs.add(Expr::Number(position));
        let nobody = if program.tensors[winner].dtype == DType::U8 { NO_BYTE } else { -1 };
        let saved = filled_read(program, winner, at, nobody as f64);
        program.exprs.binary(Binary::Eq, saved, position)
    }

    fn finish(mut self, input: Tensor) -> Option<Adjoint> {
        let mut total = self.total(input)?.gradient;
        if self.gradients.values().any(|gradient| *gradient == total) {
            total = self.copied(total);
        }
        self.program.outputs.push(total);
        let live = self.program.live_tensors();
        let defined: BTreeSet<Tensor> =
            self.program.equations.iter().map(|equation| equation.result).collect();
        let is_gradient: HashMap<Tensor, Tensor> = self.gradients.iter().map(|(of, it)| (*it, *of)).collect();
        let inputs: Vec<Tensor> = live.into_iter().filter(|tensor| !defined.contains(tensor)).collect();
        let source = |tensor: &Tensor| match is_gradient.get(tensor) {
            Some(of) => Source::Gradient(*of),
            None => Source::Forward(*tensor),
        };
        let sources = inputs.iter().map(source).collect();
        self.program.inputs = inputs;
        super::normalise::normalise(&mut self.program);
        let (program, _) = self.program.pruned(false);
        Some(Adjoint { program, sources })
    }

    /// A tensor of its own for a gradient that passes unchanged.
    fn copied(&mut self, tensor: Tensor) -> Tensor {
        let copy = self.gradient_tensor(tensor);
        let shape = self.program.tensors[tensor].shape.clone();
        let axes: Vec<Axis> = shape.iter().map(|extent| self.program.axis("i", *extent)).collect();
        let body = self.program.exprs.read(tensor, axes.iter().map(|axis| Index::from(*axis)).collect());
        self.program.define(copy, axes, body);
        copy
    }
}

fn solved(program: &Program, inverse: &Inverse, index: &Index) -> Index {
    index.substitute(&|axis| inverse.solved.get(&axis).cloned(), &program.axes)
}

/// A read that gives `fill` outside, where it can leave the tensor at all.
fn filled_read(program: &mut Program, tensor: Tensor, index: Vec<Index>, fill: f64) -> ExprId {
    let fill = (!program.in_bounds(tensor, &index)).then(|| fill.into());
    program.exprs.add(Expr::Read { tensor, index, fill })
}

/// Lets reads that may now lie outside, at points that do not exist, give 0.
fn fill_outside(program: &mut Program, root: ExprId) -> ExprId {
    program.rewrite(root, &mut |program, expr| match expr {
        Expr::Read { tensor, index, fill: None } => filled_read(program, tensor, index, 0.0),
        expr => program.exprs.add(expr),
    })
}
