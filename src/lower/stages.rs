//! The list: every stage from a graph to scheduled functions with places in memory, in order, with a reason where the
//! order matters.

use std::collections::BTreeSet;

use crate::kernels::{self, fuse, layout, replace, slices};
use crate::passes::{
    ascend, canonical, channels, digits, equations, hoist, linear, prune, share, split, views, winograd,
};
use crate::plan;
use crate::sched::{self, Grid, LaneAxis};
use crate::te::verifier::{verify, verify_normal_form};
use crate::te::{Program, Tensor};

use super::updates::{self, batched_inputs};
use super::{Context, State};

/// A stage.
pub struct Stage {
    /// Its name in messages, in `--print-after-all` and for `emit --after`.
    pub name: &'static str,
    /// What it does, in a line.
    pub description: &'static str,
    work: Work,
    /// What it leaves.
    pub form: Form,
    /// Why it has nothing to do, where the lanes or what was asked for leave it out.
    skipped: fn(&Context<'_>) -> Option<&'static str>,
}

/// What a stage does.
enum Work {
    /// Rewrites equations, whatever the lanes will be.
    Rewrite(fn(&mut Program)),
    /// Anything else.
    Step(fn(&mut State<'_>, &Context<'_>)),
}

/// What there is after a stage: what is verified and printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Form {
    Equations,
    /// Kernels, whose layouts may not fit yet.
    Kernels,
    /// Kernels with their layouts.
    Layouts,
    Launches,
    Plan,
}

const fn rewrite(name: &'static str, description: &'static str, run: fn(&mut Program)) -> Stage {
    Stage { name, description, work: Work::Rewrite(run), form: Form::Equations, skipped: |_| None }
}

const fn step(
    name: &'static str,
    description: &'static str,
    form: Form,
    run: fn(&mut State<'_>, &Context<'_>),
) -> Stage {
    Stage { name, description, work: Work::Step(run), form, skipped: |_| None }
}

