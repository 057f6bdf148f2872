//! From pixels to what a model reads: `f32`, normalised, in a batch's layout.
//!
//! A pixel has 256 values, so each channel has a table of them and a batch is look-ups. The arithmetic of an entry is
//! that of torchvision's `ToTensor` and `Normalize`: `x / 255`, then `(x - mean) / std`, rounded to `f32` each time.

use super::{DataError, Split};

/// Shift and scale per channel; one number stands for every channel.
#[derive(Clone, Debug, PartialEq)]
pub struct Normalize {
    pub mean: Vec<f64>,
    pub std: Vec<f64>,
}

/// The value of every pixel in every channel.
#[derive(Clone, Debug)]
pub struct Prepare {
    tables: Vec<[f32; 256]>,
}

impl Prepare {
    /// For images of `channels` channels whose pixel value `full_scale` means 1.0.
    ///
    /// An error if a list of numbers is neither one long nor `channels` long, or a `std` cannot divide.
    pub fn new(
        channels: usize,
        full_scale: f32,
        normalize: Option<&Normalize>,
    ) -> Result<Prepare, DataError> {
        let tables = (0..channels).map(|channel| table(channel, channels, full_scale, normalize));
        Ok(Prepare { tables: tables.collect::<Result<_, _>>()? })
    }
}

fn table(
    channel: usize,
    channels: usize,
    full_scale: f32,
    normalize: Option<&Normalize>,
) -> Result<[f32; 256], DataError> {
    let unit = |pixel: usize| pixel as f32 / full_scale;
    let Some(Normalize { mean, std }) = normalize else { return Ok(std::array::from_fn(unit)) };
    let mean = number("mean", mean, channel, channels)?;
    let std = number("std", std, channel, channels)?;
    if std == 0.0 {
        return Err(DataError::Option("the `std` of normalize(mean, std) is 0; it divides".into()));
    }
    Ok(std::array::from_fn(|pixel| (unit(pixel) - mean) / std))
}

fn number(name: &str, numbers: &[f64], channel: usize, channels: usize) -> Result<f32, DataError> {
    let value = match numbers {
        [one] => *one,
        list if list.len() == channels => list[channel],
        list => {
            let problem = format!("the `{name}` of normalize(mean, std) lists {} numbers", list.len());
            return Err(DataError::Option(format!("{problem}, but images have {channels} channels")));
        }
    };
    let value = value as f32;
    if value.is_finite() {
        Ok(value)
    } else {
        Err(DataError::Option(format!("the `{name}` of normalize(mean, std) is not finite")))
    }
}

/// Writes the images `indices` as `[N, C, H, W]` to `out`, which has exactly that many elements.
pub fn fill_batch(split: &Split, indices: &[u32], prepare: &Prepare, out: &mut [f32]) {
    let [channels, height, width] = split.shape;
    assert_eq!(prepare.tables.len(), channels);
    assert_eq!(out.len(), indices.len() * split.image_len());
    let pixels: &[u8] = &split.pixels;
    for (index, out) in indices.iter().zip(out.chunks_exact_mut(split.image_len())) {
        let image = image(pixels, *index, split.image_len());
        let planes = image.chunks_exact(height * width).zip(out.chunks_exact_mut(height * width));
        for ((pixels, out), table) in planes.zip(&prepare.tables) {
            look_up(pixels, table, out);
        }
    }
}

fn image(pixels: &[u8], index: u32, len: usize) -> &[u8] {
    let start = index as usize * len;
    &pixels[start..start + len]
}

fn look_up(pixels: &[u8], table: &[f32; 256], out: &mut [f32]) {
    for (out, pixel) in out.iter_mut().zip(pixels) {
        *out = table[usize::from(*pixel)];
    }
}

/// Writes the images `indices` as `[ceil(N / lanes), C, H, W, lanes]` to `out`, which has exactly that many elements:
/// `lanes` images side by side. Lanes beyond `N` repeat the last image, so that they hold ordinary numbers.
pub fn fill_batch_lanes(split: &Split, indices: &[u32], lanes: usize, prepare: &Prepare, out: &mut [f32]) {
    assert_eq!(prepare.tables.len(), split.shape[0]);
    assert_eq!(out.len(), indices.len().div_ceil(lanes) * lanes * split.image_len());
    let last = indices.last().copied();
    let blocks = indices.chunks(lanes).zip(out.chunks_exact_mut(lanes * split.image_len()));
    for (block, out) in blocks {
        let side_by_side = (0..lanes).filter_map(|lane| block.get(lane).copied().or(last));
        for (lane, index) in side_by_side.enumerate() {
            fill_lane(split, index, prepare, lane, lanes, out);
        }
    }
}

