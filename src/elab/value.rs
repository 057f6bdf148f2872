//! Compile-time values: what an expression of a block, a type or a section evaluates to.

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

/// A compile-time value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// What a block without a value gives.
    None,
    Bool(bool),
    Int(i64),
    Real(f64),
    String(String),
    List(Vec<Value>),
    /// A way to fill a parameter.
    Scheme(Scheme),
    Tensor(TensorValue),
    /// The results of an op that has several.
    Results(Vec<Value>),
}

impl Value {
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
            Value::List(values) | Value::Results(values) => {
                let texts: Vec<String> = values.iter().map(Value::to_string).collect();
                write!(f, "[{}]", texts.join(", "))
            }
        }
    }
}
