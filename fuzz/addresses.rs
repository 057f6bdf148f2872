//! Addresses around 2^31 bytes and elements and far beyond: what native code reads and writes, against a model of 128
//! bits. What the fuzz target does with its bytes, and ordinary tests with seeds.
//!
//! The bytes say what a function is like. If the verifier takes it, it is compiled and runs at every level that the
//! machine has.
//!
//! Buffers are address space only: pages that nothing touches take no memory, so they may be larger than the machine.
//! What is read is a number made from its address, so a load from elsewhere gives another one; a store to elsewhere is
//! missing where it belongs.

use std::collections::HashSet;

use memmap2::{MmapMut, MmapOptions};

use cnnc::base::philox::RandomState;
use cnnc::base::target::{Level, Target};
use cnnc::codegen::Module;
use cnnc::loops::parser::parse;
use cnnc::loops::verifier::Verified;

/// Buffers are not longer: so much address space there is for two.
const LONGEST: i128 = 1 << 40;

/// Memory of which only the touched pages exist.
struct Sparse(MmapMut);

impl Sparse {
    fn new(bytes: usize) -> Sparse {
        let map = MmapOptions::new().len(bytes).no_reserve_swap().map_anon().expect("address space");
        // A large page for each element would be much.
        #[cfg(target_os = "linux")]
        map.advise(memmap2::Advice::NoHugePage).expect("small pages");
        Sparse(map)
    }

    fn read(&self, kind: Kind, at: usize) -> u32 {
        let bytes = &self.0[kind.size() * at..][..kind.size()];
        match kind {
            Kind::F32 => f32::from_ne_bytes(bytes.try_into().expect("four bytes")) as u32,
            Kind::I32 => u32::from_ne_bytes(bytes.try_into().expect("four bytes")),
            Kind::U8 => bytes[0].into(),
        }
    }

    fn write(&mut self, kind: Kind, at: usize, value: u32) {
        let bytes = &mut self.0[kind.size() * at..][..kind.size()];
        match kind {
            Kind::F32 => bytes.copy_from_slice(&(value as f32).to_ne_bytes()),
            Kind::I32 => bytes.copy_from_slice(&value.to_ne_bytes()),
            Kind::U8 => bytes[0] = value as u8,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    F32,
    I32,
    U8,
}

impl Kind {
    fn size(self) -> usize {
        if self == Kind::U8 { 1 } else { 4 }
    }

    fn name(self) -> &'static str {
        ["f32", "i32", "u8"][self as usize]
    }

    /// One in all lanes.
    fn one(self, lanes: i128) -> String {
        let one = if self == Kind::F32 { "1.0" } else { "1" };
        if lanes == 1 { one.into() } else { format!("splat({one}, {lanes})") }
    }

    /// The number at an element; with one more it still fits.
    fn at(self, element: i128) -> u32 {
        let mixed = (element as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
        1 + (mixed % if self == Kind::U8 { 250 } else { 1 << 20 }) as u32
    }
}

/// Choices that bytes make; where they end, the first one is taken.
struct Choices<'a>(&'a [u8]);

impl Choices<'_> {
    fn below(&mut self, n: u64) -> u64 {
        match self.0 {
            [low, high, rest @ ..] => {
                self.0 = rest;
                u64::from(u16::from_le_bytes([*low, *high])) % n
            }
            _ => 0,
        }
    }

    fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len() as u64) as usize]
    }

    /// A number around a power of two below 2 to the `most`, of either sign.
    fn factor(&mut self, most: u64) -> i128 {
        let near = (1 << self.below(most)) + self.below(5) as i128 - 2;
        if self.below(3) == 0 { -near } else { near }
    }
}

/// The values of the loops at a point.
type Point = [i128; 3];

