//! Layers against values computed by hand.

use super::*;
use crate::base::span::{FileId, Span};
use crate::elab::config::{Metrics, Top};

const DIGITS: &str = r#"
model Net(x: f32[N, 1, 8, 8]) -> f32[N, 10] {
  x |> conv(4, 3, pad=1) |> relu |> maxpool(2) |> conv(6, 3) as second |> relu
    |> flatten |> linear(10) as head
}
train Net on D { loss = cross_entropy; }
"#;

#[test]
fn digits_model() {
    let graph = graph(DIGITS, 3, true);
    assert_eq!(
        paths(&graph),
        ["conv1.weight", "conv1.bias", "second.weight", "second.bias", "head.weight", "head.bias"]
    );
    assert_eq!(
        op_names(&graph),
        [
            "conv2d",
            "add_channels",
            "relu",
            "maxpool2d",
            "conv2d",
            "add_channels",
            "relu",
            "reshape",
            "matmul",
            "add_features",
            "softmax_cross_entropy",
            "correct"
        ]
    );
    let values = run(&graph, &pattern(3 * 64, 1), &[1.0, 2.0, 3.0], &[]);
    let loss = numbers(&values, output(&graph, &Sink::Loss))[0];
    assert!(loss.is_finite() && loss > 0.0);
}

/// Mixed pictures have the losses of both their labels, and their numbers of right predictions, by their shares.
#[test]
fn two_targets_have_their_shares() {
    let sinks = [Sink::Loss, Sink::Metric("correct".into())];
    let data = pattern(3 * 64, 1);
    let single = graph(DIGITS, 3, true);
    let of = |labels: &[f64]| {
        let values = run(&single, &data, labels, &[]);
        sinks.clone().map(|sink| numbers(&values, output(&single, &sink))[0])
    };
    let (own, other) = ([1.0, 2.0, 3.0], [4.0, 0.0, 9.0]);
    let mixed = graph_for(DIGITS, Request { training: true, mixed: true, ..Request::inference(3) });
    let given = [("partner", other.to_vec()), ("share", vec![0.25])];
    let values = run(&mixed, &data, &own, &given);
    for ((sink, own), other) in sinks.iter().zip(of(&own)).zip(of(&other)) {
        assert_close(&numbers(&values, output(&mixed, sink)), &[0.25 * own + 0.75 * other]);
    }
    assert_ne!(of(&own)[0], of(&other)[0]);
}

#[test]
fn conv_by_hand() {
    let text = "model M(x: f32[N, 1, 3, 3]) { x |> conv(1, 2, pad=[[1, 0], [0, 0]]) }";
    let data: Vec<f64> = (1..=9).map(f64::from).collect();
    let given = [("conv1.weight", vec![1.0, 2.0, 3.0, 4.0]), ("conv1.bias", vec![0.5])];
    let expected = [11.5, 18.5, 37.5, 47.5, 67.5, 77.5];
    assert_close(&predict(text, 1, &data, &given), &expected);
}

#[test]
fn maxpool_with_padding_and_ceil_mode() {
    let data: Vec<f64> = (1..=25).map(f64::from).collect();
    let text = "model M(x: f32[N, 1, 5, 5]) { x |> maxpool(3, stride=2, pad=1) }";
    assert_close(&predict(text, 1, &data, &[]), &[7., 9., 10., 17., 19., 20., 22., 24., 25.]);
    let text = "model M(x: f32[N, 1, 5, 5]) { x |> maxpool(2, ceil_mode=true) }";
    assert_close(&predict(text, 1, &data, &[]), &[7., 9., 10., 17., 19., 20., 22., 24., 25.]);
}

#[test]
fn avgpool_counts() {
    let data: Vec<f64> = (1..=9).map(f64::from).collect();
    let model = |args: &str| format!("model M(x: f32[N, 1, 3, 3]) {{ x |> avgpool({args}) }}");
    assert_close(&predict(&model("2"), 1, &data, &[]), &[3.0]);
    assert_close(&predict(&model("2, stride=1"), 1, &data, &[]), &[3., 4., 6., 7.]);
    assert_close(&predict(&model("2, pad=1"), 1, &data, &[]), &[0.25, 1.25, 2.75, 7.0]);
    let excluded = "2, pad=1, count_include_pad=false";
    assert_close(&predict(&model(excluded), 1, &data, &[]), &[1.0, 2.5, 5.5, 7.0]);
    assert_close(&predict(&model("2, ceil_mode=true"), 1, &data, &[]), &[3.0, 4.5, 7.5, 9.0]);
}

