//! Layers of the library with random options.

use super::{LARGEST, Tensor, Writer};

/// Every layer of pictures that is not one of the cases below, as it is called; those keep the shape.
const SAME_SHAPE: [&str; 18] = [
    "relu",
    "sigmoid",
    "tanh",
    "relu6",
    "leakyrelu(slope=0.1)",
    "elu",
    "gelu",
    "silu",
    "hardswish",
    "hardsigmoid",
    "softplus",
    "prelu",
    "softmax",
    "logsoftmax",
    "dropout(0.3)",
    "layernorm",
    "batchnorm",
    "dropout(1.0)",
];

/// Applies one layer to a tensor.
pub fn layer(writer: &mut Writer, x: &Tensor) {
    match x.shape.len() {
        1 => flat(writer, x),
        _ => picture(writer, x),
    }
}

fn apply(writer: &mut Writer, x: &Tensor, call: &str, shape: Vec<i64>) {
    if shape.iter().product::<i64>() <= LARGEST {
        writer.define(&format!("{} |> {call}", x.name), shape);
    }
}

fn flat(writer: &mut Writer, x: &Tensor) {
    match writer.draw.from(0, 9) {
        0..=2 => {
            let out = writer.draw.from(1, 9);
            let bias = if writer.option("linear bias=false", 0.3) { ", bias=false" } else { "" };
            apply(writer, x, &format!("linear({out}{bias})"), vec![out]);
        }
        3 => norm(writer, x),
        _ => same_shape(writer, x),
    }
}

fn same_shape(writer: &mut Writer, x: &Tensor) {
    let call = writer.draw.pick(&SAME_SHAPE);
    if call == "batchnorm" {
        return norm(writer, x);
    }
    apply(writer, x, call, x.shape.clone());
}

/// Normalisations, with all their options.
fn norm(writer: &mut Writer, x: &Tensor) {
    let few = writer.training && writer.batch * x.shape[1..].iter().product::<i64>() < 3;
    let kinds = if x.shape.len() == 3 { 6 } else { 3 };
    let call = match writer.draw.from(0, kinds - 1) {
        0 | 1 if few => return,
        0 => "batchnorm".to_owned(),
        1 => {
            writer.note("batchnorm options");
            "batchnorm(momentum=0.3, eps=0.01, affine=false)".to_owned()
        }
        2 => format!("layernorm(affine={})", writer.draw.chance(0.5)),
        3 => format!("groupnorm({})", divisor(writer, x.shape[0])),
        // Over a single value per channel it is an error in training.
        4 if x.shape[1..].iter().product::<i64>() > 1 => {
            format!("instancenorm(affine={})", writer.draw.chance(0.5))
        }
        _ => format!("lrn({}, alpha=0.3, k=2.0)", writer.draw.from(1, 4)),
    };
    apply(writer, x, &call, x.shape.clone());
}

fn divisor(writer: &mut Writer, of: i64) -> i64 {
    let divisors: Vec<i64> = (1..=of).filter(|divisor| of % divisor == 0).collect();
    writer.draw.pick(&divisors)
}

fn picture(writer: &mut Writer, x: &Tensor) {
    match writer.draw.from(0, 19) {
        0..=4 => conv(writer, x),
        5..=9 => pool(writer, x),
        10 | 11 => norm(writer, x),
        12 => global(writer, x),
        13 => depth(writer, x),
        14 => resize(writer, x),
        15 => {
            writer.note("dropout2d");
            apply(writer, x, "dropout2d(0.4)", x.shape.clone());
        }
        16 => apply(writer, x, "flatten", vec![x.shape.iter().product()]),
        17 => filter(writer, x),
        _ => same_shape(writer, x),
    }
}

/// A number, or a pair of different ones.
fn pair(writer: &mut Writer, low: i64, high: i64) -> ([i64; 2], String) {
    let (a, b) = (writer.draw.from(low, high), writer.draw.from(low, high));
    match writer.draw.chance(0.5) {
        true => ([a, a], a.to_string()),
        false => ([a, b], format!("[{a}, {b}]")),
    }
}

fn conv(writer: &mut Writer, x: &Tensor) {
    let [c, h, w] = x.shape[..] else { return };
    let (k, kernel) = pair(writer, 1, 3);
    let (mut s, mut d, mut p) = ([1, 1], [1, 1], [[0, 0], [0, 0]]);
    let mut call = String::new();
    if writer.option("conv dilation", 0.3) {
        let (dilation, text) = pair(writer, 1, 2);
        d = dilation;
        call += &format!(", dilation={text}");
    }
    if writer.option("conv pad same", 0.15) {
        let span = [d[0] * (k[0] - 1), d[1] * (k[1] - 1)];
        p = span.map(|span| [span / 2, span - span / 2]);
        call += ", pad=\"same\"";
    } else {
        if writer.option("conv stride", 0.5) {
            let (stride, text) = pair(writer, 1, 3);
            s = stride;
            call += &format!(", stride={text}");
        }
        if writer.option("conv pad per side", 0.2) {
            p = [0, 1].map(|_| [writer.draw.from(0, 2), writer.draw.from(0, 2)]);
            call += &format!(", pad={p:?}");
        } else if writer.option("conv pad", 0.5) {
            let (pad, text) = pair(writer, 0, 2);
            p = pad.map(|pad| [pad, pad]);
            call += &format!(", pad={text}");
        }
    }
    let groups = match writer.option("conv groups", 0.3) {
        true => divisor(writer, c),
        false => 1,
    };
    if groups > 1 {
        call += &format!(", groups={groups}");
    }
    if groups > 1 && groups == c {
        writer.note("conv depthwise");
    }
    if writer.option("conv bias=false", 0.2) {
        call += ", bias=false";
    }
    let out = groups * writer.draw.from(1, (6 / groups).max(1));
    let extent = |size: i64, at: usize| (size + p[at][0] + p[at][1] - d[at] * (k[at] - 1) - 1) / s[at] + 1;
    let fits = |size: i64, at: usize| size + p[at][0] + p[at][1] > d[at] * (k[at] - 1);
    if fits(h, 0) && fits(w, 1) {
        apply(writer, x, &format!("conv({out}, {kernel}{call})"), vec![out, extent(h, 0), extent(w, 1)]);
    }
}

