//! Evaluation where there are no names: in sections, and of defaults.

use super::evaluate::Context;
use super::value::Value;

/// A place without names: for sections, and for values that need none.
#[derive(Default)]
pub(super) struct NoNames {
    depth: usize,
}

impl Context for NoNames {
    fn lookup(&self, _name: &str) -> Option<Value> {
        None
    }

    fn names(&self) -> Vec<String> {
        Vec::new()
    }

    fn bind(&mut self, _name: &str, _value: Value) {}

    fn depth(&mut self) -> &mut usize {
        &mut self.depth
    }

    fn as_context(&mut self) -> &mut dyn Context {
        self
    }
}