/// What an index may be made of, and its value.
type Atom = (&'static str, fn(Point) -> i128);

const ATOMS: [Atom; 8] = [
    ("p", |[p, _, _]| p),
    ("i", |[_, i, _]| i),
    ("j", |[_, _, j]| j),
    ("(i / 2)", |[_, i, _]| i / 2),
    ("(p % 2)", |[p, _, _]| p % 2),
    ("((3*i + j) % 4)", |[_, i, j]| (3 * i + j) % 4),
    ("min(i, j)", |[_, i, j]| i.min(j)),
    ("max(i, 2*j)", |[_, i, j]| i.max(2 * j)),
];

/// Lanes of an element each.
struct Access {
    terms: Vec<(usize, i128)>,
    constant: i128,
    stride: i128,
    lanes: i128,
}

impl Access {
    fn drawn(choices: &mut Choices<'_>, lanes: i128, stores: bool) -> Access {
        // The axes themselves are most of all terms, and a store needs them to tell its iterations apart.
        let own: &[usize] = if stores { &[0, 1, 2] } else { &[] };
        let others = (0..choices.below(3)).map(|_| choices.pick(&[0, 1, 2, 3, 4, 5, 6, 7]));
        let atoms: Vec<usize> = own.iter().copied().chain(others.collect::<Vec<_>>()).collect();
        let terms = atoms.into_iter().map(|atom| (atom, choices.factor(34))).collect();
        let stride = match choices.below(4) {
            0 if lanes > 1 => choices.factor(30),
            1 if !stores && lanes > 1 => 0,
            _ => 1,
        };
        Access { terms, constant: 0, stride: if stores && stride == 0 { 7 } else { stride }, lanes }
    }

    fn elements(&self, point: Point) -> impl Iterator<Item = i128> + '_ {
        let terms = self.terms.iter().map(move |(atom, factor)| factor * ATOMS[*atom].1(point));
        let first = self.constant + terms.sum::<i128>();
        (0..self.lanes).map(move |lane| first + lane * self.stride)
    }

    /// The index without its lanes.
    fn text(&self) -> String {
        let sign = |factor: i128| if factor < 0 { "-" } else { "+" };
        let terms = self.terms.iter();
        let terms =
            terms.map(|(atom, factor)| format!(" {} {}*{}", sign(*factor), factor.abs(), ATOMS[*atom].0));
        let minus = if self.constant < 0 { "-" } else { "" };
        format!("{minus}{}{}", self.constant.abs(), terms.collect::<String>())
    }
}

/// A function and all that it touches.
struct Program {
    text: String,
    kind: Kind,
    /// Elements of both buffers.
    lengths: [i128; 2],
    /// For each element that is stored, the one that it is made from.
    stored: Vec<(i128, i128)>,
    extent: i128,
}

/// A load and the store of what it gives and one more.
type Pair = [Access; 2];

/// The function that bytes say; none where it would store an element twice.
fn program(bytes: &[u8]) -> Option<Program> {
    let mut choices = Choices(bytes);
    let kind = choices.pick(&[Kind::F32, Kind::F32, Kind::I32, Kind::U8]);
    let extents = [choices.pick(&[1, 2, 4]), choices.pick(&[1, 3, 4]), choices.pick(&[1, 2, 5])];
    let points: Vec<Point> = (0..extents[0])
        .flat_map(|p| (0..extents[1]).flat_map(move |i| (0..extents[2]).map(move |j| [p, i, j])))
        .collect();
    let mut pairs = pairs(&mut choices);
    let lengths = [0, 1].map(|buffer| moved_inside(&mut choices, &points, &mut pairs, buffer));
    if lengths.iter().any(|length| *length > LONGEST) {
        return None;
    }
    let of_pair = |[from, to]: &Pair| -> Vec<(i128, i128)> {
        points.iter().flat_map(|point| to.elements(*point).zip(from.elements(*point))).collect()
    };
    let stored: Vec<(i128, i128)> = pairs.iter().flat_map(of_pair).collect();
    let mut places = HashSet::new();
    if !stored.iter().all(|(to, _)| places.insert(*to)) {
        return None;
    }
    let ([of_x, of_y], [p, i, j], name) = (lengths, extents, kind.name());
    let text = format!(
        "fn far(x: read {name}[{of_x}], y: write {name}[{of_y}]) {{
parallel for p in 0..{p} {{ for i in 0..{i} {{ for j in 0..{j} {{\n{}}} }} }} }}",
        pairs.iter().map(|pair| statement(kind, pair)).collect::<String>()
    );
    Some(Program { text, kind, lengths, stored, extent: p })
}

