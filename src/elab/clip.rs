//! Clipping of gradients, by the library's blocks.

use super::config::Clip;
use super::elaborator::Elaborator;
use super::evaluate::{Argument, at};
use super::module::{Callable, Module};
use super::value::{TensorValue, Value};
use super::{Outcome, block};
use crate::base::diagnostic::Diagnostic;
use crate::base::span::Span;
use crate::graph::{self, Graph};
use crate::syntax::ast::Name;

/// Replaces the gradients of parameters, `(parameter, gradient)`, by clipped ones.
///
/// # Errors
///
/// What is wrong with the graph's size; the library's blocks take any gradient.
pub fn apply(
    graph: &mut Graph,
    module: &Module,
    clip: Clip,
    span: Span,
    grads: &mut [(graph::Value, graph::Value)],
) -> Result<(), Diagnostic> {
    let elaborator = Elaborator::new(module, std::mem::take(graph), true);
    let mut clipper = Clipper { elaborator, span };
    let result = match clip {
        Clip::Norm(most) => clipper.by_norm(most, grads),
        Clip::Value(most) => clipper.by_value(most, grads),
    };
    *graph = clipper.elaborator.graph;
    result
}

struct Clipper<'m> {
    elaborator: Elaborator<'m>,
    span: Span,
}

impl Clipper<'_> {
    /// Scales all gradients by one factor, so that the norm of all together is at most `most`.
    fn by_norm(&mut self, most: f64, grads: &mut [(graph::Value, graph::Value)]) -> Outcome<()> {
        let mut total: Option<TensorValue> = None;
        for (_, gradient) in grads.iter() {
            let gradient = self.elaborator.tensor(*gradient);
            let squares = self.call("squares_of", &[&gradient], None)?;
            total = Some(match total {
                Some(total) => self.call("plus", &[&total, &squares], None)?,
                None => squares,
            });
        }
        let Some(total) = total else { return Ok(()) };
        let factor = self.call("clip_factor", &[&total], Some(most))?;
        for (_, gradient) in grads {
            let tensor = self.elaborator.tensor(*gradient);
            *gradient = self.call("times", &[&tensor, &factor], None)?.id;
        }
        Ok(())
    }

    fn by_value(&mut self, most: f64, grads: &mut [(graph::Value, graph::Value)]) -> Outcome<()> {
        for (_, gradient) in grads {
            let tensor = self.elaborator.tensor(*gradient);
            *gradient = self.call("clipped", &[&tensor], Some(most))?.id;
        }
        Ok(())
    }

    /// Calls a block of the library with tensors and a number.
    fn call(&mut self, name: &str, tensors: &[&TensorValue], number: Option<f64>) -> Outcome<TensorValue> {
        let callee = Name { text: name.to_owned(), span: self.span };
        let tensors = tensors.iter().map(|tensor| Value::Tensor((*tensor).clone()));
        let values = tensors.chain(number.map(Value::Real));
        let arguments: Vec<Argument> =
            values.map(|value| Argument { name: None, value, span: None }).collect();
        let module = self.elaborator.module;
        let Some(Callable::Fn(item)) = module.find(name, true) else {
            return Err(at(format!("the library has no block `{name}`"), self.span));
        };
        let value = self.elaborator.call_fn(item, &callee, &arguments, None)?;
        match block::single(value, self.span)? {
            Value::Tensor(tensor) => Ok(tensor),
            value => Err(at(format!("`{name}` gives {}", value.kind()), self.span)),
        }
    }
}
