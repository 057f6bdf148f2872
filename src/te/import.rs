//! Copying equations from one program into another: how ops become a step, and how dead parts are left behind.

use crate::base::hash::HashMap;

use super::expr::{Expr, ExprId};
use super::index::{Axis, Index};
use super::program::{Equation, Piece, Program, Tensor};

/// A copy in progress. Tensors that are not bound beforehand are created in the target when first met.
pub struct Import<'a> {
    from: &'a Program,
    to: &'a mut Program,
    tensors: HashMap<Tensor, Tensor>,
    axes: HashMap<Axis, Axis>,
    exprs: HashMap<ExprId, ExprId>,
}

impl<'a> Import<'a> {
    /// A copy from one program into another, with nothing bound.
    pub fn new(from: &'a Program, to: &'a mut Program) -> Import<'a> {
        Import { from, to, tensors: HashMap::default(), axes: HashMap::default(), exprs: HashMap::default() }
    }

    /// Lets `tensor` of the source stand for `other` of the target.
    pub fn bind(&mut self, tensor: Tensor, other: Tensor) {
        self.tensors.insert(tensor, other);
    }

    /// The tensor of the target that stands for one of the source.
    pub fn tensor(&mut self, tensor: Tensor) -> Tensor {
        let (from, to) = (self.from, &mut self.to);
        *self.tensors.entry(tensor).or_insert_with(|| to.tensors.push(from.tensors[tensor].clone()))
    }

    /// Appends a copy of an equation.
    pub fn equation(&mut self, equation: &Equation) {
        let pieces = equation.pieces.iter().map(|piece| self.piece(piece)).collect();
        let result = self.tensor(equation.result);
        self.to.equations.push(Equation { result, pieces });
    }

    fn piece(&mut self, piece: &Piece) -> Piece {
        Piece {
            axes: piece.axes.iter().map(|axis| self.axis(*axis)).collect(),
            at: piece.at.iter().map(|index| self.index(index)).collect(),
            body: self.expr(piece.body),
        }
    }

    fn axis(&mut self, axis: Axis) -> Axis {
        let (from, to) = (self.from, &mut self.to);
        *self.axes.entry(axis).or_insert_with(|| to.axes.push(from.axes[axis].clone()))
    }

    fn index(&mut self, index: &Index) -> Index {
        index.for_each_axis(&mut |axis| {
            self.axis(axis);
        });
        index.substitute(&|axis| self.axes.get(&axis).map(|axis| Index::from(*axis)), &self.to.axes)
    }

    fn expr(&mut self, id: ExprId) -> ExprId {
        if let Some(done) = self.exprs.get(&id) {
            return *done;
        }
        let copy = match &self.from.exprs[id] {
            Expr::Number(index) => Expr::Number(self.index(index)),
            Expr::Read { tensor, index, fill } => Expr::Read {
                tensor: self.tensor(*tensor),
                index: index.iter().map(|index| self.index(index)).collect(),
                fill: *fill,
            },
            Expr::Uniform { stream, element } => {
                Expr::Uniform { stream: *stream, element: self.index(element) }
            }
            Expr::Reduce { op, axes, body } => Expr::Reduce {
                op: *op,
                axes: axes.iter().map(|axis| self.axis(*axis)).collect(),
                body: self.expr(*body),
            },
            expr => expr.map_operands(&mut |operand| self.expr(operand)),
        };
        let copy = self.to.exprs.add(copy);
        self.exprs.insert(id, copy);
        copy
    }
}

impl Program {
    /// The program with only what its outputs need, in the same order. Inputs nobody reads are dropped as well if
    /// `drop_inputs`. Gives the positions in `self.inputs` of those that stay.
    pub fn pruned(&self, drop_inputs: bool) -> (Program, Vec<usize>) {
        let live = self.live_tensors();
        let mut pruned = Program::default();
        let mut import = Import::new(self, &mut pruned);
        let mut kept = Vec::new();
        for (position, input) in self.inputs.iter().enumerate() {
            if live.contains(input) || !drop_inputs {
                kept.push(position);
                let copy = import.tensor(*input);
                import.to.inputs.push(copy);
            }
        }
        for equation in self.equations.iter().filter(|equation| live.contains(&equation.result)) {
            import.equation(equation);
        }
        for output in &self.outputs {
            let copy = import.tensor(*output);
            import.to.outputs.push(copy);
        }
        (pruned, kept)
    }

    /// The tensors that the outputs depend on, and the outputs.
    pub fn live_tensors(&self) -> std::collections::BTreeSet<Tensor> {
        let mut live: std::collections::BTreeSet<Tensor> = self.outputs.iter().copied().collect();
        for equation in self.equations.iter().rev().filter(|equation| !equation.pieces.is_empty()) {
            if live.contains(&equation.result) {
                for piece in &equation.pieces {
                    live.extend(self.reads(piece.body));
                }
            }
        }
        live
    }
}
