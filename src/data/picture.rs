//! One picture in memory, and picture files to pixels.

use std::io::Read;
use std::path::Path;

use image::metadata::Orientation::{Rotate90, Rotate90FlipH, Rotate270, Rotate270FlipH};
use image::{DynamicImage, GrayImage, RgbImage};

use crate::base::files;

use super::DataError;
use super::formats::{self, Decoded, Head, LONGEST_SIDE, MOST_MEMORY};

/// What transparent pictures lie over where nothing else is said.
pub const WHITE: [u8; 3] = [255; 3];
/// The most pixels of a picture file: each is in memory several times while it is read.
const MOST_PIXELS: u64 = 1 << 26;

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

/// Decodes a picture file, of a kind that `formats` knows; its contents say which, not its name. The picture is turned
/// as the file says, and where it is transparent it lies over `background`, red, green and blue. One in grey stays so,
/// unless it lies over a colour; 16 bits become 8 by rounding.
///
/// # Errors
///
/// A file that cannot be read, is no such picture, is cut off, or is too large.
pub fn decode(path: &Path, background: [u8; 3]) -> Result<DynamicImage, DataError> {
    of_bytes(&load(path)?, background).map_err(|problem| DataError::format(path, problem))
}

/// Decodes the bytes of a picture file as [`decode`] does.
///
/// # Errors
///
/// What is wrong with them, in words.
pub fn of_bytes(bytes: &[u8], background: [u8; 3]) -> Result<DynamicImage, String> {
    size_of_bytes(bytes)?;
    let Decoded { image, orientation, is_multiplied } = formats::decode(bytes)?;
    let mut image = over(image, background, is_multiplied);
    image.apply_orientation(orientation);
    Ok(image)
}

/// Decodes a picture file to three channels, red, green and blue; a grey one has them equal.
///
/// # Errors
///
/// As [`decode`].
pub fn read(path: &Path, background: [u8; 3]) -> Result<Picture, DataError> {
    Ok(from_image(&decode(path, background)?.into_rgb8()))
}

