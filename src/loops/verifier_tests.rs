//! What the verifier of loop IR takes and refuses.

use super::super::parser::parse;
use super::*;

/// Verifies the text of a function; `expect` is a part of its only error, or empty.
#[track_caller]
fn check(text: &str, expect: &str) {
    let function = parse(text).expect("parses");
    match (verify(&function), expect) {
        (Ok(()), "") => {}
        (Ok(()), expect) => panic!("no error, but `{expect}` was expected"),
        (Err(errors), "") => panic!("{errors:?}"),
        (Err(errors), expect) => {
            assert!(errors.len() == 1 && errors[0].contains(expect), "{errors:?}, not `{expect}`");
        }
    }
}

/// A function of one statement list over a few buffers.
fn with_buffers(body: &str) -> String {
    format!("fn f(x: read f32[64], k: read i32[8], y: write f32[64], z: readwrite f32[64]) {{ {body} }}")
}

#[test]
fn types() {
    check(&with_buffers("y[0] = 1.0"), "");
    check(&with_buffers("y[0] = 1"), "`y` holds f32, not i32");
    check(&with_buffers("y[0] = x[0] + 1"), "the operands of `+` differ: f32 and i32");
    check(&with_buffers("y[0] = splat(1.0, 3)"), "3 lanes");
    check(&with_buffers("if 1 { y[0] = 1.0 }"), "a condition is a scalar truth value, not i32");
    check(&with_buffers("a: f32x4 = x[0]"), "register `a` is f32x4, its value f32");
    check(&with_buffers("y[0] = fold_sum(x[0])"), "fold of a scalar");
}

/// Machines differ in what they make of others.
#[test]
fn shifts_are_by_numbers_below_32() {
    let shift = |by: &str| with_buffers(&format!("for i in 0..4 {{ y[0] = to_float(to_bits(x[0]) {by}) }}"));
    let vector =
        |by: &str| with_buffers(&format!("for i in 0..4 {{ y[0] = to_float(to_bits(x[0; 4 by 0]) {by}) }}"));
    for right in ["<< 0", ">> 31", "<< int(8*i + 7)", ">> int(31 - 8*i)"] {
        check(&shift(right), "");
    }
    for right in ["<< splat(31, 4)", ">> int(8*i; 4 by 2)", "<< int(30 - 8*i; 4 by -2)"] {
        check(&vector(right), "");
    }
    for wrong in ["<< 32", ">> -1", "<< int(8*i + 8)", ">> int(i - 1)", "<< to_bits(x[0])"] {
        check(&shift(wrong), "is not by a number from 0 to 31");
    }
    for wrong in
        ["<< splat(32, 4)", ">> int(8*i; 4 by 3)", "<< int(8*i; 4 by -1)", ">> splat(to_bits(x[0]), 4)"]
    {
        check(&vector(wrong), "is not by a number from 0 to 31");
    }
}

/// Loops without iterations are compiled like all others.
#[test]
fn what_never_runs() {
    for kind in ["", "parallel "] {
        let never =
            |body: &str| with_buffers(&format!("{kind}for n in 0..0 {{ for i in 0..2 {{ {body} }} }}"));
        check(&never("y[99*i] = x[7 - 99*n]"), "");
        check(&never("y[0] = splat(1.0, 31)"), "31 lanes");
        check(&never("y[0] = x[0; 4] + x[0]"), "the operands of `+` differ");
        check(&never("y[0] = 1"), "`y` holds f32, not i32");
        check(&never("x[0] = 1.0"), "a store to `x`, which is only read");
        check(&never("if true { a: f32 = 1.0 } y[0] = a"), "is read before it is set");
        check(&never(&format!("y[{}*n] = 1.0", 1_i64 << 62)), "is too large");
        check(&never("for i in 0..2 { y[0] = 1.0 }"), "is bound twice");
        check(&with_buffers("for n in 0..0 { y[99] = 1.0 } y[99] = 1.0"), "reaches 99..=99");
    }
}

#[test]
fn scopes() {
    check(&with_buffers("for i in 0..2 { a: f32 = 1.0 y[i] = a }"), "");
    check(&with_buffers("for i in 0..2 { a: f32 = 1.0 } y[0] = a"), "is read before it is set");
    check(&with_buffers("a: f32 = 1.0 for i in 0..2 { a = a + a } y[0] = a"), "");
    check(&with_buffers("if true { a: f32 = 1.0 } else { a = 2.0 } y[0] = a"), "before it is set");
    check(&with_buffers("for i in 0..2 { for i in 0..2 { y[i] = 1.0 } }"), "is bound twice");
    check(&with_buffers("for i in 0..2 { y[i] = 1.0 } y[i] = 1.0"), "used outside its loop");
}

