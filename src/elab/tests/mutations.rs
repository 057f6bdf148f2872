//! Nothing that a user writes makes the elaboration panic or hang: damaged files, and whatever they mean.

use super::errors::errors_of;
use super::*;
use crate::base::philox::philox4x32;

/// A stream of random numbers.
struct Dice {
    seed: u32,
    thrown: u32,
}

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.thrown += 1;
        philox4x32([self.seed, 7], [self.thrown, 0, 0, 0])[0] as usize % end
    }
}

/// The words, numbers and signs of a text, with the spaces before them.
fn pieces(text: &str) -> Vec<String> {
    let mut pieces: Vec<String> = Vec::new();
    let mut word = false;
    for letter in text.chars() {
        let joins = letter.is_alphanumeric() || letter == '_' || letter == '.';
        match pieces.last_mut() {
            Some(last) if word && joins => last.push(letter),
            _ => pieces.push(letter.to_string()),
        }
        word = joins;
    }
    pieces
}

const STRANGE: [&str; 24] = [
    "0",
    "1",
    "-1",
    "2",
    "1000000007",
    "9007199254740991",
    "1e300",
    "inf",
    "none",
    "true",
    "x",
    "N",
    "C",
    "\"same\"",
    "[1, 2]",
    "[]",
    "[[0, 1], [2, 3]]",
    "f32",
    "-",
    "/",
    "%",
    "*",
    "uniform()",
    "sum[c]",
];

fn damaged(text: &str, dice: &mut Dice) -> String {
    let mut pieces = pieces(text);
    for _ in 0..=dice.below(3) {
        let at = dice.below(pieces.len());
        let other = pieces[dice.below(pieces.len())].clone();
        match dice.below(6) {
            0 => drop(pieces.remove(at)),
            1 => pieces[at] = other,
            2 => pieces.insert(at, other),
            _ => {
                let meant = |piece: &String| piece.chars().any(char::is_alphanumeric);
                let places: Vec<usize> = (0..pieces.len()).filter(|at| meant(&pieces[*at])).collect();
                let at = places[dice.below(places.len())];
                pieces[at] = STRANGE[dice.below(STRANGE.len())].into();
            }
        }
    }
    pieces.concat()
}

pub(super) const NETWORK: &str = r#"
op softmaxpool(x: f32[N, C, H, W], k: int, s: int) -> y: f32[N, C, (H-k)/s+1, (W-k)/s+1] {
  let q = k*2/2;
  assert k > 0, "k is {k}";
  m[n, c, i, j] = max[u < k, v < k] x[n, c, s*i+u, s*j+v];
  e[n, c, i, j, u < k, v < k] = exp(x[n, c, s*i+u, s*j+v] - m[n, c, i, j]);
  y[n, c, i, j] = (sum[u < q, v < k] e[n, c, i, j, u, v] * x[n, c, s*i+u, s*j+v] else 0) / (sum[u < k, v < k] e[n, c, i, j, u, v]);
}
op spread(x: f32[N, C, H, W], by: list) -> y: f32[N, C, 2*H, W] {
  y[n, c, 2*h, w] = if uniform() < by[c % 2] { x[n, c, h, w] } else { real(h*w % 3) };
  y[n, c, 2*h + 1, w] = min(x[n, C - 1 - c, h, w/2], leaky(x[n, c, min(h, 1), w], slope=0.5));
}
op leaky(x: f32, slope: float = 0.1) -> y: f32 { t = slope * x; y = if x > 0 && !(x == 1) { x } else { t }; }
block part(x: any, width: int, bias: bool = true) {
  param scale: f32[size(x, 1), 1, 1] = normal(0, 0.1);
  state seen: f32 = 0;
  seen <- seen * 0.5;
  for i in 0..2 { x = x |> conv(width, 3, pad=[1, 1], stride=1, groups=1, bias=bias) as "c{i}" |> leaky(0.2); }
  let (a, b) = if bias { two(x) } else { two(-x) };
  concat(a, b * 2, axis=1) + stack(a, b, axis=1) as f32[size(x, 0), 2*width, size(x, 2), size(x, 3)]
}
op two(x: f32[N, C, H, W]) -> (a: f32[N, C, H, W], b: f32[N, C, H, W]) { a[n, c, h, w] = x[n, c, h, w]; b[n, c, h, w] = detach(x[n, c, h, w]); }
model Net(x: f32[N, 2, 8, 8], width: int = 3) -> f32[N, 10] {
  x |> part(width) |> softmaxpool(2, 2) |> spread([0.5, 1]) |> batchnorm |> dropout(0.1) |> avgpool(2, pad=1, ceil_mode=true)
    |> adaptiveavgpool([2, 3]) |> groupnorm(2) |> flatten |> linear(10) as head
}
data D { source = digits(); holdout = 10; prepare = normalize([0.5, 0.5], [1, 2]); }
train Net(width=4) on D {
  loss = cross_entropy(label_smoothing=0.1); optim = sgd(0.1, momentum=0.9); batch = 8; epochs = 1; init = [conv = xavier_uniform, bias = 0.01];
}
"#;

