//! Compile-time values: what an expression of a block, a type or a section evaluates to.

use std::sync::Arc;

use super::scheme::Scheme;
use crate::graph;
use crate::te::DType;

/// A tensor of the graph under construction.
#[derive(Clone, Debug, PartialEq)]
pub struct TensorValue {
    pub id: graph::Value,
    pub dtype: DType,
    /// The extents; empty for a scalar.
    pub shape: Vec<i64>,
}

/// A list. A clone shares the values, so that a list of one list many times takes no more memory than the list.
#[derive(Clone, PartialEq)]
pub struct List {
    values: Arc<[Value]>,
    size: usize,
}

impl std::ops::Deref for List {
    type Target = [Value];

    fn deref(&self) -> &[Value] {
        &self.values
    }
}

impl std::fmt::Debug for List {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.values.fmt(f)
    }
}

impl From<Vec<Value>> for List {
    fn from(values: Vec<Value>) -> List {
        let size = values.iter().map(Value::size).fold(1, usize::saturating_add);
        List { values: values.into(), size }
    }
}

/// A compile-time value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// What a block without a value gives.
    None,
    Bool(bool),
    Int(i64),
    Real(f64),
    String(String),
    List(List),
    /// A way to fill a parameter.
    Scheme(Scheme),
    Tensor(TensorValue),
    /// The results of an op that has several.
    Results(Vec<Value>),
}

impl Value {
    /// A list of values.
    pub fn list(values: Vec<Value>) -> Value {
        Value::List(values.into())
    }

    /// What writing it down, or comparing it with another, goes through: values with those in them, eight characters
    /// of a string or axes of a tensor counting as one.
    pub fn size(&self) -> usize {
        match self {
            Value::None | Value::Bool(_) | Value::Int(_) | Value::Real(_) | Value::Scheme(_) => 1,
            Value::String(text) => 1 + text.len() / 8,
            Value::Tensor(tensor) => 1 + tensor.shape.len() / 8,
            Value::List(list) => list.size,
            Value::Results(values) => values.iter().map(Value::size).fold(1, usize::saturating_add),
        }
    }

    /// What it is, for messages: "an integer", "a tensor f32[8, 10]".
    pub fn kind(&self) -> String {
        match self {
            Value::None => "nothing".into(),
            Value::Bool(_) => "a truth value".into(),
            Value::Int(_) => "an integer".into(),
            Value::Real(_) => "a number".into(),
            Value::String(_) => "a string".into(),
            Value::List(_) => "a list".into(),
            Value::Scheme(_) => "an initialiser".into(),
            Value::Tensor(tensor) => format!("a tensor {tensor}"),
            Value::Results(values) => format!("{} results", values.len()),
        }
    }

    /// The number, of an integer too.
    pub fn as_real(&self) -> Option<f64> {
        match self {
            Value::Int(value) => Some(*value as f64),
            Value::Real(value) => Some(*value),
            _ => None,
        }
    }

    /// The integer.
    pub fn as_int(&self) -> Option<i64> {
        match self {
            Value::Int(value) => Some(*value),
            _ => None,
        }
    }
}

/// `f32[8, 10]`, or `f32` for a scalar.
pub fn show_type(dtype: DType, shape: &[i64]) -> String {
    if shape.is_empty() {
        return dtype.to_string();
    }
    let extents: Vec<String> = shape.iter().map(i64::to_string).collect();
    format!("{dtype}[{}]", extents.join(", "))
}

impl std::fmt::Display for TensorValue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&show_type(self.dtype, &self.shape))
    }
}

impl std::fmt::Display for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Value::None => f.write_str("nothing"),
            Value::Bool(value) => write!(f, "{value}"),
            Value::Int(value) => write!(f, "{value}"),
            Value::Real(value) => write!(f, "{value}"),
            Value::String(value) => f.write_str(value),
            Value::Scheme(scheme) => write!(f, "{scheme}"),
            Value::Tensor(tensor) => write!(f, "{tensor}"),
            Value::List(values) => show_list(f, values),
            Value::Results(values) => show_list(f, values),
        }
    }
}

/// A message shows so many values of a list.
const MOST_SHOWN: usize = 32;

fn show_list(f: &mut std::fmt::Formatter<'_>, values: &[Value]) -> std::fmt::Result {
    let mut texts: Vec<String> = values.iter().take(MOST_SHOWN).map(Value::to_string).collect();
    if values.len() > MOST_SHOWN {
        texts.push("...".into());
    }
    write!(f, "[{}]", texts.join(", "))
}
