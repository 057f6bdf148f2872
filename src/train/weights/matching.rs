//! The tensors of a file against those that a model expects, by name and shape.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::base::visible;

use super::{Contents, ShapeMismatch, Tensor, WeightsError};

/// What other tools put before every name: wrappers for several devices and for compilation, and trainers.
const PREFIXES: [&str; 3] = ["module.", "_orig_mod.", "model."];
/// So many of them may stand one before the other.
const MOST_PREFIXES: usize = 4;

/// Tensors in the order in which a model expects them.
#[derive(Debug)]
pub struct Matched {
    /// None for one that was excepted.
    pub tensors: Vec<Option<Tensor>>,
    /// Auxiliary heads of the file that were left out.
    pub skipped: Vec<String>,
    /// Tensors that were left out, of types that no model has.
    pub others: Vec<String>,
    /// What came off all names.
    pub prefix: Option<String>,
}

impl Matched {
    /// What was left out of a file, a line each.
    pub fn notes(&self, file: &Path) -> Vec<String> {
        let file = file.display();
        let count = |list: &[String]| match list.len() {
            1 => "1 tensor".to_owned(),
            count => format!("{count} tensors"),
        };
        let prefix = self.prefix.as_ref().map(|prefix| {
            format!("note: the names of tensors in {file} are taken without their prefix `{prefix}`")
        });
        let skipped = (!self.skipped.is_empty())
            .then(|| format!("note: auxiliary heads in {file} are not used ({})", count(&self.skipped)));
        let others = self.others.first().map(|first| {
            let (all, first) = (count(&self.others), visible::excerpt(first));
            format!(
                "note: what is no floating-point number in {file} is not used ({all}: {first}{})",
                match self.others.len() {
                    1 => "",
                    _ => ", ...",
                }
            )
        });
        prefix.into_iter().chain(skipped).chain(others).collect()
    }
}

/// Holds the tensors of a file against those that a model expects, by name and shape.
///
/// Names for which `except` holds are neither expected nor unknown. Prefixes of other tools come off where all tensors
/// that fit carry the same. Auxiliary classifiers of torchvision (`aux1.…`, `AuxLogits.…`) that the model lacks are
/// skipped, and so are tensors of types that are not read. All else must agree.
///
/// # Errors
///
/// Every tensor that is missing, unknown or of another shape; or the first one whose type is not read.
pub fn matching(
    expected: &[(&str, &[i64])],
    contents: Contents,
    except: &dyn Fn(&str) -> bool,
) -> Result<Matched, WeightsError> {
    let wanted: BTreeSet<&str> =
        expected.iter().map(|(name, _)| *name).filter(|name| !except(name)).collect();
    let prefix = prefix(&wanted, &contents);
    let Contents { mut tensors, mut others, .. } = contents;
    if let Some(prefix) = &prefix {
        tensors = without(prefix, tensors);
        others = without(prefix, others);
    }
    let (mut missing, mut shapes) = (Vec::new(), Vec::new());
    let mut matched = Vec::with_capacity(expected.len());
    for (name, shape) in expected {
        let found = tensors.remove(*name).filter(|_| !except(name));
        match &found {
            Some(tensor) if tensor.shape != *shape => shapes.push(ShapeMismatch {
                name: (*name).to_owned(),
                expected: shape.to_vec(),
                found: tensor.shape.clone(),
            }),
            None if !except(name) => match others.remove(*name) {
                Some(kind) => return Err(WeightsError::Type { name: visible::excerpt(name), kind }),
                None => missing.push((*name).to_owned()),
            },
            Some(_) | None => {}
        }
        matched.push(found);
    }
    let rest = tensors.into_keys().filter(|name| !except(name));
    let (skipped, unknown): (Vec<_>, Vec<_>) = rest.partition(|name| is_auxiliary(name));
    if missing.is_empty() && unknown.is_empty() && shapes.is_empty() {
        let others = others.into_keys().filter(|name| !except(name)).collect();
        Ok(Matched { tensors: matched, skipped, others, prefix })
    } else {
        Err(WeightsError::Mismatch { missing, unknown, shapes })
    }
}

/// Whether a tensor belongs to an auxiliary classifier of GoogLeNet or Inception.
fn is_auxiliary(name: &str) -> bool {
    matches!(name.split('.').next(), Some("aux1" | "aux2" | "AuxLogits"))
}

/// The prefix that all tensors carry which fit, where more of them fit without it than with it.
fn prefix(wanted: &BTreeSet<&str>, contents: &Contents) -> Option<String> {
    let names = || contents.tensors.keys().chain(contents.others.keys()).map(String::as_str);
    let plain = names().filter(|name| wanted.contains(name)).count();
    if plain == wanted.len() {
        return None;
    }
    let mut fits: BTreeMap<&str, usize> = BTreeMap::new();
    for name in names() {
        for end in ends(name).filter(|end| wanted.contains(&name[*end..])) {
            *fits.entry(&name[..end]).or_default() += 1;
        }
    }
    // Of prefixes that serve equally well, the shortest.
    let (prefix, count) =
        fits.into_iter().max_by_key(|(prefix, count)| (*count, usize::MAX - prefix.len()))?;
    let fits = |name: &str| wanted.contains(name) || ends(name).any(|end| wanted.contains(&name[end..]));
    let is_common = names().filter(|name| fits(name)).all(|name| name.starts_with(prefix));
    let stays = names().filter(|name| !name.starts_with(prefix)).collect::<BTreeSet<_>>();
    let is_free = names().filter_map(|name| name.strip_prefix(prefix)).all(|name| !stays.contains(name));
    (count > plain && is_common && is_free).then(|| prefix.to_owned())
}

/// Where the prefixes of a name end, one after the other.
fn ends(name: &str) -> impl Iterator<Item = usize> {
    let next = move |end: usize| {
        PREFIXES.iter().find(|prefix| name[end..].starts_with(**prefix)).map(|prefix| end + prefix.len())
    };
    std::iter::successors(next(0), move |end| next(*end)).take(MOST_PREFIXES)
}

fn without<T>(prefix: &str, named: BTreeMap<String, T>) -> BTreeMap<String, T> {
    let cut = |name: String| name.strip_prefix(prefix).map(str::to_owned).unwrap_or(name);
    named.into_iter().map(|(name, value)| (cut(name), value)).collect()
}