#[test]
fn the_undamaged_network_is_right() {
    let mut sources = SourceMap::default();
    let errors = errors_of(&mut sources, NETWORK);
    assert!(errors.is_empty(), "{}", rendered(&sources, &errors));
}

#[test]
fn damaged_networks_never_panic() {
    let count = std::env::var("MUTATIONS").ok().and_then(|count| count.parse().ok()).unwrap_or(200);
    for seed in 0..count {
        let text = damaged(NETWORK, &mut Dice { seed, thrown: 0 });
        let start = std::time::Instant::now();
        let done = std::panic::catch_unwind(|| {
            let mut sources = SourceMap::default();
            let mut errors = errors_of(&mut sources, &text);
            if let Ok(module) = Module::from_text(&mut sources, "model.cnn", &text) {
                errors.extend(module.audit());
            }
            rendered(&sources, &errors)
        });
        assert!(done.is_ok(), "seed {seed} panics:\n{text}");
        assert!(start.elapsed().as_secs() < 20, "seed {seed} takes {:?}:\n{text}", start.elapsed());
    }
}

#[test]
fn damaged_libraries_never_panic() {
    let model = "model M(x: f32[N, 2, 8, 8]) { x |> conv(4, 3, groups=2) |> avgpool(2) |> batchnorm |> flatten |> linear(3) }
        data D { source = digits(); } train M on D { loss = cross_entropy; optim = adam; }";
    for seed in 0..60 {
        let mut library = Library::embedded();
        let mut dice = Dice { seed, thrown: 0 };
        for (_, text) in &mut library.files {
            *text = damaged(text, &mut dice);
        }
        let mut sources = SourceMap::default();
        let Ok(module) = Module::with_library(&mut sources, "model.cnn", model, &library) else { continue };
        let request = Request { training: true, ..Request::inference(2) };
        let _ = module.graph(&ModelCall::new(module.models()[0]), &request);
    }
}

#[test]
fn exponential_ops_are_cut_off() {
    let mut text = String::from("op f0(x: f32) -> y: f32 { y = x + 1; }\n");
    for level in 1..30 {
        let f = format!("f{}", level - 1);
        text.push_str(&format!("op f{level}(x: f32) -> y: f32 {{ y = {f}({f}(x)) + {f}(x); }}\n"));
    }
    text.push_str("model M(x: f32[N, 2]) { x |> f29 }");
    let mut sources = SourceMap::default();
    let errors = errors_of(&mut sources, &text);
    assert_eq!(errors.len(), 1);
}

#[test]
fn deep_files_do_not_overflow_the_stack() {
    let nested = |open: &str, inner: &str, close: &str, depth: usize| {
        format!("{}{inner}{}", open.repeat(depth), close.repeat(depth))
    };
    for depth in [100, 200, 395, 490] {
        let calls = nested("relu(", "x", ")", depth);
        let negations = nested("-(", "x", ")", depth);
        let choices = nested("if true { ", "x", " } else { x }", depth);
        let lists = nested("[", "x", "]", depth);
        let sums = format!("x{}", " + x".repeat(depth));
        for body in [&calls, &negations, &choices, &lists, &sums] {
            errors_of(&mut SourceMap::default(), &format!("model M(x: f32[N, 2]) {{ {body} }}"));
            let op = format!("op f(x: f32) -> y: f32 {{ y = {body}; }} model M(x: f32[N, 2]) {{ x |> f }}");
            errors_of(&mut SourceMap::default(), &op);
        }
    }
    for depth in [1, 3, 5, 20, 100] {
        let body = nested("relu(", "x |> deep", ")", depth);
        let text =
            format!("block deep(x: any) {{ if true {{ {body} }} }} model M(x: f32[N, 2]) {{ x |> deep }}");
        assert_eq!(errors_of(&mut SourceMap::default(), &text).len(), 1);
    }
}
