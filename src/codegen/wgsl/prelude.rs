//! What all parts of a shader use: bindings, and functions that say what WGSL leaves open.
//!
//! Drivers may take it that no number is NaN and that nobody tells the zeros apart, so both are told by their bits. They
//! may not see through a function's argument that is read from memory, so constants that WGSL has no form for, or would
//! compute with while it compiles, are made of their bits by a call.

use std::collections::BTreeSet;
use std::fmt::Write;

use super::{Driver, WORKGROUP};
use crate::loops::Fold;

/// What has been asked for so far.
pub(super) struct Prelude {
    pub driver: Driver,
    /// Blocks of which single bytes are stored.
    pub atomic: BTreeSet<usize>,
    helpers: BTreeSet<Helper>,
    /// Folds by their ways and lanes.
    folds: BTreeSet<(&'static str, u32)>,
    /// Words of workgroup memory for folds.
    fold_words: u32,
}

/// A function of the prelude.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Helper {
    IsNan,
    FromBits,
    Whole,
    Zero,
    Fence,
    Least,
    Greatest,
    ToInt,
    FloorDiv,
    FloorRem,
    Uniform,
    /// Workgroup memory in which four bytes become a word.
    Bytes,
}

impl Helper {
    /// Those that it calls.
    fn needs(self) -> &'static [Helper] {
        match self {
            Helper::Least | Helper::Greatest | Helper::ToInt => &[Helper::IsNan],
            Helper::FloorDiv => &[Helper::FloorRem],
            _ => &[],
        }
    }

    fn text(self) -> &'static str {
        match self {
            Helper::IsNan => {
                "fn is_nan(x: f32) -> bool { return (bitcast<u32>(x) & 0x7fffffffu) > 0x7f800000u; }\n"
            }
            Helper::FromBits => "fn from_bits(bits: u32) -> f32 { return bitcast<f32>(bits); }\n",
            Helper::Whole => "fn whole(x: i32) -> i32 { return x; }\n",
            Helper::Zero => "fn zero() -> f32 { return bitcast<f32>(run.zero); }\n",
            Helper::Fence => "fn fence(x: f32) -> f32 { return bitcast<f32>(bitcast<u32>(x) ^ run.zero); }\n",
            Helper::Least => {
                "fn least(x: f32, y: f32) -> f32 {\n  let less = select(y, x, (x < y) | is_nan(x));\n  \
                 return select(less, bitcast<f32>(bitcast<u32>(x) | bitcast<u32>(y)), x == y);\n}\n"
            }
            Helper::Greatest => {
                "fn greatest(x: f32, y: f32) -> f32 {\n  let more = select(y, x, (x > y) | is_nan(x));\n  \
                 return select(more, bitcast<f32>(bitcast<u32>(x) & bitcast<u32>(y)), x == y);\n}\n"
            }
            Helper::ToInt => {
                "fn to_int(x: f32) -> i32 {\n  let high = x >= 2147483648.0f;\n  let low = x < -2147483648.0f;\n  \
                 let inside = i32(select(x, 0.0f, high | low | is_nan(x)));\n  \
                 return select(select(inside, 0x7fffffffi, high), bitcast<i32>(0x80000000u), low);\n}\n"
            }
            Helper::FloorDiv => "fn floor_div(x: i32, k: i32) -> i32 { return (x - floor_rem(x, k)) / k; }\n",
            Helper::FloorRem => "fn floor_rem(x: i32, k: i32) -> i32 { return ((x % k) + k) % k; }\n",
            Helper::Uniform => UNIFORM,
            Helper::Bytes => "",
        }
    }
}

/// Philox4x32-10 (`base::philox`), of which the first word is used. Products of 64 bits are sums of products of 16.
const UNIFORM: &str = "\
fn upper(a: u32, b: u32) -> u32 {
  let al = a & 0xffffu;
  let ah = a >> 16u;
  let bl = b & 0xffffu;
  let bh = b >> 16u;
  let middle = ah * bl + ((al * bl) >> 16u);
  let rest = al * bh + (middle & 0xffffu);
  return ah * bh + (middle >> 16u) + (rest >> 16u);
}
fn draw(stream: u32, element: u32) -> f32 {
  var key = run.seed;
  var c = vec4<u32>(element, stream, run.step.x, run.step.y);
  for (var round = 0u; round < 10u; round++) {
    c = vec4<u32>(
      upper(0xcd9e8d57u, c.z) ^ c.y ^ key.x, 0xcd9e8d57u * c.z,
      upper(0xd2511f53u, c.x) ^ c.w ^ key.y, 0xd2511f53u * c.x,
    );
    key = key + vec2<u32>(0x9e3779b9u, 0xbb67ae85u);
  }
  return f32(c.x >> 8u) * 5.9604644775390625e-8f;
}
";

