//! What loops become as text, and that it is what they say.
//!
//! Each text goes through naga, too. What the texts compute is held against the interpreter in `tests/gpu.rs`.

use super::{Condition, Dispatch, Driver, Part, Rounding, Shader, write};
use crate::codegen::Error;
use crate::loops::Function;
use crate::loops::parser::parse;
use crate::loops::verifier::Verified;

/// Whether naga takes a text.
fn validate(text: &str) {
    use naga::valid::{Capabilities, ValidationFlags, Validator};
    let module = naga::front::wgsl::parse_str(text);
    let module = module.unwrap_or_else(|error| panic!("{}\n{text}", error.emit_to_string(text)));
    let mut validator = Validator::new(ValidationFlags::all(), Capabilities::default());
    if let Err(error) = validator.validate(&module) {
        panic!("{}\n{text}", error.emit_to_string(text));
    }
}

fn verified(function: Function) -> Verified {
    Verified::new(function).unwrap_or_else(|invalid| panic!("{invalid}"))
}

fn function(text: &str) -> Verified {
    verified(parse(text).unwrap_or_else(|error| panic!("{error}\n{text}")))
}

/// A dispatch of some functions, each with blocks of its own.
fn tried(functions: &[&str], condition: Option<Condition>, rounding: Rounding) -> Result<Shader, Error> {
    let functions: Vec<Verified> = functions.iter().map(|text| function(text)).collect();
    let mut next = 0..;
    let parts = functions.iter().map(|function| Part {
        function,
        blocks: next.by_ref().take(function.buffers.len()).collect(),
        notes: Vec::new(),
    });
    write(&Dispatch { parts: parts.collect(), condition, driver: Driver { rounding, ..Driver::EXACT } })
}

fn shader(functions: &[&str], condition: Option<Condition>, rounding: Rounding) -> Shader {
    let shader = tried(functions, condition, rounding).expect("it is written");
    validate(&shader.text);
    shader
}

/// The function that the first part of a text becomes, a statement a line and without indentation.
fn part(text: &str) -> Vec<String> {
    let (_, part) = text.split_once("fn part0(").unwrap_or_else(|| panic!("no part in\n{text}"));
    let end = part.find("\n}\n").unwrap_or_else(|| panic!("no end in\n{text}"));
    part[..end].lines().skip(1).map(|line| line.trim().to_owned()).collect()
}

const HEAD: &str = "x: read f32[128], i: read i32[128], b: read u8[128], y: write f32[128], k: write i32[128], \
                    c: write u8[128], z: readwrite f32[128]";

/// The lines of the only part that a body becomes.
fn lines_of(body: &str, rounding: Rounding) -> Vec<String> {
    part(&shader(&[&format!("fn f({HEAD}) {{ {body} }}")], None, rounding).text)
}

fn lines(body: &str) -> Vec<String> {
    lines_of(body, Rounding::Kept)
}

/// Whether a text stands in a line of what becomes of a body.
fn check(body: &str, wanted: &[&str]) {
    let lines = lines(body);
    for wanted in wanted {
        assert!(
            lines.iter().any(|line| line.contains(wanted)),
            "no `{wanted}` for {body}:\n{}",
            lines.join("\n")
        );
    }
}

fn count(lines: &[String], wanted: &str) -> usize {
    lines.iter().filter(|line| line.contains(wanted)).count()
}

#[test]
fn nan_is_told_by_its_bits() {
    check("a: f32 = x[0] y[0] = select(a == a, a, 0.0)", &["select(0.0f, a_r0, (!is_nan(a_r0)))"]);
    check("a: f32 = x[0] y[0] = select(a != a, 1.0, a)", &["select(a_r0, 1.0f, (is_nan(a_r0)))"]);
    check("y[0] = select(x[0] == x[0], 1.0, 2.0)", &["(!is_nan(bitcast<f32>("]);
    // Whole numbers have no NaN.
    check("k[0] = select(i[0] == i[0], 1, 2)", &["select(2i, 1i, (bitcast<i32>(", " == bitcast<i32>("]);
}

