//! Row-major elements into the memory of a layout, and out of it.

use crate::kernels::Layout;

/// Stores row-major elements by a layout. Lanes beyond the last picture repeat it.
pub fn pack<T: Copy>(layout: &Layout, elements: &[T], memory: &mut [T]) {
    for_each_row(layout, |row, address, step, width| {
        for column in 0..width {
            memory[address + column * step] = elements[row + column];
        }
    });
    pad_lanes(layout, memory);
}

/// The row-major elements of a layout's memory.
pub fn unpack<T: Copy + Default>(layout: &Layout, memory: &[T]) -> Vec<T> {
    let mut elements = vec![T::default(); layout.shape.iter().product::<i64>() as usize];
    for_each_row(layout, |row, address, step, width| {
        for column in 0..width {
            elements[row + column] = memory[address + column * step];
        }
    });
    elements
}

/// Calls `visit` with every run of the last dimension: its row-major place, its address, the step between its
/// elements in memory, and its length.
fn for_each_row(layout: &Layout, mut visit: impl FnMut(usize, usize, usize, usize)) {
    let Some((width, outer)) = layout.shape.split_last() else { return visit(0, 0, 1, 1) };
    let rows: i64 = outer.iter().product();
    for row in 0..rows {
        let mut index = vec![0; layout.shape.len()];
        let mut rest = row;
        for (at, extent) in outer.iter().enumerate().rev() {
            index[at] = rest % extent;
            rest /= extent;
        }
        let last = layout.shape.len() - 1;
        if layout.across == Some(last) {
            for column in 0..*width {
                index[last] = column;
                visit((row * width + column) as usize, layout.offset(&index), 1, 1);
            }
            continue;
        }
        let step = layout.lanes as usize;
        visit((row * width) as usize, layout.offset(&index), step, *width as usize);
    }
}

/// Repeats the last picture in the lanes beyond it.
fn pad_lanes<T: Copy>(layout: &Layout, memory: &mut [T]) {
    let Some(batch) = layout.across else { return };
    let (lanes, count) = (layout.lanes as usize, layout.shape[batch] as usize);
    let used = count % lanes;
    if used == 0 {
        return;
    }
    let block = memory.len() / count.div_ceil(lanes);
    let last = memory.len() - block;
    for vector in memory[last..].chunks_exact_mut(lanes) {
        let (pictures, padding) = vector.split_at_mut(used);
        padding.fill(pictures[used - 1]);
    }
}
