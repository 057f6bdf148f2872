//! The elementary functions against `f64`, in units in the last place of `f32`.

use std::collections::HashMap;

use super::interpreter::{self, BufferMemory, Fma};
use super::math::{Arithmetic, Emitter};
use super::verifier::verify;
use super::{Binary, Expr, Local, Stmt, Unary};
use crate::base::philox::RandomState;
use crate::testing::samples::{MAPPING_LANES as LANES, mapping};

/// The distance of a result from the exact value, in units in the last place of the value as `f32`.
fn ulps(actual: f32, exact: f64) -> f64 {
    if exact.is_nan() || actual.is_nan() {
        return if exact.is_nan() && actual.is_nan() { 0.0 } else { f64::INFINITY };
    }
    let rounded = exact as f32;
    if rounded == actual
        || (rounded.is_infinite() && actual.is_infinite() && actual.signum() == rounded.signum())
    {
        return 0.0;
    }
    let exponent = ((rounded.to_bits() >> 23) & 0xff).clamp(1, 254) as i32;
    let unit = 2.0_f64.powi(exponent - 127 - 23);
    // Beyond the largest number, one unit further would be 2^128.
    let bounded = |x: f64| x.clamp(-(2.0_f64.powi(128)), 2.0_f64.powi(128));
    (bounded(f64::from(actual)) - bounded(exact)).abs() / unit
}

/// Every `step`th `f32` from the bits of 0 on, of both signs, and the special ones.
fn samples(step: usize) -> Vec<f32> {
    let magnitudes = (0..=0x7f80_0000_u32).step_by(step).map(f32::from_bits);
    let dense = (-4_000..4_000).map(|k| k as f32 * 0.026);
    let special = [f32::INFINITY, f32::NAN, f32::MAX, f32::MIN_POSITIVE, 1.0, 0.625, 0.875, 4.0, 1e-45];
    let mut all: Vec<f32> = magnitudes.chain(special).flat_map(|x| [x, -x]).chain(dense).collect();
    all.resize(all.len().next_multiple_of(LANES as usize), 0.5);
    all
}

/// What code may rely on, and what becomes of it.
#[derive(Clone, Copy, Debug)]
struct Machine {
    arithmetic: Arithmetic,
    fma: Fma,
    /// Whether a compiler folds sums.
    folds: bool,
}

fn machines() -> [Machine; 6] {
    let [plain, fused] = [false, true].map(|fma| (Arithmetic::as_written(fma), Fma::Fused));
    let grid = Arithmetic::OF_GRID;
    let all = [plain, fused, (grid, Fma::Fused), (grid, Fma::Twice), (grid, Fma::Fused), (grid, Fma::Twice)];
    let numbered: [usize; 6] = std::array::from_fn(|at| at);
    numbered.map(|at| Machine { arithmetic: all[at].0, fma: all[at].1, folds: at >= 4 })
}

impl Machine {
    /// The results of a function of pairs.
    fn results(self, x: &[f32], y: &[f32], emit: &dyn Fn(&mut Emitter, Expr, Expr) -> Expr) -> Vec<f32> {
        let mut function = mapping(x.len(), self.arithmetic, emit);
        verify(&function).expect("a valid function");
        if self.folds {
            fold(&mut function.body, &mut HashMap::new());
            verify(&function).expect("a valid function");
        }
        let mut buffers: Vec<BufferMemory> =
            vec![x.to_vec().into(), y.to_vec().into(), vec![0.0; x.len()].into()];
        let state = RandomState::default();
        interpreter::run_with(&function, &mut buffers, state, self.fma).expect("runs");
        buffers[2].as_f32().expect("f32").to_vec()
    }
}

/// Folds sums as compilers do that take numbers for real ones, with what registers are known to hold.
fn fold(body: &mut [Stmt], known: &mut HashMap<Local, Expr>) {
    for stmt in body {
        match stmt {
            Stmt::For { body, .. } => fold(body, known),
            Stmt::Set { local, value } => {
                fold_expr(value, known);
                known.insert(*local, value.clone());
            }
            Stmt::Store { value, .. } => fold_expr(value, known),
            Stmt::If { .. } => unreachable!("functions do not branch"),
        }
    }
}

