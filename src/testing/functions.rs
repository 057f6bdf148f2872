//! Random loop functions that pass the verifier, for differential tests.

use crate::loops::{
    AccessMode, Axis, AxisData, Binary, Buffer, BufferData, DType, Expr, Fold, ForKind, Function, Index,
    Local, LocalData, Scalar, Stmt, Type, Unary,
};

/// The function of a seed.
pub fn function(seed: u64) -> Function {
    let mut generator = Generator::new(seed);
    generator.buffers();
    generator.body();
    generator.function
}

struct Generator {
    /// The state of a xorshift generator.
    state: u64,
    function: Function,
    axes: Vec<Axis>,
    /// The axis of the parallel loop, if there is one.
    parallel: Option<Axis>,
    /// Registers in scope.
    locals: Vec<Local>,
}

/// Extents of parallel loops divide this, and buffers are so long.
const LENGTH: usize = 768;
const LANES: [u32; 5] = [1, 4, 8, 16, 32];

impl Generator {
    fn new(seed: u64) -> Generator {
        let state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let function = Function { name: format!("random{seed}"), ..Function::default() };
        let mut generator =
            Generator { state, function, axes: Vec::new(), parallel: None, locals: Vec::new() };
        (0..8).for_each(|_| {
            generator.below(2);
        });
        generator
    }

    fn below(&mut self, n: usize) -> usize {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        (self.state >> 11) as usize % n
    }

    fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    fn buffers(&mut self) {
        let dtypes = [DType::F32, DType::I32, DType::U8, DType::Bool];
        let declared = [
            (DType::F32, AccessMode::Read),
            (DType::F32, AccessMode::Write),
            (DType::F32, AccessMode::ReadWrite),
            (self.pick(&dtypes), AccessMode::Read),
            (self.pick(&dtypes), AccessMode::Write),
            (self.pick(&dtypes), AccessMode::ReadWrite),
        ];
        for (dtype, access) in declared {
            let name = crate::loops::printer::access_name(access).to_owned();
            self.function.buffers.push(BufferData { name, dtype, len: LENGTH, access });
        }
    }

    fn body(&mut self) {
        if self.chance(50) {
            let extent = self.pick(&[1, 2, 3, 4]);
            let axis = self.function.axes.push(AxisData { name: "p".into(), extent });
            self.parallel = Some(axis);
            self.axes.push(axis);
            let body = self.block(3);
            self.function.body = vec![Stmt::For { axis, kind: ForKind::Parallel, body }];
        } else {
            self.function.body = self.block(3);
        }
    }

    fn block(&mut self, depth: usize) -> Vec<Stmt> {
        let scope = self.locals.len();
        let count = 2 + self.below(4);
        let body = (0..count).map(|_| self.statement(depth)).collect();
        self.locals.truncate(scope);
        body
    }

    fn statement(&mut self, depth: usize) -> Stmt {
        match self.below(10) {
            0 | 1 if depth > 0 => self.serial(depth),
            2 if depth > 0 => {
                let condition = self.expr(Type::BOOL, 2);
                let then = self.block(depth - 1);
                let otherwise = if self.chance(50) { self.block(depth - 1) } else { Vec::new() };
                Stmt::If { condition, then, otherwise }
            }
            0..=6 => self.set(),
            _ => self.store(),
        }
    }

    fn serial(&mut self, depth: usize) -> Stmt {
        let extent = self.pick(&[0, 1, 2, 3, 5, 12, 37]);
        let axis = self.function.axes.push(AxisData { name: "i".into(), extent });
        self.axes.push(axis);
        let body = self.block(depth - 1);
        self.axes.pop();
        Stmt::For { axis, kind: ForKind::Serial, body }
    }

    fn ty(&mut self) -> Type {
        let scalar = self.pick(&[Scalar::F32, Scalar::F32, Scalar::I32, Scalar::Bool]);
        Type::new(scalar, self.pick(&LANES))
    }

    fn set(&mut self) -> Stmt {
        if !self.locals.is_empty() && self.chance(40) {
            let at = self.below(self.locals.len());
            let local = self.locals[at];
            return Stmt::Set { local, value: self.expr(self.function.locals[local].ty, 3) };
        }
        let ty = self.ty();
        let value = self.expr(ty, 3);
        let local = self.function.locals.push(LocalData { name: "r".into(), ty });
        self.locals.push(local);
        Stmt::Set { local, value }
    }

    fn store(&mut self) -> Stmt {
        let buffer = self.buffer(|data| data.access != AccessMode::Read);
        let scalar = match self.function.buffers[buffer].dtype {
            DType::F32 => Scalar::F32,
            DType::I32 => Scalar::I32,
            DType::U8 => self.pick(&[Scalar::I32, Scalar::Bool]),
            DType::Bool => Scalar::Bool,
        };
        let lanes = self.pick(&LANES);
        let stride = if lanes == 1 { 1 } else { self.pick(&[1, 1, 2, 3, -1]) };
        let value = self.expr(Type::new(scalar, lanes), 3);
        let index = self.place(stride * (i64::from(lanes) - 1), true);
        Stmt::Store { buffer, index, stride, value }
    }

