//! A made-up data set: a pattern for each class, and noise on every picture.
//!
//! Patterns are coarse, four by four fields of one random value in each channel, so that a small network tells them
//! apart. A pixel is the mean of its field and of a random byte. Labels go round, so classes are balanced.

use super::bytes::Bytes;
use super::draws::CounterRng;
use super::{DataError, Dataset, Split};
use crate::base::philox;

/// The fields of a pattern in each direction.
const FIELDS: usize = 4;
/// The most images of a split.
const MOST_IMAGES: usize = 1 << 26;
/// The most bytes of a split.
const MOST_BYTES: usize = u32::MAX as usize;

/// What is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    pub classes: usize,
    /// `[C, H, W]`.
    pub size: [usize; 3],
    /// The number of training images.
    pub train: usize,
    /// The number of test images.
    pub test: usize,
    pub seed: u64,
}

/// Makes the data set.
///
/// # Errors
///
/// More than 4 GiB of pictures, or too many of them.
pub fn load(options: &Options) -> Result<Dataset, DataError> {
    let Options { classes, train, test, .. } = *options;
    let (train, test) = (split(options, "train", train)?, split(options, "test", test)?);
    Dataset::numbered("synthetic(...)", train, test, 255.0, classes)
}

fn split(options: &Options, name: &str, images: usize) -> Result<Split, DataError> {
    let len = options.size.iter().try_fold(1_usize, |len, extent| len.checked_mul(*extent));
    if images > MOST_IMAGES {
        let problem = format!("synthetic(...): {images} images; it makes at most {MOST_IMAGES}");
        return Err(DataError::Option(problem));
    }
    let bytes = len.and_then(|len| len.checked_mul(images)).filter(|bytes| *bytes <= MOST_BYTES);
    let Some(bytes) = bytes else {
        let problem = format!("synthetic(...): {images} images of {:?} are more than 4 GiB", options.size);
        return Err(DataError::Option(problem));
    };
    let labels: Vec<i32> = (0..images).map(|image| (image % options.classes) as i32).collect();
    let mut pixels = Vec::with_capacity(bytes);
    let stream = philox::stream(if planted!("data.synthetic.noise") { "train" } else { name });
    for (image, label) in labels.iter().enumerate() {
        let noise = CounterRng::new(options.seed, 0, image as u32, stream);
        add_picture(options, *label as u32, noise, &mut pixels);
    }
    Split::new(Bytes::from(pixels), labels, options.size).map_err(DataError::Option)
}

fn add_picture(options: &Options, class: u32, mut noise: CounterRng, pixels: &mut Vec<u8>) {
    let [channels, height, width] = options.size;
    let mut draws = CounterRng::new(options.seed, 0, class, philox::stream("pattern"));
    for _ in 0..channels {
        let pattern: [[u32; FIELDS]; FIELDS] =
            std::array::from_fn(|_| std::array::from_fn(|_| draws.bits() & 255));
        for row in 0..height {
            let fields = &pattern[row * FIELDS / height];
            pixels.extend((0..width).map(|column| {
                let field = fields[column * FIELDS / width];
                ((field + (noise.bits() & 255)) / 2) as u8
            }));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> Options {
        Options { classes: 3, size: [2, 8, 12], train: 31, test: 7, seed: 5 }
    }

    /// The image of the other split nearest to each image, by squared distance, is of the same class.
    #[test]
    fn classes_are_told_apart() {
        let data = load(&options()).unwrap();
        assert_eq!((data.shape, data.train.len(), data.test.len(), data.classes), ([2, 8, 12], 31, 7, 3));
        for at in 0..7 {
            let image = data.test.image(at).unwrap();
            let distance = |other: usize| {
                let other = data.train.image(other).unwrap();
                image.iter().zip(&*other).map(|(a, b)| (i64::from(*a) - i64::from(*b)).pow(2)).sum::<i64>()
            };
            let nearest = (0..31).min_by_key(|other| distance(*other)).unwrap();
            assert_eq!(data.train.classes()[nearest], data.test.classes()[at]);
            assert_ne!(distance(nearest), 0);
        }
    }

    #[test]
    fn labels_are_balanced_and_pictures_repeat_by_seed() {
        let data = load(&options()).unwrap();
        let count = |class: i32| data.train.classes().iter().filter(|label| **label == class).count();
        assert_eq!([count(0), count(1), count(2)], [11, 10, 10]);
        let image = |seed| load(&Options { seed, ..options() }).unwrap().train.image(3).unwrap().into_owned();
        assert_eq!(image(5), image(5));
        assert_ne!(image(5), image(6));
    }

    #[test]
    fn small_pictures_and_too_many() {
        assert!(load(&Options { size: [1, 1, 1], ..options() }).is_ok());
        let error = load(&Options { size: [3, 65536, 65536], ..options() }).unwrap_err().to_string();
        assert_eq!(error, "synthetic(...): 31 images of [3, 65536, 65536] are more than 4 GiB");
        assert!(load(&Options { size: [usize::MAX, 2, 2], ..options() }).is_err());
        let error = load(&Options { size: [1, 1, 1], train: 1 << 27, ..options() }).unwrap_err().to_string();
        assert_eq!(error, "synthetic(...): 134217728 images; it makes at most 67108864");
    }
}
