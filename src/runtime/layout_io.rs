//! Row-major elements into the memory of a layout, and out of it.
//!
//! The elements of the lanes of one vector are far apart where they are row-major. Both ways walk a row of
//! vectors at a time: memory is written, or read, in order, and so are as many rows of elements as there are
//! lanes. The rows follow each other in memory, so it may be cut between any two vectors, and whoever has a
//! part of it finds the rows that lie there.

use std::ops::Range;

use crate::kernels::Layout;

/// Stores row-major elements by a layout, those whose place is in a part of its memory. The part begins at
/// the element `start` of the memory. Lanes beyond the last element repeat it.
///
/// # Panics
///
/// Where vectors are cut in two, or there are fewer elements than the layout has.
pub fn pack<T: Copy>(layout: &Layout, elements: &[T], start: usize, part: &mut [T]) {
    let rows = Rows::of(layout);
    let is_whole = start.is_multiple_of(rows.lanes) && part.len().is_multiple_of(rows.lanes);
    assert!(is_whole, "memory is cut between vectors");
    if part.is_empty() {
        return;
    }
    let end = start + part.len();
    for row in rows.from(start).take_while(|row| row.memory < end) {
        let columns = rows.columns(&row, start..end);
        let memory = row.memory + columns.start * rows.lanes - start;
        let memory = &mut part[memory..memory + columns.len() * rows.lanes];
        let elements = &elements[row.element + columns.start * rows.stride..];
        match rows.lanes {
            1 if rows.stride == 1 => memory.copy_from_slice(&elements[..columns.len()]),
            4 => pack_row::<T, 4>(&rows, row.used, elements, memory),
            8 => pack_row::<T, 8>(&rows, row.used, elements, memory),
            16 => pack_row::<T, 16>(&rows, row.used, elements, memory),
            lanes => {
                for (column, vector) in memory.chunks_exact_mut(lanes).enumerate() {
                    for (lane, value) in vector.iter_mut().enumerate() {
                        let lane = lane.min(row.used - 1);
                        *value = elements[lane * rows.lane_stride + column * rows.stride];
                    }
                }
            }
        }
    }
}

/// Some vectors of a row, with a number of lanes that the compiler knows and makes vectors of.
fn pack_row<T: Copy, const LANES: usize>(rows: &Rows, used: usize, elements: &[T], memory: &mut [T]) {
    let (vectors, _) = memory.as_chunks_mut::<LANES>();
    let length = (vectors.len() - 1) * rows.stride + 1;
    let of_lane: [&[T]; LANES] =
        std::array::from_fn(|lane| &elements[lane.min(used - 1) * rows.lane_stride..][..length]);
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
    for row in rows.from(0) {
        let memory = &memory[row.memory..row.memory + rows.width * rows.lanes];
        for lane in 0..row.used {
            let elements = &mut elements[row.element + lane * rows.lane_stride..];
            for (column, vector) in memory.chunks_exact(rows.lanes).enumerate() {
                elements[column * rows.stride] = vector[lane];
            }
        }
    }
    elements
}

/// The rows of vectors of a layout, as they follow in memory. They lie along the last dimension that is not
/// across.
struct Rows {
    /// Where the first elements of rows are, from the dimension whose places are farthest apart in memory.
    starts: Vec<Start>,
    /// The first element of the first row in memory.
    first: usize,
    /// Vectors of a row, which follow each other in memory.
    width: usize,
    /// Elements from one vector's to the next one's, row-major.
    stride: usize,
    lanes: usize,
    /// Elements from one lane's to the next one's, row-major.
    lane_stride: usize,
    /// The extent of the dimension across, if there is one.
    across: Option<usize>,
}

/// The places of the first elements of rows in one dimension.
struct Start {
    count: usize,
    /// Elements from one to the next, in memory.
    memory: usize,
    /// Elements from one to the next, row-major.
    element: usize,
}

impl Rows {
    fn of(layout: &Layout) -> Rows {
        let Layout { shape, lane_dim, .. } = layout;
        let stride = |at: usize| shape[at + 1..].iter().product::<i64>() as usize;
        let along = (0..shape.len()).rev().find(|at| Some(*at) != *lane_dim);
        let (lanes, mut index) = (layout.lanes as usize, vec![0; shape.len()]);
        let first = layout.offset(&index);
        let mut start = |at: usize, step: usize| {
            index[at] = step as i64;
            let memory = layout.offset(&index) - first;
            index[at] = 0;
            Start { count: (shape[at] as usize).div_ceil(step), memory, element: step * stride(at) }
        };
        let blocks = lane_dim.map(|at| start(at, lanes));
        let others = (0..shape.len()).filter(|at| Some(*at) != along && Some(*at) != *lane_dim);
        Rows {
            starts: blocks.into_iter().chain(others.map(|at| start(at, 1))).collect(),
            first,
            width: along.map_or(1, |at| shape[at] as usize),
            stride: along.map_or(1, stride),
            lanes,
            lane_stride: lane_dim.map_or(0, stride),
            across: lane_dim.map(|at| shape[at] as usize),
        }
    }

