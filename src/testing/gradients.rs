//! Checks derived gradients against finite differences on the oracle.
//!
//! The gradient of `sum(w * y)` for fixed random weights `w` must equal the central difference quotient in every
//! element of every input. Inputs come from a coarse grid without ties, so that `max` and comparisons decide the same
//! on both sides of the difference.

use crate::base::philox::{RandomState, uniform};
use crate::te::adjoint::{Adjoint, Source, adjoint, with_winners};
use crate::te::interpreter::{Number, Values, run};
use crate::te::normalise::normalise;
use crate::te::program::{DType, Program, Tensor};

const STEP: f64 = 1e-5;
const STATE: RandomState = RandomState { seed: 42, step: 3 };

/// Compares the derived gradients of all `f32` inputs with finite differences.
///
/// # Errors
///
/// The first element that differs, in words.
pub fn check(program: &Program) -> Result<(), String> {
    check_with(program, &mut |_| {})
}

/// The same, with the derived program changed by `plant` first: how the checker itself is tested.
pub fn check_with(program: &Program, plant: &mut dyn FnMut(&mut Program)) -> Result<(), String> {
    let mut forward = program.clone();
    normalise(&mut forward);
    let winners = with_winners(&mut forward);
    let outputs: Vec<Tensor> = forward
        .outputs
        .iter()
        .copied()
        .filter(|output| forward.tensors[*output].dtype == DType::F32)
        .collect();
    let mut values = random_inputs(&forward);
    run(&forward, &mut values, STATE);
    for input in forward.inputs.clone() {
        if forward.tensors[input].dtype != DType::F32 {
            continue;
        }
        let mut derived = adjoint(&forward, &winners, &outputs, input);
        if let Some(derived) = &mut derived {
            plant(&mut derived.program);
        }
        let gradient = match &derived {
            Some(derived) => evaluate(derived, &values, &forward),
            None => vec![0.0; forward.tensors[input].len()],
        };
        compare(&forward, &outputs, &values, input, &gradient)?;
    }
    Ok(())
}

/// Values a little above `k/32`, each by another amount, so that neither they nor their differences are equal.
fn random_inputs(program: &Program) -> Values {
    inputs(program, |dtype, number, element| {
        let draw = f64::from(uniform(STATE, number, element));
        match dtype {
            DType::F32 => {
                let apart = f64::from(uniform(STATE, 500 + number, element));
                ((draw * 64.0).floor() - 31.5) / 32.0 + apart * 0.02
            }
            DType::I32 | DType::U8 | DType::Bool => (draw * 2.0).floor(),
        }
    })
}

/// Values of all inputs of a program: each element by its type, the number of its input, and its own.
pub fn inputs(program: &Program, value: impl Fn(DType, u32, u32) -> f64) -> Values {
    let mut values = Values::new();
    for (number, input) in program.inputs.iter().enumerate() {
        let data = &program.tensors[*input];
        let elements = 0..data.len() as u32;
        let elements = elements.map(|element| value(data.dtype, number as u32, element));
        values[*input] = elements.map(Number::from).collect();
    }
    values
}

/// The weight of an element of an output in the scalar that is differentiated.
fn weight(output: usize, element: usize) -> f64 {
    f64::from(uniform(STATE, 1000 + output as u32, element as u32)) - 0.5
}

fn scalar(program: &Program, outputs: &[Tensor], values: &Values) -> f64 {
    let mut sum = 0.0;
    for (number, output) in outputs.iter().enumerate() {
        let _ = program;
        sum += values[*output].iter().enumerate().map(|(k, y)| weight(number, k) * y.value).sum::<f64>();
    }
    sum
}

fn evaluate(derived: &Adjoint, values: &Values, forward: &Program) -> Vec<f64> {
    let mut own = Values::new();
    for (input, source) in derived.program.inputs.iter().zip(&derived.sources) {
        own[*input] = match source {
            Source::Forward(tensor) => values[*tensor].clone(),
            Source::Gradient(of) => {
                let number = forward.outputs.iter().filter(|o| forward.tensors[**o].dtype == DType::F32);
                let number = number.clone().position(|output| output == of).unwrap_or(0);
                (0..forward.tensors[*of].len()).map(|k| Number::from(weight(number, k))).collect()
            }
        };
    }
    run(&derived.program, &mut own, STATE);
    own[derived.program.outputs[0]].iter().map(|number| number.value).collect()
}

