//! Which launches run slice by slice: texts, in which tensor `n` is called `tn`, of 64 elements in four slices.

use super::*;
use crate::kernels::layout::Layout;
use crate::loops::parser::parse;
use crate::te::{DType, Program};

/// What two launches of a group run as.
fn run_as(texts: [&str; 2], live_out: &[u32]) -> Vec<Unit> {
    let mut program = Program::default();
    for at in 0..4 {
        program.tensor(format!("t{at}"), DType::F32, vec![64]);
    }
    let kernels = Kernels { program, kernels: Vec::new(), stored: BTreeSet::new() };
    let layouts: Layouts = (0..4).map(|at| (Tensor::from_u32(at), Layout::new(&[64], None, 1))).collect();
    let launch = |text: &str| {
        let function = parse(text).unwrap_or_else(|error| panic!("{error}: {text}"));
        let number = |name: &str| name[1..].parse().expect("a tensor by its number");
        let buffers =
            function.buffers.values().map(|buffer| Tensor::from_u32(number(&buffer.name))).collect();
        let (schedule, origins, tiles) = (String::new(), Vec::new(), Vec::new());
        Launch { function, buffers, schedule, group: Some(0), origins, key: None, tiles }
    };
    let live_out = live_out.iter().map(|at| Tensor::from_u32(*at)).collect();
    units(&kernels, &layouts, &texts.map(launch), &live_out, &[false; 2])
}

fn is_sliced(texts: [&str; 2]) -> bool {
    run_as(texts, &[]).len() == 1
}

/// Stores all of `t1`, a slice in each iteration.
const FIRST: &str = "fn f(t0: read f32[64], t1: write f32[64]) {
  parallel for s in 0..4 { for i in 0..16 { t1[16*s + i] = t0[16*s + i] } }
}";

/// Reads an element of `t1` where a condition holds.
fn reader(condition: &str, index: &str) -> String {
    format!(
        "fn g(t1: read f32[64], t2: write f32[64]) {{
  parallel for s in 0..4 {{
    for i in 0..16 {{ a: f32 = 0.0 if {condition} {{ a = t1[{index}] }} t2[16*s + i] = a }}
  }}
}}"
    )
}

#[test]
fn a_slice_reads_what_it_has_stored() {
    let own = reader("int(i) < 16", "16*s + i");
    let units = run_as([FIRST, &own], &[]);
    let scratch = BTreeMap::from([(Tensor::from_u32(1), 64)]);
    assert_eq!(units, [Unit { launches: 0..2, slices: 4, scratch }]);
    let units = run_as([FIRST, &own], &[1]);
    assert_eq!(units, [Unit { launches: 0..2, slices: 4, scratch: BTreeMap::new() }], "others need it");
    assert!(is_sliced([FIRST, &reader("int(i) < 16", "16*s - i + 15")]));
}

/// The condition keeps each access in the tensor, not in the slice.
#[test]
fn a_slice_reads_neither_the_next_nor_the_last_one() {
    for (condition, index) in [
        ("int(16*s + i) < 63", "16*s + i + 1"),
        ("int(16*s + i) >= 1", "16*s + i - 1"),
        ("int(s) < 3", "16*s + 16"),
        ("int(s) >= 1", "16*s - 16"),
        ("int(i) < 16", "15*s + i"),
        ("int(i) < 16", "i"),
    ] {
        assert!(!is_sliced([FIRST, &reader(condition, index)]), "{index} where {condition}");
    }
}

/// Vectors of four: their last elements count, and their first ones where they run backwards.
#[test]
fn no_lane_leaves_its_slice() {
    let reader = |condition: &str, load: &str| {
        format!(
            "fn g(t1: read f32[64], t2: write f32[64]) {{
  parallel for s in 0..4 {{
    for i in 0..4 {{ a: f32x4 = splat(0.0, 4) if {condition} {{ a = {load} }} t2[16*s + 4*i] = a }}
  }}
}}"
        )
    };
    assert!(is_sliced([FIRST, &reader("int(i) < 4", "t1[16*s + 4*i; 4]")]));
    assert!(!is_sliced([FIRST, &reader("int(s) < 3", "t1[16*s + 4*i + 1; 4]")]));
    assert!(!is_sliced([FIRST, &reader("int(s) < 3", "t1[16*s + 4*i + 4; 4]")]));
}
