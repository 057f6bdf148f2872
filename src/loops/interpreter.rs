//! The interpreter of loop IR: says what a function means, in the plainest way.
//!
//! Values are vectors of lanes; every access is checked against its buffer. Parallel loops run in order. Native code
//! must give the same bits (any NaN equals any other). For machines that have no fused multiply-add, [`run_with`] rounds
//! it twice.

use cranelift_entity::SecondaryMap;

use super::{Axis, Binary, Buffer, DType, Expr, Fold, Function, Index, Local, Stmt, Unary};
use crate::base::philox::{self, RandomState};

/// The memory of one buffer.
#[derive(Clone, Debug, PartialEq)]
pub enum BufferMemory {
    F32(Vec<f32>),
    I32(Vec<i32>),
    /// `u8`, and `bool` as 0 and 1.
    U8(Vec<u8>),
}

impl From<Vec<f32>> for BufferMemory {
    fn from(data: Vec<f32>) -> BufferMemory {
        BufferMemory::F32(data)
    }
}

impl From<Vec<i32>> for BufferMemory {
    fn from(data: Vec<i32>) -> BufferMemory {
        BufferMemory::I32(data)
    }
}

impl From<Vec<u8>> for BufferMemory {
    fn from(data: Vec<u8>) -> BufferMemory {
        BufferMemory::U8(data)
    }
}

impl BufferMemory {
    /// `len` zeros.
    pub fn zeros(dtype: DType, len: usize) -> BufferMemory {
        match dtype {
            DType::F32 => BufferMemory::F32(vec![0.0; len]),
            DType::I32 => BufferMemory::I32(vec![0; len]),
            DType::U8 | DType::Bool => BufferMemory::U8(vec![0; len]),
        }
    }

    /// The number of elements.
    pub fn len(&self) -> usize {
        match self {
            BufferMemory::F32(data) => data.len(),
            BufferMemory::I32(data) => data.len(),
            BufferMemory::U8(data) => data.len(),
        }
    }

    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The elements of an `f32` buffer; none for others.
    pub fn as_f32(&self) -> Option<&[f32]> {
        match self {
            BufferMemory::F32(data) => Some(data),
            BufferMemory::I32(_) | BufferMemory::U8(_) => None,
        }
    }

    /// The address of the first element, for native code.
    pub fn as_mut_ptr(&mut self) -> *mut u8 {
        match self {
            BufferMemory::F32(data) => data.as_mut_ptr().cast(),
            BufferMemory::I32(data) => data.as_mut_ptr().cast(),
            BufferMemory::U8(data) => data.as_mut_ptr(),
        }
    }

    /// Whether both hold the same bits; NaNs are equal.
    pub fn same_bits(&self, other: &BufferMemory) -> bool {
        match (self, other) {
            (BufferMemory::F32(x), BufferMemory::F32(y)) => {
                x.len() == y.len()
                    && x.iter().zip(y).all(|(x, y)| x.to_bits() == y.to_bits() || (x.is_nan() && y.is_nan()))
            }
            _ => self == other,
        }
    }

    fn fits(&self, dtype: DType) -> bool {
        match self {
            BufferMemory::F32(_) => dtype == DType::F32,
            BufferMemory::I32(_) => dtype == DType::I32,
            BufferMemory::U8(_) => matches!(dtype, DType::U8 | DType::Bool),
        }
    }
}

/// Why a run stopped: the function is not a verified one, or the buffers are not its own.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RunError {
    #[error("{function} takes {wanted} buffers, not {given}")]
    BufferCount { function: String, wanted: usize, given: usize },
    #[error("buffer `{0}` has another length or element type than it is declared with")]
    BufferShape(String),
    #[error("element {at} of buffer `{name}`, which has {len}")]
    OutOfBounds { name: String, at: i64, len: usize },
    #[error("register `{0}` is read before it is set")]
    Unset(String),
    #[error("ill-typed: {0}")]
    IllTyped(String),
}

/// How `a * b + c` is rounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fma {
    /// Once, as the loop IR says.
    Fused,
    /// The product, then the sum, as machines do that have no fused instruction.
    Twice,
}

