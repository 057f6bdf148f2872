//! What is read of the records of a run. A line that a crash tore is left out; one of a later format is an error.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use indexmap::IndexMap;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::{
    EpochRecord, FINAL, FinalRecord, GRADIENTS, GradientNorms, GradientRecord, METRICS, RecordsError, STEPS,
    Versioned, each_line, failed,
};
use crate::base::files;
use crate::base::visible;

/// The lines of a run's `metrics.jsonl`; one that a crash tore is left out.
pub fn read_epochs(folder: &Path) -> Result<Vec<EpochRecord>, RecordsError> {
    let path = folder.join(METRICS);
    let mut epochs = Vec::new();
    let read = each_line(&path, |line| {
        epochs.extend(record::<EpochRecord>(line)?);
        Ok(())
    });
    read.map(|()| epochs).map_err(|source| failed(&path, source))
}

/// The losses of the training steps in a run's `steps.jsonl`, with their numbers from 1.
///
/// # Errors
///
/// A file that cannot be read.
pub fn read_steps(folder: &Path) -> Result<Vec<(u64, f64)>, RecordsError> {
    #[derive(Deserialize)]
    struct Line {
        split: String,
        step: u64,
        loss: Option<f64>,
    }
    let path = folder.join(STEPS);
    let mut steps = Vec::new();
    let read = each_line(&path, |line| {
        let line = record::<Line>(line)?.filter(|line| line.split == "train");
        steps.extend(line.and_then(|line| Some((line.step, line.loss?))));
        Ok(())
    });
    read.map(|()| steps).map_err(|source| failed(&path, source))
}

/// The final figures of a run; none where it has not come to them.
///
/// # Errors
///
/// A file that cannot be read, or is none of this kind.
pub fn read_final(folder: &Path) -> Result<Option<FinalRecord>, RecordsError> {
    let path = folder.join(FINAL);
    let text = match files::read_text(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        read => read.map_err(|source| failed(&path, source))?,
    };
    let problem = |error: serde_json::Error| io::Error::other(visible::excerpt(&error.to_string()));
    let record = serde_json::from_str::<Versioned<_>>(&text).map_err(problem).and_then(Versioned::open);
    record.map(Some).map_err(|error| failed(&path, error))
}

/// The mean of every gradient's norm in each epoch of a run, by the parameters' paths; none where they were not
/// written down. Steps with a norm that is not finite are left out.
pub fn read_gradients(folder: &Path) -> Result<GradientNorms, RecordsError> {
    let path = folder.join(GRADIENTS);
    let mut sums: BTreeMap<u64, IndexMap<String, (f64, u64)>> = BTreeMap::new();
    let read = each_line(&path, |line| {
        let Some(record) = record::<GradientRecord>(line)? else { return Ok(()) };
        let epoch = sums.entry(record.epoch).or_default();
        for (param, norm) in record.norms {
            let Some(norm) = norm else { continue };
            let (sum, steps) = epoch.entry(param).or_default();
            if *steps == 0 || !planted!("train.records.means") {
                *sum += f64::from(norm);
                *steps += 1;
            }
        }
        Ok(())
    });
    if let Err(source) = read
        && source.kind() != io::ErrorKind::NotFound
    {
        return Err(failed(&path, source));
    }
    let mean = |(param, (sum, steps)): (String, (f64, u64))| (param, sum / steps as f64);
    Ok(sums.into_iter().map(|(epoch, sums)| (epoch, sums.into_iter().map(mean).collect())).collect())
}

/// The record of a line; none where it is not one.
fn record<T: DeserializeOwned>(line: &[u8]) -> io::Result<Option<T>> {
    serde_json::from_slice::<Versioned<T>>(line).ok().map(Versioned::open).transpose()
}