    fn buffer(&mut self, allowed: impl Fn(&BufferData) -> bool) -> Buffer {
        let buffers: Vec<Buffer> = self
            .function
            .buffers
            .iter()
            .filter(|(_, data)| allowed(data))
            .map(|(buffer, _)| buffer)
            .collect();
        self.pick(&buffers)
    }

    /// A place whose lanes, which reach to `spread` from it, lie in a buffer; in the iteration's own part of it if
    /// `own` and the function is parallel.
    fn place(&mut self, spread: i64, own: bool) -> Index {
        let mut parts = 1;
        let mut base = Index::from(0);
        if let Some(axis) = self.parallel.filter(|_| own) {
            parts = self.function.axes[axis].extent;
            base = Index::from(axis).scale(LENGTH as i64 / parts);
        }
        let room = LENGTH as i64 / parts - spread.abs();
        let index = self.index(own);
        let axes = &self.function.axes;
        let (low, high) = index.range(axes);
        let index = match high - low < room {
            true => index.offset(-low),
            false => index.rem(room, axes),
        };
        base.add(&index.offset(-spread.min(0)), axes)
    }

    /// An index of the axes in scope; without the parallel one if `serial`.
    fn index(&mut self, serial: bool) -> Index {
        let mut index = Index::from(self.below(9) as i64);
        for axis in self.axes.clone() {
            if (!serial || Some(axis) != self.parallel) && self.chance(70) {
                let k = self.pick(&[1, 1, 2, 4, 16, -1, -3]);
                index = index.add_scaled(&Index::from(axis), k, &self.function.axes);
            }
        }
        if self.chance(15) {
            let k = 2 + self.below(6) as i64;
            let axes = &self.function.axes;
            let other = Index::from(7);
            let parts = [
                index.div(k, axes),
                index.rem(k, axes),
                index.min_with(&other, axes),
                index.max_with(&other, axes),
            ];
            let part = self.below(parts.len());
            index = index.add(&parts[part], &self.function.axes);
        }
        index
    }

    fn expr(&mut self, ty: Type, depth: usize) -> Expr {
        let known: Vec<Local> =
            self.locals.iter().copied().filter(|local| self.function.locals[*local].ty == ty).collect();
        if !known.is_empty() && self.chance(35) {
            return Expr::Local(self.pick(&known));
        }
        if depth == 0 || self.chance(10) {
            return self.leaf(ty);
        }
        if ty.lanes > 1 && self.chance(15) {
            let scalar = self.expr(Type::new(ty.scalar, 1), depth - 1);
            return Expr::Splat(Box::new(scalar), ty.lanes);
        }
        if self.chance(10) {
            let condition = self.operand(ty.with_scalar(Scalar::Bool), depth);
            return Expr::Select(condition, self.operand(ty, depth), self.operand(ty, depth));
        }
        match ty.scalar {
            Scalar::F32 => self.float_expr(ty, depth),
            Scalar::I32 => self.int_expr(ty, depth),
            Scalar::Bool => self.bool_expr(ty, depth),
        }
    }

    fn operand(&mut self, ty: Type, depth: usize) -> Box<Expr> {
        Box::new(self.expr(ty, depth - 1))
    }

    fn leaf(&mut self, ty: Type) -> Expr {
        let scalar = match ty.scalar {
            Scalar::F32 => {
                if self.chance(60) {
                    return self.load(|data| data.dtype == DType::F32, ty.lanes);
                }
                let values = [0.0, -0.0, 1.0, -2.5, 1e30, 1e-40, f32::INFINITY, f32::NAN, 0.1];
                Expr::Float(self.pick(&values))
            }
            Scalar::I32 => match self.below(3) {
                0 => return self.load(|data| data.dtype != DType::F32, ty.lanes),
                1 => {
                    let stride = if ty.lanes == 1 { 0 } else { self.pick(&[0, 1, -3]) };
                    return Expr::Number { index: self.index(false), stride, lanes: ty.lanes };
                }
                _ => Expr::Int(self.pick(&[0, 1, -1, 7, 1000, i32::MIN, i32::MAX])),
            },
            Scalar::Bool => Expr::Bool(self.chance(50)),
        };
        match ty.lanes {
            1 => scalar,
            lanes => Expr::Splat(Box::new(scalar), lanes),
        }
    }

    fn load(&mut self, allowed: impl Fn(&BufferData) -> bool, lanes: u32) -> Expr {
        let exists =
            self.function.buffers.values().any(|data| data.access != AccessMode::Write && allowed(data));
        if !exists {
            let zero = Box::new(Expr::Int(0));
            return if lanes == 1 { *zero } else { Expr::Splat(zero, lanes) };
        }
        let buffer = self.buffer(|data| data.access != AccessMode::Write && allowed(data));
        let stride = if lanes == 1 { 1 } else { self.pick(&[1, 1, 1, 0, 2, -1, 5]) };
        let own = self.function.buffers[buffer].access == AccessMode::ReadWrite;
        let index = self.place(stride * (i64::from(lanes) - 1), own);
        Expr::Load { buffer, index, stride, lanes }
    }