/// Runs a function on its buffers, given in the order of their ids.
///
/// # Errors
///
/// Where the function is not a verified one, or the buffers are not its own.
pub fn run(function: &Function, buffers: &mut [BufferMemory], state: RandomState) -> Result<(), RunError> {
    run_with(function, buffers, state, Fma::Fused)
}

/// The same on a machine that rounds as `fma` says.
///
/// # Errors
///
/// Those of [`run`].
pub fn run_with(
    function: &Function,
    buffers: &mut [BufferMemory],
    state: RandomState,
    fma: Fma,
) -> Result<(), RunError> {
    if buffers.len() != function.buffers.len() {
        let (wanted, given) = (function.buffers.len(), buffers.len());
        return Err(RunError::BufferCount { function: function.name.clone(), wanted, given });
    }
    for (data, memory) in function.buffers.values().zip(buffers.iter()) {
        if data.len != memory.len() || !memory.fits(data.dtype) {
            return Err(RunError::BufferShape(data.name.clone()));
        }
    }
    let (axes, locals) = (SecondaryMap::new(), SecondaryMap::new());
    Interpreter { function, buffers, state, fma, axes, locals }.block(&function.body)
}

#[derive(Clone, Debug, PartialEq)]
enum LaneValues {
    F32(Vec<f32>),
    I32(Vec<i32>),
    Bool(Vec<bool>),
}

struct Interpreter<'a> {
    function: &'a Function,
    buffers: &'a mut [BufferMemory],
    state: RandomState,
    fma: Fma,
    axes: SecondaryMap<Axis, i64>,
    locals: SecondaryMap<Local, Option<LaneValues>>,
}

