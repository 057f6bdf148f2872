//! Agreement of native code with the oracle: one graph, run by both, compared element by element.
//!
//! The bound is relative to the magnitudes that the oracle tracks, so cancellation cannot hide an error and rounding
//! cannot fake one.

use crate::base::philox::{RandomState, uniform};
use crate::graph::{Graph, Role, Sink};
use crate::passes;
use crate::sched::Machine;
use crate::te::interpreter::{self, Number, Values};
use crate::te::{DType, Program as Equations};

use super::pool::Pool;
use super::program::{Program, lower};
use super::store::Store;

/// The largest difference in units of the magnitude.
pub const BOUND: f64 = 1e-5;

/// Values on a coarse grid, exact in `f32`, so that comparisons decide the same in both precisions.
pub fn grid(state: RandomState, stream: u32, len: usize) -> Vec<f32> {
    (0..len).map(|at| (uniform(state, stream, at as u32) * 65.0).floor() / 32.0 - 1.0).collect()
}

/// Runs a graph natively with so many threads on inputs from the grid, labels below `classes`. Gives all outputs.
///
/// # Panics
///
/// Where the program does not compile: that is a bug.
pub fn run_native(graph: &Graph, machine: &Machine, threads: usize, state: RandomState) -> Vec<Vec<f32>> {
    let lowered = lower(graph, machine, &mut |_, _| {});
    let mut program = Program::compile(graph, lowered, machine).expect("it compiles");
    let pool = Pool::new(threads).expect("threads");
    let mut store = Store::default();
    for (at, (value, role)) in graph.inputs.iter().enumerate() {
        let data = &graph.values[*value];
        let len = data.shape.iter().product::<i64>() as usize;
        let values = grid(state, at as u32, len);
        match role {
            Role::Data => program.set_data(&values),
            Role::Target if data.dtype == DType::F32 => program.set_targets(&values),
            Role::Target => program.set_labels(&labels(&values)),
            Role::Param { path, .. } => {
                store.add(path, &data.shape, true).values_mut().copy_from_slice(&values)
            }
            Role::State { path, .. } => {
                store.add(path, &data.shape, false).values_mut().copy_from_slice(&values)
            }
            Role::Scalar(name) => program.set_scalar(name, values[0]),
        }
    }
    program.run(&store, &pool, state);
    program.commit(&mut store);
    let outputs = graph.outputs.iter().map(|(_, sink)| program.output(sink, &store).expect("an output"));
    outputs.collect()
}

/// Small labels from grid values.
fn labels(values: &[f32]) -> Vec<i32> {
    values.iter().map(|value| ((value + 1.0) * 32.0) as i32 % 3).collect()
}

/// Runs the same graph on the oracle.
pub fn run_oracle(graph: &Graph, state: RandomState) -> Vec<Vec<Number>> {
    let step: Equations = passes::lower::run(graph);
    let mut values = Values::new();
    for (at, ((value, role), tensor)) in graph.inputs.iter().zip(&step.inputs).enumerate() {
        let data = &graph.values[*value];
        let given = grid(state, at as u32, data.shape.iter().product::<i64>() as usize);
        values[*tensor] = match role {
            Role::Target if data.dtype != DType::F32 => {
                labels(&given).iter().map(|x| f64::from(*x).into()).collect()
            }
            _ => given.iter().map(|x| f64::from(*x).into()).collect(),
        };
    }
    interpreter::run(&step, &mut values, state);
    step.outputs.iter().map(|output| values[*output].clone()).collect()
}

/// Compares a native run with the oracle.
///
/// # Errors
///
/// The first element that differs by more than the bound, in words.
pub fn check(graph: &Graph, machine: &Machine) -> Result<(), String> {
    let state = RandomState { seed: 7, step: 1 };
    let native = run_native(graph, machine, 1, state);
    let oracle = run_oracle(graph, state);
    for (((_, sink), native), oracle) in graph.outputs.iter().zip(&native).zip(&oracle) {
        close(native, oracle).map_err(|error| format!("{}: {error}", name(graph, sink)))?;
    }
    Ok(())
}

fn name(graph: &Graph, sink: &Sink) -> String {
    match sink {
        Sink::Update(value) | Sink::Gradient(value) => format!("{sink:?} {}", graph.values[*value].name),
        Sink::Loss | Sink::Prediction | Sink::Metric(_) => format!("{sink:?}"),
    }
}

