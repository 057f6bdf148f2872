//! Elements as lists in lists, by their shape: as JSON, and as text for people.

use std::fmt::{Display, Formatter, Result};

use serde::ser::{Serialize, SerializeSeq, Serializer};

use crate::runtime::Values;

/// The elements of a shape, row-major, from a place on. A shape without axes is one number.
#[derive(Clone, Copy)]
pub struct Nested<'a> {
    pub shape: &'a [usize],
    pub values: &'a Values,
    pub from: usize,
}

impl<'a> Nested<'a> {
    /// The parts along the first axis; none of one number.
    fn parts(self) -> Option<impl ExactSizeIterator<Item = Nested<'a>>> {
        let (count, rest) = self.shape.split_first()?;
        let len: usize = rest.iter().product();
        Some((0..*count).map(move |at| Nested { shape: rest, from: self.from + at * len, ..self }))
    }
}

impl Nested<'_> {
    /// Every element as text, row-major.
    pub fn numbers(self) -> Vec<String> {
        let count = self.shape.iter().product::<usize>();
        (0..count).map(|at| Nested { shape: &[], from: self.from + at, ..self }.to_string()).collect()
    }
}

impl Serialize for Nested<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        if let Some(parts) = self.parts() {
            let mut list = serializer.serialize_seq(Some(parts.len()))?;
            for part in parts {
                list.serialize_element(&part)?;
            }
            return list.end();
        }
        match self.values {
            Values::F32(values) => values[self.from].serialize(serializer),
            Values::I32(values) => values[self.from].serialize(serializer),
            Values::U8(values) => values[self.from].serialize(serializer),
            Values::Bool(values) => values[self.from].serialize(serializer),
        }
    }
}

impl Display for Nested<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        if let Some(parts) = self.parts() {
            f.write_str("[")?;
            for (at, part) in parts.enumerate() {
                write!(f, "{}{part}", if at > 0 { ", " } else { "" })?;
            }
            return f.write_str("]");
        }
        match self.values {
            Values::F32(values) => write!(f, "{:?}", values[self.from]),
            Values::I32(values) => write!(f, "{}", values[self.from]),
            Values::U8(values) => write!(f, "{}", values[self.from]),
            Values::Bool(values) => write!(f, "{}", values[self.from]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(values: Values, shape: &[usize], json: &str, text: &str) {
        let nested = Nested { shape, values: &values, from: 0 };
        assert_eq!(serde_json::to_string(&nested).unwrap(), json);
        assert_eq!(nested.to_string(), text);
    }

    #[test]
    fn every_type_and_shape() {
        check(Values::F32(vec![0.1]), &[], "0.1", "0.1");
        check(Values::F32(vec![f32::NAN, 1e30]), &[2], "[null,1e+30]", "[NaN, 1e30]");
        check(
            Values::I32(vec![16_777_217, i32::MIN]),
            &[2, 1],
            "[[16777217],[-2147483648]]",
            "[[16777217], [-2147483648]]",
        );
        check(Values::U8(vec![7, 255]), &[1, 2], "[[7,255]]", "[[7, 255]]");
        check(Values::Bool(vec![true, false]), &[2], "[true,false]", "[true, false]");
        check(Values::Bool(Vec::new()), &[2, 0], "[[],[]]", "[[], []]");
    }
}