#[test]
fn what_is_unequal_may_be_nan() {
    check("a: f32 = x[0] b_: f32 = x[1] y[0] = select(a != b_, 1.0, 2.0)", &["(!(a_r0 == b_r1))"]);
    check("a: i32 = i[0] b_: i32 = i[1] k[0] = select(a != b_, 1, 2)", &["(a_r0 != b_r1)"]);
    check("a: f32 = x[0] b_: f32 = x[1] y[0] = select(a <= b_, 1.0, 2.0)", &["(a_r0 <= b_r1)"]);
}

#[test]
fn extremes_know_nan_and_zeros() {
    check("a: f32 = x[0] b_: f32 = x[1] y[0] = min(a, b_)", &["least(a_r0, b_r1)"]);
    check("a: f32 = x[0] b_: f32 = x[1] y[0] = max(a, b_)", &["greatest(a_r0, b_r1)"]);
    check(
        "a: i32 = i[0] b_: i32 = i[1] k[0] = max(a, min(b_, a))",
        &["= bitcast<u32>(max(a_r0, min(b_r1, a_r0)))"],
    );
}

/// WGSL has no text for some numbers.
#[test]
fn constants_without_a_text_are_made_of_bits() {
    for (constant, wanted) in [
        ("1.5", "bitcast<u32>(1.5f)"),
        ("0.0", "bitcast<u32>(0.0f)"),
        ("1e38", "bitcast<u32>(1e38f)"),
        ("-2.5e-7", "bitcast<u32>(-2.5e-7f)"),
        ("3.4028235e38", "bitcast<u32>(3.4028235e38f)"),
        ("1.1754944e-38", "bitcast<u32>(1.1754944e-38f)"),
        ("-0.0", "bitcast<u32>(from_bits(0x80000000u))"),
        ("1e-45", "bitcast<u32>(from_bits(0x00000001u))"),
        ("inf", "bitcast<u32>(from_bits(0x7f800000u))"),
        ("-inf", "bitcast<u32>(from_bits(0xff800000u))"),
        ("nan", "bitcast<u32>(from_bits(0x7fc00000u))"),
    ] {
        check(&format!("y[0] = {constant}"), &[wanted]);
    }
    check(
        "k[0] = -2147483648 k[1] = 2147483647",
        &["bitcast<i32>(0x80000000u)", "bitcast<u32>(2147483647i)"],
    );
}

/// A compiler of WGSL computes with constants, in its own way, and refuses what leaves the range.
#[test]
fn one_constant_of_an_operation_is_hidden() {
    for (value, wanted) in [
        ("1e38 * 1e38", "(from_bits(0x7e967699u) * 1e38f)"),
        ("1.0 / 0.0", "(from_bits(0x3f800000u) / 0.0f)"),
        ("fma(1e38, 1e38, 1.0)", "fma(from_bits(0x7e967699u), 1e38f, 1.0f)"),
        ("x[0] * 1e38", " * 1e38f)"),
        ("neg(0.0)", "(-from_bits(0x00000000u))"),
        ("sqrt(-1.0)", "sqrt(from_bits(0xbf800000u))"),
        ("from_bits(2143289344)", "bitcast<f32>(whole(2143289344i))"),
        ("from_bits(int(2143289344))", "bitcast<f32>(whole(2143289344i))"),
        ("fence(3e38) + 3e38", "(from_bits(bitcast<u32>("),
        ("select(true, 3e38, 1.0) * 3e38", "(from_bits(bitcast<u32>(select("),
    ] {
        check(&format!("y[0] = {value}"), &[wanted]);
    }
    for (value, wanted) in [
        ("2147483647 + 1", "(whole(2147483647i) + 1i)"),
        ("2147483647 + int(1)", "(whole(2147483647i) + 1i)"),
        ("int(2147483647) * int(7)", "(whole(2147483647i) * 7i)"),
        ("1 << 31", "(whole(1i) << 31u)"),
        ("to_int(3e38)", "to_int(from_bits(0x7f61b1e6u))"),
    ] {
        check(&format!("k[0] = {value}"), &[wanted]);
    }
    check("y[0] = splat(3e38, 4) + splat(3e38, 4)", &["(from_bits(0x7f61b1e6u) + 3e38f)"]);
}

