//! The stage `wgsl` of `cnnc emit`: the shaders of a program, with what they come from.

use crate::codegen::wgsl::{self, Condition, Dispatch, Driver, Part, Shader};
use crate::loops::verifier::Verified;
use crate::lower::Lowered;
use crate::plan::blocks::{Bound, bind, likely};
use crate::plan::slices::Unit;
use crate::runtime::Error;
use crate::sched::{Grid, Launch};

use super::Failure;
use super::project::Project;

/// The shaders of the units of which a launch is wanted.
pub fn text(
    lowered: &Lowered,
    project: &Project<'_>,
    grid: Grid,
    wanted: &dyn Fn(&str) -> bool,
) -> Result<String, Failure> {
    let launches = lowered.native_launches();
    let mut text = format!(
        "// for {} lanes, {} blocks of {} MiB a kernel, a multiply-add that rounds {}\n",
        lowered.machine.lanes,
        grid.blocks,
        grid.block_bytes >> 20,
        if grid.fuses { "once" } else { "twice" }
    );
    for (at, unit) in lowered.plan.units.iter().enumerate() {
        if launches[unit.launches.clone()].iter().any(|launch| wanted(&launch.function.name)) {
            let shader = shader(lowered, &launches, (at, unit), project, grid);
            let Shader { text: shader, groups, .. } =
                shader.map_err(|error| Failure::Run(error.to_string()))?;
            text += &format!("\n// dispatch {at}: {groups} workgroups\n{shader}");
        }
    }
    Ok(text)
}

fn shader(
    lowered: &Lowered,
    launches: &[Launch],
    (at, unit): (usize, &Unit),
    project: &Project<'_>,
    grid: Grid,
) -> Result<Shader, Error> {
    let own = &launches[unit.launches.clone()];
    let buffers = own.iter().flat_map(|launch| launch.buffers.iter().zip(launch.function.buffers.values()));
    let placed =
        buffers.map(|(tensor, data)| (lowered.plan.places[tensor], (data.len * data.dtype.size()) as u64));
    let guarded = lowered.plan.guarded.is_some_and(|first| at >= first);
    let verdict = lowered.verdict_place().filter(|_| guarded);
    let Bound { blocks, verdict, .. } =
        bind(placed, verdict, &|place, bytes| likely(place, bytes, grid.block_bytes));
    let condition = verdict.map(|block| Condition { block, is_finite: !lowered.accepts });
    let functions = own.iter().map(|launch| Verified::new(launch.function.clone()));
    let functions: Vec<Verified> = functions.collect::<Result<_, _>>()?;
    let mut blocks = blocks.into_iter();
    let parts = functions.iter().zip(own).map(|(function, launch)| Part {
        function,
        blocks: blocks.by_ref().take(launch.buffers.len()).collect(),
        notes: notes(lowered, launch, project),
    });
    let parts = parts.collect();
    wgsl::write(&Dispatch { parts, condition, driver: Driver { fuses: grid.fuses, ..Driver::EXACT } })
}

/// The calls that a launch comes from, with the user's lines.
fn notes(lowered: &Lowered, launch: &Launch, project: &Project<'_>) -> Vec<String> {
    let sources = lowered.sources(std::slice::from_ref(launch));
    let note = |source: &&crate::lower::Source| {
        let line = source.span.map_or(String::new(), |span| format!(", {}", project.line(span)));
        match source.path.is_empty() {
            true => format!("{}{line}", source.op),
            false => format!("{}: {}{line}", source.path, source.op),
        }
    };
    sources.iter().map(note).collect()
}
