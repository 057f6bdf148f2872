//! Clipping and norms of gradients, by the library's blocks.

use super::Outcome;
use super::config::Clip;
use super::elaborator::Elaborator;
use super::module::Module;
use super::value::TensorValue;
use crate::base::diagnostic::Diagnostic;
use crate::base::span::Span;
use crate::graph::{self, Graph, Sink};

/// A parameter and its gradient.
type Pair = (graph::Value, graph::Value);

/// Replaces the gradients of parameters by clipped ones. Gives the number that decides how they are scaled, the sum of
/// all squares, where there is one.
///
/// # Errors
///
/// What is wrong with the graph's size; the library's blocks take any gradient.
pub fn clip(
    graph: &mut Graph,
    module: &Module,
    clip: Clip,
    span: Span,
    grads: &mut [Pair],
) -> Result<Option<graph::Value>, Diagnostic> {
    with_blocks(graph, module, span, |blocks| match clip {
        Clip::Norm(most) => blocks.by_norm(most, grads),
        Clip::Value(most) => blocks.by_value(most, grads).map(|()| None),
    })
}

/// Adds the norm of every gradient to the outputs.
///
/// # Errors
///
/// What is wrong with the graph's size; the library's blocks take any gradient.
pub fn report_norms(
    graph: &mut Graph,
    module: &Module,
    span: Span,
    grads: &[Pair],
) -> Result<(), Diagnostic> {
    let mut norms = Vec::new();
    with_blocks(graph, module, span, |blocks| {
        for (param, gradient) in grads {
            let tensor = blocks.elaborator.tensor(*gradient);
            norms.push((blocks.call("norm_of", &[&tensor], None)?.id, Sink::GradientNorm(*param)));
        }
        Ok(())
    })?;
    graph.outputs.extend(norms);
    Ok(())
}

fn with_blocks<T>(
    graph: &mut Graph,
    module: &Module,
    span: Span,
    work: impl FnOnce(&mut Blocks<'_>) -> Outcome<T>,
) -> Result<T, Diagnostic> {
    let elaborator = Elaborator::new(module, std::mem::take(graph), true);
    let mut blocks = Blocks { elaborator, span };
    let result = work(&mut blocks);
    *graph = blocks.elaborator.graph;
    result
}

struct Blocks<'m> {
    elaborator: Elaborator<'m>,
    span: Span,
}

impl Blocks<'_> {
    /// Scales all gradients by one factor, so that the norm of all together is at most `most`.
    fn by_norm(&mut self, most: f64, grads: &mut [Pair]) -> Outcome<Option<graph::Value>> {
        let mut total: Option<TensorValue> = None;
        for (_, gradient) in grads.iter() {
            let gradient = self.elaborator.tensor(*gradient);
            let squares = self.call("squares_of", &[&gradient], None)?;
            total = Some(match total {
                Some(total) if !planted!("elab.gradients.all_norms") => {
                    self.call("plus", &[&total, &squares], None)?
                }
                _ => squares,
            });
        }
        let Some(total) = total else { return Ok(None) };
        let factor = self.call("clip_factor", &[&total], Some(most))?;
        for (_, gradient) in grads {
            let tensor = self.elaborator.tensor(*gradient);
            *gradient = self.call("times", &[&tensor, &factor], None)?.id;
        }
        Ok(Some(total.id))
    }

    fn by_value(&mut self, most: f64, grads: &mut [Pair]) -> Outcome<()> {
        for (_, gradient) in grads {
            let tensor = self.elaborator.tensor(*gradient);
            *gradient = self.call("clipped", &[&tensor], Some(most))?.id;
        }
        Ok(())
    }

    fn call(&mut self, name: &str, tensors: &[&TensorValue], number: Option<f64>) -> Outcome<TensorValue> {
        self.elaborator.call_library(name, tensors, number, self.span)
    }
}
