//! What a data section does to pictures: the steps of `prepare` and `augment`.
//!
//! Steps are joined by `|>` and done in the order in which they are written. Those that work on pixels come before those
//! that work on numbers.

use std::fmt;

use super::call::Values;
use super::settings::as_call;
use crate::base::diagnostic::Diagnostic;
use crate::elab::Outcome;
use crate::elab::evaluate::at;
use crate::elab::foreign;
use crate::syntax::ast::{Call, Expr, ExprKind};

/// The most pixels of a side.
const LONGEST_SIDE: i64 = 8192;
const SIDES: [i64; 2] = [1, LONGEST_SIDE];
const PROBABILITY: [f64; 2] = [0.0, 1.0];
const DEGREES: [f64; 2] = [-360.0, 360.0];
/// A shear of a right angle has no picture.
const SHEAR: [f64; 2] = [-89.0, 89.0];
const FACTOR: [f64; 2] = [0.0, 1000.0];
/// Smaller ones mix nothing, larger ones always by halves.
const ALPHA: [f64; 2] = [1e-3, 1e3];

const PREPARES: [&str; 5] = ["resize", "centercrop", "grayscale", "scale", "normalize"];
const AUGMENTS: [&str; 9] =
    ["crop", "hflip", "vflip", "rotate", "affine", "colorjitter", "erase", "mixup", "cutmix"];

/// What is done to every sample.
#[derive(Clone, Debug, PartialEq)]
pub enum Prepare {
    /// Pixels: to a size.
    Resize { height: usize, width: usize },
    /// Pixels: the middle of a size.
    CenterCrop { height: usize, width: usize },
    /// Pixels: to one channel.
    Grayscale,
    /// Numbers, which arrive as 0 to 1: a product with this factor.
    Scale(f64),
    /// Numbers: `(x - mean) / std`, by channel, or with one number for all.
    Normalize { mean: Vec<f64>, std: Vec<f64> },
}

impl Prepare {
    /// Steps as a data section says them; empty for none.
    pub fn text(steps: &[Prepare]) -> String {
        let steps: Vec<String> = steps.iter().map(Prepare::to_string).collect();
        steps.join(" |> ")
    }
}

impl fmt::Display for Prepare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Prepare::Resize { height, width } => write!(f, "resize({height}, {width})"),
            Prepare::CenterCrop { height, width } => write!(f, "centercrop({height}, {width})"),
            Prepare::Grayscale => f.write_str("grayscale"),
            Prepare::Scale(factor) => write!(f, "scale({factor})"),
            Prepare::Normalize { mean, std } => write!(f, "normalize({mean:?}, {std:?})"),
        }
    }
}

/// What is done to training samples at random. Pairs of `f64` are intervals but for `translate`.
#[derive(Clone, Debug, PartialEq)]
pub enum Augment {
    Crop {
        size: [usize; 2],
        pad: [usize; 2],
    },
    FlipHorizontally {
        p: f64,
    },
    FlipVertically {
        p: f64,
    },
    Rotate {
        degrees: [f64; 2],
    },
    /// `translate` is the largest share of the width and of the height.
    Affine {
        degrees: [f64; 2],
        translate: [f64; 2],
        scale: [f64; 2],
        shear: [f64; 2],
    },
    /// None where a property stays as it is.
    ColorJitter {
        brightness: Option<[f64; 2]>,
        contrast: Option<[f64; 2]>,
        saturation: Option<[f64; 2]>,
    },
    Erase {
        p: f64,
    },
    /// Of the images of a batch and their labels, by shares from a beta distribution: sums.
    MixUp {
        alpha: f64,
    },
    /// Of the images of a batch and their labels, by shares from a beta distribution: rectangles.
    CutMix {
        alpha: f64,
    },
}

impl Augment {
    /// Whether images have parts of others, and so two labels.
    pub fn mixes(&self) -> bool {
        matches!(self, Augment::MixUp { .. } | Augment::CutMix { .. })
    }
}