#[test]
fn bounds() {
    check(&with_buffers("for i in 0..16 { y[4*i] = x[4*i; 4] }"), "");
    check(&with_buffers("for i in 0..16 { y[4*i + 1] = x[4*i; 4] }"), "reaches 1..=64");
    check(&with_buffers("for i in 0..22 { y[0] = x[3*i] }"), "");
    check(&with_buffers("for i in 0..22 { y[0] = x[63 - 3*i] }"), "");
    check(&with_buffers("for i in 0..23 { y[0] = x[63 - 3*i] }"), "reaches -3..=63");
    check(&with_buffers("y[0] = fold_sum(x[3; 8 by 8])"), "");
    check(&with_buffers("y[0] = fold_sum(x[8; 8 by 8])"), "reaches 8..=64");
}

#[test]
fn guards() {
    let loops = |guard: &str| {
        format!("for i in 0..8 {{ for u in 0..3 {{ if {guard} {{ y[i] = x[8*i + 8*u - 8] }} }} }}")
    };
    check(&with_buffers(&loops("int(i + u - 1) >= 0 & int(i + u) <= 8")), "");
    check(&with_buffers(&loops("0 <= int(i + u - 1) & int(i + u - 1) < 8")), "");
    check(&with_buffers(&loops("int(i + u - 1) >= 0")), "reaches 0..=64");
    check(&with_buffers(&loops("int(i + u - 1) >= 0 | int(i + u - 1) < 8")), "reaches -8..=64");
    let negated = "if int(i) == 0 | int(i) > 6 { y[i] = 0.0 } else { y[i] = x[11*i - 11] }";
    check(&with_buffers(&format!("for i in 0..8 {{ {negated} }}")), "");
    check(&with_buffers("for i in 0..80 { if int(i) < 64 { y[i] = select(int(i) < 9, x[i], 0.0) } }"), "");
    check(&with_buffers("for i in 0..80 { y[0] = select(int(i) < 64, x[i], 0.0) }"), "reaches 0..=79");
}

#[test]
fn two_guards_bound_one_index() {
    let guard = "int(h + u - 1) >= 0 & int(h + u - 1) < 8 & int(w + v) > 0 & int(w + v) < 9";
    let body = format!("if {guard} {{ y[8*h + w] = x[8*h + 8*u + w + v - 9] }}");
    let loops =
        format!("for h in 0..8 {{ for w in 0..8 {{ for u in 0..3 {{ for v in 0..3 {{ {body} }} }} }} }}");
    check(&with_buffers(&loops), "");
}

#[test]
fn accesses() {
    check(&with_buffers("x[0] = 1.0"), "a store to `x`, which is only read");
    check(&with_buffers("y[0] = y[1]"), "a load from `y`, which is only written");
    check(&with_buffers("z[0] = z[1]"), "");
    check(&with_buffers("y[0; by 0] = x[0; 4]"), "a store of 4 lanes to one element of `y`");
    check(&with_buffers("y[0] = splat(x[0], 1)"), "splat to one lane");
}

#[test]
fn sizes_are_moderate() {
    const HUGE: i64 = 1 << 62;
    const ODD: i64 = HUGE - 1;
    let too_large = "is too large";
    for (index, expect) in [
        (format!("{HUGE}*i"), too_large),
        (format!("{HUGE}*i - {HUGE}"), too_large),
        (format!("{HUGE}"), too_large),
        (format!("{HUGE}*one"), too_large),
        (format!("(({ODD}*i) % 4)"), too_large),
        (format!("(({ODD}*i) / {HUGE})"), too_large),
        (format!("min({HUGE}*i, 1)"), too_large),
        (format!("{}*i + {}*one", HUGE / 2, HUGE / 2), too_large),
        // What is simplified is small.
        (format!("(({HUGE}*i) % 4)"), ""),
        (format!("(({HUGE}*i) / {HUGE})"), ""),
        (format!("((i) / {HUGE})"), ""),
    ] {
        let text = format!("for i in 0..3 {{ for one in 0..1 {{ y[0] = x[{index}] }} }}");
        check(&with_buffers(&text), expect);
    }
    // A quotient is smaller than what is divided.
    let rows = "for i in 0..268435456 { y[0] = x[1073741840*((i) / 134217728) + 8*((i) % 134217728)] }";
    check(&with_buffers(rows), "reaches 0..=2147483656");
    check(&with_buffers(&format!("y[0; by {HUGE}] = x[0; 4]")), "elements apart");
    check(&with_buffers(&format!("y[0] = fold_sum(x[0; 8 by -{HUGE}])")), "elements apart");
    check(&with_buffers(&format!("k: i32x4 = int(0; 4 by {HUGE})")), "apart");
    check(&format!("fn f(y: write f32[{HUGE}]) {{ y[0] = 1.0 }}"), "has 4611686018427387904 elements");
    check(&with_buffers(&format!("for i in 0..{HUGE} {{ y[0] = 1.0 }}")), "has the extent");
    // Near the bound, bytes and lanes included, all is well.
    let large = 1_i64 << 54;
    let far = format!(
        "fn f(y: write f32[{large}]) {{ for i in 0..2 {{ y[{}*i + 4] = splat(1.0, 4) }} }}",
        large - 8
    );
    check(&far, "");
}

