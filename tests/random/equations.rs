//! Ops of a user: random equations.

use super::{LARGEST, Tensor, Writer, choices};

/// Applies an op with random equations to a tensor.
pub fn equation(writer: &mut Writer, x: &Tensor) {
    match (x.shape.len(), writer.draw.from(0, 18)) {
        (_, 12..) => choices::delicate(writer, x),
        (_, 0 | 1) => elementwise(writer, x),
        (1, 2 | 3) => rows(writer, x),
        (1, _) => mixed_rows(writer, x),
        (_, 2 | 3) => window(writer, x),
        (_, 4 | 5) => contraction(writer, x),
        (_, 6) => interleaved(writer, x),
        (_, 7) => renamed(writer, x),
        (_, 8) => normalised(writer, x),
        (_, 9) => running(writer, x),
        (_, 10) => borders(writer, x),
        _ => random_mask(writer, x),
    }
}

/// A random function of one number, bounded where its argument is.
fn function(writer: &mut Writer, x: &str, depth: i64) -> String {
    if depth == 0 {
        return match writer.draw.from(0, 3) {
            0 => format!("{}", writer.draw.from(-6, 6) as f64 / 4.0),
            _ => x.to_owned(),
        };
    }
    let a = function(writer, x, depth - 1);
    let b = function(writer, x, depth - 1);
    match writer.draw.from(0, 19) {
        0 => format!("({a} + {b})"),
        1 => format!("({a} - {b})"),
        2 => format!("({a} * {b})"),
        3 => format!("({a} / (1.25 + ({b})*({b})))"),
        4 => format!("min({a}, {b})"),
        5 => format!("max({a}, {b})"),
        6 => format!("exp(-abs({a}))"),
        7 => format!("log(1 + ({a})*({a}))"),
        8 => format!("sqrt(0.5 + ({a})*({a}))"),
        9 => format!("rsqrt(0.5 + abs({a}))"),
        10 => format!("tanh({a})"),
        11 => format!("sigmoid({a})"),
        12 => format!("erf({a})"),
        13 => format!("(if {a} > {b} {{ {a} }} else {{ 0.5*({b}) }})"),
        14 => format!("pow(1.5 + abs({a}), 1.25)"),
        15 => format!("expm1(-abs({a}))"),
        16 => format!("log1p(({a})*({a}))"),
        17 => format!("sin({a})"),
        18 => format!("cos({a})"),
        _ => format!("(({a}) - floor({b}))"),
    }
}

fn elementwise(writer: &mut Writer, x: &Tensor) {
    writer.note("user element by element");
    let depth = writer.draw.from(1, 3);
    let body = function(writer, "x", depth);
    // Held within bounds, so that a chain of products does not leave the range of single precision.
    let name = writer.op(|name| {
        format!("op {name}(x: f32) -> y: f32 {{ z = {body} + 0.25*x; y = z*rsqrt(1 + 0.05*z*z); }}")
    });
    writer.define(&format!("{}({})", name, x.name), x.shape.clone());
}

/// A reduction and what a read outside gives.
fn reduction(writer: &mut Writer) -> (&'static str, &'static str) {
    writer.draw.pick(&[
        ("sum", "0"),
        ("mean", "0"),
        ("max", "-inf"),
        ("min", "inf"),
        ("prod", "1"),
        ("max", "0.5"),
    ])
}

/// A reduction over windows with strides, dilations and padding of their own on each axis.
fn window(writer: &mut Writer, x: &Tensor) {
    let [c, h, w] = x.shape[..] else { return };
    let (reduce, fill) = reduction(writer);
    writer.note("user window");
    let mut axis = |size: i64| {
        let (k, s, d) = (writer.draw.from(1, 3), writer.draw.from(1, 3), writer.draw.from(1, 2));
        let p = writer.draw.from(0, (d * (k - 1)).min(2)); // So that no window lies outside.
        let free = size + 2 * p - d * (k - 1) - 1;
        (k, format!("{s}*#+{d}*%-{p}"), free / s + 1, free >= 0)
    };
    let ((k, rows, height, fits), (l, columns, width, also)) = (axis(h), axis(w));
    if !fits || !also {
        return;
    }
    let read = format!(
        "(x[n, c, {}, {}] else {fill})",
        rows.replace('#', "i").replace('%', "u"),
        columns.replace('#', "j").replace('%', "v")
    );
    let body = match (fill, writer.draw.chance(0.5)) {
        ("1", _) => format!("tanh({read})"),
        ("0" | "0.5", true) => function(writer, &read, 1),
        _ => read,
    };
    let name = writer.op(|name| {
        format!(
            "op {name}(x: f32[N, C, H, W]) -> y: f32[N, C, {height}, {width}] {{
  y[n, c, i, j] = {reduce}[u < {k}, v < {l}] {body};
}}"
        )
    });
    writer.define(&format!("{name}({})", x.name), vec![c, height, width]);
}

