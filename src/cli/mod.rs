//! The commands, one file each, and what they share.
//!
//! Exit codes: 0 done, 1 an error in the file, the data or the run, 2 the command line, 130 interrupted.

pub mod arguments;
mod bench;
mod emit;
mod project;
mod run;

use std::process::ExitCode;

use clap::Parser;

use crate::base::diagnostic::Diagnostic;
use crate::base::source::SourceMap;
use crate::train::TrainError;

use arguments::{Arguments, Command};

/// Why a command fails.
pub enum Failure {
    /// Errors in a model file, to be shown with its source.
    Source(SourceMap, Vec<Diagnostic>),
    /// An error in the data or the run.
    Run(String),
    /// An error in the command line.
    Usage(String),
}

impl Failure {
    /// A failure of training, shown with the sources if it is one of the model file.
    fn of(sources: &SourceMap, error: TrainError) -> Failure {
        match error {
            TrainError::Source(errors) => Failure::Source(sources.clone(), errors),
            error => Failure::Run(error.to_string()),
        }
    }

    fn report(self) -> ExitCode {
        let color = std::io::IsTerminal::is_terminal(&std::io::stderr());
        match self {
            Failure::Source(sources, errors) => {
                for error in errors {
                    eprintln!("{}\n", error.render(&sources, color).trim_end());
                }
                ExitCode::from(1)
            }
            Failure::Run(message) => {
                eprintln!("error: {message}");
                ExitCode::from(1)
            }
            Failure::Usage(message) => {
                eprintln!("error: {message}");
                ExitCode::from(2)
            }
        }
    }
}

type Outcome = Result<(), Failure>;

const FIRST_STEPS: &str = "\
cnnc compiles, trains and runs convolutional networks from one small file. To begin:

  cnnc new digits              writes digits.cnn, a model to start from
  cnnc run digits.cnn          trains it and shows how it goes
  cnnc emit digits.cnn --stage graph
                               prints what it became; other stages show the rest

`cnnc --help` lists all commands.";

/// Runs the command of the process's arguments.
pub fn main() -> ExitCode {
    let Some(command) = Arguments::parse().command else {
        println!("{FIRST_STEPS}");
        return ExitCode::SUCCESS;
    };
    let outcome = match command {
        Command::Run(arguments) => run::run(&arguments),
        Command::Emit(arguments) => emit::run(&arguments),
        Command::Bench(arguments) => bench::run(&arguments),
    };
    outcome.map_or_else(Failure::report, |()| ExitCode::SUCCESS)
}