fn fold_expr(expr: &mut Expr, known: &HashMap<Local, Expr>) {
    expr.for_each_operand_mut(&mut |operand| fold_expr(operand, known));
    let behind = |x: &Expr| behind(x, known);
    let same = |x: &Expr, y: &Expr| behind(x) == behind(y);
    let negative = |x: Box<Expr>| Box::new(Expr::Unary(Unary::Neg, x));
    use Binary::{Add, Mul, Sub};
    let folded = match &*expr {
        Expr::Binary(Sub, a, b) => match (behind(a), behind(b)) {
            (Expr::Binary(Add, x, y), _) if same(&y, b) => Some(*x),
            (Expr::Binary(Add, x, y), _) if same(&x, b) => Some(*y),
            (Expr::Fma(x, y, z), _) if same(&z, b) => Some(Expr::Binary(Mul, x, y)),
            (Expr::Binary(Sub, x, y), _) if same(&x, b) => Some(*negative(y)),
            (_, Expr::Binary(Sub, x, y)) if same(a, &x) => Some(*y),
            (Expr::Binary(Mul, x, y), _) => Some(Expr::Fma(x, y, negative(b.clone()))),
            (_, Expr::Binary(Mul, x, y)) => Some(Expr::Fma(negative(x), y, a.clone())),
            _ => None,
        },
        Expr::Binary(Add, a, b) => match (behind(a), behind(b)) {
            (Expr::Binary(Sub, x, y), _) if same(&y, b) => Some(*x),
            (Expr::Binary(Mul, x, y), _) => Some(Expr::Fma(x, y, b.clone())),
            _ => None,
        },
        _ => None,
    };
    if let Some(folded) = folded {
        *expr = folded;
    }
}

/// What an expression is, where a register holds it.
fn behind(x: &Expr, known: &HashMap<Local, Expr>) -> Expr {
    match x {
        Expr::Local(local) => known.get(local).map_or_else(|| x.clone(), |x| behind(x, known)),
        x => x.clone(),
    }
}

/// Where nothing is fenced, such a compiler does harm.
#[test]
fn sums_without_fences_are_folded() {
    let x = vec![0.7; LANES as usize];
    let results = |arithmetic| {
        let machine = Machine { arithmetic, fma: Fma::Fused, folds: true };
        machine.results(&x, &x, &|emitter, x, _| emitter.exp(x, LANES))[0]
    };
    assert!(ulps(results(Arithmetic::OF_GRID), f64::from(0.7_f32).exp()) <= 2.0);
    assert!(ulps(results(Arithmetic::as_written(true)), f64::from(0.7_f32).exp()) > 1e4);
}

/// A function of one number is within `bound` units of the exact one on all machines.
#[track_caller]
fn check(bound: f64, emit: fn(&mut Emitter, Expr, u32) -> Expr, exact: fn(f64) -> f64) {
    check_at(samples(9_973), bound, emit, exact);
}

/// The same at some numbers.
#[track_caller]
fn check_at(mut x: Vec<f32>, bound: f64, emit: fn(&mut Emitter, Expr, u32) -> Expr, exact: fn(f64) -> f64) {
    x.resize(x.len().next_multiple_of(LANES as usize), 0.5);
    for machine in machines() {
        let results = machine.results(&x, &x, &|emitter, x, _| emit(emitter, x, LANES));
        let errors =
            x.iter().zip(&results).map(|(x, result)| (ulps(*result, exact(f64::from(*x))), *x, *result));
        let worst = errors.max_by(|a, b| a.0.total_cmp(&b.0)).expect("samples");
        println!("{machine:?}: {worst:?}");
        assert!(
            worst.0 <= bound,
            "{machine:?}: {} units at {:?}, which gives {:?}",
            worst.0,
            worst.1,
            worst.2
        );
    }
}

#[test]
fn exponential() {
    check(2.0, |emitter, x, lanes| emitter.exp(x, lanes), f64::exp);
}

#[test]
fn logarithm() {
    check(2.0, |emitter, x, lanes| emitter.log(x, lanes), f64::ln);
}

#[test]
fn exponential_minus_one() {
    check(2.0, |emitter, x, lanes| emitter.expm1(x, lanes), f64::exp_m1);
}

