//! Random well-formed programs, for tests of everything that reads programs.
//!
//! In: a seed. Out: a program and the names of the features that it uses, so that a test can count its coverage. A
//! program is a chain of steps on a batch of small pictures; each step is an equation or a few. Inputs called `x...`
//! and `label` have the batch as their first dimension, those called `w...` have none. Values stay moderate, and ties
//! are unlikely on inputs without ties, so programs are fit for finite differences.

mod pieces;
mod pointwise;
mod windows;

use crate::base::hash::HashMap;

use crate::base::philox::{RandomState, uniform};
use crate::te::{Axis, Binary, DType, Expr, ExprId, Index, Program, Reduction, Tensor};

/// How large programs are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    pub batch: i64,
    pub channels: i64,
    /// Of height and width.
    pub spatial: i64,
    pub steps: i64,
}

/// Sizes for comparing evaluations.
pub const COMPARED: Limits = Limits { batch: 20, channels: 6, spatial: 12, steps: 5 };
/// Sizes for finite differences, which evaluate a program twice for every element of its inputs.
pub const DIFFERENTIATED: Limits = Limits { batch: 3, channels: 3, spatial: 5, steps: 4 };

/// A random program, and the features that it uses.
pub fn program(seed: u64) -> (Program, Vec<&'static str>) {
    program_within(seed, COMPARED)
}

/// A random program within limits.
pub fn program_within(seed: u64, limits: Limits) -> (Program, Vec<&'static str>) {
    let mut generator = Generator {
        program: Program::default(),
        state: RandomState { seed, step: 0 },
        drawn: 0,
        features: Vec::new(),
        bounds: HashMap::default(),
        batch: 1,
        limits,
    };
    generator.batch = generator.between(1, limits.batch);
    generator.run();
    (generator.program, generator.features)
}

/// The names of all features that a program can have.
pub fn features() -> Vec<&'static str> {
    STEPS.iter().map(|step| step.name).collect()
}

/// A step of a program; it gives nothing where it does not fit the tensor.
struct Feature {
    name: &'static str,
    run: fn(&mut Generator, Tensor) -> Option<Tensor>,
}

const STEPS: &[Feature] = &[
    Feature { name: "unary", run: pointwise::unary },
    Feature { name: "binary", run: pointwise::binary },
    Feature { name: "broadcast", run: pointwise::broadcast },
    Feature { name: "select", run: pointwise::select },
    Feature { name: "compare", run: pointwise::compare },
    Feature { name: "uniform", run: pointwise::dropout },
    Feature { name: "detach", run: pointwise::detach },
    Feature { name: "softmax", run: pointwise::softmax },
    Feature { name: "statistics", run: pointwise::statistics },
    Feature { name: "label", run: pointwise::label },
    Feature { name: "argmax", run: pointwise::winner },
    Feature { name: "residual", run: pointwise::residual },
    Feature { name: "convolution", run: windows::convolution },
    Feature { name: "grouped", run: windows::grouped },
    Feature { name: "linear", run: windows::linear },
    Feature { name: "pooling", run: windows::pooling },
    Feature { name: "channel pooling", run: windows::channel_pooling },
    Feature { name: "adaptive pooling", run: windows::adaptive },
    Feature { name: "clamped window", run: windows::clamped },
    Feature { name: "triangle", run: windows::triangle },
    Feature { name: "flatten", run: pieces::flatten },
    Feature { name: "split", run: pieces::split },
    Feature { name: "transpose", run: pieces::transpose },
    Feature { name: "slice", run: pieces::slice },
    Feature { name: "reverse", run: pieces::reverse },
    Feature { name: "upsample", run: pieces::upsample },
    Feature { name: "concat", run: pieces::concat },
    Feature { name: "interleave", run: pieces::interleave },
    Feature { name: "border", run: pieces::border },
];

/// Values of a tensor larger than this are scaled down before the next step.
const LARGEST_VALUE: f64 = 6.0;

struct Generator {
    program: Program,
    state: RandomState,
    drawn: u32,
    features: Vec<&'static str>,
    /// About the largest value of each tensor.
    bounds: HashMap<Tensor, f64>,
    batch: i64,
    limits: Limits,
}

impl Generator {
    fn run(&mut self) {
        let mut shape = vec![self.batch, self.between(1, self.limits.channels)];
        if self.chance(0.75) {
            shape.extend([self.between(1, self.limits.spatial), self.between(1, self.limits.spatial)]);
        }
        let mut value = self.input("x", DType::F32, shape);
        for _ in 0..self.between(1, self.limits.steps) {
            value = self.step(value);
            if self.chance(0.1) {
                self.ask_for(value);
            }
        }
        self.ask_for(value);
        if self.chance(0.3) {
            let total = self.total(value);
            self.ask_for(total);
        }
    }

    fn ask_for(&mut self, tensor: Tensor) {
        if !self.program.outputs.contains(&tensor) && !self.program.inputs.contains(&tensor) {
            self.program.outputs.push(tensor);
        }
    }

