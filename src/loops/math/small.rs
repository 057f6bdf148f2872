//! `e^x - 1` and `log(1 + x)`, whose results keep all their digits where `x` is small.

use super::{Emitter, LN2_HIGH, LN2_LOW, LOG2_E, add, and, boxed, compare, div, mul, select, sub, unary};
use crate::loops::{Binary, Expr, Scalar, Unary};

/// `(e^r - 1 - r) / r^2` for `|r| <= ln 2 / 2`, within 2^-26 of `e^r - 1`.
const SERIES: [f32; 5] = [0.5, 1.666_653_9e-1, 4.166_626_6e-2, 8.367_217e-3, 1.394_754_5e-3];
/// `(2 atanh(s) - 2s) / s^3` in powers of `s^2`.
const ATANH: [f32; 3] = [6.666_677_6e-1, 3.997_764_3e-1, 2.986_945_8e-1];
/// A sum with it is rounded to a whole number, which its last bits then hold; 126 more of it, so that they are the
/// exponent of half a power of two.
const ROUNDER: f32 = 12_582_912.0 + 126.0;
/// Below it both functions are `x` itself, with the sign that it has.
const TINY: f32 = 1.0 / 16_777_216.0;

impl Emitter<'_> {
    /// `e^x - 1`.
    ///
    /// With `x = n ln 2 + r` and `e^r - 1 = r + q` it is `(2^n - 1) + 2^n r + 2^n q`: no large parts cancel. Half of it
    /// is computed, as the power of two overflows before the result does.
    pub fn expm1(&mut self, x: Expr, lanes: u32) -> Expr {
        self.lanes = lanes;
        let x = self.bind(x);
        let bounded = self.between(-30.0, 89.0, &x);
        let scaled = self.mul_add(bounded.clone(), self.float(LOG2_E), self.float(ROUNDER));
        let scaled = self.bind(self.rounded(scaled));
        let whole = self.bind(sub(scaled.clone(), self.float(ROUNDER)));
        let rest = self.mul_add(whole.clone(), self.float(-LN2_HIGH), bounded);
        let rest = self.bind(self.rounded(rest));
        let rest = self.mul_add(whole, self.float(-LN2_LOW), rest);
        let rest = self.bind(rest);
        let series = self.polynomial(&rest, &SERIES);
        let series = self.bind(mul(series, mul(rest.clone(), rest.clone())));
        let power = self.power_of_two(unary(Unary::ToBits, scaled));
        let power = self.bind(power);
        let below = self.rounded(sub(power.clone(), self.float(0.5)));
        let half = self.mul_add(power.clone(), rest, below);
        let half = self.mul_add(power, series, half);
        let half = self.bind(half);
        self.itself_where_tiny(x, add(half.clone(), half))
    }

    /// `log(1 + x)`.
    ///
    /// With `u` the rounded sum and `c` what it lost, it is `log u + c / u`. With `u = 2^k (1 + f)` and
    /// `s = f / (2 + f)`, `log(1 + f) = f - f^2 / 2 + s (f^2 / 2 + R)`, where `R` is what `2 atanh(s) / s` has beyond 2.
    pub fn log1p(&mut self, x: Expr, lanes: u32) -> Expr {
        self.lanes = lanes;
        let x = self.bind(x);
        let one = self.float(1.0);
        let u = self.bind(self.rounded(add(one.clone(), x.clone())));
        let is_large = compare(Binary::Gt, x.clone(), one.clone());
        let lost_of_one = sub(one.clone(), self.rounded(sub(u.clone(), x.clone())));
        let lost_of_x = sub(x.clone(), self.rounded(sub(u.clone(), one)));
        let lost = div(select(is_large, lost_of_one, lost_of_x), u.clone());
        let (k, f) = self.exponent_and_fraction_of_normal(&u);

        let s = self.bind(div(f.clone(), add(self.float(2.0), f.clone())));
        let square = self.bind(mul(s.clone(), s.clone()));
        let series = mul(self.polynomial(&square, &ATANH), square);
        let half = self.bind(mul(mul(self.float(0.5), f.clone()), f.clone()));
        let low = self.mul_add(k.clone(), self.float(LN2_LOW), lost);
        let small = self.mul_add(s, add(half.clone(), series), low);
        let fraction = sub(f, sub(half, small));
        let sum = self.mul_add(k, self.float(LN2_HIGH), fraction);
        let sum = self.bind(sum);
        let result = self.with_limits(&u, sum);
        self.itself_where_tiny(x, result)
    }

    /// `x` from `low` to `high`, or NaN.
    fn between(&mut self, low: f32, high: f32, x: &Expr) -> Expr {
        let (low, high) = (self.float(low), self.float(high));
        let too_high = compare(Binary::Lt, high.clone(), x.clone());
        let x = self.bind(select(too_high, high, x.clone()));
        let too_low = compare(Binary::Gt, low.clone(), x.clone());
        self.bind(select(too_low, low, x))
    }

    /// The logarithms of 0, infinity, NaN and negative numbers.
    fn with_limits(&mut self, u: &Expr, logarithm: Expr) -> Expr {
        let (zero, infinity) = (self.float(0.0), self.float(f32::INFINITY));
        let positive = compare(Binary::Gt, u.clone(), zero.clone());
        let finite = compare(Binary::Lt, u.clone(), infinity);
        let regular = self.bind_as(and(positive, finite), Scalar::Bool);
        let is_zero = compare(Binary::Eq, u.clone(), zero.clone());
        let negative = compare(Binary::Lt, u.clone(), zero);
        let limit = select(negative, self.float(f32::NAN), u.clone());
        let limit = select(is_zero, self.float(f32::NEG_INFINITY), limit);
        self.bind(select(regular, logarithm, limit))
    }

    fn itself_where_tiny(&mut self, x: Expr, result: Expr) -> Expr {
        let tiny = compare(Binary::Lt, unary(Unary::Abs, x.clone()), self.float(TINY));
        self.bind(Expr::Select(boxed(tiny), boxed(x), boxed(result)))
    }
}
