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
    fault("te.adjoint.winner_bytes", "te/adjoint.rs", "the winners of large windows are bytes"),
    fault(
        "te.adjoint.read_once",
        "te/adjoint.rs",
        "an element counts only where the taken branches of all its readers read it",
    ),
    fault(
        "te.derivative.power",
        "te/derivative.rs",
        "the slope by an exponent is no number where the base is 0",
    ),
    fault("te.derivative.tie", "te/derivative.rs", "of two equal numbers the second one is the larger"),
    fault(
        "te.solve.last_tap",
        "te/solve.rs",
        "a phase lacks its last tap where the stride does not divide their number",
    ),
    fault("te.facts.less_equal", "te/facts.rs", "where `a <= b` holds, `a < b` is taken for known"),
    fault("te.simplify.within", "te/simplify.rs", "no test of an index that leaves its extent by one"),
    fault(
        "passes.autodiff.total",
        "passes/autodiff.rs",
        "of several contributions to a gradient the first is kept",
    ),
    fault(
        "passes.share.rectifier",
        "passes/share.rs",
        "any choice of a number or another answers the test of that number",
    ),
    fault("passes.linear.count", "passes/linear.rs", "a sum over any number of points is a mean"),
    fault("passes.split.rest", "passes/split.rs", "what groups of a sum leave over is not summed"),
    fault("passes.hoist.defined", "passes/hoist.rs", "a read that a condition guards moves out of it"),
    fault("passes.accept.large", "passes/accept.rs", "a gradient without a finite square is sound"),
    fault(
        "passes.accept.states",
        "passes/accept.rs",
        "of an optimiser's results only the first has to be finite",
    ),
    fault(
        "passes.winograd.forwards",
        "passes/winograd/gradient.rs",
        "taps that run backwards are taken for forwards",
    ),
    fault(
        "passes.views.bounds",
        "passes/views.rs",
        "what lies beside a part of a tensor is seen through its border",
    ),
    fault(
        "kernels.fuse.same_element",
        "kernels/fuse.rs",
        "a kernel reads its own results at other elements than it defines",
    ),
    fault("kernels.fuse.whole", "kernels/fuse.rs", "what reads a part of a result is computed for all of it"),
    fault("kernels.fuse.window_axes", "kernels/fuse.rs", "a sum and the windows that join it share axes"),
    fault(
        "kernels.layout.beside",
        "kernels/layout.rs",
        "lanes behind the last element are read for what lies there",
    ),
    fault(
        "kernels.slices.alone",
        "kernels/slices.rs",
        "a kernel moves to one reader though others wait for it",
    ),
    fault("sched.emit.neutral", "sched/emit.rs", "a maximum begins at the smallest finite number"),
    fault("sched.emit.nan_position", "sched/emit.rs", "a NaN does not win where positions are kept"),
    fault("sched.value.fill", "sched/value.rs", "a halo serves readers that want another fill"),
    fault("sched.emit.mask", "sched/emit.rs", "products of lanes behind the last picture are summed"),
    fault("sched.cpu.rest", "sched/cpu.rs", "one element behind the last vector is not computed"),
    fault("sched.cpu.ends", "sched/cpu.rs", "a part that fills no vector runs on over the next part"),
    fault("sched.cpu.whole", "sched/cpu.rs", "sums of integers are folded as floats"),
    fault("sched.tile.part", "sched/cpu/tile.rs", "a loop that is cut in two lacks its last iteration"),
    fault(
        "sched.whole.quotient",
        "sched/value/whole.rs",
        "a quotient of large integers is that of their nearest floats",
    ),
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
    fault("plan.live.last", "plan/mod.rs", "a tensor's memory is free where it is last read"),
    fault("plan.live.fixed", "plan/mod.rs", "what is computed once is overwritten in the same run"),
    fault("plan.live.output", "plan/mod.rs", "an output's memory is free after its last launch"),
    fault(
        "plan.turns.last",
        "plan/mod.rs",
        "a tensor with a halo takes the memory of one that its launch reads",
    ),
    fault("plan.turns.always", "plan/mod.rs", "others use the memory of a halo after its last launch"),
    fault("plan.fixed.draws", "plan/fixed.rs", "random numbers are drawn once for all runs"),
    fault("plan.waits.after_read", "plan/waits.rs", "what overwrites a tensor does not wait for its readers"),
    fault("plan.slices.next", "plan/slices.rs", "a slice may read the next one, which is not there yet"),
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
    fault(
        "codegen.cranelift.negative",
        "codegen/cranelift/address.rs",
        "a negative index is divided like a positive one",
    ),
    fault(
        "codegen.cranelift.far",
        "codegen/cranelift/address.rs",
        "a displacement of more than 31 bits is cut",
    ),
    fault(
        "codegen.cranelift.unrolled",
        "codegen/cranelift/address.rs",
        "a quotient is that of the first iteration in a round",
    ),
    fault(
        "codegen.cranelift.postponed",
        "codegen/cranelift/expression.rs",
        "a load that waits is done after its element was replaced",
    ),
    fault(
        "codegen.cranelift.maximum",
        "codegen/cranelift/vector.rs",
        "the larger of a number and NaN is the number",
    ),
    fault("codegen.wide.far", "codegen/wide/lower.rs", "an address of more than 31 bits is cut"),
    fault(
        "codegen.wide.flush",
        "codegen/wide/lower.rs",
        "a load that waits is done after its element was replaced",
    ),
    fault("codegen.wide.swapped", "codegen/wide/lower/expression.rs", "`a <= b` is `b > a`"),
    fault(
        "codegen.wide.commutes",
        "codegen/wide/lower/expression.rs",
        "the operands of a difference of integers may change places",
    ),
    fault("codegen.wide.to_int", "codegen/wide/encode/compute.rs", "NaN as an integer is the smallest one"),
    fault(
        "codegen.wide.minimum",
        "codegen/wide/encode/compute.rs",
        "the smaller of NaN and a number is the number",
    ),
    fault(
        "codegen.wide.quotient",
        "codegen/wide/encode/pointers.rs",
        "a negative index is divided towards zero",
    ),
    fault(
        "runtime.program.halo",
        "runtime/program.rs",
        "a halo of zeros is not filled in memory that another program has used",
    ),
    fault(
        "runtime.program.prepared",
        "runtime/program.rs",
        "what is computed once is looked for in another program's memory",
    ),
    fault("runtime.program.commit", "runtime/program.rs", "the updates of a step that is not accepted count"),
    fault(
        "runtime.pool.wait",
        "runtime/pool.rs",
        "a task does not wait for the last one of those that it needs",
    ),
    fault("runtime.store.in_place", "runtime/store.rs", "updates in place leave the version as it is"),
    fault("runtime.store.given", "runtime/store.rs", "values that the host gives leave the version as it is"),
    fault(
        "runtime.lower.own",
        "runtime/lower.rs",
        "an update that is an input or another output gets no memory of its own",
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
