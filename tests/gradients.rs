//! The derived gradient of every differentiable op of the library, over the cross product of its options, against
//! difference quotients of the oracle.
//!
//! An op is taken from the graph of a layer, with the extents and options that the layer gave it, and every element of
//! every input is moved. Ops whose inputs must lie in a range (probabilities, variances) are checked inside a graph
//! that keeps them there, in random directions.

mod model;
mod random;

use std::collections::{BTreeMap, BTreeSet};

use cnnc::elab::{Callable, Module};
use cnnc::te::Program;
use cnnc::testing::gradients::{check as check_gradients, check_with as check_gradients_with};
use model::Model;
use random::checks::{Case, check_slope};

/// Ops that are checked inside a graph: numbers of any sign make no sense for them.
const IN_GRAPHS: [&str; 3] = ["batchnorm1d_inference", "batchnorm2d_inference", "bce_element"];

/// Ops that nobody differentiates: updates of parameters and states, metrics, and constants.
const NOT_DIFFERENTIATED: [&str; 11] = [
    "blend",
    "correct",
    "correct2d",
    "in_top",
    "matrix",
    "sgd",
    "sgd_momentum",
    "adam",
    "adamw",
    "rmsprop",
    "rmsprop_momentum",
];

/// The ops of layers, each once, with what they were called by.
#[derive(Default)]
struct Ops {
    found: BTreeMap<String, (String, String, Program)>,
}

impl Ops {
    /// Adds the ops of a layer on a batch of inputs of a shape, and of the loss of its train section.
    fn add(&mut self, shape: &str, batch: i64, training: bool, call: &str, loss: &str) {
        let text = format!(
            "model M(x: f32[N, {shape}]) {{ {call} }}
             data D {{ source = digits(); }}
             train M on D {{ loss = {loss}; }}"
        );
        let graph =
            Model::new(&text).forward(batch, training).unwrap_or_else(|error| panic!("{error}\n{text}"));
        for node in &graph.nodes {
            let op = &graph.ops[node.op];
            let key = format!("{} {}", op.name, op.program);
            let what = format!("{call} on f32[{batch}, {shape}]");
            self.found.entry(key).or_insert_with(|| (op.name.clone(), what, op.program.clone()));
        }
    }

    fn layer(&mut self, shape: &str, call: &str) {
        self.add(shape, 2, true, &format!("x |> {call}"), "mse");
    }
}

fn convolutions(ops: &mut Ops) {
    for stride in 1..=3 {
        for dilation in 1..=2 {
            for pad in ["0", "1", "[[0, 1], [2, 1]]", "\"same\""] {
                for groups in [1, 2, 4] {
                    for bias in [true, false] {
                        if pad == "\"same\"" && stride > 1 {
                            continue;
                        }
                        let options = format!(
                            "stride={stride}, dilation={dilation}, pad={pad}, groups={groups}, bias={bias}"
                        );
                        ops.add("4, 5, 4", 1, true, &format!("x |> conv(4, [3, 2], {options})"), "mse");
                    }
                }
            }
        }
    }
    ops.layer("2, 5, 5", "conv(3, 2, stride=[3, 2], pad=[1, 0], dilation=[1, 2])");
    ops.layer("3, 2, 2", "conv(2, 1)");
}

fn poolings(ops: &mut Ops) {
    for name in ["maxpool", "avgpool", "sumpool", "minpool", "softmaxpool", "lppool"] {
        for kernel in ["2", "3", "[3, 2]"] {
            for stride in ["none", "1", "2", "[3, 1]"] {
                for pad in ["0", "1", "[1, 0]"] {
                    for ceil in [false, true] {
                        let options = format!("{kernel}, stride={stride}, pad={pad}, ceil_mode={ceil}");
                        ops.add("2, 5, 6", 1, true, &format!("x |> {name}({options})"), "mse");
                        if name == "avgpool" {
                            let options = format!("{options}, count_include_pad=false");
                            ops.add("2, 5, 6", 1, true, &format!("x |> {name}({options})"), "mse");
                        }
                    }
                }
            }
        }
    }
    for g in ["1", "2", "4", "chunks=1", "chunks=2", "chunks=3"] {
        ops.layer("4, 2, 3", &format!("depthmaxpool({g})"));
        ops.layer("4, 2, 3", &format!("depthavgpool({g})"));
    }
    for size in ["1", "2", "[3, 2]", "[4, 5]", "[2, 5]"] {
        ops.layer("2, 4, 5", &format!("adaptiveavgpool({size})"));
        ops.layer("2, 4, 5", &format!("adaptivemaxpool({size})"));
    }
    ops.layer("2, 3, 4", "globalavgpool");
    ops.layer("2, 3, 4", "globalmaxpool");
}

