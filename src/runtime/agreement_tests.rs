//! Two convolutions by hand, at many batch sizes: the smallest network that has everything.

use super::*;
use crate::base::target::{Level, Target};
use crate::graph::{Init, Op};
use crate::loops::Stmt;
use crate::passes;
use crate::sched::{Grid, Launch, Machine};
use crate::te::Program as Equations;
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

fn conv([n, c, o, size]: [i64; 4], k: i64, stride: i64, pad: i64) -> (Equations, i64) {
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
    let (program, out) = conv([n, 2, 4, size], 3, stride, 1);
    let op = g.ops.push(Op { name: "conv".into(), program });
    let y = g.call(op, vec![x, w1], "conv1", None)[0];
    let y = relu(&mut g, y);
    let (program, out) = conv([n, 4, 6, out], 3, 1, 1);
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
    passes::autodiff::run(&mut g).expect("it is small");
    g
}

/// The CPU levels that this machine can run.
fn levels() -> impl Iterator<Item = Level> {
    let known = [Level::Sse4, Level::Fma, Level::Avx2, Level::Avx512].into_iter();
    known.filter(|level| *level <= Target::host().level)
}

#[test]
fn a_small_network_and_its_gradients() {
    for (n, size, stride) in [(8, 8, 1), (8, 9, 2), (3, 8, 1), (11, 7, 2), (1, 6, 1), (4, 13, 1)] {
        for level in levels() {
            let options = CompileOptions::of(Target::of(level));
            assert_eq!(
                check(&network(n, size, stride), &options),
                Ok(()),
                "n={n} size={size} stride={stride}"
            );
        }
    }
}

/// On a grid all outer loops are parallel, and the results are those of the oracle, however `a * b + c` is rounded.
#[test]
fn a_small_network_on_a_grid() {
    let state = RandomState { seed: 7, step: 1 };
    for (n, fuses, fast_math) in [(40, true, false), (40, false, true), (3, true, true), (64, false, false)] {
        let (graph, machine) =
            (network(n, 8, 1), Machine::of_grid(32, 32, Grid { fuses, block_bytes: 1 << 30, blocks: 8 }));
        let lowered = lower(&graph, &CompileOptions { machine, over: None, fast_math });
        let mut deep = 0;
        for Launch { function, .. } in &lowered.launches {
            let grid = function.grid();
            deep += usize::from(grid.len() > 1);
            let inside = grid.iter().fold(function.body.as_slice(), |body, _| match body {
                [Stmt::For { body, .. }] => body,
                _ => unreachable!("each loop of the grid is the whole of the one before"),
            });
            assert!(!matches!(inside, [Stmt::For { .. }]), "an outer loop is serial:\n{function}");
        }
        assert!(deep >= 4, "{deep} of {} functions have more than one parallel loop", lowered.launches.len());
        let inputs = inputs(&graph, state);
        let interpreted = interpreted(&lowered, &inputs, state).expect("verified loops");
        let device = devices::interpreter_like(machine);
        let found = Native::on(&device, &graph, lowered).expect("loops").run(&inputs, &device, state);
        assert_eq!(within_bound(&graph, &found, &oracle(&graph, &doubles(&inputs), state)), Ok(0), "{n}");
        assert_eq!(same_bits(&graph, &found, &interpreted), Ok(()), "{n}");
    }
}
