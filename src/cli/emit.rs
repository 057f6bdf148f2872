//! `cnnc emit`: prints a model as it is at a stage of the compiler.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};

use clap::ValueEnum;

use crate::base::diagnostic::Diagnostic;
use crate::base::files;
use crate::base::nearest::nearest;
use crate::base::numbers;
use crate::base::source::SourceMap;
use crate::base::target::Level;
use crate::codegen::{self, cranelift};
use crate::graph::dot::dot;
use crate::graph::{Graph, OpId};
use crate::loops::verifier::Verified;
use crate::lower::stages::{Form, PIPELINE};
use crate::lower::{CompileOptions, Lowered, Observed, TunedTiles, lower_observed};
use crate::plan;
use crate::plan::slices::Unit;
use crate::runtime::devices;
use crate::sched::{Launch, Machine};
use crate::syntax;

use super::arguments::{DeviceName, EmitArguments, Mode, Stage};
use super::project::{Project, Subject, options};
use super::{Failure, Outcome, print, shaders, tuned};

/// Prints the stage.
pub fn run(arguments: &EmitArguments) -> Outcome {
    if matches!(arguments.stage, Stage::Tokens | Stage::Ast) {
        return print(&source(arguments)?);
    }
    let project = Project::load(&arguments.model, &[])?;
    let graph = graph(arguments, &project)?;
    let filter = Filter::new(arguments.op.as_deref());
    let wanted = |name: &str| filter.takes(name);
    let text = match arguments.stage {
        Stage::Tokens | Stage::Ast => String::new(),
        Stage::Graph | Stage::Grad => excerpt(&graph, &wanted).to_string(),
        Stage::Dot => dot(&excerpt(&graph, &wanted)),
        Stage::Fused
        | Stage::Kernels
        | Stage::Sched
        | Stage::Loops
        | Stage::Plan
        | Stage::Clif
        | Stage::Asm
        | Stage::Wgsl => {
            let fast_math = project.subject()?.fast_math();
            let options = CompileOptions { fast_math, ..target(arguments)? };
            let tiles = tiles(arguments, &project, &options)?;
            let mut log = String::new();
            let mut add = |seen: Observed<'_, '_>| log += &logged(arguments, &wanted, seen);
            let lowered = lower_observed(&graph, &options, &tiles, &mut add);
            tuned::warn_of_misfits(&tiles, &lowered);
            match arguments.stage {
                Stage::Fused | Stage::Kernels => log,
                Stage::Wgsl => {
                    let grid = options.machine.grid.expect("what shaders are for");
                    log + &shaders::text(&lowered, &project, grid, &wanted)?
                }
                stage => log + &low(stage, lowered, &options.machine, &wanted)?,
            }
        }
    };
    filter.check(arguments.stage)?;
    print(&text)
}

/// What is compiled for: a graphics card that is taken for granted, where shaders are asked for and no device is named.
fn target(arguments: &EmitArguments) -> Result<CompileOptions, Failure> {
    let machine = match &arguments.device {
        None if arguments.stage == Stage::Wgsl && arguments.cpu.is_none() => devices::assumed_card(),
        None | Some(DeviceName::Cpu) => options(arguments.cpu)?.machine,
        Some(DeviceName::Interpreter) => devices::interpreter().machine(),
        Some(DeviceName::Gpu(name)) => {
            let device = devices::gpu(name.as_deref()).map_err(|fault| Failure::Run(fault.to_string()))?;
            device.machine()
        }
    };
    match (machine.grid, arguments.stage) {
        (Some(_), Stage::Clif | Stage::Asm) => {
            Err(Failure::Usage("graphics cards have no stage clif or asm; see --stage wgsl".into()))
        }
        (None, Stage::Wgsl) => Err(Failure::Usage("only graphics cards have shaders".into())),
        _ => Ok(CompileOptions { machine, over: None, fast_math: true }),
    }
}

/// What is shown of a stage of lowering: the one that is asked for, and where that is wanted all that lead to it.
fn logged(arguments: &EmitArguments, wanted: &dyn Fn(&str) -> bool, seen: Observed<'_, '_>) -> String {
    let form = match arguments.stage {
        Stage::Fused => Form::Equations,
        Stage::Kernels => Form::Layouts,
        _ => Form::Plan,
    };
    let mut text = String::new();
    if arguments.print_after_all && seen.stage.form <= form {
        let (name, description) = (seen.stage.name, seen.stage.description);
        text += &match seen.skipped {
            Some(reason) => format!("// {name} is left out: {reason}\n\n"),
            None => format!("// after {name}: {description}\n{}\n", seen.stage.print(seen.state, wanted)),
        };
    }
    let is_shown = matches!(arguments.stage, Stage::Fused | Stage::Kernels);
    if is_shown
        && PIPELINE.iter().rfind(|stage| stage.form == form).is_some_and(|last| last.name == seen.stage.name)
    {
        text += &seen.stage.print(seen.state, wanted);
    }
    text
}

