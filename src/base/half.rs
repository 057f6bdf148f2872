//! Floats of 16 bits (IEEE 754 binary16), which only files have: 1 bit sign, 5 bits exponent, 10 bits fraction.

/// The `f32` that is equal to the number of these bits; not a number stays so.
pub fn to_f32(bits: u16) -> f32 {
    let sign = u32::from(bits >> 15) << 31;
    let (exponent, fraction) = (u32::from(bits >> 10 & 31), u32::from(bits & 1023));
    match exponent {
        // Subnormal: a multiple of 2^-24.
        0 => f32::from_bits(sign | (fraction as f32 * 2_f32.powi(-24)).to_bits()),
        31 => f32::from_bits(sign | 0x7f80_0000 | fraction << 13),
        _ => f32::from_bits(sign | (exponent + (127 - 15)) << 23 | fraction << 13),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every number, against its definition.
    #[test]
    fn all_numbers() {
        for bits in 0..=u16::MAX {
            let (exponent, fraction) = (i32::from(bits >> 10 & 31), f32::from(bits & 1023));
            let magnitude = match exponent {
                0 => fraction * 2_f32.powi(-24),
                31 if fraction == 0.0 => f32::INFINITY,
                31 => f32::NAN,
                _ => (1.0 + fraction / 1024.0) * 2_f32.powi(exponent - 15),
            };
            let (found, expect) = (to_f32(bits), if bits >> 15 == 0 { magnitude } else { -magnitude });
            let is_same = found.to_bits() == expect.to_bits() || found.is_nan() && expect.is_nan();
            assert!(is_same, "{bits:#x}: {found} and not {expect}");
        }
    }
}