/// A sum of products with a trained tensor, its reads turned about.
fn contraction(writer: &mut Writer, x: &Tensor) {
    let [c, h, w] = x.shape[..] else { return };
    writer.note("user contraction");
    let (o, k) = (writer.draw.from(1, 5), writer.draw.from(1, w.min(3)));
    let channel = writer.draw.pick(&["c", "C-1-c"]);
    let row = writer.draw.pick(&["i", "H-1-i"]);
    let weight = writer.draw.pick(&["w[o, c, u]", "w[o, C-1-c, u]", "w[O-1-o, c, u] * w[o, c, 0]"]);
    let name = writer.op(|name| {
        format!(
            "op {name}(x: f32[N, C, H, W], w: f32[O, C, K]) -> y: f32[N, O, H, W-K+1] {{
  y[n, o, i, j] = sum[c < C, u < K] x[n, {channel}, {row}, j+u] * {weight};
}}
block with_{name}(x: f32[N, C, H, W]) {{
  param weight: f32[{o}, {c}, {k}] = uniform(-1, 1);
  {name}(x, weight)
}}"
        )
    });
    writer.define(&format!("{} |> with_{name}", x.name), vec![o, h, w - k + 1]);
}

/// A result in two pieces: rows of even and of odd number.
fn interleaved(writer: &mut Writer, x: &Tensor) {
    let [c, h, w] = x.shape[..] else { return };
    if 2 * c * h * w > LARGEST {
        return;
    }
    writer.note("user pieces");
    let body = function(writer, "x[n, c, h, w]", 1);
    let name = writer.op(|name| {
        format!(
            "op {name}(x: f32[N, C, H, W]) -> y: f32[N, C, 2*H, W] {{
  y[n, c, 2*h, w] = x[n, c, H-1-h, w];
  y[n, c, 2*h+1, w] = {body};
}}"
        )
    });
    writer.define(&format!("{name}({})", x.name), vec![c, 2 * h, w]);
}

/// Elements at other places: transposed, rolled, repeated, held at the border.
fn renamed(writer: &mut Writer, x: &Tensor) {
    let [c, h, w] = x.shape[..] else { return };
    writer.note("user index");
    let (shape, extents, read) = match writer.draw.from(0, 4) {
        0 => (vec![c, w, h], "N, C, W, H", "x[n, c, j, i]"),
        1 => (vec![c, h, w], "N, C, H, W", "x[n, c, i, (j+2) % W]"),
        2 => (vec![c, h, w], "N, C, H, W", "x[n, (c+1) % C, max(i-1, 0), min(j+1, W-1)]"),
        3 => (vec![h, c, w], "N, H, C, W", "x[n, i, c, W-1-j]"),
        _ if 4 * c * h * w <= LARGEST => (vec![c, 2 * h, 2 * w], "N, C, 2*H, 2*W", "x[n, c, i/2, j/2]"),
        _ => return,
    };
    let name = writer.op(|name| {
        format!(
            "op {name}(x: f32[N, C, H, W]) -> y: f32[{extents}] {{
  y[n, c, i, j] = 1.5*{read};
}}"
        )
    });
    writer.define(&format!("{name}({})", x.name), shape);
}

