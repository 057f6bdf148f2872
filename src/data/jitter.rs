//! Brightness, contrast and saturation, in the arithmetic of Pillow's `ImageEnhance`, which torchvision calls for
//! pictures: a blend of the picture with one that lacks the property, cut to bytes.

use super::picture::{Picture, luma};

/// What a factor changes: 1 changes nothing, 0 takes the property away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Property {
    Brightness,
    Contrast,
    Saturation,
}

/// Changes a property of a picture whose pixels are at most `most`.
pub fn change(property: Property, factor: f64, most: u8, picture: &mut Picture) {
    let blend = |without: u8, pixel: u8| {
        let (without, pixel) = (f32::from(without), f32::from(pixel));
        (without + factor as f32 * (pixel - without)).clamp(0.0, f32::from(most)) as u8
    };
    match property {
        Property::Brightness => picture.pixels.iter_mut().for_each(|pixel| *pixel = blend(0, *pixel)),
        Property::Contrast => {
            let mean = mean_luma(picture);
            picture.pixels.iter_mut().for_each(|pixel| *pixel = blend(mean, *pixel));
        }
        Property::Saturation => {
            let Some(grey) = grey(picture) else { return };
            let planes = grey.len();
            for plane in picture.pixels.chunks_exact_mut(planes) {
                plane.iter_mut().zip(&grey).for_each(|(pixel, grey)| *pixel = blend(*grey, *pixel));
            }
        }
    }
}

/// The luma of every pixel of a picture in colour.
fn grey(picture: &Picture) -> Option<Vec<u8>> {
    let [red, green, blue] = picture.red_green_blue()?;
    Some(red.iter().zip(green).zip(blue).map(|((r, g), b)| luma(*r, *g, *b)).collect())
}

/// The mean luma, rounded; of a picture that has no colours the mean of all its pixels.
fn mean_luma(picture: &Picture) -> u8 {
    let grey = grey(picture);
    let pixels = grey.as_ref().unwrap_or(&picture.pixels);
    let sum: u64 = pixels.iter().map(|pixel| u64::from(*pixel)).sum();
    (sum as f64 / pixels.len() as f64 + 0.5) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(property: Property, factor: f64, expect: [u8; 6]) {
        let mut picture = Picture::new([3, 1, 2], vec![200, 10, 100, 20, 0, 30]);
        change(property, factor, 255, &mut picture);
        assert_eq!(picture.pixels, expect);
    }

    #[test]
    fn a_factor_of_one_changes_nothing() {
        for property in [Property::Brightness, Property::Contrast, Property::Saturation] {
            check(property, 1.0, [200, 10, 100, 20, 0, 30]);
        }
    }

    #[test]
    fn brightness_scales() {
        check(Property::Brightness, 0.5, [100, 5, 50, 10, 0, 15]);
        check(Property::Brightness, 2.0, [255, 20, 200, 40, 0, 60]);
    }

    /// The lumas are 118 and 18, their mean is 68.
    #[test]
    fn contrast_is_about_the_mean() {
        check(Property::Contrast, 0.0, [68; 6]);
        check(Property::Contrast, 2.0, [255, 0, 132, 0, 0, 0]);
    }

    #[test]
    fn saturation_is_about_the_luma() {
        check(Property::Saturation, 0.0, [118, 18, 118, 18, 118, 18]);
        check(Property::Saturation, 0.5, [159, 14, 109, 19, 59, 24]);
    }

    #[test]
    fn pixels_stay_below_full_scale() {
        let mut picture = Picture::new([1, 1, 2], vec![16, 4]);
        change(Property::Brightness, 2.0, 16, &mut picture);
        assert_eq!(picture.pixels, [16, 8]);
    }
}