impl Interpreter<'_> {
    fn block(&mut self, body: &[Stmt]) -> Result<(), RunError> {
        body.iter().try_for_each(|stmt| self.statement(stmt))
    }

    fn statement(&mut self, stmt: &Stmt) -> Result<(), RunError> {
        match stmt {
            Stmt::For { axis, kind: _, body } => {
                for value in 0..self.function.axes[*axis].extent {
                    self.axes[*axis] = value;
                    self.block(body)?;
                }
                Ok(())
            }
            Stmt::Set { local, value } => {
                self.locals[*local] = Some(self.value(value)?);
                Ok(())
            }
            Stmt::Store { buffer, index, stride, value } => {
                let value = self.value(value)?;
                self.store(*buffer, index, *stride, value)
            }
            Stmt::If { condition, then, otherwise } => match self.value(condition)? {
                LaneValues::Bool(truth) if truth == [true] => self.block(then),
                LaneValues::Bool(truth) if truth == [false] => self.block(otherwise),
                other => Err(RunError::IllTyped(format!("condition {other:?}"))),
            },
        }
    }

    fn position(&self, index: &Index) -> i64 {
        index.evaluate(&|axis| self.axes[axis])
    }

    fn store(
        &mut self,
        buffer: Buffer,
        index: &Index,
        stride: i64,
        value: LaneValues,
    ) -> Result<(), RunError> {
        let lanes = match &value {
            LaneValues::F32(x) => x.len(),
            LaneValues::I32(x) => x.len(),
            LaneValues::Bool(x) => x.len(),
        };
        let elements = self.elements(buffer, index, stride, lanes)?;
        let memory = &mut self.buffers[cranelift_entity::EntityRef::index(buffer)];
        match (memory, value) {
            (BufferMemory::F32(data), LaneValues::F32(x)) => elements.zip(x).for_each(|(at, x)| data[at] = x),
            (BufferMemory::I32(data), LaneValues::I32(x)) => elements.zip(x).for_each(|(at, x)| data[at] = x),
            (BufferMemory::U8(data), LaneValues::I32(x)) => {
                elements.zip(x).for_each(|(at, x)| data[at] = x as u8)
            }
            (BufferMemory::U8(data), LaneValues::Bool(x)) => {
                elements.zip(x).for_each(|(at, x)| data[at] = u8::from(x));
            }
            (_, value) => return Err(RunError::IllTyped(format!("store of {value:?}"))),
        }
        Ok(())
    }

    fn load(&self, buffer: Buffer, index: &Index, stride: i64, lanes: u32) -> Result<LaneValues, RunError> {
        let elements = self.elements(buffer, index, stride, lanes as usize)?;
        Ok(match &self.buffers[cranelift_entity::EntityRef::index(buffer)] {
            BufferMemory::F32(data) => LaneValues::F32(elements.map(|at| data[at]).collect()),
            BufferMemory::I32(data) => LaneValues::I32(elements.map(|at| data[at]).collect()),
            BufferMemory::U8(data) => LaneValues::I32(elements.map(|at| i32::from(data[at])).collect()),
        })
    }

    /// The elements that an access touches, lane by lane.
    fn elements(
        &self,
        buffer: Buffer,
        index: &Index,
        stride: i64,
        lanes: usize,
    ) -> Result<impl Iterator<Item = usize> + use<>, RunError> {
        let data = &self.function.buffers[buffer];
        let first = self.position(index);
        let last = first + stride * (lanes as i64 - 1);
        for at in [first, last] {
            if !(0..data.len as i64).contains(&at) {
                return Err(RunError::OutOfBounds { name: data.name.clone(), at, len: data.len });
            }
        }
        Ok((0..lanes as i64).map(move |lane| (first + lane * stride) as usize))
    }

    fn value(&self, expr: &Expr) -> Result<LaneValues, RunError> {
        match expr {
            Expr::Float(x) => Ok(LaneValues::F32(vec![*x])),
            Expr::Int(x) => Ok(LaneValues::I32(vec![*x])),
            Expr::Bool(x) => Ok(LaneValues::Bool(vec![*x])),
            Expr::Local(local) => self.locals[*local]
                .clone()
                .ok_or_else(|| RunError::Unset(self.function.locals[*local].name.clone())),
            Expr::Number { index, stride, lanes } => {
                let first = self.position(index);
                Ok(LaneValues::I32(
                    (0..i64::from(*lanes)).map(|lane| (first + lane * stride) as i32).collect(),
                ))
            }
            Expr::Load { buffer, index, stride, lanes } => self.load(*buffer, index, *stride, *lanes),
            Expr::Splat(value, lanes) => Ok(splat(self.value(value)?, *lanes as usize)),
            Expr::Unary(op, value) => unary(*op, self.value(value)?),
            Expr::Binary(op, x, y) => binary(*op, self.value(x)?, self.value(y)?),
            Expr::Fma(x, y, z) => match (self.value(x)?, self.value(y)?, self.value(z)?) {
                (LaneValues::F32(x), LaneValues::F32(y), LaneValues::F32(z)) => {
                    let join: fn(f32, f32, f32) -> f32 = match self.fma {
                        Fma::Fused => f32::mul_add,
                        Fma::Twice => |x, y, z| x * y + z,
                    };
                    let lanes = x.into_iter().zip(y).zip(z);
                    Ok(LaneValues::F32(lanes.map(|((x, y), z)| join(x, y, z)).collect()))
                }
                other => Err(RunError::IllTyped(format!("fma of {other:?}"))),
            },
            Expr::Select(condition, x, y) => select(self.value(condition)?, self.value(x)?, self.value(y)?),
            Expr::Fold(op, value) => match self.value(value)? {
                LaneValues::F32(lanes) => Ok(LaneValues::F32(vec![fold(*op, lanes)])),
                other => Err(RunError::IllTyped(format!("fold of {other:?}"))),
            },
            Expr::Uniform { stream, element } => match self.value(element)? {
                LaneValues::I32(x) => Ok(LaneValues::F32(
                    x.into_iter().map(|x| philox::uniform(self.state, *stream, x as u32)).collect(),
                )),
                other => Err(RunError::IllTyped(format!("uniform of {other:?}"))),
            },
        }
    }
}

/// The smaller one; NaN if either is; -0 is less than 0.
pub fn minimum(x: f32, y: f32) -> f32 {
    match (x.is_nan() || y.is_nan(), x == y) {
        (true, _) => f32::NAN,
        (false, true) if x.is_sign_negative() => x,
        (false, true) => y,
        (false, false) => x.min(y),
    }
}

/// The larger one; NaN if either is; 0 is more than -0.
pub fn maximum(x: f32, y: f32) -> f32 {
    -minimum(-x, -y)
}

