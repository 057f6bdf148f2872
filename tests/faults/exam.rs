//! The examination: a few programs in which many faults show, in under a second. What it finds, other tests find too;
//! it is what a fault can be planted against in an ordinary run.

use std::collections::BTreeSet;

use crate::random::Program;
use crate::random::checks::{Case, Checker};

/// The test of this module, as the test binary calls it.
pub const NAME: &str = "exam::small_programs_are_right";

/// Bodies of a model of pictures `f32[N, 2, 6, 6]`, each followed by a linear layer and a loss.
const PICTURES: [&str; 6] = [
    "x |> conv(3, 3, stride=2, pad=1) |> relu |> maxpool(2, stride=1)",
    "x |> conv(4, 3, pad=1, groups=2) |> batchnorm |> tanh |> maxpool(3, stride=2, pad=1, ceil_mode=true)",
    "x |> conv(3, 2, dilation=2) |> gelu |> avgpool(2, ceil_mode=true, count_include_pad=false) |> dropout(0.3)",
    "let y = x |> conv(2, 1); concat(x, y / -1) |> lrn(3) |> upsample(2, mode=\"bilinear\") |> minpool(3)",
    "let y = x |> conv(2, 3, pad=1); y * x + y |> softmaxpool(2, stride=2) |> layernorm",
    "x |> conv(24, 3, pad=1) |> relu |> conv(4, 1) |> adaptivemaxpool([2, 3])",
];

#[test]
fn small_programs_are_right() {
    let checker = Checker::new();
    for (seed, body) in PICTURES.iter().enumerate() {
        let batch = [3, 8, 17][seed % 3];
        let optimiser = ["sgd(0.1, momentum=0.9)", "adam(0.01, weight_decay=0.1)", "rmsprop(0.01)"][seed % 3];
        let (last, before) = match body.rsplit_once("; ") {
            Some((before, last)) => (last, format!("{before};")),
            None => (*body, String::new()),
        };
        let text = format!(
            "model M(x: f32[N, 2, 6, 6]) {{ {before} {last} |> flatten |> linear(3) }}
             data D {{ source = digits(); }}
             train M on D {{ loss = cross_entropy; optim = {optimiser}; }}"
        );
        let program = Program { text, batch, training: true, options: BTreeSet::new() };
        let case = Case::new(&program, seed as u64);
        let seen = checker.check(&case, None).unwrap_or_else(|error| panic!("{body}: {error}"));
        assert!(seen.unknown * 10 < seen.elements, "{body}: {seen:?}");
    }
}