/// The word at which a buffer begins, by its number in the table of places.
pub(super) fn place(number: usize) -> String {
    format!("places[{}].{}", number / 4, ["x", "y", "z", "w"][number % 4])
}

impl Prelude {
    pub fn new(driver: Driver) -> Prelude {
        let (atomic, helpers, folds) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        Prelude { driver, atomic, helpers, folds, fold_words: 0 }
    }

    pub fn need(&mut self, helper: Helper) {
        if self.helpers.insert(helper) {
            helper.needs().iter().for_each(|helper| self.need(*helper));
        }
    }

    /// The name of the function that folds some lanes, which lie one after the other from a word of workgroup memory on.
    pub fn need_fold(&mut self, op: Fold, lanes: u32, words: u32) -> String {
        let name = match op {
            Fold::Sum => "sum",
            Fold::Prod => "prod",
            Fold::Max => "max",
            Fold::Min => "min",
        };
        match op {
            Fold::Max => self.need(Helper::Greatest),
            Fold::Min => self.need(Helper::Least),
            Fold::Sum | Fold::Prod => {}
        }
        self.fold_words = self.fold_words.max(words);
        self.folds.insert((name, lanes));
        format!("fold_{name}_of{lanes}")
    }

    /// The word of a block at an index of words.
    pub fn word(&self, block: usize, index: &str) -> String {
        match self.atomic.contains(&block) {
            true => format!("atomicLoad(&m{block}[{index}])"),
            false => format!("m{block}[{index}]"),
        }
    }

    /// Bindings and functions.
    pub fn text(&self, written: &[bool], places: usize) -> String {
        let mut text = String::new();
        let mut line = |line: String| {
            text += &line;
            text.push('\n');
        };
        for (block, is_written) in written.iter().enumerate() {
            let access = if *is_written { "read_write" } else { "read" };
            let word = if self.atomic.contains(&block) { "atomic<u32>" } else { "u32" };
            line(format!("@group(0) @binding({block}) var<storage, {access}> m{block}: array<{word}>;"));
        }
        let (table, run) = (written.len(), written.len() + 1);
        let vectors = places.div_ceil(4);
        line(format!("@group(0) @binding({table}) var<uniform> places: array<vec4<u32>, {vectors}>;"));
        line("struct Run { seed: vec2<u32>, step: vec2<u32>, zero: u32 }".into());
        line(format!("@group(0) @binding({run}) var<uniform> run: Run;"));
        if self.fold_words > 0 {
            line(format!("var<workgroup> folded: array<f32, {}>;", self.fold_words));
        }
        if self.helpers.contains(&Helper::Bytes) {
            line(format!("var<workgroup> bytes: array<u32, {WORKGROUP}>;"));
        }
        for helper in &self.helpers {
            text += helper.text();
        }
        for (name, lanes) in &self.folds {
            text += &fold(name, *lanes);
        }
        text
    }
}

/// A function that joins lanes by halves, as the loops do.
fn fold(name: &str, lanes: u32) -> String {
    let join = |x: String, y: String| match name {
        "sum" => format!("{x} + {y}"),
        "prod" => format!("{x} * {y}"),
        "max" => format!("greatest({x}, {y})"),
        _ => format!("least({x}, {y})"),
    };
    let mut text = format!("fn fold_{name}_of{lanes}(at: u32) -> f32 {{\n");
    let mut values: Vec<String> = (0..lanes).map(|lane| format!("folded[at + {lane}u]")).collect();
    let mut level = 0;
    while values.len() > 1 {
        let half = values.len() / 2;
        let joined = |lane: usize| join(values[lane].clone(), values[lane + half].clone());
        let joined: Vec<String> = (0..half).map(joined).collect();
        for (lane, value) in joined.iter().enumerate() {
            writeln!(text, "  let v{level}_{lane} = {value};").expect("text");
        }
        values = (0..half).map(|lane| format!("v{level}_{lane}")).collect();
        level += 1;
    }
    text + &format!("  return {};\n}}\n", values[0])
}