fn splat(value: LaneValues, lanes: usize) -> LaneValues {
    match value {
        LaneValues::F32(x) => LaneValues::F32(vec![x[0]; lanes]),
        LaneValues::I32(x) => LaneValues::I32(vec![x[0]; lanes]),
        LaneValues::Bool(x) => LaneValues::Bool(vec![x[0]; lanes]),
    }
}

fn map<A, B>(x: Vec<A>, f: impl Fn(A) -> B) -> Vec<B> {
    x.into_iter().map(f).collect()
}

fn zip<A, B>(x: Vec<A>, y: Vec<A>, f: impl Fn(A, A) -> B) -> Vec<B> {
    x.into_iter().zip(y).map(|(x, y)| f(x, y)).collect()
}

fn unary(op: Unary, value: LaneValues) -> Result<LaneValues, RunError> {
    Ok(match (op, value) {
        (Unary::Neg, LaneValues::F32(x)) => LaneValues::F32(map(x, |x| -x)),
        (Unary::Abs, LaneValues::F32(x)) => LaneValues::F32(map(x, f32::abs)),
        (Unary::Sqrt, LaneValues::F32(x)) => LaneValues::F32(map(x, f32::sqrt)),
        (Unary::Floor, LaneValues::F32(x)) => LaneValues::F32(map(x, f32::floor)),
        (Unary::Fence, LaneValues::F32(x)) => LaneValues::F32(x),
        (Unary::Not, LaneValues::Bool(x)) => LaneValues::Bool(map(x, |x| !x)),
        (Unary::ToFloat, LaneValues::I32(x)) => LaneValues::F32(map(x, |x| x as f32)),
        (Unary::ToInt, LaneValues::F32(x)) => LaneValues::I32(map(x, |x| x as i32)),
        (Unary::ToBits, LaneValues::F32(x)) => LaneValues::I32(map(x, |x| x.to_bits() as i32)),
        (Unary::FromBits, LaneValues::I32(x)) => LaneValues::F32(map(x, |x| f32::from_bits(x as u32))),
        (op, value) => return Err(RunError::IllTyped(format!("{op:?} of {value:?}"))),
    })
}

fn binary(op: Binary, x: LaneValues, y: LaneValues) -> Result<LaneValues, RunError> {
    let result = match (x, y) {
        (LaneValues::F32(x), LaneValues::F32(y)) => binary_f32(op, x, y),
        (LaneValues::I32(x), LaneValues::I32(y)) => binary_i32(op, x, y),
        (LaneValues::Bool(x), LaneValues::Bool(y)) => binary_bool(op, x, y),
        (LaneValues::F32(_) | LaneValues::I32(_) | LaneValues::Bool(_), _) => None,
    };
    result.ok_or_else(|| RunError::IllTyped(format!("operands of {op:?}")))
}

fn compared<T: PartialOrd>(op: Binary, x: Vec<T>, y: Vec<T>) -> Option<LaneValues> {
    let compare: fn(&T, &T) -> bool = match op {
        Binary::Eq => T::eq,
        Binary::Ne => T::ne,
        Binary::Lt => T::lt,
        Binary::Le => T::le,
        Binary::Gt => T::gt,
        Binary::Ge => T::ge,
        _ => return None,
    };
    Some(LaneValues::Bool(zip(x, y, |x, y| compare(&x, &y))))
}

fn binary_f32(op: Binary, x: Vec<f32>, y: Vec<f32>) -> Option<LaneValues> {
    Some(match op {
        Binary::Add => LaneValues::F32(zip(x, y, |x, y| x + y)),
        Binary::Sub => LaneValues::F32(zip(x, y, |x, y| x - y)),
        Binary::Mul => LaneValues::F32(zip(x, y, |x, y| x * y)),
        Binary::Div => LaneValues::F32(zip(x, y, |x, y| x / y)),
        Binary::Min => LaneValues::F32(zip(x, y, minimum)),
        Binary::Max => LaneValues::F32(zip(x, y, maximum)),
        Binary::Eq | Binary::Ne | Binary::Lt | Binary::Le | Binary::Gt | Binary::Ge => compared(op, x, y)?,
        Binary::And | Binary::Or | Binary::Shl | Binary::Shr => return None,
    })
}

