//! A network of two layers in doubles: its scores, its loss and the gradient of this loss, written out.

use std::collections::BTreeMap;

/// Pixels of a picture, `[1, ROWS, COLUMNS]`.
pub const ROWS: usize = 4;
pub const COLUMNS: usize = 5;
pub const PIXELS: usize = ROWS * COLUMNS;
pub const HIDDEN: usize = 5;
pub const CLASSES: usize = 3;

/// The network as the program reads it. The name of one layer begins with that of the other.
pub const MODEL: &str = "\
model Net(x: f32[N, 1, 4, 5]) -> f32[N, 3] {
  x |> flatten |> linear(5) as a |> tanh |> linear(3) as ab
}
";

/// The parameters and their shapes.
pub const SHAPES: [(&str, &[usize]); 4] = [
    ("a.bias", &[HIDDEN]),
    ("a.weight", &[HIDDEN, PIXELS]),
    ("ab.bias", &[CLASSES]),
    ("ab.weight", &[CLASSES, HIDDEN]),
];

/// Numbers for each parameter.
pub type Tensors = BTreeMap<&'static str, Vec<f64>>;

/// A picture as the network reads it, with the shares of its labels.
#[derive(Clone, Debug)]
pub struct Sample {
    pub pixels: Vec<f64>,
    pub labels: Vec<(usize, f64)>,
    /// What the loss of this picture counts.
    pub weight: f64,
}

/// Sums over pictures.
#[derive(Clone, Debug, Default)]
pub struct Sums {
    pub samples: f64,
    pub loss: f64,
    /// What the mean loss divides by: as much as there are samples, but for their weights.
    pub weight: f64,
    pub correct: f64,
    pub in_top: f64,
    /// A row a label, a column a prediction.
    pub confusion: [[u64; CLASSES]; CLASSES],
}

impl Sums {
    pub fn add(&mut self, other: &Sums) {
        self.samples += other.samples;
        self.loss += other.loss;
        self.weight += other.weight;
        self.correct += other.correct;
        self.in_top += other.in_top;
        for (row, others) in self.confusion.iter_mut().zip(&other.confusion) {
            row.iter_mut().zip(others).for_each(|(count, other)| *count += other);
        }
    }

    pub fn mean_loss(&self) -> f64 {
        self.loss / self.weight
    }
}

/// Weights to begin with, all of them numbers of `f32`.
pub fn start() -> Tensors {
    let mut state = 12_345_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        f64::from(state >> 25) / 64.0 - 1.0
    };
    SHAPES
        .iter()
        .map(|(name, shape)| (*name, (0..shape.iter().product()).map(|_| next()).collect()))
        .collect()
}

/// What is zero.
pub fn zeros() -> Tensors {
    SHAPES.iter().map(|(name, shape)| (*name, vec![0.0; shape.iter().product()])).collect()
}

/// A layer: `y[o] = bias[o] + sum[i] weight[o, i] * x[i]`.
fn linear(tensors: &Tensors, layer: &str, x: &[f64]) -> Vec<f64> {
    let (weight, bias) =
        (&tensors[format!("{layer}.weight").as_str()], &tensors[format!("{layer}.bias").as_str()]);
    let row = |(bias, row): (&f64, &[f64])| bias + row.iter().zip(x).map(|(w, x)| w * x).sum::<f64>();
    bias.iter().zip(weight.chunks_exact(x.len())).map(row).collect()
}

/// The values of the hidden layer and the scores.
fn forward(tensors: &Tensors, pixels: &[f64]) -> (Vec<f64>, Vec<f64>) {
    let hidden: Vec<f64> = linear(tensors, "a", pixels).into_iter().map(f64::tanh).collect();
    let scores = linear(tensors, "ab", &hidden);
    (hidden, scores)
}

