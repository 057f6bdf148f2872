//! One picture in memory, and picture files to pixels.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use image::{DynamicImage, ImageReader, Limits, RgbImage};

use crate::base::files;

use super::DataError;

/// The most pixels that a side of a picture file may have.
const LONGEST_SIDE: u32 = 1 << 15;
/// The most pixels of a picture file: each is in memory several times while it is read.
const MOST_PIXELS: u64 = 1 << 26;
/// The most bytes that decoding one picture file may take, and that one may have.
const MOST_MEMORY: u64 = 1 << 28;

/// A picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// `[C, H, W]`.
    pub shape: [usize; 3],
    /// Row-major.
    pub pixels: Vec<u8>,
}

impl Picture {
    /// Pixels of a shape, of which there are exactly as many as it needs.
    pub fn new(shape: [usize; 3], pixels: Vec<u8>) -> Picture {
        assert_eq!(pixels.len(), shape.iter().product::<usize>());
        Picture { shape, pixels }
    }

    /// The number of pixels of a channel.
    pub fn plane(&self) -> usize {
        self.shape[1] * self.shape[2]
    }

    /// The channels, one after the other.
    pub fn planes(&self) -> impl Iterator<Item = &[u8]> {
        self.pixels.chunks_exact(self.plane())
    }

    /// The three planes of a picture in colour; none of any other.
    pub fn red_green_blue(&self) -> Option<[&[u8]; 3]> {
        let (red, others) = self.pixels.split_at_checked(self.plane())?;
        let (green, blue) = others.split_at_checked(self.plane())?;
        (self.shape[0] == 3).then_some([red, green, blue])
    }
}

/// The luma of a colour as ITU-R 601 defines it, in the fixed point arithmetic of Pillow's mode `L`.
pub fn luma(red: u8, green: u8, blue: u8) -> u8 {
    let weighted = u32::from(red) * 19_595 + u32::from(green) * 38_470 + u32::from(blue) * 7_471;
    ((weighted + 0x8000) >> 16) as u8
}

/// Decodes a PNG, JPEG or PNM file. Its contents say which, not its name.
///
/// # Errors
///
/// A file that cannot be read, is no such picture, is too large, or has transparent parts.
pub fn decode(path: &Path) -> Result<DynamicImage, DataError> {
    size(path)?;
    let image = open(path)?.decode().map_err(|error| DataError::format(path, error.to_string()))?;
    if image.color().has_alpha() && image.to_rgba8().pixels().any(|pixel| pixel.0[3] != u8::MAX) {
        return Err(DataError::format(path, "the picture has transparent parts; save it without them"));
    }
    Ok(image)
}

/// Decodes a picture file to three channels, red, green and blue; a grey one has them equal.
///
/// # Errors
///
/// As [`decode`].
pub fn read(path: &Path) -> Result<Picture, DataError> {
    Ok(from_image(&decode(path)?.into_rgb8()))
}

/// A decoded picture, its channels apart.
pub fn from_image(image: &RgbImage) -> Picture {
    let (width, height) = (image.width() as usize, image.height() as usize);
    let plane = width * height;
    let mut pixels = vec![0; 3 * plane];
    let (red, others) = pixels.split_at_mut(plane);
    let (green, blue) = others.split_at_mut(plane);
    for (((from, red), green), blue) in image.as_raw().chunks_exact(3).zip(red).zip(green).zip(blue) {
        (*red, *green, *blue) = (from[0], from[1], from[2]);
    }
    Picture::new([3, height, width], pixels)
}

/// The height and width that the head of a picture file claims.
///
/// # Errors
///
/// A file that cannot be read or is no picture, and a picture without pixels or with too many.
pub fn size(path: &Path) -> Result<[usize; 2], DataError> {
    let (width, height) =
        open(path)?.into_dimensions().map_err(|error| DataError::format(path, error.to_string()))?;
    if width == 0 || height == 0 {
        return Err(DataError::format(path, "the picture has no pixels"));
    }
    if u64::from(width) * u64::from(height) > MOST_PIXELS {
        let problem = format!("a picture of {width} by {height} pixels; at most {MOST_PIXELS} are read");
        return Err(DataError::format(path, problem));
    }
    Ok([height as usize, width as usize])
}

fn open(path: &Path) -> Result<ImageReader<BufReader<File>>, DataError> {
    let io = |error| DataError::io(path, error);
    let file = files::open(path).map_err(io)?;
    let bytes = file.metadata().map_err(io)?.len();
    if bytes > MOST_MEMORY {
        let problem = format!("a file of {bytes} bytes; pictures have at most {MOST_MEMORY}");
        return Err(DataError::format(path, problem));
    }
    let mut reader = ImageReader::new(BufReader::new(file)).with_guessed_format().map_err(io)?;
    let mut limits = Limits::default();
    limits.max_image_width = Some(LONGEST_SIDE);
    limits.max_image_height = Some(LONGEST_SIDE);
    limits.max_alloc = Some(MOST_MEMORY);
    reader.limits(limits);
    Ok(reader)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_are_planes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.png");
        image::RgbImage::from_raw(2, 1, vec![1, 2, 3, 4, 5, 6]).unwrap().save(&path).unwrap();
        assert_eq!(read(&path).unwrap(), Picture::new([3, 1, 2], vec![1, 4, 2, 5, 3, 6]));
        assert_eq!(size(&path).unwrap(), [1, 2]);
        image::GrayImage::from_raw(1, 2, vec![7, 9]).unwrap().save(&path).unwrap();
        assert_eq!(read(&path).unwrap(), Picture::new([3, 2, 1], [7, 9].repeat(3)));
    }

    /// Values of `Image.convert("L")` in Pillow.
    #[test]
    fn luma_is_that_of_pillow() {
        let shades = [(255, 0, 0, 76), (0, 255, 0, 150), (0, 0, 255, 29), (255, 255, 255, 255)];
        for (red, green, blue, expect) in shades {
            assert_eq!(luma(red, green, blue), expect);
        }
    }

    fn check_error(contents: &[u8], expect: &str) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.png");
        std::fs::write(&path, contents).unwrap();
        let error = read(&path).unwrap_err().to_string();
        assert!(error.starts_with(&path.display().to_string()) && error.contains(expect), "{error}");
    }

    fn png(width: u32, height: u32, pixel: [u8; 4]) -> Vec<u8> {
        let mut file = std::io::Cursor::new(Vec::new());
        let image = image::RgbaImage::from_pixel(width, height, image::Rgba(pixel));
        image.write_to(&mut file, image::ImageFormat::Png).unwrap();
        file.into_inner()
    }

    #[test]
    fn what_is_no_picture() {
        check_error(b"", "");
        check_error(b"hello, world", "");
        check_error(b"P5\n0 5\n255\n", "the picture has no pixels");
        check_error(b"P5\n5 0\n255\n", "the picture has no pixels");
        let good = png(20, 20, [1, 2, 3, 255]);
        check_error(&good[..good.len() / 2], "");
        check_error(&png(2, 2, [1, 2, 3, 200]), "has transparent parts");
    }

    /// A file of a few bytes that claims 30,000 by 30,000 pixels.
    #[test]
    fn pictures_that_claim_too_much() {
        let mut huge = png(1, 1, [0; 4]);
        huge[16..24].copy_from_slice(&[0, 0, 0x75, 0x30, 0, 0, 0x75, 0x30]);
        let mut crc = flate2::Crc::new();
        crc.update(&huge[12..29]);
        huge[29..33].copy_from_slice(&crc.sum().to_be_bytes());
        check_error(&huge, "a picture of 30000 by 30000 pixels; at most 67108864 are read");
    }
}
