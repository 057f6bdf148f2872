//! A graph on its way down.

use cranelift_entity::PrimaryMap;

use crate::graph::{Graph, Node, Sink};
use crate::kernels::layout::LaneDims;
use crate::kernels::replace::Pair;
use crate::kernels::slices::Group;
use crate::kernels::{Kernels, Layouts};
use crate::plan::{MemoryPlan, Persistent};
use crate::sched::{LaneAxis, Launch, Machine};
use crate::te::{Origin, Program, Tensor};

use super::{Lowered, Source};

/// What the stages have made so far. What a later one makes is empty.
#[derive(Clone)]
pub struct State<'g> {
    pub graph: &'g Graph,
    /// The equations; fusion moves them into the kernels.
    pub program: Program,
    /// The tensors that live longer than a run.
    pub persistent: Vec<Persistent>,
    /// The dimension of each tensor that lies across the lanes, as far as the stages before the layouts say.
    pub lane_dims: LaneDims,
    /// The results of the equations in their order, when fusion begins.
    pub order: Vec<Tensor>,
    pub kernels: Kernels,
    pub layouts: Layouts,
    /// The kernels that run slice by slice.
    pub groups: Vec<Group>,
    /// What may be stored over what.
    pub replaceable: Vec<Pair>,
    pub launches: Vec<Launch>,
    pub plan: Option<MemoryPlan>,
}

impl<'g> State<'g> {
    /// At the beginning.
    pub fn new(graph: &'g Graph) -> State<'g> {
        State {
            graph,
            program: Program::default(),
            persistent: Vec::new(),
            lane_dims: LaneDims::default(),
            order: Vec::new(),
            kernels: Kernels::default(),
            layouts: Layouts::default(),
            groups: Vec::new(),
            replaceable: Vec::new(),
            launches: Vec::new(),
            plan: None,
        }
    }

    /// What says whether the updates take place: the acceptance of the step, or else its loss.
    pub fn verdict(&self) -> Option<Tensor> {
        let output = |wanted: Sink| self.graph.outputs.iter().position(|(_, sink)| *sink == wanted);
        let verdict = output(Sink::Accepted).or_else(|| output(Sink::Loss));
        verdict.map(|at| self.kernels.program.outputs[at])
    }

    /// The end of the way.
    ///
    /// # Panics
    ///
    /// Before it.
    pub fn lowered(self, machine: &Machine, over: LaneAxis, reason: String) -> Lowered {
        Lowered {
            verdict: self.verdict(),
            accepts: self.graph.outputs.iter().any(|(_, sink)| *sink == Sink::Accepted),
            plan: self.plan.expect("the last stage makes a plan"),
            kernels: self.kernels,
            layouts: self.layouts,
            launches: self.launches,
            machine: *machine,
            over,
            reason,
            persistent: self.persistent,
            order: self.order,
            origins: sources(self.graph),
        }
    }
}

/// What the nodes of a graph are, by their places: the origins that its equations have.
fn sources(graph: &Graph) -> PrimaryMap<Origin, Source> {
    let source = |node: &Node| Source {
        op: graph.ops[node.op].name.clone(),
        path: node.path.clone(),
        span: node.span,
    };
    graph.nodes.iter().map(source).collect()
}