/// However far a fact lies from all values, it narrows no range wrongly.
#[test]
fn facts_that_never_hold_prove_nothing() {
    let loops = |body: &str| with_buffers(&format!("for i in 0..8 {{ {body} }}"));
    let factor = 1_i64 << 52;
    check(&loops(&format!("if int(i) > 2000000000 {{ y[0] = 1.0 }} y[0] = x[{factor}*i]")), "reaches 0..=");
    check(
        &loops(&format!("if int(i) > 2000000000 {{ y[0] = 1.0 }} else {{ y[0] = x[{factor}*i] }}")),
        "reaches 0..=",
    );
}

/// More iterations than are counted out.
#[test]
fn long_parallel_loops() {
    let parallel = |index: &str| {
        let access = format!("parallel for n in 0..90000000 {{ for i in 0..2 {{ y[{index}] = 1.0 }} }}");
        format!("fn f(y: write f32[2000000000]) {{ {access} }}")
    };
    check(&parallel("2*n + i"), "");
    check(&parallel("n + 90000000*i"), "");
    check(&parallel("8*((n) / 3) + 2*((n) % 3) + i"), "");
    check(&parallel("36*((n) / 12) + 8*(((n / 3)) % 4) + 2*((n) % 3) + i"), "");
    // What a concatenation over sliced pictures is stored at: the digits are those of a remainder.
    check(&parallel("400*((n) / 120) + 12*(((n % 120)) / 4) + 2*((n) % 4) + i"), "");
    check(&parallel("400*((n) / 120) + 12*(((n % 120)) / 4) + 2*((n) % 3) + i"), "of `y`");
    check(&parallel("400*((n) / 120) + 12*(((n % 100)) / 4) + 2*((n) % 4) + i"), "of `y`");
    check(&parallel("400*((n) / 130) + 12*(((n % 120)) / 4) + 2*((n) % 4) + i"), "of `y`");
    let all: Vec<String> = (2..80).map(|k| format!("(((n / {k})) % {})", k + 1)).collect();
    check(&parallel(&all.join(" + ")), "of `y`");
    check(&parallel("8*((n) / 3) + i"), "of `y`");
    check(&parallel("8*((n) / 4) + 2*((n) % 3) + i"), "of `y`");
    check(&parallel("n + i"), "of `y`");
}

#[test]
fn parallel_loops() {
    let parallel = |body: &str| with_buffers(&format!("parallel for n in 0..8 {{ {body} }}"));
    check(&parallel("y[8*n] = x[8*n; 8]"), "");
    check(&parallel("for i in 0..8 { y[8*n + i] = x[i] }"), "");
    check(&parallel("for i in 0..8 { y[n + 8*i] = x[i] }"), "");
    check(
        &parallel("for i in 0..9 { y[7*n + i] = x[i] }"),
        "iterations of `n` may touch the same element of `y`",
    );
    check(&parallel("y[0] = x[n]"), "of `y`");
    check(&parallel("z[n] = z[n] + x[n]"), "");
    check(&parallel("if int(n) < 7 { z[n] = z[n + 1] }"), "of `z`");
    check(&parallel("for i in 0..4 { y[4*n + i] = x[0] y[4*n + i + 32] = x[1] }"), "");
    check(&parallel("for i in 0..4 { y[4*n + i] = x[0] y[4*n + i + 30] = x[1] }"), "of `y`");
    check(
        &parallel("for i in 0..4 { for j in 0..2 { y[16*((n) / 2) + 8*j + 4*((n) % 2) + i] = x[0] } }"),
        "",
    );
    check(&parallel("y[((n) / 2)] = x[0]"), "of `y`");
    check(&with_buffers("y[0] = 1.0 parallel for n in 0..8 { y[n] = x[n] }"), "must be the whole function");
}

/// Loops over `a` and `b`, each the whole of the one before, and what they do.
fn grid(a: i64, b: i64, body: &str) -> String {
    let loops = format!("parallel for a in 0..{a} {{ parallel for b in 0..{b} {{ {body} }} }}");
    format!("fn f(x: read f32[4096], y: write f32[4096], z: readwrite f32[4096]) {{ {loops} }}")
}