/// Writes one image to lane `lane` of a block.
fn fill_lane(split: &Split, index: u32, prepare: &Prepare, lane: usize, lanes: usize, out: &mut [f32]) {
    let [_, height, width] = split.shape;
    let image = image(&split.pixels, index, split.image_len());
    let planes = image.chunks_exact(height * width).zip(out.chunks_exact_mut(height * width * lanes));
    for ((pixels, out), table) in planes.zip(&prepare.tables) {
        for (pixel, out) in pixels.iter().zip(out.chunks_exact_mut(lanes)) {
            out[lane] = table[usize::from(*pixel)];
        }
    }
}

/// Writes the labels of the images `indices` to `out`; elements beyond them repeat the last one.
pub fn fill_labels(split: &Split, indices: &[u32], out: &mut [i32]) {
    let Some(last) = indices.last() else { return };
    for (position, out) in out.iter_mut().enumerate() {
        let index = indices.get(position).unwrap_or(last);
        *out = split.labels[*index as usize];
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::bytes::Bytes;

    /// Three images of two channels of 1×2 pixels; pixel `p` of channel `c` of image `i` is `100 i + 10 c + p`.
    fn split() -> Split {
        let pixels = (0..3).flat_map(|i| [0, 1, 10, 11].map(|offset| 100 * i + offset)).collect::<Vec<u8>>();
        Split::new(Bytes::from(pixels), vec![5, 6, 7], [2, 1, 2])
    }

    fn plain() -> Prepare {
        Prepare::new(2, 1.0, None).unwrap()
    }

    #[test]
    fn images_follow_each_other() {
        let mut out = [0.0; 8];
        fill_batch(&split(), &[2, 0], &plain(), &mut out);
        assert_eq!(out, [200.0, 201.0, 210.0, 211.0, 0.0, 1.0, 10.0, 11.0]);
    }

    #[test]
    fn lanes_lie_side_by_side_and_repeat_the_last_image() {
        let mut out = [f32::NAN; 16];
        fill_batch_lanes(&split(), &[1, 2, 0], 2, &plain(), &mut out);
        assert_eq!(out[..8], [100.0, 200.0, 101.0, 201.0, 110.0, 210.0, 111.0, 211.0]);
        assert_eq!(out[8..], [0.0, 0.0, 1.0, 1.0, 10.0, 10.0, 11.0, 11.0]);
    }

    #[test]
    fn labels_repeat_too() {
        let mut out = [0; 4];
        fill_labels(&split(), &[1, 2, 0], &mut out);
        assert_eq!(out, [6, 7, 5, 5]);
    }

    /// What `Normalize(0.1307, 0.3081)(ToTensor()(image))` of torchvision gives, by their bits.
    #[test]
    fn rounds_as_torchvision_does() {
        let mnist = Normalize { mean: vec![0.1307], std: vec![0.3081] };
        let prepare = Prepare::new(1, 255.0, Some(&mnist)).unwrap();
        let pixels = [0, 1, 2, 7, 100, 128, 200, 254, 255];
        let bits = pixels.map(|pixel| prepare.tables[0][pixel].to_bits());
        assert_eq!(bits, TORCHVISION);
    }

    const TORCHVISION: [u32; 9] = [
        0xbed9_3271,
        0xbed2_ae20,
        0xbecc_29d0,
        0xbeab_943d,
        0x3f59_3e88,
        0x3f9a_3d7a,
        0x4007_c593,
        0x4033_c2b3,
        0x4034_933d,
    ];

    #[test]
    fn lists_are_per_channel() {
        let normalize = Normalize { mean: vec![1.0, 2.0], std: vec![0.5] };
        let prepare = Prepare::new(2, 1.0, Some(&normalize)).unwrap();
        assert_eq!((prepare.tables[0][3], prepare.tables[1][3]), (4.0, 2.0));
    }

    fn error(mean: &[f64], std: &[f64]) -> String {
        let normalize = Normalize { mean: mean.to_vec(), std: std.to_vec() };
        Prepare::new(3, 255.0, Some(&normalize)).unwrap_err().to_string()
    }

    #[test]
    fn wrong_options_are_errors() {
        let message = "the `mean` of normalize(mean, std) lists 2 numbers, but images have 3 channels";
        assert_eq!(error(&[0.0, 0.0], &[1.0]), message);
        assert!(error(&[0.0], &[0.0]).contains("is 0"));
        assert!(error(&[f64::NAN], &[1.0]).contains("not finite"));
        assert!(error(&[0.0], &[1e-60]).contains("is 0"));
        assert!(error(&[], &[1.0]).contains("lists 0 numbers"));
    }
}
