//! Elementary functions as loop IR: polynomials and bit operations, never the C library.
//!
//! An [`Emitter`] appends the `Set` statements of a function's steps and returns its result, so the interpreter and
//! every back end compute the same bits. All are within 4 units in the last place of `f32` over their whole range,
//! with the limits of IEEE 754: infinities, NaN, signed zero, overflow and gradual underflow.
//!
//! The polynomials are minimax fits (Remez) in powers of the reduced argument; the series of the logarithm is that of
//! the inverse hyperbolic tangent.

mod circle;
mod small;
mod terms;

use super::{Binary, Expr, Function, Local, LocalData, Scalar, Stmt, Type, Unary};
use terms::{add, and, binary, boxed, compare, constant, div, mul, or, select, sub, unary};

/// What the steps of a function may rely on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arithmetic {
    /// Whether `Fma` is used at all.
    pub fma: bool,
    /// Whether it surely rounds once, so that it gives what a product lost.
    pub exact: bool,
    /// Whether what compiles the loops may rearrange sums, so that those which are computed to be rounded are fenced.
    pub fenced: bool,
}

impl Arithmetic {
    /// That of code which computes what is written.
    pub fn as_written(fma: bool) -> Arithmetic {
        Arithmetic { fma, exact: fma, fenced: false }
    }

    /// That of a machine which may round `Fma` twice, and whose compiler is another's.
    pub const OF_GRID: Arithmetic = Arithmetic { fma: true, exact: false, fenced: true };
}

/// Writes steps behind a list of statements.
pub struct Emitter<'a> {
    function: &'a mut Function,
    out: &'a mut Vec<Stmt>,
    arithmetic: Arithmetic,
    lanes: u32,
}

const LOG2_E: f32 = std::f32::consts::LOG2_E;
/// The upper bits of ln 2: an exact product with any exponent of an `f32`.
const LN2_HIGH: f32 = 355.0 / 512.0;
const LN2_LOW: f32 = (std::f64::consts::LN_2 - LN2_HIGH as f64) as f32;
/// A sum with it is rounded to a whole number, which its last bits then hold; 254 more of it, the biases of the exponents
/// of two factors.
const ROUNDER: f32 = 12_582_912.0 + 254.0;
/// The bits of the square root of 1/2, where the logarithm splits mantissas.
const SQRT_HALF_BITS: i32 = 0x3f35_04f3;
/// All bits but the sign.
const MAGNITUDE: i32 = i32::MAX;
const SIGN: i32 = i32::MIN;

/// `(e^r - 1 - r) / r^2` for `|r| <= ln 2 / 2`, within 2^-28 of `e^r`.
const EXP: [f32; 5] = [0.5, 1.666_652e-1, 4.166_620_6e-2, 8.368_908e-3, 1.395_052_5e-3];
/// `(atanh(s) / s - 1) / s^2` in powers of `s^2`.
const ATANH: [f32; 4] = [1.0 / 3.0, 1.0 / 5.0, 1.0 / 7.0, 1.0 / 9.0];
/// `(tanh(x) / x - 1) / x^2` in powers of `x^2` for `|x| < 5/8`.
const TANH: [f32; 5] = [-3.333_328_4e-1, 1.333_149_4e-1, -5.374_37e-2, 2.065_118_2e-2, -5.717_657e-3];
/// `erf(x) / x - 1` in powers of `x^2` for `|x| < 7/8`.
const ERF_SMALL: [f32; 6] =
    [1.283_791_6e-1, -3.761_255_5e-1, 1.128_249_7e-1, -2.679_282e-2, 5.033_967e-3, -6.211_366e-4];
/// `-ln(1 - erf(x))` for `7/8 <= x <= 4`.
const ERF_LARGE: [f32; 7] = [
    1.380_195_8e-4,
    1.127_915_7,
    6.367_753e-1,
    1.042_909_4e-1,
    -2.240_109e-2,
    3.087_127_4e-3,
    -2.004_339_5e-4,
];

/// A number and what rounding it lost.
struct Pair {
    high: Expr,
    low: Expr,
}

