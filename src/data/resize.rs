//! Bilinear resampling with antialiasing.
//!
//! The arithmetic is that of Pillow's `Image.resize` with `BILINEAR` (`src/libImaging/Resample.c`), which torchvision's
//! `Resize` calls for pictures: a triangle as wide as the step between the pixels of the result, weights in fixed
//! point, rows first, and rounding to bytes between the two directions.

use super::picture::Picture;

/// Fraction bits of a weight: a sum of bytes times weights fits 32 bits.
const PRECISION: u32 = 32 - 8 - 2;

/// The picture at another height and width, each at least 1.
pub fn resize(picture: &Picture, height: usize, width: usize) -> Picture {
    let [channels, old_height, old_width] = picture.shape;
    let mut pixels = Vec::new();
    let (rows, columns) = (Weights::new(old_width, width), Weights::new(old_height, height));
    for plane in picture.planes() {
        let narrow = if width == old_width { plane.to_vec() } else { along_rows(plane, old_width, &rows) };
        let plane = if height == old_height { narrow } else { along_columns(&narrow, width, &columns) };
        pixels.extend(plane);
    }
    Picture::new([channels, height, width], pixels)
}

/// Which pixels of a line make each pixel of the resized line, and how much.
struct Weights {
    /// The first pixel and the weights of it and those that follow.
    windows: Vec<(usize, Vec<i32>)>,
}

impl Weights {
    fn new(from: usize, to: usize) -> Weights {
        let scale = from as f64 / to as f64;
        Weights { windows: (0..to).map(|at| window(from, at, scale)).collect() }
    }
}

/// The window of pixel `at`, where one pixel of the result is `scale` pixels of the source.
fn window(from: usize, at: usize, scale: f64) -> (usize, Vec<i32>) {
    let reach = scale.max(1.0);
    let center = (at as f64 + 0.5) * scale;
    let first = (center - reach + 0.5).max(0.0) as usize;
    let end = ((center + reach + 0.5) as usize).min(from);
    let triangle = |pixel: usize| (1.0 - ((pixel as f64 - center + 0.5) / reach).abs()).max(0.0);
    let weights: Vec<f64> = (first..end).map(triangle).collect();
    let sum: f64 = weights.iter().sum();
    let fixed = |weight: &f64| (weight / sum * f64::from(1 << PRECISION) + 0.5) as i32;
    (first, weights.iter().map(fixed).collect())
}

const HALF: i32 = 1 << (PRECISION - 1);

fn byte(sum: i32) -> u8 {
    (sum >> PRECISION).clamp(0, 255) as u8
}

fn along_rows(plane: &[u8], width: usize, weights: &Weights) -> Vec<u8> {
    let mut out = Vec::with_capacity(plane.len() / width * weights.windows.len());
    for row in plane.chunks_exact(width) {
        out.extend(weights.windows.iter().map(|(first, weights)| {
            let pixels = weights.iter().zip(&row[*first..]);
            byte(pixels.fold(HALF, |sum, (weight, pixel)| sum + weight * i32::from(*pixel)))
        }));
    }
    out
}

fn along_columns(plane: &[u8], width: usize, weights: &Weights) -> Vec<u8> {
    let mut out = Vec::with_capacity(width * weights.windows.len());
    let mut sums = vec![HALF; width];
    for (first, weights) in &weights.windows {
        sums.fill(HALF);
        for (weight, row) in weights.iter().zip(plane[first * width..].chunks_exact(width)) {
            for (sum, pixel) in sums.iter_mut().zip(row) {
                *sum += weight * i32::from(*pixel);
            }
        }
        out.extend(sums.iter().map(|sum| byte(*sum)));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(from: [usize; 2], pixels: &[u8], to: [usize; 2], expect: &[u8]) {
        let picture = Picture::new([1, from[0], from[1]], pixels.to_vec());
        let resized = resize(&picture, to[0], to[1]);
        assert_eq!((resized.shape, &resized.pixels[..]), ([1, to[0], to[1]], expect));
    }

    #[test]
    fn the_same_size_is_the_same_picture() {
        check([2, 3], &[1, 2, 3, 4, 5, 6], [2, 3], &[1, 2, 3, 4, 5, 6]);
    }

    /// Half the size: the triangle covers four pixels with weights 1, 3, 3, 1, or what of them is inside.
    #[test]
    fn smaller_pictures_are_means() {
        // (3*0 + 3*80 + 1*160) / 7 = 57.14; (80 + 3*160 + 3*240) / 7 = 182.86.
        check([1, 4], &[0, 80, 160, 240], [1, 2], &[57, 183]);
        check([4, 1], &[0, 80, 160, 240], [2, 1], &[57, 183]);
        // To one pixel: the triangle reaches 2 pixels to each side, centres at 0.5 and 1.5 of 2.
        check([1, 2], &[10, 20], [1, 1], &[15]);
    }

    /// Twice the size: between two pixels at a quarter and three quarters, at the border the pixel itself.
    #[test]
    fn larger_pictures_are_interpolated() {
        check([1, 2], &[0, 100], [1, 4], &[0, 25, 75, 100]);
        check([2, 1], &[0, 100], [4, 1], &[0, 25, 75, 100]);
    }

    #[test]
    fn grey_stays_grey() {
        for size in [1, 2, 3, 7, 13, 64] {
            let picture = Picture::new([2, 13, 13], vec![77; 2 * 13 * 13]);
            assert_eq!(resize(&picture, size, 5), Picture::new([2, size, 5], vec![77; 2 * size * 5]));
        }
    }
}
