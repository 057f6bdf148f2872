//! Whether a graph looks at each sample of its batch apart from the others.
//!
//! From the data on, it follows which dimension of every tensor counts the samples: in an equation, all reads of such a
//! tensor must have the sample's own index there, the one at which the result is stored, and nothing else may depend on
//! it. What is not seen to be apart counts as mixed.

use std::collections::{BTreeSet, HashMap};

use crate::te::{Axis, Expr, ExprId, Index, Piece, Program, Tensor};

use super::{Graph, Role, Sink, Value};

/// Where the samples are in a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Along {
    /// It does not depend on them.
    Nowhere,
    Dimension(usize),
}

/// Something depends on several samples, or on where a sample stands.
struct Mixed;

/// Whether the prediction for a sample depends on that sample alone, and is found at its place. The batch has at least two
/// samples: of one, nothing would be seen.
pub fn are_apart(graph: &Graph) -> bool {
    let mut along: HashMap<Value, Along> = HashMap::new();
    for (value, role) in &graph.inputs {
        let place = if *role == Role::Data { Along::Dimension(0) } else { Along::Nowhere };
        along.insert(*value, place);
    }
    for node in &graph.nodes {
        let inputs: Vec<Along> = node.inputs.iter().map(|input| along[input]).collect();
        let Ok(results) = through(&graph.ops[node.op].program, &inputs) else { return false };
        along.extend(node.results.iter().copied().zip(results));
    }
    let prediction = graph.outputs.iter().find(|(_, sink)| *sink == Sink::Prediction);
    prediction.is_some_and(|(value, _)| along[value] == Along::Dimension(0))
}

/// Where the samples are in the outputs of a program.
fn through(program: &Program, inputs: &[Along]) -> Result<Vec<Along>, Mixed> {
    let mut along: HashMap<Tensor, Along> =
        program.inputs.iter().copied().zip(inputs.iter().copied()).collect();
    for equation in &program.equations {
        let mut result = None;
        for piece in &equation.pieces {
            let found = of_piece(program, piece, &along)?;
            if result.is_some_and(|other| other != found) {
                return Err(Mixed);
            }
            result = Some(found);
        }
        let result = result.unwrap_or(Along::Nowhere);
        // A box of the samples, and not all of them, would move them.
        if let Along::Dimension(dimension) = result {
            let extent = program.tensors[equation.result].shape[dimension];
            let is_whole = |piece: &Piece| {
                piece.at[dimension].as_axis().is_some_and(|axis| program.axes[axis].extent == extent)
            };
            if !equation.pieces.iter().all(is_whole) {
                return Err(Mixed);
            }
        }
        along.insert(equation.result, result);
    }
    Ok(program.outputs.iter().map(|output| along[output]).collect())
}

fn of_piece(program: &Program, piece: &Piece, along: &HashMap<Tensor, Along>) -> Result<Along, Mixed> {
    let mut reads = Reads { program, along, sample: None, other: BTreeSet::new(), seen: BTreeSet::new() };
    reads.visit(piece.body)?;
    let Some(sample) = reads.sample else { return Ok(Along::Nowhere) };
    if reads.other.contains(&sample) {
        return Err(Mixed);
    }
    let mut places = piece.at.iter().enumerate().filter(|(_, index)| index.mentions(sample));
    match (places.next(), places.next()) {
        (Some((dimension, index)), None) if index.as_axis() == Some(sample) => {
            Ok(Along::Dimension(dimension))
        }
        _ => Err(Mixed),
    }
}

/// What a body reads.
struct Reads<'a> {
    program: &'a Program,
    along: &'a HashMap<Tensor, Along>,
    /// The axis that counts the samples in all reads of tensors that have them.
    sample: Option<Axis>,
    /// The axes that anything else depends on.
    other: BTreeSet<Axis>,
    seen: BTreeSet<ExprId>,
}

impl Reads<'_> {
    fn visit(&mut self, id: ExprId) -> Result<(), Mixed> {
        if !self.seen.insert(id) {
            return Ok(());
        }
        let expr = &self.program.exprs[id];
        match expr {
            Expr::Read { tensor, index, .. } => self.read(*tensor, index)?,
            Expr::Number(index) => self.depends_on(index),
            // What is drawn for a sample depends on its place.
            Expr::Uniform { .. } => return Err(Mixed),
            _ => {}
        }
        let mut operands = Vec::new();
        expr.for_each_operand(&mut |operand| operands.push(operand));
        operands.into_iter().try_for_each(|operand| self.visit(operand))
    }

    fn read(&mut self, tensor: Tensor, index: &[Index]) -> Result<(), Mixed> {
        let Along::Dimension(dimension) = self.along[&tensor] else {
            index.iter().for_each(|index| self.depends_on(index));
            return Ok(());
        };
        let extent = self.program.tensors[tensor].shape[dimension];
        let axis = index[dimension].as_axis().filter(|axis| self.program.axes[*axis].extent == extent);
        let axis = axis.ok_or(Mixed)?;
        if self.sample.is_some_and(|sample| sample != axis) {
            return Err(Mixed);
        }
        self.sample = Some(axis);
        let others = index.iter().enumerate().filter(|(at, _)| *at != dimension);
        others.for_each(|(_, index)| self.depends_on(index));
        Ok(())
    }

    fn depends_on(&mut self, index: &Index) {
        index.for_each_axis(&mut |axis| _ = self.other.insert(axis));
    }
}
