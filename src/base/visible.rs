//! Text from files on a terminal: what would move the cursor, colour or turn round what follows is shown as a code.

/// A text in which no character but the end of a line does anything to a terminal.
pub fn lines(text: &str) -> String {
    escaped(text, |c| c != '\n')
}

/// A text as a part of one line.
pub fn name(text: &str) -> String {
    escaped(text, |_| true)
}

fn escaped(text: &str, also: impl Fn(char) -> bool) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match acts(c) && also(c) {
            true => shown.extend(c.escape_default()),
            false => shown.push(c),
        }
    }
    shown
}

/// Whether a character is a command: a control character, or one that changes the direction of writing.
fn acts(c: char) -> bool {
    c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_shown_as_codes() {
        assert_eq!(
            name("a\u{1b}[31mb\u{9b}2J\u{7f}\u{202e}\n\r"),
            "a\\u{1b}[31mb\\u{9b}2J\\u{7f}\\u{202e}\\n\\r"
        );
        assert_eq!(lines("é\u{1b}\nü\r"), "é\\u{1b}\nü\\r");
        assert_eq!(name("größer 日本"), "größer 日本");
    }
}
