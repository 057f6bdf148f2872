//! Picture files to pixels, and outputs to PNG.
//!
//! Nothing is converted here that would lose something: a grey picture in three equal channels is one channel and the
//! other way round, but colour is turned to grey and a picture is scaled only where `prepare` says so.

use std::io::Cursor;
use std::path::Path;

use image::{DynamicImage, GrayImage, ImageFormat, RgbImage};

use crate::base::files::write_atomically;
use crate::data::picture::{Picture, decode, from_image};
use crate::runtime::Values;

/// Reads a file as a picture of so many channels; without a number it has those of the file, 1 or 3. Where it is
/// transparent, it lies over `background`.
///
/// # Errors
///
/// What is wrong with the file, in words.
pub fn read(path: &Path, channels: Option<usize>, background: [u8; 3]) -> Result<Picture, String> {
    let name = path.display();
    let image = decode(path, background).map_err(|error| error.to_string())?;
    let is_grey_format = is_grey_format(&image);
    let picture = from_image(&image.into_rgb8());
    let [red, green, blue] = picture.red_green_blue().expect("it has three channels");
    let is_grey = red == green && green == blue;
    match channels.unwrap_or(if is_grey_format { 1 } else { 3 }) {
        1 if is_grey => Ok(Picture::new([1, picture.shape[1], picture.shape[2]], red.to_vec())),
        1 => Err(format!("{name} is in colour, but the model takes 1 channel; save it in grey")),
        3 => Ok(picture),
        count => Err(format!("the model takes {count} channels, but picture files have 1 or 3; use --input")),
    }
}

fn is_grey_format(image: &DynamicImage) -> bool {
    image.color().channel_count() < 3
}

/// Writes values, row-major `[C, H, W]` with 1 or 3 channels, as a PNG file. Numbers of `f32` are from 0 to 1, those
/// beyond are clamped; integers are levels from 0 to 255, and truth is white.
///
/// # Errors
///
/// Where an integer is no level, or the file cannot be written.
pub fn write_png(path: &Path, [channels, height, width]: [usize; 3], values: &Values) -> Result<(), String> {
    let plane = height * width;
    let levels = levels(values)?;
    let bytes = (0..plane).flat_map(|at| levels.iter().skip(at).step_by(plane).take(channels));
    let bytes: Vec<u8> = bytes.copied().collect();
    let (width, height) = (width as u32, height as u32);
    let image = match channels {
        1 => GrayImage::from_raw(width, height, bytes).map(DynamicImage::from),
        _ => RgbImage::from_raw(width, height, bytes).map(DynamicImage::from),
    };
    let image = image.ok_or_else(|| format!("{}: the picture is too large", path.display()))?;
    let mut file = Cursor::new(Vec::new());
    image.write_to(&mut file, ImageFormat::Png).map_err(|error| format!("{}: {error}", path.display()))?;
    write_atomically(path, file.get_ref())
        .map_err(|error| format!("cannot write {}: {error}", path.display()))
}

/// What values are as the levels of a picture.
fn levels(values: &Values) -> Result<Vec<u8>, String> {
    match values {
        Values::F32(values) => {
            Ok(values.iter().map(|value| (value.clamp(0.0, 1.0) * 255.0).round() as u8).collect())
        }
        Values::I32(values) => values.iter().map(|value| level(*value)).collect(),
        Values::U8(values) => Ok(values.clone()),
        Values::Bool(values) => Ok(values.iter().map(|value| u8::from(*value) * u8::MAX).collect()),
    }
}

fn level(value: i32) -> Result<u8, String> {
    u8::try_from(value).map_err(|_| {
        format!("the output has {value}, but the levels of a picture are 0 to 255; write it to a .npy file")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::picture::WHITE;

    #[test]
    fn pictures_are_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.png");
        let values = Values::F32(vec![0.0, 1.0, 0.2, -1.0, 2.0, 0.4]);
        write_png(&path, [1, 2, 3], &values).unwrap();
        let grey = Picture { shape: [1, 2, 3], pixels: vec![0, 255, 51, 0, 255, 102] };
        assert_eq!(read(&path, Some(1), WHITE).unwrap(), grey);
        assert_eq!(read(&path, None, WHITE).unwrap(), grey);
        let three = read(&path, Some(3), WHITE).unwrap();
        assert_eq!((three.shape, three.pixels), ([3, 2, 3], grey.pixels.repeat(3)));
    }

    #[test]
    fn levels_of_every_type() {
        assert_eq!(levels(&Values::F32(vec![0.5, f32::NAN])), Ok(vec![128, 0]));
        assert_eq!(levels(&Values::I32(vec![0, 7, 255])), Ok(vec![0, 7, 255]));
        assert_eq!(levels(&Values::U8(vec![7, 255])), Ok(vec![7, 255]));
        assert_eq!(levels(&Values::Bool(vec![true, false])), Ok(vec![255, 0]));
        for value in [-1, 256] {
            let error = levels(&Values::I32(vec![value])).unwrap_err();
            assert!(error.starts_with(&format!("the output has {value}, but")), "{error}");
        }
    }

    #[test]
    fn colour_is_not_thrown_away() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.png");
        write_png(&path, [3, 1, 2], &Values::F32(vec![1.0, 0.0, 0.0, 1.0, 0.0, 0.0])).unwrap();
        assert_eq!(
            read(&path, None, WHITE).unwrap(),
            Picture { shape: [3, 1, 2], pixels: vec![255, 0, 0, 255, 0, 0] }
        );
        assert!(
            read(&path, Some(1), WHITE)
                .unwrap_err()
                .ends_with("is in colour, but the model takes 1 channel; save it in grey")
        );
        assert!(read(&path, Some(2), WHITE).is_err());
    }

    #[test]
    fn what_is_no_picture_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.png");
        std::fs::write(&path, b"\x89PNG\r\n\x1a\n").unwrap();
        assert!(read(&path, None, WHITE).is_err());
        assert!(read(&folder.path().join("b.png"), None, WHITE).unwrap_err().contains("No such file"));
    }
}