fn pairs(choices: &mut Choices<'_>) -> Vec<Pair> {
    let mut pairs: Vec<Pair> = Vec::new();
    for _ in 0..=choices.below(3) {
        let lanes = choices.pick(&[1, 4, 8, 16, 32]);
        pairs.push([Access::drawn(choices, lanes, false), Access::drawn(choices, lanes, true)]);
    }
    // Some stores differ from the first one in their constants only.
    for at in 1..pairs.len() {
        if choices.below(2) == 0 && pairs[at][1].lanes == pairs[0][1].lanes {
            (pairs[at][1].terms, pairs[at][1].stride) = (pairs[0][1].terms.clone(), pairs[0][1].stride);
            pairs[at][1].constant = choices.factor(34);
        }
    }
    pairs
}

/// Moves all accesses to a buffer to its beginning, or almost; gives its length.
fn moved_inside(choices: &mut Choices<'_>, points: &[Point], pairs: &mut [Pair], buffer: usize) -> i128 {
    let ends = |access: &Access| -> (i128, i128) {
        let all: Vec<i128> = points.iter().flat_map(|point| access.elements(*point)).collect();
        (*all.iter().min().expect("a point"), *all.iter().max().expect("a point"))
    };
    let of_all = pairs.iter().map(|pair| ends(&pair[buffer]));
    let (low, high) = of_all.reduce(|a, b| (a.0.min(b.0), a.1.max(b.1))).expect("an access");
    let first = choices.below(3) as i128;
    pairs.iter_mut().for_each(|pair| pair[buffer].constant += first - low);
    first + high - low + 1 + choices.below(3) as i128
}

fn statement(kind: Kind, [from, to]: &Pair) -> String {
    let lanes = to.lanes;
    let (load, by) = match lanes {
        1 => (String::new(), String::new()),
        _ => (format!("; {lanes} by {}", from.stride), format!("; by {}", to.stride)),
    };
    format!("y[{}{by}] = x[{}{load}] + {}\n", to.text(), from.text(), kind.one(lanes))
}

/// The levels that this machine has.
fn targets() -> impl Iterator<Item = Target> {
    let known = [Level::Sse4, Level::Fma, Level::Avx2, Level::Avx512].into_iter();
    known.filter(|level| *level <= Target::host().level).map(Target::of)
}

/// Whether the verifier proves a function right; if so, whether it is, at every level.
pub fn from_bytes(bytes: &[u8]) -> bool {
    let Some(Program { text, kind, lengths, stored, extent }) = program(bytes) else { return false };
    let function = parse(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    let Ok(function) = Verified::new(function) else { return false };
    let bytes = lengths.map(|length| usize::try_from(length).expect("a length") * kind.size());
    let mut x = Sparse::new(bytes[0]);
    for (_, from) in &stored {
        x.write(kind, *from as usize, kind.at(*from));
    }
    for target in targets() {
        let module = Module::compile(std::slice::from_ref(&function), target).expect("it compiles");
        let mut y = Sparse::new(bytes[1]);
        let addresses = [x.0.as_mut_ptr(), y.0.as_mut_ptr()];
        let half = extent as i64 / 2;
        for range in [0..half, half..extent as i64] {
            // SAFETY: the addresses are those of buffers of the declared lengths, which live until the call returns.
            unsafe { module.kernel(0).call(&addresses, &RandomState::default(), range) };
        }
        for (to, from) in &stored {
            let (found, wanted) = (y.read(kind, *to as usize), kind.at(*from) + 1);
            assert_eq!(found, wanted, "element {to} from {from} at {}\n{text}", target.level);
        }
    }
    true
}
