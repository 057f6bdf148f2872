//! The types of loop-IR expressions, and what a buffer's elements become in a register.
//!
//! [`Function::type_of`] is the one place that knows the typing rules; the verifier reports its errors, the printer
//! and the back ends rely on a verified function having none.

use super::{Binary, BufferData, DType, Expr, Function, Scalar, Type, Unary};

impl Type {
    /// One `f32`.
    pub const F32: Type = Type { scalar: Scalar::F32, lanes: 1 };
    /// One `i32`.
    pub const I32: Type = Type { scalar: Scalar::I32, lanes: 1 };
    /// One truth value.
    pub const BOOL: Type = Type { scalar: Scalar::Bool, lanes: 1 };

    /// The type of `lanes` elements.
    pub fn new(scalar: Scalar, lanes: u32) -> Type {
        Type { scalar, lanes }
    }

    /// The type with as many lanes of another element type.
    pub fn with_scalar(self, scalar: Scalar) -> Type {
        Type { scalar, ..self }
    }

    /// Whether the lane count is one that a value may have: 1, or a power of two from 4 to 64.
    pub fn has_valid_lanes(self) -> bool {
        self.lanes == 1 || (self.lanes.is_power_of_two() && (4..=64).contains(&self.lanes))
    }
}

impl std::fmt::Display for Scalar {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Scalar::F32 => "f32",
            Scalar::I32 => "i32",
            Scalar::Bool => "bool",
        })
    }
}

impl std::fmt::Display for Type {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.lanes {
            1 => write!(f, "{}", self.scalar),
            lanes => write!(f, "{}x{lanes}", self.scalar),
        }
    }
}

/// What an element of a buffer is once it is loaded.
pub fn loaded(dtype: DType) -> Scalar {
    match dtype {
        DType::F32 => Scalar::F32,
        DType::I32 | DType::U8 | DType::Bool => Scalar::I32,
    }
}

/// Whether a value can be stored: an `i32` in `u8` keeps its low 8 bits, a truth value is stored as 0 or 1.
pub fn stores(dtype: DType, value: Scalar) -> bool {
    match dtype {
        DType::F32 => value == Scalar::F32,
        DType::I32 => value == Scalar::I32,
        DType::U8 => value != Scalar::F32,
        DType::Bool => value == Scalar::Bool,
    }
}

impl Function {
    /// The type of an expression, or what is wrong with it.
    pub fn type_of(&self, expr: &Expr) -> Result<Type, String> {
        match expr {
            Expr::Float(_) => Ok(Type::F32),
            Expr::Int(_) => Ok(Type::I32),
            Expr::Bool(_) => Ok(Type::BOOL),
            Expr::Local(local) => match self.locals.get(*local) {
                Some(data) => Ok(data.ty),
                None => Err(format!("there is no register {local}")),
            },
            Expr::Number { lanes, .. } => valid(Type::new(Scalar::I32, *lanes)),
            Expr::Load { buffer, lanes, .. } => match self.buffers.get(*buffer) {
                Some(data) => valid(element(data, *lanes)),
                None => Err(format!("there is no buffer {buffer}")),
            },
            // A back end writes as many lanes as a vector has at least.
            Expr::Splat(_, 1) => Err("splat to one lane".into()),
            Expr::Splat(value, lanes) => match self.type_of(value)? {
                ty if ty.lanes == 1 => valid(Type::new(ty.scalar, *lanes)),
                ty => Err(format!("splat of a vector, {ty}")),
            },
            Expr::Unary(op, value) => unary(*op, self.type_of(value)?),
            Expr::Binary(op @ (Binary::Shl | Binary::Shr), _, by) if !self.is_shift(by) => {
                Err(format!("`{}` is not by a number from 0 to 31", super::printer::binary_name(*op)))
            }
            Expr::Binary(op, x, y) => op.result(self.type_of(x)?, self.type_of(y)?),
            Expr::Fma(x, y, z) => {
                let (x, y, z) = (self.type_of(x)?, self.type_of(y)?, self.type_of(z)?);
                same("fma", x, y)?;
                same("fma", y, z)?;
                expect("fma", x, Scalar::F32)
            }
            Expr::Select(condition, x, y) => {
                let (condition, x, y) = (self.type_of(condition)?, self.type_of(x)?, self.type_of(y)?);
                same("select", condition, x.with_scalar(Scalar::Bool))?;
                same("select", x, y)
            }
            Expr::Fold(_, value) => match self.type_of(value)? {
                ty if ty.lanes == 1 => Err(format!("fold of a scalar, {ty}")),
                ty => expect("fold", Type::new(ty.scalar, 1), Scalar::F32),
            },
            Expr::Uniform { element, .. } => {
                Ok(expect("uniform", self.type_of(element)?, Scalar::I32)?.with_scalar(Scalar::F32))
            }
        }
    }
}

