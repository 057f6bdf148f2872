//! Bodies as text, and the running pointers of their accesses.

use super::*;
use crate::loops::parser::parse;
use crate::loops::visit::for_each_expr;
use crate::loops::{Expr, Stmt};

/// The pointers of a function's accesses, a line each, in the order in which they are asked for.
fn pointers(body: &str) -> Vec<String> {
    let head = "fn f(x: read f32[4096], y: write f32[4096], z: write u8[4096])";
    let function = parse(&format!("{head} {{ {body} }}")).unwrap_or_else(|error| panic!("{error}"));
    let mut table = PointerTable::new(&function);
    let mut ends = Vec::new();
    walk(&function.body, &mut table, &mut ends);
    let names: Vec<&str> = ends.iter().map(|(_, axis)| &*function.axes[*axis].name).collect();
    let owner = |pointer: Pointer| ends.iter().position(|(own, _)| own.contains(&pointer));
    let all = table.pointers.iter().map(|(pointer, data)| {
        let owner = owner(pointer).map_or(String::new(), |at| format!(" ({})", names[at]));
        format!("{pointer} = {}{owner}", text(&function, data))
    });
    all.collect()
}

fn walk(body: &[Stmt], table: &mut PointerTable<'_>, ends: &mut Vec<(Vec<Pointer>, Axis)>) {
    for stmt in body {
        match stmt {
            Stmt::For { axis, body, .. } => {
                table.enter(*axis);
                walk(body, table, ends);
                ends.push((table.leave(), *axis));
            }
            Stmt::Store { buffer, index, .. } => {
                for_each_expr(std::slice::from_ref(stmt), &mut |expr| ask(expr, table));
                table.element(*buffer, index);
            }
            Stmt::Set { .. } | Stmt::If { .. } => {
                for_each_expr(std::slice::from_ref(stmt), &mut |expr| ask(expr, table));
            }
        }
    }
}

fn ask(expr: &Expr, table: &mut PointerTable<'_>) {
    match expr {
        Expr::Load { buffer, index, .. } => _ = table.element(*buffer, index),
        Expr::Number { index, .. } => _ = table.number(index),
        Expr::Uniform { .. } => _ = table.random_state(),
        _ => {}
    }
}

fn text(function: &Function, data: &PointerData) -> String {
    match (data.kind, data.root) {
        (PointerKind::Root, Root::Zero) => "0".into(),
        (PointerKind::Root, Root::RandomState) => "random".into(),
        (PointerKind::Root, Root::Buffer(buffer)) => function.buffers[buffer].name.clone(),
        (PointerKind::Running { from, step }, _) => format!("{from} by {step}"),
        (PointerKind::Computed { from, value, step }, _) => {
            let value = match value {
                Computed::Quotient { of, by, .. } => format!("{} / {by}", number(of)),
                Computed::Remainder { of, quotient, by } => format!("({} - {by} * {quotient})", number(of)),
                Computed::Min(x, y) => format!("min({}, {})", number(x), number(y)),
                Computed::Max(x, y) => format!("max({}, {})", number(x), number(y)),
            };
            format!("{from} + {step} * {value}")
        }
    }
}

fn number(Number { pointer, constant }: Number) -> String {
    match pointer {
        None => constant.to_string(),
        Some(pointer) if constant == 0 => pointer.to_string(),
        Some(pointer) => format!("({pointer} + {constant})"),
    }
}

fn check(body: &str, wanted: &[&str]) {
    assert_eq!(pointers(body), wanted, "{body}");
}

#[test]
fn accesses_that_differ_by_a_constant_share_a_pointer() {
    let body = "for i in 0..4 { for j in 0..8 { y[100*i + j] = x[100*i + j] + x[100*i + j + 1] } }";
    check(
        body,
        &[
            "p0 = x",
            "p1 = p0 by 400 (i)",
            "p2 = p1 by 4 (j)",
            "p3 = y",
            "p4 = p3 by 400 (i)",
            "p5 = p4 by 4 (j)",
        ],
    );
}

/// What an inner loop does not move belongs to the loop that moves it, or to none.
#[test]
fn a_pointer_belongs_to_the_innermost_loop_that_moves_it() {
    let body = "for i in 0..4 { for j in 0..8 { z[7] = 0.5 < x[3*i]  z[j] = x[9] < 2.0 } }";
    check(body, &["p0 = x", "p1 = p0 by 12 (i)", "p2 = z", "p3 = p2 by 1 (j)"]);
}

#[test]
fn each_loop_over_an_axis_has_pointers_of_its_own() {
    let body = "for i in 0..4 { y[i] = 1.0 }  for j in 0..4 { y[j] = 2.0 }";
    check(body, &["p0 = y", "p1 = p0 by 4 (i)", "p2 = p0 by 4 (j)"]);
}

#[test]
fn what_is_not_affine_is_computed_once_an_iteration() {
    check(
        "for i in 0..4 { for j in 0..8 { y[8*i + (j / 3)] = 1.0 } }",
        &["p0 = y", "p1 = p0 by 32 (i)", "p2 = 0", "p3 = p2 by 1 (j)", "p4 = p1 + 4 * p3 / 3 (j)"],
    );
    // The quotient is that of both, and the term of the loop itself is added before what is computed.
    check(
        "for j in 0..8 { y[j + 10*(j / 3) + 100*((j + 1) % 5)] = 1.0 }",
        &[
            "p0 = y",
            "p1 = p0 by 4 (j)",
            "p2 = 0",
            "p3 = p2 by 1 (j)",
            "p4 = p2 + 1 * (p3 + 1) / 5 (j)",
            "p5 = p1 + 400 * ((p3 + 1) - 5 * p4) (j)",
            "p6 = p5 + 40 * p3 / 3 (j)",
        ],
    );
}

#[test]
fn choices_are_of_numbers() {
    check(
        "for i in 0..4 { for j in 0..8 { y[min(i, j) + 64] = 1.0 } }",
        &["p0 = y", "p1 = 0", "p2 = p1 by 1 (i)", "p3 = p1 by 1 (j)", "p4 = p0 + 4 * min(p2, p3) (j)"],
    );
    check(
        "for i in 0..4 { y[max(i, 2)] = 1.0 }",
        &["p0 = y", "p1 = 0", "p2 = p1 by 1 (i)", "p3 = p0 + 4 * max(p2, 2) (i)"],
    );
}

#[test]
fn a_number_is_a_pointer_whose_root_is_zero() {
    check(
        "for i in 0..4 { y[0] = uniform(7, int(2*i + 5)) }",
        &["p0 = random", "p1 = 0", "p2 = p1 by 2 (i)", "p3 = y"],
    );
}
