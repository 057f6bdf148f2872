//! The text of kernels and of the layouts of their tensors.
//!
//! ```text
//! kernels(x: f32[8, 3], w: f32[2, 3]) -> (y: f32[8, 2]) {
//!   stored x lanes(0, 16);
//!   stored w rows;
//!   stored y lanes(0, 16);
//!   kernel "y" {
//!     nest [n < 8, o < 2] reduce [k < 3] {
//!       y[n, o] = sum[k < 3] x[n, k] * w[o, k];
//!     }
//!   }
//! }
//! ```
//!
//! `rows` is row-major, `lanes(d, l)` stores `l` elements of dimension `d` side by side, `halo(b, a, b, a, ...)` gives
//! the elements before and after each dimension, which hold `fill(v)`. A tensor that is stored but has no layout yet
//! has none of these words. `windows [u < 2]` behind `reduce` names the axes over which later statements of a nest
//! reduce what the first ones left.

use std::fmt::Write;

use crate::te::printer::{Printer, Writer, number};
use crate::te::text::token::quote;

use super::{Kernel, Kernels, Layout, Layouts, Nest};

/// Kernels as text, with the layouts chosen so far.
pub fn print(kernels: &Kernels, layouts: &Layouts) -> String {
    let program = &kernels.program;
    let nests = kernels.kernels.iter().flat_map(|kernel| &kernel.nests);
    let statements = nests.flat_map(|nest| &nest.statements);
    let used = statements
        .flat_map(|statement| std::iter::once(statement.result).chain(program.reads(statement.body)));
    let printer = Printer::over(program, kernels.stored.iter().copied().chain(used));
    let mut text = format!("kernels{} {{\n", printer.signature());
    let mut line = |line: String| writeln!(text, "  {line}").unwrap_or_default();
    printer.intermediates().for_each(|tensor| line(format!("{};", printer.declaration(tensor))));
    for tensor in printer.tensors().filter(|tensor| kernels.stored.contains(tensor)) {
        let layout = layouts.get(&tensor).map_or(String::new(), |layout| format!(" {}", layout_text(layout)));
        line(format!("stored {}{layout};", printer.label(tensor)));
    }
    kernels.kernels.iter().for_each(|kernel| line(kernel_text(&printer, kernel)));
    text + "}\n"
}

/// `lanes(0, 16) halo(0, 0, 1, 1) fill(0)`.
pub fn layout_text(layout: &Layout) -> String {
    let mut text = match layout.lane_dim {
        Some(lane_dim) => format!("lanes({lane_dim}, {})", layout.lanes),
        None => "rows".into(),
    };
    if layout.halo.iter().any(|halo| *halo != (0, 0)) {
        let halo: Vec<String> =
            layout.halo.iter().map(|(before, after)| format!("{before}, {after}")).collect();
        text += &format!(" halo({})", halo.join(", "));
    }
    if let Some(fill) = layout.fill {
        text += &format!(" fill({})", number(fill.get()));
    }
    if layout.dense {
        text += " dense";
    }
    text
}

fn kernel_text(printer: &Printer<'_>, kernel: &Kernel) -> String {
    let mut text = format!("kernel {} {{\n", quote(&kernel.name));
    for nest in &kernel.nests {
        text += &nest_text(printer, nest);
    }
    text + "  }"
}

fn nest_text(printer: &Printer<'_>, nest: &Nest) -> String {
    let mut writer = Writer::new(printer, 3);
    let axes = writer.binders(&nest.axes);
    let reduce = match nest.reduce.as_slice() {
        [] => String::new(),
        axes => format!(" reduce [{}]", writer.binders(axes)),
    };
    let windows = match nest.windows.as_slice() {
        [] => String::new(),
        axes => format!(" windows [{}]", writer.binders(axes)),
    };
    let mut text = format!("    nest [{axes}]{reduce}{windows} {{\n");
    for statement in &nest.statements {
        let left = writer.element(statement.result, &statement.at);
        writer.forget_parts();
        text += &format!("      {left} = {};\n", writer.scope(statement.body));
    }
    text + "    }\n"
}
