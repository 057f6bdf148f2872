//! `--tuned`: the tiles of a file for the commands that compile a program.

use std::path::Path;

use crate::lower::{Lowered, TunedTiles};
use crate::train::tuned::{self, TUNED};
pub use crate::train::tuned::{Subject, Tuned};

use super::arguments::{Mode, TunedArguments};
use super::{Failure, say};

/// The mode as a file has it.
pub fn mode(mode: Mode) -> tuned::Mode {
    match mode {
        Mode::Train => tuned::Mode::Train,
        Mode::Infer => tuned::Mode::Infer,
    }
}

/// What a file of `--tuned` says, which must be for one of these programs; nothing where none is named.
pub fn read(arguments: &TunedArguments, subjects: &[Subject]) -> Result<Option<Tuned>, Failure> {
    arguments.tuned.as_deref().map(|path| of_file(path, subjects)).transpose()
}

/// The tiles of a run: those of `--tuned`, or those that the run in a folder began with. The latter are left alone
/// where the run goes on with another batch or on another machine.
pub fn of_run(
    arguments: &TunedArguments,
    resumed: Option<&Path>,
    subjects: &[Subject],
) -> Result<Option<Tuned>, Failure> {
    let stored = resumed.map(|folder| folder.join(TUNED)).filter(|path| path.exists());
    let Some(path) = stored.filter(|_| arguments.tuned.is_none()) else {
        return read(arguments, subjects);
    };
    let tuned = Tuned::load(&path).map_err(|error| Failure::Run(error.to_string()))?;
    match tuned.check(&path, subjects) {
        Ok(()) => Ok(Some(tuned)),
        Err(error) => {
            say(&format!("note: {error}; the run goes on without"));
            Ok(None)
        }
    }
}

fn of_file(path: &Path, subjects: &[Subject]) -> Result<Tuned, Failure> {
    let found = Tuned::load(path).and_then(|tuned| tuned.check(path, subjects).map(|()| tuned));
    found.map_err(|error| Failure::Run(error.to_string()))
}

/// The tiles for a program.
pub fn tiles(tuned: Option<&Tuned>, mode: tuned::Mode) -> TunedTiles {
    let tuned = tuned.filter(|tuned| tuned.subject.mode == mode);
    tuned.map_or_else(TunedTiles::default, |tuned| tuned.tiles.clone())
}

/// Says on standard error that some tiles are for kernels that the program does not have.
pub fn warn_of_misfits(tiles: &TunedTiles, lowered: &Lowered) {
    let misfits = tiles.misfits(&lowered.launches);
    if misfits > 0 {
        let all = tiles.len();
        say(&format!(
            "note: {misfits} of the {all} tiles of --tuned fit no kernel; the model is another one now"
        ));
    }
}
