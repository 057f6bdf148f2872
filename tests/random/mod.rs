//! Random programs in the language: layers of the library with random options, user equations, branches, a loss and
//! an optimiser.
#![allow(dead_code)] // Every test that includes this module uses a part of it.

pub mod checks;
mod choices;
mod draw;
mod equations;
pub mod faults;
mod layers;

use std::collections::BTreeSet;

pub use draw::Draw;

/// All options that programs note.
pub const OPTIONS: [&str; 60] = [
    "conv dilation",
    "conv pad same",
    "conv stride",
    "conv pad per side",
    "conv pad",
    "conv groups",
    "conv depthwise",
    "conv bias=false",
    "pool stride",
    "pool pad",
    "pool ceil_mode",
    "avgpool count_include_pad=false",
    "batchnorm options",
    "depth chunks",
    "dropout2d",
    "filter2d flip",
    "linear bias=false",
    "concat",
    "stack",
    "user element by element",
    "user window",
    "user contraction",
    "user pieces",
    "user index",
    "user intermediates",
    "user axis as number",
    "user fills",
    "user uniform",
    "user rows",
    "user outer product",
    "user choice",
    "user nested choice",
    "user choice in a sum",
    "user choice around a reduction",
    "user divisor",
    "user negative divisor",
    "user ties",
    "user empty windows",
    "pictures with NaN",
    "pictures with holes",
    "cross_entropy",
    "cross_entropy smoothing",
    "cross_entropy weights",
    "nll",
    "labels of pixels",
    "labels of pixels, smoothing",
    "labels of pixels, weights",
    "mse",
    "l1",
    "huber",
    "bce_with_logits",
    "bce",
    "sgd",
    "sgd momentum",
    "sgd nesterov",
    "adam",
    "adam decay",
    "adamw",
    "rmsprop",
    "rmsprop momentum",
];

/// Elements of one picture in one tensor, at most: the oracle is slow.
const LARGEST: i64 = 160;

/// A tensor of the program in the making: its name, and its shape without the batch.
#[derive(Clone, Debug)]
pub struct Tensor {
    pub name: String,
    pub shape: Vec<i64>,
}

/// What the pictures of a program hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pictures {
    #[default]
    Numbers,
    /// Numbers, and a few that are none.
    Nan,
    /// Numbers, and blocks of negative infinity that fill windows.
    Holes,
}

/// A program in the language, and what is in it.
#[derive(Clone, Debug, Default)]
pub struct Program {
    pub text: String,
    pub batch: i64,
    pub training: bool,
    pub pictures: Pictures,
    /// The options that were drawn, such as `conv stride`.
    pub options: BTreeSet<&'static str>,
}

/// A program in the making.
pub struct Writer {
    pub draw: Draw,
    pub batch: i64,
    pub training: bool,
    ops: String,
    body: String,
    tensors: Vec<Tensor>,
    options: BTreeSet<&'static str>,
}

impl Writer {
    /// Notes an option that the program uses.
    pub fn note(&mut self, option: &'static str) {
        self.options.insert(option);
    }

    /// Draws whether an option is used, and notes it.
    pub fn option(&mut self, option: &'static str, probability: f64) -> bool {
        let used = self.draw.chance(probability);
        if used {
            self.note(option);
        }
        used
    }

    /// Adds an op of the user; gives its name.
    pub fn op(&mut self, text: impl FnOnce(&str) -> String) -> String {
        let name = format!("user{}", self.ops.matches("op user").count());
        self.ops += &text(&name);
        self.ops += "\n";
        name
    }

    /// A new tensor of an expression.
    pub fn define(&mut self, expression: &str, shape: Vec<i64>) -> Tensor {
        let name = format!("t{}", self.tensors.len());
        self.body += &format!("  let {name} = {expression};\n");
        let tensor = Tensor { name, shape };
        self.tensors.push(tensor.clone());
        tensor
    }

