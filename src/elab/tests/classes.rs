//! When a prediction is one score a class: where its loss looks for labels among as many positions.

use super::*;
use crate::elab::{CORRECT, IN_TOP};
use crate::graph::Scores;

/// The classes of a prediction of so many numbers, for a loss and the items that it needs.
fn classes(outputs: usize, items: &str, loss: &str) -> Option<i64> {
    let text = format!(
        "{items}\nmodel M(x: f32[N, 4]) {{ x |> linear({outputs}) }}\ntrain M on D {{ loss = {loss}; }}"
    );
    let graph = graph(&text, 3, false);
    let counted = graph.outputs.iter().any(|(_, sink)| *sink == Sink::Metric(CORRECT.into()));
    assert_eq!(counted, graph.scores.is_some(), "{text}");
    assert!(!graph.outputs.iter().any(|(_, sink)| *sink == Sink::Metric(IN_TOP.into())));
    graph.scores.and_then(Scores::of_samples)
}

#[test]
fn losses_of_the_library() {
    for loss in ["cross_entropy", "cross_entropy(label_smoothing=0.1)", "nll"] {
        for outputs in [1, 2, 10] {
            assert_eq!(classes(outputs, "", loss), Some(outputs as i64), "{loss}");
        }
    }
    assert_eq!(classes(2, "", "cross_entropy(weight=[1, 2])"), Some(2));
    assert_eq!(classes(2, "", "mse"), None);
}

fn op(body: &str) -> String {
    format!("op own(p: f32[N, K], label: i32[N]) -> y: f32 {{ {body} }}")
}

#[test]
fn what_looks_for_the_label_has_classes() {
    for body in [
        "y = mean[n < N] -(sum[k < K] if k == label[n] { p[n, k] } else { 0 });",
        "y = mean[n < N] sum[k < K] if label[n] != k { p[n, k] } else { 0 };",
        "own[n < N] = label[n]; y = mean[n < N] sum[k < K] if k == own[n] { p[n, k] } else { 0 };",
        "y = mean[n < N] sum[k < K] if real(k) == real(label[n]) { p[n, k] } else { 0 };",
        "y = mean[n < N] sum[k < K] same(k, label[n]) * p[n, k];",
    ] {
        let items = op(body) + " op same(a: i32, b: i32) -> z: f32 { z = if a == b { 1 } else { 0 }; }";
        assert_eq!(classes(3, &items, "own"), Some(3), "{body}");
    }
    let reshaped = "op two(p: f32[N, K], label: i32[N, O]) -> y: f32 {
        y = mean[n < N] sum[k < K] if k == label[n, 0] { p[n, k] } else { 0 }; }
        block own(p: f32[N, K], label: i32[N]) { two(p, label as i32[N, 1]) }";
    assert_eq!(classes(3, reshaped, "own"), Some(3));
}

#[test]
fn what_does_not_look_for_it_has_none() {
    for body in [
        // Pairs of one label are to be near each other.
        "y = mean[n < N, m < N] if label[n] == label[m] { sum[k < K] (p[n, k] - p[m, k]) * (p[n, k] - p[m, k]) } else { 0 };",
        "y = mean[n < N, k < K] p[n, k] - real(label[n]);",
        "y = mean[n < N, k < K] if label[n] == 0 { p[n, k] } else { -p[n, k] };",
        "y = mean[n < N] sum[k < K] if k == label[n] % 2 { p[n, k] } else { 0 };",
        "y = mean[n < N] sum[k < K] if label[n] > k { p[n, k] } else { -p[n, k] };",
        "y = mean[n < N] sum[c < 10, k < K] if c == label[n] { p[n, k] * c } else { 0 };",
    ] {
        for outputs in [1, 2] {
            assert_eq!(classes(outputs, &op(body), "own"), None, "{body}");
        }
    }
}
