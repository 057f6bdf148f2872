//! The text of equations, and what the verifier says about programs that are given as texts.

use super::parser::parse;
use super::verifier::verify;
use super::{Binary, DType, Program, Unary};

/// A program reads and prints as it stands.
fn check_text(text: &str) {
    match parse(text) {
        Ok(program) => assert_eq!(program.to_string(), text),
        Err(error) => panic!("{error}\n{text}"),
    }
}

/// The body of a program that reads `x` and `w` and gives `y`, all with sixteen elements.
fn with_body(body: &str) -> String {
    format!("program(x: f32[4, 4], w: f32[16], label: i32[4]) -> (y: f32[4, 4]) {{\n{body}}}\n")
}

#[test]
fn equations_read_as_they_are_printed() {
    for body in [
        "  y[i < 4, j < 4] = x[i, j] * w[4*i + j] + 1.5;\n",
        "  y[i < 4, j < 4] = -x[i, j] - (w[j] - x[j, i]) / -x[0, 3];\n",
        "  y[i < 4, j < 4] = if x[i, j] > 0 && !(int(i) == label[j]) { x[i, j] } else { -1 };\n",
        "  y[i < 4, j < 4] = (sum[k < 4] x[i, k] * x[k, j]) / (max[k < 4] abs(x[i, k]));\n",
        "  y[i < 4, j < 4] = sum[u < 3, v < 3] x[i + u - 1, j + v - 1] else 0;\n",
        "  y[i < 4, j < 4] = max[u < 3] x[min(i + u, 3), max(j - u, 0)] else -inf;\n",
        "  y[i, 2*j] for i < 4, j < 2 = 0;\n  y[i, 2*j + 1] for i < 4, j < 2 = w[(i + j) / 3];\n",
        "  y[j / 4, j % 4] for j < 16 = w[-j + 15] - w[2*(j / 3) + j / 2 % 2];\n",
        "  t: f32;\n  t = prod[i < 16] w[i];\n  y[i < 4, j < 4] = pow(t, 0.5) * min(t, w[i]);\n",
        "  y[i < 4, j < 4] = if uniform(7, 4*i + j) < 0.25 { 0 } else { detach(x[i, j]) * 1.3333333333333333 };\n",
        "  m: i32[4];\n  m[i < 4] = argmax[k < 4] x[i, k];\n  y[i < 4, j < 4] = m[j];\n",
        "  y[i < 4, j < 4] = {\n    let $1 = exp(x[i, j] + w[i]);\n    $1 / ($1 + 1)\n  };\n",
        "  sum#0: f32[4];\n  sum#0[i < 4] = x[i, 0];\n  y[i < 4, j < 4] = sum#0[i] + nan + 1e-300 + 1e300 + (-0);\n",
    ] {
        check_text(&with_body(body));
    }
}

#[test]
fn long_signatures_are_broken() {
    let mut program = Program::default();
    for at in 0..9 {
        let input = program.input(format!("parameter{at}"), DType::F32, vec![16, 16]);
        program.outputs.push(input);
    }
    let text = program.to_string();
    assert!(text.lines().all(|line| line.len() < 110), "{text}");
    check_text(&text);
}

/// What is shared many times over is written once.
#[test]
fn the_text_of_a_deep_expression_is_short() {
    let mut program = Program::default();
    let x = program.input("x", DType::F32, Vec::new());
    let mut power = program.exprs.read(x, Vec::new());
    for _ in 0..60 {
        let square = program.exprs.binary(Binary::Mul, power, power);
        power = program.exprs.unary(Unary::Tanh, square);
    }
    let y = program.tensor("y", DType::F32, Vec::new());
    program.define(y, Vec::new(), power);
    program.outputs.push(y);
    let text = program.to_string();
    assert!(text.len() < 4000, "{} bytes", text.len());
    check_text(&text);
    assert_eq!(verify(&program), Ok(()));
}

#[test]
fn what_is_no_program() {
    let check = |body: &str, expected: &str| {
        let error = parse(&with_body(body)).expect_err(body);
        assert_eq!(error.to_string(), expected, "{body}");
    };
    check("  y[i < 4, j < 4] = x[i, k];\n", "line 2: no axis `k` is in scope");
    check("  y[i < 4, j < 4] = v[i];\n", "line 2: no tensor is called `v`");
    check("  y[i < 4, j < 4] = sinh(w[i]);\n", "line 2: no function `sinh` of one number");
    check("  y[i < 4, j] = w[i];\n", {
        "line 2: an index on the left side binds no axis; write `for` behind it"
    });
    check("\n  x: f32[3];\n", "line 3: `x` is declared twice");
    check("  y[i < 4, j < 4] = w[i / 0];\n", "line 2: division by 0");
    check("  y[i < 4, j < 4] = w[99999999999*i];\n", "line 2: 99999999999 is too large");
    check("  y[i < 4, j < 4] = $3;\n", "line 2: $3 is not defined");
    check("  y[i < 4, j < 4] = \"\\q\";\n", "line 2: `\"\\q\"` is no token");
    assert_eq!(parse(&"(".repeat(10_000)).expect_err("deep").message, "brackets nest too deeply");
}