#[test]
fn batchnorm_in_training() {
    let text = "model M(x: f32[N, 2]) { x |> batchnorm as bn }";
    let graph = graph(text, 2, true);
    assert_eq!(paths(&graph), ["bn.running_mean", "bn.running_var", "bn.weight", "bn.bias"]);
    let given = [("bn.weight", vec![2.0, 1.0]), ("bn.bias", vec![0.0, 1.0])];
    let values = run(&graph, &[1.0, 10.0, 3.0, 14.0], &[], &given);
    let y = numbers(&values, output(&graph, &Sink::Prediction));
    let (a, b) = (1.0 / (1.0_f64 + 1e-5).sqrt(), 2.0 / (4.0_f64 + 1e-5).sqrt());
    assert_close(&y, &[-2.0 * a, 1.0 - b, 2.0 * a, 1.0 + b]);
    let update = |path: &str| {
        let state =
            graph.inputs.iter().find(|(_, role)| matches!(role, Role::State { path: p, .. } if p == path));
        numbers(&values, output(&graph, &Sink::Update(state.expect("a state").0)))
    };
    assert_close(&update("bn.running_mean"), &[0.2, 1.2]);
    assert_close(&update("bn.running_var"), &[0.9 + 0.1 * 2.0, 0.9 + 0.1 * 8.0]);
}

#[test]
fn batchnorm_by_running_statistics() {
    let text = "model M(x: f32[N, 1, 1, 2]) { x |> batchnorm(affine=false) }";
    let given = [("batchnorm1.running_mean", vec![1.0]), ("batchnorm1.running_var", vec![4.0])];
    let scale = 1.0 / (4.0_f64 + 1e-5).sqrt();
    assert_close(&predict(text, 1, &[3.0, 0.0], &given), &[2.0 * scale, -scale]);
}

#[test]
fn grouped_conv_is_two_convs() {
    let grouped =
        "model M(x: f32[N, 4, 5, 6]) { x |> conv(6, 3, stride=2, pad=1, dilation=[1, 2], groups=2) }";
    let halves = "op half(x: f32[N, C, H, W], at: int) -> y: f32[N, C/2, H, W] { y[n, c, h, w] = x[n, c + at*(C/2), h, w]; }
        model M(x: f32[N, 4, 5, 6]) {
          concat(half(x, 0) |> conv(3, 3, stride=2, pad=1, dilation=[1, 2]),
                 half(x, 1) |> conv(3, 3, stride=2, pad=1, dilation=[1, 2]))
        }";
    let data = pattern(2 * 4 * 5 * 6, 3);
    let (weight, bias) = (pattern(6 * 2 * 9, 1), pattern(6, 2));
    let one = [("conv1.weight", weight.clone()), ("conv1.bias", bias.clone())];
    let two = [
        ("conv1.weight", weight[..54].to_vec()),
        ("conv1.bias", bias[..3].to_vec()),
        ("conv2.weight", weight[54..].to_vec()),
        ("conv2.bias", bias[3..].to_vec()),
    ];
    assert_close(&predict(grouped, 2, &data, &one), &predict(halves, 2, &data, &two));
}

#[test]
fn depthwise_and_same_padding() {
    let text = r#"model M(x: f32[N, 2, 2, 2]) { x |> conv(2, 2, pad="same", groups=2, bias=false) }"#;
    let given = [("conv1.weight", vec![1.0, 0.0, 0.0, 10.0, 0.0, 1.0, 0.0, 0.0])];
    let data: Vec<f64> = (1..=8).map(f64::from).collect();
    assert_close(&predict(text, 1, &data, &given), &[41., 2., 3., 4., 6., 0., 8., 0.]);
}

