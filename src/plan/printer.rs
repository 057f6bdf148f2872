//! The memory plan as a table: every stored tensor, where it lies, its layout, its size and when it is live.

use crate::kernels::printer::layout_text;
use crate::kernels::{Kernels, Layouts};
use crate::sched::Launch;
use crate::te::Tensor;

use super::{MemoryPlan, Placement, live_ranges};

/// The table, and the size of the arena below it. Tensors of the arena stand in the order of their places; live
/// ranges are the numbers of the first and the last launch that need the tensor. Only tensors whose names are wanted.
pub fn print(
    plan: &MemoryPlan,
    kernels: &Kernels,
    layouts: &Layouts,
    launches: &[Launch],
    wanted: &dyn Fn(&str) -> bool,
) -> String {
    let ranges = live_ranges(kernels, launches, &plan.run_once, &plan.units);
    let stored = kernels.stored.iter().copied();
    let mut tensors: Vec<Tensor> =
        stored.filter(|tensor| wanted(&kernels.program.tensors[*tensor].name)).collect();
    tensors.sort_by_key(|tensor| (plan.places.get(tensor).copied().map(order), *tensor));
    let mut rows = vec![["tensor", "place", "bytes", "live", "layout"].map(String::from)];
    for tensor in tensors {
        let data = &kernels.program.tensors[tensor];
        let layout = layouts.get(&tensor);
        let bytes = match plan.places.get(&tensor) {
            Some(Placement::Scratch { slice, .. }) => *slice,
            _ => layout.map_or(0, |layout| layout.len() * data.dtype.size()),
        };
        let live = match ranges.get(&tensor) {
            Some(range) if range.end > launches.len() => format!("{}-end", range.start),
            Some(range) => format!("{}-{}", range.start, range.end - 1),
            None => "never".into(),
        };
        let place = plan.places.get(&tensor).map_or("nowhere".into(), |place| place_text(*place));
        let layout = layout.map_or(String::new(), layout_text);
        rows.push([format!("{} {tensor}", data.name), place, bytes.to_string(), live, layout]);
    }
    let scratch = match plan.scratch_bytes {
        0 => String::new(),
        bytes => format!("scratch: {bytes} bytes a thread\n"),
    };
    aligned(&rows) + &format!("arena: {} bytes\n{scratch}", plan.arena_bytes)
}

fn order(place: Placement) -> (usize, usize) {
    match place {
        Placement::Arena(offset) => (0, offset),
        Placement::Present(at) => (1, at),
        Placement::Next(at) => (2, at),
        Placement::Scratch { offset, .. } => (3, offset),
    }
}

fn place_text(place: Placement) -> String {
    match place {
        Placement::Arena(offset) => format!("arena {offset}"),
        Placement::Present(at) => format!("present {at}"),
        Placement::Next(at) => format!("next {at}"),
        Placement::Scratch { offset, .. } => format!("scratch {offset}"),
    }
}

/// Columns of equal width; numbers of bytes to the right.
fn aligned(rows: &[[String; 5]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; 5] = std::array::from_fn(width);
    let line = |row: &[String; 5]| {
        let cell = |column: usize| match column {
            2 => format!("{:>1$}", row[column], widths[column]),
            _ => format!("{:<1$}", row[column], widths[column]),
        };
        let cells: Vec<String> = (0..5).map(cell).collect();
        format!("{}\n", cells.join("  ").trim_end())
    };
    rows.iter().map(line).collect()
}
