//! Standard output that may be closed: `cnnc emit model.cnn | head` ends quietly.

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
