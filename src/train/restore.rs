//! Values from files into a store: weights to begin with, and the checkpoint of a run that goes on.

use std::collections::BTreeSet;
use std::path::Path;

use crate::elab::config::Pretrained;
use crate::graph::Graph;
use crate::runtime::{Fault, Store};

use super::checkpoint::{self, Checkpoint, Saved};
use super::error::TrainError;
use super::folder::CHECKPOINT;
use super::programs::initialise;
use super::trainer::{Begun, Session};
use super::weights::{self, Contents, Matched, Named, Provenance, WeightsError};

/// The prefix of the optimiser's states.
pub const OPTIMISER: &str = "optim.";

/// Sets the parameters and states of a graph from a file of weights; the store holds nothing else. Gives notes on what
/// was left out of the file, a line each.
///
/// # Errors
///
/// A file that cannot be read, and tensors that are missing, unknown or of another shape.
pub fn load(file: &Path, graph: &Graph, store: &mut Store) -> Result<Vec<String>, TrainError> {
    fill(file, weights::load(file)?, graph, store, &|_| false)
}

/// Replaces the parameters and states of a store, but for those of the optimiser, by what was read from a file.
///
/// # Errors
///
/// Tensors that are missing, unknown or of another shape.
pub fn replace(file: &Path, contents: Contents, store: &mut Store) -> Result<(), TrainError> {
    let taken = take(store, contents, &|name| name.starts_with(OPTIMISER));
    taken.map(|_| ()).map_err(|error| misfit(file, &error))
}

/// The same for what was read from the file before. Tensors of the file for which `spare` holds may be there.
///
/// # Errors
///
/// Tensors that are missing, unknown or of another shape.
pub fn fill(
    file: &Path,
    contents: Contents,
    graph: &Graph,
    store: &mut Store,
    spare: &dyn Fn(&str) -> bool,
) -> Result<Vec<String>, TrainError> {
    // The values do not matter: the file has all of them.
    initialise(graph, 0, store)?;
    let known: BTreeSet<String> = store.entries().iter().map(|entry| entry.path.clone()).collect();
    let taken = take(store, contents, &|name| !known.contains(name) && spare(name));
    taken.map(|matched| matched.notes(file)).map_err(|error| misfit(file, &error))
}

/// Sets the parameters and states of a graph from the pretrained weights of a train section, but for those that it
/// excepts: these begin with the values of the seed. Gives notes on what was left out of the file, a line each.
///
/// # Errors
///
/// A file that cannot be read, and tensors that are missing, unknown or of another shape.
pub fn pretrained(
    from: &Pretrained,
    graph: &Graph,
    seed: u64,
    store: &mut Store,
) -> Result<Vec<String>, TrainError> {
    initialise(graph, seed, store)?;
    if let Some(except) = &from.except {
        let paths: Vec<String> = store.entries().iter().map(|entry| entry.path.clone()).collect();
        except.check("except", &paths).map_err(|error| vec![error])?;
    }
    let except = |path: &str| {
        from.except.as_ref().is_some_and(|except| except.holds(path) && !planted!("train.restore.except"))
    };
    let help = "`except=...` of load leaves parts out that another task needs anew";
    let taken = take(store, weights::load(&from.file)?, &except);
    let found = taken.map(|matched| matched.notes(&from.file));
    found.map_err(|error| TrainError::Other(format!("{}: {error}\n  {help}", from.file.display())))
}

fn misfit(file: &Path, error: &WeightsError) -> TrainError {
    TrainError::Other(format!("{}: {error}", file.display()))
}