/// Intermediates that are read more than once: a mean, a spread and a shared exponential.
fn normalised(writer: &mut Writer, x: &Tensor) {
    writer.note("user intermediates");
    let over = writer.draw.pick(&["n, c", "n, h", "c, w"]);
    let bounds: Vec<&str> = ["n", "c", "h", "w"].into_iter().filter(|axis| !over.contains(axis)).collect();
    let inner: Vec<String> = bounds.iter().map(|axis| format!("{axis} < {}", axis.to_uppercase())).collect();
    let outer: Vec<String> =
        over.split(", ").map(|axis| format!("{axis} < {}", axis.to_uppercase())).collect();
    let (inner, outer) = (inner.join(", "), outer.join(", "));
    let name = writer.op(|name| {
        format!(
            "op {name}(x: f32[N, C, H, W]) -> y: f32[N, C, H, W] {{
  centre[{outer}] = mean[{inner}] x[n, c, h, w];
  spread[{outer}] = mean[{inner}] (x[n, c, h, w] - centre[{over}])*(x[n, c, h, w] - centre[{over}]);
  e[n < N, c < C, h < H, w < W] = exp(-abs(x[n, c, h, w] - centre[{over}]));
  total[{outer}] = sum[{inner}] e[n, c, h, w];
  y[n, c, h, w] = e[n, c, h, w] / total[{over}] + 0.5*(x[n, c, h, w] - centre[{over}])*rsqrt(spread[{over}] + 0.5);
}}"
        )
    });
    writer.define(&format!("{name}({})", x.name), x.shape.clone());
}

/// A sum over what comes before: an axis compared as a number.
fn running(writer: &mut Writer, x: &Tensor) {
    writer.note("user axis as number");
    let compare = writer.draw.pick(&["k <= j", "k < j + 1", "k != j", "k > j"]);
    let name = writer.op(|name| {
        format!(
            "op {name}(x: f32[N, C, H, W]) -> y: f32[N, C, H, W] {{
  y[n, c, i, j] = 0.5*(sum[k < W] if {compare} {{ x[n, c, i, k] }} else {{ 0 }});
}}"
        )
    });
    writer.define(&format!("{name}({})", x.name), x.shape.clone());
}

/// The same input read with three fills in one equation.
fn borders(writer: &mut Writer, x: &Tensor) {
    writer.note("user fills");
    let name = writer.op(|name| {
        format!(
            "op {name}(x: f32[N, C, H, W]) -> y: f32[N, C, H, W] {{
  y[n, c, i, j] = (x[n, c, i-1, j] else 0) + max((x[n, c, i, j+1] else -1.5), 0.25*(x[n, c, i+1, j-1] else 2));
}}"
        )
    });
    writer.define(&format!("{name}({})", x.name), x.shape.clone());
}

/// Random numbers an element, and random numbers a row of the batch.
fn random_mask(writer: &mut Writer, x: &Tensor) {
    writer.note("user uniform");
    let name = writer.op(|name| {
        format!(
            "op {name}(x: f32[N, C, H, W]) -> y: f32[N, C, H, W] {{
  row[n < N, i < H] = if uniform() < 0.5 {{ 0.5 }} else {{ 1.25 }};
  y[n, c, i, j] = x[n, c, i, j]*row[n, i] + (if uniform() < 0.25 {{ 0 }} else {{ x[n, c, i, j]*0.5 }});
}}"
        )
    });
    writer.define(&format!("{name}({})", x.name), x.shape.clone());
}

fn rows(writer: &mut Writer, x: &Tensor) {
    let [f] = x.shape[..] else { return };
    writer.note("user rows");
    let (reduce, _) = reduction(writer);
    let body = function(writer, "x[n, f]", 2);
    let name = writer.op(|name| {
        format!(
            "op {name}(x: f32[N, F]) -> y: f32[N, F] {{
  r[n < N] = {reduce}[f < F] {body};
  y[n, f] = x[n, f] + 0.25*r[n];
}}"
        )
    });
    writer.define(&format!("{name}({})", x.name), vec![f]);
}

/// Every element of a row with every other, weighted by a trained matrix, and over the batch.
fn mixed_rows(writer: &mut Writer, x: &Tensor) {
    let [f] = x.shape[..] else { return };
    writer.note("user outer product");
    let o = writer.draw.from(1, 6);
    let name = writer.op(|name| {
        format!(
            "op {name}(x: f32[N, F], w: f32[O, F]) -> y: f32[N, O] {{
  batch[f < F] = mean[n < N] x[n, f];
  y[n, o] = sum[f < F] (x[n, f] - 0.5*batch[f]) * w[o, f];
}}
block with_{name}(x: f32[N, F]) {{
  param weight: f32[{o}, {f}] = uniform(-1, 1);
  {name}(x, weight)
}}"
        )
    });
    writer.define(&format!("{} |> with_{name}", x.name), vec![o]);
}