    /// Another tensor of the same rank, the last one more often than others.
    fn some_tensor(&mut self) -> Tensor {
        let last = self.tensors.len() as i64 - 1;
        let at = if self.draw.chance(0.75) { last } else { self.draw.from(0, last) };
        self.tensors[at as usize].clone()
    }
}

/// The program of a seed.
pub fn program(seed: u64) -> Program {
    let mut draw = Draw::new(seed);
    let batch = if draw.chance(0.25) { draw.pick(&[1, 8, 16]) } else { draw.from(1, 20) };
    let training = draw.chance(0.85);
    let shape = match draw.chance(0.8) {
        true => vec![draw.from(1, 4), draw.from(3, 6), draw.from(3, 6)],
        false => vec![draw.from(2, 9)],
    };
    let mut writer = Writer {
        draw,
        batch,
        training,
        ops: String::new(),
        body: String::new(),
        tensors: vec![Tensor { name: "x".into(), shape: shape.clone() }],
        options: BTreeSet::new(),
    };
    // A trained number reaches every tensor, so that every op is differentiated.
    writer.body +=
        &format!("  param shift: f32[{}] = uniform(-1, 1);\n", extents(&[&[1], &shape[..]].concat()));
    writer.define("x + shift", shape.clone());
    for _ in 0..writer.draw.from(2, 5) {
        step(&mut writer);
    }
    finish(writer, &shape, seed)
}

/// A program with a linear layer so large that its sums are split.
pub fn wide_program(seed: u64) -> Program {
    let mut draw = Draw::new(seed);
    let (batch, out, inner) = (draw.from(1, 3), draw.from(8, 10), 65536);
    let text = format!(
        "model M(x: f32[N, {inner}]) {{ x |> linear({out}, bias=false) |> tanh }}
         data D {{ source = digits(); }}
         train M on D {{ loss = cross_entropy; optim = sgd(0.1); }}"
    );
    Program { text, batch, training: true, ..Program::default() }
}

fn extents(shape: &[i64]) -> String {
    shape.iter().map(i64::to_string).collect::<Vec<_>>().join(", ")
}

fn step(writer: &mut Writer) {
    let tensor = writer.some_tensor();
    match writer.draw.from(0, 9) {
        0 => join(writer, &tensor),
        1..=3 => equations::equation(writer, &tensor),
        _ => layers::layer(writer, &tensor),
    }
}

/// Two tensors become one: a sum, a product, or one beside the other.
fn join(writer: &mut Writer, one: &Tensor) {
    let fits = |other: &&Tensor| other.shape.len() == one.shape.len() && other.shape[1..] == one.shape[1..];
    let others: Vec<Tensor> = writer.tensors[1..].iter().filter(fits).cloned().collect();
    if others.is_empty() {
        return;
    }
    let other = others[writer.draw.from(0, others.len() as i64 - 1) as usize].clone();
    let (a, b) = (&one.name, &other.name);
    let how = if one.shape == other.shape { writer.draw.from(0, 4) } else { 0 };
    let mut joined = one.shape.clone();
    joined[0] += other.shape[0];
    if joined.iter().product::<i64>() > LARGEST {
        return;
    }
    match how {
        0 => {
            writer.note("concat");
            writer.define(&format!("concat({a}, {b})"), joined);
        }
        1 => {
            writer.note("stack");
            let both = extents(&joined);
            writer.define(&format!("stack({a}, {b}, axis=1) as f32[N, {both}]"), joined);
        }
        2 => _ = writer.define(&format!("{a} + {b}"), one.shape.clone()),
        3 => _ = writer.define(&format!("{a} * {b} - {a}"), one.shape.clone()),
        _ => _ = writer.define(&format!("{a} / (1.5 + {b}*{b})"), one.shape.clone()),
    }
}

