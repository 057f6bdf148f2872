//! A graph on its way down.

use crate::graph::{Graph, Sink};
use crate::kernels::layout::Across;
use crate::kernels::replace::Pair;
use crate::kernels::slices::Group;
use crate::kernels::{Kernels, Layouts};
use crate::plan::{Kept, Plan};
use crate::sched::{Launch, Machine, Over};
use crate::te::{Program, Tensor};

use super::Lowered;

/// What the stages have made so far. What a later one makes is empty.
#[derive(Clone)]
pub struct State<'g> {
    pub graph: &'g Graph,
    /// The equations; fusion moves them into the kernels.
    pub program: Program,
    /// The tensors that live longer than a run.
    pub kept: Vec<Kept>,
    /// The dimension of each tensor that lies across the lanes, as far as the stages before the layouts say.
    pub across: Across,
    /// The results of the equations in their order, when fusion begins.
    pub order: Vec<Tensor>,
    pub kernels: Kernels,
    pub layouts: Layouts,
    /// The kernels that run slice by slice.
    pub groups: Vec<Group>,
    /// What may be stored over what.
    pub replaceable: Vec<Pair>,
    pub launches: Vec<Launch>,
    pub plan: Option<Plan>,
}

impl<'g> State<'g> {
    /// At the beginning.
    pub fn new(graph: &'g Graph) -> State<'g> {
        State {
            graph,
            program: Program::default(),
            kept: Vec::new(),
            across: Across::default(),
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
    pub fn lowered(self, machine: &Machine, over: Over, reason: String) -> Lowered {
        Lowered {
            verdict: self.verdict(),
            plan: self.plan.expect("the last stage makes a plan"),
            kernels: self.kernels,
            layouts: self.layouts,
            launches: self.launches,
            machine: *machine,
            over,
            reason,
            kept: self.kept,
            order: self.order,
        }
    }
}
