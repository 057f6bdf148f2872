//! From pixels to what a model reads: `f32`, scaled and normalised.
//!
//! A byte has 256 values, so each channel has a table of them and a picture is look-ups. The arithmetic of an entry is
//! that of torchvision's `ToTensor` and `Normalize`: `x / 255`, then `(x - mean) / std`, rounded to `f32` each time.
//! Pictures of numbers go through the same steps, without the division by 255.

use std::sync::Arc;

use super::DataError;
use super::pixels::{Number, Pixels};

/// A step from numbers to numbers.
#[derive(Clone, Debug, PartialEq)]
pub enum Adjust {
    /// A product with this factor.
    Scale(f64),
    Normalize(Normalize),
}

/// Shift and scale per channel; one number stands for every channel.
#[derive(Clone, Debug, PartialEq)]
pub struct Normalize {
    pub mean: Vec<f64>,
    pub std: Vec<f64>,
}

/// A step in one channel.
#[derive(Clone, Copy, Debug)]
enum Change {
    Scale(f32),
    Normalize { mean: f32, std: f32 },
}

impl Change {
    fn apply(self, values: &mut [f32]) {
        match self {
            Change::Scale(factor) => values.iter_mut().for_each(|value| *value *= factor),
            Change::Normalize { mean, std } => {
                values.iter_mut().for_each(|value| *value = (*value - mean) / std);
            }
        }
    }
}

/// The steps of every channel, and the value of every byte after them. A clone shares the tables.
#[derive(Clone, Debug)]
pub struct Prepare {
    tables: Arc<[[f32; 256]]>,
    changes: Arc<[Vec<Change>]>,
}

impl Prepare {
    /// For images of `channels` channels whose pixel value `full_scale` means 1.0; steps in the order in which they
    /// are done.
    ///
    /// # Errors
    ///
    /// A list of numbers that is neither one long nor `channels` long, or a `std` that cannot divide.
    pub fn new(channels: usize, full_scale: f32, steps: &[Adjust]) -> Result<Prepare, DataError> {
        let changes = (0..channels).map(|channel| changes(channel, channels, steps));
        let changes = changes.collect::<Result<Arc<[_]>, _>>()?;
        let tables = changes.iter().map(|changes| table(full_scale, changes)).collect();
        Ok(Prepare { tables, changes })
    }

    /// Writes one picture `[C, H, W]` to `out` of the same size.
    pub fn write_pixels(&self, pixels: &Pixels<'_>, out: &mut [f32]) {
        match pixels {
            Pixels::Bytes(pixels) => self.write(pixels, out),
            Pixels::Numbers(numbers) => self.write_numbers(numbers, out),
        }
    }

    fn write_numbers(&self, numbers: &[Number], out: &mut [f32]) {
        assert_eq!(numbers.len(), out.len());
        let plane = numbers.len() / self.changes.len();
        let planes = numbers.chunks_exact(plane).zip(out.chunks_exact_mut(plane));
        for ((numbers, out), changes) in planes.zip(&*self.changes) {
            for (out, number) in out.iter_mut().zip(numbers) {
                *out = f32::from_le_bytes(*number);
            }
            changes.iter().for_each(|change| change.apply(out));
        }
    }

    /// Writes one picture `[C, H, W]` of bytes, of as many channels as there are tables, to `out` of the same size.
    pub fn write(&self, pixels: &[u8], out: &mut [f32]) {
        assert_eq!(pixels.len(), out.len());
        let plane = pixels.len() / self.tables.len();
        let planes = pixels.chunks_exact(plane).zip(out.chunks_exact_mut(plane));
        for ((pixels, out), table) in planes.zip(&*self.tables) {
            look_up(pixels, table, out);
        }
    }
}

fn look_up(pixels: &[u8], table: &[f32; 256], out: &mut [f32]) {
    for (out, pixel) in out.iter_mut().zip(pixels) {
        *out = table[usize::from(*pixel)];
    }
}

fn table(full_scale: f32, changes: &[Change]) -> [f32; 256] {
    let whole = full_scale + f32::from(u8::from(planted!("data.prepare.full_scale")));
    let mut table = std::array::from_fn(|pixel| pixel as f32 / whole);
    changes.iter().for_each(|change| change.apply(&mut table));
    table
}

fn changes(channel: usize, channels: usize, steps: &[Adjust]) -> Result<Vec<Change>, DataError> {
    let change = |step: &Adjust| match step {
        Adjust::Scale(factor) => Ok(Change::Scale(*factor as f32)),
        Adjust::Normalize(Normalize { mean, std }) => {
            let mean = number("mean", mean, channel, channels)?;
            let std = number("std", std, channel, channels)?;
            if std == 0.0 {
                let problem = "the `std` of normalize(mean, std) is 0; it divides";
                return Err(DataError::Option(problem.into()));
            }
            let mean = if planted!("data.prepare.mean") { mean * std } else { mean };
            Ok(Change::Normalize { mean, std })
        }
    };
    steps.iter().map(change).collect()
}

fn number(name: &str, numbers: &[f64], channel: usize, channels: usize) -> Result<f32, DataError> {
    let value = match numbers {
        [one] => *one,
        list if list.len() == channels => list[if planted!("data.prepare.channel") { 0 } else { channel }],
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_have_tables_of_their_own() {
        let steps = [Adjust::Normalize(Normalize { mean: vec![1.0, 2.0], std: vec![0.5] })];
        let mut out = [0.0; 4];
        Prepare::new(2, 1.0, &steps).unwrap().write(&[3, 4, 3, 4], &mut out);
        assert_eq!(out, [4.0, 6.0, 2.0, 4.0]);
    }

    #[test]
    fn steps_are_done_in_order() {
        let normalize = Adjust::Normalize(Normalize { mean: vec![1.0], std: vec![1.0] });
        let value = |steps: &[Adjust]| Prepare::new(1, 1.0, steps).unwrap().tables[0][3];
        assert_eq!(value(&[Adjust::Scale(2.0), normalize.clone()]), 5.0);
        assert_eq!(value(&[normalize, Adjust::Scale(2.0)]), 4.0);
    }

    /// Numbers are what a model reads, and go through the same steps as bytes do.
    #[test]
    fn numbers_are_not_scaled_by_themselves() {
        let normalize = Adjust::Normalize(Normalize { mean: vec![1.0, 2.0], std: vec![0.5] });
        let numbers = [1.0_f32, -0.5, 300.0, f32::MIN_POSITIVE];
        let pixels = Pixels::Numbers(numbers.map(f32::to_le_bytes).to_vec().into());
        let values = |steps: &[Adjust]| {
            let mut out = [0.0; 4];
            Prepare::new(2, 1.0, steps).unwrap().write_pixels(&pixels, &mut out);
            out
        };
        assert_eq!(values(&[]), numbers);
        assert_eq!(values(&[Adjust::Scale(2.0), normalize]), [2.0, -4.0, 1196.0, -4.0]);
    }

    /// What `Normalize(0.1307, 0.3081)(ToTensor()(image))` of torchvision gives, by their bits.
    #[test]
    fn rounds_as_torchvision_does() {
        let mnist = Normalize { mean: vec![0.1307], std: vec![0.3081] };
        let prepare = Prepare::new(1, 255.0, &[Adjust::Normalize(mnist)]).unwrap();
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

    fn error(mean: &[f64], std: &[f64]) -> String {
        let normalize = Normalize { mean: mean.to_vec(), std: std.to_vec() };
        Prepare::new(3, 255.0, &[Adjust::Normalize(normalize)]).unwrap_err().to_string()
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
