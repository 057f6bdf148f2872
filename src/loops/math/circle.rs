//! Sine and cosine of radians.
//!
//! `|x| = n pi/2 + r` with `|r|` hardly above `pi/4`; two polynomials, of which the last bits of `n` choose one and its
//! sign. `pi/2` in three parts of 24 bits makes `r` exact but for its own last bit, for `|x|` up to 1e5: both functions
//! are then within 2 units in the last place. Beyond, they are within 4e-6, and NaN from `LARGEST_ANGLE` on.

use super::{Emitter, SIGN, add, and, binary, boxed, compare, mul, select, sub, unary};
use crate::loops::{Binary, Expr, Scalar, Unary};
use crate::te::expr::LARGEST_ANGLE;

/// `pi/2` to 72 bits, in parts.
const HALF_PI: [f32; 3] = [1.570_796_4, -4.371_139e-8, -1.715_124_5e-15];
/// `(sin r - r) / r^3` in powers of `r^2`, within 2^-27 of `sin r`.
const SINE: [f32; 3] = [-1.666_665_4e-1, 8.332_132e-3, -1.951_091e-4];
/// `(cos r - 1 + r^2/2) / r^4` in powers of `r^2`, within 2^-33 of 1.
const COSINE: [f32; 3] = [4.166_664_6e-2, -1.388_730_7e-3, 2.443_135e-5];
/// A sum with it is rounded to a whole number, which its last bits then hold.
const ROUNDER: f32 = 12_582_912.0;
/// Below it the sine is `x` itself, with the sign that it has.
const TINY: f32 = 1.0 / 4096.0;

impl Emitter<'_> {
    /// The sine.
    pub fn sin(&mut self, x: Expr, lanes: u32) -> Expr {
        self.lanes = lanes;
        let x = self.bind(x);
        let magnitude = self.bind(unary(Unary::Abs, x.clone()));
        let sine = self.quarter_turned(&magnitude, 0);
        let sign = and(unary(Unary::ToBits, x.clone()), self.int(SIGN));
        let sine = self.with_flipped_sign(sine, sign);
        let sine = self.number_of_angle(&magnitude, sine);
        let tiny = compare(Binary::Lt, magnitude, self.float(TINY));
        self.bind(select(tiny, x, sine))
    }

    /// The cosine.
    pub fn cos(&mut self, x: Expr, lanes: u32) -> Expr {
        self.lanes = lanes;
        let magnitude = self.bind(unary(Unary::Abs, x));
        let cosine = self.quarter_turned(&magnitude, 1);
        self.number_of_angle(&magnitude, cosine)
    }

    /// The sine of so many quarter turns more than an angle of at least 0.
    fn quarter_turned(&mut self, angle: &Expr, quarters: i32) -> Expr {
        let scaled =
            self.mul_add(angle.clone(), self.float(std::f32::consts::FRAC_2_PI), self.float(ROUNDER));
        let scaled = self.bind(self.rounded(scaled));
        let turns = self.bind(sub(scaled.clone(), self.float(ROUNDER)));
        let rest = self.less_product(angle.clone(), &turns, HALF_PI[0]);
        let rest = self.less_product(rest, &turns, HALF_PI[1]);
        let rest = self.mul_add(turns, self.float(-HALF_PI[2]), rest);
        let rest = self.bind(rest);
        let square = self.bind(mul(rest.clone(), rest.clone()));
        let (sine, cosine) = (self.sine_series(&rest, &square), self.cosine_series(&square));

        let turns = add(unary(Unary::ToBits, scaled), self.int(quarters));
        let turns = self.bind_as(turns, Scalar::I32);
        let odd = compare(Binary::Ne, and(turns.clone(), self.int(1)), self.int(0));
        let result = self.bind(select(odd, cosine, sine));
        let sign = and(binary(Binary::Shl, turns, self.int(30)), self.int(SIGN));
        self.with_flipped_sign(result, sign)
    }

    fn sine_series(&mut self, rest: &Expr, square: &Expr) -> Expr {
        let series = self.polynomial(square, &SINE);
        let sine = self.mul_add(mul(rest.clone(), square.clone()), series, rest.clone());
        self.bind(sine)
    }

    /// `1 - r^2/2` is rounded, and what it lost is added to the rest.
    fn cosine_series(&mut self, square: &Expr) -> Expr {
        let one = self.float(1.0);
        let half = self.bind(mul(self.float(0.5), square.clone()));
        let start = self.bind(self.rounded(sub(one.clone(), half.clone())));
        let lost = sub(self.rounded(sub(one, start.clone())), half);
        let series = self.polynomial(square, &COSINE);
        let rest = self.mul_add(mul(square.clone(), square.clone()), series, lost);
        self.bind(add(start, rest))
    }

    /// `x - factor * part`, with the exact product.
    fn less_product(&mut self, x: Expr, factor: &Expr, part: f32) -> Expr {
        let part = self.float(part);
        if self.arithmetic.exact {
            let negative = unary(Unary::Neg, factor.clone());
            let less = Expr::Fma(boxed(negative), boxed(part), boxed(x));
            return self.bind(self.rounded(less));
        }
        let product = self.bind(self.rounded(mul(factor.clone(), part.clone())));
        let lost = self.lost_in_product(factor, &part, &product);
        let less = sub(self.rounded(sub(x, product)), lost);
        self.bind(self.rounded(less))
    }

    /// A number with its sign turned round where a bit is set that lies where the sign does: a sum without a carry.
    fn with_flipped_sign(&mut self, x: Expr, sign: Expr) -> Expr {
        self.bind(unary(Unary::FromBits, add(unary(Unary::ToBits, x), sign)))
    }

    /// The result where the angle has one.
    fn number_of_angle(&mut self, magnitude: &Expr, result: Expr) -> Expr {
        let small = compare(Binary::Lt, magnitude.clone(), self.float(LARGEST_ANGLE as f32));
        self.bind(select(small, result, self.float(f32::NAN)))
    }
}
