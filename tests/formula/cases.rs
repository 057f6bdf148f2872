//! What `tests/fixtures` holds: results of PyTorch, and how the inputs of each are made.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use serde::de::DeserializeOwned;

/// A tensor that the formula makes; the formula's name is `CASE NAME` in ops, and the name alone in steps.
#[derive(Clone, Debug, Deserialize)]
pub struct Made {
    pub name: String,
    pub shape: Vec<usize>,
    pub rule: String,
}

/// A result, row-major, rounded to 12 digits.
#[derive(Clone, Debug, Deserialize)]
pub struct Result {
    pub shape: Vec<usize>,
    pub values: Vec<f64>,
}

/// The target of a loss: values of a rule, or labels.
#[derive(Clone, Debug, Deserialize)]
pub struct Target {
    pub shape: Vec<usize>,
    pub rule: String,
    /// The labels.
    pub values: Option<Vec<i32>>,
}

/// One op, loss or optimiser; see the head of `ops.py`.
#[derive(Clone, Debug, Deserialize)]
pub struct Case {
    pub name: String,
    pub op: String,
    /// In the language, to be applied as `x |> CALL as op`.
    pub call: String,
    /// `train` or `eval`.
    #[serde(default)]
    pub mode: String,
    #[serde(default)]
    pub inputs: Vec<Made>,
    #[serde(default)]
    pub params: Vec<Made>,
    /// The states before the first batch.
    #[serde(default)]
    pub states: Vec<Made>,
    /// The inputs of a training op with states, in turn; `y` and the gradients are those of the last.
    #[serde(default)]
    pub batches: Vec<Made>,
    #[serde(default)]
    pub states_after: BTreeMap<String, Vec<f64>>,
    pub y: Option<Result>,
    pub target: Option<Target>,
    pub loss: Option<f64>,
    /// Of every input and parameter, for the output gradient `CASE dy` by the rule `grid`; of a loss, for 1.
    #[serde(default)]
    pub gradients: BTreeMap<String, Vec<f64>>,
    /// Optimisers only: the parameter's shape and rule, and its values after each step.
    pub p: Option<Parameter>,
    #[serde(default)]
    pub after: Vec<Vec<f64>>,
}

/// The tensor that an optimiser's case changes.
#[derive(Clone, Debug, Deserialize)]
pub struct Parameter {
    pub shape: Vec<usize>,
    pub rule: String,
}

impl Case {
    /// The values of a tensor of this case.
    pub fn values(&self, name: &str, shape: &[usize], rule: &str) -> Vec<f64> {
        super::values(&format!("{} {name}", self.name), shape, rule)
    }

    /// The model of a case: its input, plus a parameter of zeros whose gradient is the input's, then the op. The loss is
    /// the case's own, or the sum of the output's elements times those of the target.
    pub fn text(&self) -> String {
        let shape: Vec<String> = self.inputs[0].shape.iter().map(usize::to_string).collect();
        let (shape, declared) = (shape.join(", "), shape[1..].join(", "));
        let (call, loss) = match self.loss {
            Some(_) => (String::new(), self.call.clone()),
            None => (format!(" |> {} as \"op\"", self.call), "weighted".into()),
        };
        let axes = ["a", "b", "c", "d"][..self.y.as_ref().map_or(2, |y| y.shape.len())].join(", ");
        let extents = axes.to_uppercase();
        let bounds: Vec<String> =
            axes.split(", ").map(|axis| format!("{axis} < {}", axis.to_uppercase())).collect();
        format!(
            "op weighted(prediction: f32[{extents}], target: f32[{extents}]) -> loss: f32 {{
               loss = sum[{}] prediction[{axes}] * target[{axes}];
             }}
             model M(x: f32[N, {declared}]) {{
               param shift: f32[{shape}] = 0;
               x + shift{call}
             }}
             data D {{ source = digits(); }}
             train M on D {{ loss = {loss}; }}",
            bounds.join(", ")
        )
    }

    /// The gradient of the output.
    pub fn output_gradient(&self) -> Vec<f64> {
        let y = self.y.as_ref().expect("an op has an output");
        self.values("dy", &y.shape, "grid")
    }
}

/// The first values of a tensor, to hold the formula against Python's.
#[derive(Clone, Debug, Deserialize)]
pub struct First {
    #[serde(default)]
    pub name: String,
    pub shape: Vec<usize>,
    pub rule: String,
    pub first: Vec<f64>,
}

/// Sums over a tensor after the last step.
#[derive(Clone, Debug, Deserialize)]
pub struct Trained {
    pub name: String,
    pub sum: f64,
    pub abs_sum: f64,
}

/// Training steps of an example.
///
/// Step `s` trains on batch `b = s % batches`: images `input b` by the rule `pixel`, labels `label b`.
#[derive(Clone, Debug, Deserialize)]
pub struct Steps {
    pub example: String,
    pub learning_rate: f64,
    pub batch: usize,
    pub batches: usize,
    pub steps: usize,
    /// Of batch 0.
    pub input: First,
    pub labels: Vec<i32>,
    /// Parameters and states, each by its rule.
    pub parameters: Vec<First>,
    /// The loss of every step.
    pub loss_f64: Vec<f64>,
    /// The same in single precision, for several orders of the pictures in a batch.
    pub loss_f32: Vec<Vec<f64>>,
    /// Of batch 0 after the last step, in evaluation.
    pub evaluation_loss_f64: f64,
    pub evaluation_loss_f32: Vec<f64>,
    pub trained_f64: Vec<Trained>,
}

/// The cases of `ops.json`.
pub fn ops() -> Vec<Case> {
    #[derive(Deserialize)]
    struct File {
        cases: Vec<Case>,
    }
    read::<File>("ops.json").cases
}

/// The examples that have training steps.
pub const EXAMPLES: [&str; 6] =
    ["digits", "lenet", "convnet_gap", "convnet_gmp", "mnist_cnn", "mnist_cnn_all"];

/// The steps of one.
pub fn steps(example: &str) -> Steps {
    read(&format!("steps/{example}.json"))
}

fn read<T: DeserializeOwned>(name: &str) -> T {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
