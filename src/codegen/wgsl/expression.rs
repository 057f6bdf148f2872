//! Expressions as WGSL: of each value, what one lane holds of it.

use super::prelude::Helper;
use super::statement::Writer;
use super::{Error, Rounding};
use crate::loops::{Binary, Expr, Scalar, Unary};

impl Writer<'_, '_> {
    /// The text of an expression; its folds have been written before.
    pub(super) fn value(&mut self, expr: &Expr) -> Result<String, Error> {
        Ok(match expr {
            Expr::Float(x) => self.float(*x),
            Expr::Int(x) => int(*x),
            Expr::Bool(x) => x.to_string(),
            Expr::Local(local) => self.local(*local),
            Expr::Number { index, stride, lanes } => self.position(index, *stride, *lanes),
            Expr::Load { buffer, index, stride, lanes } => self.load(*buffer, index, *stride, *lanes),
            Expr::Splat(x, _) => self.value(x)?,
            Expr::Unary(op, x) => self.unary(*op, x)?,
            Expr::Binary(op, x, y) => self.binary(*op, x, y)?,
            Expr::Fma(x, y, z) => {
                let (x, y, z) = (self.first(x, &[y, z])?, self.value(y)?, self.value(z)?);
                match self.prelude.driver.fuses {
                    true => format!("fma({x}, {y}, {z})"),
                    false => format!("({x} * {y} + {z})"),
                }
            }
            Expr::Select(condition, x, y) => {
                let (condition, x, y) = (self.value(condition)?, self.value(x)?, self.value(y)?);
                format!("select({y}, {x}, {condition})")
            }
            Expr::Fold(..) => {
                let folded = self.folded.get(&std::ptr::from_ref(expr)).cloned();
                folded.ok_or_else(|| Error::Unsupported("a fold within a fold".into()))?
            }
            Expr::Uniform { stream, element } => {
                self.prelude.need(Helper::Uniform);
                format!("draw({stream}u, bitcast<u32>({}))", self.value(element)?)
            }
        })
    }

    /// The first operand of an operation. Where all of them are constants, one is hidden: WGSL computes with constants
    /// while it compiles, in a way of its own, and refuses what overflows.
    fn first(&mut self, x: &Expr, others: &[&Expr]) -> Result<String, Error> {
        let value = self.value(x)?;
        if ![x].iter().chain(others).all(|operand| self.is_constant(operand)) {
            return Ok(value);
        }
        Ok(match (as_constant(x), self.shape.scalar(x)) {
            (Some(Expr::Float(x)), _) => self.bits(x.to_bits()),
            (_, Scalar::F32) => {
                self.prelude.need(Helper::FromBits);
                format!("from_bits(bitcast<u32>({value}))")
            }
            (_, Scalar::I32) => {
                self.prelude.need(Helper::Whole);
                format!("whole({value})")
            }
            (_, Scalar::Bool) => value,
        })
    }

    /// Whether WGSL knows the value of an expression's text. It knows that of no operation, as its operand is hidden.
    fn is_constant(&self, expr: &Expr) -> bool {
        match expr {
            Expr::Float(_) | Expr::Int(_) | Expr::Bool(_) => true,
            Expr::Number { index, stride, lanes } => {
                (*stride == 0 || *lanes == 1) && index.terms().is_empty()
            }
            Expr::Splat(x, _) => self.is_constant(x),
            Expr::Unary(Unary::Fence, x) => {
                self.prelude.driver.rounding == Rounding::Kept && self.is_constant(x)
            }
            Expr::Select(condition, x, y) => [condition, x, y].iter().all(|x| self.is_constant(x)),
            _ => false,
        }
    }

    fn float(&mut self, x: f32) -> String {
        if x.to_bits() == 0 && !self.prelude.driver.tells_zeros {
            self.prelude.need(Helper::Zero);
            return "zero()".into();
        }
        if x.is_normal() || x.to_bits() == 0 { format!("{x:?}f") } else { self.bits(x.to_bits()) }
    }

