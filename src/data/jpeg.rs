//! JPEG files: checked to the last bit, then decoded by one of two libraries.
//!
//! Decoders make something of any file: what is cut off becomes grey, and what they do not know is guessed. So a file is
//! first walked through as its markers ([`frame`]) and entropy-coded bits ([`entropy`]) say. One that lacks anything, or
//! is of a kind that is not read, is an error in words. The usual kinds are then decoded by `zune-jpeg`; `jpeg-decoder`
//! has the others, which the first one gets wrong: components in scans of their own, and rare samplings.

mod entropy;
mod frame;

use image::metadata::Orientation;
use image::{DynamicImage, GrayImage, RgbImage};
use jpeg_decoder::ColorTransform;
use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use self::frame::{Colours, Component, Reader};

/// What the head of a file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub width: u32,
    pub height: u32,
    pub orientation: Orientation,
}

/// Size and orientation, from what comes before the picture.
///
/// # Errors
///
/// What is wrong with the head, in words.
pub(super) fn head(bytes: &[u8]) -> Result<Head, String> {
    let mut reader = Reader::new(bytes)?;
    let frame = reader.frame()?;
    let (width, height) = (frame.width as u32, frame.height as u32);
    Ok(Head { width, height, orientation: reader.orientation() })
}

/// The picture as it is stored, grey or of three colours, and how it is to be turned.
///
/// # Errors
///
/// A file that is cut off or damaged, or of a kind that is not read, in words.
pub(super) fn decode(bytes: &[u8]) -> Result<(DynamicImage, Orientation), String> {
    let mut reader = Reader::new(bytes)?;
    let frame = reader.frame()?;
    let end = entropy::check(&mut reader, &frame)?;
    // What lies behind the end is no part of the picture.
    let (bytes, colours) = (&bytes[..end], reader.colours(&frame));
    let decoded = match reader.is_interleaved && has_usual_sampling(&frame.components) {
        true => by_zune(bytes, colours)?,
        false => None,
    };
    let pixels = match decoded {
        Some(pixels) => pixels,
        None => by_jpeg_decoder(bytes, colours)?,
    };
    let (width, height) = (frame.width as u32, frame.height as u32);
    let image = match colours {
        Colours::Grey => GrayImage::from_raw(width, height, pixels).map(DynamicImage::from),
        _ => RgbImage::from_raw(width, height, pixels).map(DynamicImage::from),
    };
    let image = image.ok_or("the JPEG data are damaged")?;
    Ok((image, reader.orientation()))
}

/// Whether the first component has all pixels, and the others as many or half of them in a direction.
fn has_usual_sampling(components: &[Component]) -> bool {
    let [first, others @ ..] = components else { return false };
    let (chroma, black) = others.split_at(others.len().min(2));
    let is_usual = matches!((first.across, first.down), (1 | 2, 1 | 2));
    others.is_empty()
        || is_usual
            && chroma.iter().all(|other| (other.across, other.down) == (1, 1))
            && black.iter().all(|other| (other.across, other.down) == (first.across, first.down))
}

/// Decodes by `zune-jpeg`; none where it takes the colours for others.
fn by_zune(bytes: &[u8], colours: Colours) -> Result<Option<Vec<u8>>, String> {
    let (stored, wanted) = match colours {
        Colours::Grey => (ColorSpace::Luma, ColorSpace::Luma),
        Colours::Rgb => (ColorSpace::RGB, ColorSpace::RGB),
        Colours::Ycc => (ColorSpace::YCbCr, ColorSpace::RGB),
        Colours::Cmyk => (ColorSpace::CMYK, ColorSpace::RGB),
        Colours::Ycck => (ColorSpace::YCCK, ColorSpace::RGB),
    };
    let options = DecoderOptions::default().set_max_width(usize::MAX).set_max_height(usize::MAX);
    let options = options.jpeg_set_out_colorspace(wanted);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), options);
    let problem = |error| format!("the JPEG data are damaged: {error:?}");
    decoder.decode_headers().map_err(problem)?;
    if decoder.input_colorspace() != Some(stored) {
        return Ok(None);
    }
    decoder.decode().map(Some).map_err(problem)
}

fn by_jpeg_decoder(bytes: &[u8], colours: Colours) -> Result<Vec<u8>, String> {
    let mut decoder = jpeg_decoder::Decoder::new(bytes);
    decoder.set_color_transform(match colours {
        Colours::Grey => ColorTransform::Grayscale,
        Colours::Rgb => ColorTransform::RGB,
        Colours::Ycc => ColorTransform::YCbCr,
        Colours::Cmyk => ColorTransform::CMYK,
        Colours::Ycck => ColorTransform::YCCK,
    });
    let pixels = decoder.decode().map_err(|error| format!("the JPEG data are damaged: {error}"))?;
    Ok(match colours {
        Colours::Cmyk | Colours::Ycck => without_black(&pixels),
        _ => pixels,
    })
}

/// Inks, of which 255 is all there can be, as red, green and blue.
fn without_black(inks: &[u8]) -> Vec<u8> {
    let light = |ink: u8| 255 - u32::from(ink);
    let colour = |inks: &[u8]| {
        let black = light(inks[3]);
        [0, 1, 2].map(|at| ((light(inks[at]) * black + 127) / 255) as u8)
    };
    inks.chunks_exact(4).flat_map(colour).collect()
}

#[cfg(test)]
#[path = "jpeg_tests.rs"]
mod tests;
