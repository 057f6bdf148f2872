//! Instructions on virtual registers: what the wide back end makes of a function before registers are given out.
//!
//! A virtual register is one machine vector of 128 bits or more; a scalar is lane 0 of the smallest one, and its other
//! lanes are never looked at. A truth value is a mask: all bits of a lane, or none. Instructions stand in the order in
//! which they run, inside loops and branches.

use cranelift_entity::PrimaryMap;

use crate::loops::pointers::{Pointer, PointerData};
use crate::loops::{Fold, Unary};

/// A virtual register.
pub type Reg = usize;
/// A constant of the pool behind the code.
pub type ConstantId = usize;

/// The bits of a machine vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Width {
    W128,
    W256,
    W512,
}

impl Width {
    /// The narrowest vector of so many lanes of 32 bits.
    pub fn of_lanes(lanes: usize) -> Width {
        match lanes {
            0..=4 => Width::W128,
            5..=8 => Width::W256,
            _ => Width::W512,
        }
    }

    /// Lanes of 32 bits.
    pub fn lanes(self) -> usize {
        match self {
            Width::W128 => 4,
            Width::W256 => 8,
            Width::W512 => 16,
        }
    }
}

/// A place in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryOperand {
    pub pointer: Pointer,
    /// In bytes.
    pub offset: i32,
}

/// What an instruction reads last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    Reg(Reg),
    /// As many bytes as the instruction's vectors have.
    MemoryOperand(MemoryOperand),
    /// One element in all lanes.
    Broadcast(MemoryOperand),
    Constant(ConstantId),
}

/// A function of two vectors that is one machine instruction, or a short sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VectorOp {
    AddF,
    SubF,
    MulF,
    DivF,
    /// The machine's: the second where neither is less.
    LessF,
    /// The machine's: the second where neither is greater.
    GreaterF,
    /// NaN where either is one, -0 before 0.
    MinF,
    MaxF,
    AddI,
    SubI,
    MulI,
    MinI,
    MaxI,
    /// The upper halves of the products of unsigned numbers.
    MulHigh,
    And,
    Or,
    Xor,
    ShiftLeft,
    ShiftRight,
}

/// A comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compare {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
}

/// What an element in memory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Element {
    /// 32 bits.
    Word,
    /// 8 bits: an `i32` of 0 to 255 in a register.
    Byte,
}

/// An instruction; `to` is what it sets.
#[derive(Clone, Debug, PartialEq)]
pub enum Inst {
    /// All of a vector.
    Move {
        to: Reg,
        from: Source,
    },
    /// Lane 0.
    LoadScalar {
        to: Reg,
        from: MemoryOperand,
        element: Element,
    },
    /// Bytes widened to lanes.
    LoadBytes {
        to: Reg,
        from: MemoryOperand,
    },
    /// Lane 0 in all lanes.
    Splat {
        to: Reg,
        from: Reg,
    },
    /// Lanes at these byte offsets.
    Gather {
        to: Reg,
        from: MemoryOperand,
        offsets: ConstantId,
    },
    /// A number of the loops in all lanes, plus a constant.
    Number {
        to: Reg,
        pointer: Pointer,
        offsets: ConstantId,
    },
    Unary {
        op: Unary,
        to: Reg,
        from: Source,
    },
    VectorOp {
        op: VectorOp,
        to: Reg,
        x: Reg,
        y: Source,
    },
    /// `x * y + z`.
    Fma {
        to: Reg,
        x: Reg,
        y: Source,
        z: Reg,
    },
    /// A mask.
    Compare {
        op: Compare,
        float: bool,
        to: Reg,
        x: Reg,
        y: Source,
    },
    /// Lane by lane `x` where the mask is set, else `y`.
    Select {
        to: Reg,
        mask: Reg,
        x: Reg,
        y: Reg,
    },
    /// The same where a comparison holds that nothing else reads.
    SelectWhere {
        op: Compare,
        float: bool,
        left: Reg,
        right: Source,
        to: Reg,
        x: Reg,
        y: Reg,
    },
    /// The lanes of one vector joined by halves into lane 0.
    Fold {
        op: Fold,
        to: Reg,
        from: Reg,
    },
    Store {
        to: MemoryOperand,
        from: Reg,
    },
    /// Lane 0.
    StoreScalar {
        to: MemoryOperand,
        from: Reg,
        element: Element,
    },
    /// The low bytes of all lanes.
    StoreBytes {
        to: MemoryOperand,
        from: Reg,
    },
    /// Lane `k` at `k * stride` bytes.
    Scatter {
        to: MemoryOperand,
        from: Reg,
        stride: i32,
        element: Element,
    },
    /// Asks for a line that will be read soon; it may lie outside of all memory.
    Prefetch {
        from: MemoryOperand,
    },
}