    /// The value after a random step that fits it.
    fn step(&mut self, value: Tensor) -> Tensor {
        loop {
            let step = &STEPS[self.below(STEPS.len() as i64) as usize];
            if let Some(result) = (step.run)(self, value) {
                self.features.push(step.name);
                return self.scaled_down(result);
            }
        }
    }

    /// Keeps values moderate.
    fn scaled_down(&mut self, value: Tensor) -> Tensor {
        let bound = self.bound(value);
        if bound <= LARGEST_VALUE {
            return value;
        }
        let result = self.pointwise("scaled", value, |g, x, _| {
            let factor = g.program.exprs.constant((128.0 / bound).ceil() / 128.0);
            g.program.exprs.binary(Binary::Mul, x, factor)
        });
        self.bounds.insert(result, 2.0);
        result
    }

    /// The sum of the squares, a scalar.
    fn total(&mut self, value: Tensor) -> Tensor {
        let axes = self.axes(&self.shape(value));
        let read = self.read(value, &axes);
        let square = self.program.exprs.binary(Binary::Mul, read, read);
        let body = self.program.exprs.reduce(Reduction::Sum, axes, square);
        self.define("loss", Vec::new(), Vec::new(), body, 1.0)
    }

    // Random choices.

    /// A number in `0..1`.
    fn draw(&mut self) -> f64 {
        self.drawn += 1;
        f64::from(uniform(self.state, 77, self.drawn))
    }

    fn below(&mut self, end: i64) -> i64 {
        (self.draw() * end as f64) as i64
    }

    /// A number from `low` to `high`, both included.
    fn between(&mut self, low: i64, high: i64) -> i64 {
        low + self.below((high - low + 1).max(1))
    }

    fn chance(&mut self, probability: f64) -> bool {
        self.draw() < probability
    }

    fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len() as i64) as usize]
    }

    // Building equations.

    fn shape(&self, tensor: Tensor) -> Vec<i64> {
        self.program.tensors[tensor].shape.clone()
    }

    fn bound(&self, tensor: Tensor) -> f64 {
        self.bounds.get(&tensor).copied().unwrap_or(1.0)
    }

    /// A new input; its number is part of its name.
    fn input(&mut self, name: &str, dtype: DType, shape: Vec<i64>) -> Tensor {
        let number = self.program.inputs.len();
        self.program.input(format!("{name}{number}"), dtype, shape)
    }

    /// New axes over a shape.
    fn axes(&mut self, shape: &[i64]) -> Vec<Axis> {
        let names = ["n", "c", "i", "j", "k"];
        let axes = shape.iter().zip(names.iter().cycle());
        axes.map(|(extent, name)| self.program.axis(*name, *extent)).collect()
    }

    fn read(&mut self, tensor: Tensor, axes: &[Axis]) -> ExprId {
        self.program.exprs.read(tensor, axes.iter().map(|axis| Index::from(*axis)).collect())
    }

    /// A read that may leave the tensor.
    fn filled(&mut self, tensor: Tensor, index: Vec<Index>, fill: f64) -> ExprId {
        self.program.exprs.add(Expr::Read { tensor, index, fill: Some(fill.into()) })
    }

    fn constant(&mut self, value: f64) -> ExprId {
        self.program.exprs.constant(value)
    }

    fn binary(&mut self, op: Binary, x: ExprId, y: ExprId) -> ExprId {
        self.program.exprs.binary(op, x, y)
    }

    fn define(&mut self, name: &str, shape: Vec<i64>, axes: Vec<Axis>, body: ExprId, bound: f64) -> Tensor {
        let tensor = self.program.tensor(name, DType::F32, shape);
        self.program.define(tensor, axes, body);
        self.bounds.insert(tensor, bound);
        tensor
    }

    /// `y[i] = f(x[i])`.
    fn pointwise(
        &mut self,
        name: &str,
        x: Tensor,
        f: impl FnOnce(&mut Generator, ExprId, &[Axis]) -> ExprId,
    ) -> Tensor {
        let shape = self.shape(x);
        let axes = self.axes(&shape);
        let read = self.read(x, &axes);
        let body = f(self, read, &axes);
        let bound = self.bound(x);
        self.define(name, shape, axes, body, bound)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::te::verifier::verify;

    #[test]
    fn programs_are_well_formed_and_cover_all_features() {
        let mut missing: std::collections::BTreeSet<&str> = features().into_iter().collect();
        for seed in 0..400 {
            let (program, used) = program(seed);
            assert_eq!(verify(&program), Ok(()), "seed {seed} with {used:?}:\n{program}");
            assert!(!program.outputs.is_empty(), "seed {seed}");
            used.iter().for_each(|feature| {
                missing.remove(feature);
            });
        }
        assert!(missing.is_empty(), "never used: {missing:?}");
    }
}
