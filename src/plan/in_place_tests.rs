//! What may lie over what: launches as texts, in which tensor `n` is called `tn`.

use super::*;
use crate::loops::parser::parse;
use crate::te::{DType, Program};

/// The tensors.
fn t(number: u32) -> Tensor {
    Tensor::from_u32(number)
}

/// Launches and the layouts of their tensors; all are of 64 elements in a row.
struct Example {
    launches: Vec<Launch>,
    layouts: Layouts,
    units: Vec<Unit>,
}

fn launch(text: &str) -> Launch {
    let function = parse(text).unwrap_or_else(|error| panic!("{error}: {text}"));
    let number = |name: &str| name[1..].parse().expect("a tensor by its number");
    let buffers = function.buffers.values().map(|buffer| Tensor::from_u32(number(&buffer.name))).collect();
    Launch {
        function,
        buffers,
        schedule: String::new(),
        group: None,
        origins: Vec::new(),
        key: None,
        tiles: Vec::new(),
    }
}

impl Example {
    fn new(texts: &[&str]) -> Example {
        let launches: Vec<Launch> = texts.iter().map(|text| launch(text)).collect();
        let layouts = (0..5).map(|at| (t(at), Layout::new(&[64], None, 1))).collect();
        let unit = |at: usize| Unit { launches: at..at + 1, slices: 1, scratch: BTreeMap::new() };
        let units = (0..launches.len()).map(unit).collect();
        Example { launches, layouts, units }
    }

    fn search(&self) -> Search<'_> {
        Search::new(&self.layouts, &self.launches, &self.units)
    }

    /// Whether `t1` may lie over `t0`.
    fn fits(&self) -> bool {
        self.search().replaces(t(0), t(1))
    }
}

/// `t1` over `t0`, and a reader of `t1`.
const PLAIN: &str = "fn f(t0: read f32[64], t1: write f32[64]) { for i in 0..64 { t1[i] = t0[i] + 1.0 } }";
const READER: &str = "fn g(t1: read f32[64], t2: write f32[64]) { for i in 0..64 { t2[i] = t1[i] } }";

#[test]
fn a_result_lies_over_what_nobody_needs_any_more() {
    assert!(Example::new(&[PLAIN, READER]).fits());
    let early = "fn e(t0: read f32[64], t2: write f32[64]) { for i in 0..64 { t2[i] = t0[i] } }";
    assert!(Example::new(&[early, PLAIN]).fits());
    assert!(!Example::new(&[PLAIN, early]).fits(), "it is read later");
    assert!(!Example::new(&[READER, PLAIN]).fits(), "the result's memory is in use before");
    let mut together = Example::new(&[early, PLAIN]);
    together.units = vec![Unit { launches: 0..2, slices: 4, scratch: BTreeMap::new() }];
    assert!(!together.fits(), "later slices need it");
}

#[test]
fn layouts_and_accesses_must_fit() {
    let mut other = Example::new(&[PLAIN, READER]);
    other.layouts.insert(t(1), Layout { dense: true, ..other.layouts[&t(1)].clone() });
    assert!(!other.fits(), "another layout");
    let reads_back = "fn f(t0: read f32[64], t1: readwrite f32[64]) { for i in 0..64 { t1[i] = t0[i] } a: f32 = t1[3] if a > 0.0 { a = 0.0 } }";
    assert!(!Example::new(&[reads_back]).fits(), "the result is read back");
    let writes_both =
        "fn f(t0: readwrite f32[64], t1: write f32[64]) { for i in 0..64 { t1[i] = t0[i] } t0[0] = 1.0 }";
    assert!(!Example::new(&[writes_both]).fits(), "what is replaced is written too");
}

#[test]
fn every_element_is_stored_once() {
    let half = |from: usize| {
        format!(
            "fn f(t0: read f32[64], t1: write f32[64]) {{ for i in 0..32 {{ t1[i + {from}] = t0[i + {from}] }} }}"
        )
    };
    assert!(Example::new(&[&half(0), &half(32)]).fits());
    assert!(!Example::new(&[&half(0)]).fits());
    // Twelve pictures in lanes of eight are sixteen elements.
    let text = "fn f(t0: read f32[16], t1: write f32[16]) { for i in 0..2 { a: f32x8 = t0[8*i; 8] t1[8*i] = a + a } }";
    let mut lanes = Example::new(&[text]);
    (0..5).for_each(|at| _ = lanes.layouts.insert(t(at), Layout::new(&[12], Some(0), 8)));
    assert!(lanes.fits());
}

/// The program of five tensors of 64 elements, of which the last is one of bytes.
fn kernels() -> Kernels {
    let mut program = Program::default();
    for at in 0..5 {
        program.tensor(format!("t{at}"), if at == 4 { DType::U8 } else { DType::F32 }, vec![64]);
    }
    Kernels { program, kernels: Vec::new(), stored: (0..5).map(t).collect() }
}

#[test]
fn only_one_result_takes_a_place() {
    let two = "fn f(t0: read f32[64], t1: write f32[64], t2: write f32[64]) {
        for i in 0..64 { a: f32 = t0[i] t1[i] = a + 1.0 t2[i] = a + 2.0 } }";
    let found = Example::new(&[two]).search().results(&kernels(), &|_| true);
    assert_eq!(found.len(), 1, "{found:?}");
    let plain = Example::new(&[PLAIN]);
    assert_eq!(plain.search().results(&kernels(), &|_| true), HashMap::from_iter([(t(1), t(0))]));
    for live_out in [t(0), t(1)] {
        let found = plain.search().results(&kernels(), &|tensor| tensor != live_out);
        assert!(found.is_empty(), "{live_out} is needed for longer: {found:?}");
    }
    let bytes = "fn f(t4: read u8[64], t1: write f32[64]) { for i in 0..64 { t1[i] = to_float(t4[i]) } }";
    let found = Example::new(&[bytes]).search().results(&kernels(), &|_| true);
    assert!(found.is_empty(), "elements of another size: {found:?}");
}

#[test]
fn parameters_are_replaced_when_the_loss_is_known() {
    let example = Example::new(&[
        READER,
        "fn f(t0: read f32[64], t3: write f32[64]) { for i in 0..64 { t3[i] = t0[i] } }",
    ]);
    let persistent = [Persistent { present: t(0), next: Some(t(3)) }];
    assert_eq!(example.search().updates(&persistent, 1), HashMap::from_iter([(t(3), t(0))]));
    assert_eq!(example.search().updates(&persistent, 2), HashMap::default());
}

#[test]
fn only_stores_are_redirected() {
    let aliases = HashMap::from_iter([(t(1), t(0))]);
    let writer = applied(&launch(PLAIN), &aliases);
    let access = |launch: &Launch| -> Vec<AccessMode> {
        launch.function.buffers.values().map(|buffer| buffer.access).collect()
    };
    assert_eq!(access(&writer)[0], AccessMode::ReadWrite);
    let reader = launch(
        "fn f(t0: read f32[64], t1: read f32[64], t2: write f32[64]) { for i in 0..64 { t2[i] = t0[i] + t1[i] } }",
    );
    assert_eq!(access(&applied(&reader, &aliases)), access(&reader));
}
