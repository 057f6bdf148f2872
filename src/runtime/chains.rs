//! Loops that compute as much as a machine can: chains of multiply-adds in registers.

use crate::loops::{
    AccessMode, AxisData, Binary, BufferData, DType, Expr, ForKind, Function, Index, LocalData, Scalar, Stmt,
    Type,
};
use crate::sched::Machine;

/// Independent chains: enough to hide the latency of a multiply-add.
pub(super) const CHAINS: usize = 10;
/// Links of each.
pub(super) const ROUNDS: i64 = 10_000;

/// A function that computes so many times all chains, of vectors with so many lanes, and stores what they come to.
pub(super) fn chains(machine: &Machine, threads: i64, lanes: u32) -> Function {
    let mut function = Function { name: "peak".into(), ..Function::default() };
    let ty = Type { scalar: Scalar::F32, lanes };
    let (thread, round) = (
        function.axes.push(AxisData { name: "thread".into(), extent: threads }),
        function.axes.push(AxisData { name: "round".into(), extent: ROUNDS }),
    );
    let len = threads as usize * CHAINS * lanes as usize;
    let data = BufferData { name: "out".into(), dtype: DType::F32, len, access: AccessMode::Write };
    let buffer = function.buffers.push(data);
    let (mut before, mut inside, mut after) = (Vec::new(), Vec::new(), Vec::new());
    let scale = function.locals.push(LocalData { name: "scale".into(), ty });
    before.push(Stmt::Set { local: scale, value: Expr::Splat(Box::new(Expr::Float(0.999)), lanes) });
    for chain in 0..CHAINS {
        let local = function.locals.push(LocalData { name: "chain".into(), ty });
        let start = Expr::Splat(Box::new(Expr::Float(chain as f32)), lanes);
        before.push(Stmt::Set { local, value: start });
        let (x, y) = (Box::new(Expr::Local(local)), Box::new(Expr::Local(scale)));
        let value = if machine.target.fma() {
            Expr::Fma(x, y.clone(), y)
        } else {
            Expr::Binary(Binary::Add, Box::new(Expr::Binary(Binary::Mul, x, y.clone())), y)
        };
        inside.push(Stmt::Set { local, value });
        let width = i64::from(lanes);
        let index = Index::from(thread).scale(CHAINS as i64 * width).offset(chain as i64 * width);
        after.push(Stmt::Store { buffer, index, stride: 1, value: Expr::Local(local) });
    }
    before.push(Stmt::For { axis: round, kind: ForKind::Serial, body: inside });
    before.extend(after);
    function.body = vec![Stmt::For { axis: thread, kind: ForKind::Parallel, body: before }];
    function
}
