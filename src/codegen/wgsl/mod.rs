//! Loop functions as WGSL, the language of shaders: text that a driver compiles for whatever it drives.
//!
//! In: the [`Part`]s of a [`Dispatch`], verified functions with the block of memory in which each of their buffers lies.
//! Out: a [`Shader`]. The lanes of a vector are invocations, and a value of the loops is a scalar of each of them. The
//! leading parallel loops are a grid; a workgroup has [`WORKGROUP`] invocations and computes as many points of it as
//! it has rows of lanes. A function without vectors has a point in each invocation. Where lanes are folded, or
//! elements pass from one lane to another, the invocations of a workgroup meet at barriers (`shape`).
//!
//! A dispatch binds each block of memory once, as words, however many buffers lie there; a table says where each
//! of them begins, so that functions which are equal but for their places share a shader. What is computed is what
//! the loops say, in their order: fused operations are written as such, and what has to be rounded for what follows
//! is fenced, where the driver is free to rearrange ([`Driver`]).

mod access;
mod expression;
mod folds;
mod index;
mod prelude;
mod shape;
mod statement;
#[cfg(test)]
mod tests;

use std::fmt::Write;

use crate::loops::verifier::Verified;

use super::Error;
use prelude::Prelude;
use shape::Shape;
use statement::Writer;

/// Invocations of a workgroup: two vectors of 32 lanes, and one of the widest that there are.
pub const WORKGROUP: u32 = 64;

/// Workgroups along one dimension of a dispatch, at most.
pub const MOST_GROUPS: u64 = 65_535;

/// A function of a dispatch.
pub struct Part<'a> {
    pub function: &'a Verified,
    /// The number of the block of memory in which each of its buffers lies; they are counted from 0.
    pub blocks: Vec<usize>,
    /// What it comes from, for readers: a line each.
    pub notes: Vec<String>,
}

/// What decides whether a dispatch does anything: a number that an earlier one has stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Condition {
    /// The block where it lies.
    pub block: usize,
    /// Whether it must be finite, and not just other than 0.
    pub is_finite: bool,
}

/// Who sees to it that sums are rounded where the loops say so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rounding {
    /// The driver is told to keep every operation as it is.
    Kept,
    /// The driver may rearrange, so what must be rounded goes through bits that it cannot know.
    Fenced,
}

/// How a driver computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Driver {
    pub rounding: Rounding,
    /// Whether its fused multiply-add rounds once. Where it does not, that is written as the two operations that it is:
    /// of these drivers are told that they stay as they are.
    pub fuses: bool,
    /// Whether a product with a constant 0 has a sign, as is kept of sums with it. Where not, zeros are read from memory.
    pub tells_zeros: bool,
}

impl Driver {
    /// One that does what the loops say.
    pub const EXACT: Driver = Driver { rounding: Rounding::Kept, fuses: true, tells_zeros: true };
}

/// What runs at once: independent functions, each in workgroups of its own.
pub struct Dispatch<'a> {
    pub parts: Vec<Part<'a>>,
    pub condition: Option<Condition>,
    pub driver: Driver,
}

/// A dispatch as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shader {
    pub text: String,
    /// The workgroups of all parts.
    pub groups: u64,
    /// Whether each block of memory is written; their bindings are their numbers.
    pub written: Vec<bool>,
    /// Entries of the table of places, each the word at which a buffer begins: those of all parts in order, then
    /// that of the condition.
    pub places: usize,
}

impl Shader {
    /// The workgroups along the two dimensions of a dispatch.
    pub fn dimensions(&self) -> [u32; 2] {
        let rows = self.groups.div_ceil(MOST_GROUPS).max(1);
        [self.groups.div_ceil(rows) as u32, rows as u32]
    }

    /// The binding of the table of places.
    pub fn places_binding(&self) -> u32 {
        self.written.len() as u32
    }

    /// The binding of what differs from run to run: seed and step, two words each, the lower one first, and a 0.
    pub fn run_binding(&self) -> u32 {
        self.places_binding() + 1
    }
}

/// The words of what differs from run to run, for the binding that a [`Shader`] has for it.
pub const RUN_WORDS: usize = 8;

/// Writes a dispatch.
///
/// # Errors
///
/// Where a function has vectors of several widths, or buffers beyond what 32 bits count.
pub fn write(dispatch: &Dispatch<'_>) -> Result<Shader, Error> {
    let shapes = dispatch.parts.iter().map(|part| Shape::of(part.function));
    let shapes: Vec<Shape<'_>> = shapes.collect::<Result<_, _>>()?;
    let mut prelude = Prelude::new(dispatch.driver);
    let written = written(dispatch, &mut prelude, &shapes);
    let (mut functions, mut place) = (String::new(), 0);
    for (number, (part, shape)) in dispatch.parts.iter().zip(&shapes).enumerate() {
        functions += &Writer::new(part, shape, place, &mut prelude).part(number)?;
        place += part.blocks.len();
    }
    let main = main(dispatch, &shapes, place, &mut prelude);
    let places = place + usize::from(dispatch.condition.is_some());
    let text = prelude.text(&written, places.max(1)) + &functions + &main;
    let groups = shapes.iter().map(Shape::groups).sum();
    Ok(Shader { text, groups, written, places: places.max(1) })
}

/// Whether each block is written; tells the prelude which of them are touched byte by byte.
fn written(dispatch: &Dispatch<'_>, prelude: &mut Prelude, shapes: &[Shape<'_>]) -> Vec<bool> {
    let of_parts = dispatch.parts.iter().flat_map(|part| part.blocks.iter().copied());
    let blocks =
        of_parts.chain(dispatch.condition.map(|condition| condition.block)).max().map_or(0, |most| most + 1);
    let mut written = vec![false; blocks];
    for (part, shape) in dispatch.parts.iter().zip(shapes) {
        for (buffer, block) in part.function.buffers.keys().zip(&part.blocks) {
            written[*block] |= shape.stored.contains(buffer);
            if shape.in_single_bytes.contains(buffer) {
                prelude.atomic.insert(*block);
            }
        }
    }
    written
}

/// The entry: finds out which part a workgroup belongs to.
fn main(dispatch: &Dispatch<'_>, shapes: &[Shape<'_>], place: usize, prelude: &mut Prelude) -> String {
    let mut text = format!(
        "@compute @workgroup_size({WORKGROUP})\nfn main(@builtin(workgroup_id) id: vec3<u32>, \
         @builtin(num_workgroups) count: vec3<u32>, @builtin(local_invocation_index) invocation: u32) {{\n"
    );
    if let Some(Condition { block, is_finite }) = dispatch.condition {
        let word = prelude.word(block, &format!("{} + 0u", prelude::place(place)));
        let holds = match is_finite {
            true => format!("({word} & 0x7f800000u) != 0x7f800000u"),
            false => format!("({word} & 0x7fffffffu) != 0u"),
        };
        writeln!(text, "  if !({holds}) {{ return; }}").expect("text");
    }
    text += "  let group = id.x + id.y * count.x;\n";
    let mut first = 0;
    for (number, shape) in shapes.iter().enumerate() {
        let next = first + shape.groups();
        let start = if first == 0 { "group".into() } else { format!("group - {first}u") };
        let otherwise = if first == 0 { "" } else { "else " };
        writeln!(text, "  {otherwise}if group < {next}u {{ part{number}({start}, invocation); }}")
            .expect("text");
        first = next;
    }
    text + "}\n"
}
