//! The command line: each command and flag is one field with one line of help.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::base::target::Level;

/// More threads than any machine has cores only wait for each other.
const MOST_THREADS: i64 = 1024;

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
    /// The runs so far: their figures, and what tells each from the one before
    Runs(RunsArguments),
    /// Loss and metrics of trained weights on a split of the data
    Eval(EvalArguments),
    /// What a model says of pictures, or its raw outputs
    Predict(PredictArguments),
    /// Write an example as a model file to start from; without a name, list them
    New(NewArguments),
    /// Explain a layer, op, loss or optimiser of the library; without a name, list them
    Doc(DocArguments),
    /// Print a model as it is at a stage of the compiler
    Emit(EmitArguments),
    /// Look for mistakes without running anything
    Check(CheckArguments),
    /// Write files in the canonical form
    Fmt(FormatArguments),
    /// The layers of a model with shapes, parameters, work and memory
    Summary(SummaryArguments),
    /// Measure a training step and an inference
    Bench(BenchArguments),
    /// Show where the time of a step goes, kernel by kernel
    Profile(ProfileArguments),
    /// List what programs can run on
    Devices,
}

/// Which model, and changes to its file.
#[derive(Clone, Debug, Args)]
pub struct ModelArguments {
    /// The model file
    pub file: PathBuf,
    #[command(flatten)]
    pub choice: ChoiceArguments,
}

/// What to take of a model file, and what to change.
#[derive(Clone, Debug, Default, Args)]
pub struct ChoiceArguments {
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

/// What runs the program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeviceName {
    /// The processor.
    Cpu,
    /// The graphics card that a name is a part of, or the best one.
    Gpu(Option<String>),
    /// The interpreter of loops: slow, to compare with.
    Interpreter,
}

impl std::str::FromStr for DeviceName {
    type Err = String;

    fn from_str(text: &str) -> Result<DeviceName, String> {
        match text.split_once(':') {
            Some(("gpu", name)) if !name.is_empty() => Ok(DeviceName::Gpu(Some(name.into()))),
            None if text == "cpu" => Ok(DeviceName::Cpu),
            None if text == "gpu" => Ok(DeviceName::Gpu(None)),
            None if text == "interpreter" => Ok(DeviceName::Interpreter),
            _ => {
                Err("known are cpu, gpu and gpu:NAME, with a part of the name that `cnnc devices` shows"
                    .into())
            }
        }
    }
}

/// What to compile for.
#[derive(Clone, Debug, Args)]
pub struct MachineArguments {
    /// Threads; as many as the machine has cores by default
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=MOST_THREADS))]
    pub threads: Option<u16>,
    /// What runs it: cpu, gpu for the best graphics card, or gpu:NAME with a part of a card's name; the processor by
    /// default, and for a run that goes on what it ran on
    #[arg(long, value_name = "DEVICE")]
    pub device: Option<DeviceName>,
    /// Vector level: sse4, fma, avx2 or avx512; the best the machine has by default
    #[arg(long, value_name = "LEVEL")]
    pub cpu: Option<Level>,
}