/// A picture over a background, in 8 bits a channel. `is_multiplied` says that colours are multiplied by their opacity
/// already.
fn over(image: DynamicImage, background: [u8; 3], is_multiplied: bool) -> DynamicImage {
    let is_grey = image.color().channel_count() < 3;
    if !image.color().has_alpha() {
        return if is_grey { image.into_luma8().into() } else { image.into_rgb8().into() };
    }
    let image = image.into_rgba8();
    let (width, height) = image.dimensions();
    let blend = |pixel: &image::Rgba<u8>, channel: usize| {
        let [colour, behind, alpha] = [pixel.0[channel], background[channel], pixel.0[3]].map(u32::from);
        let colour = if is_multiplied { 255 * colour } else { alpha * colour };
        ((colour + (255 - alpha) * behind + 127) / 255).min(255) as u8
    };
    let is_grey = is_grey && background == [background[0]; 3];
    let image = if is_grey {
        let pixels = image.pixels().map(|pixel| blend(pixel, 0)).collect();
        GrayImage::from_raw(width, height, pixels).map(DynamicImage::from)
    } else {
        let pixels = image.pixels().flat_map(|pixel| [0, 1, 2].map(|channel| blend(pixel, channel)));
        RgbImage::from_raw(width, height, pixels.collect()).map(DynamicImage::from)
    };
    image.expect("it has the pixels of the other")
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

/// The height and width that the head of a picture file claims, after it is turned as the file says.
///
/// # Errors
///
/// A file that cannot be read or is no picture, and a picture without pixels or with too many.
pub fn size(path: &Path) -> Result<[usize; 2], DataError> {
    size_of_bytes(&load(path)?).map_err(|problem| DataError::format(path, problem))
}

/// The height and width of the bytes of a picture file, as [`size`] says them.
///
/// # Errors
///
/// What is wrong with them, in words.
pub fn size_of_bytes(bytes: &[u8]) -> Result<[usize; 2], String> {
    let Head { width, height, orientation } = formats::head(bytes)?;
    if width == 0 || height == 0 {
        return Err("the picture has no pixels".into());
    }
    if width.max(height) > LONGEST_SIDE {
        return Err(format!("a picture of {width} by {height} pixels; sides have at most {LONGEST_SIDE}"));
    }
    if u64::from(width) * u64::from(height) > MOST_PIXELS {
        return Err(format!("a picture of {width} by {height} pixels; at most {MOST_PIXELS} are read"));
    }
    let size = [height as usize, width as usize];
    let is_turned = [Rotate90, Rotate270, Rotate90FlipH, Rotate270FlipH].contains(&orientation);
    Ok(if is_turned { [size[1], size[0]] } else { size })
}

/// The bytes of a file that is not too large.
fn load(path: &Path) -> Result<Vec<u8>, DataError> {
    let io = |error| DataError::io(path, error);
    let file = files::open(path).map_err(io)?;
    let length = file.metadata().map_err(io)?.len();
    if length > MOST_MEMORY {
        let problem = format!("a file of {length} bytes; pictures have at most {MOST_MEMORY}");
        return Err(DataError::format(path, problem));
    }
    let mut bytes = Vec::with_capacity(length as usize + 1);
    // One that grows meanwhile is cut off, and then no picture.
    file.take(MOST_MEMORY).read_to_end(&mut bytes).map_err(io)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_are_planes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.png");
        image::RgbImage::from_raw(2, 1, vec![1, 2, 3, 4, 5, 6]).unwrap().save(&path).unwrap();
        assert_eq!(read(&path, WHITE).unwrap(), Picture::new([3, 1, 2], vec![1, 4, 2, 5, 3, 6]));
        assert_eq!(size(&path).unwrap(), [1, 2]);
        image::GrayImage::from_raw(1, 2, vec![7, 9]).unwrap().save(&path).unwrap();
        assert_eq!(read(&path, WHITE).unwrap(), Picture::new([3, 2, 1], [7, 9].repeat(3)));
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
        let error = read(&path, WHITE).unwrap_err().to_string();
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
    }

    /// Today such a picture is an error.
    #[test]
    fn transparent_pictures_lie_over_a_background() {
        let check = |pixel: [u8; 4], background: [u8; 3], expect: [u8; 3]| {
            let image = of_bytes(&png(1, 1, pixel), background).unwrap().into_rgb8();
            assert_eq!(image.as_raw()[..], expect, "{pixel:?} over {background:?}");
        };
        check([1, 2, 3, 255], WHITE, [1, 2, 3]);
        check([1, 2, 3, 0], [9, 8, 7], [9, 8, 7]);
        check([100, 0, 50, 51], [0, 255, 50], [20, 204, 50]);
        let mut file = std::io::Cursor::new(Vec::new());
        let grey = image::GrayAlphaImage::from_pixel(1, 1, image::LumaA([50, 51]));
        grey.write_to(&mut file, image::ImageFormat::Png).unwrap();
        // A grey one is no longer grey over a colour.
        assert!(matches!(of_bytes(file.get_ref(), WHITE).unwrap(), DynamicImage::ImageLuma8(_)));
        let image = of_bytes(file.get_ref(), [0, 50, 255]).unwrap();
        assert_eq!(image.as_rgb8().unwrap().as_raw()[..], [10, 50, 214]);
    }

    #[derive(serde::Deserialize)]
    #[serde(untagged)]
    enum Expected {
        Shown { shape: [usize; 2], rgb: String },
        Error(String),
    }

    /// Decodes a fixture, and compares with what it shows.
    fn check_fixture(name: &str, bytes: &[u8], expect: &Expected) {
        let (picture, size) = (of_bytes(bytes, WHITE), size_of_bytes(bytes));
        let (shape, rgb) = match expect {
            Expected::Shown { shape, rgb } => (shape, rgb),
            Expected::Error(word) => {
                let problem = picture.expect_err(name);
                assert!(word == "error" && problem.lines().count() == 1, "{name}: {problem}");
                return;
            }
        };
        let picture = picture.unwrap_or_else(|problem| panic!("{name}: {problem}")).into_rgb8();
        assert_eq!(size, Ok(*shape), "{name}");
        assert_eq!([picture.height() as usize, picture.width() as usize], *shape, "{name}");
        let lossy = name.ends_with(".jpg") || name.starts_with("lossy");
        let levels = (0..rgb.len() / 2).map(|at| u8::from_str_radix(&rgb[2 * at..2 * at + 2], 16).unwrap());
        let far = picture.as_raw().iter().zip(levels).map(|(ours, theirs)| ours.abs_diff(theirs)).max();
        assert!(far.unwrap() <= if lossy { 5 } else { 0 }, "{name} is off by {far:?} levels");
    }

    /// What `tests/fixtures/pictures.py` wrote down. Today a third of them are errors that are none, and others are
    /// pictures that are cut off, lie on their side or have the components of several scans mixed up.
    #[test]
    fn pictures_of_every_kind_are_right_or_errors() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/pictures");
        let text = std::fs::read_to_string(folder.join("expected.json")).unwrap();
        let expected: std::collections::BTreeMap<String, Expected> = serde_json::from_str(&text).unwrap();
        assert!(expected.len() > 100);
        for (name, expect) in &expected {
            check_fixture(name, &std::fs::read(folder.join(name)).unwrap(), expect);
        }
    }

    /// All of them or a picture that is the same.
    #[test]
    fn other_formats_say_that_they_are_cut_off() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/pictures");
        let names = [
            "palette4.png",
            "rgb.bmp",
            "runs.bmp",
            "clear.gif",
            "lzw.tif",
            "tiled.tif",
            "lossy.webp",
            "bytes.ppm",
        ];
        for name in names {
            let whole = std::fs::read(folder.join(name)).unwrap();
            let picture = of_bytes(&whole, WHITE).unwrap();
            for length in 0..whole.len() {
                let differs = of_bytes(&whole[..length], WHITE).is_ok_and(|other| other != picture);
                assert!(!differs, "{name} of {length} bytes");
            }
        }
    }

    /// The decoder takes as much memory as a chunk claims to have.
    #[test]
    fn chunks_that_claim_too_much() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/pictures");
        let mut bytes = std::fs::read(folder.join("turned.webp")).unwrap();
        let exif = bytes.windows(4).rposition(|name| name == b"EXIF").unwrap();
        bytes[exif + 4..exif + 8].fill(0xF0);
        check_error(&bytes, "the WebP file is cut off");
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
