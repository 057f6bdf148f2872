//! Values from files into a store: weights to begin with, and the checkpoint of a run that goes on.

use std::collections::BTreeSet;
use std::path::Path;

use crate::elab::config::Pretrained;
use crate::graph::Graph;
use crate::runtime::Store;

use super::checkpoint::Checkpoint;
use super::error::TrainError;
use super::programs::initialise;
use super::trainer::{Position, Session};
use super::weights::{self, Tensors, WeightsError};

/// The prefix of the optimiser's states.
pub const OPTIMISER: &str = "optim.";

/// Sets the parameters and states of a graph from a file of weights; the store holds nothing else.
///
/// # Errors
///
/// A file that cannot be read, and tensors that are missing, unknown or of another shape.
pub fn load(file: &Path, graph: &Graph, store: &mut Store) -> Result<(), TrainError> {
    // The values do not matter: the file has all of them.
    initialise(graph, 0, store)?;
    take(store, weights::load(file)?, &|_| false).map(|_| ()).map_err(|error| misfit(file, &error))
}

/// Sets the parameters and states of a graph from the pretrained weights of a train section, but for those that it
/// excepts: these begin with the values of the seed. Gives the tensors of the file that were left out.
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
    let found = take(store, weights::load(&from.file)?, &except);
    found.map_err(|error| TrainError::Other(format!("{}: {error}\n  {help}", from.file.display())))
}

fn misfit(file: &Path, error: &WeightsError) -> TrainError {
    TrainError::Other(format!("{}: {error}", file.display()))
}

/// Sets the values of a training that goes on, and gives its position.
///
/// # Errors
///
/// A checkpoint that is not there or not of this model.
pub fn resume(session: &Session<'_>, folder: &Path, store: &mut Store) -> Result<Position, TrainError> {
    let Checkpoint { position, tensors } = Checkpoint::load(folder)?;
    let (phase, first_epoch) = session.phase_at(&position);
    let graph = session.recipe.step(phase.batch, phase)?;
    initialise(&graph, session.spec.seed, store)?;
    // A phase that has not begun has a fresh optimiser, perhaps another one than the checkpoint.
    let is_fresh = position.epochs == first_epoch && position.begun.images() == 0;
    // The states of an earlier phase's optimiser stay behind.
    let known: BTreeSet<String> = store.entries().iter().map(|entry| entry.path.clone()).collect();
    let except = |path: &str| path.starts_with(OPTIMISER) && (is_fresh || !known.contains(path));
    take(store, tensors, &except).map_err(|error| misfit(&folder.join("checkpoint"), &error))?;
    Ok(position)
}

/// Sets all kept tensors, but for those that `except` names; gives those that no model needs.
fn take(
    store: &mut Store,
    tensors: Tensors,
    except: &dyn Fn(&str) -> bool,
) -> Result<Vec<String>, WeightsError> {
    let entries = store.entries().iter();
    let shapes: Vec<(String, Vec<i64>)> =
        entries.map(|entry| (entry.path.clone(), entry.shape.clone())).collect();
    let expected: Vec<(&str, &[i64])> =
        shapes.iter().map(|(path, shape)| (path.as_str(), shape.as_slice())).collect();
    let matched = weights::matching(&expected, tensors, except)?;
    for (entry, tensor) in store.entries_mut().iter_mut().zip(matched.tensors) {
        if let Some(tensor) = tensor {
            entry.values_mut().copy_from_slice(&tensor.elements);
        }
    }
    Ok(matched.skipped)
}

/// The file of the best epoch's weights in a run's folder.
const BEST: &str = "best.safetensors";

/// Writes the weights of the best epoch so far.
///
/// # Errors
///
/// Where the file cannot be written.
pub fn save_best(folder: &Path, store: &Store) -> Result<(), WeightsError> {
    save(&folder.join(BEST), store)
}

/// Takes the weights of the best epoch back.
///
/// # Errors
///
/// Where the file cannot be read.
pub fn best(folder: &Path, store: &mut Store) -> Result<(), TrainError> {
    let file = folder.join(BEST);
    let kept = |path: &str| path.starts_with(OPTIMISER) || planted!("train.restore.best");
    take(store, weights::load(&file)?, &kept).map(|_| ()).map_err(|error| misfit(&file, &error))
}

/// Writes the parameters and running statistics, without the optimiser's states.
///
/// # Errors
///
/// Where the file cannot be written.
pub fn save(file: &Path, store: &Store) -> Result<(), WeightsError> {
    let entries = store.entries().iter().filter(|entry| !entry.path.starts_with(OPTIMISER));
    let tensors: Vec<_> =
        entries.map(|entry| (entry.path.as_str(), entry.shape.as_slice(), entry.values())).collect();
    weights::save(file, &tensors)
}
