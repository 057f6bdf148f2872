//! Elements of files, which have several types, as `f32`.

use crate::base::half;

/// The types that become `f32`; every other one is known by its name alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    F32,
    F64,
    F16,
    BF16,
}

impl Type {
    /// Bytes of an element.
    pub fn size(self) -> usize {
        match self {
            Type::F64 => 8,
            Type::F32 => 4,
            Type::F16 | Type::BF16 => 2,
        }
    }
}

/// The values of little-endian elements.
pub fn convert(of: Type, data: &[u8]) -> Vec<f32> {
    match of {
        Type::F32 => data.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect(),
        Type::F64 => data.as_chunks().0.iter().map(|bytes| f64::from_le_bytes(*bytes) as f32).collect(),
        Type::F16 => {
            data.as_chunks().0.iter().map(|bytes| half::to_f32(u16::from_le_bytes(*bytes))).collect()
        }
        Type::BF16 => data.as_chunks().0.iter().map(|bytes| brain(u16::from_le_bytes(*bytes))).collect(),
    }
}

/// The value of a bfloat16, the upper half of an `f32`.
fn brain(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}
