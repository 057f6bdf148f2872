//! Bodies as text, and what is known of their loads.

use super::*;
use crate::loops::parser::parse;

/// The facts of a body: the registers whose loads wait, and groups of registers that the same load is set to.
fn facts(body: &str) -> (Vec<String>, Vec<String>) {
    let head = "fn f(x: read f32[64], y: readwrite f32[64], z: write f32[64])";
    let function = parse(&format!("{head} {{ {body} }}")).unwrap_or_else(|error| panic!("{error}"));
    let loads = Loads::of(&function);
    let name = |local: Local| function.locals[local].name.clone();
    let waiting = function.locals.keys().filter(|local| loads.waits(*local)).map(name).collect();
    let mut groups: Vec<(Load, Vec<String>)> = Vec::new();
    for_each_set(&function.body, &mut |local, value| {
        let Some(load) = loads.number(value) else { return };
        match groups.iter_mut().find(|(known, _)| *known == load) {
            Some((_, group)) => group.push(name(local)),
            None => groups.push((load, vec![name(local)])),
        }
    });
    let same = groups.into_iter().filter(|(_, group)| group.len() > 1).map(|(_, group)| group.join(" "));
    (waiting, same.collect())
}

fn for_each_set<'f>(body: &'f [Stmt], visit: &mut dyn FnMut(Local, &'f Expr)) {
    for stmt in body {
        match stmt {
            Stmt::For { body, .. } => for_each_set(body, visit),
            Stmt::Set { local, value } => visit(*local, value),
            Stmt::Store { .. } => {}
            Stmt::If { then, otherwise, .. } => {
                for_each_set(then, visit);
                for_each_set(otherwise, visit);
            }
        }
    }
}

fn check(body: &str, waiting: &[&str], same: &[&str]) {
    assert_eq!(facts(body), (own(waiting), own(same)), "{body}");
}

fn own(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn a_load_waits_until_it_is_read() {
    check("a: f32x8 = x[0; 8]  b: f32 = 1.0  z[0] = a", &["a"], &[]);
    check("a: f32 = x[0]  b: f32x8 = splat(a, 8)  z[0] = b", &["a", "b"], &[]);
    check("a: f32x8 = splat(x[3], 8)  z[0] = a + a", &["a"], &[]);
    // What nobody reads does not wait, and what is computed is no load.
    check("a: f32 = x[0]  b: f32 = x[1] + 1.0  z[0] = b", &[], &[]);
}

#[test]
fn a_load_does_not_wait_beyond_a_store() {
    check("a: f32 = y[0]  y[1] = 1.0  z[0] = a", &[], &[]);
    check("a: f32 = y[0]  z[1] = 1.0  z[0] = a", &["a"], &[]);
    // The value of a store is read before it is written.
    check("a: f32 = y[0]  y[0] = a + 1.0", &["a"], &[]);
    // The second register would read what the first one waits for.
    check("a: f32 = y[0]  b: f32x8 = splat(a, 8)  y[0] = 1.0  z[0] = b", &["a"], &[]);
    // It is read again, but has been loaded by then.
    check("a: f32 = y[0]  y[0] = a  z[0] = a", &["a"], &[]);
}

#[test]
fn a_load_does_not_wait_beyond_a_loop_or_branch() {
    check("a: f32 = x[0]  for i in 0..4 { z[i] = a }", &[], &[]);
    check("a: f32 = x[0]  for i in 0..4 { z[i] = 1.0 }  z[5] = a", &[], &[]);
    check("a: f32 = x[0]  if a < 1.0 { z[0] = a } else { }", &["a"], &[]);
    check("a: f32 = x[0]  if x[1] < 1.0 { z[0] = a } else { }", &[], &[]);
    check("for i in 0..4 { a: f32 = x[i]  z[i] = a }", &["a"], &[]);
}

#[test]
fn a_register_that_changes_does_not_wait() {
    check("a: f32 = x[0]  a = a + 1.0  z[0] = a", &[], &[]);
    check("a: f32 = x[0]  for i in 0..4 { a = x[i] }  z[0] = a", &[], &[]);
}

#[test]
fn equal_loads_of_a_block_are_one() {
    check("a: f32 = x[1]  b: f32 = x[1]  c: f32 = x[2]  z[0] = a + b + c", &["a", "b", "c"], &["a b"]);
    check("a: f32x8 = x[0; 8]  b: f32x4 = x[0; 4]  z[0] = a  z[8] = b", &["a", "b"], &[]);
    check("for i in 0..4 { a: f32 = x[2*i]  b: f32 = x[2*i]  z[i] = a + b }", &["a", "b"], &["a b"]);
}

#[test]
fn equal_loads_with_a_store_between_are_two() {
    check("a: f32 = y[1]  y[0] = a  b: f32 = y[1]  z[0] = b", &["a", "b"], &[]);
    check("a: f32 = y[1]  z[0] = a  b: f32 = y[1]  z[1] = b", &["a", "b"], &["a b"]);
}

#[test]
fn equal_loads_of_two_blocks_are_two() {
    check("a: f32 = x[1]  for i in 0..2 { b: f32 = x[1]  z[i] = b }  z[3] = a", &["b"], &[]);
    let branches = "if x[0] < 1.0 { a: f32 = x[1]  z[0] = a } else { b: f32 = x[1]  z[0] = b }
                    c: f32 = x[1]  z[1] = c";
    check(branches, &["a", "b", "c"], &[]);
}
