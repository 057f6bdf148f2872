//! Row-major elements into the memory of a layout, and out of it.
//!
//! The elements of the lanes of one vector are far apart where they are row-major. Both ways walk a row of vectors at a
//! time: memory is written, or read, in order, and so are as many rows of elements as there are lanes.

use crate::kernels::Layout;

/// Stores row-major elements by a layout. Lanes beyond the last element repeat it.
pub fn pack<T: Copy>(layout: &Layout, elements: &[T], memory: &mut [T]) {
    let rows = Rows::of(layout);
    for_each_row(layout, &rows, |row| {
        let memory = &mut memory[row.memory..row.memory + rows.width * rows.lanes];
        let elements = &elements[row.element..];
        match rows.lanes {
            1 if rows.stride == 1 => memory.copy_from_slice(&elements[..rows.width]),
            8 if row.used == 8 => pack_full::<T, 8>(&rows, elements, memory),
            16 if row.used == 16 => pack_full::<T, 16>(&rows, elements, memory),
            lanes => {
                for (column, vector) in memory.chunks_exact_mut(lanes).enumerate() {
                    for (lane, value) in vector.iter_mut().enumerate() {
                        let lane = lane.min(row.used - 1);
                        *value = elements[lane * rows.lane_stride + column * rows.stride];
                    }
                }
            }
        }
    });
}

/// A row of vectors whose lanes are all there.
fn pack_full<T: Copy, const LANES: usize>(rows: &Rows, elements: &[T], memory: &mut [T]) {
    let length = (rows.width - 1) * rows.stride + 1;
    let of_lane: [&[T]; LANES] = std::array::from_fn(|lane| &elements[lane * rows.lane_stride..][..length]);
    let (vectors, _) = memory.as_chunks_mut::<LANES>();
    for (column, vector) in vectors.iter_mut().enumerate() {
        for (value, elements) in vector.iter_mut().zip(&of_lane) {
            *value = elements[column * rows.stride];
        }
    }
}

/// The row-major elements of a layout's memory.
pub fn unpack<T: Copy + Default>(layout: &Layout, memory: &[T]) -> Vec<T> {
    let mut elements = vec![T::default(); layout.shape.iter().product::<i64>() as usize];
    let rows = Rows::of(layout);
    for_each_row(layout, &rows, |row| {
        let memory = &memory[row.memory..row.memory + rows.width * rows.lanes];
        for lane in 0..row.used {
            let elements = &mut elements[row.element + lane * rows.lane_stride..];
            for (column, vector) in memory.chunks_exact(rows.lanes).enumerate() {
                elements[column * rows.stride] = vector[lane];
            }
        }
    });
    elements
}

/// What all rows of vectors of a layout have in common. They lie along the last dimension that is not across.
struct Rows {
    /// The dimension that they lie along; none in a tensor that has no other than the one across.
    along: Option<usize>,
    /// Vectors of a row, which follow each other in memory.
    width: usize,
    /// Elements from one vector's to the next one's, row-major.
    stride: usize,
    lanes: usize,
    /// Elements from one lane's to the next one's, row-major.
    lane_stride: usize,
}

impl Rows {
    fn of(layout: &Layout) -> Rows {
        let stride = |at: usize| layout.shape[at + 1..].iter().product::<i64>() as usize;
        let along = (0..layout.shape.len()).rev().find(|at| Some(*at) != layout.lane_dim);
        Rows {
            along,
            width: along.map_or(1, |at| layout.shape[at] as usize),
            stride: along.map_or(1, stride),
            lanes: layout.lanes as usize,
            lane_stride: layout.lane_dim.map_or(0, stride),
        }
    }
}

/// A row of vectors.
struct Row {
    /// Its first element in memory.
    memory: usize,
    /// Its first element, row-major.
    element: usize,
    /// The lanes that hold elements; others are padding.
    used: usize,
}

