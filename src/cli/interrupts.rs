//! Signals that end a run in order: an interrupt from the terminal, the request of another program to end, and the end
//! of the terminal.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

#[cfg(unix)]
use signal_hook::consts::SIGHUP;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

use crate::base::files;

/// Makes an error of a write beyond the size that the system grants a file (`ulimit -f`), which else ends the process.
pub fn outlive_full_files() {
    // Where the system refuses a handler, it is as without one.
    #[cfg(unix)]
    let _ = flag::register(libc::SIGXFSZ, Arc::default());
}

/// A flag that the first of these signals sets; the second one ends the process at once. One that the process was
/// started to ignore (`nohup`, a script's background job) stays ignored.
pub fn watch() -> Arc<AtomicBool> {
    let seen = Arc::new(AtomicBool::new(false));
    #[cfg(unix)]
    let signals = [SIGINT, SIGTERM, SIGHUP];
    #[cfg(not(unix))]
    let signals = [SIGINT, SIGTERM];
    let ignored = ignored();
    for signal in signals.into_iter().filter(|signal| ignored >> (signal - 1) & 1 == 0) {
        let status = i32::from(super::INTERRUPTED);
        // Looked at before the flag is set. Where the system refuses a handler, a signal ends the process, as without one.
        let _ = flag::register_conditional_shutdown(signal, status, seen.clone())
            .and_then(|_| flag::register(signal, seen.clone()));
    }
    seen
}

/// The signals that the process ignores, a bit each from that of signal 1 on; none where the system does not say it.
fn ignored() -> u64 {
    let status = files::read_text(Path::new("/proc/self/status")).unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}
