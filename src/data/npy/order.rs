//! Arrays of Fortran order, whose first index varies fastest, to row-major.

/// Elements that are copied from one run of the first index before the next: what they fill stays in the caches.
const TILE: usize = 64;

/// Writes the elements of `size` bytes each, in Fortran order of this shape, to `out` in row-major order.
///
/// # Panics
///
/// Where either is not exactly as long as the shape says.
pub fn row_major(data: &[u8], size: usize, shape: &[usize], out: &mut [u8]) {
    let [first, rest @ ..] = shape else { return out.copy_from_slice(data) };
    let others: usize = rest.iter().product();
    assert!(data.len() == first * others * size && out.len() == data.len());
    for start in (0..*first).step_by(TILE) {
        let end = first.min(&(start + TILE)).to_owned();
        let mut place = Place::of(rest);
        for other in 0..others {
            let from = &data[(other * first + start) * size..(other * first + end) * size];
            for (at, element) in (start..end).zip(from.chunks_exact(size)) {
                out[(at * others + place.at) * size..][..size].copy_from_slice(element);
            }
            place.step();
        }
    }
}

/// Where an element lies in row-major order while the first of its indices varies fastest.
struct Place<'a> {
    shape: &'a [usize],
    index: Vec<usize>,
    strides: Vec<usize>,
    at: usize,
}

impl Place<'_> {
    fn of(shape: &[usize]) -> Place<'_> {
        let mut strides = vec![1; shape.len()];
        for axis in (1..shape.len()).rev() {
            strides[axis - 1] = strides[axis] * shape[axis];
        }
        Place { shape, index: vec![0; shape.len()], strides, at: 0 }
    }

    fn step(&mut self) {
        for axis in 0..self.shape.len() {
            self.index[axis] += 1;
            self.at += self.strides[axis];
            if self.index[axis] < self.shape[axis] {
                return;
            }
            self.at -= self.index[axis] * self.strides[axis];
            self.index[axis] = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each element holds its own indices.
    fn check(shape: [usize; 3], size: usize) {
        let element = |i: usize, j: usize, k: usize| [i as u8, j as u8, k as u8, 0][..size].to_vec();
        let (mut fortran, mut expect) = (Vec::new(), Vec::new());
        for k in 0..shape[2] {
            for j in 0..shape[1] {
                (0..shape[0]).for_each(|i| fortran.extend(element(i, j, k)));
            }
        }
        for i in 0..shape[0] {
            for j in 0..shape[1] {
                (0..shape[2]).for_each(|k| expect.extend(element(i, j, k)));
            }
        }
        let mut found = vec![0xff; fortran.len()];
        row_major(&fortran, size, &shape, &mut found);
        assert_eq!(found, expect, "{shape:?}");
    }

    #[test]
    fn every_element_has_its_place() {
        for shape in [[2, 3, 4], [130, 3, 2], [1, 1, 5], [64, 2, 1], [65, 1, 7], [3, 0, 2], [0, 2, 2]] {
            check(shape, 3);
            check(shape, 4);
        }
        let mut one = [0];
        row_major(&[7], 1, &[], &mut one);
        assert_eq!(one, [7]);
    }
}
