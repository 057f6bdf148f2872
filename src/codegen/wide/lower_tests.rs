//! What loop IR becomes: bodies as text, instructions as short lines.

use super::*;
use crate::loops::parser::parse;
use crate::loops::pointers::{PointerKind, Root};

const HEAD: &str =
    "fn f(x: read f32[256], u: read u8[256], y: readwrite f32[256], z: write f32[256], m: write bool[64])";

fn function(body: &str) -> Verified {
    let function = parse(&format!("{HEAD} {{ {body} }}")).unwrap_or_else(|error| panic!("{error}"));
    Verified::new(function).unwrap_or_else(|invalid| panic!("{invalid}"))
}

/// The instructions for AVX-512, or for AVX2, which has no broadcasts as operands.
fn instructions(body: &str, widest: Width) -> Vec<String> {
    let function = function(body);
    let code = lower(&function, widest, widest == Width::W512).expect("it has instructions");
    let mut lines = Vec::new();
    Text { function: &function, code: &code, names: HashMap::new() }.nodes(&code.body, &mut lines);
    lines
}

fn check(body: &str, wanted: &[&str]) {
    assert_eq!(instructions(body, Width::W512), wanted, "{body}");
}

fn check_avx2(body: &str, wanted: &[&str]) {
    assert_eq!(instructions(body, Width::W256), wanted, "{body}");
}

struct Text<'c> {
    function: &'c Function,
    code: &'c Code,
    /// Registers are numbered as they are first mentioned.
    names: HashMap<Reg, usize>,
}

impl Text<'_> {
    fn nodes(&mut self, nodes: &[Node], lines: &mut Vec<String>) {
        for node in nodes {
            match node {
                Node::Inst(inst) => lines.push(self.inst(inst)),
                Node::Loop(inner) => {
                    lines.push(format!("loop {}", inner.extent));
                    self.nodes(&inner.body, lines);
                    lines.push("end".into());
                }
                Node::If { condition, then, otherwise } => {
                    let condition = self.reg(*condition);
                    lines.push(format!("if {condition}"));
                    self.nodes(then, lines);
                    lines.push("else".into());
                    self.nodes(otherwise, lines);
                    lines.push("end".into());
                }
            }
        }
    }

    /// The value that is set is named after those that are read.
    fn inst(&mut self, inst: &Inst) -> String {
        let text = match inst {
            Inst::Move { from, .. } => self.source(from),
            Inst::LoadScalar { from, element, .. } => format!("{element:?} {}", self.place(from)),
            Inst::LoadBytes { from, .. } => format!("bytes {}", self.place(from)),
            Inst::Splat { from, .. } => format!("splat {}", self.reg(*from)),
            Inst::Gather { from, .. } => format!("gather {}", self.place(from)),
            Inst::Number { .. } => "number".into(),
            Inst::Unary { op, from, .. } => format!("{op:?} {}", self.source(from)),
            Inst::VectorOp { op, x, y, .. } => format!("{op:?} {}, {}", self.reg(*x), self.source(y)),
            Inst::Fma { x, y, z, .. } => {
                format!("Fma {}, {}, {}", self.reg(*x), self.source(y), self.reg(*z))
            }
            Inst::Compare { op, x, y, .. } => format!("{op:?} {}, {}", self.reg(*x), self.source(y)),
            Inst::Select { mask, x, y, .. } => {
                format!("{} ? {} : {}", self.reg(*mask), self.reg(*x), self.reg(*y))
            }
            Inst::SelectWhere { op, left, right, x, y, .. } => {
                let (left, right) = (self.reg(*left), self.source(right));
                format!("{left} {op:?} {right} ? {} : {}", self.reg(*x), self.reg(*y))
            }
            Inst::Fold { op, from, .. } => format!("fold {op:?} {}", self.reg(*from)),
            Inst::Store { to, from } => format!("{} = {}", self.place(to), self.reg(*from)),
            Inst::StoreScalar { to, from, element } => {
                format!("{} = {element:?} {}", self.place(to), self.reg(*from))
            }
            Inst::StoreBytes { to, from } => format!("{} = bytes {}", self.place(to), self.reg(*from)),
            Inst::Scatter { to, from, stride, .. } => {
                format!("{} by {stride} = {}", self.place(to), self.reg(*from))
            }
            Inst::Prefetch { from } => format!("prefetch {}", self.place(from)),
        };
        inst.target().map_or(text.clone(), |to| format!("{} = {text}", self.reg(to)))
    }

    fn reg(&mut self, reg: Reg) -> String {
        let next = self.names.len();
        format!("v{}", self.names.entry(reg).or_insert(next))
    }

    fn source(&mut self, source: &Source) -> String {
        match source {
            Source::Reg(reg) => self.reg(*reg),
            Source::MemoryOperand(place) => self.place(place),
            Source::Broadcast(place) => format!("all {}", self.place(place)),
            Source::Constant(constant) => match self.code.constants[*constant][0] {
                bits @ 1..0x1000 => format!("#{bits}"),
                bits => f32::from_bits(bits).to_string(),
            },
        }
    }

    /// The buffer and the bytes from its pointer; a pointer that moves is marked.
    fn place(&self, MemoryOperand { pointer, offset }: &MemoryOperand) -> String {
        let data = &self.code.pointers[*pointer];
        let name = match data.root {
            Root::Buffer(buffer) => &self.function.buffers[buffer].name,
            Root::Zero | Root::RandomState => "?",
        };
        format!("{name}{}+{offset}", if data.kind == PointerKind::Root { "" } else { "'" })
    }
}

