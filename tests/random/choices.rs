//! Ops of a user that are delicate: choices of which one branch must not be looked at, quotients, ties, windows of
//! nothing.

use super::{Tensor, Writer};

/// Applies a delicate op to a tensor.
pub fn delicate(writer: &mut Writer, x: &Tensor) {
    match writer.draw.from(0, 7) {
        0..=2 => choice(writer, x),
        3 => choice_around_a_reduction(writer, x),
        4 | 5 => quotient(writer, x),
        6 => ties(writer, x),
        _ => empty_windows(writer, x),
    }
}

/// A function of `#` that is only defined, or only in range, where the condition holds; `#` is multiplied by a scale
/// that the result takes away again.
struct Dangerous {
    condition: &'static str,
    body: &'static str,
}

const fn dangerous(condition: &'static str, body: &'static str) -> Dangerous {
    Dangerous { condition, body }
}

const DANGEROUS: [Dangerous; 22] = [
    dangerous("# < 3", "exp(#)"),
    dangerous("# < 0.03", "exp(100*#)"),
    dangerous("# < -0.03", "exp(1e30*#)"),
    dangerous("# < 3", "exp(1e-30*#)"),
    dangerous("# > -0.03", "exp(-100*#)"),
    dangerous("# > 0.05", "log(#)"),
    dangerous("# > 0.05", "log(100*#)"),
    dangerous("# > 0.05", "0.1*log(1e30*#)"),
    dangerous("# > 0.05", "0.1*log(1e-30*#)"),
    dangerous("# < -0.05", "log(-#)"),
    dangerous("# > 0.05", "sqrt(#)"),
    dangerous("# > 0.05", "1e-15*sqrt(1e30*#)"),
    dangerous("# > 0.05", "1e15*sqrt(1e-30*#)"),
    dangerous("# > 0.05", "rsqrt(#)"),
    dangerous("# > 0.05", "1e15*rsqrt(1e30*#)"),
    dangerous("# < -0.05", "rsqrt(-100*#)"),
    dangerous("# > 0.05", "pow(#, 0.5)"),
    dangerous("# > 0.05", "pow(#, -1.5)"),
    dangerous("# > 0.05", "1e15*pow(1e30*#, -0.5)"),
    dangerous("abs(#) > 0.05", "1/#"),
    dangerous("abs(#) > 0.05", "1e30/(1e30*#)"),
    dangerous("# > 0.05 || # < -0.05", "0.01/(100*#)"),
];

/// What is chosen elsewhere.
const SAFE: [&str; 5] = ["#", "0", "0.5*#", "tanh(#)", "# - 1"];

/// A choice between a dangerous and a safe function of an argument, in one of both orders, perhaps in another choice.
fn chosen(writer: &mut Writer, argument: &str, nested: bool) -> String {
    let Dangerous { condition, body } = &DANGEROUS[writer.draw.from(0, DANGEROUS.len() as i64 - 1) as usize];
    let safe = writer.draw.pick(&SAFE);
    let mut body = body.replace('#', argument);
    if nested {
        // The inner choice is decided by another number, or its dangerous branch never is taken.
        let inner = chosen(writer, argument, false);
        body = match writer.draw.from(0, 2) {
            0 => format!("(if {argument} < 0.3 {{ {body} }} else {{ {inner} }})"),
            1 => format!("(if {argument} > 7 {{ exp(1000*{argument}) }} else {{ {body} }})"),
            _ => format!("(({body}) + {inner})"),
        };
    }
    let (condition, safe) = (condition.replace('#', argument), safe.replace('#', argument));
    let choice = match writer.draw.chance(0.5) {
        true => format!("(if {condition} {{ {body} }} else {{ {safe} }})"),
        false => format!("(if !({condition}) {{ {safe} }} else {{ {body} }})"),
    };
    match writer.draw.from(0, 5) {
        0 => format!("({choice} * {argument})"),
        1 => format!("(tanh({argument}) * {choice})"),
        2 => format!("({choice} / (-2 - abs({argument})))"),
        3 => format!("(0.5 - {choice})"),
        _ => choice,
    }
}

/// Held within bounds, so that a chain of such ops does not leave the range of single precision.
const BOUNDED: &str = "z*rsqrt(1 + 0.05*z*z)";