fn for_each_row(layout: &Layout, rows: &Rows, mut visit: impl FnMut(Row)) {
    let Layout { shape, lane_dim, .. } = layout;
    if shape.contains(&0) {
        return;
    }
    // How many places there are in each dimension for the first element of a row.
    let starts = shape.iter().enumerate().map(|(at, extent)| match at {
        _ if Some(at) == rows.along => 1,
        _ if Some(at) == *lane_dim => (*extent as usize).div_ceil(rows.lanes),
        _ => *extent as usize,
    });
    let starts: Vec<usize> = starts.collect();
    let mut index = vec![0_i64; shape.len()];
    for mut number in 0..starts.iter().product() {
        for (at, count) in starts.iter().enumerate().rev() {
            let lanes = if Some(at) == *lane_dim { layout.lanes } else { 1 };
            index[at] = (number % count) as i64 * lanes;
            number /= count;
        }
        let element = index.iter().zip(shape).fold(0, |element, (at, extent)| element * extent + at) as usize;
        let used = lane_dim.map_or(1, |at| ((shape[at] - index[at]) as usize).min(rows.lanes));
        visit(Row { memory: layout.offset(&index), element, used });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Shape, the dimension across, lanes, halos before and after.
    type Case = (&'static [i64], Option<usize>, i64, &'static [(i64, i64)]);

    const CASES: &[Case] = &[
        (&[], None, 1, &[]),
        (&[7], None, 1, &[(0, 0)]),
        (&[3, 5], None, 1, &[(1, 2), (0, 3)]),
        (&[1], Some(0), 8, &[(0, 0)]),
        (&[16], Some(0), 16, &[(0, 0)]),
        (&[17], Some(0), 16, &[(0, 0)]),
        (&[32, 3], Some(0), 16, &[(0, 0), (0, 0)]),
        (&[33, 2, 3, 5], Some(0), 16, &[(0, 0), (0, 0), (1, 1), (2, 0)]),
        (&[8, 1, 6, 6], Some(0), 8, &[(0, 0), (0, 0), (0, 0), (0, 0)]),
        (&[2, 19, 3, 4], Some(1), 8, &[(0, 0), (0, 0), (1, 1), (1, 1)]),
        (&[3, 16], Some(1), 16, &[(0, 0), (0, 0)]),
        (&[3, 5], Some(1), 4, &[(1, 0), (0, 0)]),
        (&[40, 2, 2], Some(0), 32, &[(0, 0), (0, 1), (0, 0)]),
        (&[3, 0, 2], Some(0), 8, &[(0, 0), (0, 0), (0, 0)]),
    ];

    fn layout((shape, lane_dim, lanes, halo): &Case) -> Layout {
        Layout { halo: halo.to_vec(), ..Layout::new(shape, *lane_dim, *lanes) }
    }

    /// Visits all elements of a shape in row-major order, with the place of each.
    fn for_each_index(shape: &[i64], mut visit: impl FnMut(usize, &[i64])) {
        for element in 0..shape.iter().product::<i64>() {
            let (mut index, mut rest) = (vec![0; shape.len()], element);
            for (at, extent) in shape.iter().enumerate().rev() {
                (index[at], rest) = (rest % extent, rest / extent);
            }
            visit(element as usize, &index);
        }
    }

    /// Every element lies where the layout says, lanes of padding repeat the last one, and all else stays.
    #[test]
    fn elements_lie_where_their_layout_says() {
        for case in CASES {
            let layout = layout(case);
            let elements: Vec<i32> = (1..=layout.shape.iter().product::<i64>() as i32).collect();
            let mut memory = vec![-1; layout.len()];
            pack(&layout, &elements, &mut memory);
            let mut wanted = vec![-1; layout.len()];
            for_each_index(&layout.shape, |element, index| {
                let at = layout.offset(index);
                wanted[at] = elements[element];
                let is_last =
                    layout.lane_dim.is_some_and(|lane_dim| index[lane_dim] + 1 == layout.shape[lane_dim]);
                let padding =
                    if is_last { layout.lanes as usize - 1 - at % layout.lanes as usize } else { 0 };
                wanted[at + 1..=at + padding].fill(elements[element]);
            });
            assert_eq!(memory, wanted, "{case:?}");
            assert_eq!(unpack(&layout, &memory), elements, "{case:?}");
        }
    }
}