#[test]
fn a_load_that_is_read_once_is_an_operand() {
    check(
        "a: f32x16 = x[0; 16]  b: f32x16 = x[16; 16]  z[0] = a + b",
        &["v0 = x+64", "v1 = AddF v0, x+0", "z+0 = v1"],
    );
    check("a: f32x16 = x[0; 16]  z[0] = a * a", &["v0 = x+0", "v1 = MulF v0, v0", "z+0 = v1"]);
    // The other operand is in a register, and a sum may be turned round but not a difference.
    check(
        "a: f32x16 = neg(x[0; 16])  b: f32x16 = x[16; 16]  z[0] = b + a",
        &["v0 = Neg x+0", "v1 = AddF v0, x+64", "z+0 = v1"],
    );
    check(
        "a: f32x16 = neg(x[0; 16])  b: f32x16 = x[16; 16]  z[0] = b - a",
        &["v0 = Neg x+0", "v1 = x+64", "v2 = SubF v1, v0", "z+0 = v2"],
    );
}

#[test]
fn an_operand_is_not_read_after_its_buffer_has_changed() {
    check(
        "a: f32x16 = y[0; 16]  y[0] = neg(x[0; 16])  z[0] = neg(a)",
        &["v0 = y+0", "v1 = Neg x+0", "y+0 = v1", "v2 = Neg v0", "z+0 = v2"],
    );
    check("a: f32x16 = y[0; 16]  y[16] = neg(a)", &["v0 = Neg y+0", "y+64 = v0"]);
}

#[test]
fn a_scalar_in_all_lanes_is_a_broadcast() {
    let product = "a: f32 = x[3]  b: f32x16 = splat(a, 16)  c: f32x16 = x[16; 16]  d: f32x16 = c * c  z[0] = fma(b, c, d)";
    check(product, &["v0 = x+64", "v1 = MulF v0, v0", "v2 = Fma v0, all x+12, v1", "z+0 = v2"]);
    // AVX2 has no such operand: it is loaded, once for both halves.
    let both = "b: f32x16 = splat(x[3], 16)  z[0] = b + x[16; 16]";
    check(both, &["v0 = x+64", "v1 = AddF v0, all x+12", "z+0 = v1"]);
    let halves = [
        "v0 = all x+12",
        "v1 = all x+12",
        "v2 = AddF v0, x+64",
        "v3 = AddF v1, x+96",
        "z+0 = v2",
        "z+32 = v3",
    ];
    check_avx2(both, &halves);
    check("z[0] = splat(2.5, 16) * x[0; 16]", &["v0 = x+0", "v1 = MulF v0, 2.5", "z+0 = v1"]);
}

