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

/// The lines of a file that have a warning of a division, with its place in the line.
fn rounded(text: &str) -> Vec<String> {
    let place = Place::with("net.cnn", text);
    let said = place.run(&["check", "net.cnn"]);
    assert_eq!(said.code, Some(0), "{}", said.err);
    let mut lines = said.err.lines();
    let mut found = Vec::new();
    while let Some(line) = lines.next() {
        if line == "warning: this division of integers rounds down, where a number is wanted" {
            let place = lines.next().and_then(|line| line.rsplit_once("net.cnn:")).expect("a place");
            let (row, column) = place.1.split_once(':').expect("a row and a column");
            let (row, column): (usize, usize) = (row.parse().unwrap(), column.parse().unwrap());
            found.push(text.lines().nth(row - 1).unwrap()[column - 1..].chars().take(8).collect());
        }
    }
    found
}

/// Each of these is less than was meant, mostly 0, wherever the number goes from there.
#[test]
fn a_division_that_loses_a_remainder_where_a_number_is_wanted() {
    let text = "op direct(x: f32[N, K]) -> y: f32[N, K] { y[n, k] = x[n, k] * (1 / K); }
op named(x: f32[N, K]) -> y: f32[N, K] { let scale = 2 / K; y[n, k] = scale * x[n, k]; }
op slope(x: f32, k: int) -> y: f32 { y = if x > 0 { x } else { 3 / k }; }
op above(x: f32[N, K]) -> y: f32[N, K] { y[n, k] = if x[n, k] > 4 / K { x[n, k] } else { 0 }; }
op ramp(x: f32[N, K]) -> y: f32[N, K] { y[n, k] = x[n, k] * (1 - k / K); }
op middle(x: f32[N, K]) -> y: f32[N, K] { y[n, k] = x[n, k] * (k + 1 / 2); }
op listed(x: f32[N, K]) -> y: f32[N, K] { let w = [7/4, 2]; y[n, k] = x[n, k] * w[k % 2]; }
op root(x: f32[N, K]) -> y: f32[N, K] { y[n, k] = pow(x[n, k], 1 / 3); }
op filled(x: f32[N, K]) -> y: f32[N, K] { y[n, k] = x[n, k - 1] else (5 / 6); }
op shared(x: f32[N, K]) -> y: f32[N, K] { y[n, k] = x[n, k] * real(1 / K); }
block scaled(x: any, by: any, rate: float = 1 / 9) { dropout(x * by, rate) }
block uncalled(x: any, rate: float = 1 / 10) { dropout(x, rate) }
model Net(x: f32[N, 1, 8, 8]) -> f32[N, 10] {
  let y = x |> flatten |> linear(64) |> direct |> named |> slope(5) |> above |> ramp |> middle
    |> listed |> root |> filled |> shared;
  y |> scaled(-1 / 11) |> leakyrelu(1 / 12) |> linear(10)
}
data Digits { source = digits(); prepare = scale(1/13); }
train Net on Digits { loss = cross_entropy(label_smoothing=1/14); optim = sgd(1/15, momentum=1/16); }
";
    let starts = [
        "1 / K", "2 / K", "3 / k", "4 / K", "k / K", "1 / 2", "7/4", "1 / 3", "5 / 6", "1 / K", "1 / 9",
        "1 / 10", "-1 / 11", "1 / 12", "1/13", "1/14", "1/15", "1/16",
    ];
    let found = rounded(text);
    assert_eq!(found.len(), starts.len(), "{found:?}");
    for (found, start) in found.iter().zip(starts) {
        assert!(found.starts_with(start), "{found} is not {start}");
    }
}

/// The same beside elements and numbers, whatever the operator, and where no train section trains the model.
#[test]
fn a_division_beside_a_number_loses_a_remainder() {
    let text = "op plus(x: f32[N, K]) -> y: f32[N, K] { y[n, k] = x[n, k] + k / K; }
op minus(x: f32[N, K]) -> y: f32[N, K] { y[n, k] = k / (K + 1) - x[n, k]; }
op filled(x: f32[N, K]) -> y: f32[N, K] { y[n, k] = k / (K + 2) + (x[n, k - 1] else 0); }
op times(x: f32[N, K]) -> y: f32[N, K] { y[n, k] = k + x[n, k] * (k / (K + 3)); }
op summed(x: f32[N, K]) -> y: f32[N, K] { y[n, k] = k / (K + 4) + (sum[j < K] x[n, j]); }
op rooted(x: f32[N, K]) -> y: f32[N, K] { y[n, k] = x[n, k] + (exp(x[n, k]) - k / (K + 5)); }
op pointed(x: f32[N, K]) -> y: f32[N, K] { y[n, k] = x[n, k] * (k * 0.5 + k / (K + 6)); }
op floored(x: f32[N, K]) -> y: f32[N, K] { y[n, k] = floor(x[n, k] + k / (K + 7)); }
op real_beside(x: f32[N, K]) -> y: f32[N, K] { y[n, k] = x[n, k] * (real(k) - k / (K + 8)); }
model Net(x: f32[N, 4]) {
  x |> plus |> minus |> filled |> times |> summed |> rooted |> pointed |> floored |> real_beside |> dropout(1 / 2)
}
";
    let found = rounded(text);
    assert_eq!(found.len(), 10, "{found:?}");
    assert!(found[..9].iter().all(|start| start.starts_with("k / ")), "{found:?}");
    assert!(found[9].starts_with("1 / 2"), "{found:?}");
}