/// The losses over classes of samples and of pixels, and those over numbers.
const CLASS_LOSSES: [(&str, &str); 4] = [
    ("cross_entropy", "cross_entropy"),
    ("cross_entropy smoothing", "cross_entropy(label_smoothing=0.2)"),
    ("cross_entropy weights", "cross_entropy(weight=[0.5, 1.0, 2.0])"),
    ("nll", "nll"),
];
const PIXEL_LOSSES: [(&str, &str); 3] = [
    ("labels of pixels", "cross_entropy2d"),
    ("labels of pixels, smoothing", "cross_entropy2d(label_smoothing=0.2)"),
    ("labels of pixels, weights", "cross_entropy2d(weight=[0.5, 1.0, 2.0])"),
];
const NUMBER_LOSSES: [(&str, &str); 5] = [
    ("mse", "mse"),
    ("l1", "l1"),
    ("huber", "huber(delta=0.5)"),
    ("bce_with_logits", "bce_with_logits"),
    ("bce", "bce"),
];

/// The seeds of the draws of pixel losses are others.
const PIXELS: u64 = 1 << 40;

fn is_loss(option: &str) -> bool {
    CLASS_LOSSES.iter().chain(&NUMBER_LOSSES).any(|(known, _)| *known == option)
}

/// The optimisers with options that choose among their ops.
const OPTIMISERS: [(&str, &str); 8] = [
    ("sgd", "sgd(0.1, weight_decay=0.01)"),
    ("sgd momentum", "sgd(0.1, momentum=0.9)"),
    ("sgd nesterov", "sgd(0.1, momentum=0.9, nesterov=true)"),
    ("adam", "adam(0.01)"),
    ("adam decay", "adam(0.01, weight_decay=0.1)"),
    ("adamw", "adamw(0.01)"),
    ("rmsprop", "rmsprop(0.01)"),
    ("rmsprop momentum", "rmsprop(0.01, momentum=0.9)"),
];

fn finish(mut writer: Writer, shape: &[i64], seed: u64) -> Program {
    let results = writer.tensors[writer.tensors.len() - 1].clone();
    let (last, loss) = if writer.draw.chance(0.6) {
        let mut flat = results.name.clone();
        if results.shape.len() == 3 {
            flat = writer.define(&format!("{flat} |> flatten"), vec![results.shape.iter().product()]).name;
        }
        let (option, loss) = writer.draw.pick(&CLASS_LOSSES);
        writer.note(option);
        let bias = if writer.option("linear bias=false", 0.2) { ", bias=false" } else { "" };
        let end = if loss == "nll" { " |> logsoftmax" } else { "" };
        (format!("{flat} |> linear(3{bias}){end}"), loss)
    } else {
        let (option, loss) = writer.draw.pick(&NUMBER_LOSSES);
        writer.note(option);
        let end = if loss == "bce" { " |> sigmoid" } else { "" };
        (format!("{}{end}", results.name), loss)
    };
    // Draws of their own, which leave the others as they are.
    let mut pixels = Draw::new(seed ^ PIXELS);
    let (last, loss) = match results.shape.len() == 3 && pixels.chance(0.25) {
        true => {
            let (option, loss) = pixels.pick(&PIXEL_LOSSES);
            writer.options.retain(|option| !is_loss(option));
            writer.note(option);
            (format!("{} |> conv(3, 1)", results.name), loss)
        }
        false => (last, loss),
    };
    let (option, optimiser) = writer.draw.pick(&OPTIMISERS);
    if writer.training {
        writer.note(option);
    }
    let pictures = match writer.draw.from(0, 11) {
        0 => Pictures::Nan,
        1 => Pictures::Holes,
        _ => Pictures::Numbers,
    };
    match pictures {
        Pictures::Numbers => {}
        Pictures::Nan => writer.note("pictures with NaN"),
        Pictures::Holes => writer.note("pictures with holes"),
    }
    let text = format!(
        "{}model M(x: f32[N, {}]) {{\n{}  {last}\n}}\ndata D {{ source = digits(); }}\ntrain M on D {{ loss = {loss}; optim = {optimiser}; }}\n",
        writer.ops,
        extents(shape),
        writer.body
    );
    Program { text, batch: writer.batch, training: writer.training, pictures, options: writer.options }
}
