//! Bits that must not change: the results of fixed programs at every level, as hashes.
//!
//! `golden/programs.json` and `golden/more.json` hold texts of programs, drawn once by `random`, and the hash of all
//! outputs of one training step of each (loss, prediction, gradients, updates) at each level. What changes a hash
//! changes the bits of somebody's training: it is a decision, is committed alone, and says why. Such a commit renews
//! the hashes by
//!
//! ```text
//! GOLDEN=renew cargo test --test golden
//! ```
//!
//! Bits follow from the program and the level alone, so one list holds for every machine.

mod model;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cnnc::base::philox::RandomState;
use cnnc::base::target::{Level, Target};
use cnnc::graph::Graph;
use cnnc::lower::{CompileOptions, lower};
use cnnc::runtime::agreement::{self, Native, Outputs};
use cnnc::runtime::{Device, devices};
use cnnc::sched::LaneAxis;
use model::Model;
use serde::{Deserialize, Serialize};

/// A program whose bits are fixed.
#[derive(Serialize, Deserialize)]
struct Golden {
    text: String,
    batch: i64,
    training: bool,
    /// Whether its target is labels of classes, so that the two best are counted.
    top: bool,
    seed: u64,
    /// The hash of its outputs by level and lanes.
    hashes: BTreeMap<String, String>,
}

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

fn read(name: &str) -> Vec<Golden> {
    serde_json::from_str(&std::fs::read_to_string(file(name)).expect("the list")).expect("a list of programs")
}

/// One program a line.
fn write(name: &str, programs: &[Golden]) {
    let lines: Vec<String> =
        programs.iter().map(|golden| serde_json::to_string(golden).expect("JSON")).collect();
    std::fs::write(file(name), format!("[\n{}\n]\n", lines.join(",\n"))).expect("a written list");
}

impl Golden {
    fn graph(&self) -> Graph {
        let model = Model::new(&self.text);
        let model = if self.top { model.counting_top() } else { model };
        if self.training { model.step(self.batch) } else { model.gradients(self.batch, false) }
    }

    /// The hashes at the levels of this machine.
    fn hashes(&self, device: &Arc<dyn Device>) -> BTreeMap<String, String> {
        let graph = self.graph();
        let state = RandomState { seed: self.seed, step: self.seed % 3 };
        let inputs = agreement::inputs(&graph, state);
        let mut found = BTreeMap::new();
        for level in [Level::Sse4, Level::Fma, Level::Avx2, Level::Avx512] {
            if level > Target::host().level {
                continue;
            }
            let channels = self.seed.is_multiple_of(2).then_some(LaneAxis::Channels);
            for over in [Some(LaneAxis::Batch), channels].into_iter().flatten() {
                let options = CompileOptions { over: Some(over), ..CompileOptions::of(Target::of(level)) };
                let lowered = lower(&graph, &options);
                let mut native = Native::compile(&graph, lowered).expect("native code");
                let outputs = native.run(&inputs, device, state);
                found.insert(format!("{level} {over}"), hash(&outputs));
            }
        }
        found
    }
}

/// FNV-1a of the bits of all elements, where every NaN counts as one.
fn hash(outputs: &Outputs) -> String {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for value in outputs.iter().flat_map(|values| values.floats().expect("numbers of f32")) {
        let bits = if value.is_nan() { f32::NAN.to_bits() } else { value.to_bits() };
        for byte in bits.to_le_bytes() {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
        }
    }
    format!("{hash:016x}")
}

#[test]
fn bits_are_what_they_were() {
    check("programs.json");
}

/// Those of 220 more, drawn before the lower half of the compiler was rebuilt.
#[test]
fn bits_of_more_programs_are_what_they_were() {
    check("more.json");
}

fn check(name: &str) {
    let device = devices::host(2).expect("threads");
    let mut programs = read(name);
    let mut changed = Vec::new();
    for (at, golden) in programs.iter_mut().enumerate() {
        for (way, hash) in golden.hashes(&device) {
            if golden.hashes.get(&way) != Some(&hash) {
                changed.push(format!("program {at} at {way}"));
                golden.hashes.insert(way, hash);
            }
        }
    }
    if std::env::var("GOLDEN").is_ok_and(|wish| wish == "renew") {
        return write(name, &programs);
    }
    let first = changed.first().and_then(|text| text.split(' ').nth(1)?.parse::<usize>().ok());
    let text = first.map_or("", |at| &programs[at].text);
    assert!(changed.is_empty(), "{} changed:\n{}\n{text}", changed.len(), changed.join("\n"));
}
