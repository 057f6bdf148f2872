//! How deep ops and blocks call each other, and how long the lists are that an axis reads.

use super::errors::errors_of;
use super::*;

/// The first error of a text: what it says, and its notes.
fn first_error(text: &str) -> String {
    let mut sources = SourceMap::default();
    let errors = errors_of(&mut sources, text);
    errors.first().map_or(String::new(), |error| error.render(&sources, false))
}

/// A chain of ops on single numbers; each is what `body` makes of a call of the one before.
fn ops(count: usize, body: impl Fn(&str) -> String) -> String {
    let first = "op link0(x: f32) -> y: f32 { y = x + 1; }\n".to_owned();
    let link = |at: usize| {
        let body = body(&format!("link{}", at - 1));
        format!("op link{at}(x: f32) -> y: f32 {{ y = {body}; }}\n")
    };
    let chain: String = (1..count).map(link).collect();
    format!("{first}{chain}model M(x: f32[N, 2]) {{ x |> link{} }}", count - 1)
}

fn blocks(count: usize) -> String {
    let link = |at: usize| format!("block link{at}(x: any) {{ link{}(x) }}\n", at - 1);
    let chain: String = (1..count).map(link).collect();
    format!("block link0(x: any) {{ x + 1 }}\n{chain}model M(x: f32[N, 2]) {{ x |> link{} }}", count - 1)
}

#[test]
fn chains_of_ops() {
    for count in [22, 23, 24, 60, 64] {
        let text = ops(count, |before| format!("{before}(x) + 1"));
        assert_close(&predict(&text, 1, &[0.0, 2.0], &[]), &[count as f64, 2.0 + count as f64]);
    }
    for count in [66, 1000] {
        let error = first_error(&ops(count, |before| format!("{before}(x) + 1")));
        assert!(error.contains("is nested too deeply"), "{error}");
        assert!(error.contains("ops call each other at most 64 deep"), "{error}");
    }
}

#[test]
fn chains_of_blocks() {
    assert_close(&predict(&blocks(59), 1, &[0.0, 2.0], &[]), &[1.0, 3.0]);
    for count in [60, 61, 1000] {
        let error = first_error(&blocks(count));
        assert!(error.contains("is nested too deeply"), "{error}");
        assert!(error.contains("blocks call each other at most 60 deep"), "{error}");
    }
}

/// Ops in whose expressions the calls stand deep: neither the stack nor the time runs out.
#[test]
fn deep_expressions_in_chains() {
    let nested = |before: &str| format!("{}{before}(x){}", "(1 + 2 * ".repeat(60), ")".repeat(60));
    assert_eq!(first_error(&ops(4, nested)), "");
    let error = first_error(&ops(40, nested));
    assert!(error.contains("this nests too deeply"), "{error}");
    assert!(error.contains("expressions nest at most 500 deep"), "{error}");
}

#[test]
fn ops_that_double() {
    let error = first_error(&ops(40, |before| format!("{before}(x * 3 + 1) + {before}(x * x)")));
    assert!(error.contains("this op is too large"), "{error}");
    assert!(error.contains("more than 50000 expressions"), "{error}");
    let error = first_error(&ops(40, |before| format!("{before}(x) + {before}(x)")));
    assert!(error.contains("this takes too long to elaborate"), "{error}");
    assert!(error.contains("more than 4000000 expressions"), "{error}");
}

fn reader(count: usize, index: &str) -> String {
    let list: Vec<String> = (0..count).map(|at| format!("{at}.5")).collect();
    let list = list.join(", ");
    format!(
        "op f(x: f32[N, C]) -> y: f32[N, C] {{ let l = [{list}]; y[n, c] = x[n, c] + l[{index}]; }}
         model M(x: f32[N, {count}]) {{ f(x) }}"
    )
}

#[test]
fn long_lists_are_read_by_an_axis() {
    for count in [256, 257, 258, 511, 4096] {
        let found = predict(&reader(count, "c"), 1, &vec![0.0; count], &[]);
        assert_close(&found, &(0..count).map(|at| at as f64 + 0.5).collect::<Vec<_>>());
    }
    let found = predict(&reader(600, "599 - c"), 1, &[0.0; 600], &[]);
    assert_close(&found, &(0..600).rev().map(|at| f64::from(at) + 0.5).collect::<Vec<_>>());
}

#[test]
fn longer_lists_are_not() {
    let error = first_error(&reader(4097, "c"));
    let message = "an axis chooses among at most 4096 elements of a list, and this is one of 4097";
    assert!(error.contains(message), "{error}");
    // A part of a longer list is read.
    let text = reader(5000, "c / 2");
    assert_eq!(first_error(&text), "");
    let error = first_error(&reader(300, "c + 1"));
    assert!(error.contains("the list has 300 elements, the position runs from 1 to 300"), "{error}");
}