    fn float_expr(&mut self, ty: Type, depth: usize) -> Expr {
        match self.below(12) {
            0 => {
                let op = self.pick(&[Unary::Neg, Unary::Abs, Unary::Sqrt, Unary::Floor]);
                Expr::Unary(op, self.operand(ty, depth))
            }
            1 => {
                let op = self.pick(&[Unary::ToFloat, Unary::FromBits]);
                Expr::Unary(op, self.operand(ty.with_scalar(Scalar::I32), depth))
            }
            2 | 3 => Expr::Fma(self.operand(ty, depth), self.operand(ty, depth), self.operand(ty, depth)),
            4 if ty.lanes == 1 => {
                let op = self.pick(&[Fold::Sum, Fold::Prod, Fold::Max, Fold::Min]);
                let lanes = self.pick(&LANES[1..]);
                Expr::Fold(op, self.operand(Type::new(ty.scalar, lanes), depth))
            }
            5 => {
                let stream = self.below(1 << 20) as u32;
                Expr::Uniform { stream, element: self.operand(ty.with_scalar(Scalar::I32), depth) }
            }
            _ => {
                let ops = [
                    Binary::Add,
                    Binary::Sub,
                    Binary::Mul,
                    Binary::Div,
                    Binary::Min,
                    Binary::Max,
                    Binary::Mul,
                ];
                Expr::Binary(self.pick(&ops), self.operand(ty, depth), self.operand(ty, depth))
            }
        }
    }

    fn int_expr(&mut self, ty: Type, depth: usize) -> Expr {
        match self.below(5) {
            0 => Expr::Unary(Unary::ToInt, self.operand(ty.with_scalar(Scalar::F32), depth)),
            1 => {
                // The bits of a NaN are not defined.
                let value = self.operand(ty.with_scalar(Scalar::F32), depth);
                let is_number = Expr::Binary(Binary::Eq, value.clone(), value.clone());
                let zero = match ty.lanes {
                    1 => Expr::Float(0.0),
                    lanes => Expr::Splat(Box::new(Expr::Float(0.0)), lanes),
                };
                let number = Expr::Select(Box::new(is_number), value, Box::new(zero));
                Expr::Unary(Unary::ToBits, Box::new(number))
            }
            2 => {
                let op = self.pick(&[Binary::Shl, Binary::Shr]);
                let amount = Box::new(Expr::Int(self.below(32) as i32));
                let amount = match ty.lanes {
                    1 => amount,
                    lanes if self.chance(70) => Box::new(Expr::Splat(amount, lanes)),
                    lanes => {
                        Box::new(Expr::Number { index: Index::from(0), stride: i64::from(32 / lanes), lanes })
                    }
                };
                Expr::Binary(op, self.operand(ty, depth), amount)
            }
            _ => {
                let ops = [
                    Binary::Add,
                    Binary::Sub,
                    Binary::Mul,
                    Binary::Min,
                    Binary::Max,
                    Binary::And,
                    Binary::Or,
                ];
                Expr::Binary(self.pick(&ops), self.operand(ty, depth), self.operand(ty, depth))
            }
        }
    }

    fn bool_expr(&mut self, ty: Type, depth: usize) -> Expr {
        match self.below(4) {
            0 => Expr::Unary(Unary::Not, self.operand(ty, depth)),
            1 => {
                let op = self.pick(&[Binary::And, Binary::Or]);
                Expr::Binary(op, self.operand(ty, depth), self.operand(ty, depth))
            }
            _ => {
                let ops = [Binary::Eq, Binary::Ne, Binary::Lt, Binary::Le, Binary::Gt, Binary::Ge];
                let ty = ty.with_scalar(self.pick(&[Scalar::F32, Scalar::I32]));
                Expr::Binary(self.pick(&ops), self.operand(ty, depth), self.operand(ty, depth))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::philox::RandomState;
    use crate::loops::{interpreter::run, parser::parse, verifier::verify};
    use crate::testing::samples::fill;

    #[test]
    fn random_functions_are_valid_and_read_back() {
        for seed in 0..300 {
            let function = function(seed);
            verify(&function).unwrap_or_else(|errors| panic!("{errors:?}\n{function}"));
            let text = function.to_string();
            let read = parse(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
            assert_eq!(read.to_string(), text);
            verify(&read).unwrap_or_else(|errors| panic!("{errors:?}\n{read}"));
            let (mut one, mut other) = (fill(&function), fill(&read));
            for (function, buffers) in [(&function, &mut one), (&read, &mut other)] {
                run(function, buffers, RandomState::default())
                    .unwrap_or_else(|error| panic!("{error}\n{text}"));
            }
            assert!(one.iter().zip(&other).all(|(one, other)| one.same_bits(other)), "{text}");
        }
    }
}