fn binary_i32(op: Binary, x: Vec<i32>, y: Vec<i32>) -> Option<LaneValues> {
    Some(match op {
        Binary::Add => LaneValues::I32(zip(x, y, i32::wrapping_add)),
        Binary::Sub => LaneValues::I32(zip(x, y, i32::wrapping_sub)),
        Binary::Mul => LaneValues::I32(zip(x, y, i32::wrapping_mul)),
        Binary::Min => LaneValues::I32(zip(x, y, i32::min)),
        Binary::Max => LaneValues::I32(zip(x, y, i32::max)),
        Binary::Eq | Binary::Ne | Binary::Lt | Binary::Le | Binary::Gt | Binary::Ge => compared(op, x, y)?,
        Binary::And => LaneValues::I32(zip(x, y, |x, y| x & y)),
        Binary::Or => LaneValues::I32(zip(x, y, |x, y| x | y)),
        Binary::Shl => LaneValues::I32(zip(x, y, |x, y| x.wrapping_shl(y as u32))),
        Binary::Shr => LaneValues::I32(zip(x, y, |x, y| x.wrapping_shr(y as u32))),
        Binary::Div => return None,
    })
}

fn binary_bool(op: Binary, x: Vec<bool>, y: Vec<bool>) -> Option<LaneValues> {
    match op {
        Binary::And => Some(LaneValues::Bool(zip(x, y, |x, y| x && y))),
        Binary::Or => Some(LaneValues::Bool(zip(x, y, |x, y| x || y))),
        Binary::Add | Binary::Sub | Binary::Mul | Binary::Div | Binary::Min | Binary::Max => None,
        Binary::Eq | Binary::Ne | Binary::Lt | Binary::Le | Binary::Gt | Binary::Ge => None,
        Binary::Shl | Binary::Shr => None,
    }
}

fn select(condition: LaneValues, x: LaneValues, y: LaneValues) -> Result<LaneValues, RunError> {
    fn pick<A>(condition: Vec<bool>, x: Vec<A>, y: Vec<A>) -> Vec<A> {
        condition.into_iter().zip(x.into_iter().zip(y)).map(|(c, (x, y))| if c { x } else { y }).collect()
    }
    match (condition, x, y) {
        (LaneValues::Bool(c), LaneValues::F32(x), LaneValues::F32(y)) => Ok(LaneValues::F32(pick(c, x, y))),
        (LaneValues::Bool(c), LaneValues::I32(x), LaneValues::I32(y)) => Ok(LaneValues::I32(pick(c, x, y))),
        (LaneValues::Bool(c), LaneValues::Bool(x), LaneValues::Bool(y)) => {
            Ok(LaneValues::Bool(pick(c, x, y)))
        }
        other => Err(RunError::IllTyped(format!("select of {other:?}"))),
    }
}

/// Joins lanes by halves.
fn fold(op: Fold, mut lanes: Vec<f32>) -> f32 {
    let join = match op {
        Fold::Sum => |x, y| x + y,
        Fold::Prod => |x, y| x * y,
        Fold::Max => maximum,
        Fold::Min => minimum,
    };
    while lanes.len() > 1 {
        let upper = lanes.split_off(lanes.len() / 2);
        lanes = zip(lanes, upper, join);
    }
    lanes[0]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loops::parser::parse;

    /// The product needs 26 bits, of which a rounded one loses the last.
    #[test]
    fn a_multiply_add_is_rounded_once_or_twice() {
        let text = "fn f(x: read f32[4], y: write f32[4]) { y[0] = fma(x[0; 4], x[0; 4], splat(-1.0, 4)) }";
        let function = parse(text).expect("parses");
        let x = 1.0 + f32::EPSILON;
        for (fma, expected) in
            [(Fma::Fused, 2.0 * f32::EPSILON + f32::EPSILON * f32::EPSILON), (Fma::Twice, 2.0 * f32::EPSILON)]
        {
            let mut buffers: Vec<BufferMemory> = vec![vec![x; 4].into(), vec![0.0_f32; 4].into()];
            run_with(&function, &mut buffers, RandomState::default(), fma).expect("a valid function");
            assert_eq!(buffers[1].as_f32(), Some([expected; 4].as_slice()), "{fma:?}");
        }
    }
}