/// What follows the fill of a read takes all of it.
#[test]
fn an_operator_behind_a_fill() {
    let said = |body: &str| {
        let text = format!(
            "op f(x: f32[N, K]) -> y: f32[N, K] {{ y[n, k] = {body}; }}\nmodel M(x: f32[N, 4]) {{ f(x) }}\n"
        );
        let said = Place::with("net.cnn", &text).run(&["check", "net.cnn"]);
        assert_eq!(said.code, Some(0), "{}", said.err);
        said.err
    };
    let found = said("x[n, k - 1] else 1 / 2");
    assert!(found.contains("warning: this `/` takes all of the read, not what follows `else`"), "{found}");
    assert!(found.contains("write `(x[n, k - 1] else 1) / 2`, or `x[n, k - 1] else (1 / 2)`"), "{found}");
    assert!(said("x[n, k - 1] else K * 2").contains("this `*` takes all of the read"));
    for right in [
        "(x[n, k - 1] else 1) / 2",
        "x[n, k - 1] else (1.0 / 2)",
        "x[n, k - 1] else 0 / 2",
        "x[n, k - 1] else 1 * x[n, k]",
        "sum[j < 3] x[n, k - j] else 0 * x[n, j]",
    ] {
        assert!(!said(right).contains("takes all of the read"), "{right}");
    }
}

/// Shapes, positions, integers and exact divisions are as they are meant.
#[test]
fn a_division_that_is_right() {
    let text = "op halved(x: f32[N, 1, H, W]) -> y: f32[N, 1, H/3, W/3] {
  let third = H / 3;
  y[n, c, i, j] = mean[u < third + H / 6, v < third] x[n, c, min(i + u, H / 3 * 2), j + v];
}
op centred(x: f32[N, K]) -> y: f32[N, K] {
  y[n, k] = x[n, k] * exp(-real(k - K / 2) * (k - K / 2) / real(K / 2)) * (K / 7);
}
op chosen(x: f32[N, K]) -> y: f32[N, K] { y[n, k] = if k == K / 2 || k / 2 > 1 { x[n, k] } else { 0 }; }
op coarse(x: f32[N, K]) -> y: f32[N, K] { y[n, k] = x[n, k / 2 * 2] + x[n, K / 2] * [3, 5][k / 4 % 2]; }
op exact(x: f32[N, K]) -> y: f32[N, K] { y[n, k] = (x[n, k] + 1) / K * (2 * K / 7) * (real(1) / K); }
block repeated(x: any, count: int) {
  for i in 0..count / 2 { x = x |> linear(7) as \"layer{i + count / 2}\"; }
  if count / 2 > 1 { x |> relu } else { x }
}
model Net(x: f32[N, 1, 8, 8]) -> f32[N, 10] {
  x |> halved |> flatten |> linear(7) |> centred |> chosen |> coarse |> exact |> repeated(5 - 1 / 2)
    |> linear(21 / 2)
}
data Digits { source = digits(); holdout = 101 / 2; prepare = scale(4/2); }
train Net on Digits { loss = cross_entropy; optim = sgd(1.0/15); batch = 33 / 2; }
";
    assert_eq!(rounded(text), [""; 0]);
}

#[test]
fn a_warning_of_a_division_is_silenced_by_its_name() {
    let text = |comment: &str| {
        format!(
            "op half(x: f32[N, K]) -> y: f32[N, K] {{ {comment}
  y[n, k] = x[n, k] * (K / 2);
}}
model Net(x: f32[N, 5]) {{ half(x) }}
"
        )
    };
    assert_eq!(rounded(&text("")), ["K / 2);"]);
    assert_eq!(rounded(&text("// allow(rounded-division)")), [""; 0]);
    let said = Place::with("net.cnn", &text("")).run(&["check", "net.cnn"]);
    assert_eq!(
        said.err,
        "warning: this division of integers rounds down, where a number is wanted
 --> net.cnn:2:24
  |
2 |   y[n, k] = x[n, k] * (K / 2);
  |                        ^^^^^
  |
  = note: `// allow(rounded-division)` on this line or the one above silences this
  = help: write `real(K) / ...`

"
    );
}
