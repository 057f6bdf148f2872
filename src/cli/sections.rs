//! From the settings of a data section to what `data` does with them.

use std::path::Path;

use crate::data::apart::{Amount, StratifiedSplit, TestSplit};
use crate::data::augment::Transform;
use crate::data::geometry::Geometry;
use crate::data::mix::Mix;
use crate::data::prepare::{Adjust, Normalize};
use crate::data::synthetic::{self, Options};
use crate::data::{DataError, Dataset, cifar, digits, folder, idx, npz};
use crate::elab::config::{self, Augment, DataSpec, Prepare, Source};

/// Opens the source of a section; `place` stands for the folder or file that it names.
///
/// # Errors
///
/// What is wrong with the data, a place for a source that has none, and a test split of one that has its own.
pub fn load(spec: &DataSpec, place: Option<&Path>) -> Result<Dataset, DataError> {
    let test = TestSplit { amount: spec.test.map(amount), seed: spec.seed };
    if !matches!(spec.source, Source::Folder(_)) {
        test.check_none(&format!("the source of the data section `{}`", spec.name))?;
    }
    let source = &spec.source;
    let place = place.filter(|_| !planted!("cli.sections.place"));
    let instead = |path| place.unwrap_or(path);
    check_place(spec, place).map_err(DataError::Option)?;
    match source {
        Source::Digits => digits::load(),
        Source::Idx(path) => idx::load(instead(path)),
        Source::Cifar10(path) => cifar::load10(instead(path)),
        Source::Cifar100(path) => cifar::load100(instead(path)),
        Source::Folder(path) => folder::load(instead(path), &test, spec.background),
        Source::Npz(path) => match (place, path.file_name()) {
            (Some(place), Some(name)) if place.is_dir() => npz::load(&place.join(name)),
            _ => npz::load(instead(path)),
        },
        &Source::Synthetic { classes, size, train, test, seed } => {
            synthetic::load(&Options { classes, size, train, test, seed })
        }
    }
}

/// An error where a place is given for a source that has none.
pub fn check_place(spec: &DataSpec, place: Option<&Path>) -> Result<(), String> {
    let source = match spec.source {
        Source::Digits => "digits()",
        Source::Synthetic { .. } => "synthetic()",
        _ => return Ok(()),
    };
    match place {
        Some(_) => Err(format!("the data are those of {source}, which has no place for --data")),
        None => Ok(()),
    }
}

/// What a section holds out for validation.
pub fn held_out(spec: &DataSpec) -> Option<StratifiedSplit> {
    let seed = if planted!("cli.sections.seed") { 0 } else { spec.seed };
    spec.holdout.map(|held| StratifiedSplit { key: "holdout", amount: amount(held), seed })
}

fn amount(amount: config::Amount) -> Amount {
    match amount {
        config::Amount::Count(count) => Amount::Count(count as usize),
        config::Amount::Share(share) => Amount::Share(share),
    }
}

/// The steps that work on pixels.
pub fn geometry(steps: &[Prepare]) -> Vec<Geometry> {
    let step = |step: &Prepare| match *step {
        Prepare::Resize { height, width } => Some(Geometry::Resize { height, width }),
        Prepare::CenterCrop { height, width } => Some(Geometry::CenterCrop { height, width }),
        Prepare::Grayscale => Some(Geometry::Grayscale),
        Prepare::Scale(_) | Prepare::Normalize { .. } => None,
    };
    steps.iter().filter_map(step).collect()
}

/// The steps that work on numbers.
pub fn adjust(steps: &[Prepare]) -> Vec<Adjust> {
    let step = |step: &Prepare| match step {
        Prepare::Resize { .. } | Prepare::CenterCrop { .. } | Prepare::Grayscale => None,
        Prepare::Scale(factor) => Some(Adjust::Scale(*factor)),
        Prepare::Normalize { mean, std } => {
            Some(Adjust::Normalize(Normalize { mean: mean.clone(), std: std.clone() }))
        }
    };
    let mut steps: Vec<Adjust> = steps.iter().filter_map(step).collect();
    if planted!("cli.sections.adjust") {
        steps.reverse();
    }
    steps
}

/// The random steps on single images.
pub fn augment(steps: &[Augment]) -> Vec<Transform> {
    let step = |step: &Augment| match *step {
        Augment::Crop { size, pad } => Some(Transform::Crop { size, pad }),
        Augment::FlipHorizontally { p } => Some(Transform::FlipHorizontally { p }),
        Augment::FlipVertically { p } => Some(Transform::FlipVertically { p }),
        Augment::Rotate { degrees } => Some(Transform::Rotate { degrees }),
        Augment::Affine { degrees, translate, scale, shear } => {
            Some(Transform::Affine { degrees, translate, scale, shear })
        }
        Augment::ColorJitter { brightness, contrast, saturation } => {
            Some(Transform::ColorJitter { brightness, contrast, saturation })
        }
        Augment::Erase { p } => Some(Transform::Erase { p }),
        Augment::MixUp { .. } | Augment::CutMix { .. } => None,
    };
    steps.iter().filter_map(step).collect()
}

/// The random step on batches.
pub fn mix(steps: &[Augment]) -> Option<Mix> {
    steps.iter().find_map(|step| match *step {
        Augment::MixUp { alpha } if planted!("cli.sections.mix") => Some(Mix::Paste { alpha }),
        Augment::MixUp { alpha } => Some(Mix::Blend { alpha }),
        Augment::CutMix { alpha } => Some(Mix::Paste { alpha }),
        _ => None,
    })
}