#[test]
fn numbers_become_whole_ones_as_in_the_loops() {
    check("k[0] = to_int(x[0])", &["to_int(bitcast<f32>("]);
    check("k[0] = to_bits(x[0])", &["bitcast<i32>(bitcast<f32>("]);
    check("y[0] = to_float(i[0])", &["f32(bitcast<i32>("]);
    let text = shader(&[&format!("fn f({HEAD}) {{ k[0] = to_int(x[0]) }}")], None, Rounding::Kept).text;
    // Beyond the ends, and of NaN, `i32()` says nothing.
    assert!(text.contains("let inside = i32(select(x, 0.0f, high | low | is_nan(x)));"), "{text}");
}

#[test]
fn shifts_are_by_numbers_without_a_sign() {
    check("k[0] = i[0] << 3 k[1] = i[0] >> 31", &[" << 3u)", " >> 31u)"]);
    check("for n in 0..8 { k[n] = i[n] >> int(4*n) }", &[" >> u32(4i * n_0))"]);
}

#[test]
fn digits_of_indices_round_down() {
    check("for n in 0..16 { y[n] = x[(n / 3) + (n % 3)] }", &["i32(u32(n_0) / 3u)", "i32(u32(n_0) % 3u)"]);
    check("for n in 0..16 { y[n] = x[((0 - n) / 3) + 6] }", &["floor_div(-1i * n_0, 3i)"]);
    check("for n in 0..16 { y[n] = x[((0 - n) % 3) + 2] }", &["floor_rem(-1i * n_0, 3i)"]);
    check("for n in 0..16 { y[n] = x[max(n - 4, 0)] }", &["max((n_0 + -4i), 0i)"]);
    let text = shader(
        &[&format!("fn f({HEAD}) {{ for n in 0..16 {{ y[n] = x[((0 - n) / 3) + 6] }} }}")],
        None,
        Rounding::Kept,
    )
    .text;
    assert!(text.contains("fn floor_rem(x: i32, k: i32) -> i32 { return ((x % k) + k) % k; }"), "{text}");
}

/// Numbers of indices are cut to 32 bits, and the least one has no text of its own.
#[test]
fn numbers_beyond_32_bits_are_cut() {
    check("k[0] = int(4294967298)", &["bitcast<u32>(2i)"]);
    check("k[0] = int(-2147483648)", &["bitcast<u32>(bitcast<i32>(0x80000000u))"]);
    check("for n in 0..8 { k[n] = int(4294967299*n) }", &["bitcast<u32>(3i * n_0)"]);
}

#[test]
fn a_scalar_is_stored_by_one_lane() {
    let found = lines("y[0] = x[0; 32] z[64] = x[1]");
    let at = found.iter().position(|line| line == "if lane == 0i {").unwrap_or_else(|| panic!("{found:?}"));
    assert!(found[at + 1].starts_with("m6[z_at6 + u32(64i)] = ") && found[at + 2] == "}", "{found:?}");
    assert_eq!(count(&found, "if lane"), 1, "{found:?}");
    // Without vectors there is one lane.
    let found = lines("z[64] = x[1]");
    assert_eq!((count(&found, "if lane"), count(&found, "% 1u")), (0, 1), "{found:?}");
}

/// The elements of a scalar are the same in all lanes.
#[test]
fn a_scalar_is_loaded_by_all_lanes() {
    check("y[0] = x[0; 32] + splat(x[5], 32)", &["bitcast<f32>(m0[x_at0 + u32(5i)])"]);
    check("k[0] = splat(int(7), 32) + int(7; 32 by 1)", &["(7i + (7i + lane))"]);
    check("k[0] = splat(b[5], 32)", &["i32((m2[b_at2 + (u32(5i) >> 2u)] >> ((u32(5i) & 3u) * 8u)) & 255u)"]);
}

