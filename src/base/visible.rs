//! Text from files on a terminal: what would move the cursor, colour or turn round what follows is shown as a code.

use std::path::Path;

/// A text in which no character but tabs and the end of a line does anything to a terminal.
pub fn lines(text: &str) -> String {
    escaped(text, |c| c != '\n' && c != '\t')
}

/// A text as a part of one line.
pub fn name(text: &str) -> String {
    escaped(text, |_| true)
}

/// The beginning of a text of a file, as a part of one line: what an error repeats of it is never long.
pub fn excerpt(text: &str) -> String {
    const LONGEST: usize = 160;
    name(&text.chars().take(LONGEST).collect::<String>())
}

/// A path as one word of a command line, for people who copy it.
pub fn word(path: &Path) -> String {
    let text = path.display().to_string();
    let is_plain = |c: char| c.is_alphanumeric() || "/._-+,:@%".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) && !text.starts_with('-') {
        return text;
    }
    let text = if text.starts_with('-') { format!("./{text}") } else { text };
    format!("'{}'", text.replace('\'', "'\\''"))
}

/// A text of JSON that says the same. What acts stands in its strings only, where JSON has codes for it; those who write
/// JSON use them for the first 32 characters alone.
pub fn json(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match acts(c) && c != '\n' {
            // All that act are below the characters that JSON would need two codes for.
            true => shown.push_str(&format!("\\u{:04x}", u32::from(c))),
            false => shown.push(c),
        }
    }
    shown
}

/// A text of as many bytes, in which other characters stand for those that act: places in the text stay what they are.
/// Those of one byte are left, as who shows sources has signs for them.
pub fn in_place(text: &str) -> String {
    let sign = |c: char| match c.len_utf8() {
        2 if acts(c) => '·',
        3 if acts(c) => '\u{fffd}',
        _ => c,
    };
    text.chars().map(sign).collect()
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

/// Whether a character is a command: a control character, the end of a line or paragraph, or one that changes the
/// direction of writing.
fn acts(c: char) -> bool {
    let turns = |c| matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') || turns(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_shown_as_codes() {
        assert_eq!(
            name("a\u{1b}[31mb\u{9b}2J\u{7f}\u{202e}\u{2028}\n\r\t"),
            "a\\u{1b}[31mb\\u{9b}2J\\u{7f}\\u{202e}\\u{2028}\\n\\r\\t"
        );
        assert_eq!(lines("é\u{1b}\n\tü\r"), "é\\u{1b}\n\tü\\r");
        assert_eq!(name("größer 日本"), "größer 日本");
    }

    #[test]
    fn excerpts_are_short() {
        assert_eq!(excerpt("é\n"), "é\\n");
        assert_eq!(excerpt(&"é".repeat(1 << 20)), "é".repeat(160));
    }

    #[test]
    fn json_has_codes_of_its_own() {
        let said = "é\u{1b}\u{7f}\u{9b}2J\u{61c}\u{202e}\u{2029}\n";
        let text = json(&serde_json::to_string_pretty(&[said]).unwrap());
        assert_eq!(text, "[\n  \"é\\u001b\\u007f\\u009b2J\\u061c\\u202e\\u2029\\n\"\n]");
        assert_eq!(serde_json::from_str::<[String; 1]>(&text).unwrap(), [said]);
    }

    #[test]
    fn signs_take_the_same_place() {
        let text = "a\u{85}é\u{61c}\u{2028}b\u{202e}日\u{9b}";
        let shown = in_place(text);
        assert_eq!(shown, "a·é·\u{fffd}b\u{fffd}日·");
        let starts = |text: &str| text.char_indices().map(|(at, _)| at).collect::<Vec<_>>();
        assert_eq!(starts(&shown), starts(text));
    }
}
