//! The examination: a few programs in which many faults show, in about a second. What it finds, other tests find too;
//! it is what a fault can be planted against in an ordinary run.

use crate::model::Model;
use crate::random::checks::{Case, Checker};
use crate::random::{Pictures, Program};

/// The test of this module, as the test binary calls it.
pub const NAME: &str = "exam::small_programs_are_right";

/// Bodies of a model of pictures `f32[N, 2, 6, 6]`, each followed by a linear layer and a loss.
const PICTURES: [(&str, Pictures); 10] = [
    ("x |> conv(3, 3, stride=2, pad=1) |> relu |> maxpool(2, stride=1)", Pictures::Numbers),
    (
        "x |> conv(4, 3, pad=1, groups=2) |> batchnorm |> tanh |> maxpool(3, stride=2, pad=1)",
        Pictures::Numbers,
    ),
    (
        "x |> conv(3, 2, dilation=2) |> gelu |> avgpool(2, ceil_mode=true, count_include_pad=false) |> dropout(0.3)",
        Pictures::Numbers,
    ),
    (
        "let y = x |> conv(2, 1); concat(x, y / -1) |> lrn(3) |> upsample(2, mode=\"bilinear\") |> minpool(3)",
        Pictures::Numbers,
    ),
    ("let y = x |> conv(2, 3, pad=1); y * x + y |> softmaxpool(2, stride=2) |> layernorm", Pictures::Numbers),
    ("x |> conv(24, 3, pad=1) |> relu |> conv(4, 1) |> adaptivemaxpool([2, 3])", Pictures::Numbers),
    ("param shift: f32[1, 2, 6, 6] = 0; divided(x + shift)", Pictures::Numbers),
    ("param shift: f32[1, 2, 6, 6] = 0; x + shift |> maxpool(3, stride=1)", Pictures::Nan),
    ("param shift: f32[1, 2, 6, 6] = 0; x + shift |> maxpool(2)", Pictures::Holes),
    ("param shift: f32[1, 2, 6, 6] = 0; diagonal(x * shift + x)", Pictures::Numbers),
];

/// A slope that is infinite at points that do not exist, and a sum of which the diagonal is read.
const OPS: &str = "op diagonal(x: f32[N, C, H, W]) -> y: f32[N, C, H] {
  s[n < N, c < C, h < H, w < W] = sum[k < 2] x[n, k, h, w] * x[n, c, w, k];
  y[n, c, h] = tanh(s[n, c, h, h]);
}
op divided(x: f32[N, C, H, W]) -> y: f32[N, C, H, W] {
  s[n < N, c < C, h < H, w < W] = 1.5 + x[n, c, h, w]*x[n, c, h, w];
  y[n, c, h, w] = sum[k < 3] (x[n, c, h+k-1, w] else 0) / s[n, c, h, w];
}";

#[test]
fn small_programs_are_right() {
    sizes_are_right();
    let checker = Checker::new();
    for (seed, (body, pictures)) in PICTURES.iter().enumerate() {
        let batch = [3, 8, 17][seed % 3];
        let optimiser = ["sgd(0.1, momentum=0.9)", "adam(0.01, weight_decay=0.1)", "rmsprop(0.01)"][seed % 3];
        let (last, before) = match body.rsplit_once("; ") {
            Some((before, last)) => (last, format!("{before};")),
            None => (*body, String::new()),
        };
        let text = format!(
            "{OPS} model M(x: f32[N, 2, 6, 6]) {{ {before} {last} |> flatten |> linear(3) }}
             data D {{ source = digits(); }}
             train M on D {{ loss = cross_entropy; optim = {optimiser}; }}"
        );
        let program = Program { text, batch, training: true, pictures: *pictures, ..Program::default() };
        let case = Case::new(&program, seed as u64);
        let seen = checker.check(&case, None).unwrap_or_else(|error| panic!("{body}: {error}"));
        assert!(seen.unknown * 10 < seen.elements, "{body}: {seen:?}");
    }
}

/// A pooling whose last window would begin in the lower padding.
fn sizes_are_right() {
    let text =
        "model M(x: f32[N, 1, 6, 6]) -> f32[N, 1, 1, 1] { x |> maxpool(2, stride=7, pad=1, ceil_mode=true) }";
    Model::new(text).forward(2, false).unwrap_or_else(|error| panic!("{error}"));
}