/// What was measured before.
#[derive(Debug, Args)]
pub struct TunedArguments {
    /// Use the register tiles that bench --tune wrote to this file; they change the time, and no bit of a result
    #[arg(long, value_name = "FILE")]
    pub tuned: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct RunArguments {
    /// The model file; a run that goes on needs none
    #[arg(required_unless_present = "resume")]
    pub file: Option<PathBuf>,
    #[command(flatten)]
    pub choice: ChoiceArguments,
    #[command(flatten)]
    pub machine: MachineArguments,
    #[command(flatten)]
    pub tuned: TunedArguments,
    /// Epochs, in place of the file's; a run that goes on takes more
    #[arg(long, value_name = "N")]
    pub epochs: Option<u32>,
    /// Stop after so many steps, counted from the beginning of the run
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u64).range(1..))]
    pub steps: Option<u64>,
    /// Samples a step, in place of the file's
    #[arg(long, value_name = "N")]
    pub batch: Option<u32>,
    /// The seed of weights, order and dropout, in place of the file's
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// Begin with these weights: a .safetensors file, PyTorch's .pt of a state dict, or a run's folder
    #[arg(long, value_name = "FILE", conflicts_with = "resume")]
    pub init: Option<PathBuf>,
    /// The folder for the run's files; runs/MODEL-N by default
    #[arg(long, value_name = "DIR", conflicts_with = "resume")]
    pub out: Option<PathBuf>,
    /// Go on with the run in this folder, which knows all that it was begun with
    #[arg(long, value_name = "DIR")]
    pub resume: Option<PathBuf>,
    /// Go on although the model, a setting, the data or the machine is another one than the run's
    #[arg(long, requires = "resume")]
    pub allow_changes: bool,
    /// Print what the time until the first step went into
    #[arg(long)]
    pub time: bool,
    /// Print a line of JSON an epoch and one at the end, and nothing else
    #[arg(long)]
    pub json: bool,
    /// Print nothing but errors and warnings
    #[arg(long, conflicts_with = "json")]
    pub quiet: bool,
}

/// A part of the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SplitName {
    /// The training images, as they are
    Train,
    /// The images that are held out
    Val,
    /// The test images
    Test,
    /// All images of the data
    All,
}

impl SplitName {
    /// In keys and lines.
    pub fn name(self) -> &'static str {
        match self {
            SplitName::Train => "train",
            SplitName::Val => "val",
            SplitName::Test => "test",
            SplitName::All => "all",
        }
    }
}