#[test]
fn parallel_loops_within_each_other() {
    check(&grid(8, 64, "y[512*a + 8*b] = x[8*b; 8]"), "");
    check(&grid(8, 64, "y[8*a + 64*b] = x[8*b; 8]"), "");
    check(&grid(8, 64, "for i in 0..8 { y[64*a + b + 512*i] = x[0] }"), "");
    check(&grid(8, 64, "z[64*a + b] = z[64*a + b] + x[a]"), "");
    check(&grid(8, 64, "y[b] = x[0]"), "iterations of `a` may touch the same element of `y`");
    check(&grid(8, 64, "y[a] = x[0]"), "iterations of `b` may touch the same element of `y`");
    // Overlaps by one element, of either axis.
    check(&grid(8, 8, "for i in 0..9 { y[72*a + 8*b + i] = x[i] }"), "iterations of `b` may touch");
    check(&grid(8, 8, "for i in 0..8 { y[63*a + 8*b + i] = x[i] }"), "iterations of `a` may touch");
    check(&grid(8, 8, "for i in 0..8 { y[64*a + 8*b + i] = x[i] }"), "");
    check(&grid(8, 8, "if int(b) < 7 { z[8*a + b] = z[8*a + b + 1] }"), "the same element of `z`");
    check(&grid(8, 8, "if int(a) < 7 { z[8*a + b] = z[8*a + b + 8] }"), "the same element of `z`");
    // Loops of one iteration, and of none.
    check(&grid(1, 64, "y[b] = x[a]"), "");
    check(&grid(64, 1, "y[a] = x[b]"), "");
    check(&grid(64, 1, "y[0] = x[b]"), "iterations of `a` may touch");
    check(&grid(0, 64, "y[99999*a] = x[b]"), "");
    check(&grid(64, 0, "y[0] = x[b]"), "");
}

#[test]
fn three_parallel_loops() {
    let cube = |body: &str| grid(4, 8, &format!("parallel for c in 0..16 {{ {body} }}"));
    check(&cube("for i in 0..8 { y[1024*a + 128*b + 8*c + i] = x[i] }"), "");
    check(&cube("for i in 0..8 { y[a + 4*b + 32*c + 512*i] = x[i] }"), "");
    check(&cube("for i in 0..8 { y[1024*a + 128*b + 7*c + i] = x[i] }"), "iterations of `c` may touch");
    check(&cube("for i in 0..8 { y[1024*a + 120*b + 8*c + i] = x[i] }"), "iterations of `b` may touch");
    check(&cube("y[0] = x[c] parallel for d in 0..2 { y[1] = x[d] }"), "must be the whole function");
    check(&cube("parallel for a in 0..4 { y[0] = 1.0 }"), "is bound twice");
}

/// What the digits of the addresses do not say is counted out, or, where it is too much, refused.
#[test]
fn terms_of_outer_parallel_loops() {
    // The outer axis enters an address together with the inner one.
    check(&grid(8, 8, "y[4*((8*a + b) / 3) + ((8*a + b) % 3)] = x[0]"), "");
    check(&grid(8, 8, "y[((8*a + b) / 3)] = x[0]"), "may touch the same element of `y`");
    // Its terms are not the same in all accesses: they lie apart all the same, or do not.
    check(&grid(8, 8, "y[8*a + b] = x[0] y[16*a + b + 100] = x[1]"), "");
    check(&grid(8, 8, "y[8*a + b] = x[0] y[16*a + b + 63] = x[1]"), "may touch the same element of `y`");
    let large = |body: &str| {
        let loops = format!("parallel for a in 0..30000 {{ parallel for b in 0..3000 {{ {body} }} }}");
        format!("fn f(y: write f32[2000000000]) {{ {loops} }}")
    };
    check(&large("for i in 0..2 { y[6000*a + 2*b + i] = 1.0 }"), "");
    check(&large("for i in 0..2 { y[a + 30000*b + 90000000*i] = 1.0 }"), "");
    check(&large("y[6000*a + b] = 1.0 y[6000*a + b + 3000] = 1.0"), "");
    check(&large("y[6000*a + b] = 1.0 y[6000*a + b + 2999] = 1.0"), "iterations of `b` may touch");
    check(&large("y[6000*a + b] = 1.0 y[12000*a + b + 1000000000] = 1.0"), "may touch");
    // An axis in digits, with the outer one in digits of its own.
    check(&large("y[9000*((a) / 3) + ((a) % 3) + 9*((b) / 3) + 3*((b) % 3)] = 1.0"), "");
    check(&large("y[9000*((a) / 3) + ((a) % 3) + 9*((b) / 3) + 2*((b) % 3)] = 1.0"), "may touch");
}
