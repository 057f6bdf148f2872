//! `check`: the warnings about layers, their exact texts, and how they are silenced.

use crate::place::Place;

/// The first lines of all warnings for a model of these layers, and the places where they are shown.
fn warnings(layers: &str) -> Vec<String> {
    let text = format!(
        "model Net(x: f32[N, 1, 8, 8]) -> f32[N, 10] {{
  {layers}
}}
data Digits {{ source = digits(); }}
train Net on Digits {{ loss = cross_entropy; optim = sgd(0.1); }}
"
    );
    let place = Place::with("net.cnn", &text);
    let said = place.run(&["check", "net.cnn"]);
    assert_eq!(said.code, Some(0), "{}", said.err);
    let found: Vec<String> =
        said.err.lines().filter_map(|line| line.strip_prefix("warning: ")).map(str::to_owned).collect();
    let end = match found.len() {
        0 => "net.cnn: no problems\n".to_owned(),
        1 => "net.cnn: 1 warning\n".to_owned(),
        count => format!("net.cnn: {count} warnings\n"),
    };
    assert_eq!(said.out, end);
    found
}

const CASES: [(&str, &str, &str); 9] = [
    (
        "softmax-before-loss",
        "x |> flatten |> linear(10) |> softmax",
        "a softmax before cross_entropy, which applies one itself",
    ),
    (
        "bounded-logits",
        "x |> flatten |> linear(10) |> sigmoid",
        "`sigmoid` bounds what cross_entropy takes as logits, so the loss cannot come near 0",
    ),
    (
        "bounded-logits",
        "x |> flatten |> linear(10) |> relu",
        "`relu` bounds what cross_entropy takes as logits, so the loss cannot come near 0",
    ),
    (
        "bias-before-norm",
        "x |> conv(2, 3) |> batchnorm |> flatten |> linear(10)",
        "the bias before a batch normalisation does nothing: the mean is taken off again",
    ),
    (
        "dropout-before-norm",
        "x |> conv(2, 3) |> dropout |> relu |> batchnorm |> flatten |> linear(10)",
        "dropout before a batch normalisation: its statistics in training are not those of inference",
    ),
    (
        "dropped-pixels",
        "x |> conv(2, 2) |> maxpool([2, 1]) |> flatten |> linear(10)",
        "the last row is never read: the stride does not come out even on 7×7",
    ),
    (
        "field-beyond-input",
        "x |> conv(2, 3, pad=1) |> maxpool(4) |> conv(2, 3, pad=1) |> flatten |> linear(10)",
        "a window of 3×3 on a 2×2 input mostly sees padding",
    ),
    (
        "large-kernel",
        "x |> conv(2, 3, pad=1) |> relu |> conv(2, 5) |> flatten |> linear(10)",
        "a 5×5 kernel behind the first layer",
    ),
    ("no-gradient", "x |> flatten |> lost |> linear(10)", "the parameter `lost1.weight` gets no gradient"),
];

/// A block whose parameter gets no gradient, with a comment on the line that reads it.
fn lost(comment: &str) -> String {
    format!(
        "op cut(x: f32[N, C], w: f32[C]) -> y: f32[N, C] {{ y[n, c] = x[n, c] * detach(w[c]); }}
block lost(x: f32[N, C]) {{ param weight: f32[C] = 1;
  {comment}cut(x, weight) }}
"
    )
}

#[test]
fn each_lint_warns_and_is_silenced_by_its_name() {
    for (name, layers, message) in CASES {
        // Items may stand in any order, so the block of the last case can follow the model.
        let body =
            |comment: &str| format!("{comment}{layers}\n}}\n{}block unused(x: any) {{ x", lost(comment));
        assert_eq!(warnings(&body("")), [message], "{name}");
        assert_eq!(warnings(&body(&format!("// allow({name})\n  "))), [""; 0], "{name}");
        assert_eq!(warnings(&body("// allow(something-else)\n  ")), [message], "{name}");
    }
}

#[test]
fn a_warning_shows_the_layer_the_fix_and_its_name() {
    let text = "model Net(x: f32[N, 1, 8, 8]) -> f32[N, 10] { x |> flatten |> linear(10) |> softmax }
data Digits { source = digits(); }
train Net on Digits { loss = cross_entropy; optim = sgd(0.1); }
";
    let place = Place::with("net.cnn", text);
    assert_eq!(
        place.run(&["check", "net.cnn"]).err,
        "warning: a softmax before cross_entropy, which applies one itself
 --> net.cnn:1:77
  |
1 | model Net(x: f32[N, 1, 8, 8]) -> f32[N, 10] { x |> flatten |> linear(10) |> softmax }
  |                                                                             ^^^^^^^
  |
  = note: `// allow(softmax-before-loss)` on this line or the one above silences this
  = help: leave it out; or use `nll` behind `logsoftmax`

"
    );
}

/// What is fine is not warned of: strides that come out even, depthwise 5×5 kernels, the first layer's large ones.
#[test]
fn good_models_have_no_warning() {
    for layers in [
        "x |> conv(4, 5, pad=2) |> relu |> conv(4, 5, pad=2, groups=4) |> relu |> maxpool(2) |> flatten |> linear(10)",
        "x |> conv(4, 3, stride=2, pad=1, bias=false) |> batchnorm |> relu |> dropout2d |> flatten |> linear(10)",
        "x |> conv(4, 2) |> maxpool(2, ceil_mode=true) |> flatten |> linear(10)",
    ] {
        assert_eq!(warnings(layers), [""; 0], "{layers}");
    }
}
