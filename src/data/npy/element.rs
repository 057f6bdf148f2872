//! The elements of a `.npy` file: their types, in either order of bytes, and what numbers their bytes are.

use crate::base::{half, visible};

/// What the bytes of an element are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Truth,
    Signed,
    Unsigned,
    Float,
}

/// A type of elements that is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Type {
    pub kind: Kind,
    /// Bytes of an element: 1, 2, 4 or 8.
    pub size: usize,
    /// Whether the first byte is the most significant one.
    pub is_big: bool,
}

impl Type {
    /// The type of a name of NumPy's, such as `<f4`. `=` and `|` stand for the machine's order of bytes, which is
    /// little-endian wherever this program runs.
    ///
    /// # Errors
    ///
    /// A type that is not read, with what to save instead.
    pub fn of(name: &str) -> Result<Type, String> {
        let known = || {
            let is_big = match name.chars().next()? {
                '<' | '|' | '=' => false,
                '>' => true,
                _ => return None,
            };
            let (kind, size) = match &name[1..] {
                "b1" => (Kind::Truth, 1),
                "i1" => (Kind::Signed, 1),
                "i2" => (Kind::Signed, 2),
                "i4" => (Kind::Signed, 4),
                "i8" => (Kind::Signed, 8),
                "u1" => (Kind::Unsigned, 1),
                "u2" => (Kind::Unsigned, 2),
                "u4" => (Kind::Unsigned, 4),
                "u8" => (Kind::Unsigned, 8),
                "f2" => (Kind::Float, 2),
                "f4" => (Kind::Float, 4),
                "f8" => (Kind::Float, 8),
                _ => return None,
            };
            Some(Type { kind, size, is_big })
        };
        known().ok_or_else(|| {
            let (what, instead) = instead(name.trim_start_matches(['<', '>', '|', '=']));
            format!("elements of type `{}`{what}; save {instead}", visible::excerpt(name))
        })
    }

    /// An element as a whole number; none where it is a float or a truth value.
    pub fn integer(self, bytes: &[u8]) -> Option<i128> {
        let unsigned = self.unsigned(bytes);
        match self.kind {
            Kind::Unsigned => Some(unsigned.into()),
            Kind::Signed => {
                let unused = 64 - 8 * self.size as u32;
                Some(((unsigned << unused) as i64 >> unused).into())
            }
            Kind::Truth | Kind::Float => None,
        }
    }

    /// An element as the `f32` that is equal to it, or for floats of 64 bits the nearest one.
    ///
    /// # Errors
    ///
    /// A number that `f32` does not hold, in words.
    pub fn number(self, bytes: &[u8]) -> Result<f32, String> {
        match (self.kind, self.size) {
            (Kind::Truth, _) => Ok(f32::from(u8::from(bytes[0] != 0))),
            (Kind::Float, 2) => Ok(half::to_f32(self.unsigned(bytes) as u16)),
            (Kind::Float, 4) => Ok(f32::from_bits(self.unsigned(bytes) as u32)),
            (Kind::Float, _) => rounded(f64::from_bits(self.unsigned(bytes))),
            _ => exact(self.integer(bytes).unwrap_or_default()),
        }
    }

    fn unsigned(self, bytes: &[u8]) -> u64 {
        let join = |value: u64, byte: &u8| value << 8 | u64::from(*byte);
        let bytes = &bytes[..self.size];
        if self.is_big { bytes.iter().fold(0, join) } else { bytes.iter().rev().fold(0, join) }
    }
}

/// What a type that is not read is, and what to save instead.
fn instead(name: &str) -> (&'static str, &'static str) {
    match name.chars().next() {
        Some('c') => (", complex numbers", "x.real and x.imag as arrays of their own"),
        Some('U' | 'S' | 'a' | 'T') => (", texts", "numbers that stand for them"),
        Some('O') => (", objects of Python", "x.astype(\"float32\")"),
        Some('M' | 'm') => (", times", "x.astype(\"int64\")"),
        Some('V') => (", bytes without a type", "x.astype(\"float32\")"),
        _ => ("", "x.astype(\"float32\")"),
    }
}

/// The nearest `f32` of a number that is within its range.
fn rounded(value: f64) -> Result<f32, String> {
    let nearest = value as f32;
    if nearest.is_infinite() && value.is_finite() {
        return Err(format!("is {value:e}, which is beyond f32"));
    }
    Ok(nearest)
}

/// A whole number as the `f32` that is equal to it.
fn exact(value: i128) -> Result<f32, String> {
    let nearest = value as f32;
    if nearest as i128 == value {
        return Ok(nearest);
    }
    Err(format!("is {value}, which f32 does not hold exactly; save x.astype(\"float32\") to round it"))
}