#[test]
fn what_the_verifier_finds() {
    let check = |body: &str, expected: &[&str]| {
        let program = parse(&with_body(body)).unwrap_or_else(|error| panic!("{error}\n{body}"));
        let expected: Vec<String> = expected.iter().map(|finding| finding.to_string()).collect();
        assert_eq!(verify(&program).err().unwrap_or_default(), expected, "{body}");
    };
    check("", &["y (t3): it is asked for but has no definition"]);
    check("  y[i < 4, j < 4] = x[i, j + 1];\n", &["y (t3): it reads x at 1 to 4 of 4 in dimension 1"]);
    check("  y[i < 4, j < 4] = x[i];\n", &["y (t3): it reads x with 1 indices of 2"]);
    check("  y[i < 4] = w[i];\n", &["y (t3): it is stored with 1 indices of 2"]);
    check("  y[i < 4, j < 3] = w[i];\n", &["y (t3): its pieces cover 12 of 16 elements"]);
    check("  y[i, i] for i < 4 = w[i];\n", &["y (t3): its pieces cover 4 of 16 elements"]);
    check("  y[i < 4, j < 4] = 1;\n  y[i, 3] for i < 4 = 2;\n", &["y (t3): pieces 0 and 1 overlap"]);
    check("  y[i < 4, j < 4] = sum[i < 4] w[i];\n", &["y (t3): axis i is bound twice"]);
    let unknown = "  t: f32[4];\n  y[i < 4, j < 4] = t[i];\n";
    check(unknown, &["y (t3): it reads t (t4) before its definition"]);
    let twice = "  y[i < 4, j < 4] = 0;\n  t: f32;\n  t = 0;\n  y[i < 4, j < 4] = 1;\n";
    check(twice, &["y (t3): it has a second definition"]);
}

#[test]
fn conditions_keep_reads_inside() {
    let accepts = |condition: &str, read: &str| {
        let body = format!("  y[i < 4, j < 4] = if {condition} {{ {read} }} else {{ 0 }};\n");
        let program = parse(&with_body(&body)).unwrap_or_else(|error| panic!("{error}\n{body}"));
        verify(&program).is_ok()
    };
    assert!(accepts("int(i + j) < 4", "x[i, i + j]"));
    assert!(accepts("int(i + j) <= 3 && int(i) > 0", "x[i - 1, i + j]"));
    assert!(accepts("!(int(i) == 3 || int(i) > 3)", "x[i + 1, j]"));
    assert!(accepts("int(i) != 0", "x[i - 1, j]"));
    assert!(accepts("int(i) < 3", "x[i + 1, j]"));
    assert!(accepts("3 > int(i)", "x[i + 1, j]"));
    assert!(accepts("int(2*i + j - 3) >= 0", "w[2*i + j - 3]"));
    assert!(accepts("int(i) == 2", "x[i - 2, i + 1]"));
    assert!(accepts("int(i) > 4", "x[i + 9, j]"));
    assert!(!accepts("int(i) < 3", "x[i + 2, j]"));
    assert!(!accepts("int(i) < 3 || int(j) < 3", "x[i + 1, j]"));
    assert!(!accepts("x[i, j] < 3", "x[i + 1, j]"));
    let otherwise = "  y[i < 4, j < 4] = if int(i) >= 3 { 0 } else { x[i + 1, j] };\n";
    assert_eq!(parse(&with_body(otherwise)).map(|program| verify(&program)), Ok(Ok(())));
}

/// A branch knows its condition, to the last point and not beyond.
#[test]
fn conditions_prove_what_they_say() {
    for (condition, negated, inside, outside) in [
        ("i < u", "i >= u", "-i + u - 1", "-i + u - 2"),
        ("i <= u", "i > u", "-i + u", "-i + u - 1"),
        ("i > u", "i <= u", "i - u - 1", "i - u - 2"),
        ("i >= u", "i < u", "i - u", "i - u - 1"),
        ("i == u", "i != u", "i - u", "i - u - 1"),
        ("i == u", "i != u", "i - u + 7", "i - u + 8"),
        ("i != 0", "i == 0", "i - 1", "i - 2"),
        ("i != 6", "i == 6", "i + 2", "i + 3"),
        ("i < 3", "i >= 3", "i + 5", "i + 6"),
        ("i <= 3", "i > 3", "i + 4", "i + 5"),
        ("i > 3", "i <= 3", "i - 4", "i - 5"),
        ("i >= 3", "i < 3", "i - 3", "i - 4"),
        ("3 <= i", "3 > i", "i - 3", "i - 4"),
    ] {
        let [condition, negated] = [condition, negated].map(|text| {
            let (left, right) = text.split_at(text.find(' ').expect("an operator"));
            let (op, right) = right[1..].split_at(right[1..].find(' ').expect("another operand"));
            let side =
                |text: &str| if text.parse::<i64>().is_ok() { text.into() } else { format!("int({text})") };
            format!("{} {op} {}", side(left), side(&right[1..]))
        });
        for (index, is_inside) in [(inside, true), (outside, false)] {
            for body in [
                format!("if {condition} {{ x[{index}] }} else {{ 0 }}"),
                format!("if {negated} {{ 0 }} else {{ x[{index}] }}"),
            ] {
                let text =
                    format!("program(x: f32[8]) -> (y: f32[7, 5]) {{\n  y[i < 7, u < 5] = {body};\n}}\n");
                let program = parse(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
                assert_eq!(verify(&program).is_ok(), is_inside, "{body}");
            }
        }
    }
}
