//! Trained weights for the commands that run a model.

use std::path::{Path, PathBuf};

use crate::graph::{Graph, Role};
use crate::runtime::Store;
use crate::runtime::store::Entry;
use crate::train::{folder, restore};

use super::project::Project;
use super::{Failure, say};

/// The values of a graph's parameters and states from `--weights`. A graph that has none needs no file.
pub fn store(
    project: &Project<'_>,
    name: &str,
    file: &Path,
    weights: Option<&Path>,
    graph: &Graph,
) -> Result<Store, Failure> {
    let mut store = Store::default();
    match weights {
        Some(weights) => {
            restore::load(weights, graph, &mut store).map_err(|error| project.train_failure(error))?;
            warn(weights, &store);
        }
        None if graph.inputs.iter().any(|(_, role)| is_kept(role)) => {
            return Err(Failure::Run(format!(
                "`{name}` has parameters, so it needs --weights FILE; {}",
                hint(name, file)
            )));
        }
        None => {}
    }
    Ok(store)
}

/// Warns where values that were read from a file are not finite.
pub fn warn(file: &Path, store: &Store) {
    if let Some(warning) = not_finite(store) {
        say(&format!("warning: {}: {warning}", file.display()));
    }
}

/// What to say of weights of which some are not finite, as a training that went wrong leaves them.
fn not_finite(store: &Store) -> Option<String> {
    let bad = |entry: &Entry| entry.values().iter().filter(|value| !value.is_finite()).count();
    let mut broken = store.entries().iter().filter(|entry| bad(entry) > 0);
    let first = broken.next()?;
    let others = match broken.count() {
        0 => String::new(),
        1 => ", nor are those of 1 other tensor".into(),
        others => format!(", nor are those of {others} other tensors"),
    };
    let (bad, all) = (bad(first), first.values().len());
    Some(format!("{bad} of the {all} values of `{}` are not finite{others}", first.path))
}

fn is_kept(role: &Role) -> bool {
    matches!(role, Role::Param { .. } | Role::State { .. })
}

/// Where weights may be.
fn hint(name: &str, file: &Path) -> String {
    match newest(name) {
        Some(path) => format!("the newest run has {}", path.display()),
        None => format!("`cnnc run {}` makes them", file.display()),
    }
}

/// The weights of the model's last run in the folder of runs.
fn newest(name: &str) -> Option<PathBuf> {
    let path = folder::newest(Path::new(super::RUNS), name)?.join("model.safetensors");
    path.is_file().then_some(path)
}
