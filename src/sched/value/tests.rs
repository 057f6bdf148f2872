//! What an expression of an equation becomes in a loop: texts of both. Tensors lie in rows, but for `h`, which has a
//! halo of zeros one element wide, and `v`, which has its elements in lanes.

use super::*;
use crate::base::target::{Level, Target};
use crate::kernels::Statement;
use crate::kernels::parser::parse;
use crate::sched::step::Step;

/// How the loop over `i` runs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Loop {
    Elements,
    Vectors,
}

/// Calls `write` with a writer of `y[i] = expression`, of which `p` is 0, and gives the lines of the statements.
fn written_by(
    level: Level,
    run: Loop,
    (result, expression): (&str, &str),
    write: impl FnOnce(&mut Writer<'_>, &mut Scope, &Statement),
) -> String {
    let text = format!(
        "kernels(x: f32[16], h: f32[16], v: f32[16], n: i32[16], b: bool[16], far: f32[2000000000])
  -> (y: {result}[16]) {{
  stored x rows; stored h rows halo(1, 1) fill(0); stored v lanes(0, 8);
  stored n rows; stored b rows; stored far rows; stored y rows;
  kernel \"y\" {{ nest [p < 1, i < 16] {{ y[i] = {expression}; }} }}
}}"
    );
    let (kernels, layouts) = parse(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    let machine = Machine::of(Target::of(level));
    let input =
        ScheduleInput { kernels: &kernels, layouts: &layouts, machine: &machine, accurate_sums: false };
    let nest = &kernels.kernels[0].nests[0];
    let mut sched = LoopNest::new(&kernels.program, nest);
    if run == Loop::Vectors {
        let (_, lane) = sched.split(nest.axes[1], 8).expect("16 elements");
        Step::Vectorize { axis: lane, reduced: false }.apply(&mut sched).expect("no other lanes");
    }
    let (mut writer, mut scope) = (Writer::new(input, &sched), Scope::default());
    let Statement { result, at, body } = &nest.statements[0];
    let place = |index: &Index| index.substitute(&|axis| sched.replace.get(&axis).cloned(), &sched.axes);
    let at = at.iter().map(place).collect();
    let body = writer.at_point(*body, &sched.replace);
    write(&mut writer, &mut scope, &Statement { result: *result, at, body });
    let text = writer.finish(scope.statements).0.to_string();
    let lines: Vec<&str> = text.lines().skip(1).map(str::trim).collect();
    lines[..lines.len() - 1].join("\n")
}

/// What the statement `y[i] = expression` becomes.
fn written(run: Loop, result: &str, expression: &str) -> String {
    written_by(Level::Avx2, run, (result, expression), |writer, scope, statement| {
        let value = writer.value_of_result(scope, statement.result, statement.body);
        writer.define(scope, statement.result, &statement.at, value);
    })
}

/// Checks what statements become. A case is an expression and the lines of its code, with bars between them; it may go
/// on in the next lines of the text.
fn check(run: Loop, result: &str, cases: &str) {
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut wanted: Vec<(&str, String)> = Vec::new();
    for line in cases.lines().filter(|line| !line.trim().is_empty()) {
        match (line.split_once(" => "), wanted.last_mut()) {
            (Some((expression, code)), _) => wanted.push((expression.trim(), code.to_owned())),
            (None, Some((_, code))) => *code += &format!(" {line}"),
            (None, None) => panic!("{line} belongs to no case"),
        }
    }
    for (expression, code) in wanted {
        let found = written(run, result, expression).replace('\n', " | ");
        assert_eq!(words(&found), words(&code), "{expression}");
    }
}

/// A read that may be outside of its tensor tests its indices, unless the halo has the value or all points are outside.
#[test]
fn what_lies_outside_is_held_or_tested() {
    let cases = "
        x[i] => x_1: f32 = x[i] | y[i] = x_1
        x[p] => x_1: f32 = x[0] | y[i] = x_1
        (x[i - 1] else 2) => x_1: f32 = 2.0 | if int(i - 1) >= 0 & int(i - 1) < 16 { | x_1 = x[i - 1] |
            } | y[i] = x_1
        (x[i - 16] else 3) => y[i] = 3.0
        (h[i + 1] else 0) => x: f32 = h[i + 2] | y[i] = x
        (h[i + 1] else 1) => x: f32 = 1.0 | if int(i + 1) >= 0 & int(i + 1) < 16 { | x = h[i + 2] | } |
            y[i] = x
        (h[i + 2] else 0) => x: f32 = 0.0 | if int(i + 2) >= 0 & int(i + 2) < 16 { | x = h[i + 3] | } |
            y[i] = x
        (h[i] else 1) => x: f32 = h[i + 1] | y[i] = x
        (n[i + 1] else 3) => x: i32 = 3 | if int(i + 1) >= 0 & int(i + 1) < 16 { | x = n[i + 1] | } |
            y_1: f32 = to_float(x) | y[i] = y_1
    ";
    check(Loop::Elements, "f32", cases);
}

/// An index that leaves 32 bits is tested by its sign.
#[test]
fn a_far_index_is_tested() {
    let cases = "
        (far[1000000000*i - 1] else 0) => x: f32 = 0.0 |
            if int(min(1000000000*i - 1, 0)) >= 0 & int(min(max(1000000000*i - 2000000001, -1), 0)) < 0 { |
            x = far[1000000000*i - 1] | } | y[i] = x
    ";
    check(Loop::Elements, "f32", cases);
}

/// A known condition leaves no trace of what is not chosen. Where the operands of a comparison are chosen from, it
/// stays inside the choice.
#[test]
fn choices_are_made_or_left() {
    let cases = "
        if int(p) == 0 { x[i] } else { h[i] } => x_1: f32 = x[i] | y[i] = x_1
        if int(p) == 1 { x[i] } else { h[i] } => x: f32 = h[i + 1] | y[i] = x
        if int(i) == 3 { x[i] } else { h[i] } => x_1: i32 = int(i) | x_2: bool = x_1 == 3 |
            x_3: f32 = x[i] | x_4: f32 = h[i + 1] | x_5: f32 = select(x_2, x_3, x_4) | y[i] = x_5
        if x[i] < h[i] { x[i] } else { h[i] } => x_1: f32 = x[i] | x_2: f32 = h[i + 1] |
            x_3: f32 = select(x_1 < x_2, x_1, x_2) | y[i] = x_3
        if x[i] < h[i] { h[i] } else { x[i] } => x_1: f32 = x[i] | x_2: f32 = h[i + 1] |
            x_3: bool = x_1 < x_2 | x_4: f32 = select(x_3, x_2, x_1) | y[i] = x_4
        if b[i] { x[i] } else { int(i) } => x_1: i32 = b[i] | x_2: f32 = x[i] | x_3: i32 = int(i) |
            c: bool = x_1 != 0 | y_1: f32 = to_float(x_3) | x_4: f32 = select(c, x_2, y_1) | y[i] = x_4
    ";
    check(Loop::Elements, "f32", cases);
}

/// Numbers become what they meet; what is used twice is computed once.
#[test]
fn numbers_become_floats_where_they_meet_some() {
    let cases = "
        3 => y[i] = 3.0
        int(2*i + 1) => x: i32 = int(2*i + 1) | y_1: f32 = to_float(x) | y[i] = y_1
        x[i] + int(i) => x_1: f32 = x[i] | x_2: i32 = int(i) | y_1: f32 = to_float(x_2) |
            x_3: f32 = x_1 + y_1 | y[i] = x_3
        b[i] + n[i] => x: i32 = b[i] | x_1: i32 = n[i] | x_2: f32 = to_float(x) |
            y_1: f32 = to_float(x_1) | x_3: f32 = x_2 + y_1 | y[i] = x_3
        x[i] * x[i] => x_1: f32 = x[i] | x_2: f32 = x_1 * x_1 | y[i] = x_2
        x[i] < h[i] => x_1: f32 = x[i] | x_2: f32 = h[i + 1] | x_3: bool = x_1 < x_2 |
            y_1: f32 = select(x_3, 1.0, 0.0) | y[i] = y_1
        detach(x[i]) => x_1: f32 = x[i] | y[i] = x_1
        uniform(1, i) => x: f32 = uniform(1, int(i)) | y[i] = x
        -x[i] => x_1: f32 = x[i] | x_2: f32 = neg(x_1) | y[i] = x_2
        x[i] / 3 => x_1: f32 = x[i] | x_2: f32 = x_1 / 3.0 | y[i] = x_2
    ";
    check(Loop::Elements, "f32", cases);
}

/// What does not vary by lane is a scalar until it meets a vector.
#[test]
fn vectors() {
    let cases = "
        x[i] => x_1: f32x8 = x[8*ib; 8] | y[8*ib] = x_1
        x[p] => x_1: f32 = x[0] | s: f32x8 = splat(x_1, 8) | y[8*ib] = s
        x[15 - i] => x_1: f32x8 = x[-8*ib + 15; 8 by -1] | y[8*ib] = x_1
        (v[i] else 0) => x: f32x8 = v[8*ib; 8] | y[8*ib] = x
        (h[i + 1] else 0) => x: f32x8 = h[8*ib + 2; 8] | y[8*ib] = x
        x[3] * x[4] => x_1: f32 = x[3] | x_2: f32 = x[4] | x_3: f32 = x_1 * x_2 |
            s: f32x8 = splat(x_3, 8) | y[8*ib] = s
        x[3] * v[i] + x[3] * x[i] => x_1: f32 = x[3] | x_2: f32x8 = v[8*ib; 8] |
            s: f32x8 = splat(x_1, 8) | x_3: f32x8 = s * x_2 | x_4: f32x8 = x[8*ib; 8] |
            x_5: f32x8 = s * x_4 | x_6: f32x8 = x_3 + x_5 | y[8*ib] = x_6
        int(i) => x: i32x8 = int(8*ib; 8 by 1) | y_1: f32x8 = to_float(x) | y[8*ib] = y_1
        int(i) + x[3] => x_1: i32x8 = int(8*ib; 8 by 1) | x_2: f32 = x[3] | x_3: f32x8 = to_float(x_1) |
            s: f32x8 = splat(x_2, 8) | x_4: f32x8 = x_3 + s | y[8*ib] = x_4
        if int(i) == 3 { x[i] } else { 0 } => x_1: i32x8 = int(8*ib; 8 by 1) |
            x_2: boolx8 = x_1 == splat(3, 8) | x_3: f32x8 = x[8*ib; 8] |
            x_4: f32x8 = select(x_2, x_3, splat(0.0, 8)) | y[8*ib] = x_4
        if x[3] > 0 { x[i] } else { 0 } => x_1: f32 = x[3] | x_2: bool = x_1 > 0.0 |
            x_3: f32x8 = x[8*ib; 8] | s: boolx8 = splat(x_2, 8) |
            x_4: f32x8 = select(s, x_3, splat(0.0, 8)) | y[8*ib] = x_4
        uniform(1, i) => x: f32x8 = uniform(1, int(8*ib; 8 by 1)) | y[8*ib] = x
    ";
    check(Loop::Vectors, "f32", cases);
}

/// Integers that floats may not hold never go through one; others do.
#[test]
fn integers_stay_exact() {
    let cases = "
        int(i) => x: i32 = int(i) | y[i] = x
        n[i] => x: i32 = n[i] | y[i] = x
        x[i] => x_1: f32 = x[i] | y_1: i32 = to_int(x_1) | y[i] = y_1
        3 => y[i] = 3
        -0 => y_1: i32 = to_int(-0.0) | y[i] = y_1
        int(i) + 1 => x: i32 = int(i) | x_1: f32 = to_float(x) | x_2: f32 = x_1 + 1.0 |
            y_1: i32 = to_int(x_2) | y[i] = y_1
        n[i] + 1 => x: i32 = n[i] | w: i32 = x + 1 | y[i] = w
        -n[i] * 3 => x: i32 = n[i] | w: i32 = 0 - x | w_1: i32 = w * 3 | y[i] = w_1
        abs(n[i]) => x: i32 = n[i] | w: i32 = 0 - x | w_1: i32 = max(x, w) | y[i] = w_1
        min(n[i], 4) * 16777217 => x: i32 = n[i] | w: i32 = min(x, 4) | w_1: i32 = w * 16777217 |
            y[i] = w_1
        if b[i] { n[i] + 1 } else { 3 } => x: i32 = b[i] | x_1: i32 = n[i] | w: i32 = x_1 + 1 |
            c: bool = x != 0 | w_1: i32 = select(c, w, 3) | y[i] = w_1
        if x[i] > 0.5 { 16777217 } else { int(i) } => x_1: f32 = x[i] | x_2: bool = x_1 > 0.5 |
            x_3: i32 = int(i) | w: i32 = select(x_2, 16777217, x_3) | y[i] = w
    ";
    check(Loop::Elements, "i32", cases);
}

/// A quotient of floats is near. What it leaves over is divided again, and once more.
#[test]
fn quotients_of_integers_are_exact() {
    let cases = "
        floor(n[i] / 3) => x: i32 = n[i] | x_1: f32 = to_float(x) | w: f32 = x_1 / 3.0 |
            w_1: i32 = to_int(floor(w)) | w_2: i32 = w_1 * 3 | w_3: i32 = x - w_2 | w_4: i32 = 0 + w_1 |
            x_2: f32 = to_float(w_3) | w_5: f32 = x_2 / 3.0 | w_6: i32 = to_int(floor(w_5)) |
            w_7: i32 = w_6 * 3 | w_8: i32 = w_3 - w_7 | w_9: i32 = w_4 + w_6 | x_3: f32 = to_float(w_8) |
            w_10: f32 = x_3 / 3.0 | w_11: i32 = to_int(floor(w_10)) | w_12: i32 = w_11 * 3 |
            w_13: i32 = w_8 - w_12 | w_14: i32 = w_9 + w_11 | y[i] = w_14
    ";
    check(Loop::Elements, "i32", cases);
}

/// Integers are compared as such, also with what no integer of 32 bits is. A truth value is stored as one.
#[test]
fn comparisons() {
    let cases = "
        int(i) < 3 => x: i32 = int(i) | x_1: bool = x < 3 | y_1: i32 = select(x_1, 1, 0) | y[i] = x_1
        n[i] < 3000000000 => x: i32 = n[i] | y_1: i32 = select(true, 1, 0) | y[i] = true
        3000000000 < n[i] => x: i32 = n[i] | y_1: i32 = select(false, 1, 0) | y[i] = false
        n[i] == 3000000000 => x: i32 = n[i] | y_1: i32 = select(false, 1, 0) | y[i] = false
        n[i] != -3000000000 => x: i32 = n[i] | y_1: i32 = select(true, 1, 0) | y[i] = true
        n[i] < 2.5 => x: i32 = n[i] | x_1: f32 = to_float(x) | x_2: bool = x_1 < 2.5 |
            y_1: i32 = select(x_2, 1, 0) | y[i] = x_2
        x[i] < 2 => x_1: f32 = x[i] | x_2: bool = x_1 < 2.0 | y_1: i32 = select(x_2, 1, 0) | y[i] = x_2
        b[i] => x: i32 = b[i] | y[i] = x != 0
        b[i] == (x[i] > 0) => x_1: i32 = b[i] | x_2: f32 = x[i] | x_3: bool = x_2 > 0.0 |
            y_1: i32 = select(x_3, 1, 0) | x_4: bool = x_1 == y_1 | y_2: i32 = select(x_4, 1, 0) |
            y[i] = x_4
        b[i] && x[i] > 0 => x_1: i32 = b[i] | x_2: f32 = x[i] | x_3: bool = x_2 > 0.0 |
            x_4: bool = x_1 != 0 | x_5: bool = x_4 & x_3 | y_1: i32 = select(x_5, 1, 0) | y[i] = x_5
        !x[i] => x_1: f32 = x[i] | x_2: bool = not(x_1 != 0.0) | y_1: i32 = select(x_2, 1, 0) |
            y[i] = x_2
    ";
    check(Loop::Elements, "bool", cases);
}

/// A product is added in one operation where the machine has it.
#[test]
fn a_product_is_added_as_the_machine_can() {
    for (level, wanted) in
        [(Level::Sse4, "total = total + x_2 * x_4"), (Level::Avx2, "total = fma(x_2, x_4, total)")]
    {
        let text = written_by(
            level,
            Loop::Elements,
            ("f32", "sqrt(x[i]) * sqrt(h[i])"),
            |writer, scope, statement| {
                let (x, y) = writer.as_product(statement.body).expect("a product");
                let [x, y] = [x, y].map(|factor| writer.float(scope, factor, 1));
                let total = writer.constant(1.0, 1);
                let total = writer.variable(scope, "total", total);
                let sum = writer.multiply_add(x, y, total.clone());
                writer.assign(scope, &total, sum);
            },
        );
        assert_eq!(text.lines().last(), Some(wanted), "{text}");
    }
}

/// Lanes beyond the last element give the neutral value.
#[test]
fn what_is_masked_counts_below_a_bound() {
    let cases = [
        (Loop::Elements, ["exists: bool = int(i) < 11", "y_1: f32 = select(exists, x_1, -1.0)"]),
        (
            Loop::Vectors,
            [
                "exists: boolx8 = int(8*ib; 8 by 1) < splat(11, 8)",
                "y_1: f32x8 = select(exists, x_1, splat(-1.0, 8))",
            ],
        ),
    ];
    for (run, wanted) in cases {
        let text = written_by(Level::Avx2, run, ("f32", "x[i]"), |writer, scope, statement| {
            let value = writer.value(scope, statement.body);
            let value = writer.masked(scope, &statement.at[0], 11, value, -1.0);
            writer.define(scope, statement.result, &statement.at, value);
        });
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[1..3], wanted, "{text}");
    }
}

/// Points of a tile share what is at hand. What they forget is computed again, but for random numbers.
#[test]
fn points_share_values() {
    for (forget, loads) in [(false, 1), (true, 2)] {
        let statement = ("f32", "x[i] * uniform(1, i)");
        let text = written_by(Level::Avx2, Loop::Elements, statement, |writer, scope, statement| {
            for _ in 0..2 {
                let value = writer.value(scope, statement.body);
                writer.define(scope, statement.result, &statement.at, value);
                if forget { scope.forget() } else { scope.next_point() }
            }
        });
        let count = |what: &str| text.matches(what).count();
        assert_eq!([count("= x[i]"), count("uniform("), count("y[i] =")], [loads, 1, 2], "{text}");
    }
}
