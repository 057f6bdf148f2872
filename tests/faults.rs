//! Faults planted in the compiler (`base::fault`) are noticed: ten by a short examination in the ordinary run, all of
//! them by the tests.

#[path = "faults/exam.rs"]
mod exam;
#[path = "faults/hunt.rs"]
mod hunt;
mod model;
mod random;

use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use cnnc::base::fault;

/// Faults of several modules, each noticed by the examination alone.
const TEN: [&str; 10] = [
    "elab.library.ceil_mode",
    "te.adjoint.tame",
    "te.simplify.minus_one",
    "passes.autodiff.total",
    "sched.emit.neutral",
    "sched.emit.nan_position",
    "plan.in_place.read_later",
    "plan.in_place.has_store",
    "plan.in_place.gone",
    "codegen.registers.alive",
];

/// This program with the arguments of one of its own tests.
fn own_test(name: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("a test binary"));
    command.args(["--exact", name, "--test-threads=1"]);
    command
}

#[test]
#[cfg_attr(not(debug_assertions), ignore = "this build has no switch")]
fn ten_faults_are_noticed() {
    let (next, unnoticed) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some(name) = TEN.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let run = own_test(exam::NAME).env(fault::CHOICE, name).output().expect("it starts");
                    if run.status.success() {
                        unnoticed.lock().unwrap().push(*name);
                    }
                }
            });
        }
    });
    let unnoticed = unnoticed.into_inner().unwrap();
    assert!(unnoticed.is_empty(), "nobody noticed: {unnoticed:?}");
}

#[test]
#[cfg_attr(not(debug_assertions), ignore = "this build has no switch")]
fn an_unknown_fault_is_refused() {
    let run = own_test(exam::NAME).env(fault::CHOICE, "te.nothing").output().expect("it starts");
    let said = String::from_utf8_lossy(&run.stderr).into_owned();
    assert!(said.contains("error: CNNC_FAULT: no fault is called `te.nothing`"), "{said}");
    assert_eq!(run.status.code(), Some(2));
}

/// `cargo test --test faults every_fault -- --ignored --nocapture`; `ONLY=plan.,te.solve` takes the faults whose names
/// begin so.
#[test]
#[ignore = "all tests against every fault, an hour or two"]
fn every_fault() {
    let only = std::env::var("ONLY").unwrap_or_default();
    let wanted = |fault: &&fault::Fault| only.split(',').any(|start| fault.name.starts_with(start));
    let survivors = hunt::hunt(fault::FAULTS.iter().filter(wanted), exam::NAME);
    assert!(survivors.is_empty(), "nobody noticed: {survivors:?}");
}
