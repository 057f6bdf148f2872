//! What a function costs: its arithmetic and the memory that it touches.

use super::{AccessMode, Binary, BufferData, Expr, Function, Scalar, Stmt, Unary};

/// The work of one run of a function.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Floating-point operations: one a lane, two for a multiply-add. Both branches of a condition count.
    pub flop: u64,
    /// The sizes of all buffers; twice for those that are read and written. What the caches do not keep moves more.
    pub bytes: u64,
}

/// The cost of a whole function.
pub fn cost(function: &Function) -> Cost {
    let flop = function.body.iter().map(|stmt| flop_of(function, stmt)).sum();
    Cost { flop, bytes: function.buffers.values().map(traffic).sum() }
}

/// The bytes of a buffer, twice if it is read and written.
pub fn traffic(data: &BufferData) -> u64 {
    let times = if data.access == AccessMode::ReadWrite { 2 } else { 1 };
    times * (data.len * data.dtype.size()) as u64
}

fn flop_of(function: &Function, stmt: &Stmt) -> u64 {
    let all = |body: &[Stmt]| -> u64 { body.iter().map(|stmt| flop_of(function, stmt)).sum() };
    match stmt {
        Stmt::For { axis, body, .. } => function.axes[*axis].extent as u64 * all(body),
        Stmt::Set { value, .. } | Stmt::Store { value, .. } => arithmetic(function, value),
        Stmt::If { condition, then, otherwise } => {
            arithmetic(function, condition) + all(then) + all(otherwise)
        }
    }
}

fn arithmetic(function: &Function, expr: &Expr) -> u64 {
    let of = |expr: &Expr| arithmetic(function, expr);
    let lanes = |expr: &Expr| match function.type_of(expr) {
        Ok(ty) if ty.scalar == Scalar::F32 => u64::from(ty.lanes),
        Ok(_) | Err(_) => 0,
    };
    match expr {
        Expr::Float(_) | Expr::Int(_) | Expr::Bool(_) | Expr::Local(_) | Expr::Number { .. } => 0,
        Expr::Load { .. } => 0,
        Expr::Splat(x, _) | Expr::Uniform { element: x, .. } => of(x),
        Expr::Fold(_, x) => of(x) + lanes(x),
        Expr::Unary(Unary::Sqrt, x) => of(x) + lanes(x),
        Expr::Unary(_, x) => of(x),
        Expr::Binary(op, x, y) => {
            use Binary::*;
            let own = match op {
                Add | Sub | Mul | Div | Min | Max => lanes(expr),
                Eq | Ne | Lt | Le | Gt | Ge | And | Or | Shl | Shr => 0,
            };
            own + of(x) + of(y)
        }
        Expr::Fma(x, y, z) => 2 * lanes(expr) + of(x) + of(y) + of(z),
        Expr::Select(condition, x, y) => of(condition) + of(x) + of(y),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::samples::Convolution;

    #[test]
    fn a_convolution_has_two_operations_a_product() {
        let shape = Convolution {
            groups: 2,
            inputs: 3,
            outputs: 4,
            side: 4,
            channels: 2,
            pixels: 2,
            lanes: 8,
            kernel: 3,
            fma: true,
        };
        let function = shape.function();
        let found = cost(&function);
        assert_eq!(found.flop, 2 * shape.multiply_adds() as u64);
        let elements: usize = function.buffers.values().map(|data| data.len).sum();
        assert_eq!(found.bytes, 4 * elements as u64);
    }
}