fn pool(writer: &mut Writer, x: &Tensor) {
    let [c, h, w] = x.shape[..] else { return };
    let pools = ["maxpool", "avgpool", "maxpool", "avgpool", "sumpool", "minpool", "softmaxpool", "lppool"];
    let name = writer.draw.pick(&pools);
    let (k, kernel) = pair(writer, 1, 3);
    let (mut s, mut p) = (k, [0, 0]);
    let mut call = String::new();
    if writer.option("pool stride", 0.6) {
        let (stride, text) = pair(writer, 1, 3);
        s = stride;
        call += &format!(", stride={text}");
    }
    if writer.option("pool pad", 0.4) {
        p = [writer.draw.from(0, k[0] / 2), writer.draw.from(0, k[1] / 2)];
        call += &format!(", pad={p:?}");
    }
    let ceil = writer.option("pool ceil_mode", 0.3);
    if ceil {
        call += ", ceil_mode=true";
    }
    if name == "avgpool" && writer.option("avgpool count_include_pad=false", 0.5) {
        call += ", count_include_pad=false";
    }
    let extent = |size: i64, at: usize| {
        let free = size + 2 * p[at] - k[at];
        let floor = free / s[at] + 1;
        let up = if ceil { (free + s[at] - 1) / s[at] + 1 } else { floor };
        if ceil && (up - 1) * s[at] >= size + p[at] { up - 1 } else { up }
    };
    if h + 2 * p[0] >= k[0] && w + 2 * p[1] >= k[1] {
        apply(writer, x, &format!("{name}({kernel}{call})"), vec![c, extent(h, 0), extent(w, 1)]);
    }
}

fn global(writer: &mut Writer, x: &Tensor) {
    let [c, h, w] = x.shape[..] else { return };
    match writer.draw.from(0, 3) {
        0 => apply(writer, x, "globalavgpool", vec![c, 1, 1]),
        1 => apply(writer, x, "globalmaxpool", vec![c, 1, 1]),
        kind => {
            let size = [writer.draw.from(1, h), writer.draw.from(1, w)];
            let name = if kind == 2 { "adaptiveavgpool" } else { "adaptivemaxpool" };
            apply(writer, x, &format!("{name}({size:?})"), vec![c, size[0], size[1]]);
        }
    }
}

fn depth(writer: &mut Writer, x: &Tensor) {
    let [c, h, w] = x.shape[..] else { return };
    let name = writer.draw.pick(&["depthmaxpool", "depthavgpool"]);
    if writer.option("depth chunks", 0.4) {
        let chunks = writer.draw.from(1, c);
        let size = (c + chunks - 1) / chunks;
        return apply(writer, x, &format!("{name}(chunks={chunks})"), vec![(c + size - 1) / size, h, w]);
    }
    let g = divisor(writer, c);
    apply(writer, x, &format!("{name}({g})"), vec![c / g, h, w]);
}

fn resize(writer: &mut Writer, x: &Tensor) {
    let [c, h, w] = x.shape[..] else { return };
    match writer.draw.from(0, 3) {
        0 => {
            let (s, text) = pair(writer, 1, 2);
            apply(writer, x, &format!("upsample({text})"), vec![c, h * s[0], w * s[1]]);
        }
        1 => {
            let (s, text) = pair(writer, 1, 3);
            apply(writer, x, &format!("upsample({text}, mode=\"bilinear\")"), vec![c, h * s[0], w * s[1]]);
        }
        2 => {
            let p = [0, 1].map(|_| [writer.draw.from(0, 2), writer.draw.from(0, 2)]);
            let shape = vec![c, h + p[0][0] + p[0][1], w + p[1][0] + p[1][1]];
            apply(writer, x, &format!("pad({p:?}, value=0.5)"), shape);
        }
        _ => {
            let size = [writer.draw.from(1, h), writer.draw.from(1, w)];
            apply(writer, x, &format!("crop({size:?})"), vec![c, size[0], size[1]]);
        }
    }
}

fn filter(writer: &mut Writer, x: &Tensor) {
    let flip = writer.option("filter2d flip", 0.5);
    apply(writer, x, &format!("filter2d([[1, 2], [0, -1], [0.5, 1]], flip={flip})"), x.shape.clone());
}