/// What `--op` takes of a stage, and the names that it was asked about.
struct Filter<'a> {
    op: Option<&'a str>,
    found: Cell<bool>,
    /// Parts of names.
    seen: RefCell<BTreeSet<String>>,
}

impl Filter<'_> {
    fn new(op: Option<&str>) -> Filter<'_> {
        Filter { op, found: Cell::new(false), seen: RefCell::default() }
    }

    /// Whether a name has the op's in it, as a whole part of it or as several.
    fn takes(&self, name: &str) -> bool {
        let Some(op) = self.op else { return true };
        let ends = |text: &str, at: usize| {
            let (before, behind) = text.split_at(at);
            let is_inside = |letter: Option<char>| letter.is_some_and(|letter| !is_seam(letter));
            !(is_inside(before.chars().next_back()) && is_inside(behind.chars().next()))
        };
        let takes = !op.is_empty()
            && name.match_indices(op).any(|(at, _)| ends(name, at) && ends(name, at + op.len()));
        self.found.set(self.found.get() || takes);
        self.seen.borrow_mut().extend(name.split(is_seam).filter(|part| !part.is_empty()).map(str::to_owned));
        takes
    }

    /// An error where nothing was taken.
    fn check(&self, stage: Stage) -> Outcome {
        let Some(op) = self.op.filter(|_| !self.found.get()) else { return Ok(()) };
        let seen = self.seen.borrow();
        let stage = stage.to_possible_value().map_or(String::new(), |value| value.get_name().to_owned());
        let seen = || seen.iter().map(String::as_str);
        let begun = seen().find(|part| !op.is_empty() && part.starts_with(op));
        let near = match begun.or_else(|| nearest(op, seen())) {
            Some(near) => format!("; did you mean `{near}`?"),
            None => format!("; `cnnc emit --stage {stage}` without --op shows all names"),
        };
        Err(Failure::Usage(format!("no op, layer or kernel of the stage {stage} is called `{op}`{near}")))
    }
}

/// Whether a character stands between the parts of a name: `conv1.conv2d.y+relu.y`, `conv2d#1`.
fn is_seam(letter: char) -> bool {
    !(letter.is_alphanumeric() || letter == '_')
}

/// The stages before names have a meaning.
fn source(arguments: &EmitArguments) -> Result<String, Failure> {
    let path = &arguments.model.file;
    let mut sources = SourceMap::default();
    let text = files::read_text(path)
        .map_err(|error| Failure::Run(format!("cannot read {}: {error}", path.display())))?;
    let file = sources.add(path.display().to_string(), text.as_str());
    if arguments.stage == Stage::Tokens {
        return Ok(syntax::tokens_text(file, &text));
    }
    let (tree, diagnostics) = syntax::parse(file, &text);
    if diagnostics.iter().any(Diagnostic::is_error) {
        return Err(Failure::Source(sources, diagnostics));
    }
    Ok(syntax::ast_text(&tree))
}

fn graph(arguments: &EmitArguments, project: &Project<'_>) -> Result<Graph, Failure> {
    let subject = project.subject()?;
    let recipe = project.recipe_of(&subject)?;
    let batch = arguments.batch.filter(|_| !planted!("cli.emit.batch")).map_or(subject.batch(), i64::from);
    let training = match (&subject, arguments.mode) {
        (Subject::Trained(spec), None | Some(Mode::Train)) => Some(spec),
        (Subject::Model(_), Some(Mode::Train)) => {
            let file = arguments.model.file.display();
            return Err(Failure::Usage(format!("{file} has no train section, so there is no --mode train")));
        }
        (Subject::Model(_), None) | (_, Some(Mode::Infer)) => None,
    };
    let graph = match (training, arguments.stage) {
        (None, Stage::Grad) => {
            return Err(Failure::Usage("only a training step has gradients; see --stage graph".into()));
        }
        (None, _) => recipe.inference(batch),
        (Some(_), Stage::Graph | Stage::Dot) => recipe.forward(batch, None),
        (Some(spec), _) => recipe.step(batch, &spec.phases[0]),
    };
    graph.map_err(|errors| project.failure(errors))
}

/// The register tiles of `--tuned`.
fn tiles(
    arguments: &EmitArguments,
    project: &Project<'_>,
    options: &CompileOptions,
) -> Result<TunedTiles, Failure> {
    let subject = project.subject()?;
    let default = if matches!(subject, Subject::Trained(_)) { Mode::Train } else { Mode::Infer };
    let mode = tuned::mode(arguments.mode.unwrap_or(default));
    let batch = arguments.batch.map_or(subject.batch(), i64::from);
    let subject = tuned::Subject::new(subject.name(), batch, mode, options.machine);
    let found = tuned::read(&arguments.tuned, &[subject])?;
    Ok(tuned::tiles(found.as_ref(), mode))
}

