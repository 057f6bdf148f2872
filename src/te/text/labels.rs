//! Labels: names made unique, so that a text can be read back.
//!
//! The first bearer of a name keeps it, the next ones are `name#1`, `name#2` and so on, in the order of the text. A
//! name that is a word of the text language is `name#0`. A parser drops what follows `#` and gets the name back.

use crate::base::hash::HashMap;

use super::token::is_name;

/// The labels that one scope has given out.
#[derive(Clone, Debug, Default)]
pub struct Labels {
    count: HashMap<String, usize>,
}

impl Labels {
    /// A label for the next bearer of a name. Characters that no name has become `_`.
    pub fn next(&mut self, name: &str) -> String {
        let base = sanitised(name);
        let count = self.count.entry(base.clone()).or_insert(0);
        let label = if *count == 0 && is_name(&base) { base } else { format!("{base}#{count}") };
        *count += 1;
        label
    }
}

/// The name that a label was made for.
pub fn name_of(label: &str) -> &str {
    label.split('#').next().unwrap_or(label)
}

fn sanitised(name: &str) -> String {
    let allowed = |c: char| if c.is_ascii_alphanumeric() || c == '_' || c == '.' { c } else { '_' };
    let text: String = name.chars().map(allowed).collect();
    let starts_well = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    if starts_well { text } else { format!("_{text}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_unique_and_keep_the_name() {
        let mut labels = Labels::default();
        let given = ["i", "i", "sum", "sum", "a b", "a_b", "0", ""].map(|name| labels.next(name));
        assert_eq!(given, ["i", "i#1", "sum#0", "sum#1", "a_b", "a_b#1", "_0", "_"]);
        assert_eq!(name_of("sum#1"), "sum");
    }
}
