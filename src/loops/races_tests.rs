//! What digits say of random parallel loops within each other holds where all elements are counted out.

use super::super::parser::parse;
use super::super::visit::for_each_access;
use super::*;

/// A generator of numbers (xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % n
    }

    fn pick<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len())]
    }

    /// A sum of digits of the axes.
    fn index(&mut self) -> String {
        let mut index = format!("{}", 300 + self.below(9));
        for plain in ["a", "b", "c", "i"] {
            let atom = match plain {
                _ if self.below(100) < 70 => plain,
                "a" => self.pick(&["(a / 2)", "(a % 2)", "((a + b) / 2)"]),
                "b" => self.pick(&["(b / 2)", "(b % 2)", "((3*a + b) / 2)"]),
                "c" => self.pick(&["(c / 2)", "((b + c) % 3)", "((4*b + c) % 8)"]),
                _ => self.pick(&["(i % 2)", "((a + i) / 2)", "((i + b) % 3)"]),
            };
            let factor = self.pick(&["1", "1", "2", "3", "4", "8", "12", "16", "32", "64", "0"]);
            let sign = if self.below(9) == 0 { "-" } else { "+" };
            index = format!("{index} {sign} {factor}*{atom}");
        }
        index
    }

    fn function(&mut self) -> Function {
        let [a, b, c, i] = [(); 4].map(|()| 1 + self.below(4));
        let store = self.index();
        // Often the same but for the constant, as in functions that a schedule makes.
        let load = match self.below(3) {
            0 => self.index(),
            1 => format!("{store} + {}", self.below(70)),
            _ => store.clone(),
        };
        let body = format!("z[{store}] = z[{load}]");
        let text = format!(
            "fn f(z: readwrite f32[4096]) {{ parallel for a in 0..{a} {{ parallel for b in 0..{b} {{
               parallel for c in 0..{c} {{ for i in 0..{i} {{ {body} }} }} }} }} }}"
        );
        parse(&text).unwrap_or_else(|error| panic!("{error}\n{text}"))
    }
}

#[test]
fn digits_say_what_counting_says() {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let (mut told, mut met) = (0, 0);
    for _ in 0..20_000 {
        let function = random.function();
        let (grid, axes) = (function.grid(), &function.axes);
        let mut accesses = Vec::new();
        for_each_access(&function, &mut |access, _| accesses.push(access));
        let accesses: Vec<&Access<'_>> = accesses.iter().collect();
        let is_told =
            |at: usize| axes[grid[at]].extent <= 1 || told_apart(axes, &grid[..at], grid[at], &accesses);
        let (is_told, is_apart) = ((0..grid.len()).all(is_told), counted_apart(axes, &grid, &accesses));
        assert!(is_apart || !is_told, "{function}");
        told += usize::from(is_told);
        met += usize::from(!is_apart);
    }
    println!("{told} are told apart, {met} meet");
    assert!(told >= 1_000 && met >= 1_000, "{told} are told apart, {met} meet");
}
