//! Loop functions for tests: a register-tiled convolution, and a map over numbers.

use crate::loops::interpreter::BufferMemory;
use crate::loops::math::{Arithmetic, Emitter};
use crate::loops::{
    AccessMode, Axes, Axis, AxisData, Buffer, BufferData, DType, Expr, ForKind, Function, Index, Local,
    LocalData, Scalar, Stmt, Type,
};

/// The shape of a convolution with padded input, and of its tile.
#[derive(Clone, Copy, Debug)]
pub struct Convolution {
    /// Groups of `lanes` images.
    pub groups: i64,
    pub inputs: i64,
    pub outputs: i64,
    /// Height and width of the result.
    pub side: i64,
    /// Output channels of a tile.
    pub channels: i64,
    /// Output pixels of a tile, along the width.
    pub pixels: i64,
    pub lanes: u32,
    /// Height and width of the filter.
    pub kernel: i64,
    pub fma: bool,
}

impl Convolution {
    /// Multiply-adds of the whole function.
    pub fn multiply_adds(&self) -> i64 {
        let points = self.groups * i64::from(self.lanes) * self.outputs * self.side * self.side;
        points * self.inputs * self.kernel * self.kernel
    }

    /// `y[n, o, h, w, lane] = sum[c, u, v] weight[o, c, u, v] * x[n, c, h + u, w + v, lane]`.
    pub fn function(&self) -> Function {
        let lanes = i64::from(self.lanes);
        let padded = self.side + self.kernel - 1;
        let mut function = Function { name: "convolution".into(), ..Function::default() };
        let mut buffer = |name: &str, len: i64, access| {
            let data = BufferData { name: name.into(), dtype: DType::F32, len: len as usize, access };
            function.buffers.push(data)
        };
        let x = buffer("x", self.groups * self.inputs * padded * padded * lanes, AccessMode::Read);
        let weight =
            buffer("weight", self.outputs * self.inputs * self.kernel * self.kernel, AccessMode::Read);
        let y = buffer("y", self.groups * self.outputs * self.side * self.side * lanes, AccessMode::Write);
        let mut axis = |name: &str, extent| function.axes.push(AxisData { name: name.into(), extent });
        let n = axis("n", self.groups);
        let (o, h) = (axis("o", self.outputs / self.channels), axis("h", self.side));
        let w = axis("w", self.side / self.pixels);
        let (c, u, v) = (axis("c", self.inputs), axis("u", self.kernel), axis("v", self.kernel));
        let mut tile = Tile { shape: *self, axes: function.axes.clone(), function };
        let place = Place { n, o, h, w, c, u, v };
        let accumulators = tile.registers("acc", self.channels * self.pixels, self.lanes);
        let mut body = tile.clear(&accumulators);
        let taps = tile.taps(x, weight, place, &accumulators);
        body.push(serial(c, vec![serial(u, vec![serial(v, taps)])]));
        body.extend(tile.results(y, place, &accumulators));
        let body = vec![serial(o, vec![serial(h, vec![serial(w, body)])])];
        tile.function.body = vec![Stmt::For { axis: n, kind: ForKind::Parallel, body }];
        tile.function
    }
}

fn serial(axis: Axis, body: Vec<Stmt>) -> Stmt {
    Stmt::For { axis, kind: ForKind::Serial, body }
}

#[derive(Clone, Copy)]
struct Place {
    n: Axis,
    o: Axis,
    h: Axis,
    w: Axis,
    c: Axis,
    u: Axis,
    v: Axis,
}

struct Tile {
    shape: Convolution,
    axes: Axes,
    function: Function,
}

impl Tile {
    fn registers(&mut self, name: &str, count: i64, lanes: u32) -> Vec<Local> {
        let ty = Type::new(Scalar::F32, lanes);
        let mut register = |k| self.function.locals.push(LocalData { name: format!("{name}{k}"), ty });
        (0..count).map(&mut register).collect()
    }

    fn sum(&self, terms: &[(i64, Axis)], constant: i64) -> Index {
        let zero = Index::from(constant);
        terms.iter().fold(zero, |sum, (k, axis)| sum.add_scaled(&Index::from(*axis), *k, &self.axes))
    }

    fn clear(&self, accumulators: &[Local]) -> Vec<Stmt> {
        let zero = |local: &Local| Stmt::Set {
            local: *local,
            value: Expr::Splat(Box::new(Expr::Float(0.0)), self.shape.lanes),
        };
        accumulators.iter().map(zero).collect()
    }