impl<'a> Emitter<'a> {
    /// An emitter of steps behind `out`.
    pub fn new(function: &'a mut Function, out: &'a mut Vec<Stmt>, arithmetic: Arithmetic) -> Emitter<'a> {
        Emitter { function, out, arithmetic, lanes: 1 }
    }

    /// `e^x`.
    pub fn exp(&mut self, x: Expr, lanes: u32) -> Expr {
        self.lanes = lanes;
        let x = self.bind(x);
        let zero = self.float(0.0);
        self.exp_of_pair(Pair { high: x, low: zero })
    }

    /// The natural logarithm.
    pub fn log(&mut self, x: Expr, lanes: u32) -> Expr {
        self.lanes = lanes;
        let x = self.bind(x);
        let Pair { high, low } = self.log_of_magnitude(&x);
        let sum = add(high, low);
        let sum = self.bind(sum);
        let zero = self.float(0.0);
        let nan = self.float(f32::NAN);
        let negative = compare(Binary::Lt, x, zero);
        self.bind(select(negative, nan, sum))
    }

    /// The hyperbolic tangent.
    pub fn tanh(&mut self, x: Expr, lanes: u32) -> Expr {
        self.lanes = lanes;
        let x = self.bind(x);
        let magnitude = self.bind(unary(Unary::Abs, x.clone()));
        let large = {
            let power = self.exp(add(magnitude.clone(), magnitude.clone()), lanes);
            let (one, two) = (self.float(1.0), self.float(2.0));
            let large = sub(one.clone(), div(two, add(power, one)));
            let signed = self.with_sign_of(large, &x);
            self.bind(signed)
        };
        let square = self.bind(mul(x.clone(), x.clone()));
        let series = self.polynomial(&square, &TANH);
        let series = self.bind(mul(series, square));
        let small = self.mul_add(x.clone(), series, x);
        let is_large = compare(Binary::Gt, magnitude, self.float(0.625));
        self.bind(select(is_large, large, small))
    }

    /// `1 / (1 + e^-x)`, as `e^x / (1 + e^x)` for negative `x`, which keeps its small values.
    pub fn sigmoid(&mut self, x: Expr, lanes: u32) -> Expr {
        self.lanes = lanes;
        let x = self.bind(x);
        let magnitude = unary(Unary::Abs, x.clone());
        let (high, low) = (self.bind(unary(Unary::Neg, magnitude)), self.float(0.0));
        let power = self.exp_below(Pair { high, low });
        let (zero, one) = (self.float(0.0), self.float(1.0));
        let negative = compare(Binary::Lt, x, zero);
        let numerator = select(negative, power.clone(), one.clone());
        self.bind(div(numerator, add(one, power)))
    }

    /// The error function.
    pub fn erf(&mut self, x: Expr, lanes: u32) -> Expr {
        self.lanes = lanes;
        let x = self.bind(x);
        let magnitude = self.bind(unary(Unary::Abs, x.clone()));
        let large = {
            let four = self.float(4.0);
            let inside = compare(Binary::Lt, magnitude.clone(), four.clone());
            let clamped = self.bind(select(inside, magnitude.clone(), four));
            let exponent = self.polynomial(&clamped, &ERF_LARGE);
            let (high, low) = (self.bind(unary(Unary::Neg, exponent)), self.float(0.0));
            let complement = self.exp_below(Pair { high, low });
            let large = sub(self.float(1.0), complement);
            let signed = self.with_sign_of(large, &x);
            self.bind(signed)
        };
        let square = self.bind(mul(x.clone(), x.clone()));
        let series = self.polynomial(&square, &ERF_SMALL);
        let small = self.mul_add(x.clone(), series, x);
        let is_large = compare(Binary::Ge, magnitude, self.float(0.875));
        self.bind(select(is_large, large, small))
    }

    /// `1 / sqrt(x)`.
    pub fn rsqrt(&mut self, x: Expr, lanes: u32) -> Expr {
        self.lanes = lanes;
        let one = self.float(1.0);
        self.bind(div(one, unary(Unary::Sqrt, x)))
    }

    /// `x^y`, with the limits of C's `powf`. Constant exponents 0, 1, 2, 3, -1, -2 and 0.5 take few operations.
    pub fn pow(&mut self, x: Expr, y: Expr, lanes: u32) -> Expr {
        self.lanes = lanes;
        let x = self.bind(x);
        match constant(&y) {
            Some(exponent) => match self.constant_power(&x, exponent) {
                Some(result) => self.bind(result),
                None => self.general_power(x, y),
            },
            None => self.general_power(x, y),
        }
    }

    fn constant_power(&mut self, x: &Expr, exponent: f32) -> Option<Expr> {
        let x = x.clone();
        let square = mul(x.clone(), x.clone());
        Some(match exponent {
            0.0 => self.float(1.0),
            1.0 => x,
            2.0 => square,
            3.0 => mul(square, x),
            -1.0 => div(self.float(1.0), x),
            -2.0 => {
                let reciprocal = self.bind(div(self.float(1.0), x));
                mul(reciprocal.clone(), reciprocal)
            }
            // Adding 0 makes -0 positive.
            0.5 => unary(Unary::Sqrt, add(x, self.float(0.0))),
            _ => return None,
        })
    }

    fn general_power(&mut self, x: Expr, y: Expr) -> Expr {
        let y = self.bind(y);
        let log = self.log_of_magnitude(&x);
        let product = self.product(&y, log);
        let magnitude = self.exp_of_pair(product);
        let is_one = compare(Binary::Eq, unary(Unary::Abs, x.clone()), self.float(1.0));
        let no_exponent = compare(Binary::Eq, y.clone(), self.float(0.0));
        let trivial = or(is_one, no_exponent);
        // 1 to any power and any number to the power 0 are 1, but for -1 to the power NaN.
        let unit = select(trivial, self.float(1.0), magnitude);
        let magnitude = self.bind(unit);
        self.power_sign(magnitude, &x, &y)
    }

    /// Gives a power of `|x|` the sign of a power of `x`: a negative number has integer powers only.
    fn power_sign(&mut self, magnitude: Expr, x: &Expr, y: &Expr) -> Expr {
        let half = self.bind(mul(y.clone(), self.float(0.5)));
        let is_integer = compare(Binary::Eq, unary(Unary::Floor, y.clone()), y.clone());
        let is_even = compare(Binary::Eq, unary(Unary::Floor, half.clone()), half);
        let is_integer = self.bind_as(is_integer, Scalar::Bool);
        let is_odd = and(is_integer.clone(), unary(Unary::Not, is_even));
        let signed = self.with_sign_of(magnitude.clone(), x);
        let result = self.bind(select(is_odd, signed, magnitude));
        let negative = and(
            compare(Binary::Lt, x.clone(), self.float(0.0)),
            compare(Binary::Gt, x.clone(), self.float(f32::NEG_INFINITY)),
        );
        let undefined = and(negative, unary(Unary::Not, is_integer));
        self.bind(select(undefined, self.float(f32::NAN), result))
    }

    /// `y` times a pair; exact but for the last bits of the low part.
    fn product(&mut self, y: &Expr, Pair { high, low }: Pair) -> Pair {
        let product = self.bind(self.rounded(mul(y.clone(), high.clone())));
        let lost = if self.arithmetic.exact {
            Expr::Fma(boxed(y.clone()), boxed(high), boxed(unary(Unary::Neg, product.clone())))
        } else {
            self.lost_in_product(y, &high, &product)
        };
        let low = self.mul_add(y.clone(), low, lost);
        let low = self.bind(low);
        // Beyond the range of the exponential the lost part means nothing, and is NaN where the product overflows.
        let finite = compare(Binary::Lt, unary(Unary::Abs, product.clone()), self.float(200.0));
        let low = select(finite, low, self.float(0.0));
        Pair { high: product, low: self.bind(low) }
    }

    /// The rounding error of a product, by halves of 12 bits (Dekker). The halves' products must not be joined again.
    fn lost_in_product(&mut self, x: &Expr, y: &Expr, product: &Expr) -> Expr {
        let (x_high, x_low) = self.halves(x);
        let (y_high, y_low) = self.halves(y);
        let lost = self.rounded(sub(mul(x_high.clone(), y_high.clone()), product.clone()));
        let lost = add(add(lost, mul(x_high, y_low.clone())), mul(x_low.clone(), y_high));
        add(lost, mul(x_low, y_low))
    }

    fn halves(&mut self, x: &Expr) -> (Expr, Expr) {
        let bits = and(unary(Unary::ToBits, x.clone()), self.int(!0xfff));
        let high = self.bind(unary(Unary::FromBits, bits));
        let low = self.bind(self.rounded(sub(x.clone(), high.clone())));
        (high, low)
    }

    /// `e^(high + low)`.
    fn exp_of_pair(&mut self, Pair { high, low }: Pair) -> Expr {
        let highest = self.float(105.0);
        let too_high = compare(Binary::Lt, highest.clone(), high.clone());
        let high = self.bind(select(too_high, highest, high));
        self.exp_below(Pair { high, low })
    }

    /// `e^(high + low)` where `high` is at most 105 or NaN: `2^n e^r` with `|r| <= ln 2 / 2`, multiplied in two steps, so
    /// that neither overflows nor loses bits before the result does.
    fn exp_below(&mut self, Pair { high, low }: Pair) -> Expr {
        let lowest = self.float(-105.0);
        let too_low = compare(Binary::Gt, lowest.clone(), high.clone());
        let x = self.bind(select(too_low, lowest, high));

        let scaled = self.mul_add(x.clone(), self.float(LOG2_E), self.float(ROUNDER));
        let scaled = self.bind(self.rounded(scaled));
        let whole = self.bind(sub(scaled.clone(), self.float(ROUNDER)));
        let rest = self.mul_add(whole.clone(), self.float(-LN2_HIGH), x);
        let rest = self.bind(self.rounded(rest));
        let rest = self.mul_add(whole, self.float(-LN2_LOW), rest);
        let rest = if constant(&low) == Some(0.0) { rest } else { add(rest, low) };
        let rest = self.bind(rest);
        let series = self.polynomial(&rest, &EXP);
        let square = mul(rest.clone(), rest.clone());
        let series = self.mul_add(series, square, rest);
        let power = self.bind(add(series, self.float(1.0)));

        let exponents = self.bind_as(unary(Unary::ToBits, scaled), Scalar::I32);
        let half = binary(Binary::Shr, exponents.clone(), self.int(1));
        let half = self.bind_as(half, Scalar::I32);
        let first = mul(power, self.power_of_two(half.clone()));
        let result = mul(first, self.power_of_two(sub(exponents, half)));
        self.bind(result)
    }

    /// The power of two with an exponent that is given as a float has it, in the last eight bits.
    fn power_of_two(&mut self, exponent: Expr) -> Expr {
        unary(Unary::FromBits, binary(Binary::Shl, exponent, self.int(23)))
    }

    /// `ln |x|`, of which the first part alone has 24 bits and both have about 31.
    ///
    /// `|x| = 2^k m` with `m` around 1; with `f = m - 1` and `s = f / (2 + f)`, `ln m = 2 atanh(s)`.
    fn log_of_magnitude(&mut self, x: &Expr) -> Pair {
        let magnitude = self.bind(unary(Unary::Abs, x.clone()));
        let (k, f) = self.exponent_and_fraction(&magnitude);
        let two = self.float(2.0);
        let divisor = self.bind(self.rounded(add(two.clone(), f.clone())));
        let divisor_lost = sub(f.clone(), self.rounded(sub(divisor.clone(), two.clone())));
        let s = self.bind(div(f.clone(), divisor.clone()));
        // What the division lost: (f - s * divisor) / divisor, with the exact product.
        let rest = self.lost_in_quotient(&f, &s, &divisor);
        let rest = sub(rest, mul(s.clone(), divisor_lost));
        let s_low = self.bind(div(rest, divisor));

        let square = self.bind(mul(s.clone(), s.clone()));
        let series = self.polynomial(&square, &ATANH);
        let series = mul(mul(series, square), s.clone());
        let tail = self.bind(add(series, s_low));
        let tail = self.mul_add(k.clone(), self.float(LN2_LOW), mul(two.clone(), tail));

        // k * LN2_HIGH is exact, and 0 or larger than 2s, so that the difference is what the sum lost.
        let large = self.bind(mul(k, self.float(LN2_HIGH)));
        let twice = self.bind(mul(two, s));
        let sum = self.bind(self.rounded(add(large.clone(), twice.clone())));
        let lost = self.rounded(sub(twice, self.rounded(sub(sum.clone(), large))));
        let low = self.bind(add(lost, tail));
        // Once more, so that the high part alone is the rounded sum.
        let high = self.bind(self.rounded(add(sum.clone(), low.clone())));
        let low = self.bind(sub(low, self.rounded(sub(high.clone(), sum))));
        self.log_limits(magnitude, Pair { high, low })
    }

    /// The logarithms of 0, infinity and NaN.
    fn log_limits(&mut self, magnitude: Expr, Pair { high, low }: Pair) -> Pair {
        let (zero, infinity) = (self.float(0.0), self.float(f32::INFINITY));
        let is_zero = compare(Binary::Eq, magnitude.clone(), zero.clone());
        let is_finite = compare(Binary::Lt, magnitude.clone(), infinity);
        let limit = select(is_zero.clone(), self.float(f32::NEG_INFINITY), magnitude);
        let regular = and(is_finite, unary(Unary::Not, is_zero));
        let regular = self.bind_as(regular, Scalar::Bool);
        let high = self.bind(select(regular.clone(), high, limit));
        let low = self.bind(select(regular, low, zero));
        Pair { high, low }
    }

    /// `k` as `f32` and `f` with `magnitude = 2^k (1 + f)` and `sqrt(1/2) <= 1 + f < sqrt(2)`.
    fn exponent_and_fraction(&mut self, magnitude: &Expr) -> (Expr, Expr) {
        let tiny = compare(Binary::Lt, magnitude.clone(), self.float(f32::MIN_POSITIVE));
        let tiny = self.bind_as(tiny, Scalar::Bool);
        let scaled = mul(magnitude.clone(), self.float(8_388_608.0));
        let normal = select(tiny.clone(), scaled, magnitude.clone());
        let (exponent, fraction) = self.exponent_and_fraction_of_bits(normal);
        let correction = select(tiny, self.int(-23), self.int(0));
        let k = self.bind(unary(Unary::ToFloat, add(exponent, correction)));
        (k, fraction)
    }

    /// The same of a number that is not subnormal.
    fn exponent_and_fraction_of_normal(&mut self, normal: &Expr) -> (Expr, Expr) {
        let (exponent, fraction) = self.exponent_and_fraction_of_bits(normal.clone());
        (self.bind(unary(Unary::ToFloat, exponent)), fraction)
    }

    /// The exponent as `i32`, and the fraction.
    fn exponent_and_fraction_of_bits(&mut self, normal: Expr) -> (Expr, Expr) {
        let bits = self.bind_as(unary(Unary::ToBits, normal), Scalar::I32);
        let above = sub(bits.clone(), self.int(SQRT_HALF_BITS));
        let exponent = binary(Binary::Shr, above, self.int(23));
        let exponent = self.bind_as(exponent, Scalar::I32);
        let mantissa = sub(bits, binary(Binary::Shl, exponent.clone(), self.int(23)));
        let fraction = sub(unary(Unary::FromBits, mantissa), self.float(1.0));
        (exponent, self.bind(fraction))
    }

    /// `x - quotient * divisor`, exactly.
    fn lost_in_quotient(&mut self, x: &Expr, quotient: &Expr, divisor: &Expr) -> Expr {
        if self.arithmetic.exact {
            let negative = unary(Unary::Neg, quotient.clone());
            return Expr::Fma(boxed(negative), boxed(divisor.clone()), boxed(x.clone()));
        }
        let product = self.bind(self.rounded(mul(quotient.clone(), divisor.clone())));
        let lost = self.lost_in_product(quotient, divisor, &product);
        sub(self.rounded(sub(x.clone(), product)), lost)
    }

    /// Horner's scheme; the coefficients ascend.
    fn polynomial(&mut self, x: &Expr, coefficients: &[f32]) -> Expr {
        let last = self.float(coefficients[coefficients.len() - 1]);
        coefficients.iter().rev().skip(1).fold(last, |sum, coefficient| {
            let coefficient = self.float(*coefficient);
            self.mul_add(sum, x.clone(), coefficient)
        })
    }

    fn mul_add(&self, x: Expr, y: Expr, z: Expr) -> Expr {
        match self.arithmetic.fma {
            true => Expr::Fma(boxed(x), boxed(y), boxed(z)),
            false => add(mul(x, y), z),
        }
    }

    /// A result that is meant to be rounded just there: what is subtracted from it later tells what rounding did.
    fn rounded(&self, x: Expr) -> Expr {
        match self.arithmetic.fenced {
            true => unary(Unary::Fence, x),
            false => x,
        }
    }

    fn with_sign_of(&mut self, magnitude: Expr, x: &Expr) -> Expr {
        let sign = and(unary(Unary::ToBits, x.clone()), self.int(SIGN));
        let bits = and(unary(Unary::ToBits, magnitude), self.int(MAGNITUDE));
        unary(Unary::FromBits, or(bits, sign))
    }

    /// A name for a value that is used more than once.
    fn bind(&mut self, value: Expr) -> Expr {
        self.bind_as(value, Scalar::F32)
    }

    fn bind_as(&mut self, value: Expr, scalar: Scalar) -> Expr {
        if matches!(value, Expr::Local(_)) || constant(&value).is_some() {
            return value;
        }
        let ty = Type::new(scalar, self.lanes);
        let local: Local = self.function.locals.push(LocalData { name: "t".into(), ty });
        self.out.push(Stmt::Set { local, value });
        Expr::Local(local)
    }

    fn float(&self, x: f32) -> Expr {
        self.spread(Expr::Float(x))
    }

    fn int(&self, x: i32) -> Expr {
        self.spread(Expr::Int(x))
    }

    fn spread(&self, x: Expr) -> Expr {
        match self.lanes {
            1 => x,
            lanes => Expr::Splat(boxed(x), lanes),
        }
    }
}