/// The value of `prepare`.
pub(super) fn prepare(expr: &Expr) -> Outcome<Vec<Prepare>> {
    let steps = pipeline(expr, "a step such as normalize(0.5, 0.5)", prepare_step)?;
    let is_late = |step: &Prepare| matches!(step, Prepare::Scale(_) | Prepare::Normalize { .. });
    in_order(&steps, is_late, "works on pixels")?;
    Ok(steps.into_iter().map(|(_, step)| step).collect())
}

/// The value of `augment`.
pub(super) fn augment(expr: &Expr) -> Outcome<Vec<Augment>> {
    let steps = pipeline(expr, "a step such as hflip(0.5)", augment_step)?;
    let is_late = |step: &Augment| step.mixes() || matches!(step, Augment::Erase { .. });
    in_order(&steps, is_late, "moves pixels or changes their colour")?;
    in_order(&steps, Augment::mixes, "works on single images")?;
    let mut mixing = steps.iter().filter(|(_, step)| step.mixes()).map(|(call, _)| &call.callee);
    if let (Some(first), Some(second)) = (mixing.next(), mixing.next()) {
        let message =
            format!("`{}` mixes what is already mixed, and an image has at most two labels", second.text);
        return Err(at(message, second.span).secondary(first.span, "it is mixed here"));
    }
    Ok(steps.into_iter().map(|(_, step)| step).collect())
}

/// The steps of `a(...) |> b(...)` in the order in which they are done; none of `[]`.
fn pipeline<T>(expr: &Expr, wanted: &str, read: impl Fn(&Call) -> Outcome<T>) -> Outcome<Vec<(Call, T)>> {
    if matches!(&expr.kind, ExprKind::List(items) if items.is_empty()) {
        return Ok(Vec::new());
    }
    let (mut calls, mut rest) = (Vec::new(), expr);
    while let ExprKind::Pipe { value, call } = &rest.kind {
        calls.push(call.clone());
        rest = value;
    }
    calls.push(as_call(rest, wanted)?);
    calls.reverse();
    calls.into_iter().map(|call| read(&call).map(|step| (call, step))).collect()
}

/// An error where a step that is not late comes after one that is.
fn in_order<T>(steps: &[(Call, T)], is_late: impl Fn(&T) -> bool, why: &str) -> Outcome<()> {
    let mut last = None;
    for (call, step) in steps {
        match last {
            _ if is_late(step) => last = Some(&call.callee),
            None => {}
            Some(late) => {
                let name = &call.callee.text;
                let message = format!("`{name}` {why}, so it comes before `{}`", late.text);
                return Err(at(message, call.callee.span).secondary(late.span, "it comes after this"));
            }
        }
    }
    Ok(())
}

fn unknown(call: &Call, known: &[&str]) -> Diagnostic {
    let name = call.callee.text.as_str();
    let error = at(format!("unknown step `{name}`"), call.callee.span);
    let error = error.note(format!("the steps are {}", known.join(", ")));
    foreign::suggest(error, foreign::STEPS, name, known.iter().copied())
}

fn prepare_step(call: &Call) -> Outcome<Prepare> {
    match call.callee.text.as_str() {
        "resize" => size(call).map(|[height, width]| Prepare::Resize { height, width }),
        "centercrop" => size(call).map(|[height, width]| Prepare::CenterCrop { height, width }),
        "grayscale" => Values::new(call, &[]).map(|_| Prepare::Grayscale),
        "scale" => {
            let values = Values::new(call, &["x"])?;
            let factor = values.number("x", [-1e6, 1e6])?;
            Ok(Prepare::Scale(values.required("x", factor)?))
        }
        "normalize" => normalize(call),
        _ => Err(unknown(call, &PREPARES)),
    }
}

fn size(call: &Call) -> Outcome<[usize; 2]> {
    let values = Values::new(call, &["h", "w"])?;
    let side = |name| values.required(name, values.integer(name, SIDES)?).map(|side| side as usize);
    Ok([side("h")?, side("w")?])
}

