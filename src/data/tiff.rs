//! What the `image` crate does not see in a TIFF file: palettes, and colours that are multiplied by their opacity.

use std::borrow::Cow;
use std::io::Cursor;

use ::tiff::TiffError;
use ::tiff::decoder::Decoder;
use ::tiff::tags::Tag;
use image::{DynamicImage, RgbImage};

/// Values of tags.
const PALETTE: u16 = 3;
const BLACK_IS_ZERO: u16 = 1;
const OLD_JPEG: u16 = 6;
const JPEG: u16 = 7;
const MULTIPLIED: u16 = 1;
/// The number of the tag that says what samples are.
const PHOTOMETRIC: u16 = 262;
/// Colours of a palette.
const COLOURS: usize = 256;

/// A TIFF file as the `image` crate can read it.
pub(super) struct Tiff<'a> {
    /// Where pixels are numbers of colours, they are shades of grey here.
    pub bytes: Cow<'a, [u8]>,
    /// Whether the opacities have been multiplied into the colours.
    pub is_multiplied: bool,
    /// All parts of red, of green and of blue.
    palette: Option<Vec<u16>>,
}

impl Tiff<'_> {
    /// Looks at the tags of the first picture.
    ///
    /// # Errors
    ///
    /// No TIFF file; one with JPEG data, which may be cut off without a sign; and a palette of another size than 256.
    pub fn open(bytes: &[u8]) -> Result<Tiff<'_>, String> {
        let problem = |error: TiffError| error.to_string();
        let mut decoder = Decoder::new(Cursor::new(bytes)).map_err(problem)?;
        let mut tag = |tag| decoder.find_tag_unsigned_vec::<u16>(tag).map_err(problem);
        let first = |values: Option<Vec<u16>>| values.and_then(|values| values.first().copied());
        if matches!(first(tag(Tag::Compression)?), Some(OLD_JPEG | JPEG)) {
            return Err("TIFF files with JPEG data are not read".into());
        }
        let is_multiplied = first(tag(Tag::ExtraSamples)?) == Some(MULTIPLIED);
        if first(tag(Tag::PhotometricInterpretation)?) != Some(PALETTE) {
            return Ok(Tiff { bytes: bytes.into(), is_multiplied, palette: None });
        }
        let palette = tag(Tag::ColorMap)?.filter(|palette| palette.len() == 3 * COLOURS);
        match palette.zip(as_grey(bytes)) {
            Some((palette, bytes)) => Ok(Tiff { bytes: bytes.into(), is_multiplied, palette: Some(palette) }),
            None => Err(format!("TIFF files with palettes of other than {COLOURS} colours are not read")),
        }
    }

    /// The picture of the file, in the colours of its palette if it has one.
    pub fn coloured(&self, image: DynamicImage) -> DynamicImage {
        let Some(palette) = &self.palette else { return image };
        let image = image.into_luma8();
        let part = |number: u8, part: usize| (palette[part * COLOURS + usize::from(number)] >> 8) as u8;
        let pixels = image.as_raw().iter().flat_map(|number| [0, 1, 2].map(|at| part(*number, at)));
        RgbImage::from_raw(image.width(), image.height(), pixels.collect()).expect("as many pixels").into()
    }
}

/// The bytes of a file with a palette, as if its pixels were shades of grey. None for a large TIFF (version 43).
fn as_grey(bytes: &[u8]) -> Option<Vec<u8>> {
    let is_little = bytes.starts_with(b"II*\0");
    let number = |at: usize| {
        let pair = *bytes.get(at..)?.first_chunk::<2>()?;
        Some(if is_little { u16::from_le_bytes(pair) } else { u16::from_be_bytes(pair) })
    };
    if !is_little && !bytes.starts_with(b"MM\0*") {
        return None;
    }
    let place = *bytes.get(4..)?.first_chunk::<4>()?;
    let place = if is_little { u32::from_le_bytes(place) } else { u32::from_be_bytes(place) } as usize;
    let mut entries = (0..usize::from(number(place)?)).map(|entry| place + 2 + 12 * entry);
    let value = entries.find(|at| number(*at) == Some(PHOTOMETRIC))? + 8;
    let grey = if is_little { BLACK_IS_ZERO.to_le_bytes() } else { BLACK_IS_ZERO.to_be_bytes() };
    let mut bytes = bytes.to_vec();
    bytes.get_mut(value..value + 2)?.copy_from_slice(&grey);
    Some(bytes)
}
