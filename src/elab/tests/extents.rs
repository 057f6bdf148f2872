//! The extents of axes without a bound, by the values that depend on them.

use super::*;

/// The prediction of `op f` for one sample 1, 2, 3, ... of so many numbers; `w` is a parameter 1, 10, 100, ...
fn first_row(op: &str, numbers: usize, weights: usize) -> Vec<f64> {
    let call = if weights > 0 { format!("param w: f32[{weights}] = 1; f(x, w)") } else { "f(x)".into() };
    let text = format!("{op}\nmodel M(x: f32[N, {numbers}]) {{ {call} }}");
    let data: Vec<f64> = (1..=numbers).map(|at| at as f64).collect();
    let tens = (0..weights).map(|at| 10_f64.powi(at as i32)).collect();
    predict(&text, 1, &data, &[("w", tens)])
}

#[test]
fn reads_that_agree_determine() {
    for (body, numbers, weights, expected) in [
        ("sum[k] x[n, k] * w[k]", 3, 3, 321.0),
        ("sum[k] x[n, k + 1] * w[k]", 4, 3, 432.0),
        ("sum[k] x[n, 2*k] * w[k]", 5, 3, 531.0),
        ("sum[k] x[n, 2*k] * w[k]", 6, 3, 531.0),
        ("sum[k] x[n, 2*k + 1] * w[k]", 6, 3, 642.0),
        ("sum[k] x[n, K - 1 - k] * w[k]", 3, 3, 123.0),
        ("sum[k] x[n, k] * [1, 10, 100][k] * w[0]", 3, 1, 321.0),
        // The read of `w` alone says how far the window goes; the windows leave the last number out.
        ("sum[i < 2] sum[u] x[n, 2*i + u] * w[u]", 6, 2, 21.0 + 43.0),
        // Windows alone: as far as all of them stay inside.
        ("sum[i < 2] max[u] x[n, i + u] * w[0]", 4, 1, 3.0 + 4.0),
        ("sum[i < 2] max[u] x[n, i + 2 - u] * w[0]", 4, 1, 3.0 + 4.0),
    ] {
        let op = format!("op f(x: f32[N, K], w: f32[L]) -> y: f32[N] {{ y[n] = {body}; }}");
        assert_close(&first_row(&op, numbers, weights), &[expected]);
    }
}

/// What disagrees, or has `else`, is written, and then is what was written.
#[test]
fn a_bound_says_which_extent_is_meant() {
    let differences = "op f(x: f32[N, K]) -> y: f32[N] {
        d[n, k < K - 1] = x[n, k + 1] * x[n, k]; y[n] = sum[k] d[n, k]; }";
    assert_close(&first_row(differences, 4, 0), &[2.0 + 6.0 + 12.0]);
    let smoothed = "op f(x: f32[N, K]) -> y: f32[N] {
        m[n < N, k < K] = sum[u < 3] x[n, k + u - 1] else 0; y[n] = sum[k] m[n, k]; }";
    assert_close(&first_row(smoothed, 4, 0), &[3.0 + 6.0 + 9.0 + 7.0]);
    let shorter = "op f(x: f32[N, K], w: f32[L]) -> y: f32[N] { y[n] = sum[k < L] x[n, k] * w[k]; }";
    assert_close(&first_row(shorter, 4, 3), &[321.0]);
    let beyond = "op f(x: f32[N, K], w: f32[L]) -> y: f32[N] { y[n] = sum[k] x[n, k] * w[k] else 0; }";
    assert_close(&first_row(beyond, 4, 3), &[321.0]);
}

/// A condition that is known at compile time chooses which reads count.
#[test]
fn branches_that_are_not_taken_say_nothing() {
    let op = |flag: &str| {
        format!(
            "op f(x: f32[N, K], w: f32[L], flag: bool = {flag}) -> y: f32[N] {{
               y[n] = sum[k] if flag {{ x[n, k] }} else {{ w[k] }}; }}"
        )
    };
    assert_close(&first_row(&op("true"), 4, 3), &[10.0]);
    assert_close(&first_row(&op("false"), 4, 3), &[111.0]);
}

/// The axes of a piece that are part of a sum are known in its reductions.
#[test]
fn pieces_know_their_axes() {
    let op = "op f(x: f32[N, K]) -> y: f32[N, K] {
        y[n, 2*i] = x[n, 2*i]; y[n, 2*i + 1] = sum[u] x[n, i + u] * x[n, i]; }";
    assert_close(&first_row(op, 4, 0), &[1.0, 1.0 + 2.0 + 3.0, 3.0, 2.0 * (2.0 + 3.0 + 4.0)]);
}

/// A list gives an extent anew in every call of an op that is written in place.
#[test]
fn every_call_has_its_own_extents() {
    let op = "op poly(x: f32, w: list) -> y: f32 { y = sum[k] w[k] * pow(x, k); }
op f(x: f32[N, K]) -> y: f32[N] { y[n] = poly(x[n, 1], [1, 1]) + poly(x[n, 0], [1, 2, 3, 4]); }";
    assert_close(&first_row(op, 2, 0), &[3.0 + 10.0]);
}

#[test]
fn bounds_of_pieces_add_up_to_the_declared_extent() {
    let op = "op f(x: f32[N, K]) -> y: f32[N, 2*K] {
        y[n, k < K] = x[n, k]; y[n, k + K < 2*K] = -x[n, k]; }";
    assert_close(&first_row(op, 2, 0), &[1.0, 2.0, -1.0, -2.0]);
}