fn choice(writer: &mut Writer, x: &Tensor) {
    writer.note("user choice");
    let nested = writer.option("user nested choice", 0.4);
    if x.shape.len() == 3 && writer.option("user choice in a sum", 0.5) {
        return choice_in_a_sum(writer, x, nested);
    }
    let body = chosen(writer, "x", nested);
    let name = writer.op(|name| format!("op {name}(x: f32) -> y: f32 {{ z = {body}; y = {BOUNDED}; }}"));
    writer.define(&format!("{name}({})", x.name), x.shape.clone());
}

fn choice_in_a_sum(writer: &mut Writer, x: &Tensor, nested: bool) {
    let read =
        writer.draw.pick(&["x[n, c, i, k]", "(x[n, c, i+k-1, j] else 0)", "(x[n, c, i, j-k] else 0.5)"]);
    // No extremes: of two numbers that differ in double precision alone, either may win.
    let reduce = writer.draw.pick(&["sum", "mean"]);
    let factor = writer.draw.pick(&["", " * x[n, c, i, j]", " * 0.25"]);
    let body = chosen(writer, read, nested);
    let extent = if read.contains("[n, c, i, k]") { "W" } else { "2" };
    let name = writer.op(|name| {
        format!(
            "op {name}(x: f32[N, C, H, W]) -> y: f32[N, C, H, W] {{
  s[n < N, c < C, i < H, j < W] = {reduce}[k < {extent}] {body}{factor};
  y[n, c, i, j] = s[n, c, i, j]*rsqrt(1 + 0.05*s[n, c, i, j]*s[n, c, i, j]);
}}"
        )
    });
    writer.define(&format!("{name}({})", x.name), x.shape.clone());
}

/// The argument of the choice is a reduction, in an equation of its own or within.
fn choice_around_a_reduction(writer: &mut Writer, x: &Tensor) {
    writer.note("user choice around a reduction");
    let (shape, at, axes) = match x.shape.len() {
        1 => ("N, F", "n, f", "f < F"),
        _ => ("N, C, H, W", "n, c, h, w", "h < H, w < W"),
    };
    let outer = if x.shape.len() == 1 { "n" } else { "n, c" };
    let bounds: Vec<String> =
        outer.split(", ").map(|axis| format!("{axis} < {}", axis.to_uppercase())).collect();
    let reduce = writer.draw.pick(&["sum", "mean", "max", "min"]);
    let reduced = format!("({reduce}[{axes}] x[{at}])");
    let (argument, first) = match writer.draw.chance(0.5) {
        true => (format!("r[{outer}]"), format!("r[{}] = {reduced};", bounds.join(", "))),
        false => (reduced, String::new()),
    };
    let body = chosen(writer, &argument, false);
    let name = writer.op(|name| {
        format!(
            "op {name}(x: f32[{shape}]) -> y: f32[{shape}] {{
  {first}
  s[{}] = {body};
  y[{at}] = x[{at}] + s[{outer}]*rsqrt(1 + 0.05*s[{outer}]*s[{outer}]);
}}",
            bounds.join(", ")
        )
    });
    writer.define(&format!("{name}({})", x.name), x.shape.clone());
}

