//! Losses that say what they divide by: `ratio(total, weight)` of the library, or a block or op of these two results.
//!
//! The quotient is the loss of a batch, which is what training lowers. Beside it go the two numbers, so that the figure
//! of a split is the sum of all totals over the sum of all weights, however the split is cut into batches.

use super::elaborator::Elaborator;
use super::evaluate::{Argument, at};
use super::value::{TensorValue, Value};
use super::{Outcome, block};
use crate::base::span::Span;
use crate::graph;
use crate::syntax::ast::FnItem;
use crate::te::{DType, Program};

/// The library's block for a total over a weight.
const RATIO: &str = "ratio";
/// The metric that is what a batch's loss divides.
pub const TOTAL: &str = "total";
/// The metric that is what a batch's loss divides by.
pub const WEIGHT: &str = "weight";

/// The loss of a batch.
pub(super) struct Loss {
    pub value: TensorValue,
    /// What it divides and by what, where it says so.
    pub parts: Option<[TensorValue; 2]>,
}

impl Elaborator<'_> {
    /// Remembers what a call divides, if it is one of the library's `ratio`.
    pub(super) fn note_ratio(
        &mut self,
        item: &FnItem,
        arguments: &[Argument],
        places: &[Option<usize>],
        result: &Value,
    ) {
        let is_ratio = item.name.text == RATIO && self.module.in_library(item.span.file);
        let (Value::Tensor(quotient), [Some(total), Some(weight)]) = (result, places) else { return };
        if is_ratio {
            let parts = [total, weight].map(|place| self.number(&arguments[*place].value));
            if let [Some(total), Some(weight)] = parts {
                self.ratios.insert(quotient.id, [total, weight]);
            }
        }
    }

    /// A value as a number of the graph; none of what is no number.
    fn number(&mut self, value: &Value) -> Option<graph::Value> {
        if let Value::Tensor(tensor) = value {
            return Some(tensor.id);
        }
        let number = value.as_real()?;
        let op = self.op_of(format!("number {number:?}"), || {
            let mut program = Program::default();
            let output = program.tensor("y", DType::F32, Vec::new());
            let body = program.exprs.constant(number);
            program.define(output, Vec::new(), body);
            program.outputs.push(output);
            graph::Op { name: "number".into(), program }
        });
        self.graph.call(op, Vec::new(), "number", None).first().copied()
    }

    /// The loss that the block or op of a train section gives.
    pub(super) fn loss_value(&mut self, value: Value, span: Span) -> Outcome<Loss> {
        let value = match value {
            Value::Results(results) if results.len() == 2 => self.quotient(&results, span)?,
            value => block::single(value, span)?,
        };
        let Value::Tensor(value) = value else { return Err(at("a loss is a number", span)) };
        if !is_number(&value) {
            return Err(at(format!("a loss is one number, not {value}"), span));
        }
        let parts = self.ratios.get(&value.id).map(|parts| parts.map(|part| self.tensor(part)));
        Ok(Loss { value, parts })
    }

    /// The quotient of two results.
    fn quotient(&mut self, results: &[Value], span: Span) -> Outcome<Value> {
        let tensors: Vec<&TensorValue> = results
            .iter()
            .filter_map(|result| match result {
                Value::Tensor(tensor) if is_number(tensor) => Some(tensor),
                _ => None,
            })
            .collect();
        if tensors.len() != results.len() {
            let kinds: Vec<String> = results.iter().map(Value::kind).collect();
            return Err(at(format!("a loss with two results is {}", kinds.join(" and ")), span)
                .help("they are numbers: a total, and the weight that it is divided by"));
        }
        Ok(Value::Tensor(self.call_library(RATIO, &tensors, None, span)?))
    }
}

fn is_number(tensor: &TensorValue) -> bool {
    tensor.dtype == DType::F32 && tensor.shape.is_empty()
}
