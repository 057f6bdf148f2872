//! Planted faults: each spoils one place of the program, and the tests must notice it.
//!
//! Two steps plant one:
//!
//! 1. a line in [`FAULTS`]: its name (`module.place.what`), its file below `src`, and what it spoils;
//! 2. in that file `planted!("module.place.what")`, which is true while the fault is chosen:
//!
//!    ```ignore
//!    let last = if planted!("te.cover.last") { extent - 1 } else { extent };
//!    if low >= 0 && (planted!("te.cover.high") || high < extent) { ... }
//!    ```
//!
//! The macro needs no import; a name that is not in the list does not compile, and `tests/tidy.rs` holds that each
//! stands in its file. It is for the compiler's own code, which decides things once a program: never part of what
//! generated code does, and not for the innermost loops of data readers. A fault of the library's texts is an
//! exchange of words in `elab::Library::embedded`.
//!
//! `CNNC_FAULT=name` chooses a fault when the process starts; an unknown name ends the process. The switch exists in
//! test builds only, those with the feature `faults` (which the package asks of itself as a dependency of its tests)
//! *and* debug assertions; everywhere else `planted!` is the constant `false`, so neither a release nor a benchmark
//! knows it. `cargo test --test faults every_fault -- --ignored --nocapture` runs the tests against each fault and
//! prints who noticed; the ordinary tests run ten.

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

/// All faults, by their modules.
pub const FAULTS: &[Fault] = &[
    fault(
        "elab.library.ceil_mode",
        "elab/library.rs",
        "with ceil_mode a last window may begin in the lower padding",
    ),
    fault(
        "te.adjoint.tame",
        "te/adjoint.rs",
        "no guard where the slope is not finite at points that do not exist",
    ),
    fault("te.simplify.minus_one", "te/simplify.rs", "x / -1 is x"),
    fault(
        "passes.autodiff.total",
        "passes/autodiff.rs",
        "of several contributions to a gradient the first is kept",
    ),
    fault("sched.emit.neutral", "sched/emit.rs", "a maximum begins at the smallest finite number"),
    fault("sched.emit.nan_position", "sched/emit.rs", "a NaN does not win where positions are kept"),
    fault(
        "plan.in_place.earliest",
        "plan/in_place.rs",
        "a parameter is overwritten before the loss is known",
    ),
    fault("plan.in_place.may", "plan/in_place.rs", "a result replaces a tensor that may not take part"),
    fault("plan.in_place.gone", "plan/in_place.rs", "two results replace one tensor"),
    fault("plan.in_place.dtype", "plan/in_place.rs", "a result replaces a tensor of another type"),
    fault("plan.in_place.layout", "plan/in_place.rs", "a result replaces a tensor of another layout"),
    fault("plan.in_place.unit", "plan/in_place.rs", "a result replaces what later slices of its unit need"),
    fault("plan.in_place.read_later", "plan/in_place.rs", "a result replaces what a later launch reads"),
    fault(
        "plan.in_place.before",
        "plan/in_place.rs",
        "a tensor is used before the launch that would store it in place",
    ),
    fault(
        "plan.in_place.new_access",
        "plan/in_place.rs",
        "a launch reads back what it stores over another tensor",
    ),
    fault(
        "plan.in_place.old_access",
        "plan/in_place.rs",
        "a launch writes a tensor and stores another over it",
    ),
    fault("plan.in_place.once", "plan/in_place.rs", "elements are stored twice or never over another tensor"),
    fault("plan.in_place.lanes", "plan/in_place.rs", "the lanes beyond the last picture count for nothing"),
    fault("plan.in_place.clash", "plan/in_place.rs", "an element is loaded after it was replaced"),
    fault("plan.in_place.branch", "plan/in_place.rs", "an element is replaced under a condition"),
    fault("plan.in_place.has_store", "plan/in_place.rs", "loads of elements that another iteration replaces"),
    fault(
        "plan.in_place.around",
        "plan/in_place.rs",
        "an element is loaded outside the loop that replaces it",
    ),
    fault(
        "plan.in_place.applied",
        "plan/in_place.rs",
        "launches that only read a replacing tensor are redirected",
    ),
    fault(
        "codegen.registers.alive",
        "codegen/wide/registers.rs",
        "a register is free where its value is last read",
    ),
    fault("codegen.registers.loop", "codegen/wide/registers.rs", "a value from outside ends inside its loop"),
    fault(
        "codegen.registers.touched",
        "codegen/wide/registers.rs",
        "what an inner loop uses is forgotten outside",
    ),
    fault(
        "codegen.registers.weight",
        "codegen/wide/registers.rs",
        "the value that comes last is spilled, however used",
    ),
    fault("codegen.registers.reload", "codegen/wide/registers.rs", "reading again costs as much as storing"),
    fault(
        "codegen.registers.written",
        "codegen/wide/registers.rs",
        "a value is read again from a place that is written",
    ),
    fault(
        "codegen.registers.written_loop",
        "codegen/wide/registers.rs",
        "stores in loops do not count as writing",
    ),
    fault(
        "codegen.registers.written_if",
        "codegen/wide/registers.rs",
        "stores in branches do not count as writing",
    ),
    fault(
        "codegen.registers.foreign",
        "codegen/wide/registers.rs",
        "a value is read again in another loop than its own",
    ),
    fault(
        "codegen.registers.first",
        "codegen/wide/registers.rs",
        "a value that is set twice is read where it first was",
    ),
    fault(
        "codegen.registers.condition",
        "codegen/wide/registers.rs",
        "a condition is read again where it was loaded",
    ),
    fault(
        "codegen.registers.if_spare",
        "codegen/wide/registers.rs",
        "a branch on a value in memory has no register",
    ),
];

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
pub const HAS_SWITCH: bool = cfg!(all(feature = "faults", debug_assertions));

/// The environment variable that chooses a fault.
pub const CHOICE: &str = "CNNC_FAULT";

/// The environment variable with the path of a file that is made when the chosen fault is first met: a fault that
/// nobody meets is none that the tests let pass.
pub const WITNESS: &str = "CNNC_FAULT_WITNESS";

#[cfg(all(feature = "faults", debug_assertions))]
pub use switch::is_planted;

/// Whether the fault at a place of the list is chosen: never.
#[cfg(not(all(feature = "faults", debug_assertions)))]
pub const fn is_planted(_: usize) -> bool {
    false
}

#[cfg(all(feature = "faults", debug_assertions))]
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
                format!("error: {CHOICE}: no fault is called `{name}`; src/base/fault.rs lists all\n");
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