/// The nodes of a graph that are wanted, by op or path, and the ops that they call.
fn excerpt(graph: &Graph, wanted: &dyn Fn(&str) -> bool) -> Graph {
    let mut part = graph.clone();
    part.nodes.retain(|node| wanted(&graph.ops[node.op].name) || wanted(&node.path));
    if part.nodes.len() == graph.nodes.len() {
        return part;
    }
    let used: BTreeSet<OpId> = part.nodes.iter().map(|node| node.op).collect();
    part.ops.clear();
    let renamed: BTreeMap<OpId, OpId> =
        used.into_iter().map(|op| (op, part.ops.push(graph.ops[op].clone()))).collect();
    part.nodes.iter_mut().for_each(|node| node.op = renamed[&node.op]);
    let values: BTreeSet<_> =
        part.nodes.iter().flat_map(|node| node.inputs.iter().chain(&node.results)).collect();
    part.inputs.retain(|(value, _)| values.contains(value));
    part.outputs.retain(|(value, _)| values.contains(value));
    part
}

/// The stages behind kernels.
fn low(
    stage: Stage,
    lowered: Lowered,
    machine: &Machine,
    wanted: &dyn Fn(&str) -> bool,
) -> Result<String, Failure> {
    if stage == Stage::Plan {
        let Lowered { plan, kernels, layouts, launches, .. } = &lowered;
        return Ok(plan::printer::print(plan, kernels, layouts, launches, wanted));
    }
    let native = lowered.native_launches();
    let launches = native.iter().zip(&lowered.launches).filter(|(launch, _)| wanted(&launch.function.name));
    let text = |(launch, scheduled): (&Launch, &Launch)| match stage {
        Stage::Sched => Ok(schedule_text(scheduled)),
        _ => launch_text(stage, launch, machine),
    };
    let mut texts = launches.map(text).collect::<Result<Vec<_>, _>>()?;
    if stage == Stage::Sched {
        let arena = numbers::bytes(lowered.plan.arena_bytes as u64);
        let together = lowered.plan.units.iter().filter(|unit| unit.launches.len() > 1);
        texts.extend(together.filter_map(|unit| unit_text(&native[unit.launches.clone()], unit, wanted)));
        texts.push(format!(
            "{} launches, {arena} in the arena; {}\n",
            lowered.launches.len(),
            lowered.reason
        ));
    }
    Ok(texts.join("\n"))
}

/// What runs slice by slice.
fn unit_text(launches: &[Launch], unit: &Unit, wanted: &dyn Fn(&str) -> bool) -> Option<String> {
    let names: Vec<&str> = launches.iter().map(|launch| launch.function.name.as_str()).collect();
    let scratch = numbers::bytes(unit.scratch.values().sum::<usize>() as u64);
    let text = format!(
        "slice by slice, {} of them, {scratch} of scratch a thread:\n    {}\n",
        unit.slices,
        names.join("\n    ")
    );
    names.iter().any(|name| wanted(name)).then_some(text)
}

/// The steps of a launch, and what it is called in a file of tiles where it may have several.
fn schedule_text(launch: &Launch) -> String {
    let key = if launch.tiles.len() > 1 { format!("key {}\n", launch.key()) } else { String::new() };
    format!("{}\n{key}{}", launch.function.name, launch.schedule)
}

fn launch_text(stage: Stage, launch: &Launch, machine: &Machine) -> Result<String, Failure> {
    let is_wide = machine.target.level > Level::Fma;
    let failed = |error: codegen::Error| Failure::Run(error.to_string());
    let verified = || Verified::new(launch.function.clone()).map_err(|invalid| failed(invalid.into()));
    let name = &launch.function.name;
    match stage {
        Stage::Clif => {
            let function = verified()?;
            let Some(reason) = codegen::needs_cranelift(&function, machine.target) else {
                return Ok(format!(
                    "; {name}: assembled for {} without Cranelift: --stage asm shows it, or --cpu fma its clif\n",
                    machine.target.level
                ));
            };
            let clif = cranelift::clif(&function, machine.target).map_err(failed)?;
            let why = if is_wide { format!("; {name}: {reason}\n") } else { String::new() };
            Ok(why + &clif)
        }
        Stage::Asm => {
            let module = codegen::Module::compile(&[verified()?], machine.target);
            let module = module.map_err(failed)?;
            Ok(module.assembly(0))
        }
        _ => Ok(launch.function.to_string()),
    }
}