/// Sets the values of a training that goes on, and says where it stands; none where its folder has no checkpoint yet.
///
/// # Errors
///
/// A checkpoint that is damaged or not of this model.
pub fn resume(session: &Session<'_>, folder: &Path, store: &mut Store) -> Result<Option<Begun>, TrainError> {
    let loaded = Checkpoint::load(folder)?;
    checkpoint::clean(folder)
        .map_err(|error| TrainError::Other(format!("{}: {error}", folder.join(CHECKPOINT).display())))?;
    let Some(Checkpoint { position, tensors, records, best }) = loaded else { return Ok(None) };
    let (phase, first_epoch) = session.phase_at(&position);
    let graph = session.recipe.step(phase.batch, phase)?;
    initialise(&graph, session.spec.seed, store)?;
    // A phase that has not begun has a fresh optimiser, perhaps another one than the checkpoint.
    let is_fresh = position.epochs == first_epoch && position.begun.images() == 0;
    // Checkpoints of earlier versions hold the states of earlier phases too.
    let known: BTreeSet<String> = store.entries().iter().map(|entry| entry.path.clone()).collect();
    let except = |path: &str| path.starts_with(OPTIMISER) && (is_fresh || !known.contains(path));
    let contents = Contents { tensors, ..Contents::default() };
    take(store, contents, &except).map_err(|error| misfit(&folder.join(CHECKPOINT), &error))?;
    let best = match best {
        None if records.is_none() => earlier_best(folder, position.steps)?,
        best => best,
    };
    Ok(Some(Begun { position, best, records }))
}

/// The best weights of a run of an earlier version, which have no place in its checkpoint, as one of this version.
fn earlier_best(folder: &Path, steps: u64) -> Result<Option<Saved>, TrainError> {
    let file = folder.join(BEST);
    if !file.is_file() {
        return Ok(None);
    }
    let tensors = weights::load(&file)?.tensors;
    let entries: Vec<_> = tensors
        .iter()
        .map(|(name, tensor)| (name.as_str(), tensor.shape.as_slice(), tensor.elements.as_slice().into()))
        .collect();
    checkpoint::save_best(folder, steps, &entries).map(Some)
}

/// Sets all persistent tensors, but for those that `except` names.
fn take(
    store: &mut Store,
    contents: Contents,
    except: &dyn Fn(&str) -> bool,
) -> Result<Matched, WeightsError> {
    let entries = store.entries().iter();
    let shapes: Vec<(String, Vec<i64>)> =
        entries.map(|entry| (entry.path.clone(), entry.shape.clone())).collect();
    let expected: Vec<(&str, &[i64])> =
        shapes.iter().map(|(path, shape)| (path.as_str(), shape.as_slice())).collect();
    let mut matched = weights::matching(&expected, contents, except)?;
    for (entry, tensor) in store.entries_mut().iter_mut().zip(std::mem::take(&mut matched.tensors)) {
        if let Some(tensor) = tensor {
            entry.set(&tensor.elements);
        }
    }
    Ok(matched)
}

/// The file of the best epoch's weights in a run's folder.
const BEST: &str = "best.safetensors";

/// Writes the weights of the best epoch so far.
///
/// # Errors
///
/// Where the file cannot be written.
pub fn save_best(folder: &Path, store: &Store, provenance: &Provenance) -> Result<(), WeightsError> {
    save(&folder.join(BEST), store, provenance)
}

/// Takes the weights of the best epoch back.
///
/// # Errors
///
/// Where the file cannot be read, or is another one.
pub fn take_best(folder: &Path, best: &Saved, store: &mut Store) -> Result<(), TrainError> {
    let kept = |path: &str| path.starts_with(OPTIMISER) || planted!("train.restore.best");
    let tensors = checkpoint::read_best(folder, best)?;
    take(store, Contents { tensors, ..Contents::default() }, &kept)
        .map(|_| ())
        .map_err(|error| misfit(&folder.join(CHECKPOINT), &error))
}

/// The parameters and running statistics, without the optimiser's states.
///
/// # Errors
///
/// Where the device fails that has them.
pub fn weights(store: &Store) -> Result<Vec<Named<'_>>, Fault> {
    let entries = store.entries().iter().filter(|entry| !entry.path.starts_with(OPTIMISER));
    let named = entries.map(|entry| (entry.path.as_str(), entry.shape.as_slice(), entry.values())).collect();
    store.device().check()?;
    Ok(named)
}

/// Writes the parameters and running statistics.
///
/// # Errors
///
/// Where the file cannot be written.
pub fn save(file: &Path, store: &Store, provenance: &Provenance) -> Result<(), WeightsError> {
    weights::save(file, &weights(store)?, Some(provenance))
}
