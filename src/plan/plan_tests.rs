//! Where tensors lie: launches as `t0 t1 -> t2` (any elements) or `t0 => t1` (element by element), and the places that
//! their tensors get. Whatever the plan, what is needed at the same time lies apart.

use super::*;
use crate::kernels::Layout;
use crate::loops::parser::parse;
use crate::te::{DType, Program};

/// Launches and what they run on.
#[derive(Clone, Copy, Default)]
struct Example {
    /// `t0[64], t1[5] halo 1 fill 2`; what has a halo and no fill has zeros there.
    tensors: &'static str,
    inputs: &'static str,
    outputs: &'static str,
    launches: &'static [&'static str],
    /// `t0 next t3` or `t0`, with commas between.
    kept: &'static str,
    verdict: Option<u32>,
}

/// The tensor of `t3`.
fn tensor(name: &str) -> Tensor {
    let number = name.strip_prefix('t').and_then(|number| number.parse().ok());
    Tensor::from_u32(number.unwrap_or_else(|| panic!("`{name}` is no tensor")))
}

/// `t0[64] halo 1 fill 2` as a shape and a layout.
fn layout(text: &str) -> Layout {
    let words: Vec<&str> = text.split_whitespace().collect();
    let (_, extent) = words[0].split_once('[').expect("an extent");
    let mut layout = Layout::new(&[extent.trim_end_matches(']').parse().expect("an extent")], None, 1);
    for pair in words[1..].chunks(2) {
        match pair {
            ["halo", width] => {
                let width = width.parse().expect("a width");
                layout.halo = vec![(width, width)];
                layout.fill = Some(layout.fill.unwrap_or(0.0.into()));
            }
            ["fill", value] => layout.fill = Some(value.parse::<f64>().expect("a value").into()),
            _ => panic!("{text}"),
        }
    }
    layout
}