fn normalisations(ops: &mut Ops) {
    for shape in ["3", "3, 2, 2"] {
        for affine in [true, false] {
            for eps in ["1e-5", "0.1"] {
                ops.add(shape, 4, true, &format!("x |> batchnorm(eps={eps}, affine={affine})"), "mse");
                ops.layer(shape, &format!("layernorm(eps={eps}, affine={affine})"));
            }
        }
    }
    for groups in [1, 2, 4] {
        for affine in [true, false] {
            ops.layer("4, 2, 3", &format!("groupnorm({groups}, affine={affine})"));
        }
    }
    for affine in [true, false] {
        ops.layer("3, 2, 3", &format!("instancenorm(affine={affine})"));
    }
    for size in 1..=5 {
        ops.layer("5, 2, 2", &format!("lrn({size}, alpha=0.3, beta=0.75, k=2.0)"));
    }
}

fn functions(ops: &mut Ops) {
    let plain = [
        "relu",
        "sigmoid",
        "tanh",
        "relu6",
        "leakyrelu",
        "leakyrelu(slope=0.3)",
        "elu",
        "elu(alpha=0.5)",
        "gelu",
        "silu",
        "hardswish",
        "hardsigmoid",
        "softplus",
        "softmax",
        "logsoftmax",
        "prelu",
        "prelu(count=4)",
        "dropout(0.3)",
        "dropout(0.0)",
        "dropout(1.0)",
        "flatten",
    ];
    for shape in ["4", "4, 2, 3"] {
        plain.iter().for_each(|call| ops.layer(shape, call));
    }
    ops.layer("4, 2, 3", "dropout2d(0.4)");
    for bias in [true, false] {
        ops.layer("5", &format!("linear(3, bias={bias})"));
    }
}

fn rearrangements(ops: &mut Ops) {
    for call in ["upsample(2)", "upsample([1, 3])"] {
        ops.layer("2, 3, 2", call);
        ops.layer("2, 3, 2", &call.replace(')', ", mode=\"bilinear\")"));
    }
    for call in ["pad(1)", "pad([0, 2], value=1.5)", "pad([[0, 1], [2, 0]])"] {
        ops.layer("2, 3, 2", call);
    }
    for call in ["crop(2)", "crop([1, 3], corner=[2, 0])"] {
        ops.layer("2, 3, 4", call);
    }
    for flip in [true, false] {
        for pad in ["\"same\"", "0", "[[1, 0], [0, 2]]"] {
            ops.layer("2, 3, 4", &format!("filter2d([[1, 2], [0, -1]], flip={flip}, pad={pad})"));
        }
    }
    for axis in 1..=3 {
        ops.add("2, 3, 2", 2, true, &format!("concat(x, x, x, axis={axis})"), "mse");
        ops.add("2, 3, 2", 2, true, &format!("stack(x, x, axis={axis}) |> flatten"), "mse");
    }
    ops.add("2, 3, 2", 2, true, "(x as f32[N, 3, 4]) as f32[N, 12]", "mse");
    ops.add("2, 3, 2", 2, true, "x + x*x - x/(x*x + 2.0)", "mse");
}

fn losses(ops: &mut Ops) {
    for loss in [
        "cross_entropy",
        "cross_entropy(label_smoothing=0.2)",
        "cross_entropy(weight=[0.5, 1.0, 2.0])",
        "cross_entropy(weight=[0.5, 1.0, 2.0], label_smoothing=0.2)",
        "nll",
        "mse",
        "l1",
        "huber",
        "huber(delta=0.3)",
        "bce",
        "bce_with_logits",
    ] {
        ops.add("3", 4, true, "x", loss);
    }
    for options in ["", "(label_smoothing=0.2)", "(weight=[0.5, 1.0, 2.0], label_smoothing=0.2)"] {
        ops.add("3, 2, 2", 2, true, "x", &format!("cross_entropy2d{options}"));
    }
}