    /// How many there are.
    fn count(&self) -> usize {
        if self.width == 0 { 0 } else { self.starts.iter().map(|start| start.count).product() }
    }

    /// Those that do not end before an element of memory.
    fn from(&self, memory: usize) -> impl Iterator<Item = Row> {
        let (mut from, mut to) = (0, self.count());
        while from < to {
            let middle = from.midpoint(to);
            if self.row(middle).memory + self.width * self.lanes <= memory {
                from = middle + 1;
            } else {
                to = middle;
            }
        }
        (from..self.count()).map(|number| self.row(number))
    }

    fn row(&self, mut number: usize) -> Row {
        let (mut memory, mut element, mut at) = (self.first, 0, 0);
        for start in self.starts.iter().rev() {
            at = number % start.count;
            memory += at * start.memory;
            element += at * start.element;
            number /= start.count;
        }
        // The dimension across is the first one, so this is the block.
        let used = |across: usize| (across - at * self.lanes).min(self.lanes);
        Row { memory, element, used: self.across.map_or(1, used) }
    }

    /// The vectors of a row that lie in a part of memory.
    fn columns(&self, row: &Row, part: Range<usize>) -> Range<usize> {
        let column = |memory: usize| (memory.saturating_sub(row.memory) / self.lanes).min(self.width);
        column(part.start)..column(part.end)
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
        (&[16, 2, 16], Some(0), 16, &[(0, 0), (0, 0), (0, 0)]),
        (&[32, 4, 16], Some(0), 16, &[(0, 0), (0, 0), (0, 0)]),
        (&[5, 2, 3], Some(0), 16, &[(0, 0), (1, 0), (0, 1)]),
        (&[9, 7], Some(0), 4, &[(0, 0), (2, 0)]),
        (&[3, 0, 2], Some(0), 8, &[(0, 0), (0, 0), (0, 0)]),
        (&[0], None, 1, &[(0, 0)]),
        (&[0, 4], Some(0), 8, &[(0, 0), (1, 1)]),
    ];

    /// The layouts of all cases: with gaps between channels where these would meet in the caches, and dense.
    fn layouts() -> impl Iterator<Item = Layout> {
        CASES.iter().flat_map(|(shape, lane_dim, lanes, halo)| {
            let layout =
                |dense| Layout { halo: halo.to_vec(), dense, ..Layout::new(shape, *lane_dim, *lanes) };
            [false, true].map(layout)
        })
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
        for layout in layouts() {
            let elements: Vec<i32> = (1..=layout.shape.iter().product::<i64>() as i32).collect();
            let mut memory = vec![-1; layout.len()];
            pack(&layout, &elements, 0, &mut memory);
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
            assert_eq!(memory, wanted, "{layout:?}");
            assert_eq!(unpack(&layout, &memory), elements, "{layout:?}");
        }
    }

    /// Whatever memory is cut into, from a vector each to one part that is larger than all of it.
    #[test]
    fn parts_are_those_of_the_whole() {
        for layout in layouts() {
            let elements: Vec<i32> = (1..=layout.shape.iter().product::<i64>() as i32).collect();
            let (mut whole, lanes) = (vec![-1; layout.len()], layout.lanes as usize);
            pack(&layout, &elements, 0, &mut whole);
            for vectors in 1..=layout.len() / lanes + 1 {
                let (mut memory, part) = (vec![-1; layout.len()], vectors * lanes);
                // The last one first: no part needs another.
                for (at, memory) in memory.chunks_mut(part).enumerate().rev() {
                    pack(&layout, &elements, at * part, memory);
                }
                assert_eq!(memory, whole, "{layout:?} in parts of {vectors} vectors");
            }
            pack(&layout, &elements, layout.len(), &mut []);
        }
    }

    #[test]
    #[should_panic(expected = "memory is cut between vectors")]
    fn no_vector_is_cut() {
        pack(&Layout::new(&[16, 2], Some(0), 8), &[0; 32], 4, &mut [0; 8]);
    }
}
