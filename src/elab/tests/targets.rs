//! What losses are compared with: labels of samples and of pixels, numbers of the prediction's shape and of others.

use super::*;
use crate::elab::CORRECT;
use crate::graph::Scores;
use crate::te::DType;

const PIXELS: &str = "model M(x: f32[N, 3, 2, 2]) { x }";

/// The target of a loss, with the items that it needs.
fn target(model: &str, items: &str, loss: &str) -> (DType, Vec<i64>) {
    let graph = graph(&format!("{items}\n{model}\ntrain M on D {{ loss = {loss}; }}"), 4, false);
    let (value, _) = graph.inputs.iter().find(|(_, role)| *role == Role::Target).expect("a target");
    (graph.values[*value].dtype, graph.values[*value].shape.clone())
}

#[test]
fn targets_have_the_axes_that_their_loss_names() {
    let flat = "model M(x: f32[N, 5]) { x }";
    assert_eq!(target(flat, "", "mse"), (DType::F32, vec![4, 5]));
    assert_eq!(target(PIXELS, "", "bce"), (DType::F32, vec![4, 3, 2, 2]));
    assert_eq!(target(flat, "", "cross_entropy"), (DType::I32, vec![4]));
    assert_eq!(target(PIXELS, "", "cross_entropy2d(label_smoothing=0.1)"), (DType::I32, vec![4, 2, 2]));
    let op = |target: &str, index: &str| {
        format!(
            "op own(p: f32[N, K], t: {target}) -> y: f32 {{ y = mean[n < N, k < K] p[n, k] - t[{index}]; }}"
        )
    };
    assert_eq!(target(flat, &op("f32[N]", "n"), "own"), (DType::F32, vec![4]));
    assert_eq!(target(flat, &op("f32[K]", "k"), "own"), (DType::F32, vec![5]));
    // Names of its own are as large as the prediction, as before.
    assert_eq!(target(flat, &op("f32[B, L]", "n, k"), "own"), (DType::F32, vec![4, 5]));
    let labels =
        "op own(p: f32[N, K], t: i32[N, 2]) -> y: f32 { y = mean[n < N, k < K] p[n, k] - real(t[n, 1]); }";
    assert_eq!(target(flat, labels, "own"), (DType::I32, vec![4, 2]));
}

/// The loss of two pictures of 2x2 pixels with scores of three classes, the metric, and both by formulas.
fn check(loss: &str, weights: [f64; 3], smoothing: f64) {
    let scores: Vec<f64> = (0..24).map(|at| f64::from(at * 7 % 11) / 4.0 - f64::from(at % 5) / 3.0).collect();
    let labels = [0_usize, 2, 1, 1, 2, 0, 0, 1];
    let graph = graph(&format!("{PIXELS} train M on D {{ loss = {loss}; }}"), 2, true);
    assert_eq!(graph.scores, Some(Scores::Pixels(3)));
    let values = run(&graph, &scores, &labels.map(|label| label as f64), &[]);
    let (mut total, mut share, mut correct) = (0.0, 0.0, 0.0);
    for (at, label) in labels.into_iter().enumerate() {
        let own = [0, 1, 2].map(|class| scores[at / 4 * 12 + class * 4 + at % 4]);
        let logs = own.iter().map(|score| score.exp()).sum::<f64>().ln();
        let smooth: f64 = (0..3).map(|class| weights[class] * (logs - own[class]) / 3.0).sum();
        total += (1.0 - smoothing) * weights[label] * (logs - own[label]) + smoothing * smooth;
        share += weights[label];
        correct += f64::from(u8::from(own.iter().all(|score| *score <= own[label]))) / 4.0;
    }
    assert_close(&numbers(&values, output(&graph, &Sink::Loss)), &[total / share]);
    assert_close(&numbers(&values, output(&graph, &Sink::Metric(CORRECT.into()))), &[correct]);
}

/// There was no loss for labels of pixels.
#[test]
fn labels_of_pixels() {
    check("cross_entropy2d", [1.0; 3], 0.0);
    check("cross_entropy2d(label_smoothing=0.3)", [1.0; 3], 0.3);
    check("cross_entropy2d(weight=[1, 3, 0.5])", [1.0, 3.0, 0.5], 0.0);
    check("cross_entropy2d(label_smoothing=0.2, weight=[1, 3, 0.5])", [1.0, 3.0, 0.5], 0.2);
}
