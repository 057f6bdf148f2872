//! `cnnc emit`: prints a model as it is at a stage of the compiler.

use crate::codegen::cranelift::{self, disassemble};
use crate::graph::Graph;
use crate::runtime::program::{Lowered, lower};
use crate::sched::Machine;

use super::arguments::{EmitArguments, Mode, Stage};
use super::project::{Project, machine};
use super::{Failure, Outcome};

/// Prints the stage.
pub fn run(arguments: &EmitArguments) -> Outcome {
    let flags: Vec<String> = arguments.batch.iter().map(|batch| format!("train.batch={batch}")).collect();
    let project = Project::load(&arguments.model, &flags)?;
    let graph = graph(arguments, &project)?;
    let machine = machine(arguments.cpu)?;
    let lowered = lower(&graph, &machine, &mut |_, _| {});
    print!("{}", text(arguments, &lowered, &machine)?);
    Ok(())
}

fn graph(arguments: &EmitArguments, project: &Project<'_>) -> Result<Graph, Failure> {
    let spec = project.train()?;
    let recipe = project.recipe(&spec, None);
    let phase = &spec.phases[0];
    let graph = match (arguments.mode, arguments.stage) {
        (Mode::Infer, _) => recipe.inference(phase.batch),
        (Mode::Train, Stage::Graph | Stage::Dot) => recipe.forward(phase.batch),
        (Mode::Train, _) => recipe.step(phase.batch, &phase.optim),
    };
    graph.map_err(|errors| project.failure(errors))
}

fn text(arguments: &EmitArguments, lowered: &Lowered, machine: &Machine) -> Result<String, Failure> {
    let wanted = |name: &str| arguments.op.as_deref().is_none_or(|op| name.contains(op));
    let failed = |error: cranelift::Error| Failure::Run(error.to_string());
    let launches = lowered.launches.iter().filter(|launch| wanted(&launch.function.name));
    let mut out = String::new();
    for launch in launches {
        out += &match arguments.stage {
            Stage::Sched => format!("{}\n{}", launch.function.name, launch.schedule),
            Stage::Clif => cranelift::clif(&launch.function, machine.target).map_err(failed)?,
            Stage::Asm => {
                let functions = std::slice::from_ref(&launch.function);
                let module = cranelift::Module::compile(functions, machine.target).map_err(failed)?;
                let (name, code) = module.code(0);
                format!("{name}:\n{}", disassemble(code))
            }
            _ => launch.function.to_string(),
        };
        out.push('\n');
    }
    Ok(out)
}