#[derive(Debug, Args)]
pub struct RunsArguments {
    /// The folder with the runs
    #[arg(value_name = "DIR", default_value = super::RUNS)]
    pub folder: PathBuf,
    /// Print a line of JSON a run
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct EvalArguments {
    #[command(flatten)]
    pub model: ModelArguments,
    #[command(flatten)]
    pub machine: MachineArguments,
    /// The weights: a run's folder, a .safetensors file, or PyTorch's .pt of a state dict
    #[arg(long, value_name = "FILE")]
    pub weights: Option<PathBuf>,
    /// Samples at once, in place of the file's; it changes no figure but by rounding
    #[arg(long, value_name = "N")]
    pub batch: Option<u32>,
    /// The images to look at
    #[arg(long, value_enum, default_value_t = SplitName::Test)]
    pub split: SplitName,
    /// Also print how often each class was taken for each other, and how well each was told; with =FILE.svg, draw that, too
    #[arg(long, value_name = "FILE.svg", num_args = 0..=1, require_equals = true)]
    pub confusion: Option<Option<PathBuf>>,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct PredictArguments {
    #[command(flatten)]
    pub model: ModelArguments,
    /// Pictures: files (PNG, JPEG, BMP, GIF, TIFF, WebP or PNM), folders of them, or test:N, test:N-M and train:N for those
    /// of the data, counted from 0
    #[arg(value_name = "IMAGE", conflicts_with = "input")]
    pub images: Vec<String>,
    #[command(flatten)]
    pub machine: MachineArguments,
    /// The weights: a run's folder, a .safetensors file, or PyTorch's .pt of a state dict; a model without parameters
    /// needs none
    #[arg(long, value_name = "FILE")]
    pub weights: Option<PathBuf>,
    /// Raw inputs in place of pictures: numbers, the batch first; nothing is prepared
    #[arg(long, value_name = "FILE.npy", requires = "output")]
    pub input: Option<PathBuf>,
    /// Write the raw outputs to a .npy file, or a picture that the model makes to a .png file
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Write a table of what is said of each picture, in place of lines
    #[arg(long, value_name = "FILE.csv", conflicts_with_all = ["input", "output", "json"])]
    pub csv: Option<PathBuf>,
    /// How many classes to name for each picture
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..))]
    pub top: u16,
    /// Inputs at once, for --input; the file's batch by default
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1 << 20))]
    pub batch: Option<u32>,
    /// Print a line of JSON a picture
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct NewArguments {
    /// The example
    pub name: Option<String>,
    /// Where to write it; NAME.cnn by default
    #[arg(value_name = "FILE")]
    pub file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct DocArguments {
    /// What to explain
    pub name: Option<String>,
}

#[derive(Debug, Args)]
pub struct CheckArguments {
    /// The model file
    pub file: PathBuf,
    /// Read all the data, too: of a directory in place of the one that the data section names, if one is given
    #[arg(long, value_name = "DIR", num_args = 0..=1)]
    pub data: Option<Option<PathBuf>>,
    /// Replace a setting: train.KEY=VALUE, data.KEY=VALUE or args.NAME=VALUE
    #[arg(long, value_name = "SETTING")]
    pub set: Vec<String>,
}

#[derive(Debug, Args)]
pub struct FormatArguments {
    /// The files; - formats standard input to standard output
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Change nothing; name the files that would change and exit with 1
    #[arg(long)]
    pub check: bool,
}

#[derive(Debug, Args)]
pub struct SummaryArguments {
    #[command(flatten)]
    pub model: ModelArguments,
    /// Samples that the memory and the work are counted for
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1 << 20))]
    pub batch: u32,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// A stage of the compiler.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Stage {
    /// The tokens of the file
    Tokens,
    /// The syntax tree, as canonical text
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
    /// Where every tensor lies in memory, and when
    Plan,
    /// Cranelift's input
    Clif,
    /// Machine code
    Asm,
    /// Shaders for graphics cards
    Wgsl,
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
    #[command(flatten)]
    pub tuned: TunedArguments,
    /// What to print
    #[arg(long, value_enum, default_value_t = Stage::Graph)]
    pub stage: Stage,
    /// A training step or the prediction; the former by default where the file has a train section
    #[arg(long, value_enum)]
    pub mode: Option<Mode>,
    /// Only what this op becomes: the kernels or equations whose names contain NAME
    #[arg(long, value_name = "NAME")]
    pub op: Option<String>,
    /// Samples a step, in place of the file's
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1 << 20))]
    pub batch: Option<u32>,
    /// Print the equations after every pass before the stage
    #[arg(long)]
    pub print_after_all: bool,
    /// Vector level: sse4, fma, avx2 or avx512; the best the machine has by default
    #[arg(long, value_name = "LEVEL")]
    pub cpu: Option<Level>,
    /// What it is compiled for: cpu, gpu for the best graphics card, or gpu:NAME
    #[arg(long, value_name = "DEVICE", conflicts_with = "cpu")]
    pub device: Option<DeviceName>,
}

#[derive(Debug, Args)]
pub struct BenchArguments {
    #[command(flatten)]
    pub model: ModelArguments,
    #[command(flatten)]
    pub machine: MachineArguments,
    #[command(flatten)]
    pub tuned: TunedArguments,
    /// The training step or the prediction alone; both by default
    #[arg(long, value_enum)]
    pub mode: Option<Mode>,
    /// Samples a step, in place of the file's
    #[arg(long, value_name = "N")]
    pub batch: Option<u32>,
    /// Measure register tiles for the slowest kernels of a step, or of --mode infer, and write the fastest to a file
    #[arg(long, conflicts_with = "tuned")]
    pub tune: bool,
    /// The file that --tune writes; beside the model by default, called MODEL.tune.json
    #[arg(long, value_name = "FILE", requires = "tune")]
    pub tune_file: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct ProfileArguments {
    #[command(flatten)]
    pub model: ModelArguments,
    #[command(flatten)]
    pub machine: MachineArguments,
    #[command(flatten)]
    pub tuned: TunedArguments,
    /// The training step or the prediction
    #[arg(long, value_enum, default_value_t = Mode::Train)]
    pub mode: Mode,
    /// Samples a step, in place of the file's
    #[arg(long, value_name = "N")]
    pub batch: Option<u32>,
    /// How many kernels are shown, those that take most first
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub top: usize,
    /// Print one JSON object, with all kernels
    #[arg(long)]
    pub json: bool,
}