#[test]
fn bytes_are_stored_four_at_once_or_one_by_one() {
    let found = lines("c[0] = b[0; 32]");
    assert_eq!(
        (count(&found, "bytes[invocation] = "), count(&found, "if (lane & 3i) == 0i {")),
        (1, 1),
        "{found:?}"
    );
    assert_eq!((count(&found, "workgroupBarrier"), count(&found, "atomic")), (2, 0), "{found:?}");
    // From another byte on, with a stride, or of one lane, others may store into the same word.
    for body in ["c[1] = b[0; 32]", "c[0; by 2] = b[0; 32]", "y[0] = x[0; 32] c[0] = b[0]", "c[0] = b[0]"] {
        let found = lines(body);
        assert_eq!((count(&found, "atomicAnd(&m5["), count(&found, "atomicOr(&m5[")), (1, 1), "{found:?}");
        assert_eq!((count(&found, "bytes["), count(&found, "Barrier")), (0, 0), "{found:?}");
    }
    // One way for all stores of a buffer.
    let found = lines("c[0] = b[0; 32] c[33] = b[1]");
    assert_eq!((count(&found, "atomicAnd"), count(&found, "bytes[")), (2, 0), "{found:?}");
    check("c[0] = x[0; 32] < splat(1.0, 32)", &["select(0u, 1u, (bitcast<f32>("]);
    check("k[0] = b[5]", &["i32((m2[b_at2 + (u32(5i) >> 2u)] >> ((u32(5i) & 3u) * 8u)) & 255u)"]);
}

/// Lanes meet before and after a store, where one may load what another one has stored.
#[test]
fn elements_that_pass_between_lanes_have_barriers() {
    for (body, barriers) in [
        // Each lane has its own elements.
        ("z[0] = z[0; 32] * z[0; 32]", 0),
        ("z[3; by 2] = z[3; 32 by 2]", 0),
        ("z[32] = z[0; 32] z[64] = z[32; 32]", 0),
        ("for n in 0..4 { z[32*n] = z[32*n; 32] }", 0),
        ("for n in 0..2 { z[64*n + 1; by 2] = z[64*n + 1; 32 by 2] }", 0),
        ("for n in 0..2 { z[n + 3; by 2] = z[n + 3; 32 by 2] }", 0),
        // The next lane's, another stride, a scalar.
        ("z[0] = z[1; 32]", 2),
        ("z[0] = z[0; 32 by 2]", 2),
        ("z[0] = z[0; 32] y[0] = splat(z[5], 32)", 2),
        ("z[0] = x[0] y[0] = z[0; 32]", 2),
        // The same place, which the loop moves from lane to lane.
        ("for n in 0..4 { z[n] = z[n; 32] }", 2),
        ("for n in 0..3 { z[n; by 2] = z[n; 32 by 2] }", 2),
        ("for n in 0..4 { z[16*n] = z[16*n; 32] }", 2),
        // One lane has no others.
        ("z[0] = z[1]", 0),
    ] {
        let found = lines(body);
        let counts = (count(&found, "storageBarrier"), count(&found, "workgroupBarrier"));
        assert_eq!(counts, (barriers, barriers), "{body}:\n{}", found.join("\n"));
    }
}

/// Points of the grid are what the loops say, so a place that they alone lead to is one lane's.
#[test]
fn a_grid_tells_its_points_apart() {
    let body = "parallel for n in 0..4 { z[32*n + 0] = z[32*n; 32] }";
    let found = lines(body);
    assert_eq!(count(&found, "Barrier"), 0, "{found:?}");
    assert!(found.contains(&"let point = group * 2u + invocation / 32u;".to_owned()), "{found:?}");
    assert!(found.contains(&"if point >= 4u { return; }".to_owned()), "{found:?}");
    assert!(found.contains(&"let n_0 = i32(point / 1u % 4u);".to_owned()), "{found:?}");
}

/// One visit for all: lanes leave what they have, meet, are joined, meet, read, meet.
#[test]
fn folds_are_done_together() {
    let sum = |at: usize| format!("a{at}: f32x32 = x[{at}; 32] ");
    let store = |at: usize| format!("z[{at}] = fold_sum(a{at}) ");
    for (folds, barriers) in [(1, 2), (2, 3), (8, 3), (32, 3), (33, 5)] {
        let body: String = (0..folds).map(sum).chain((0..folds).map(store)).collect();
        let found = lines(&body);
        assert_eq!(count(&found, "workgroupBarrier"), barriers, "{folds} folds:\n{}", found.join("\n"));
        assert_eq!(count(&found, "storageBarrier"), 0, "{folds} folds");
        assert_eq!(
            count(&found, "_value = folded["),
            if folds == 1 { 0 } else { folds.min(32) },
            "{folds} folds"
        );
    }
    // Not what is computed between them, nor in another way.
    let apart = "a: f32x32 = x[0; 32] z[0] = fold_sum(a) a = x[1; 32] z[1] = fold_sum(a)";
    assert_eq!(count(&lines(apart), "workgroupBarrier"), 4);
    let ways = "a: f32x32 = x[0; 32] z[0] = fold_sum(a) z[1] = fold_max(a)";
    assert_eq!(count(&lines(ways), "workgroupBarrier"), 4);
    check(
        "z[0] = fold_min(x[0; 32]) - fold_prod(x[32; 32])",
        &["fold_min_of32(row * 33u + 0u)", "fold_prod_of32("],
    );
}