fn normalize(call: &Call) -> Outcome<Prepare> {
    let values = Values::new(call, &["mean", "std"])?;
    let numbers = |name| values.required(name, values.numbers(name)?);
    let (mean, std) = (numbers("mean")?, numbers("std")?);
    if mean.len() != std.len() {
        let message = format!("`normalize` has {} means and {} deviations", mean.len(), std.len());
        return Err(at(message, call.callee.span));
    }
    if std.contains(&0.0) {
        return Err(at("`normalize` divides by a deviation of 0", call.callee.span));
    }
    Ok(Prepare::Normalize { mean, std })
}

fn augment_step(call: &Call) -> Outcome<Augment> {
    let probability = || {
        let values = Values::new(call, &["p"])?;
        Ok(values.number("p", PROBABILITY)?.unwrap_or(0.5))
    };
    match call.callee.text.as_str() {
        "crop" => crop(call),
        "hflip" if !planted!("elab.config.flip") => probability().map(|p| Augment::FlipHorizontally { p }),
        "hflip" | "vflip" => probability().map(|p| Augment::FlipVertically { p }),
        "rotate" => {
            let values = Values::new(call, &["deg"])?;
            let degrees = values.interval("deg", DEGREES, both_ways)?;
            Ok(Augment::Rotate { degrees: values.required("deg", degrees)? })
        }
        "affine" => affine(call),
        "colorjitter" => color_jitter(call),
        "erase" => probability().map(|p| Augment::Erase { p }),
        "mixup" => Ok(Augment::MixUp { alpha: alpha(call)? }),
        "cutmix" => Ok(Augment::CutMix { alpha: alpha(call)? }),
        _ => Err(unknown(call, &AUGMENTS)),
    }
}

/// The parameter of a beta distribution.
fn alpha(call: &Call) -> Outcome<f64> {
    let values = Values::new(call, &["a"])?;
    values.required("a", values.number("a", ALPHA)?)
}

fn both_ways(most: f64) -> [f64; 2] {
    [-most, most]
}

fn crop(call: &Call) -> Outcome<Augment> {
    let values = Values::new(call, &["size", "pad"])?;
    let size = values.required("size", values.integers("size", SIDES, true)?)?;
    let pad = values.required("pad", values.integers("pad", [0, LONGEST_SIDE], true)?)?;
    Ok(Augment::Crop { size, pad })
}

fn affine(call: &Call) -> Outcome<Augment> {
    let values = Values::new(call, &["deg", "translate", "scale", "shear"])?;
    let degrees = values.required("deg", values.interval("deg", DEGREES, both_ways)?)?;
    let translate = values.pair("translate", [0.0, 1.0])?.unwrap_or([0.0; 2]);
    let scale = values.interval("scale", [0.01, 100.0], |scale| [scale; 2])?.unwrap_or([1.0; 2]);
    let shear = values.interval("shear", SHEAR, both_ways)?.unwrap_or([0.0; 2]);
    Ok(Augment::Affine { degrees, translate, scale, shear })
}

fn color_jitter(call: &Call) -> Outcome<Augment> {
    let values = Values::new(call, &["brightness", "contrast", "saturation"])?;
    let around_one = |by: f64| [(1.0 - by).max(0.0), 1.0 + by];
    let interval = |name| {
        let interval = values.interval(name, FACTOR, around_one)?;
        Ok(interval.filter(|interval| *interval != [1.0, 1.0]))
    };
    let (brightness, contrast) = (interval("brightness")?, interval("contrast")?);
    let saturation = interval("saturation")?;
    if [brightness, contrast, saturation] == [None; 3] {
        let message = "`colorjitter` changes nothing; give brightness, contrast or saturation";
        return Err(at(message, call.callee.span));
    }
    Ok(Augment::ColorJitter { brightness, contrast, saturation })
}
