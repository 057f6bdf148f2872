//! In which blocks of a machine's memory the buffers of launches lie, where it has blocks.
//!
//! The arena is a row of blocks of one size. Of what outlives runs, small tensors share a block and large ones have one
//! each: nearly always, as the device decides. Kernels bind each block once, so blocks are numbered for each of them
//! in the order of its buffers.

use super::Placement;

/// From this size on, in bytes, what outlives runs has a block of its own.
pub const OWN_BYTES: u64 = 1 << 20;

/// Bytes of a block that small tensors share.
pub const SHARED_BYTES: u64 = 16 << 20;

/// The blocks of some buffers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Numbered {
    /// The number of each buffer's block, counted from 0 as they come.
    pub blocks: Vec<usize>,
    /// The first buffer that lies in each block.
    pub firsts: Vec<usize>,
}

/// Numbers the blocks of buffers, given what tells blocks apart.
pub fn number(blocks: impl Iterator<Item = u64>) -> Numbered {
    let (mut known, mut numbered) = (Vec::new(), Numbered::default());
    for (at, block) in blocks.enumerate() {
        let number = known.iter().position(|other| *other == block).unwrap_or_else(|| {
            known.push(block);
            numbered.firsts.push(at);
            known.len() - 1
        });
        numbered.blocks.push(number);
    }
    numbered
}

/// What a kernel binds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bound {
    /// The number of each buffer's block.
    pub blocks: Vec<usize>,
    /// The number of the verdict's block, where the kernel waits for one.
    pub verdict: Option<usize>,
    /// For each block the first of the places that lie in it: those of all buffers, then that of the verdict.
    pub firsts: Vec<usize>,
}

/// The blocks of a kernel's buffers, of which places and bytes are known, and of the verdict at a byte of the arena.
/// `block_of` tells blocks apart.
pub fn bind(
    buffers: impl Iterator<Item = (Placement, u64)>,
    verdict: Option<usize>,
    block_of: &dyn Fn(Placement, u64) -> u64,
) -> Bound {
    let of_buffers = buffers.map(|(place, bytes)| block_of(place, bytes));
    let of_verdict = verdict.map(|offset| block_of(Placement::Arena(offset), size_of::<f32>() as u64));
    let Numbered { mut blocks, firsts } = number(of_buffers.chain(of_verdict));
    let verdict = verdict.and_then(|_| blocks.pop());
    Bound { blocks, verdict, firsts }
}

/// What tells the block of a place apart, as far as that can be known before there is memory.
///
/// # Panics
///
/// Where it lies in scratch, which memory of blocks has not.
pub fn likely(place: Placement, bytes: u64, block_bytes: usize) -> u64 {
    const SHARED: u64 = 1 << 40;
    match place {
        Placement::Arena(offset) => (offset / block_bytes) as u64,
        Placement::Scratch { .. } => unreachable!("nothing runs slice by slice where memory has blocks"),
        Placement::Present(_) | Placement::Next(_) if bytes < OWN_BYTES => SHARED,
        Placement::Present(at) => SHARED + 1 + 2 * at as u64,
        Placement::Next(at) => SHARED + 2 + 2 * at as u64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_numbered_as_they_come() {
        let Numbered { blocks, firsts } = number([7, 3, 7, 9, 3].into_iter());
        assert_eq!(blocks, [0, 1, 0, 2, 1]);
        assert_eq!(firsts, [0, 1, 3]);
    }

    #[test]
    fn the_verdict_comes_last() {
        let bind_all = |verdict| {
            let places = [(Placement::Present(0), 4), (Placement::Arena(100), 8), (Placement::Arena(250), 8)];
            bind(places.into_iter(), verdict, &|place, bytes| likely(place, bytes, 100))
        };
        let bound = |blocks: &[usize], verdict, firsts: &[usize]| Bound {
            blocks: blocks.into(),
            verdict,
            firsts: firsts.into(),
        };
        assert_eq!(bind_all(None), bound(&[0, 1, 2], None, &[0, 1, 2]));
        assert_eq!(bind_all(Some(199)), bound(&[0, 1, 2], Some(1), &[0, 1, 2]));
        assert_eq!(bind_all(Some(0)), bound(&[0, 1, 2], Some(3), &[0, 1, 2, 3]));
    }

    #[test]
    fn large_tensors_that_outlive_runs_lie_alone() {
        let places = [
            (Placement::Arena(99), 1),
            (Placement::Arena(100), 1),
            (Placement::Present(0), OWN_BYTES - 1),
            (Placement::Next(4), 4),
            (Placement::Present(1), OWN_BYTES),
            (Placement::Next(1), OWN_BYTES),
        ];
        let found = number(places.iter().map(|(place, bytes)| likely(*place, *bytes, 100)));
        assert_eq!(found.blocks, [0, 1, 2, 2, 3, 4]);
    }
}