#[test]
fn logarithm_of_one_plus() {
    check(2.0, |emitter, x, lanes| emitter.log1p(x, lanes), f64::ln_1p);
}

/// Samples up to 1e5, and the numbers around multiples of a quarter turn, where most digits cancel.
fn angles() -> Vec<f32> {
    let quarters = (0..63_000).step_by(3).map(|k| (f64::from(k) * std::f64::consts::FRAC_PI_2) as f32);
    let around = quarters.flat_map(|x| [x.next_down(), x, -x.next_up()]);
    samples(9_973).into_iter().chain(around).filter(|x| x.abs() <= 1e5 || !x.is_finite()).collect()
}

#[test]
fn sine() {
    check_at(angles(), 2.0, |emitter, x, lanes| emitter.sin(x, lanes), f64::sin);
}

#[test]
fn cosine() {
    check_at(angles(), 2.0, |emitter, x, lanes| emitter.cos(x, lanes), f64::cos);
}

/// Where angles lie far apart the distance is no longer that of the last place, and then there is no number.
#[test]
fn large_angles() {
    let x: Vec<f32> = (0..64_000).map(|k| 1e5 + 64.01 * k as f32).chain([1e10, -1e30, f32::MAX]).collect();
    let x = [x.clone(), x.iter().map(|x| -x).collect()].concat();
    let x = [x.clone(), vec![0.0; x.len().next_multiple_of(LANES as usize) - x.len()]].concat();
    for machine in machines() {
        let sine = machine.results(&x, &x, &|emitter, x, _| emitter.sin(x, LANES));
        let cosine = machine.results(&x, &x, &|emitter, x, _| emitter.cos(x, LANES));
        for (x, (sine, cosine)) in x.iter().zip(sine.iter().zip(&cosine)) {
            if f64::from(x.abs()) >= crate::te::expr::LARGEST_ANGLE {
                assert!(sine.is_nan() && cosine.is_nan(), "{x}: {sine} {cosine}");
                continue;
            }
            let (s, c) = f64::from(*x).sin_cos();
            assert!((f64::from(*sine) - s).abs() <= 4e-6, "{machine:?}: sin({x}) is {sine}");
            assert!((f64::from(*cosine) - c).abs() <= 4e-6, "{machine:?}: cos({x}) is {cosine}");
        }
    }
}

