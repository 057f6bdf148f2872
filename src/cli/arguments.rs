//! The command line: each command and flag is one field with one line of help.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::base::target::Level;

/// A compiler for convolutional networks.
#[derive(Debug, Parser)]
#[command(name = "cnnc", version, about)]
pub struct Arguments {
    #[command(subcommand)]
    pub command: Option<Command>,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Train a model as its file's train section says
    Run(RunArguments),
    /// Print a model as it is at a stage of the compiler
    Emit(EmitArguments),
    /// Measure a training step and an inference
    Bench(BenchArguments),
}

/// Which model, and changes to its file.
#[derive(Debug, Args)]
pub struct ModelArguments {
    /// The model file
    pub file: PathBuf,
    /// The model or train section, where the file has several
    #[arg(long, value_name = "NAME")]
    pub model: Option<String>,
    /// Where the data lies, in place of the directory that the data section names
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Replace a setting: train.KEY=VALUE, data.KEY=VALUE or args.NAME=VALUE
    #[arg(long, value_name = "SETTING")]
    pub set: Vec<String>,
}

/// What to compile for.
#[derive(Debug, Args)]
pub struct MachineArguments {
    /// Threads; as many as the machine has cores by default
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub threads: Option<u16>,
    /// Vector level: sse4 or fma; the best the machine has by default
    #[arg(long, value_name = "LEVEL")]
    pub cpu: Option<Level>,
}

#[derive(Debug, Args)]
pub struct RunArguments {
    #[command(flatten)]
    pub model: ModelArguments,
    #[command(flatten)]
    pub machine: MachineArguments,
    /// Epochs, in place of the file's
    #[arg(long, value_name = "N")]
    pub epochs: Option<u32>,
    /// Stop after so many steps
    #[arg(long, value_name = "K")]
    pub steps: Option<u64>,
    /// Samples a step, in place of the file's
    #[arg(long, value_name = "N")]
    pub batch: Option<u32>,
    /// The seed of weights, order and dropout, in place of the file's
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// Begin with these weights
    #[arg(long, value_name = "FILE")]
    pub init: Option<PathBuf>,
    /// The folder for the run's files; runs/MODEL-N by default
    #[arg(long, value_name = "DIR", conflicts_with = "resume")]
    pub out: Option<PathBuf>,
    /// Go on with the run in this folder
    #[arg(long, value_name = "DIR")]
    pub resume: Option<PathBuf>,
    /// Print what the time until the first step went into
    #[arg(long)]
    pub time: bool,
    /// Print a line of JSON an epoch, and nothing else
    #[arg(long)]
    pub json: bool,
}

/// A stage of the compiler.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Stage {
    /// The tokens of the file
    Tokens,
    /// The syntax tree
    Ast,
    /// The network as a graph of ops
    Graph,
    /// The graph with the gradients and the update
    Grad,
    /// The equations after simplification
    Fused,
    /// Kernels: what is computed together, and layouts
    Kernels,
    /// The schedule of each kernel
    Sched,
    /// The loops of each kernel
    Loops,
    /// Cranelift's input
    Clif,
    /// Machine code
    Asm,
    /// The graph for Graphviz
    Dot,
}

/// Which graph of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// A training step
    Train,
    /// The prediction
    Infer,
}

#[derive(Debug, Args)]
pub struct EmitArguments {
    #[command(flatten)]
    pub model: ModelArguments,
    /// What to print
    #[arg(long, value_enum, default_value_t = Stage::Graph)]
    pub stage: Stage,
    /// A training step or the prediction
    #[arg(long, value_enum, default_value_t = Mode::Train)]
    pub mode: Mode,
    /// Only kernels or nodes whose name contains this
    #[arg(long, value_name = "NAME")]
    pub op: Option<String>,
    /// Samples a step, in place of the file's
    #[arg(long, value_name = "N")]
    pub batch: Option<u32>,
    /// Print the equations after every pass
    #[arg(long)]
    pub print_after_all: bool,
    /// Vector level: sse4 or fma; the best the machine has by default
    #[arg(long, value_name = "LEVEL")]
    pub cpu: Option<Level>,
}

#[derive(Debug, Args)]
pub struct BenchArguments {
    #[command(flatten)]
    pub model: ModelArguments,
    #[command(flatten)]
    pub machine: MachineArguments,
    /// Samples a step, in place of the file's
    #[arg(long, value_name = "N")]
    pub batch: Option<u32>,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}
