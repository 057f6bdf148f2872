//! The pixels of one picture, in the type of their source.

use std::borrow::Cow;

/// An `f32` as it is stored, little-endian.
pub type Number = [u8; 4];

/// The pixels of a picture, `[C, H, W]`, row-major.
#[derive(Clone, Debug)]
pub enum Pixels<'a> {
    /// From 0 to the largest value, which means 1.0.
    Bytes(Cow<'a, [u8]>),
    /// What a model reads itself, where no step of `prepare` changes it.
    Numbers(Cow<'a, [Number]>),
}

impl Pixels<'_> {
    /// The number of pixels of all channels.
    pub fn len(&self) -> usize {
        match self {
            Pixels::Bytes(bytes) => bytes.len(),
            Pixels::Numbers(numbers) => numbers.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The same, for as long as one likes.
    pub fn into_owned(self) -> Pixels<'static> {
        match self {
            Pixels::Bytes(bytes) => Pixels::Bytes(Cow::Owned(bytes.into_owned())),
            Pixels::Numbers(numbers) => Pixels::Numbers(Cow::Owned(numbers.into_owned())),
        }
    }
}
