//! What made a result of a step that is not finite: the call that computed it first, and what it was computed from.
//!
//! In: a step that was not accepted, with its batch, and the calls that are under suspicion. They are compiled once
//! more, with all that they read and give as probes and no updates, and run with the same values. Fusion keeps such
//! values in registers, so the step itself cannot be asked for them.

use std::collections::BTreeSet;

use cranelift_entity::EntityRef;

use crate::base::span::Span;
use crate::graph::{Graph, Node, Role, Sink, Value};
use crate::lower::{TunedTiles, lower_tuned};
use crate::runtime::need::Need;
use crate::runtime::{Executable, Instance, Store, Suspect};
use crate::te::Origin;

use super::error::TrainError;
use super::programs::{ProgramSource, Purpose};

/// The first result of a step that is not finite.
#[derive(Clone, Debug, PartialEq)]
pub struct Broken {
    pub name: String,
    /// The user's line.
    pub span: Option<Span>,
    /// What it was computed from.
    pub inputs: Vec<Operand>,
}

/// A tensor that a call has read.
#[derive(Clone, Debug, PartialEq)]
pub struct Operand {
    pub name: String,
    /// The smallest and the largest of its finite elements, if there are any.
    pub range: Option<[f32; 2]>,
    /// Elements that are not finite.
    pub broken: usize,
}

impl Operand {
    fn of(name: String, values: &[f32]) -> Operand {
        let finite = values.iter().copied().filter(|value| value.is_finite());
        let range = finite.fold(None, |range, value| {
            let [low, high] = range.unwrap_or([value, value]);
            Some([value.min(low), value.max(high)])
        });
        let broken = values.iter().filter(|value| !value.is_finite()).count();
        Operand { name, range, broken }
    }
}

impl std::fmt::Display for Operand {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Operand { name, range, broken } = self;
        match range {
            _ if *broken > 0 => write!(f, "`{name}`, of which {broken} elements are not finite"),
            Some([low, high]) if low == high => write!(f, "`{name}`, which is {}", shown(*low)),
            Some([low, high]) => write!(f, "`{name}` from {} to {}", shown(*low), shown(*high)),
            None => write!(f, "`{name}`, which is empty"),
        }
    }
}

/// A number with as many digits as people read.
fn shown(value: f32) -> String {
    match value.abs() {
        0.0 => "0".into(),
        size if (1e-3..1e5).contains(&size) => {
            let text = format!("{value:.4}");
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        }
        _ => format!("{value:.3e}"),
    }
}

/// Runs the calls that a step of so many samples has computed together with a result that is not finite. `run` gives
/// the inputs of the step and runs it.
///
/// # Errors
///
/// Where there is no memory for it.
pub fn examine(
    subject: ProgramSource<'_>,
    batch: i64,
    suspect: &Suspect,
    store: &mut Store,
    run: &mut dyn FnMut(&mut Instance, &mut Store) -> Result<(), TrainError>,
) -> Result<Broken, TrainError> {
    let graph = subject.graph((Purpose::Step, batch))?;
    let probes = probes(&graph, &suspect.calls);
    let graph = graph.probing(probes.iter().map(|value| (*value, value.to_string())));
    let lowered = lower_tuned(&graph, subject.options, &TunedTiles::default());
    // The step has given its memory back to the device.
    subject.device.trim();
    Need::of(&graph, &lowered).check_run()?;
    let program = &lowered.kernels.program;
    let names: Vec<String> =
        program.outputs.iter().map(|tensor| program.tensors[*tensor].name.clone()).collect();
    let executable = Executable::compile(&graph, lowered, &**subject.device)?;
    let mut instance = Instance::bind(executable.into(), subject.device, store)?;
    run(&mut instance, store)?;
    let found = Found { graph: &graph, probes: &probes, names: &names, instance: &instance, store };
    let broken = |origin: &Origin| Some((*origin, found.broken(&graph.nodes[origin.index()])?));
    Ok(match suspect.calls.iter().find_map(broken) {
        // The same call: what was stored may be a part of its result.
        Some((origin, broken)) if suspect.origin == Some(origin) => {
            Broken { name: suspect.name.clone(), ..broken }
        }
        Some((_, broken)) => broken,
        None => Broken::of(suspect),
    })
}

impl Broken {
    /// What is known without looking at anything else.
    pub fn of(suspect: &Suspect) -> Broken {
        Broken { name: suspect.name.clone(), span: None, inputs: Vec::new() }
    }
}

/// All values that some nodes compute or read, but for inputs of the graph, which a store or the batch has.
fn probes(graph: &Graph, nodes: &BTreeSet<Origin>) -> Vec<Value> {
    let given: BTreeSet<Value> = graph.inputs.iter().map(|(value, _)| *value).collect();
    let nodes = nodes.iter().map(|origin| &graph.nodes[origin.index()]);
    let values = nodes.flat_map(|node| node.inputs.iter().chain(&node.results)).copied();
    let values: BTreeSet<Value> = values.filter(|value| !given.contains(value)).collect();
    values.into_iter().collect()
}

/// What the suspects have computed.
struct Found<'a> {
    graph: &'a Graph,
    /// The values that were asked for, with the names of their tensors.
    probes: &'a [Value],
    names: &'a [String],
    instance: &'a Instance,
    store: &'a Store,
}

impl Found<'_> {
    /// The first result of a node that is not finite, with all that the node reads.
    fn broken(&self, node: &Node) -> Option<Broken> {
        let operands = node.results.iter().filter_map(|value| self.operand(*value));
        let result = operands.into_iter().find(|operand| operand.broken > 0)?;
        let inputs = node.inputs.iter().filter_map(|value| self.operand(*value)).collect();
        Some(Broken { name: result.name, span: node.span, inputs })
    }

    /// A value that was asked for or is kept, if it is one of numbers.
    fn operand(&self, value: Value) -> Option<Operand> {
        if let Some(at) = self.probes.iter().position(|probe| *probe == value) {
            let values = self.instance.output(&Sink::Probe(value.to_string()), self.store)?;
            return Some(Operand::of(self.names[at].clone(), values.floats()?));
        }
        let (_, role) = self.graph.inputs.iter().find(|(input, _)| *input == value)?;
        let (Role::Param { path, .. } | Role::State { path, .. }) = role else { return None };
        let entry = &self.store.entries()[self.store.position(path)?];
        Some(Operand::of(path.clone(), &entry.values()))
    }
}
