//! Register tiles that were chosen from outside.

use crate::base::target::{Level, Target};
use crate::kernels::{fuse, layout};
use crate::sched::{Launch, Machine, ScheduleInput, TunedTiles, schedule};
use crate::te::{Axis, Binary, DType, Index, Program, Reduction};

const EXTENTS: [(&str, i64); 4] = [("n", 32), ("o", 8), ("i", 14), ("c", 5)];

/// `y[n, o, i] = sum[c] x[n, c, i] * w[o, c]`, scheduled.
fn scheduled(choices: &TunedTiles) -> Vec<Launch> {
    scheduled_as("y", choices)
}

/// The same under another name.
fn scheduled_as(name: &str, choices: &TunedTiles) -> Vec<Launch> {
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
    let subject =
        ScheduleInput { kernels: &kernels, layouts: &layouts, machine: &machine, accurate_sums: false };
    schedule(subject, &[], choices).expect("all steps are legal")
}

fn chosen(tile: &str) -> (Launch, usize) {
    let mut choices = TunedTiles::default();
    choices.choose(&scheduled(&TunedTiles::default())[0].key(), tile);
    let mut launches = scheduled(&choices);
    let misfits = choices.misfits(&launches);
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
fn a_choice_is_taken_and_printed() {
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
fn a_choice_that_is_not_legal_is_not_taken() {
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
fn choices_for_other_kernels_change_nothing() {
    let mut choices = TunedTiles::default();
    choices.choose("z", "i 7, o 2");
    choices.choose("", "i 7, o 2");
    let (launches, default) = (scheduled(&choices), scheduled(&TunedTiles::default()));
    assert_eq!(
        (launches[0].schedule.as_str(), choices.misfits(&launches)),
        (default[0].schedule.as_str(), 2)
    );
}