fn compare(
    forward: &Program,
    outputs: &[Tensor],
    values: &Values,
    input: Tensor,
    gradient: &[f64],
) -> Result<(), String> {
    for (element, derived) in gradient.iter().enumerate() {
        let side = |offset: f64| {
            let mut moved = values.clone();
            moved[input][element] = Number::from(values[input][element].value + offset);
            run(forward, &mut moved, STATE);
            scalar(forward, outputs, &moved)
        };
        let quotient = (side(STEP) - side(-STEP)) / (2.0 * STEP);
        let is_close = quotient.is_finite() && (quotient - derived).abs() <= 1e-5 * (1.0 + quotient.abs());
        if !is_close {
            let name = &forward.tensors[input].name;
            return Err(format!("d_{name}[{element}]: derived {derived}, finite difference {quotient}"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::te::{Binary, Expr, Index, Reduction, Unary};

    struct Conv {
        size: i64,
        kernel: i64,
        stride: i64,
        dilation: i64,
        pad: i64,
    }

    /// `y[o, i] = sum[c, u] x[c, s*i + d*u - p] * w[o, c, u]`, the fill being 0, on one spatial axis.
    fn conv(options: &Conv) -> Program {
        let Conv { size, kernel, stride, dilation, pad } = *options;
        let mut p = Program::default();
        let out = (size + 2 * pad - dilation * (kernel - 1) - 1) / stride + 1;
        let (x, w) = (p.input("x", DType::F32, vec![2, size]), p.input("w", DType::F32, vec![3, 2, kernel]));
        let (o, i, c, u) = (p.axis("o", 3), p.axis("i", out), p.axis("c", 2), p.axis("u", kernel));
        let at = Index::from(i).scale(stride).add(&Index::from(u).scale(dilation), &p.axes).offset(-pad);
        let image = Expr::Read { tensor: x, index: vec![c.into(), at], fill: Some(0.0.into()) };
        let image = p.exprs.add(image);
        let weight = p.exprs.read(w, vec![o.into(), c.into(), u.into()]);
        let product = p.exprs.binary(Binary::Mul, image, weight);
        let body = p.exprs.reduce(Reduction::Sum, vec![c, u], product);
        let y = p.tensor("y", DType::F32, vec![3, out]);
        p.define(y, vec![o, i], body);
        p.outputs.push(y);
        p
    }

    /// `y[i] = op[u < k] x[s*i + u - p]`, filled by the neutral element.
    fn pool(op: Reduction, size: i64, k: i64, s: i64, pad: i64) -> Program {
        let mut p = Program::default();
        let out = (size + 2 * pad - k) / s + 1;
        let x = p.input("x", DType::F32, vec![size]);
        let (i, u) = (p.axis("i", out), p.axis("u", k));
        let at = Index::from(i).scale(s).add(&Index::from(u), &p.axes).offset(-pad);
        let fill = match op {
            Reduction::Max | Reduction::ArgMax => f64::NEG_INFINITY,
            Reduction::Min | Reduction::ArgMin => f64::INFINITY,
            Reduction::Sum => 0.0,
            Reduction::Prod => 1.0,
        };
        let read = p.exprs.add(Expr::Read { tensor: x, index: vec![at], fill: Some(fill.into()) });
        let body = p.exprs.reduce(op, vec![u], read);
        let y = p.tensor("y", DType::F32, vec![out]);
        p.define(y, vec![i], body);
        p.outputs.push(y);
        p
    }

    #[test]
    fn convolutions() {
        for kernel in 1..5 {
            for stride in 1..4 {
                for dilation in 1..4 {
                    for pad in 0..3 {
                        let options = Conv { size: 11, kernel, stride, dilation, pad };
                        let what = format!("k={kernel} s={stride} d={dilation} p={pad}");
                        assert_eq!(check(&conv(&options)), Ok(()), "{what}");
                    }
                }
            }
        }
    }

    #[test]
    fn poolings() {
        for op in [Reduction::Max, Reduction::Min, Reduction::Sum, Reduction::Prod] {
            for (k, s, pad) in [(2, 2, 0), (3, 2, 1), (2, 3, 0), (3, 1, 1), (1, 2, 0), (4, 3, 2)] {
                assert_eq!(check(&pool(op, 11, k, s, pad)), Ok(()), "{op:?} k={k} s={s} p={pad}");
            }
        }
    }

    /// A softmax over the last axis: nested reductions, a quotient, a shared exponential.
    #[test]
    fn softmax() {
        let mut p = Program::default();
        let x = p.input("x", DType::F32, vec![2, 5]);
        let (n, c, k, l) = (p.axis("n", 2), p.axis("c", 5), p.axis("k", 5), p.axis("l", 5));
        let read = p.exprs.read(x, vec![n.into(), k.into()]);
        let largest = p.exprs.reduce(Reduction::Max, vec![k], read);
        let shifted = |p: &mut Program, axis: crate::te::Axis| {
            let read = p.exprs.read(x, vec![n.into(), axis.into()]);
            let shifted = p.exprs.binary(Binary::Sub, read, largest);
            p.exprs.unary(Unary::Exp, shifted)
        };
        let (above, term) = (shifted(&mut p, c), shifted(&mut p, l));
        let below = p.exprs.reduce(Reduction::Sum, vec![l], term);
        let body = p.exprs.binary(Binary::Div, above, below);
        let y = p.tensor("y", DType::F32, vec![2, 5]);
        p.define(y, vec![n, c], body);
        p.outputs.push(y);
        assert_eq!(check(&p), Ok(()));
    }

    /// A flatten (digits), a diagonal and a reversed read.
    #[test]
    fn unusual_reads() {
        let mut p = Program::default();
        let x = p.input("x", DType::F32, vec![3, 4]);
        let z = p.input("z", DType::F32, vec![3, 3]);
        let j = p.axis("j", 12);
        let (high, low) = (Index::from(j).div(4, &p.axes), Index::from(j).rem(4, &p.axes));
        let flat = p.exprs.read(x, vec![high.clone(), low.clone()]);
        let reversed = p.exprs.read(x, vec![high.scale(-1).offset(2), low.scale(-1).offset(3)]);
        let diagonal = p.exprs.read(z, vec![high.clone(), high]);
        let product = p.exprs.binary(Binary::Mul, flat, reversed);
        let body = p.exprs.binary(Binary::Mul, product, diagonal);
        let y = p.tensor("y", DType::F32, vec![12]);
        p.define(y, vec![j], body);
        p.outputs.push(y);
        assert_eq!(check(&p), Ok(()));
    }

    #[test]
    fn what_is_not_finite_is_refused() {
        let program = pool(Reduction::Sum, 5, 2, 1, 0);
        for wrong in [f64::NAN, f64::INFINITY] {
            let mut spoil_one = |derived: &mut Program| {
                let piece = derived.equations[0].pieces[0].clone();
                let first = derived.exprs.add(Expr::Number(Index::from(piece.axes[0])));
                let (zero, wrong) = (derived.exprs.constant(0.0), derived.exprs.constant(wrong));
                let is_first = derived.exprs.binary(Binary::Eq, first, zero);
                derived.equations[0].pieces[0].body = derived.exprs.select(is_first, wrong, piece.body);
            };
            assert!(check_with(&program, &mut spoil_one).is_err(), "{wrong}");
        }
        // A difference quotient that is infinite proves nothing.
        let mut p = Program::default();
        let x = p.input("x", DType::F32, vec![2]);
        let i = p.axis("i", 2);
        let read = p.exprs.read(x, vec![i.into()]);
        let huge = p.exprs.constant(1e308);
        let body = p.exprs.binary(Binary::Mul, read, huge);
        let huge = p.exprs.constant(1e10);
        let body = p.exprs.binary(Binary::Mul, body, huge);
        let y = p.tensor("y", DType::F32, vec![2]);
        p.define(y, vec![i], body);
        p.outputs.push(y);
        assert!(check(&p).is_err());
    }

    #[test]
    fn a_planted_fault_is_found() {
        let program = conv(&Conv { size: 9, kernel: 3, stride: 2, dilation: 1, pad: 1 });
        let mut shift_a_tap = |derived: &mut Program| {
            let piece = derived.equations[0].pieces.last().cloned();
            let Some(mut piece) = piece else { return };
            let two = derived.exprs.constant(1.25);
            piece.body = derived.exprs.product(piece.body, two);
            if let Some(last) = derived.equations[0].pieces.last_mut() {
                *last = piece;
            }
        };
        assert!(check_with(&program, &mut shift_a_tap).is_err());
    }
}
