//! The elements of a tensor that leaves a program, in the type that the program gives them.

use crate::te::DType;

/// The elements of a tensor, row-major.
#[derive(Clone, Debug, PartialEq)]
pub enum Values {
    F32(Vec<f32>),
    I32(Vec<i32>),
    U8(Vec<u8>),
    Bool(Vec<bool>),
}

impl Values {
    /// No elements of a type.
    pub fn empty(dtype: DType) -> Values {
        match dtype {
            DType::F32 => Values::F32(Vec::new()),
            DType::I32 => Values::I32(Vec::new()),
            DType::U8 => Values::U8(Vec::new()),
            DType::Bool => Values::Bool(Vec::new()),
        }
    }

    /// The type of the elements.
    pub fn dtype(&self) -> DType {
        match self {
            Values::F32(_) => DType::F32,
            Values::I32(_) => DType::I32,
            Values::U8(_) => DType::U8,
            Values::Bool(_) => DType::Bool,
        }
    }

    /// The number of elements.
    pub fn len(&self) -> usize {
        match self {
            Values::F32(values) => values.len(),
            Values::I32(values) => values.len(),
            Values::U8(values) => values.len(),
            Values::Bool(values) => values.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The elements, if they are `f32`.
    pub fn floats(&self) -> Option<&[f32]> {
        match self {
            Values::F32(values) => Some(values),
            Values::I32(_) | Values::U8(_) | Values::Bool(_) => None,
        }
    }

    /// The elements as numbers, every one exact; `true` is 1.
    pub fn numbers(&self) -> Vec<f64> {
        match self {
            Values::F32(values) => values.iter().copied().map(f64::from).collect(),
            Values::I32(values) => values.iter().copied().map(f64::from).collect(),
            Values::U8(values) => values.iter().copied().map(f64::from).collect(),
            Values::Bool(values) => values.iter().copied().map(f64::from).collect(),
        }
    }

    /// The number of a tensor without axes, exact; none of a tensor without elements.
    pub fn first(&self) -> Option<f64> {
        match self {
            Values::F32(values) => values.first().copied().map(f64::from),
            Values::I32(values) => values.first().copied().map(f64::from),
            Values::U8(values) => values.first().copied().map(f64::from),
            Values::Bool(values) => values.first().copied().map(f64::from),
        }
    }

    /// Appends the elements of a tensor of the same type.
    ///
    /// # Panics
    ///
    /// Where the types differ.
    pub fn append(&mut self, other: Values) {
        match (self, other) {
            (Values::F32(values), Values::F32(other)) => values.extend(other),
            (Values::I32(values), Values::I32(other)) => values.extend(other),
            (Values::U8(values), Values::U8(other)) => values.extend(other),
            (Values::Bool(values), Values::Bool(other)) => values.extend(other),
            (values, other) => panic!("{} after {}", other.dtype(), values.dtype()),
        }
    }

    /// The place of the first element whose bits differ, where all NaNs are equal; the shorter length where the lengths
    /// differ, and 0 where the types do.
    pub fn first_difference(&self, other: &Values) -> Option<usize> {
        if self.dtype() != other.dtype() {
            return Some(0);
        }
        let bits = |value: &f64| if value.is_nan() { f64::NAN.to_bits() } else { value.to_bits() };
        let (one, two) = (self.numbers(), other.numbers());
        let differs = one.iter().zip(&two).position(|(one, two)| bits(one) != bits(two));
        differs.or((one.len() != two.len()).then_some(one.len().min(two.len())))
    }
}
