//! Register tiles that were chosen from outside, and schedules that are made again from their steps.

use super::schedule_nest;
use crate::base::target::{Level, Target};
use crate::kernels::parser::parse;
use crate::kernels::{fuse, layout};
use crate::sched::emit::emit;
use crate::sched::nest::LoopNest;
use crate::sched::{Launch, Machine, ScheduleInput, TunedTiles, schedule};
use crate::te::{Axis, Binary, DType, Index, Program, Reduction};

const EXTENTS: [(&str, i64); 4] = [("n", 32), ("o", 8), ("i", 14), ("c", 5)];

/// `y[n, o, i] = sum[c] x[n, c, i] * w[o, c]`, scheduled.
fn scheduled(tuned: &TunedTiles) -> Vec<Launch> {
    scheduled_as("y", tuned)
}

/// The same under another name.
fn scheduled_as(name: &str, tuned: &TunedTiles) -> Vec<Launch> {
    let mut program = Program::default();
    let [n, o, i, c] = EXTENTS.map(|(name, extent)| (program.axis(name, extent), extent));
    let shape = |axes: &[(Axis, i64)]| axes.iter().map(|(_, extent)| *extent).collect::<Vec<i64>>();
    let index = |axes: &[(Axis, i64)]| axes.iter().map(|(axis, _)| Index::from(*axis)).collect::<Vec<_>>();
    let x = program.input("x", DType::F32, shape(&[n, c, i]));
    let w = program.input("w", DType::F32, shape(&[o, c]));
    let (read_x, read_w) = (program.exprs.read(x, index(&[n, c, i])), program.exprs.read(w, index(&[o, c])));
    let product = program.exprs.binary(Binary::Mul, read_x, read_w);
    let sum = program.exprs.reduce(Reduction::Sum, vec![c.0], product);
    let y = program.tensor(name, DType::F32, shape(&[n, o, i]));
    program.define(y, vec![n.0, o.0, i.0], sum);
    program.outputs.push(y);
    let machine = Machine::of(Target::of(Level::Avx512));
    let lane_dims = [(x, 0)].into_iter().collect();
    let kernels = fuse::run(program, &lane_dims, machine.lanes);
    let layouts = layout::choose(&kernels, &lane_dims, machine.lanes);
    let input =
        ScheduleInput { kernels: &kernels, layouts: &layouts, machine: &machine, accurate_sums: false };
    schedule(input, &[], tuned).expect("all steps are legal")
}

fn chosen(tile: &str) -> (Launch, usize) {
    let mut tuned = TunedTiles::default();
    tuned.choose(&scheduled(&TunedTiles::default())[0].key(), tile);
    let mut launches = scheduled(&tuned);
    let misfits = tuned.misfits(&launches);
    assert_eq!(launches.len(), 1);
    (launches.remove(0), misfits)
}

#[test]
fn the_best_tiles_are_listed_and_the_first_is_taken() {
    let launches = scheduled(&TunedTiles::default());
    let [Launch { tiles, schedule, .. }] = launches.as_slice() else { panic!("{launches:?}") };
    assert!(tiles.len() > 3, "{tiles:?}");
    for (at, block) in tiles[0].split(", ").enumerate() {
        let step = format!("tile {}\n", block.replace(' ', " by "));
        assert!(schedule.contains(&step), "{at}: {schedule}");
    }
    assert!(!schedule.contains("measured"), "{schedule}");
}

#[test]
fn a_tuned_tile_is_taken_and_printed() {
    let default = scheduled(&TunedTiles::default()).remove(0);
    for tile in &default.tiles[1..] {
        let (launch, misfits) = chosen(tile);
        let step = format!("measured: tile {tile}, where the cost model has {}\n", default.tiles[0]);
        assert!(launch.schedule.contains(&step), "{}", launch.schedule);
        assert_ne!(launch.function.to_string(), default.function.to_string());
        assert_eq!((&launch.tiles[0], misfits), (tile, 0));
        assert_eq!(launch.key(), default.key(), "whatever the tile");
        let renamed = scheduled_as("z", &TunedTiles::default());
        assert_eq!(renamed[0].key(), default.key(), "whatever the name");
    }
}