#[test]
fn softmax_pooling_from_the_reference() {
    let text = "
        op softmaxpool(x: f32[N, C, H, W], k: int, s: int) -> y: f32[N, C, (H-k)/s+1, (W-k)/s+1] {
          m[n, c, i, j] = max[u < k, v < k] x[n, c, s*i+u, s*j+v];
          e[n, c, i, j, u < k, v < k] = exp(x[n, c, s*i+u, s*j+v] - m[n, c, i, j]);
          y[n, c, i, j] = (sum[u < k, v < k] e[n, c, i, j, u, v] * x[n, c, s*i+u, s*j+v])
                        / (sum[u < k, v < k] e[n, c, i, j, u, v]);
        }
        op depthmaxpool(x: f32[N, C, H, W], g: int) -> y: f32[N, C/g, H, W] {
          y[n, c, i, j] = max[d < g] x[n, c*g+d, i, j];
        }
        model M(x: f32[N, 2, 3, 3]) { x |> softmaxpool(2, 1) |> depthmaxpool(2) }";
    let data: Vec<f64> = (0..18).map(|at| f64::from(at % 9) * 0.5 - if at < 9 { 0.0 } else { 1.0 }).collect();
    let window = |values: [f64; 4]| {
        let total: f64 = values.iter().map(|x| x.exp()).sum();
        values.iter().map(|x| x * x.exp()).sum::<f64>() / total
    };
    let expected = [[0.0, 0.5, 1.5, 2.0], [0.5, 1.0, 2.0, 2.5], [1.5, 2.0, 3.0, 3.5], [2.0, 2.5, 3.5, 4.0]];
    assert_close(&predict(text, 1, &data, &[]), &expected.map(window));
}

#[test]
fn pieces_interleave() {
    let text = "
        op spread(x: f32[N, C, H, W]) -> y: f32[N, C, 2*H, W] {
          y[n, c, 2*h, w] = x[n, c, h, w];
          y[n, c, 2*h + 1, w] = -x[n, c, h, w];
        }
        model M(x: f32[N, 1, 2, 2]) { x |> spread }";
    assert_close(&predict(text, 1, &[1., 2., 3., 4.], &[]), &[1., 2., -1., -2., 3., 4., -3., -4.]);
}

#[test]
fn cross_entropy_and_the_metric() {
    let text = "model M(x: f32[N, 3]) { x } train M on D { loss = cross_entropy; }";
    let graph = graph(text, 2, true);
    let values = run(&graph, &[1.0, 2.0, 3.0, 5.0, 5.0, 1.0], &[2.0, 1.0], &[]);
    let first = 3.0 - (1.0_f64.exp() + 2.0_f64.exp() + 3.0_f64.exp()).ln();
    let second = 5.0 - (2.0 * 5.0_f64.exp() + 1.0_f64.exp()).ln();
    assert_close(&numbers(&values, output(&graph, &Sink::Loss)), &[-(first + second) / 2.0]);
    assert_close(&numbers(&values, output(&graph, &Sink::Metric("correct".into()))), &[1.0]);
}

/// Of equal scores, the first class counts as the better one, as in the accuracy; NaN is better than all numbers.
#[test]
fn labels_among_the_best_scores() {
    let text = "model M(x: f32[N, 3]) { x } train M on D { loss = cross_entropy; }";
    let data = [1.0, 2.0, 3.0, 5.0, 5.0, 1.0, 5.0, 5.0, 1.0, 0.0, f64::NAN, 2.0, f64::NAN, 0.0, 2.0];
    let labels = [1.0, 1.0, 0.0, 2.0, 0.0];
    let counts = [1, 2, 3].map(|k| {
        let top = Some(Top { k, span: Span { file: FileId::from_u32(0), start: 0, end: 0 } });
        let metrics = Metrics { accuracy: false, top, confusion: None };
        let graph = graph_for(text, Request { metrics, ..Request::inference(5) });
        assert!(!graph.outputs.iter().any(|(_, sink)| *sink == Sink::Metric("correct".into())));
        let values = run(&graph, &data, &labels, &[]);
        numbers(&values, output(&graph, &Sink::Metric("in_top".into())))[0]
    });
    // A row with a NaN is wrong for any k.
    assert_eq!(counts, [1.0, 3.0, 3.0]);
}

#[test]
fn label_smoothing_and_mse() {
    let text = "model M(x: f32[N, 2]) { x } train M on D { loss = cross_entropy(label_smoothing=0.2); }";
    let smooth = graph(text, 1, true);
    let values = run(&smooth, &[1.0, 3.0], &[1.0], &[]);
    let total = (1.0_f64.exp() + 3.0_f64.exp()).ln();
    assert_close(&numbers(&values, output(&smooth, &Sink::Loss)), &[total - 0.8 * 3.0 - 0.2 * 2.0]);
    let text = "model M(x: f32[N, 2]) { x } train M on D { loss = mse; }";
    let squares = graph(text, 2, true);
    let values = run(&squares, &[1.0, 2.0, 3.0, 4.0], &[0.0, 2.0, 5.0, 4.0], &[]);
    assert_close(&numbers(&values, output(&squares, &Sink::Loss)), &[1.25]);
}

