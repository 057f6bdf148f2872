//! Philox4x32-10, the counter-based random number generator behind dropout, initial weights and shuffling.
//!
//! A number depends on its key and counter only, never on which numbers were drawn before it, so any schedule,
//! thread count or device draws the same ones, and the backward pass recomputes them instead of storing them.
//! The constants are those of Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3" (SC 2011).

/// The two numbers that tell one run and one of its steps from another.
///
/// `repr(C)` because compiled kernels receive a pointer to it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RandomState {
    /// The key: the run's seed.
    pub seed: u64,
    /// The training step, counted from 0.
    pub step: u64,
}

/// Ten rounds of Philox4x32 on one counter block.
pub fn philox4x32(key: [u32; 2], counter: [u32; 4]) -> [u32; 4] {
    let [mut k0, mut k1] = key;
    let mut c = counter;
    for _ in 0..10 {
        let a = 0xD251_1F53_u64 * u64::from(c[0]);
        let b = 0xCD9E_8D57_u64 * u64::from(c[2]);
        c = [(b >> 32) as u32 ^ c[1] ^ k0, b as u32, (a >> 32) as u32 ^ c[3] ^ k1, a as u32];
        k0 = k0.wrapping_add(0x9E37_79B9);
        k1 = k1.wrapping_add(0xBB67_AE85);
    }
    c
}

/// A number in `[0, 1)` with 24 random bits: element `element` of stream `stream` at this seed and step.
pub fn uniform(state: RandomState, stream: u32, element: u32) -> f32 {
    let key = [state.seed as u32, (state.seed >> 32) as u32];
    let counter = [element, stream, state.step as u32, (state.step >> 32) as u32];
    (philox4x32(key, counter)[0] >> 8) as f32 * (1.0 / 16_777_216.0)
}

/// The stream of a random draw, from the name of the place that draws (FNV-1a, folded to 32 bits).
pub fn stream(name: &str) -> u32 {
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    (hash >> 32) as u32 ^ hash as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The known-answer vectors of the Random123 distribution.
    #[test]
    fn known_answers() {
        assert_eq!(philox4x32([0; 2], [0; 4]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        assert_eq!(
            philox4x32([u32::MAX; 2], [u32::MAX; 4]),
            [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]
        );
    }
}