impl Function {
    /// Whether every lane is a number by which a machine shifts: beyond 31, one takes the rest and another gives 0.
    fn is_shift(&self, by: &Expr) -> bool {
        let is_within = |low: i64, high: i64| low >= 0 && high <= 31;
        match by {
            Expr::Int(by) => is_within((*by).into(), (*by).into()),
            Expr::Splat(by, _) => self.is_shift(by),
            Expr::Number { index, stride, lanes } => {
                let (low, high) = index.range(&self.axes);
                let spread = stride.saturating_mul(i64::from(*lanes) - 1);
                is_within(low.saturating_add(spread.min(0)), high.saturating_add(spread.max(0)))
            }
            _ => false,
        }
    }
}

impl Binary {
    /// Whether the result is a truth value for each lane.
    pub fn is_comparison(self) -> bool {
        use super::Binary::*;
        match self {
            Eq | Ne | Lt | Le | Gt | Ge => true,
            Add | Sub | Mul | Div | Min | Max | And | Or | Shl | Shr => false,
        }
    }

    fn result(self, x: Type, y: Type) -> Result<Type, String> {
        use super::Binary::*;
        let name = super::printer::binary_name(self);
        same(name, x, y)?;
        let allowed = match self {
            Add | Sub | Mul | Min | Max | Eq | Ne | Lt | Le | Gt | Ge => x.scalar != Scalar::Bool,
            Div => x.scalar == Scalar::F32,
            And | Or => x.scalar != Scalar::F32,
            Shl | Shr => x.scalar == Scalar::I32,
        };
        match (allowed, self.is_comparison()) {
            (false, _) => Err(format!("`{name}` has no meaning for {x}")),
            (true, true) => Ok(x.with_scalar(Scalar::Bool)),
            (true, false) => Ok(x),
        }
    }
}

fn element(data: &BufferData, lanes: u32) -> Type {
    Type::new(loaded(data.dtype), lanes)
}

fn unary(op: Unary, x: Type) -> Result<Type, String> {
    let name = super::printer::unary_name(op);
    match op {
        Unary::Neg | Unary::Abs | Unary::Sqrt | Unary::Floor | Unary::Fence => expect(name, x, Scalar::F32),
        Unary::Not => expect(name, x, Scalar::Bool),
        Unary::ToFloat | Unary::FromBits => Ok(expect(name, x, Scalar::I32)?.with_scalar(Scalar::F32)),
        Unary::ToInt | Unary::ToBits => Ok(expect(name, x, Scalar::F32)?.with_scalar(Scalar::I32)),
    }
}

fn valid(ty: Type) -> Result<Type, String> {
    match ty.has_valid_lanes() {
        true => Ok(ty),
        false => Err(format!("{} lanes; a value has 1, 4, 8, 16, 32 or 64", ty.lanes)),
    }
}

fn expect(what: &str, ty: Type, scalar: Scalar) -> Result<Type, String> {
    match ty.scalar == scalar {
        true => Ok(ty),
        false => Err(format!("`{what}` wants {}, not {ty}", ty.with_scalar(scalar))),
    }
}

fn same(what: &str, x: Type, y: Type) -> Result<Type, String> {
    match x == y {
        true => Ok(x),
        false => Err(format!("the operands of `{what}` differ: {x} and {y}")),
    }
}
