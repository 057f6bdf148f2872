//! Rotation and other affine maps of a picture, with the nearest pixel, and 0 for what comes from outside.
//!
//! The map and the place of pixel centres are those of torchvision's `affine` on pictures, whose parameters these are.

/// A map about the middle of a picture.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Affine {
    /// Clockwise, in degrees.
    pub angle: f64,
    /// Pixels to the right and down.
    pub translate: [f64; 2],
    pub scale: f64,
    /// Along x and y, in degrees.
    pub shear: [f64; 2],
}

impl Affine {
    /// A rotation alone, clockwise.
    pub fn rotation(angle: f64) -> Affine {
        Affine { angle, translate: [0.0; 2], scale: 1.0, shear: [0.0; 2] }
    }

    /// The two rows of the inverse map: from a place in the result to one in the source, about a centre `(x, y)`.
    /// The formula is `_get_inverse_affine_matrix` of torchvision: `(T C R S Shear C^-1)^-1`.
    fn inverse(&self, [center_x, center_y]: [f64; 2]) -> [[f64; 3]; 2] {
        let [shear_x, shear_y] = self.shear.map(f64::to_radians);
        let turned = self.angle.to_radians() - shear_y;
        let angle = self.angle.to_radians();
        let a = turned.cos() / shear_y.cos();
        let b = -turned.cos() * shear_x.tan() / shear_y.cos() - angle.sin();
        let c = turned.sin() / shear_y.cos();
        let d = -turned.sin() * shear_x.tan() / shear_y.cos() + angle.cos();
        let [x, y] = [center_x + self.translate[0], center_y + self.translate[1]];
        let row = |u: f64, v: f64, center: f64| [u, v, center - u * x - v * y];
        let scale = self.scale;
        [row(d / scale, -b / scale, center_x), row(-c / scale, a / scale, center_y)]
    }

    /// A picture `[C, H, W]` under the map, of the same size.
    pub fn apply<T: Copy + Default>(&self, pixels: &[T], [_, height, width]: [usize; 3]) -> Vec<T> {
        let [across, down] = self.inverse([width as f64 / 2.0, height as f64 / 2.0]);
        let mut moved = Vec::with_capacity(pixels.len());
        for plane in pixels.chunks_exact(height * width) {
            for at in 0..height * width {
                let (x, y) = ((at % width) as f64 + 0.5, (at / width) as f64 + 0.5);
                let from_x = (across[0] * x + across[1] * y + across[2]).floor();
                let from_y = (down[0] * x + down[1] * y + down[2]).floor();
                moved.push(pixel(plane, [height, width], [from_y, from_x]));
            }
        }
        moved
    }
}

fn pixel<T: Copy + Default>(plane: &[T], [height, width]: [usize; 2], [y, x]: [f64; 2]) -> T {
    let is_inside = y >= 0.0 && y < height as f64 && x >= 0.0 && x < width as f64;
    if is_inside { plane[y as usize * width + x as usize] } else { T::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(map: Affine, expect: &[u8]) {
        assert_eq!(map.apply(&[1, 2, 3, 4, 5, 6, 7, 8, 9], [1, 3, 3]), expect);
    }

    #[test]
    fn quarter_turns() {
        check(Affine::rotation(0.0), &[1, 2, 3, 4, 5, 6, 7, 8, 9]);
        check(Affine::rotation(90.0), &[7, 4, 1, 8, 5, 2, 9, 6, 3]);
        check(Affine::rotation(-90.0), &[3, 6, 9, 2, 5, 8, 1, 4, 7]);
        check(Affine::rotation(180.0), &[9, 8, 7, 6, 5, 4, 3, 2, 1]);
    }

    #[test]
    fn moves_and_scales() {
        let moved = Affine { translate: [1.0, 0.0], ..Affine::rotation(0.0) };
        check(moved, &[0, 1, 2, 0, 4, 5, 0, 7, 8]);
        let down = Affine { translate: [0.0, -1.0], ..Affine::rotation(0.0) };
        check(down, &[4, 5, 6, 7, 8, 9, 0, 0, 0]);
        check(Affine { scale: 3.0, ..Affine::rotation(0.0) }, &[5; 9]);
        check(Affine { scale: 0.5, ..Affine::rotation(0.0) }, &[0, 0, 0, 0, 5, 0, 0, 0, 0]);
    }

    /// A shear of 45 degrees along x moves each row by its distance from the middle.
    #[test]
    fn shears() {
        check(Affine { shear: [45.0, 0.0], ..Affine::rotation(0.0) }, &[0, 1, 2, 4, 5, 6, 8, 9, 0]);
    }
}
