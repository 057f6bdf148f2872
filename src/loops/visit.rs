//! One walk through the statements of a function, for whatever asks what it touches.
//!
//! Statements are visited in the order in which they run, the operands of an expression from left to right, both
//! branches of a condition one after the other. The verifier and the back ends have walks of their own, because they
//! keep what they know at each place; what they know of an access is the same [`Access`].

use super::{Axis, Buffer, Expr, Function, Index, Stmt};

/// A load or a store: `lanes` elements of a buffer, the first at an index, the others `stride` elements apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Access<'f> {
    pub buffer: Buffer,
    pub index: &'f Index,
    pub stride: i64,
    pub lanes: u32,
    pub is_store: bool,
}

impl Access<'_> {
    /// Whether both are of the same elements, whatever they do with them, in buffers that share memory.
    pub fn is_same_place(&self, other: &Access<'_>) -> bool {
        (self.index, self.stride, self.lanes) == (other.index, other.stride, other.lanes)
    }

    /// The distances of the first and the last element from the one at the index, the smaller one first.
    pub fn spread(&self) -> (i64, i64) {
        let last = self.stride * i64::from(self.lanes - 1);
        (last.min(0), last.max(0))
    }
}

/// What is around an access.
#[derive(Clone, Copy, Debug)]
pub struct Around<'a> {
    /// The loops, from the outermost one.
    pub loops: &'a [Axis],
    /// Whether it depends on a condition.
    pub in_branch: bool,
}

/// Visits all accesses of a function.
pub fn for_each_access<'f>(function: &'f Function, visit: &mut dyn FnMut(Access<'f>, Around<'_>)) {
    let mut walk = Walk { function, loops: Vec::new(), in_branch: false, visit };
    walk.statements(&function.body);
}

/// Visits all expressions of statements, and all that they are made of.
pub fn for_each_expr<'f>(statements: &'f [Stmt], visit: &mut dyn FnMut(&'f Expr)) {
    for statement in statements {
        match statement {
            Stmt::For { body, .. } => for_each_expr(body, visit),
            Stmt::Set { value, .. } | Stmt::Store { value, .. } => within(value, visit),
            Stmt::If { condition, then, otherwise } => {
                within(condition, visit);
                for_each_expr(then, visit);
                for_each_expr(otherwise, visit);
            }
        }
    }
}

fn within<'f>(expr: &'f Expr, visit: &mut dyn FnMut(&'f Expr)) {
    visit(expr);
    expr.for_each_operand(&mut |operand| within(operand, visit));
}

struct Walk<'f, 'v> {
    function: &'f Function,
    loops: Vec<Axis>,
    in_branch: bool,
    visit: &'v mut dyn FnMut(Access<'f>, Around<'_>),
}

impl<'f> Walk<'f, '_> {
    fn statements(&mut self, statements: &'f [Stmt]) {
        for statement in statements {
            match statement {
                Stmt::For { axis, body, .. } => {
                    self.loops.push(*axis);
                    self.statements(body);
                    self.loops.pop();
                }
                Stmt::Set { value, .. } => self.expr(value),
                Stmt::Store { buffer, index, stride, value } => {
                    self.expr(value);
                    let lanes = self.function.type_of(value).map_or(1, |ty| ty.lanes);
                    self.access(Access { buffer: *buffer, index, stride: *stride, lanes, is_store: true });
                }
                Stmt::If { condition, then, otherwise } => {
                    self.expr(condition);
                    let outside = std::mem::replace(&mut self.in_branch, true);
                    self.statements(then);
                    self.statements(otherwise);
                    self.in_branch = outside;
                }
            }
        }
    }

    fn expr(&mut self, expr: &'f Expr) {
        within(expr, &mut |expr| {
            if let Expr::Load { buffer, index, stride, lanes } = expr {
                let (buffer, stride, lanes) = (*buffer, *stride, *lanes);
                self.access(Access { buffer, index, stride, lanes, is_store: false });
            }
        });
    }

    fn access(&mut self, access: Access<'f>) {
        (self.visit)(access, Around { loops: &self.loops, in_branch: self.in_branch });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loops::parser::parse;

    /// The accesses of a body, a line each.
    fn accesses(body: &str) -> Vec<String> {
        let head = "fn f(x: read f32[64], y: write f32[64], z: readwrite i32[64])";
        let function = parse(&format!("{head} {{ {body} }}")).unwrap_or_else(|error| panic!("{error}"));
        let mut found = Vec::new();
        for_each_access(&function, &mut |access, around| {
            let loops: Vec<&str> = around.loops.iter().map(|axis| &*function.axes[*axis].name).collect();
            let mut text = format!(
                "{} {} by {}, {} lanes",
                if access.is_store { "store" } else { "load" },
                function.buffers[access.buffer].name,
                access.stride,
                access.lanes,
            );
            text += &if loops.is_empty() { String::new() } else { format!(", in {}", loops.join(" ")) };
            text += if around.in_branch { ", perhaps" } else { "" };
            found.push(text);
        });
        found
    }

    #[test]
    fn accesses_come_in_the_order_in_which_they_run() {
        let body = "for i in 0..8 { a: f32x8 = x[8*i; 8] for j in 0..2 { y[8*i] = a + x[8*j; 8] } }
                    b: f32 = x[3] if b > x[4] { z[0] = z[1] } else { b = x[5] }";
        assert_eq!(
            accesses(body),
            [
                "load x by 1, 8 lanes, in i",
                "load x by 1, 8 lanes, in i j",
                "store y by 1, 8 lanes, in i j",
                "load x by 1, 1 lanes",
                "load x by 1, 1 lanes",
                "load z by 1, 1 lanes, perhaps",
                "store z by 1, 1 lanes, perhaps",
                "load x by 1, 1 lanes, perhaps",
            ]
        );
        assert!(accesses("a: f32 = 1.0").is_empty());
    }
}
