//! Texts of graphs: round trips, snapshots, and what the verifier finds.

use crate::te::{Binary, DType, Index, Program, Reduction};

use super::dot::dot;
use super::parser::parse;
use super::verifier::verify;
use super::{Graph, Init, Op, Role, Sink, Value};

fn multiply(batch: i64) -> Program {
    let mut p = Program::default();
    let (x, w) = (p.input("x", DType::F32, vec![batch, 3]), p.input("weight", DType::F32, vec![2, 3]));
    let axes = [("n", batch), ("o", 2), ("k", 3)].map(|(name, extent)| p.axis(name, extent));
    let [n, o, k] = axes;
    let (a, b) = (p.exprs.read(x, vec![n.into(), k.into()]), p.exprs.read(w, vec![o.into(), k.into()]));
    let product = p.exprs.binary(Binary::Mul, a, b);
    let body = p.exprs.reduce(Reduction::Sum, vec![k], product);
    let y = p.tensor("y", DType::F32, vec![batch, 2]);
    p.define(y, vec![n, o], body);
    p.outputs.push(y);
    p
}

fn squares(batch: i64) -> Program {
    let mut p = Program::default();
    let x = p.input("x", DType::F32, vec![batch, 2]);
    let axes = vec![p.axis("n", batch), p.axis("o", 2)];
    let read = p.exprs.read(x, axes.iter().map(|axis| Index::from(*axis)).collect());
    let square = p.exprs.binary(Binary::Mul, read, read);
    let body = p.exprs.reduce(Reduction::Sum, axes, square);
    let y = p.tensor("sum", DType::F32, Vec::new());
    p.define(y, Vec::new(), body);
    p.outputs.push(y);
    p
}

/// Two layers of one kind with a state, and the values of its inputs.
fn network() -> (Graph, Vec<Value>) {
    let mut g = Graph::default();
    let x = g.input("x", DType::F32, vec![4, 3], Role::Data);
    let init = Init::Uniform { low: -0.5, high: 0.5 };
    let w = g.input("weight", DType::F32, vec![2, 3], Role::Param { path: "linear1.weight".into(), init });
    let init = Init::Constant(0.0);
    let m = g.input("m", DType::F32, vec![2, 3], Role::State { path: "linear1.weight.m".into(), init });
    let rate = g.input("lr", DType::F32, Vec::new(), Role::Scalar("lr".into()));
    let op = g.ops.push(Op { name: "linear".into(), program: multiply(4) });
    let y = g.call(op, vec![x, w], "linear1", None)[0];
    let other = g.ops.push(Op { name: "linear".into(), program: multiply(4) });
    let z = g.call(other, vec![x, m], "0.odd path", None)[0];
    let op = g.ops.push(Op { name: "squares".into(), program: squares(4) });
    let loss = g.call(op, vec![y], "", None)[0];
    g.outputs = vec![(loss, Sink::Loss), (z, Sink::Prediction), (w, Sink::Update(m))];
    g.outputs.push((loss, Sink::Metric("squares".into())));
    (g, vec![x, w, m, rate, y])
}

#[test]
fn the_text_of_a_network() {
    let (graph, _) = network();
    insta::assert_snapshot!(graph.to_string(), @r##"
    op linear(x: f32[4, 3], weight: f32[2, 3]) -> (y: f32[4, 2]) {
      y[n < 4, o < 2] = sum[k < 3] x[n, k] * weight[o, k];
    }
    op linear#1(x: f32[4, 3], weight: f32[2, 3]) -> (y: f32[4, 2]) {
      y[n < 4, o < 2] = sum[k < 3] x[n, k] * weight[o, k];
    }
    op squares(x: f32[4, 2]) -> (sum#0: f32) {
      sum#0 = sum[n < 4, o < 2] x[n, o] * x[n, o];
    }
    graph {
      input v0 x: f32[4, 3] data;
      input v1 weight: f32[2, 3] param("linear1.weight", uniform(-0.5, 0.5));
      input v2 m: f32[2, 3] state("linear1.weight.m", constant(0));
      input v3 lr: f32 scalar("lr");
      v4 y: f32[4, 2] = linear@linear1(v0, v1);
      v5 y: f32[4, 2] = linear#1@"0.odd path"(v0, v2);
      v6 "sum": f32 = squares(v4);
      output v6 loss;
      output v5 prediction;
      output v1 update(v2);
      output v6 metric("squares");
    }
    "##);
}