pub fn probabilities(tensors: &Tensors, pixels: &[f64]) -> Vec<f64> {
    let (_, scores) = forward(tensors, pixels);
    let total: f64 = scores.iter().map(|score| score.exp()).sum();
    scores.iter().map(|score| score.exp() / total).collect()
}

/// How many scores are better than that of a label.
fn rank(scores: &[f64], label: usize) -> usize {
    scores.iter().filter(|score| **score > scores[label]).count()
}

/// The figures of some pictures, and the gradient of their mean loss, the cross-entropy.
pub fn evaluate(tensors: &Tensors, samples: &[Sample]) -> (Sums, Tensors) {
    let (mut sums, mut gradient) = (Sums::default(), zeros());
    let all: f64 = samples.iter().map(|sample| sample.weight).sum();
    for sample in samples {
        let (hidden, scores) = forward(tensors, &sample.pixels);
        let probabilities = probabilities(tensors, &sample.pixels);
        let best = (0..CLASSES).find(|class| rank(&scores, *class) == 0).expect("a best score");
        sums.samples += 1.0;
        sums.weight += sample.weight;
        let mut slopes = probabilities.clone();
        for (label, share) in &sample.labels {
            sums.loss -= sample.weight * share * probabilities[*label].ln();
            sums.correct += if rank(&scores, *label) == 0 { *share } else { 0.0 };
            sums.in_top += if rank(&scores, *label) < 2 { *share } else { 0.0 };
            slopes[*label] -= share;
        }
        sums.confusion[sample.labels[0].0][best] += 1;
        slopes.iter_mut().for_each(|slope| *slope *= sample.weight / all);
        let inner: Vec<f64> = (0..HIDDEN)
            .map(|i| {
                let slope: f64 = (0..CLASSES).map(|o| slopes[o] * tensors["ab.weight"][o * HIDDEN + i]).sum();
                slope * (1.0 - hidden[i] * hidden[i])
            })
            .collect();
        add_layer(&mut gradient, ["ab.weight", "ab.bias"], &slopes, &hidden);
        add_layer(&mut gradient, ["a.weight", "a.bias"], &inner, &sample.pixels);
    }
    (sums, gradient)
}

/// Adds what a picture contributes to the gradient of a layer.
fn add_layer(gradient: &mut Tensors, [weight, bias]: [&'static str; 2], slopes: &[f64], x: &[f64]) {
    let weight = gradient.get_mut(weight).expect("a parameter");
    for (o, slope) in slopes.iter().enumerate() {
        x.iter().enumerate().for_each(|(i, value)| weight[o * x.len() + i] += slope * value);
    }
    let bias = gradient.get_mut(bias).expect("a parameter");
    bias.iter_mut().zip(slopes).for_each(|(bias, slope)| *bias += slope);
}

pub fn norm(values: &[f64]) -> f64 {
    values.iter().map(|value| value * value).sum::<f64>().sqrt()
}

/// The gradient is the slope of the loss: the reference itself is held.
#[test]
fn the_gradient_is_the_slope() {
    let samples: Vec<Sample> = (0..4)
        .map(|at| Sample {
            pixels: (0..PIXELS).map(|pixel| ((at * 7 + pixel * 3) % 5) as f64 / 4.0 - 0.5).collect(),
            labels: vec![(at % CLASSES, 0.7), ((at + 1) % CLASSES, 0.3)],
            weight: 1.0 + at as f64,
        })
        .collect();
    let gradient = evaluate(&start(), &samples).1;
    for (name, values) in &gradient {
        for (at, slope) in values.iter().enumerate() {
            let moved = |by: f64| {
                let mut tensors = start();
                tensors.get_mut(name).expect("a parameter")[at] += by;
                evaluate(&tensors, &samples).0.mean_loss()
            };
            let found = (moved(1e-5) - moved(-1e-5)) / 2e-5;
            assert!((found - slope).abs() < 1e-8, "{name}[{at}]: {slope}, by differences {found}");
        }
    }
}