fn close(native: &[f32], oracle: &[Number]) -> Result<(), String> {
    for (at, (native, oracle)) in native.iter().zip(oracle).enumerate() {
        let difference = (f64::from(*native) - oracle.value).abs();
        let both_nan = native.is_nan() && oracle.value.is_nan();
        let equal = f64::from(*native) == oracle.value;
        if !(both_nan || equal || difference <= BOUND * oracle.magnitude + 1e-30) {
            return Err(format!(
                "[{at}]: native {native}, oracle {} (magnitude {})",
                oracle.value, oracle.magnitude
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::target::{Level, Target};
    use crate::graph::{Init, Op};
    use crate::te::{Axis, Binary, Expr, ExprId, Index, Reduction, Tensor};

    fn elementwise(
        graph: &mut Graph,
        shape: &[i64],
        inputs: usize,
        f: impl Fn(&mut Equations, &[ExprId]) -> ExprId,
    ) -> crate::graph::OpId {
        let mut p = Equations::default();
        let tensors: Vec<Tensor> = (0..inputs).map(|_| p.input("x", DType::F32, shape.to_vec())).collect();
        let axes: Vec<Axis> = shape.iter().map(|extent| p.axis("i", *extent)).collect();
        let index: Vec<Index> = axes.iter().map(|axis| Index::from(*axis)).collect();
        let reads: Vec<ExprId> = tensors.iter().map(|tensor| p.exprs.read(*tensor, index.clone())).collect();
        let body = f(&mut p, &reads);
        let y = p.tensor("y", DType::F32, shape.to_vec());
        p.define(y, axes, body);
        p.outputs.push(y);
        graph.ops.push(Op { name: "elementwise".into(), program: p })
    }

    fn conv(n: i64, c: i64, o: i64, size: i64, k: i64, stride: i64, pad: i64) -> (Equations, i64) {
        let mut p = Equations::default();
        let out = (size + 2 * pad - k) / stride + 1;
        let x = p.input("x", DType::F32, vec![n, c, size, size]);
        let w = p.input("w", DType::F32, vec![o, c, k, k]);
        let axes: Vec<Axis> =
            [("n", n), ("o", o), ("i", out), ("j", out)].map(|(name, e)| p.axis(name, e)).to_vec();
        let (cc, u, v) = (p.axis("c", c), p.axis("u", k), p.axis("v", k));
        let at = |p: &Equations, i: Axis, u: Axis| {
            Index::from(i).scale(stride).add(&Index::from(u), &p.axes).offset(-pad)
        };
        let index = vec![axes[0].into(), cc.into(), at(&p, axes[2], u), at(&p, axes[3], v)];
        let image = p.exprs.add(Expr::Read { tensor: x, index, fill: Some(0.0.into()) });
        let weight = p.exprs.read(w, vec![axes[1].into(), cc.into(), u.into(), v.into()]);
        let product = p.exprs.binary(Binary::Mul, image, weight);
        let body = p.exprs.reduce(Reduction::Sum, vec![cc, u, v], product);
        let y = p.tensor("y", DType::F32, vec![n, o, out, out]);
        p.define(y, axes, body);
        p.outputs.push(y);
        (p, out)
    }

    fn pool(n: i64, c: i64, size: i64, k: i64) -> (Equations, i64) {
        let mut p = Equations::default();
        let out = size / k;
        let x = p.input("x", DType::F32, vec![n, c, size, size]);
        let axes: Vec<Axis> =
            [("n", n), ("c", c), ("i", out), ("j", out)].map(|(name, e)| p.axis(name, e)).to_vec();
        let (u, v) = (p.axis("u", k), p.axis("v", k));
        let at = |p: &Equations, i: Axis, u: Axis| Index::from(i).scale(k).add(&Index::from(u), &p.axes);
        let index = vec![axes[0].into(), axes[1].into(), at(&p, axes[2], u), at(&p, axes[3], v)];
        let read = p.exprs.read(x, index);
        let body = p.exprs.reduce(Reduction::Max, vec![u, v], read);
        let y = p.tensor("y", DType::F32, vec![n, c, out, out]);
        p.define(y, axes, body);
        p.outputs.push(y);
        (p, out)
    }

    /// Two convolutions with rectifiers, a pooling, and the sum of squares as the loss.
    fn network(n: i64, size: i64, stride: i64) -> Graph {
        let mut g = Graph::default();
        let x = g.input("x", DType::F32, vec![n, 2, size, size], Role::Data);
        let init = Init::Constant(0.0);
        let w1 = g.input("w1", DType::F32, vec![4, 2, 3, 3], Role::Param { path: "w1".into(), init });
        let w2 = g.input("w2", DType::F32, vec![6, 4, 3, 3], Role::Param { path: "w2".into(), init });
        let relu = |g: &mut Graph, value| {
            let shape = g.values[value].shape.clone();
            let op = elementwise(g, &shape, 1, |p, x| {
                let zero = p.exprs.constant(0.0);
                let above = p.exprs.binary(Binary::Gt, x[0], zero);
                p.exprs.select(above, x[0], zero)
            });
            g.call(op, vec![value], "relu", None)[0]
        };
        let (program, out) = conv(n, 2, 4, size, 3, stride, 1);
        let op = g.ops.push(Op { name: "conv".into(), program });
        let y = g.call(op, vec![x, w1], "conv1", None)[0];
        let y = relu(&mut g, y);
        let (program, out) = conv(n, 4, 6, out, 3, 1, 1);
        let op = g.ops.push(Op { name: "conv".into(), program });
        let y = g.call(op, vec![y, w2], "conv2", None)[0];
        let y = relu(&mut g, y);
        let (program, out) = pool(n, 6, out, 2);
        let op = g.ops.push(Op { name: "pool".into(), program });
        let y = g.call(op, vec![y], "pool", None)[0];
        let mut p = Equations::default();
        let input = p.input("x", DType::F32, vec![n, 6, out, out]);
        let axes: Vec<Axis> = [n, 6, out, out].map(|e| p.axis("i", e)).to_vec();
        let read = p.exprs.read(input, axes.iter().map(|axis| Index::from(*axis)).collect());
        let square = p.exprs.binary(Binary::Mul, read, read);
        let body = p.exprs.reduce(Reduction::Sum, axes, square);
        let loss = p.tensor("loss", DType::F32, Vec::new());
        p.define(loss, Vec::new(), body);
        p.outputs.push(loss);
        let op = g.ops.push(Op { name: "squares".into(), program: p });
        let loss = g.call(op, vec![y], "loss", None)[0];
        g.outputs.push((loss, Sink::Loss));
        g.outputs.push((y, Sink::Prediction));
        passes::autodiff::run(&mut g);
        g
    }

    #[test]
    fn a_small_network_and_its_gradients() {
        for (n, size, stride) in [(8, 8, 1), (8, 9, 2), (3, 8, 1), (11, 7, 2), (1, 6, 1)] {
            for level in [Level::Sse4, Level::Fma] {
                let machine = Machine::of(Target::of(level));
                assert_eq!(
                    check(&network(n, size, stride), &machine),
                    Ok(()),
                    "n={n} size={size} stride={stride}"
                );
            }
        }
    }

    #[test]
    #[ignore = "a measurement"]
    fn speed() {
        let machine = Machine::of(Target::host());
        let mut g = Graph::default();
        let (n, c, o, size) = (256, 32, 64, 28);
        let x = g.input("x", DType::F32, vec![n, 1, size, size], Role::Data);
        let init = Init::Constant(0.0);
        let w0 = g.input("w0", DType::F32, vec![c, 1, 3, 3], Role::Param { path: "w0".into(), init });
        let w1 = g.input("w1", DType::F32, vec![o, c, 3, 3], Role::Param { path: "w1".into(), init });
        let (program, _) = conv(n, 1, c, size, 3, 1, 1);
        let op = g.ops.push(Op { name: "conv".into(), program });
        let y = g.call(op, vec![x, w0], "conv0", None)[0];
        let (program, out) = conv(n, c, o, size, 3, 1, 1);
        let op = g.ops.push(Op { name: "conv".into(), program });
        let y = g.call(op, vec![y, w1], "conv1", None)[0];
        let mut p = Equations::default();
        let input = p.input("x", DType::F32, vec![n, o, out, out]);
        let axes: Vec<Axis> = [n, o, out, out].map(|e| p.axis("i", e)).to_vec();
        let read = p.exprs.read(input, axes.iter().map(|axis| Index::from(*axis)).collect());
        let square = p.exprs.binary(Binary::Mul, read, read);
        let body = p.exprs.reduce(Reduction::Sum, axes, square);
        let loss = p.tensor("loss", DType::F32, Vec::new());
        p.define(loss, Vec::new(), body);
        p.outputs.push(loss);
        let op = g.ops.push(Op { name: "squares".into(), program: p });
        let loss = g.call(op, vec![y], "loss", None)[0];
        g.outputs.push((loss, Sink::Loss));
        passes::autodiff::run(&mut g);
        let lowered = lower(&g, &machine, &mut |_, _| {});
        for launch in &lowered.launches {
            println!("{}\n{}", launch.function.name, launch.schedule);
        }
        let names: Vec<String> = lowered.launches.iter().map(|l| l.function.name.clone()).collect();
        let texts: Vec<String> = lowered.launches.iter().map(|l| l.function.to_string()).collect();
        let start = std::time::Instant::now();
        let mut program = Program::compile(&g, lowered, &machine).unwrap();
        println!("compile {:?}", start.elapsed());
        let mut store = Store::default();
        store.add("w0", &[c, 1, 3, 3], true);
        store.add("w1", &[o, c, 3, 3], true);
        let pool = Pool::new(1).unwrap();
        let mut best = vec![f64::INFINITY; names.len()];
        for _ in 0..3 {
            for (at, time) in program.run_timed(&store, &pool, RandomState::default()).into_iter().enumerate()
            {
                best[at] = best[at].min(time);
            }
        }
        let flops = (2 * n * 784 * 9 * c * o) as f64;
        for (at, name) in names.iter().enumerate() {
            println!("{name}: {:.1} us, {:.1} GFLOP/s if conv1", best[at] * 1e6, flops / best[at] / 1e9);
        }
        println!("{}", texts.iter().find(|t| t.contains("d_w")).unwrap());
    }
}
