//! What `prepare` does to pixels before they are numbers: sizes and colour.

use super::picture::{Picture, luma};
use super::resize::resize;

/// A step from bytes to bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Geometry {
    /// To a height and width, each at least 1, by bilinear interpolation over the area that a new pixel covers.
    Resize { height: usize, width: usize },
    /// The middle of a picture, at most as large as the picture.
    CenterCrop { height: usize, width: usize },
    /// One channel of luma (ITU-R 601); pictures of one channel stay as they are.
    Grayscale,
}

impl Geometry {
    /// The shape of the result for pictures of a shape.
    ///
    /// # Errors
    ///
    /// What does not fit, in words.
    pub fn shape(self, [channels, height, width]: [usize; 3]) -> Result<[usize; 3], String> {
        match self {
            Geometry::Resize { height, width } => Ok([channels, height, width]),
            Geometry::CenterCrop { height: high, width: wide } if high > height || wide > width => {
                Err(format!(
                    "`centercrop({high}, {wide})` cuts from a picture of {height}×{width} pixels \
                     (height×width); resize it before"
                ))
            }
            Geometry::CenterCrop { height, width } => Ok([channels, height, width]),
            Geometry::Grayscale if channels == 1 || channels == 3 => Ok([1, height, width]),
            Geometry::Grayscale => Err(format!("`grayscale` is for 3 channels, not {channels}")),
        }
    }

    /// Whether the step is one for pictures of numbers, too.
    ///
    /// # Errors
    ///
    /// What it is for, in words.
    pub fn check_numbers(self) -> Result<(), String> {
        let step = match self {
            Geometry::CenterCrop { .. } => return Ok(()),
            Geometry::Resize { .. } => "resize",
            Geometry::Grayscale => "grayscale",
        };
        Err(format!("`{step}` is for pictures of bytes, and these are floats; do it before they are saved"))
    }

    fn apply(self, picture: Picture) -> Picture {
        match self {
            Geometry::Resize { height, width } if picture.shape[1..] == [height, width] => picture,
            Geometry::Resize { height, width } => resize(&picture, height, width),
            Geometry::CenterCrop { height, width } => {
                let pixels = middle(&picture.pixels, picture.shape, [height, width]);
                Picture::new([picture.shape[0], height, width], pixels)
            }
            Geometry::Grayscale => grey(picture),
        }
    }
}

/// The shape of a picture after all steps.
///
/// # Errors
///
/// The first that does not fit.
pub fn shape_after(steps: &[Geometry], shape: [usize; 3]) -> Result<[usize; 3], String> {
    steps.iter().try_fold(shape, |shape, step| step.shape(shape))
}

/// Does all steps.
///
/// # Errors
///
/// The first that does not fit.
pub fn apply(steps: &[Geometry], picture: Picture) -> Result<Picture, String> {
    steps.iter().try_fold(picture, |picture, step| {
        step.shape(picture.shape)?;
        Ok(step.apply(picture))
    })
}

/// The middle of a picture `[C, H, W]`. Half pixels are rounded to the even number, as in torchvision.
pub fn middle<T: Copy>(
    pixels: &[T],
    [_, old_height, old_width]: [usize; 3],
    [height, width]: [usize; 2],
) -> Vec<T> {
    let margin = |old: usize, new: usize| ((old - new) as f64 / 2.0).round_ties_even() as usize;
    let (top, left) = (margin(old_height, height), margin(old_width, width));
    let planes = pixels.chunks_exact(old_height * old_width);
    let rows = planes.flat_map(|plane| plane.chunks_exact(old_width).skip(top).take(height));
    rows.flat_map(|row| &row[left..left + width]).copied().collect()
}

fn grey(picture: Picture) -> Picture {
    let [_, height, width] = picture.shape;
    match picture.red_green_blue() {
        Some([red, green, blue]) => {
            let pixels = red.iter().zip(green).zip(blue).map(|((r, g), b)| luma(*r, *g, *b)).collect();
            Picture::new([1, height, width], pixels)
        }
        None => picture,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counting(shape: [usize; 3]) -> Picture {
        Picture::new(shape, (0..shape.iter().product::<usize>()).map(|pixel| pixel as u8).collect())
    }

    #[test]
    fn the_middle_is_cut() {
        let cut = |height, width| Geometry::CenterCrop { height, width }.apply(counting([1, 4, 5])).pixels;
        assert_eq!(cut(2, 3), [6, 7, 8, 11, 12, 13]);
        // Margins of 1.5 and 0.5 are rounded to 2 and 0.
        assert_eq!(cut(1, 4), [10, 11, 12, 13]);
        assert_eq!(cut(4, 5), counting([1, 4, 5]).pixels);
    }

    #[test]
    fn steps_follow_each_other() {
        let steps = [
            Geometry::Resize { height: 6, width: 6 },
            Geometry::CenterCrop { height: 4, width: 2 },
            Geometry::Grayscale,
        ];
        assert_eq!(shape_after(&steps, [3, 9, 5]), Ok([1, 4, 2]));
        assert_eq!(apply(&steps, counting([3, 9, 5])).unwrap().shape, [1, 4, 2]);
        let grey = apply(&[Geometry::Grayscale], Picture::new([3, 1, 1], vec![255, 0, 0])).unwrap();
        assert_eq!(grey, Picture::new([1, 1, 1], vec![76]));
    }

    #[test]
    fn what_does_not_fit() {
        let crop = Geometry::CenterCrop { height: 9, width: 3 };
        let error = apply(&[crop], counting([1, 4, 5])).unwrap_err();
        let message = "`centercrop(9, 3)` cuts from a picture of 4×5 pixels (height×width); resize it before";
        assert_eq!(error, message);
        assert_eq!(
            shape_after(&[Geometry::Grayscale], [2, 4, 4]).unwrap_err(),
            "`grayscale` is for 3 channels, not 2"
        );
    }
}