/// Zero keeps its sign, subnormal numbers are the result, and the limits are those of IEEE 754, to the bit.
#[test]
fn limits_of_functions_of_small_numbers() {
    type Emit = fn(&mut Emitter, Expr, u32) -> Expr;
    let (nan, infinity) = (f32::NAN, f32::INFINITY);
    let tiny = [0.0, -0.0, 1e-45, -1e-45, f32::MIN_POSITIVE, -f32::MIN_POSITIVE, 1e-20].map(|x| (x, x));
    let expm1 = [(-infinity, -1.0), (infinity, infinity), (-1e30, -1.0), (89.0, infinity), (nan, nan)];
    let log1p = [(-1.0, -infinity), (-1.5, nan), (-infinity, nan), (infinity, infinity), (nan, nan)];
    let sin = [(infinity, nan), (-infinity, nan), (nan, nan)];
    type Case = (&'static str, Emit, Vec<(f32, f32)>);
    let cases: [Case; 3] = [
        ("expm1", |emitter, x, lanes| emitter.expm1(x, lanes), [&tiny[..], &expm1].concat()),
        ("log1p", |emitter, x, lanes| emitter.log1p(x, lanes), [&tiny[..], &log1p].concat()),
        ("sin", |emitter, x, lanes| emitter.sin(x, lanes), [&tiny[..], &sin].concat()),
    ];
    for (name, emit, mut cases) in cases {
        cases.resize(LANES as usize, (0.0, 0.0));
        let x: Vec<f32> = cases.iter().map(|(x, _)| *x).collect();
        for machine in machines() {
            let results = machine.results(&x, &x, &|emitter, x, _| emit(emitter, x, LANES));
            for ((x, expected), result) in cases.iter().zip(results) {
                let same = result.to_bits() == expected.to_bits() || (result.is_nan() && expected.is_nan());
                assert!(same, "{machine:?}: {name}({x:?}) is {result:?}, not {expected:?}");
            }
        }
    }
}

#[test]
fn hyperbolic_tangent() {
    check(3.0, |emitter, x, lanes| emitter.tanh(x, lanes), f64::tanh);
}

#[test]
fn logistic_function() {
    check(
        4.0,
        |emitter, x, lanes| emitter.sigmoid(x, lanes),
        |x| if x < 0.0 { x.exp() / (1.0 + x.exp()) } else { 1.0 / (1.0 + (-x).exp()) },
    );
}

#[test]
fn error_function() {
    check(3.0, |emitter, x, lanes| emitter.erf(x, lanes), exact_erf);
}

#[test]
fn reciprocal_square_root() {
    check(2.0, |emitter, x, lanes| emitter.rsqrt(x, lanes), |x| 1.0 / x.sqrt());
}

/// The series of the error function around 0, and the continued fraction of its complement from 2.5 on.
fn exact_erf(x: f64) -> f64 {
    let magnitude = x.abs();
    if x.is_nan() || magnitude > 6.0 {
        return if x.is_nan() { x } else { x.signum() };
    }
    if magnitude < 2.5 {
        let mut term = x;
        let mut sum = x;
        for n in 1..80 {
            term *= -x * x / f64::from(n);
            sum += term / f64::from(2 * n + 1);
        }
        return sum * std::f64::consts::FRAC_2_SQRT_PI;
    }
    let fraction = (1..60).rev().fold(magnitude, |tail, k| magnitude + f64::from(k) / 2.0 / tail);
    let complement = (-x * x).exp() / fraction / std::f64::consts::PI.sqrt();
    x.signum() * (1.0 - complement)
}

#[test]
fn powers() {
    let bases = [0.0, 1e-30, 0.01, 0.3, 0.7, 0.999, 1.0, 1.001, 1.5, 2.0, 3.0, 10.0, 77.7, 1e10, 1e30];
    let bases = bases.into_iter().chain([f32::INFINITY, f32::NAN]).flat_map(|x| [x, -x]);
    let exponents =
        [0.0, 0.1, 0.25, 0.5, 0.75, 1.0, 1.3, 2.0, 3.0, 4.5, 7.0, 20.0, 33.3, 1e10, f32::INFINITY];
    let exponents: Vec<f32> = exponents.into_iter().chain([f32::NAN]).flat_map(|y| [y, -y]).collect();
    let mut x: Vec<f32> = Vec::new();
    let mut y: Vec<f32> = Vec::new();
    for base in bases {
        for exponent in &exponents {
            // C gives 1 for -1 to the power NaN's opposite case only; here it is 1 too.
            if !(base == -1.0 && exponent.is_nan()) {
                x.push(base);
                y.push(*exponent);
            }
        }
    }
    x.resize(x.len().next_multiple_of(LANES as usize), 1.0);
    y.resize(x.len(), 1.0);
    for machine in machines() {
        let results = machine.results(&x, &y, &|emitter, x, y| emitter.pow(x, y, LANES));
        for ((x, y), result) in x.iter().zip(&y).zip(results) {
            let error = ulps(result, f64::from(*x).powf(f64::from(*y)));
            assert!(error <= 4.0, "{machine:?}: {x:?}^{y:?} is {result:?}, {error} units off");
        }
    }
}

#[test]
fn constant_powers() {
    let x = samples(99_991);
    for exponent in [0.0, 1.0, 2.0, 3.0, -1.0, -2.0, 0.5] {
        let power = Expr::Splat(Box::new(Expr::Float(exponent)), LANES);
        let emit = |emitter: &mut Emitter, x, _| emitter.pow(x, power.clone(), LANES);
        for (x, result) in x.iter().zip(machines()[1].results(&x, &x, &emit)) {
            let exact = f64::from(*x).powf(f64::from(exponent));
            // The square root of a negative infinity is no number, though its power is infinite.
            let error = if *x == f32::NEG_INFINITY { 0.0 } else { ulps(result, exact) };
            assert!(error <= 2.0, "{x:?}^{exponent} is {result:?}, {error} units off");
        }
    }
}
