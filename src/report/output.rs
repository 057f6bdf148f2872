//! Standard output and standard error that may be closed: `cnnc emit model.cnn | head` ends quietly.

use std::io::{ErrorKind, Result, Write};

/// Writes a text to standard output.
///
/// # Errors
///
/// Where it cannot be written (a full disk). A reader that has gone away is no error: it has seen what it wanted.
pub fn print(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}

/// The characters of a line of standard output, where it is a terminal; those that `COLUMNS` says, where it is set. Else a
/// line has no end.
pub fn width() -> Option<usize> {
    let said =
        std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok()).filter(|width| *width > 0);
    said.or_else(|| Some(usize::from(console::Term::stdout().size_checked()?.1)))
}

/// Whether messages on standard error are coloured: it is a terminal that shows colours, and nobody has asked for none
/// (<https://no-color.org>).
pub fn is_colored() -> bool {
    let is_terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
    is_terminal && allows_colors(|name| std::env::var_os(name))
}

/// Whether the environment is for colours: `NO_COLOR` with any text but an empty one is not.
fn allows_colors(variable: impl Fn(&str) -> Option<std::ffi::OsString>) -> bool {
    let is_plain = variable("NO_COLOR").is_some_and(|text| !text.is_empty());
    !is_plain && variable("TERM").is_none_or(|kind| kind != "dumb")
}

/// Writes a text to standard error. Where that cannot be, there is nobody to tell, and the command goes on.
pub fn tell(text: &str) {
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Today a terminal has colours whatever these say.
    #[test]
    fn colors_can_be_left_out() {
        for (no_color, kind, colored) in [
            (None, Some("xterm"), true),
            (None, None, true),
            (Some(""), Some("xterm"), true),
            (Some("1"), Some("xterm"), false),
            (Some("0"), None, false),
            (None, Some("dumb"), false),
        ] {
            let variable = |name: &str| if name == "NO_COLOR" { no_color } else { kind }.map(Into::into);
            assert_eq!(allows_colors(variable), colored, "{no_color:?} {kind:?}");
        }
    }
}