#[test]
fn the_text_of_a_network_is_read_back() {
    let (graph, _) = network();
    let text = graph.to_string();
    let read = parse(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    assert_eq!(read.to_string(), text);
    assert_eq!(verify(&read), Ok(()));
    assert_eq!(read.inputs, graph.inputs);
    assert_eq!(read.outputs, graph.outputs);
    assert_eq!(read.nodes[1].path, "0.odd path");
    assert_eq!(
        read.ops.values().map(|op| op.name.as_str()).collect::<Vec<_>>(),
        ["linear", "linear", "squares"]
    );
}

#[test]
fn the_picture_of_a_network() {
    insta::assert_snapshot!(dot(&network().0), @r##"
    digraph {
      node [fontname="sans-serif"];
      v0 [label="x\ndata", shape=ellipse];
      v1 [label="weight\nparam(\"linear1.weight\", uniform(-0.5, 0.5))", shape=ellipse];
      v2 [label="m\nstate(\"linear1.weight.m\", constant(0))", shape=ellipse];
      v3 [label="lr\nscalar(\"lr\")", shape=ellipse];
      node0 [label="linear\nlinear1", shape=box];
      v0 -> node0 [label="f32[4, 3]"];
      v1 -> node0 [label="f32[2, 3]"];
      node1 [label="linear\n0.odd path", shape=box];
      v0 -> node1 [label="f32[4, 3]"];
      v2 -> node1 [label="f32[2, 3]"];
      node2 [label="squares", shape=box];
      node0 -> node2 [label="f32[4, 2]"];
      output0 [label="loss", shape=ellipse];
      node2 -> output0 [label="f32"];
      output1 [label="prediction", shape=ellipse];
      node1 -> output1 [label="f32[4, 2]"];
      output2 [label="update(v2)", shape=ellipse];
      v1 -> output2 [label="f32[2, 3]"];
      output3 [label="metric(\"squares\")", shape=ellipse];
      node2 -> output3 [label="f32"];
    }
    "##);
}

#[test]
fn what_the_verifier_finds() {
    let check = |change: &dyn Fn(&mut Graph, &[Value]), expected: &str| {
        let (mut graph, values) = network();
        change(&mut graph, &values);
        let findings = verify(&graph).expect_err(expected);
        assert!(findings.iter().any(|finding| finding == expected), "{findings:?}");
    };
    check(&|g, _| g.nodes.swap(0, 2), "squares@ uses v4 before its definition");
    check(&|g, v| g.nodes[1].results[0] = v[4], "v4 is defined twice");
    check(&|g, v| g.nodes[0].inputs = vec![v[1]], "linear@linear1 has 1 inputs, its op 2");
    check(&|g, v| g.nodes[0].inputs[0] = v[1], "linear@linear1: input v1 has not the type of the op's x");
    check(&|g, v| g.outputs[0].0 = v[0], "v0 is a loss but no f32 scalar");
    check(&|g, v| g.outputs[2].1 = Sink::Gradient(v[2]), "gradient(v2) is of no parameter or state");
    check(&|g, _| g.outputs.push(g.outputs[0].clone()), "there are two outputs loss");
    check(&|g, _| g.inputs[1].1 = Role::Data, "there are 2 batches of data");
    check(&|g, v| g.outputs.push((v[0], Sink::Update(v[1]))), "update(v1): v0 has another type than v1");
}

#[test]
fn what_is_no_graph() {
    let check = |text: &str, expected: &str| {
        let error = parse(text).expect_err(text).to_string();
        assert_eq!(error, expected);
    };
    check("graph {\n  input x x: f32 data;\n}", "line 2: `x` is no value; values are `v0`, `v1`, ...");
    check("graph {\n  input v0 x: f32 dato;\n}", "line 2: `dato` with these arguments is no role");
    check("graph {\n  v0 x: f32 = relu();\n}", "line 2: there is no op `relu`");
    check("graph {", "line 1: the text ends early");
    check("graph {\n  input v99999999 x: f32 data;\n}", {
        "line 2: `v99999999` is no value; values are `v0`, `v1`, ..."
    });
}