    fn bits(&mut self, bits: u32) -> String {
        self.prelude.need(Helper::FromBits);
        format!("from_bits({bits:#010x}u)")
    }

    fn unary(&mut self, op: Unary, x: &Expr) -> Result<String, Error> {
        let x = self.first(x, &[])?;
        Ok(match op {
            Unary::Neg => format!("(-{x})"),
            Unary::Abs => format!("abs({x})"),
            Unary::Sqrt => format!("sqrt({x})"),
            Unary::Floor => format!("floor({x})"),
            Unary::Not => format!("(!{x})"),
            Unary::ToFloat => format!("f32({x})"),
            Unary::ToInt => {
                self.prelude.need(Helper::ToInt);
                format!("to_int({x})")
            }
            Unary::ToBits => format!("bitcast<i32>({x})"),
            Unary::FromBits => format!("bitcast<f32>({x})"),
            Unary::Fence => self.fenced(x),
        })
    }

    fn binary(&mut self, op: Binary, x: &Expr, y: &Expr) -> Result<String, Error> {
        let is_float = self.shape.scalar(x) == Scalar::F32;
        if is_float && x == y && matches!(op, Binary::Eq | Binary::Ne) {
            self.prelude.need(Helper::IsNan);
            let negation = if op == Binary::Eq { "!" } else { "" };
            return Ok(format!("({negation}is_nan({}))", self.value(x)?));
        }
        let (x, y) = (self.first(x, &[y])?, self.shifted(op, y)?);
        Ok(match op {
            Binary::Min | Binary::Max if is_float => {
                let (name, helper) = match op {
                    Binary::Min => ("least", Helper::Least),
                    _ => ("greatest", Helper::Greatest),
                };
                self.prelude.need(helper);
                format!("{name}({x}, {y})")
            }
            Binary::Min => format!("min({x}, {y})"),
            Binary::Max => format!("max({x}, {y})"),
            // Different where either is NaN, which `!=` of some languages is not.
            Binary::Ne if is_float => format!("(!({x} == {y}))"),
            _ => format!("({x} {} {y})", symbol(op)),
        })
    }

    /// The second operand; numbers to shift by are unsigned.
    fn shifted(&mut self, op: Binary, y: &Expr) -> Result<String, Error> {
        match (op, as_constant(y)) {
            (Binary::Shl | Binary::Shr, Some(Expr::Int(by))) => Ok(format!("{by}u")),
            (Binary::Shl | Binary::Shr, _) => Ok(format!("u32({})", self.value(y)?)),
            _ => self.value(y),
        }
    }

    /// A value that is to be rounded here, whatever is computed with it.
    fn fenced(&mut self, x: String) -> String {
        match self.prelude.driver.rounding {
            Rounding::Kept => x,
            Rounding::Fenced => {
                self.prelude.need(Helper::Fence);
                format!("fence({x})")
            }
        }
    }
}

/// The constant that an expression is, in one lane or in all.
fn as_constant(expr: &Expr) -> Option<&Expr> {
    match expr {
        Expr::Float(_) | Expr::Int(_) => Some(expr),
        Expr::Splat(x, _) => as_constant(x),
        _ => None,
    }
}

pub(super) fn int(x: i32) -> String {
    if x == i32::MIN { "bitcast<i32>(0x80000000u)".into() } else { format!("{x}i") }
}

fn symbol(op: Binary) -> &'static str {
    match op {
        Binary::Add => "+",
        Binary::Sub => "-",
        Binary::Mul => "*",
        Binary::Div => "/",
        Binary::Eq => "==",
        Binary::Ne => "!=",
        Binary::Lt => "<",
        Binary::Le => "<=",
        Binary::Gt => ">",
        Binary::Ge => ">=",
        Binary::And => "&",
        Binary::Or => "|",
        Binary::Shl => "<<",
        Binary::Shr => ">>",
        Binary::Min | Binary::Max => unreachable!("these are functions"),
    }
}