impl Stage {
    const fn unless(self, skipped: fn(&Context<'_>) -> Option<&'static str>) -> Stage {
        Stage { skipped, ..self }
    }
}

/// The stages in their order.
pub const PIPELINE: &[Stage] = &[
    step("equations", "writes the ops of all nodes as equations", Form::Equations, |state, _| {
        state.program = equations::run(state.graph);
    }),
    // Before canonical, which needs bodies that no longer go through reshapes.
    rewrite("views", "reads through reshapes, permutations and constants", views::run),
    rewrite("ascend", "turns sums round that run backwards", ascend::run),
    rewrite("canonical", "gives equal equations equal form, folds constants", canonical::run),
    // Sees equal bodies as equal, and makes more of them equal.
    rewrite("linear", "moves fixed factors out of sums", linear::run),
    // After linear, which may move a factor out of the way; before share, as equations have the same parts.
    rewrite("hoist", "computes expensive parts that many elements share once", hoist::run),
    // Once more: a sum may have become a constant, a product may have lost its factors.
    rewrite("views again", "reads through what became a constant", views::run),
    rewrite("canonical again", "gives what is new its canonical form", canonical::run),
    // After views, which leaves reads through reshapes where no view can go.
    rewrite("digits", "gives tensors the dimensions that their readers index", digits::run),
    // Works on canonical bodies only.
    rewrite("share", "computes common equations and parts once", share::run),
    rewrite("prune", "drops what no output needs", prune::run),
    // From here on the lanes are known.
    step("updates", "gives each update a tensor of its own", Form::Equations, |state, _| {
        updates::separate(state.graph, &mut state.program);
        state.persistent = updates::persistent(state.graph, &state.program);
    }),
    step(
        "channels",
        "reads parameters through copies with channels across the lanes",
        Form::Equations,
        |state, _| {
            let parameters: Vec<Tensor> =
                state.persistent.iter().map(|persistent| persistent.present).collect();
            let copies = channels::run(&mut state.program, &parameters);
            state.lane_dims = copies.into_iter().map(|tensor| (tensor, 0)).collect();
        },
    )
    .unless(|context| (context.over != LaneAxis::Channels).then_some("lanes are over the batch")),
    // Before split, which cuts the sums that are left.
    step(
        "winograd",
        "computes 3×3 convolutions and their gradients from tiles",
        Form::Equations,
        |state, context| {
            winograd::run(&mut state.program, context.options.machine.lanes);
        },
    )
    .unless(|context| match context.over {
        LaneAxis::Channels => Some("lanes are over channels"),
        // Twice the bytes for a third of the arithmetic, of which a grid has more to spare.
        LaneAxis::Batch if context.options.machine.grid.is_some() => Some("the machine is a grid"),
        LaneAxis::Batch => (!context.options.fast_math).then_some("fast_math is off"),
    }),
    step("split", "cuts long sums over the batch in two levels", Form::Equations, |state, context| {
        let machine = &context.options.machine;
        split::run(&mut state.program, machine.lanes, machine.grid.map(|_| Grid::FILL));
        let inputs = batched_inputs(state.graph, &state.program);
        state.lane_dims = inputs.into_iter().map(|tensor| (tensor, 0)).collect();
    })
    .unless(|context| (context.over == LaneAxis::Channels).then_some("lanes are over channels")),
    step("canonical for the lanes", "gives what is new its canonical form", Form::Equations, |state, _| {
        canonical::run(&mut state.program);
    }),
    step("fuse", "puts equations into kernels that run together", Form::Kernels, |state, context| {
        state.order = state.program.equations.iter().map(|equation| equation.result).collect();
        let program = std::mem::take(&mut state.program);
        state.kernels = fuse::run(program, &state.lane_dims, context.options.machine.lanes);
    }),
    step("layouts", "says where the elements of each tensor lie", Form::Kernels, |state, context| {
        state.layouts = layout::choose(&state.kernels, &state.lane_dims, context.options.machine.lanes);
    }),
    step(
        "slices",
        "finds kernels that can go through one slice after the other",
        Form::Kernels,
        |state, _| {
            state.groups = slices::find(&mut state.kernels, &mut state.layouts);
        },
    )
    .unless(|context| {
        context.options.machine.grid.is_some().then_some("no part of a grid has memory of its own")
    }),
    step("order", "puts readers of a tensor before what may replace it", Form::Kernels, |state, _| {
        let persistent =
            state.persistent.iter().filter_map(|persistent| Some((persistent.present, persistent.next?)));
        let persistent: Vec<replace::Pair> = persistent.collect();
        state.replaceable = replace::order(&mut state.kernels, &persistent, &mut state.groups);
    }),
    // After order, which says what may share memory.
    step(
        "halos",
        "gives tensors that may share memory one layout, and persistent ones that of files",
        Form::Layouts,
        |state, _| {
            replace::share_halos(&mut state.layouts, &state.replaceable);
            for tensor in state
                .persistent
                .iter()
                .flat_map(|persistent| [Some(persistent.present), persistent.next])
                .flatten()
            {
                let shape = state.kernels.program.tensors[tensor].shape.clone();
                state.layouts.insert(tensor, layout::Layout::new(&shape, None, 1));
            }
        },
    ),
    step("schedule", "writes the loops of each kernel", Form::Launches, |state, context| {
        // Each schedule has axes and expressions of its own, which begin with these.
        state.kernels.program.freeze();
        let input = sched::ScheduleInput {
            kernels: &state.kernels,
            layouts: &state.layouts,
            machine: &context.options.machine,
            accurate_sums: !context.options.fast_math || context.over == LaneAxis::Channels,
        };
        let launches = sched::schedule(input, &state.groups, context.tuned);
        state.launches =
            launches.unwrap_or_else(|illegal| panic!("a policy took a step that is not legal: {illegal}"));
    }),
    step(
        "together",
        "lets launches run at once that do not need each other",
        Form::Launches,
        |state, context| {
            if let Some(grid) = context.options.machine.grid {
                let launches = std::mem::take(&mut state.launches);
                state.launches = plan::together::run(launches, &state.persistent, state.verdict(), grid);
            }
        },
    )
    .unless(|context| context.options.machine.grid.is_none().then_some("the machine is no grid")),
    step("plan", "gives every tensor its place in memory", Form::Plan, |state, context| {
        let State { kernels, layouts, launches, persistent, .. } = &*state;
        let bounds = plan::Bounds { verdict: state.verdict(), grid: context.options.machine.grid };
        state.plan = Some(plan::plan(kernels, layouts, launches, persistent, bounds));
    }),
];

/// How many of the first stages do not depend on the lanes.
pub fn common() -> usize {
    let first = PIPELINE.iter().rposition(|stage| matches!(stage.work, Work::Rewrite(_)));
    first.map_or(0, |at| at + 1)
}

impl Stage {
    /// Why it has nothing to do, where that is so.
    pub fn skipped(&self, context: &Context<'_>) -> Option<&'static str> {
        (self.skipped)(context)
    }

    pub(super) fn run(&self, state: &mut State<'_>, context: &Context<'_>) {
        match self.work {
            Work::Rewrite(run) => run(&mut state.program),
            Work::Step(run) => run(state, context),
        }
    }

    /// Rewrites equations, where that is what the stage does.
    pub fn rewrite(&self, program: &mut Program) {
        if let Work::Rewrite(run) = self.work {
            run(program);
        }
    }

    /// Holds what it leaves against the invariants. Functions are verified where they are written and compiled, plans
    /// where they are compiled, in every build.
    pub(super) fn verify(&self, state: &State<'_>) -> Result<(), Vec<String>> {
        match self.form {
            Form::Equations => verify_equations(&state.program),
            Form::Kernels => kernels::verifier::verify(&state.kernels, None),
            Form::Layouts => kernels::verifier::verify(&state.kernels, Some(&state.layouts)),
            Form::Launches | Form::Plan => Ok(()),
        }
    }

    /// What it leaves as text, as far as names are wanted.
    pub fn print(&self, state: &State<'_>, wanted: &dyn Fn(&str) -> bool) -> String {
        match self.form {
            Form::Equations => excerpt(&state.program, wanted).to_string(),
            Form::Kernels | Form::Layouts => {
                let mut kernels = state.kernels.clone();
                kernels.kernels.retain(|kernel| wanted(&kernel.name));
                kernels::printer::print(&kernels, &state.layouts)
            }
            Form::Launches => {
                let wanted = state.launches.iter().filter(|launch| wanted(&launch.function.name));
                let texts = wanted.map(|launch| format!("{}\n{}", launch.function.name, launch.schedule));
                texts.collect::<Vec<_>>().join("\n")
            }
            Form::Plan => {
                let State { kernels, layouts, launches, plan, .. } = state;
                let plan = plan.as_ref().expect("this stage has made it");
                plan::printer::print(plan, kernels, layouts, launches, wanted)
            }
        }
    }
}

/// Holds equations against the invariants.
pub(super) fn verify_equations(program: &Program) -> Result<(), Vec<String>> {
    verify(program).and_then(|()| verify_normal_form(program))
}

/// The equations of a program whose results are wanted.
fn excerpt(program: &Program, wanted: &dyn Fn(&str) -> bool) -> Program {
    let mut part = program.clone();
    part.equations.retain(|equation| wanted(&program.tensors[equation.result].name));
    if part.equations.len() < program.equations.len() {
        let results: BTreeSet<Tensor> = part.equations.iter().map(|equation| equation.result).collect();
        let bodies = part.equations.iter().flat_map(|equation| &equation.pieces).map(|piece| piece.body);
        let reads: BTreeSet<Tensor> = bodies.flat_map(|body| part.reads(body)).collect();
        part.inputs = reads.difference(&results).copied().collect();
        part.outputs = results.into_iter().collect();
    }
    part
}
