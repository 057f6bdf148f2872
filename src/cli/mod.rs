//! The commands, one file each, and what they share.
//!
//! Exit codes: 0 done, 1 an error in the file, the data or the run, 2 the command line, 130 interrupted.

pub mod arguments;
mod bench;
mod check;
mod devices;
mod doc;
mod emit;
mod eval;
mod fmt;
mod foreign;
mod inputs;
mod interrupts;
mod lints;
mod measured;
mod nested;
mod new;
mod picture;
mod predict;
mod profile;
mod project;
mod recent;
mod resume;
mod run;
mod runs;
mod said;
mod screen;
mod sections;
mod shaders;
mod summary;
mod trained;
mod tune;
mod tuned;

use std::process::ExitCode;

use clap::Parser;

use crate::base::diagnostic::Diagnostic;
use crate::base::source::SourceMap;
use crate::base::visible;
use crate::elab::config::SETTING;
use crate::report::output;
use crate::train::TrainError;

use arguments::{Arguments, Command};

/// The exit code of an error in the command line.
const USAGE: u8 = 2;

/// The exit code of an interrupted run.
const INTERRUPTED: u8 = 130;

/// The folder of the runs that `--out` does not place.
const RUNS: &str = "runs";

/// Why a command fails.
pub enum Failure {
    /// Errors in a model file, to be shown with its source.
    Source(SourceMap, Vec<Diagnostic>),
    /// An error in the data or the run.
    Run(String),
    /// An error in the command line.
    Usage(String),
    /// The person at the terminal ended the run.
    Interrupted(String),
    /// What is wrong has been printed.
    Said,
    /// The same, of an error in the command line.
    SaidUsage,
}

/// Whether all that is wrong is wrong in settings of the command line.
fn of_command_line(sources: &SourceMap, errors: &[Diagnostic]) -> bool {
    let is_setting = |error: &Diagnostic| match error.span() {
        Some(span) => sources.file(span.file).name.starts_with(SETTING),
        None => error.message.contains(SETTING),
    };
    errors.iter().filter(|error| error.is_error()).all(is_setting)
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
        let code = match &self {
            Failure::Source(sources, errors) if of_command_line(sources, errors) => USAGE,
            Failure::Source(..) | Failure::Run(_) | Failure::Said => 1,
            Failure::Usage(_) | Failure::SaidUsage => USAGE,
            Failure::Interrupted(_) => INTERRUPTED,
        };
        match self {
            Failure::Source(sources, errors) => show(&sources, &errors),
            Failure::Run(message) | Failure::Usage(message) => say(&format!("error: {message}")),
            Failure::Interrupted(message) => say(&message),
            Failure::Said | Failure::SaidUsage => {}
        }
        ExitCode::from(code)
    }
}

/// Prints diagnostics to standard error, with their source and an empty line after each that has one.
fn show(sources: &SourceMap, diagnostics: &[Diagnostic]) {
    let color = output::is_colored();
    for diagnostic in diagnostics {
        let end = if diagnostic.span().is_some() { "\n\n" } else { "\n" };
        output::tell(&(diagnostic.render(sources, color).trim_end().to_owned() + end));
    }
}

type Outcome = Result<(), Failure>;

/// Prints a command's result to standard output, as text for people.
fn print(text: &str) -> Outcome {
    print_exactly(&visible::lines(text))
}

/// Prints a result that is read by programs to standard output, whatever is in it.
fn print_exactly(text: &str) -> Outcome {
    output::print(text).map_err(|error| Failure::Run(format!("standard output: {error}")))
}

/// One object of JSON as a line.
fn print_json(value: &impl serde::Serialize) -> Outcome {
    let text = serde_json::to_string(value).map_err(|error| Failure::Run(error.to_string()))?;
    print(&(visible::json(&text) + "\n"))
}

/// Prints what is not a command's result to standard error.
fn say(text: &str) {
    output::tell(&(visible::lines(text) + "\n"));
}

const FIRST_STEPS: &str = "\
cnnc compiles, trains and runs convolutional networks from one small file. To begin:

  cnnc new digits              writes digits.cnn, a model to start from
  cnnc run digits.cnn          trains it and shows how it goes
  cnnc emit digits.cnn --stage graph
                               prints what it became; other stages show the rest

`cnnc --help` lists all commands.";

/// Runs the command of the process's arguments.
pub fn main() -> ExitCode {
    interrupts::outlive_full_files();
    let command = match Arguments::try_parse() {
        Ok(arguments) => arguments.command,
        Err(error) => match foreign::pointer(&error) {
            Some(message) => return Failure::Usage(message).report(),
            None => error.exit(),
        },
    };
    let Some(command) = command else {
        let shown = print(&format!("{FIRST_STEPS}\n"));
        return shown.map_or_else(Failure::report, |()| ExitCode::SUCCESS);
    };
    let outcome = match command {
        Command::Run(arguments) => run::run(&arguments),
        Command::Runs(arguments) => runs::run(&arguments),
        Command::Eval(arguments) => eval::run(&arguments),
        Command::Predict(arguments) => predict::run(&arguments),
        Command::New(arguments) => new::run(&arguments),
        Command::Doc(arguments) => doc::run(&arguments),
        Command::Emit(arguments) => emit::run(&arguments),
        Command::Check(arguments) => check::run(&arguments),
        Command::Fmt(arguments) => fmt::run(&arguments),
        Command::Summary(arguments) => summary::run(&arguments),
        Command::Bench(arguments) if arguments.tune => tune::run(&arguments),
        Command::Bench(arguments) => bench::run(&arguments),
        Command::Profile(arguments) => profile::run(&arguments),
        Command::Devices => devices::run(),
    };
    outcome.map_or_else(Failure::report, |()| ExitCode::SUCCESS)
}
