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

/// Writes a text to standard error. Where that cannot be, there is nobody to tell, and the command goes on.
pub fn tell(text: &str) {
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}