    fn taps(&mut self, x: Buffer, weight: Buffer, at: Place, accumulators: &[Local]) -> Vec<Stmt> {
        let shape = self.shape;
        let lanes = i64::from(shape.lanes);
        let padded = shape.side + shape.kernel - 1;
        let inputs = self.registers("x", shape.pixels, shape.lanes);
        let row = lanes * padded;
        let mut body = Vec::new();
        for (pixel, local) in inputs.iter().enumerate() {
            let terms = [
                (shape.inputs * padded * row, at.n),
                (padded * row, at.c),
                (row, at.h),
                (row, at.u),
                (shape.pixels * lanes, at.w),
                (lanes, at.v),
            ];
            let index = self.sum(&terms, pixel as i64 * lanes);
            let value = Expr::Load { buffer: x, index, stride: 1, lanes: shape.lanes };
            body.push(Stmt::Set { local: *local, value });
        }
        for channel in 0..shape.channels {
            let (kernel, filter) = (shape.kernel, shape.inputs * shape.kernel * shape.kernel);
            let terms = [(shape.channels * filter, at.o), (kernel * kernel, at.c), (kernel, at.u), (1, at.v)];
            let index = self.sum(&terms, channel * filter);
            for (pixel, input) in inputs.iter().enumerate() {
                let scalar = Expr::Load { buffer: weight, index: index.clone(), stride: 0, lanes: 1 };
                let factor = Box::new(Expr::Splat(Box::new(scalar), shape.lanes));
                let accumulator = accumulators[(channel * shape.pixels) as usize + pixel];
                let (input, sum) = (Box::new(Expr::Local(*input)), Box::new(Expr::Local(accumulator)));
                let value = match shape.fma {
                    true => Expr::Fma(factor, input, sum),
                    false => {
                        let product = Expr::Binary(crate::loops::Binary::Mul, factor, input);
                        Expr::Binary(crate::loops::Binary::Add, Box::new(product), sum)
                    }
                };
                body.push(Stmt::Set { local: accumulator, value });
            }
        }
        body
    }

    fn results(&self, y: Buffer, at: Place, accumulators: &[Local]) -> Vec<Stmt> {
        let shape = self.shape;
        let lanes = i64::from(shape.lanes);
        let (row, plane) = (lanes * shape.side, lanes * shape.side * shape.side);
        let terms = [
            (shape.outputs * plane, at.n),
            (shape.channels * plane, at.o),
            (row, at.h),
            (shape.pixels * lanes, at.w),
        ];
        let store = |(k, local): (usize, &Local)| {
            let (channel, pixel) = (k as i64 / shape.pixels, k as i64 % shape.pixels);
            let index = self.sum(&terms, channel * plane + pixel * lanes);
            Stmt::Store { buffer: y, index, stride: 1, value: Expr::Local(*local) }
        };
        accumulators.iter().enumerate().map(store).collect()
    }
}

/// The lanes of [`mapping`].
pub const MAPPING_LANES: u32 = 16;

/// A function that applies `emit` to `len` pairs of numbers: `z[i] = f(x[i], y[i])`.
pub fn mapping(
    len: usize,
    arithmetic: Arithmetic,
    emit: &dyn Fn(&mut Emitter, Expr, Expr) -> Expr,
) -> Function {
    let mut function = Function { name: "map".into(), ..Function::default() };
    let mut buffer = |name: &str, access| {
        function.buffers.push(BufferData { name: name.into(), dtype: DType::F32, len, access })
    };
    let (x, y) = (buffer("x", AccessMode::Read), buffer("y", AccessMode::Read));
    let z = buffer("z", AccessMode::Write);
    let extent = len as i64 / i64::from(MAPPING_LANES);
    let axis = function.axes.push(AxisData { name: "i".into(), extent });
    let index = Index::from(axis).scale(i64::from(MAPPING_LANES));
    let load = |buffer| Expr::Load { buffer, index: index.clone(), stride: 1, lanes: MAPPING_LANES };
    let mut body = Vec::new();
    let value = emit(&mut Emitter::new(&mut function, &mut body, arithmetic), load(x), load(y));
    body.push(Stmt::Store { buffer: z, index: index.clone(), stride: 1, value });
    function.body = vec![Stmt::For { axis, kind: ForKind::Parallel, body }];
    function
}

/// Memory for the buffers of a function, with numbers of all kinds.
pub fn fill(function: &Function) -> Vec<BufferMemory> {
    let number = |at: usize| ((at * 7919 + 13) % 257) as f32 * 0.125 - 16.0;
    let memory = |data: &BufferData| match data.dtype {
        DType::F32 => (0..data.len).map(number).collect::<Vec<f32>>().into(),
        DType::I32 => (0..data.len).map(|at| number(at) as i32 * 1000).collect::<Vec<i32>>().into(),
        DType::U8 => (0..data.len).map(|at| (at * 37) as u8).collect::<Vec<u8>>().into(),
        DType::Bool => (0..data.len).map(|at| u8::from(at % 3 == 0)).collect::<Vec<u8>>().into(),
    };
    function.buffers.values().map(memory).collect()
}