/// Quotients by negative constants, and by tensors at axes of the result, also out of reductions.
fn quotient(writer: &mut Writer, x: &Tensor) {
    let [c, h, w] = x.shape[..] else { return negative_divisor(writer, x) };
    if writer.draw.chance(0.4) {
        return negative_divisor(writer, x);
    }
    writer.note("user divisor");
    let (axes, shape, extents) = writer.draw.pick(&[
        ("c", "C", [true, false, false]),
        ("c, h", "C, H", [true, true, false]),
        ("h, w", "H, W", [false, true, true]),
        ("w", "W", [false, false, true]),
    ]);
    let declared: Vec<String> =
        [c, h, w].iter().zip(extents).filter(|(_, used)| *used).map(|(e, _)| e.to_string()).collect();
    let bounds: Vec<String> =
        axes.split(", ").map(|axis| format!("{axis} < {}", axis.to_uppercase())).collect();
    let divisor =
        writer.draw.pick(&["0.75 + d[@]*d[@]", "-0.75 - d[@]*d[@]", "d[@]*d[@] - 5"]).replace('@', axes);
    let body = writer.draw.pick(&[
        "x[n, c, h, w] / s[@]",
        "(1 - x[n, c, h, w]) / s[@]",
        "x[n, c, h, w] * x[n, c, h, w] / s[@]",
        "x[n, c, h, w] - x[n, c, h, w] / s[@] / -4",
    ]);
    let reduced = writer.draw.pick(&[
        "sum[k < 2] (x[n, c, h, w+k] else 0) / s[@]",
        "max[k < 2] (x[n, c, h, w+k] else 0.5) / s[@]",
        "min[k < 2] (x[n, c, h+k, w] else -1) / s[@]",
    ]);
    let body = if writer.draw.chance(0.5) { body } else { reduced }.replace('@', axes);
    let name = writer.op(|name| {
        format!(
            "op {name}(x: f32[N, C, H, W], d: f32[{shape}]) -> y: f32[N, C, H, W] {{
  s[{}] = {divisor};
  y[n, c, h, w] = {body};
}}
block with_{name}(x: f32[N, C, H, W]) {{
  param divisor: f32[{}] = uniform(-1, 1);
  {name}(x, divisor)
}}",
            bounds.join(", "),
            declared.join(", ")
        )
    });
    writer.define(&format!("{} |> with_{name}", x.name), x.shape.clone());
}

fn negative_divisor(writer: &mut Writer, x: &Tensor) {
    writer.note("user negative divisor");
    let by = writer.draw.pick(&["-1", "-1.0", "-2", "-0.5", "-3.0"]);
    let body = writer
        .draw
        .pick(&["x / @", "(x + 1) / @", "x*x / @ + x", "max(x, 0.1) / @", "tanh(x / @)"])
        .replace('@', by);
    let name = writer.op(|name| format!("op {name}(x: f32) -> y: f32 {{ y = {body}; }}"));
    writer.define(&format!("{name}({})", x.name), x.shape.clone());
}

/// Both operands of a maximum or minimum are equal everywhere, by different operations.
fn ties(writer: &mut Writer, x: &Tensor) {
    writer.note("user ties");
    let extreme = writer.draw.pick(&["max", "min"]);
    let (one, other) = writer.draw.pick(&[
        ("2*x", "x + x"),
        ("-x", "0 - x"),
        ("x / 2", "0.5*x"),
        ("x", "x*4 / 4"),
        ("x*-1", "x / -1"),
    ]);
    let (one, other) = if writer.draw.chance(0.5) { (one, other) } else { (other, one) };
    if x.shape.len() == 3 && writer.draw.chance(0.4) {
        let name = writer.op(|name| {
            format!(
                "op {name}(x: f32[N, C, H, W]) -> y: f32[N, C, H, W] {{
  y[n, c, i, j] = {extreme}[u < 3] x[n, c, i, j] * 0.75;
}}"
            )
        });
        writer.define(&format!("{name}({})", x.name), x.shape.clone());
        return;
    }
    let name =
        writer.op(|name| format!("op {name}(x: f32) -> y: f32 {{ y = 0.75*{extreme}({one}, {other}); }}"));
    writer.define(&format!("{name}({})", x.name), x.shape.clone());
}

/// Some windows of an extreme lie outside as a whole; what they give is infinite, and another number takes its place.
fn empty_windows(writer: &mut Writer, x: &Tensor) {
    if x.shape.len() != 3 {
        return ties(writer, x);
    }
    writer.note("user empty windows");
    let (extreme, fill, test) = writer.draw.pick(&[("max", "-inf", ">"), ("min", "inf", "<")]);
    let at = writer.draw.pick(&["i, 2*j+u-2", "2*i+u-2, j", "i, j-u-1", "i+u+1, j"]);
    let name = writer.op(|name| {
        format!(
            "op {name}(x: f32[N, C, H, W]) -> y: f32[N, C, H, W] {{
  r[n < N, c < C, i < H, j < W] = {extreme}[u < 2] (x[n, c, {at}] else {fill});
  y[n, c, i, j] = if r[n, c, i, j] {test} {fill} {{ r[n, c, i, j] }} else {{ 0.5*x[n, c, i, j] }};
}}"
        )
    });
    writer.define(&format!("{name}({})", x.name), x.shape.clone());
}