/// By halves, as everywhere.
#[test]
fn lanes_are_folded_by_halves() {
    let text = format!("fn f({HEAD}) {{ z[0] = fold_max(x[0; 4]) }}");
    let text = shader(&[&text], None, Rounding::Kept).text;
    let fold = "fn fold_max_of4(at: u32) -> f32 {\n  let v0_0 = greatest(folded[at + 0u], folded[at + 2u]);\n  \
                let v0_1 = greatest(folded[at + 1u], folded[at + 3u]);\n  let v1_0 = greatest(v0_0, v0_1);\n  \
                return v1_0;\n}\n";
    assert!(text.contains(fold), "{text}");
}

/// A barrier within a branch is for all or none: the workgroup has one point.
#[test]
fn a_workgroup_with_barriers_in_a_branch_has_one_row() {
    let body = |condition: &str| {
        format!(
            "fn f(x: read f32[128], y: write f32[4]) {{ parallel for n in 0..4 {{ y[n] = 0.5 {condition} }} }}"
        )
    };
    let plain = shader(&[&body("y[n] = fold_sum(x[32*n; 32])")], None, Rounding::Kept);
    let branch = shader(&[&body("if int(n) < 2 { y[n] = fold_sum(x[32*n; 32]) }")], None, Rounding::Kept);
    assert_eq!((plain.groups, branch.groups), (2, 4));
    let (plain, branch) = (part(&plain.text), part(&branch.text));
    assert!(plain.contains(&"let counts = number < 4u;".to_owned()), "{plain:?}");
    assert!(branch.contains(&"let counts = row == 0u;".to_owned()), "{branch:?}");
    assert_eq!(count(&branch, "if counts & (lane == 0i) {"), 2, "{branch:?}");
    // A branch without any does not matter.
    let other =
        shader(&[&body("if int(n) < 2 { y[n] = x[n] } y[n] = fold_sum(x[32*n; 32])")], None, Rounding::Kept);
    assert_eq!(other.groups, 2);
}

/// The last workgroup has a row without a point: it computes the last one again, and keeps it to itself.
#[test]
fn rows_beyond_the_last_point_do_not_count() {
    let text =
        "fn f(x: read f32[96], y: write f32[3]) { parallel for n in 0..3 { y[n] = fold_sum(x[32*n; 32]) } }";
    let shader = shader(&[text], None, Rounding::Kept);
    assert_eq!(shader.groups, 2);
    let found = part(&shader.text);
    assert!(found.contains(&"let point = min(number, 2u);".to_owned()), "{found:?}");
    assert_eq!(count(&found, "if counts & (lane == 0i) {"), 1, "{found:?}");
}

#[test]
fn without_vectors_each_invocation_has_a_point() {
    let text = "fn f(x: read f32[300], y: write f32[300]) { parallel for a in 0..10 { parallel for b in 0..30 { \
                y[30*a + b] = x[30*a + b] } } }";
    let shader = shader(&[text], None, Rounding::Kept);
    assert_eq!((shader.groups, shader.written.as_slice(), shader.places), (5, &[false, true][..], 2));
    let found = part(&shader.text);
    for line in [
        "let point = group * 64u + invocation / 1u;",
        "let a_0 = i32(point / 30u % 10u);",
        "let b_1 = i32(point / 1u % 30u);",
    ] {
        assert!(found.contains(&line.to_owned()), "{line}: {found:?}");
    }
}

#[test]
fn vectors_have_one_width() {
    let text = format!("fn f({HEAD}) {{ y[0] = x[0; 16] y[32] = x[32; 32] }}");
    let error = tried(&[&text], None, Rounding::Kept).expect_err("two widths").to_string();
    assert!(error.contains("`f` has vectors of several widths"), "{error}");
    for lanes in [4, 8, 16, 32, 64] {
        let text = format!("fn f({HEAD}) {{ y[0] = x[0; {lanes}] z[64] = fold_sum(x[0; {lanes}]) }}");
        assert_eq!(shader(&[&text], None, Rounding::Kept).groups, 1);
    }
}