/// A launch as a text of loops. Every element of a result depends on the first of each operand, or on its own one.
fn launch(text: &str, layouts: &Layouts) -> Launch {
    let (reads, result, at) = match text.split_once(" -> ") {
        Some((reads, result)) => (reads, result, "0"),
        None => text.split_once(" => ").map(|(reads, result)| (reads, result, "i")).expect("an arrow"),
    };
    let len = |name: &str| layouts[&tensor(name)].len();
    let reads: Vec<&str> = reads.split_whitespace().collect();
    let buffers: Vec<String> =
        reads.iter().map(|name| format!("{name}: read f32[{}], ", len(name))).collect();
    let sum: String = reads.iter().map(|name| format!(" + {name}[{at}]")).collect();
    let text = format!(
        "fn f({}{result}: write f32[{}]) {{ for i in 0..{} {{ {result}[i] = 0.5{sum} }} }}",
        buffers.concat(),
        len(result),
        len(result)
    );
    let function = parse(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
    crate::loops::verifier::verify(&function).unwrap_or_else(|error| panic!("{error:?}: {text}"));
    let buffers = function.buffers.values().map(|buffer| tensor(&buffer.name)).collect();
    let (schedule, origins, tiles) = (String::new(), Vec::new(), Vec::new());
    Launch { function, buffers, schedule, group: None, origins, key: None, tiles }
}

/// An example as the plan takes it, and its plan.
struct Planned {
    kernels: Kernels,
    layouts: Layouts,
    launches: Vec<Launch>,
    plan: MemoryPlan,
}

impl Example {
    fn planned(self) -> Planned {
        let mut program = Program::default();
        let mut layouts = Layouts::default();
        for text in self.tensors.split(", ") {
            let layout = layout(text);
            let name = text.split('[').next().expect("a name");
            let added = program.tensor(name, DType::F32, layout.shape.clone());
            assert_eq!(added, tensor(name), "they stand in order");
            layouts.insert(added, layout);
        }
        program.inputs = self.inputs.split_whitespace().map(tensor).collect();
        program.outputs = self.outputs.split_whitespace().map(tensor).collect();
        let kernels = Kernels { stored: program.tensors.keys().collect(), program, kernels: Vec::new() };
        let launches: Vec<Launch> = self.launches.iter().map(|text| launch(text, &layouts)).collect();
        let kept = self.kept.split(", ").filter(|text| !text.is_empty()).map(|text| {
            match text.split_once(" next ") {
                Some((present, next)) => Persistent { present: tensor(present), next: Some(tensor(next)) },
                None => Persistent { present: tensor(text), next: None },
            }
        });
        let kept: Vec<Persistent> = kept.collect();
        let verdict = self.verdict.map(Tensor::from_u32);
        let plan = plan(&kernels, &layouts, &launches, &kept, Bounds { verdict, grid: None });
        let verified = verifier::verify(&kernels, &layouts, &launches, &kept, &plan);
        assert!(verified.is_ok(), "{:?}: {verified:?}", self.launches);
        let planned = Planned { kernels, layouts, launches, plan };
        planned.check_places();
        planned
    }
}

impl Planned {
    /// The launches during which a tensor is needed, by its uses alone.
    fn needed(&self, tensor: Tensor) -> Range<usize> {
        let program = &self.kernels.program;
        let end = self.launches.len() + 1;
        let uses = |at: &usize| self.launches[*at].buffers.contains(&tensor);
        let mut users = (0..self.launches.len()).filter(uses);
        let first = if program.inputs.contains(&tensor) { Some(0) } else { users.clone().next() };
        let last =
            if program.outputs.contains(&tensor) { Some(end) } else { users.next_back().map(|at| at + 1) };
        first.unwrap_or(0)..last.unwrap_or(0)
    }

    /// The bytes of the arena that a tensor takes.
    fn bytes(&self, tensor: Tensor) -> Option<Range<usize>> {
        let Placement::Arena(offset) = self.plan.places[&tensor] else { return None };
        Some(offset..offset + 4 * self.layouts[&tensor].len())
    }

    /// What must hold of any plan: all lie at cache lines inside the arena, those that are needed at once apart, and
    /// nothing over the halo of another layout.
    fn check_places(&self) {
        let stored: Vec<Tensor> = self.kernels.stored.iter().copied().collect();
        let text = self.text();
        let meet = |one: &Range<usize>, other: &Range<usize>| one.start < other.end && other.start < one.end;
        for (at, one) in stored.iter().enumerate() {
            let Some(bytes) = self.bytes(*one) else { continue };
            assert!(bytes.start % 64 == 0 && bytes.end <= self.plan.arena_bytes, "{one}: {text}");
            for other in &stored[at + 1..] {
                let Some(others) = self.bytes(*other).filter(|others| meet(&bytes, others)) else { continue };
                let (layout, others_layout) = (&self.layouts[one], &self.layouts[other]);
                let filled = layout.fill.is_some() || others_layout.fill.is_some();
                assert!(!filled || layout == others_layout, "{one} and {other} share a halo: {text}");
                let aliases = &self.plan.aliases;
                let over = aliases.get(one) == Some(other) || aliases.get(other) == Some(one);
                let at_once = meet(&self.needed(*one), &self.needed(*other));
                assert!(over && bytes == others || !at_once, "{one} and {other} meet: {text}");
            }
        }
    }

    /// `t0@0 t1@256 t2 present 0; 512 bytes`.
    fn text(&self) -> String {
        let place = |tensor: &Tensor| match self.plan.places[tensor] {
            Placement::Arena(offset) => format!("{tensor}@{offset}"),
            Placement::Present(at) => format!("{tensor} present {at}"),
            Placement::Next(at) => format!("{tensor} next {at}"),
            Placement::Scratch { .. } => format!("{tensor} scratch"),
        };
        let places: Vec<String> = self.kernels.stored.iter().map(place).collect();
        format!("{}; {} bytes", places.join(" "), self.plan.arena_bytes)
    }
}

fn check(example: Example, wanted: &str) {
    assert_eq!(example.planned().text(), wanted, "{:?} {}", example.launches, example.tensors);
}

const FOUR: &str = "t0[64], t1[64], t2[64], t3[64]";
const FIVE: &str = "t0[64], t1[64], t2[64], t3[64], t4[64]";
/// Each of them needs the one before.
const CHAIN: Example = Example {
    tensors: FOUR,
    inputs: "t0",
    outputs: "t3",
    launches: &["t0 -> t1", "t1 -> t2", "t2 -> t3"],
    kept: "",
    verdict: None,
};

#[test]
fn what_is_not_needed_at_once_shares_memory() {
    check(CHAIN, "t0@0 t1@256 t2@512 t3@256; 768 bytes");
    let both = Example { launches: &["t0 -> t1", "t0 -> t2", "t1 t2 -> t3"], ..CHAIN };
    check(both, "t0@0 t1@256 t2@512 t3@768; 1024 bytes");
    let again = Example { launches: &["t0 -> t1", "t1 -> t2", "t1 t2 -> t3"], ..CHAIN };
    check(again, "t0@0 t1@256 t2@512 t3@768; 1024 bytes");
    let longer = Example {
        tensors: "t0[64], t1[64], t2[64], t3[64], t4[64], t5[64]",
        outputs: "t5",
        launches: &["t0 -> t1", "t1 -> t2", "t2 -> t3", "t3 -> t4", "t4 -> t5"],
        ..CHAIN
    };
    check(longer, "t0@0 t1@256 t2@512 t3@256 t4@512 t5@256; 768 bytes");
}

#[test]
fn places_are_cache_lines_and_large_tensors_come_first() {
    check(Example { tensors: "t0[5], t1[5], t2[5], t3[5]", ..CHAIN }, "t0@0 t1@64 t2@128 t3@64; 192 bytes");
    check(Example { tensors: "t0[1], t1[17], t2[16], t3[1]", ..CHAIN }, "t0@128 t1@0 t2@192 t3@0; 256 bytes");
    // Two small ones lie where a large one was.
    let small = Example {
        tensors: "t0[1], t1[64], t2[1], t3[16], t4[16]",
        outputs: "t3 t4",
        launches: &["t0 -> t1", "t1 -> t2", "t2 -> t3", "t2 -> t4"],
        ..CHAIN
    };
    check(small, "t0@256 t1@0 t2@320 t3@0 t4@64; 384 bytes");
}

#[test]
fn inputs_and_outputs_keep_their_memory() {
    let early = Example { launches: &["t0 -> t1", "t0 -> t2", "t2 -> t3"], ..CHAIN };
    check(early, "t0@0 t1@256 t2@256 t3@512; 768 bytes");
    check(Example { outputs: "t1 t3", ..early }, "t0@0 t1@256 t2@512 t3@768; 1024 bytes");
    check(Example { outputs: "t2 t3", ..CHAIN }, "t0@0 t1@256 t2@512 t3@256; 768 bytes");
    // Also an input that only the last launch reads, and one that none does.
    let late = Example { inputs: "t0 t1", launches: &["t0 -> t2", "t1 t2 -> t3"], ..CHAIN };
    check(late, "t0@0 t1@256 t2@512 t3@768; 1024 bytes");
    check(
        Example { tensors: FIVE, inputs: "t0 t4", ..CHAIN },
        "t0@0 t1@256 t2@512 t3@256 t4@768; 1024 bytes",
    );
}

#[test]
fn a_halo_is_shared_with_its_own_layout_only() {
    let chain =
        Example { outputs: "t4", launches: &["t0 -> t1", "t1 -> t2", "t2 -> t3", "t3 -> t4"], ..CHAIN };
    for (tensors, wanted) in [
        (FIVE, "t0@0 t1@256 t2@512 t3@256 t4@512; 768 bytes"),
        ("t0[64], t1[64] halo 1, t2[64], t3[64] halo 1, t4[64]", "t0@320 t1@0 t2@576 t3@0 t4@576; 832 bytes"),
        (
            "t0[64], t1[64] halo 1, t2[64], t3[64] halo 2, t4[64]",
            "t0@640 t1@0 t2@896 t3@320 t4@896; 1152 bytes",
        ),
        (
            "t0[64], t1[64] halo 1, t2[64], t3[64] halo 1 fill 2, t4[64]",
            "t0@640 t1@0 t2@896 t3@320 t4@896; 1152 bytes",
        ),
        // What has none does not lie in the memory of one that has.
        ("t0[64], t1[64] halo 1, t2[64], t3[66], t4[64]", "t0@640 t1@0 t2@896 t3@320 t4@896; 1152 bytes"),
        // Both are needed by the second launch.
        (
            "t0[64], t1[64] halo 1, t2[64] halo 1, t3[64], t4[64]",
            "t0@640 t1@0 t2@320 t3@896 t4@1152; 1408 bytes",
        ),
    ] {
        check(Example { tensors, ..chain }, wanted);
    }
}

/// Such a pair has one place for as long as either is needed.
#[test]
fn a_result_lies_over_its_operand() {
    let over = Example { launches: &["t0 -> t1", "t1 => t2", "t2 -> t3"], ..CHAIN };
    check(over, "t0@0 t1@256 t2@256 t3@512; 768 bytes");
    check(Example { outputs: "t1 t3", ..over }, "t0@0 t1@256 t2@512 t3@768; 1024 bytes");
    let input = Example { launches: &["t0 => t1", "t1 -> t2", "t2 -> t3"], ..CHAIN };
    check(input, "t0@0 t1@256 t2@512 t3@256; 768 bytes");
}

#[test]
fn kept_tensors_have_memory_of_their_own() {
    let update = Example { kept: "t0 next t3", ..CHAIN };
    check(update, "t0 present 0 t1@0 t2@256 t3 present 0; 512 bytes");
    let late = Example { launches: &["t0 -> t1", "t1 -> t2", "t0 t2 -> t3"], ..update };
    check(late, "t0 present 0 t1@0 t2@256 t3 next 0; 512 bytes");
    let two = Example { tensors: FIVE, inputs: "t0 t4", kept: "t4, t0 next t3", ..late };
    check(two, "t0 present 1 t1@0 t2@256 t3 next 1 t4 present 0; 512 bytes");
    // What follows from persistent tensors alone, and from nothing that changes, is computed once and stays.
    let once = Example {
        tensors: FIVE,
        inputs: "t0 t2",
        outputs: "t4",
        launches: &["t0 -> t1", "t1 t2 -> t3", "t3 -> t4"],
        ..CHAIN
    };
    check(once, "t0@0 t1@256 t2@512 t3@768 t4@256; 1024 bytes");
    check(Example { kept: "t0", ..once }, "t0 present 0 t1@0 t2@256 t3@512 t4@768; 1024 bytes");
}

/// An update that goes wrong must leave no trace, so it is stored over the present value only behind the verdict.
#[test]
fn the_verdict_comes_before_the_update() {
    let step = Example {
        tensors: "t0[64], t1[1], t2[64]",
        outputs: "t1 t2",
        launches: &["t0 -> t1", "t0 => t2"],
        kept: "t0 next t2",
        verdict: Some(1),
        ..CHAIN
    };
    for (launches, wanted, guarded) in [
        (&["t0 -> t1", "t0 => t2"], "t0 present 0 t1@0 t2 present 0; 64 bytes", Some(1)),
        (&["t0 => t2", "t2 -> t1"], "t0 present 0 t1@0 t2 next 0; 64 bytes", None),
        (&["t0 -> t1", "t0 -> t2"], "t0 present 0 t1@0 t2 next 0; 64 bytes", None),
    ] {
        let planned = Example { launches, ..step }.planned();
        assert_eq!((planned.text().as_str(), planned.plan.guarded), (wanted, guarded), "{launches:?}");
    }
    let free = Example { launches: &["t0 => t2", "t2 -> t1"], verdict: None, ..step }.planned();
    assert_eq!((free.text().as_str(), free.plan.guarded), ("t0 present 0 t1@0 t2 present 0; 64 bytes", None));
}

#[test]
fn a_unit_waits_for_the_memory_that_it_touches() {
    let apart = Example { inputs: "t0 t2", outputs: "t1 t3", launches: &["t0 -> t1", "t2 -> t3"], ..CHAIN };
    let cases: [(Example, &[usize]); 5] = [
        (CHAIN, &[0, 1, 2]),
        (Example { launches: &["t0 -> t1", "t0 -> t2", "t1 t2 -> t3"], ..CHAIN }, &[0, 0, 2]),
        // The second result lies where the first one was.
        (Example { launches: &["t0 -> t1", "t0 -> t2", "t2 -> t3"], ..CHAIN }, &[0, 1, 2]),
        (apart, &[0, 0]),
        // The second launch stores over what the first one reads.
        (Example { kept: "t0 next t3", ..apart }, &[0, 1]),
    ];
    for (example, wanted) in cases {
        assert_eq!(example.planned().plan.dependences, wanted, "{:?} {}", example.launches, example.kept);
    }
}

/// A block of the arena, or one that is to be placed.
fn allocation(bytes: usize, live: Range<usize>) -> Allocation {
    Allocation { tensors: Vec::new(), bytes, live }
}

/// The offsets of blocks that are placed one after the other, where memory has blocks of so many bytes.
fn offsets(sizes: &[(usize, Range<usize>)], block_bytes: Option<usize>) -> Vec<usize> {
    let mut placed = Placed::new();
    let place = |(at, (bytes, live)): (usize, &(usize, Range<usize>))| {
        let allocation = allocation(*bytes, live.clone());
        let offset = first_fit(&placed, &allocation, block_bytes);
        placed.insert((offset, at), allocation);
        offset
    };
    sizes.iter().enumerate().map(place).collect()
}

#[test]
fn no_tensor_lies_in_two_blocks_of_memory() {
    let at_once = |sizes: &[usize]| sizes.iter().map(|bytes| (*bytes, 0..1)).collect::<Vec<_>>();
    let cases: [(&[usize], &[usize]); 5] = [
        // One that fills a block, and sizes around half of one.
        (&[256, 256, 64], &[0, 256, 512]),
        (&[128, 128, 128], &[0, 128, 256]),
        (&[192, 128, 64], &[0, 256, 192]),
        (&[192, 192, 64, 64, 64], &[0, 256, 192, 448, 512]),
        (&[64, 256, 192, 64], &[0, 256, 64, 512]),
    ];
    for (sizes, wanted) in cases {
        assert_eq!(offsets(&at_once(sizes), Some(256)), wanted, "{sizes:?}");
    }
    // Without blocks they lie one behind the other.
    assert_eq!(offsets(&at_once(&[192, 128, 64]), None), [0, 192, 320]);
}

/// Whatever the sizes and times: what is needed at once lies apart, and nothing in two blocks.
#[test]
fn blocks_hold_in_any_order() {
    const BLOCK: usize = 512;
    let mut random = 1_u64;
    let mut next = |below: usize| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) as usize % below
    };
    for _ in 0..200 {
        let mut drawn = || {
            let (bytes, start) = (64 * (1 + next(8)), next(6));
            (bytes, start..start + 1 + next(4))
        };
        let sizes: Vec<(usize, Range<usize>)> = (0..20).map(|_| drawn()).collect();
        let offsets = offsets(&sizes, Some(BLOCK));
        let placed: Vec<_> = sizes.iter().zip(&offsets).collect();
        for (at, ((bytes, live), offset)) in placed.iter().enumerate() {
            assert_eq!(**offset / BLOCK, (**offset + bytes - 1) / BLOCK, "{sizes:?} at {offsets:?}");
            for ((others, other_live), other) in &placed[..at] {
                let apart = **offset + bytes <= **other || **other + others <= **offset;
                let in_turn = live.end <= other_live.start || other_live.end <= live.start;
                assert!(apart || in_turn, "{sizes:?} at {offsets:?}");
            }
        }
    }
}
