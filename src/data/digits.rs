//! The UCI handwritten digits, embedded: 1,797 grey pictures of 8×8 pixels in ten classes.
//!
//! E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning Repository, CC BY 4.0;
//! the part and the order that scikit-learn ships as `load_digits`. Every fifth image (index % 5 == 4) is a test
//! image.

use std::path::Path;

use super::bytes::Bytes;
use super::{DataError, Dataset, Split, idx};

const IMAGES: &[u8] = include_bytes!("digits-images-idx3-ubyte.gz");
const LABELS: &[u8] = include_bytes!("digits-labels-idx1-ubyte.gz");
/// Each pixel counts the dark ones of a 4×4 block.
const FULL_SCALE: f32 = 16.0;

/// The data set: 1,438 training and 359 test images.
pub fn load() -> Result<Dataset, DataError> {
    let images = idx::inflate(IMAGES, Path::new("digits-images"))?;
    let labels = idx::inflate(LABELS, Path::new("digits-labels"))?;
    let all = idx::split((Path::new("digits-images"), images), (Path::new("digits-labels"), labels))?;
    let (test, train) = (0..all.len()).partition::<Vec<_>, _>(|index| index % 5 == 4);
    Dataset::new("digits()", select(&all, &train)?, select(&all, &test)?, FULL_SCALE)
}

fn select(all: &Split, indices: &[usize]) -> Result<Split, DataError> {
    let mut pixels = Vec::new();
    for index in indices {
        pixels.extend_from_slice(&all.image(*index)?);
    }
    let labels: Vec<i32> = indices.iter().map(|index| all.classes()[*index]).collect();
    Split::new(Bytes::from(pixels), labels, all.shape).map_err(DataError::Option)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first picture of `load_digits().images`.
    const FIRST: [[u8; 8]; 8] = [
        [0, 0, 5, 13, 9, 1, 0, 0],
        [0, 0, 13, 15, 10, 15, 5, 0],
        [0, 3, 15, 2, 0, 11, 8, 0],
        [0, 4, 12, 0, 0, 8, 8, 0],
        [0, 5, 8, 0, 0, 9, 8, 0],
        [0, 4, 11, 0, 1, 12, 7, 0],
        [0, 2, 14, 5, 10, 12, 0, 0],
        [0, 0, 6, 13, 10, 0, 0, 0],
    ];

    #[test]
    fn is_the_data_of_scikit_learn() {
        let digits = load().unwrap();
        assert_eq!((digits.train.len(), digits.test.len()), (1438, 359));
        assert_eq!((digits.shape, digits.classes), ([1, 8, 8], 10));
        assert_eq!(&*digits.train.image(0).unwrap(), FIRST.as_flattened());
        assert_eq!(digits.train.classes()[..6], [0, 1, 2, 3, 5, 6]);
        assert_eq!(digits.test.classes()[..2], [4, 9]);
        let image = |split: &Split, at| split.image(at).unwrap().iter().map(|x| u64::from(*x)).sum::<u64>();
        let sum = |split: &Split| (0..split.len()).map(|at| image(split, at)).sum::<u64>();
        assert_eq!(sum(&digits.train) + sum(&digits.test), 561_718);
        let counts =
            (0..10).map(|class| digits.test.classes().iter().filter(|label| **label == class).count());
        assert_eq!(counts.collect::<Vec<_>>(), [27, 21, 34, 52, 34, 28, 31, 43, 47, 42]);
    }
}