#[test]
fn parts_have_workgroups_of_their_own() {
    let scale =
        "fn scale(x: read f32[160], y: write f32[160]) { parallel for n in 0..5 { y[32*n] = x[32*n; 32] } }";
    let one = "fn one(w: read f32[1], v: write f32[1]) { v[0] = w[0] * 2.0 }";
    let shader = shader(&[scale, one, scale], None, Rounding::Kept);
    assert_eq!((shader.groups, shader.places), (7, 6));
    assert_eq!(shader.written, [false, true, false, true, false, true]);
    assert_eq!((shader.places_binding(), shader.run_binding()), (6, 7));
    for line in [
        "  if group < 3u { part0(group, invocation); }",
        "  else if group < 4u { part1(group - 3u, invocation); }",
        "  else if group < 7u { part2(group - 4u, invocation); }",
        "  let w_at0 = places[0].z;",
        "  let x_at0 = places[1].x;",
        "@group(0) @binding(6) var<uniform> places: array<vec4<u32>, 2>;",
    ] {
        assert!(shader.text.lines().any(|other| other == line), "no {line} in\n{}", shader.text);
    }
}

/// Buffers of one block share its binding.
#[test]
fn a_block_is_bound_once() {
    let text = "fn f(x: read f32[4], y: write f32[4], z: read f32[4]) { y[0] = x[0] + z[0] }";
    let function = function(text);
    let part = Part { function: &function, blocks: vec![0, 0, 1], notes: vec!["conv1: conv2d".into()] };
    let condition = Some(Condition { block: 1, is_finite: true });
    let shader =
        write(&Dispatch { parts: vec![part], condition, driver: Driver::EXACT }).expect("it is written");
    validate(&shader.text);
    assert_eq!((shader.written.as_slice(), shader.places), (&[true, false][..], 4));
    assert!(shader.text.contains("@binding(0) var<storage, read_write> m0: array<u32>;"), "{}", shader.text);
    assert!(shader.text.contains("@binding(1) var<storage, read> m1: array<u32>;"), "{}", shader.text);
    assert!(shader.text.contains("// f\n// conv1: conv2d\nfn part0("), "{}", shader.text);
}

#[test]
fn a_condition_comes_before_all() {
    let text = "fn f(x: read f32[4], y: write f32[4]) { y[0] = x[0] }";
    let main = |is_finite| {
        let condition = Some(Condition { block: 0, is_finite });
        let shader = shader(&[text], condition, Rounding::Kept);
        assert_eq!(shader.places, 3);
        let (_, main) = shader.text.split_once("fn main(").expect("an entry");
        main.lines().nth(1).expect("a line").trim().to_owned()
    };
    let word = "m0[places[0].z + 0u]";
    assert_eq!(main(true), format!("if !(({word} & 0x7f800000u) != 0x7f800000u) {{ return; }}"));
    assert_eq!(main(false), format!("if !(({word} & 0x7fffffffu) != 0u) {{ return; }}"));
}

#[test]
fn fences_are_for_drivers_that_rearrange() {
    let body = "a: f32 = x[0] y[0] = fence(a + 1.0) - a";
    let value = |rounding| lines_of(body, rounding).pop().expect("a line");
    assert!(
        value(Rounding::Kept).ends_with("bitcast<u32>(((a_r0 + 1.0f) - a_r0));"),
        "{}",
        value(Rounding::Kept)
    );
    let fenced = value(Rounding::Fenced);
    assert!(fenced.ends_with("bitcast<u32>((fence((a_r0 + 1.0f)) - a_r0));"), "{fenced}");
}

/// Names of the user never meet those of the text, nor words of the language.
#[test]
fn names_of_loops_are_no_names_of_the_text() {
    check(
        "lane: f32x32 = x[0; 32] fold: f32 = fold_sum(lane) for fold_0 in 0..2 { y[fold_0] = fold + fold_sum(x[fold_0; 32]) }",
        &["let fold0_value = ", "let fold_r1 = fold0_value;"],
    );
    check("let: f32 = x[0] var: f32 = x[1] y[0] = let + var", &["let let_r0 = ", "let var_r1 = "]);
}