impl Inst {
    /// The register that is set.
    pub fn target(&self) -> Option<Reg> {
        match self {
            Inst::Move { to, .. }
            | Inst::LoadScalar { to, .. }
            | Inst::LoadBytes { to, .. }
            | Inst::Splat { to, .. }
            | Inst::Gather { to, .. }
            | Inst::Number { to, .. }
            | Inst::Unary { to, .. }
            | Inst::VectorOp { to, .. }
            | Inst::Fma { to, .. }
            | Inst::Compare { to, .. }
            | Inst::Select { to, .. }
            | Inst::SelectWhere { to, .. }
            | Inst::Fold { to, .. } => Some(*to),
            Inst::Store { .. }
            | Inst::StoreScalar { .. }
            | Inst::StoreBytes { .. }
            | Inst::Scatter { .. }
            | Inst::Prefetch { .. } => None,
        }
    }

    /// The vector in memory that is read, if that is what it reads last.
    pub fn loaded(&self) -> Option<MemoryOperand> {
        let source = match self {
            Inst::Move { from, .. } | Inst::Unary { from, .. } => from,
            Inst::VectorOp { y, .. } | Inst::Compare { y, .. } | Inst::Fma { y, .. } => y,
            Inst::SelectWhere { right, .. } => right,
            _ => return None,
        };
        if let Source::MemoryOperand(memory) = source { Some(*memory) } else { None }
    }

    /// Calls `visit` with every register that is read.
    pub fn for_each_read(&self, visit: &mut dyn FnMut(Reg)) {
        let mut source = |source: &Source| {
            if let Source::Reg(reg) = source {
                visit(*reg);
            }
        };
        match self {
            Inst::Move { from, .. } | Inst::Unary { from, .. } => source(from),
            Inst::LoadScalar { .. }
            | Inst::LoadBytes { .. }
            | Inst::Gather { .. }
            | Inst::Number { .. }
            | Inst::Prefetch { .. } => {}
            Inst::Splat { from, .. }
            | Inst::Fold { from, .. }
            | Inst::Store { from, .. }
            | Inst::StoreScalar { from, .. }
            | Inst::StoreBytes { from, .. }
            | Inst::Scatter { from, .. } => visit(*from),
            Inst::VectorOp { x, y, .. } | Inst::Compare { x, y, .. } => {
                source(y);
                visit(*x);
            }
            Inst::Fma { x, y, z, .. } => {
                source(y);
                visit(*x);
                visit(*z);
            }
            Inst::Select { mask, x, y, .. } => [*mask, *x, *y].into_iter().for_each(visit),
            Inst::SelectWhere { left, right, x, y, .. } => {
                source(right);
                [*left, *x, *y].into_iter().for_each(visit);
            }
        }
    }

    /// The pointer to what is read or written.
    pub fn pointer(&self) -> Option<Pointer> {
        let of = |source: &Source| match source {
            Source::MemoryOperand(memory) | Source::Broadcast(memory) => Some(memory.pointer),
            Source::Reg(_) | Source::Constant(_) => None,
        };
        match self {
            Inst::Move { from, .. } | Inst::Unary { from, .. } => of(from),
            Inst::LoadScalar { from, .. }
            | Inst::LoadBytes { from, .. }
            | Inst::Gather { from, .. }
            | Inst::Prefetch { from } => Some(from.pointer),
            Inst::Number { pointer, .. } => Some(*pointer),
            Inst::VectorOp { y, .. } | Inst::Compare { y, .. } | Inst::Fma { y, .. } => of(y),
            Inst::SelectWhere { right, .. } => of(right),
            Inst::Splat { .. } | Inst::Select { .. } | Inst::Fold { .. } => None,
            Inst::Store { to, .. }
            | Inst::StoreScalar { to, .. }
            | Inst::StoreBytes { to, .. }
            | Inst::Scatter { to, .. } => Some(to.pointer),
        }
    }
}

/// A piece of a body.
#[derive(Clone, Debug)]
pub enum Node {
    Inst(Inst),
    Loop(Loop),
    /// `condition` is a mask in lane 0.
    If {
        condition: Reg,
        then: Vec<Node>,
        otherwise: Vec<Node>,
    },
}

/// A loop over `0..extent`, or over the caller's range of it.
#[derive(Clone, Debug)]
pub struct Loop {
    pub extent: i64,
    pub parallel: bool,
    pub body: Vec<Node>,
    /// The pointers that move with it, those it needs first.
    pub pointers: Vec<Pointer>,
}

impl Loop {
    /// Whether no other loop is inside.
    pub fn is_innermost(&self) -> bool {
        fn has_loop(nodes: &[Node]) -> bool {
            nodes.iter().any(|node| match node {
                Node::Inst(_) => false,
                Node::Loop(_) => true,
                Node::If { then, otherwise, .. } => has_loop(then) || has_loop(otherwise),
            })
        }
        !has_loop(&self.body)
    }
}

/// A function before registers are given out.
#[derive(Clone, Debug, Default)]
pub struct Code {
    pub widths: Vec<Width>,
    pub pointers: PrimaryMap<Pointer, PointerData>,
    /// Bits of each lane.
    pub constants: Vec<Vec<u32>>,
    pub body: Vec<Node>,
}
