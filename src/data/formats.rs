//! The formats of picture files: which one bytes are, what their head says, and what they hold.
//!
//! JPEG has a module of its own, and so has what is special of TIFF; the rest is done by the `image` crate, whose gaps are
//! closed here: an orientation behind the pixels of a PNG, a palette of no whole colours, and chunks of a WebP that claim
//! to be longer than the file. Of files with several pictures the first one counts.

use std::io::Cursor;

use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader, Limits};

use super::jpeg;
pub(super) use super::jpeg::Head;
use super::tiff::Tiff;

/// The most pixels that a side of a picture file may have.
pub(super) const LONGEST_SIDE: u32 = 1 << 15;
/// The most bytes that decoding one picture file may take, and that one may have.
pub(super) const MOST_MEMORY: u64 = 1 << 28;

/// The endings of the names of picture files, in small letters, in the order in which people are told of them.
pub const ENDINGS: [&str; 12] =
    ["png", "jpg", "jpeg", "bmp", "gif", "tif", "tiff", "webp", "pbm", "pgm", "ppm", "pnm"];

/// A picture as it is stored.
pub(super) struct Decoded {
    pub image: DynamicImage,
    /// How it is to be turned.
    pub orientation: Orientation,
    /// Whether its colours are multiplied by their opacity.
    pub is_multiplied: bool,
}

/// The size of the picture as it is stored, and how it is to be turned.
///
/// # Errors
///
/// Bytes that are no picture, in words.
pub(super) fn head(bytes: &[u8]) -> Result<Head, String> {
    match format(bytes)? {
        ImageFormat::Jpeg => jpeg::head(bytes),
        ImageFormat::Tiff => head_by(&Tiff::open(bytes)?.bytes, ImageFormat::Tiff),
        format => head_by(bytes, format),
    }
}

fn head_by(bytes: &[u8], format: ImageFormat) -> Result<Head, String> {
    let mut decoder = decoder(bytes, format)?;
    let (width, height) = decoder.dimensions();
    Ok(Head { width, height, orientation: orientation(bytes, format, &mut decoder)? })
}

/// The picture.
///
/// # Errors
///
/// Bytes that are no picture, or one that is cut off, damaged, too large, or of a kind that is not read, in words.
pub(super) fn decode(bytes: &[u8]) -> Result<Decoded, String> {
    match format(bytes)? {
        ImageFormat::Jpeg => {
            let (image, orientation) = jpeg::decode(bytes)?;
            Ok(Decoded { image, orientation, is_multiplied: false })
        }
        ImageFormat::Tiff => {
            let file = Tiff::open(bytes)?;
            let decoded = decode_by(&file.bytes, ImageFormat::Tiff)?;
            Ok(Decoded { image: file.coloured(decoded.image), is_multiplied: file.is_multiplied, ..decoded })
        }
        format => decode_by(bytes, format),
    }
}

fn decode_by(bytes: &[u8], format: ImageFormat) -> Result<Decoded, String> {
    let mut decoder = decoder(bytes, format)?;
    let needed = decoder.total_bytes();
    if needed > MOST_MEMORY {
        return Err(format!("a picture of {needed} bytes in memory; at most {MOST_MEMORY} are read"));
    }
    let orientation = orientation(bytes, format, &mut decoder)?;
    let image = DynamicImage::from_decoder(decoder).map_err(in_a_line)?;
    Ok(Decoded { image, orientation, is_multiplied: false })
}

/// What a library says, which may end in a new line.
fn in_a_line(error: ImageError) -> String {
    error.to_string().split_whitespace().collect::<Vec<_>>().join(" ")
}

fn format(bytes: &[u8]) -> Result<ImageFormat, String> {
    use ImageFormat::{Bmp, Gif, Jpeg, Png, Pnm, Tiff, WebP};
    let kinds = "pictures are PNG, JPEG, BMP, GIF, TIFF, WebP and PNM files";
    match image::guess_format(bytes) {
        Ok(format @ (Png | Jpeg | Bmp | Gif | Tiff | WebP | Pnm)) => Ok(format),
        Ok(format) => Err(format!("a file of the format {format:?}, which is not read; {kinds}")),
        Err(_) if bytes.is_empty() => Err("the file is empty".into()),
        Err(_) => Err(format!("the file is no picture; {kinds}")),
    }
}

fn decoder(bytes: &[u8], format: ImageFormat) -> Result<impl ImageDecoder + '_, String> {
    match format {
        // The decoder takes memory for as much as a chunk claims to have.
        ImageFormat::WebP => _ = exif_of_webp(bytes)?,
        // The decoder panics.
        ImageFormat::Png => check_palette(bytes)?,
        _ => {}
    }
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    let mut limits = Limits::default();
    limits.max_image_width = Some(LONGEST_SIDE);
    limits.max_image_height = Some(LONGEST_SIDE);
    limits.max_alloc = Some(MOST_MEMORY);
    reader.limits(limits);
    reader.into_decoder().map_err(in_a_line)
}

fn orientation(
    bytes: &[u8],
    format: ImageFormat,
    decoder: &mut impl ImageDecoder,
) -> Result<Orientation, String> {
    let exif = match format {
        // It may stand before the pixels or behind them.
        ImageFormat::Png => chunk_of_png(bytes, b"eXIf"),
        ImageFormat::WebP => exif_of_webp(bytes)?,
        _ => return decoder.orientation().map_err(in_a_line),
    };
    Ok(exif.and_then(Orientation::from_exif_chunk).unwrap_or(Orientation::NoTransforms))
}

/// An error where the palette of a PNG file is no list of colours.
fn check_palette(bytes: &[u8]) -> Result<(), String> {
    match chunk_of_png(bytes, b"PLTE") {
        Some(palette) if palette.len() % 3 != 0 => {
            Err(format!("the palette has {} bytes, and a colour has three", palette.len()))
        }
        _ => Ok(()),
    }
}

/// The first chunk of a name in a PNG file.
fn chunk_of_png<'a>(bytes: &'a [u8], name: &[u8; 4]) -> Option<&'a [u8]> {
    let mut rest = bytes.get(8..)?;
    loop {
        let length = u32::from_be_bytes(*rest.first_chunk()?) as usize;
        let chunk = rest.get(4..)?.get(..length.checked_add(4)?)?;
        match chunk.strip_prefix(name) {
            Some(contents) => return Some(contents),
            None => rest = rest.get(length + 12..)?,
        }
    }
}

/// The EXIF of a WebP file.
///
/// # Errors
///
/// Chunks that end behind the file.
fn exif_of_webp(bytes: &[u8]) -> Result<Option<&[u8]>, String> {
    let (mut rest, mut found) = (bytes.get(12..).unwrap_or_default(), None);
    while let Some((name, after)) = rest.split_first_chunk::<4>() {
        let length = after.first_chunk().map(|length| u32::from_le_bytes(*length) as usize);
        let contents = length.and_then(|length| after.get(4..)?.get(..length));
        let contents = contents.ok_or("the WebP file is cut off")?;
        if name == b"EXIF" && found.is_none() {
            found = Some(contents.strip_prefix(b"Exif\0\0").unwrap_or(contents));
        }
        // A chunk of an odd length has a byte more, which the last one may lack.
        rest = after.get(4 + contents.len().next_multiple_of(2)..).unwrap_or_default();
    }
    Ok(found)
}