/// A block that does not divide its extent, more sums than registers, no tile at all, and what is no tile.
#[test]
fn a_tile_that_is_not_legal_is_not_taken() {
    let default = scheduled(&TunedTiles::default()).remove(0);
    for tile in ["i 3, o 4", "i 7, o 8", "of one element", "", "z 2", "i 7,", "i 99999999999999999999", "\n"]
    {
        let (launch, misfits) = chosen(tile);
        let step = format!("not taken: tile {tile:?}, which these loops cannot have\n");
        assert!(launch.schedule.contains(&step), "{}", launch.schedule);
        assert_eq!(launch.function.to_string(), default.function.to_string());
        assert_eq!((&launch.tiles, misfits), (&default.tiles, 1));
    }
}

#[test]
fn tiles_for_other_kernels_change_nothing() {
    let mut tuned = TunedTiles::default();
    tuned.choose("z", "i 7, o 2");
    tuned.choose("", "i 7, o 2");
    let (launches, default) = (scheduled(&tuned), scheduled(&TunedTiles::default()));
    assert_eq!((launches[0].schedule.as_str(), tuned.misfits(&launches)), (default[0].schedule.as_str(), 2));
}

/// A convolution of so many pictures, each a row of pixels, and what it reads of them.
fn convolution(pictures: i64, pixels: i64, layout: &str, read: &str) -> String {
    format!(
        "kernels(x: f32[{pictures}, 4, {pixels}], w: f32[8, 4, 3]) -> (y: f32[{pictures}, 8, {pixels}]) {{
  stored x {layout} halo(0, 0, 0, 0, 1, 1) fill(0);
  stored w rows;
  stored y {layout};
  kernel \"y\" {{
    nest [n < {pictures}, o < 8, i < {pixels}] reduce [c < 4, u < 3] {{
      y[n, o, i] = sum[c < 4, u < 3] {read} * w[o, c, u];
    }}
  }}
}}"
    )
}

/// The steps that a schedule has written down make the same loops of the nest as it was, with the decisions that are no
/// steps.
#[test]
fn schedules_can_be_made_again_from_their_steps() {
    let mut seen: Vec<String> = Vec::new();
    let lanes = ("lanes(0, 16)", "(x[n, c, i + u - 1] else 0)");
    let rows = ("rows", "x[n, c, i]");
    for (pictures, pixels, (layout, read)) in
        [(32, 14, lanes), (11, 14, lanes), (1, 14, lanes), (2, 37, rows)]
    {
        let text = convolution(pictures, pixels, layout, read);
        let (kernels, layouts) = parse(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
        let machine = Machine::of(Target::of(Level::Avx512));
        let (kernels, layouts) = (&kernels, &layouts);
        let input = ScheduleInput { kernels, layouts, machine: &machine, accurate_sums: true };
        let nest = &kernels.kernels[0].nests[0];
        for sched in schedule_nest(input, nest, &[], &|_| None).expect("all steps are legal") {
            let mut again = LoopNest::new(&kernels.program, nest);
            for step in sched.steps() {
                step.clone().apply(&mut again).unwrap_or_else(|illegal| panic!("{illegal}\n{sched}"));
                seen.extend(step.text(&again.axes).split(' ').next().map(str::to_owned));
            }
            (again.mask, again.shares) = (sched.mask.clone(), sched.shares);
            (again.accurate_sums, again.long_sum) = (sched.accurate_sums, sched.long_sum);
            let written = |sched: &LoopNest| emit(input, "f", nest, sched).function.to_string();
            assert_eq!(written(&again), written(&sched), "{sched}");
            assert!(again.steps().eq(sched.steps()), "{again}\n{sched}");
        }
    }
    for step in ["split", "vectorize", "restrict", "reorder", "tile", "unroll", "flatten"] {
        assert!(seen.iter().any(|other| other == step), "no schedule has the step {step}");
    }
}
