//! Planted faults: each spoils one place of the program, and the tests must notice it.
//!
//! Two steps plant one:
//!
//! 1. a line in `fault/compiler.rs` or `fault/training.rs`: its name (`module.place.what`), its file below `src`, and what it spoils;
//! 2. in that file `planted!("module.place.what")`, which is true while the fault is chosen:
//!
//!    ```ignore
//!    let last = if planted!("te.cover.last") { extent - 1 } else { extent };
//!    if low >= 0 && (planted!("te.cover.high") || high < extent) { ... }
//!    ```
//!
//! The macro needs no import; a name that is not in the list does not compile, and `tests/tidy.rs` holds that each
//! stands in its file. It is for code that decides things once a program, a step or a batch: never part of what
//! generated code does, and not for the innermost loops of data readers. A fault of the library's texts is an
//! exchange of words in `elab::Library::embedded`.
//!
//! `CNNC_FAULT=name` chooses a fault when the process starts; an unknown name ends the process. The switch exists in
//! test builds only, those with the feature `testing` (which the package asks of itself as a dependency of its tests)
//! *and* debug assertions; everywhere else `planted!` is the constant `false`, so neither a release nor a benchmark
//! knows it. `cargo test --test faults every_fault -- --ignored --nocapture` runs the tests against each fault and
//! prints who noticed; the ordinary tests run ten.

mod compiler;
mod training;

use compiler::COMPILER;
pub use training::TRAINING;

/// A fault that can be planted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    pub name: &'static str,
    /// Where, below `src`.
    pub file: &'static str,
    /// What goes wrong, in one line.
    pub spoils: &'static str,
}

const fn fault(name: &'static str, file: &'static str, spoils: &'static str) -> Fault {
    Fault { name, file, spoils }
}

/// All faults: those of the compiler, then those of sections, data, trainings and commands.
pub const FAULTS: &[Fault] = &all();

const fn all() -> [Fault; COMPILER.len() + TRAINING.len()] {
    let mut all = [COMPILER[0]; COMPILER.len() + TRAINING.len()];
    let mut at = 0;
    while at < all.len() {
        all[at] = if at < COMPILER.len() { COMPILER[at] } else { TRAINING[at - COMPILER.len()] };
        at += 1;
    }
    all
}

/// The place of a name in the list; an unknown one stops the compilation.
pub const fn position(name: &str) -> usize {
    let mut at = 0;
    while at < FAULTS.len() {
        if is_same(FAULTS[at].name.as_bytes(), name.as_bytes()) {
            return at;
        }
        at += 1;
    }
    panic!("no fault of this name is in the list");
}

const fn is_same(one: &[u8], other: &[u8]) -> bool {
    let mut at = 0;
    while at < one.len() && at < other.len() && one[at] == other[at] {
        at += 1;
    }
    at == one.len() && at == other.len()
}

/// Whether the fault of a name is chosen; `false` where there is no switch.
macro_rules! planted {
    ($name:literal) => {{
        const POSITION: usize = $crate::base::fault::position($name);
        $crate::base::fault::is_planted(POSITION)
    }};
}

/// Whether this build has the switch.
pub const HAS_SWITCH: bool = cfg!(all(feature = "testing", debug_assertions));

/// The environment variable that chooses a fault.
pub const CHOICE: &str = "CNNC_FAULT";

/// The environment variable with the path of a file that is made when the chosen fault is first met: a fault that
/// nobody meets is none that the tests let pass.
pub const WITNESS: &str = "CNNC_FAULT_WITNESS";

#[cfg(all(feature = "testing", debug_assertions))]
pub use switch::is_planted;

/// Whether the fault at a place of the list is chosen: never.
#[cfg(not(all(feature = "testing", debug_assertions)))]
pub const fn is_planted(_: usize) -> bool {
    false
}

#[cfg(all(feature = "testing", debug_assertions))]
mod switch {
    use std::io::Write;
    use std::sync::{Once, OnceLock};

    use super::{CHOICE, FAULTS, WITNESS};

    /// Whether the fault at a place of the list is the chosen one.
    pub fn is_planted(position: usize) -> bool {
        static CHOSEN: OnceLock<Option<usize>> = OnceLock::new();
        static MET: Once = Once::new();
        let is_chosen = *CHOSEN.get_or_init(chosen) == Some(position);
        if is_chosen {
            MET.call_once(|| {
                if let Some(path) = std::env::var_os(WITNESS) {
                    std::fs::write(path, "").expect("a witness");
                }
            });
        }
        is_chosen
    }

    /// What the environment chooses. An unknown name ends the process: a panic could pass for a fault that was noticed.
    fn chosen() -> Option<usize> {
        let name = std::env::var(CHOICE).ok()?;
        let found = FAULTS.iter().position(|fault| fault.name == name);
        if found.is_none() {
            // Not by `eprintln!`, which a test keeps to itself.
            let message =
                format!("error: {CHOICE}: no fault is called `{name}`; src/base/fault/ lists all\n");
            _ = std::io::stderr().write_all(message.as_bytes());
            std::process::exit(2);
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found() {
        for (at, fault) in FAULTS.iter().enumerate() {
            assert_eq!(position(fault.name), at, "{} is listed twice", fault.name);
        }
        assert!(!is_same(b"te", b"te.x") && !is_same(b"te.x", b"te") && is_same(b"te.x", b"te.x"));
    }
}
