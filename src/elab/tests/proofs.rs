//! Reads are accepted where their indices are proved to lie inside: never one that does not, against a model in 128
//! bits, and all of a list of those that do.

use super::{Library, Module, Request};
use crate::base::philox::{RandomState, uniform};
use crate::base::source::SourceMap;
use crate::elab::ModelCall;

const EXTENTS: [i64; 2] = [7, 5];
const ELEMENTS: i64 = 8;

/// Whether a read of eight elements at an index of `i < 7` and `u < 5` is accepted, where `K` is 8.
fn is_accepted(index: &str) -> bool {
    let text = format!(
        "op f(x: f32[N, K]) -> y: f32[N, 7, 5] {{ y[n, i, u] = x[n, {index}]; }}
         model M(x: f32[N, 8]) {{ f(x) }}"
    );
    let library = Library { files: Vec::new() };
    let module = Module::with_library(&mut SourceMap::default(), "model.cnn", &text, &library)
        .unwrap_or_else(|errors| panic!("{text}: {errors:?}"));
    let graph = module.graph(&ModelCall::new(module.models()[0]), &Request::inference(2));
    graph.is_ok_and(|graph| {
        assert_eq!(crate::graph::verifier::verify(&graph), Ok(()), "{index}");
        true
    })
}

#[test]
fn what_is_inside_is_accepted() {
    for index in [
        "i - i % 4",
        "i - i % 4 + u % 2",
        "i / 2 * 2 + 1 - i % 2",
        "i + 1 - 2 * (i % 2) + 0 * u",
        "i - i / 2",
        "u - min(i, u)",
        "max(i, u) - u",
        "max(i, u) - min(i, u)",
        "min(i, u) + max(i, u) - u",
        "min(i, K - i)",
        "min(i, 2 * (K - 2) - i)",
        "min(2 * i, 11 - i)",
        "max(i, 7 - i)",
        "max(i - 3, 3 - i)",
        "min(max(i - 2, 2 - i), 8 - max(i - 2, 2 - i))",
        "min((i + u) % 14, 14 - (i + u) % 14)",
        "(i * 4294967297) % 4294967296",
        "(i * 4294967297 + u) % 4294967296 - u",
        "(i * 4294967297) / 4294967296",
        "(i * 1099511627777) % 1099511627776",
        "(4 * i + 2) % 8",
        "6 - (i - i % 3)",
        "(i + u - (i + u) % 2) / 2",
    ] {
        assert!(is_accepted(index), "{index}");
    }
}

#[test]
fn what_reaches_outside_is_refused() {
    for index in [
        "i - i % 4 - 1",
        "i - u % 4",
        "2 * i - i % 4",
        "i - i / 2 + 5",
        "min(2 * i, 14 - i)",
        "min(i, u) - u",
        "u + max(i, u)",
        "min(i, K - i) - 1",
        "max(i - 3, 3 - i) - 1",
        "max(2 * i, 14 - 2 * i)",
        "(i * 4294967298) % 4294967296",
        "(i * 4503599627370497) % 4503599627370496 + 2",
        "(i * (2147483648 * 2147483648)) % (2147483648 * 2147483648 - 1)",
        "(i * (2147483648 * 2147483648) + u) / (2147483648 * 1073741824)",
    ] {
        assert!(!is_accepted(index), "{index}");
    }
}

/// An index and its value at every point. Values that do not fit are those of indices that are too large anyway.
struct Drawn {
    text: String,
    values: Vec<i128>,
}

struct Draw {
    seed: u64,
    at: u32,
}

impl Draw {
    fn below(&mut self, end: i64) -> i64 {
        self.at += 1;
        (f64::from(uniform(RandomState { seed: self.seed, step: 0 }, 0, self.at)) * end as f64) as i64
    }

    fn factor(&mut self) -> i64 {
        let power = self.below(62);
        match self.below(6) {
            0 => (1_i64 << power) + self.below(3) - 1,
            _ => 1 + self.below(7),
        }
    }

    /// A literal has 53 bits.
    fn text(k: i64) -> String {
        match k >> 53 {
            0 => k.to_string(),
            _ => format!("({} * 2147483648 + {})", k >> 31, k & 0x7fff_ffff),
        }
    }

    fn leaf(&mut self) -> Drawn {
        let points = EXTENTS[0] * EXTENTS[1];
        let number = self.below(9);
        match self.below(5) {
            0 => Drawn { text: number.to_string(), values: vec![number.into(); points as usize] },
            1 | 2 => {
                Drawn { text: "i".into(), values: (0..points).map(|p| (p / EXTENTS[1]).into()).collect() }
            }
            _ => Drawn { text: "u".into(), values: (0..points).map(|p| (p % EXTENTS[1]).into()).collect() },
        }
    }

    fn index(&mut self, depth: i64) -> Drawn {
        if depth == 0 {
            return self.leaf();
        }
        let x = self.index(depth - 1);
        let k = self.factor().max(1);
        let (wide, k) = (i128::from(k), Draw::text(k));
        let alone = |text: String, value: &dyn Fn(i128) -> i128| Drawn {
            text,
            values: x.values.iter().map(|x| value(*x)).collect(),
        };
        match self.below(9) {
            0 => alone(format!("({}) / {k}", x.text), &|x| x.div_euclid(wide)),
            1 | 2 => alone(format!("({}) % {k}", x.text), &|x| x.rem_euclid(wide)),
            3 => alone(format!("({}) * {k}", x.text), &|x| x.saturating_mul(wide)),
            4 => alone(format!("({}) - ({}) % {k}", x.text, x.text), &|x| x - x.rem_euclid(wide)),
            choice => {
                let y = self.index(depth - 1);
                let joined = |text: String, value: &dyn Fn(i128, i128) -> i128| Drawn {
                    text,
                    values: x.values.iter().zip(&y.values).map(|(x, y)| value(*x, *y)).collect(),
                };
                match choice {
                    5 => joined(format!("min({}, {})", x.text, y.text), &i128::min),
                    6 => joined(format!("max({}, {})", x.text, y.text), &i128::max),
                    7 => joined(format!("{} - ({})", x.text, y.text), &|x, y| x.saturating_sub(y)),
                    _ => joined(format!("{} + {}", x.text, y.text), &|x, y| x.saturating_add(y)),
                }
            }
        }
    }
}

/// Draws indices; gives how many were accepted.
fn check(seeds: std::ops::Range<u64>) -> usize {
    let mut accepted = 0;
    for seed in seeds {
        let mut draw = Draw { seed, at: 0 };
        let depth = 1 + draw.below(4);
        let Drawn { text, values } = draw.index(depth);
        if is_accepted(&text) {
            let outside = values.iter().find(|value| !(0..i128::from(ELEMENTS)).contains(*value));
            assert_eq!(outside, None, "`{text}` is accepted");
            accepted += 1;
        }
    }
    accepted
}

#[test]
fn no_index_that_reaches_outside_is_accepted() {
    assert!(check(0..600) > 60);
}

#[test]
#[ignore = "a hundred thousand indices, minutes"]
fn no_index_of_a_hundred_thousand_that_reaches_outside_is_accepted() {
    check(0..100_000);
}
