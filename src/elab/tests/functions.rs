//! The scalar functions in blocks: what they give in the equations of an op, for every function of the table.

use super::*;
use crate::elab::op::FUNCTIONS;
use crate::passes::autodiff;

const DATA: [f64; 12] = [0.5, 1.25, 2.0, 0.125, 3.0, 0.75, 1.5, 0.25, 1.0, 0.625, 2.5, 0.875];

/// What a model of the body gives for positive numbers, `x` being f32[N, 6].
fn of(items: &str, body: &str) -> Vec<f64> {
    predict(&format!("{items}\nmodel M(x: f32[N, 6]) {{ {body} }}"), 2, &DATA, &[])
}

/// The calls of a function in a block, and what is written in an equation for the same.
fn calls(name: &str, parameters: &[&str]) -> Vec<(String, String)> {
    let call = |block: &str, equation: &str| (block.replace("F", name), equation.replace("F", name));
    match parameters {
        [_] => vec![
            call("F(x)", "F(x)"),
            call("x |> F", "F(x)"),
            call("F(x=x)", "F(x)"),
            call("x * F(0.5)", "x * F(0.5)"),
            call("x * F(0.5 * x)", "x * F(0.5 * x)"),
        ],
        _ => vec![
            call("F(x, 1.5)", "F(x, 1.5)"),
            call("F(1.5, x)", "F(1.5, x)"),
            call("x |> F(1.5)", "F(x, 1.5)"),
            call("F(b=1.5, a=x)", "F(x, 1.5)"),
            call("F(b=x, a=1.5)", "F(b=x, a=1.5)"),
            call("F(x, x * x)", "F(x, x * x)"),
            call("x * F(0.5, 2)", "x * F(0.5, 2)"),
        ],
    }
}

#[test]
fn blocks_give_what_equations_give() {
    for (name, function) in FUNCTIONS {
        for (block, equation) in calls(name, function.parameters()) {
            let op = format!("op f(x: f32) -> y: f32 {{ y = {equation}; }}");
            assert_close(&of("", &block), &of(&op, "f(x)"));
        }
    }
}

#[test]
fn tensors_have_any_rank() {
    for (name, function) in FUNCTIONS {
        let more = if function.parameters().len() == 1 { "" } else { ", 2" };
        let flat = of("", &format!("{name}(x{more})"));
        for shape in ["N*6", "2, N, 3", "N, 1, 6, 1", "1, N, 2, 1, 3", "1, 1, 1, 1, N, 6, 1"] {
            let body = format!("let t = x as f32[{shape}]; {name}(t{more}) as f32[N, 6]");
            assert_eq!(of("", &body), flat, "{body}");
        }
    }
}

#[test]
fn truth_values_and_integers_become_numbers() {
    assert_eq!(
        of("", "real(x > 1)"),
        of("op f(x: f32) -> y: f32 { y = if x > 1 { 1 } else { 0 }; }", "f(x)")
    );
    let place = "op place(x: f32[N, C]) -> y: i32[N, C] { y[n, c] = c; }";
    assert_eq!(of(place, "real(place(x)) / 2")[..6], [0.0, 0.5, 1.0, 1.5, 2.0, 2.5]);
}

/// The gradient of `w`, which is 3, of the sum of all that the body gives.
fn slope(body: &str) -> f64 {
    let text = format!(
        "op total(p: f32[N, C], t: f32[N, C]) -> y: f32 {{ y = sum[n < N, c < C] p[n, c]; }}
        model M(x: f32[N, 1]) {{ param w: f32[1] = 3; {body} }}
        train M on D {{ loss = total; }}"
    );
    let mut graph = graph(&text, 1, true);
    autodiff::run(&mut graph).expect("it is small");
    let gradient = graph.outputs.iter().find(|(_, sink)| matches!(sink, Sink::Gradient(_)));
    let values = run(&graph, &[2.0], &[0.0], &[]);
    gradient.map_or(0.0, |(value, _)| numbers(&values, *value)[0])
}

#[test]
fn detach_has_no_slope_in_a_block() {
    for (body, expected) in [
        ("x * w * w", 12.0),
        ("x * w * detach(w)", 6.0),
        ("x * w * (w |> detach)", 6.0),
        ("detach(x * w) * w", 6.0),
        ("let d = detach(w); x * (w - d) * (w - d) + x * d", 0.0),
        ("detach(x * w * w)", 0.0),
        ("x * detach(detach(w) + w) + w", 1.0),
        ("x * max(w, detach(w * 2)) + x * w", 2.0),
    ] {
        assert_eq!(slope(body), expected, "{body}");
    }
}

/// An op of the user hides a function of its name everywhere but in its own equations.
#[test]
fn an_op_hides_a_function() {
    let items = "op abs(x: f32) -> y: f32 { y = abs(x) + 1; } op f(x: f32) -> y: f32 { y = abs(-x); }";
    let expected: Vec<f64> = DATA.iter().map(|x| x + 1.0).collect();
    assert_close(&of(items, "abs(x)"), &expected);
    assert_close(&of(items, "f(x)"), &expected);
}