#[test]
fn dropout_draws_anew_at_every_place() {
    let text = "model M(x: f32[N, 200]) { concat(x |> dropout(0.25), x |> dropout(0.25)) }";
    let graph = graph(text, 1, true);
    let values = run(&graph, &[3.0; 200], &[], &[]);
    let y = numbers(&values, output(&graph, &Sink::Prediction));
    assert!(y.iter().all(|y| *y == 0.0 || (*y - 4.0).abs() < 1e-12), "{y:?}");
    let zeros = y.iter().filter(|y| **y == 0.0).count();
    assert!((60..140).contains(&zeros), "{zeros}");
    assert_ne!(y[..200], y[200..]);
    assert_close(&predict("model M(x: f32[N, 2]) { x |> dropout(0.5) }", 1, &[1.0, 2.0], &[]), &[1.0, 2.0]);
}

#[test]
fn arithmetic_broadcasts() {
    let text = "model M(x: f32[N, 2, 1, 2]) {
        let mean = globalavgpool(x);
        let doubled = 2 * x;
        -(doubled - mean) / 2 + max(x, 1.0)
    }";
    let y = predict(text, 1, &[0.0, 2.0, 1.0, 5.0], &[]);
    assert_close(&y, &[0.5 + 1.0, -1.5 + 2.0, 0.5 + 1.0, -3.5 + 5.0]);
}

#[test]
fn equal_calls_share_an_op() {
    let graph = graph(
        "model M(x: f32[N, 1, 8, 8]) { x |> conv(1, 3, pad=1) |> relu |> conv(1, 3, pad=1) |> relu }",
        1,
        false,
    );
    assert_eq!(graph.nodes.len(), 6);
    assert_eq!(graph.ops.len(), 3);
}

#[test]
fn blocks_name_their_parameters() {
    let text = r#"
        block residual(x: f32[N, C, H, W], out: int, stride: int = 1) {
          let y = x |> conv(out, 3, stride=stride, pad=1, bias=false) |> batchnorm |> relu |> conv(out, 3, pad=1, bias=false) as last;
          let s = x;
          if stride != 1 || C != out { s = x |> conv(out, 1, stride=stride, bias=false) as "downsample.0"; }
          relu(y + s)
        }
        inline block pairs(x: any, count: int) {
          for i in 0..count { x = x |> residual(2) as "layer{i + 1}"; }
          x
        }
        model M(x: f32[N, 1, 4, 4]) { x |> residual(2, stride=2) |> pairs(2) |> flatten |> linear(3) }"#;
    let graph = graph(text, 2, false);
    let weights: Vec<String> = paths(&graph).into_iter().filter(|path| path.ends_with("weight")).collect();
    assert_eq!(
        weights,
        [
            "residual1.conv1.weight",
            "residual1.batchnorm1.weight",
            "residual1.last.weight",
            "residual1.downsample.0.weight",
            "layer1.conv1.weight",
            "layer1.batchnorm1.weight",
            "layer1.last.weight",
            "layer2.conv1.weight",
            "layer2.batchnorm1.weight",
            "layer2.last.weight",
            "linear1.weight"
        ]
    );
}

#[test]
fn scalar_ops_inline_in_equations() {
    let text = "
        op leaky(x: f32, slope: float = 0.1) -> y: f32 { y = if x > 0 { x } else { slope * x }; }
        op total(x: f32[N, C]) -> y: f32[N, 1] { y[n, 0] = sum[c] leaky(x[n, c]) + leaky(x[n, c], slope=1.0); }
        model M(x: f32[N, 2]) { x |> total }";
    assert_close(&predict(text, 1, &[1.0, -2.0], &[]), &[2.0 - 2.2]);
}

#[test]
fn integers_become_numbers_in_scalar_ops() {
    let text = "
        op half(x: f32) -> y: f32 { y = x / 2; }
        op one(x: f32) -> y: f32 { y = 1; }
        op f(x: f32[N, C]) -> y: f32[N, C] { y[n, c] = half(c) + half(3) + one(x[n, c]) / 2 + real(c / 2); }
        model M(x: f32[N, 4]) { x |> f }";
    assert_close(&predict(text, 1, &[0.0; 4], &[]), &[2.0, 2.5, 4.0, 4.5]);
}