#[test]
fn the_same_vector_is_loaded_once() {
    let twice = "a: f32x16 = y[0; 16]  b: f32x16 = y[0; 16]  z[0] = a * a  z[16] = b * b";
    check(twice, &["v0 = y+0", "v1 = MulF v0, v0", "z+0 = v1", "v2 = MulF v0, v0", "z+64 = v2"]);
    let changed = "a: f32x16 = y[0; 16]  z[0] = a * a  y[0] = neg(a)  b: f32x16 = y[0; 16]  z[16] = b * b";
    let lines = instructions(changed, Width::W512);
    assert_eq!(lines.iter().filter(|line| line.ends_with("= y+0")).count(), 2, "{lines:?}");
}

#[test]
fn a_choice_by_a_comparison_is_one_instruction() {
    check(
        "a: f32x16 = x[0; 16]  z[0] = select(a < splat(0.0, 16), neg(a), a)",
        &["v0 = x+0", "v1 = Neg v0", "v2 = v0 Lt 0 ? v1 : v0", "z+0 = v2"],
    );
    // The smaller of two is the machine's own where it gives what was compared.
    check(
        "a: f32x16 = neg(x[0; 16])  b: f32x16 = neg(x[16; 16])  z[0] = select(a < b, a, b)",
        &["v0 = Neg x+0", "v1 = Neg x+64", "v2 = LessF v0, v1", "z+0 = v2"],
    );
    check(
        "a: f32x16 = neg(x[0; 16])  b: f32x16 = neg(x[16; 16])  z[0] = select(a <= b, a, b)",
        &["v0 = Neg x+0", "v1 = Neg x+64", "v2 = v0 Le v1 ? v0 : v1", "z+0 = v2"],
    );
}

#[test]
fn a_wide_vector_is_folded_by_halves() {
    let fold = "a: f32x16 = x[0; 16] * x[16; 16]  z[0] = fold_sum(a)";
    let halves = [
        "v0 = x+64",
        "v1 = MulF v0, x+0",
        "v2 = x+96",
        "v3 = MulF v2, x+32",
        "v4 = AddF v1, v3",
        "v5 = fold Sum v4",
        "z+0 = Word v5",
    ];
    check_avx2(fold, &halves);
}

#[test]
fn elements_apart_and_bytes_have_instructions_of_their_own() {
    check("z[0] = neg(x[1; 16 by 3])", &["v0 = gather x+4", "v1 = Neg v0", "z+0 = v1"]);
    check("z[0; by 2] = neg(x[0; 16])", &["v0 = Neg x+0", "z+0 by 8 = v0"]);
    check("z[0] = to_float(u[4; 16])", &["v0 = bytes u+4", "v1 = ToFloat v0", "z+0 = v1"]);
    check(
        "m[0] = x[0; 16] < splat(1.0, 16)",
        &["v0 = x+0", "v1 = Lt v0, 1", "v2 = And v1, #1", "m+0 = bytes v2"],
    );
    let error = lower(&function("z[0] = to_float(u[0; 16 by 2])"), Width::W512, true)
        .expect_err("no gather of bytes");
    assert_eq!(error.to_string(), "no wide instructions for bytes that lie apart");
}

#[test]
fn pointers_move_with_the_loops() {
    check(
        "for i in 0..4 { z[16*i] = neg(x[16*i + 2; 16])  if x[i] < 1.0 { z[0] = 1.0 } else { } }",
        &[
            "loop 4",
            "v0 = Neg x'+8",
            "z'+0 = v0",
            "v1 = Word x'+0",
            "v2 = Lt v1, 1",
            "if v2",
            "v3 = 1",
            "z+0 = Word v3",
            "else",
            "end",
            "end",
        ],
    );
}