fn all() -> Ops {
    let mut ops = Ops::default();
    convolutions(&mut ops);
    poolings(&mut ops);
    normalisations(&mut ops);
    functions(&mut ops);
    rearrangements(&mut ops);
    losses(&mut ops);
    ops
}

/// The ops of the library.
fn library() -> BTreeSet<String> {
    let module: Module = Model::new("model M(x: f32[N, 1]) { x }").module;
    let ops = module.documented().into_iter().filter_map(|(callable, _)| match callable {
        Callable::Op(item) => Some(item.name.text.clone()),
        Callable::Fn(_) => None,
    });
    ops.collect()
}

#[test]
fn every_op_over_its_options() {
    let ops = all();
    let skipped = |name: &str| IN_GRAPHS.contains(&name) || NOT_DIFFERENTIATED.contains(&name);
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for (name, what, program) in ops.found.values().filter(|(name, ..)| !skipped(name)) {
        check_gradients(program).unwrap_or_else(|error| panic!("{name} of {what}: {error}\n{program}"));
        *counts.entry(name).or_default() += 1;
    }
    for (name, count) in &counts {
        println!("{count:4} {name}");
    }
    let missing: Vec<String> =
        library().into_iter().filter(|name| !skipped(name) && !counts.contains_key(name.as_str())).collect();
    assert!(missing.is_empty(), "not checked: {missing:?}");
    assert!(counts["conv2d"] >= 20 && counts["maxpool2d"] >= 40, "{counts:?}");
}

/// A checker that accepts everything would pass the test above. So each op's derived gradients are spoilt, in its last
/// piece alone and in its first, and must be refused.
#[test]
fn wrong_gradients_are_refused() {
    let ops = all();
    let mut seen = BTreeSet::new();
    for (name, what, program) in ops.found.values() {
        let constant = ["dropout(0.0)", "dropout(1.0)"].iter().any(|call| what.contains(call));
        let known = IN_GRAPHS.contains(&name.as_str()) || NOT_DIFFERENTIATED.contains(&name.as_str());
        if known || constant || !seen.insert(name.clone()) {
            continue;
        }
        let refused = check_gradients_with(program, &mut |derived| {
            let last = derived.equations.len() - 1;
            for piece in 0..derived.equations[last].pieces.len() {
                let body = derived.equations[last].pieces[piece].body;
                let (factor, offset) = (derived.exprs.constant(1.25), derived.exprs.constant(0.01));
                let scaled = derived.exprs.product(body, factor);
                derived.equations[last].pieces[piece].body = derived.exprs.sum(scaled, offset);
            }
        });
        assert!(refused.is_err(), "a wrong gradient of {name} passes ({what})");
    }
    assert!(seen.len() >= 50, "{seen:?}");
}

/// Random directions through graphs whose other layers keep the inputs of an op in its range.
#[test]
fn ops_with_a_range() {
    let models = [
        ("3, 2, 2", false, "x |> conv(3, 1) |> batchnorm |> relu |> conv(2, 2)", "mse"),
        ("3, 2, 2", false, "x |> conv(3, 1) |> batchnorm(affine=false, eps=0.1)", "mse"),
        ("4", false, "x |> linear(3) |> batchnorm |> tanh |> linear(2)", "mse"),
        ("4", true, "x |> linear(3) |> sigmoid", "bce"),
        ("4", true, "x |> linear(3) |> batchnorm |> sigmoid", "bce"),
    ];
    for (shape, training, layers, loss) in models {
        for seed in 0..5 {
            let text = format!(
                "model M(x: f32[N, {shape}]) {{ {layers} }}
                 data D {{ source = digits(); }}
                 train M on D {{ loss = {loss}; }}"
            );
            let program = random::Program { text, batch: 5, training, ..random::Program::default() };
            let case = Case::new(&program, seed);
            let found = check_slope(&case, &case.step);
            assert_eq!(found, Ok(0), "{layers}: gradients that are not finite, or a wrong slope");
        }
    }
}
