//! PyTorch's files of a state dict, as `torch.save(model.state_dict(), FILE)` writes them: a zip archive with a pickle,
//! `NAME/data.pkl`, and the elements of each storage, `NAME/data/KEY`, none of them compressed.
//!
//! Views are read by their strides, and tensors may share a storage. Whole models, checkpoints with more than tensors,
//! TorchScript and the format before PyTorch 1.6 are refused in one line. Nothing takes more memory than a few times the
//! size of the file.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Cursor, Read};

use zip::{CompressionMethod, ZipArchive};

use crate::base::{memory, visible};

use super::elements::{Type, convert};
use super::pickle::{self, Node, Pickle, PickleValue, Storage, View};
use super::{Contents, Problem, Tensor, is_counter};

/// How a zip archive begins.
const ARCHIVE: &[u8] = b"PK\x03\x04";
/// How the format before PyTorch 1.6 begins: a pickle of a number.
const OLD: &[u8] = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.";
/// How any other pickle of its time begins.
const PICKLE: &[u8] = b"\x80\x02";

/// A state dict of thousands of tensors has a pickle of one MiB.
const LONGEST_PICKLE: u64 = 1 << 24;
/// Tensors share storages, but not so often that they have more elements than this for each byte of the file.
const MOST_ELEMENTS: u64 = 4;
/// So many entries of a dictionary are named in an error.
const MOST_NAMED: usize = 6;

type Archive<'a> = ZipArchive<Cursor<&'a [u8]>>;

/// A tensor on its way from its storage.
struct Wanted<'a> {
    name: &'a str,
    kind: Type,
    view: &'a View,
}

/// Whether a file begins like one of PyTorch. One of safetensors begins with the length of its header, which has eight
/// bytes of which the last four are 0.
pub fn is_one(file: &[u8]) -> bool {
    let is_length = file.get(4..8).is_none_or(|bytes| bytes == [0; 4]);
    !is_length && [ARCHIVE, PICKLE].iter().any(|start| file.starts_with(start))
}

/// The tensors of a file.
///
/// # Errors
///
/// One line for a file that is broken or holds something else than a state dict; and where there is no memory for it.
pub fn read(file: &[u8]) -> Result<Contents, Problem> {
    let wrong = Problem::Torch;
    if file.starts_with(OLD) {
        let problem = "it is in the format before PyTorch 1.6; load it there and save it again";
        return Err(wrong(problem.into()));
    }
    let archive = ZipArchive::new(Cursor::new(file));
    let mut archive = archive.map_err(|error| wrong(format!("no whole zip archive ({error})")))?;
    let root = root(&archive).map_err(wrong)?;
    let order = format!("{root}/byteorder");
    if archive.index_for_name(&order).is_some()
        && entry(&mut archive, &order, 16).map_err(wrong)? != b"little"
    {
        return Err(wrong("its numbers begin with their highest byte; save it on another machine".into()));
    }
    let bytes = entry(&mut archive, &format!("{root}/data.pkl"), LONGEST_PICKLE).map_err(wrong)?;
    let pickle = pickle::read(&bytes).map_err(wrong)?;
    let views = state_dict(&pickle).map_err(wrong)?;
    let mut contents = Contents::default();
    let mut storages: BTreeMap<&str, (Storage<'_>, Vec<Wanted<'_>>)> = BTreeMap::new();
    for (name, storage, view) in views {
        let Some(kind) = type_of(storage.kind) else {
            contents.others.insert(name.into(), storage.kind.into());
            continue;
        };
        let (first, wanted) = storages.entry(storage.key).or_insert_with(|| (storage, Vec::new()));
        if *first != storage {
            return Err(wrong(format!(
                "the storage `{}` is described in two ways",
                visible::excerpt(storage.key)
            )));
        }
        wanted.push(Wanted { name, kind, view });
    }
    check(&storages, file.len() as u64)?;
    for (key, (storage, wanted)) in &storages {
        let name = format!("{root}/data/{key}");
        let bytes = entry(&mut archive, &name, file.len() as u64).map_err(wrong)?;
        for Wanted { name, kind, view } in wanted {
            if bytes.len() as u64 != storage.len * kind.size() as u64 {
                let key = visible::excerpt(key);
                return Err(wrong(format!(
                    "the storage `{key}` has {} bytes for {} elements",
                    bytes.len(),
                    storage.len
                )));
            }
            let shape = view.shape.iter().map(|extent| i64::try_from(*extent).unwrap_or(i64::MAX)).collect();
            contents
                .tensors
                .insert((*name).into(), Tensor { shape, elements: gathered(*kind, &bytes, view) });
        }
    }
    Ok(contents)
}

/// The folder of an archive in which everything lies.
fn root(archive: &Archive<'_>) -> Result<String, String> {
    if archive.has_duplicate_names() {
        return Err("it has two parts of one name".into());
    }
    let names: Vec<String> = archive
        .file_names()
        .map(|name| name.map(std::borrow::Cow::into_owned).map_err(|error| error.to_string()))
        .collect::<Result<_, _>>()?;
    let mut roots = names.iter().filter_map(|name| name.strip_suffix("/data.pkl"));
    let root = match (roots.next(), roots.next()) {
        (Some(root), None) => root,
        _ => return Err("a zip archive, but none that torch.save wrote".into()),
    };
    let code = format!("{root}/code/");
    match names.iter().any(|name| name.starts_with(&code)) {
        true => Err("it is a program of TorchScript; save its state_dict() with torch.save".into()),
        false => Ok(root.to_owned()),
    }
}

/// The bytes of a part of the archive, at most `most`.
fn entry(archive: &mut Archive<'_>, name: &str, most: u64) -> Result<Vec<u8>, String> {
    let shown = visible::excerpt(name);
    let corrupt = |error: &dyn std::fmt::Display| format!("`{shown}` is missing or damaged ({error})");
    let entry = archive.by_name(name).map_err(|error| corrupt(&error))?;
    let claim = entry.size();
    if entry.compression() != CompressionMethod::Stored || entry.compressed_size() != claim {
        return Err(format!("`{shown}` is compressed, which torch.save does not do"));
    }
    if claim > most {
        return Err(format!("`{shown}` has {claim} bytes, more than there can be"));
    }
    let mut bytes = Vec::new();
    entry.take(claim.saturating_add(1)).read_to_end(&mut bytes).map_err(|error| corrupt(&error))?;
    match bytes.len() as u64 == claim {
        true => Ok(bytes),
        false => Err(format!("`{shown}` has {} bytes, but the archive claims {claim}", bytes.len())),
    }
}

fn type_of(kind: &str) -> Option<Type> {
    match kind {
        "F32" => Some(Type::F32),
        "F64" => Some(Type::F64),
        "F16" => Some(Type::F16),
        "BF16" => Some(Type::BF16),
        _ => None,
    }
}

/// The tensors of a pickle that is a dictionary of nothing else, but for the counters.
fn state_dict<'p>(pickle: &'p Pickle<'_>) -> Result<Vec<(&'p str, Storage<'p>, &'p View)>, String> {
    let Some(entries) = entries(pickle, pickle.value) else {
        return Err(
            "it holds no dictionary; only a state dict is read: torch.save(model.state_dict(), FILE)".into(),
        );
    };
    let mut tensors = Vec::new();
    let mut seen = BTreeSet::new();
    for (key, value) in entries {
        let (PickleValue::Text(name), Some((storage, view))) = (key, tensor(pickle, *value)) else {
            return Err(more_than_tensors(pickle, entries));
        };
        if !seen.insert(*name) {
            return Err(format!("`{}` is there twice", visible::excerpt(name)));
        }
        if !is_counter(name) {
            tensors.push((*name, storage, view));
        }
    }
    Ok(tensors)
}

fn entries<'p, 'a>(
    pickle: &'p Pickle<'a>,
    value: PickleValue<'_>,
) -> Option<&'p [(PickleValue<'a>, PickleValue<'a>)]> {
    match value {
        PickleValue::Node(at) if let Node::Dict(entries) = &pickle.nodes[at] => Some(entries),
        _ => None,
    }
}

fn tensor<'p>(pickle: &'p Pickle<'_>, value: PickleValue<'_>) -> Option<(Storage<'p>, &'p View)> {
    match value {
        PickleValue::Node(at)
            if let Node::Tensor(view) = &pickle.nodes[at]
                && let Node::Storage(storage) = pickle.nodes[view.storage] =>
        {
            Some((storage, view))
        }
        _ => None,
    }
}

/// The error of a checkpoint: where its state dict is, if it has one.
fn more_than_tensors(pickle: &Pickle<'_>, held: &[(PickleValue<'_>, PickleValue<'_>)]) -> String {
    let name = |value: &PickleValue<'_>| match value {
        PickleValue::Text(text) => visible::excerpt(text),
        PickleValue::Int(number) => number.to_string(),
        _ => "...".into(),
    };
    let is_state_dict = |value: PickleValue<'_>| {
        entries(pickle, value).is_some_and(|entries| {
            !entries.is_empty() && entries.iter().all(|(_, value)| tensor(pickle, *value).is_some())
        })
    };
    let names: Vec<String> = held.iter().take(MOST_NAMED).map(|(key, _)| name(key)).collect();
    let others = if held.len() > MOST_NAMED { ", ..." } else { "" };
    let inner = held.iter().find(|(_, value)| is_state_dict(*value));
    let advice = inner.map_or("save model.state_dict() alone".into(), |(key, _)| {
        format!("save its state dict alone: torch.save(checkpoint[\"{}\"], FILE)", name(key))
    });
    format!("it holds more than tensors ({}{others}); {advice}", names.join(", "))
}

/// Checks that tensors lie inside their storages, and that all of them together fit the file and the memory.
fn check(storages: &BTreeMap<&str, (Storage<'_>, Vec<Wanted<'_>>)>, file: u64) -> Result<(), Problem> {
    let (mut stored, mut elements) = (0_u64, 0_u64);
    for (storage, wanted) in storages.values() {
        let size = wanted.first().map_or(1, |wanted| wanted.kind.size()) as u64;
        stored = stored.saturating_add(storage.len.saturating_mul(size));
        for Wanted { name, view, .. } in wanted {
            let count = count(view, storage.len).ok_or_else(|| {
                Problem::Torch(format!("`{}` is no view of its storage", visible::excerpt(name)))
            })?;
            elements = elements.saturating_add(count);
        }
    }
    if stored > file || elements > file.saturating_mul(MOST_ELEMENTS) {
        return Err(Problem::Torch("its tensors have more elements than it can hold".into()));
    }
    Ok(memory::check("it", elements.saturating_mul(size_of::<f32>() as u64))?)
}

/// The elements of a view, if it stays inside a storage of `len` and shows no more elements than that has.
fn count(view: &View, len: u64) -> Option<u64> {
    if view.shape.contains(&0) {
        return Some(0);
    }
    let (mut count, mut last) = (1_u64, view.offset);
    for (extent, stride) in view.shape.iter().zip(&view.strides) {
        count = count.checked_mul(*extent)?;
        last = last.checked_add((extent - 1).checked_mul(*stride)?)?;
    }
    (count <= len && last < len).then_some(count)
}

/// The elements of a view that was checked, in its own order.
fn gathered(kind: Type, storage: &[u8], view: &View) -> Vec<f32> {
    let size = kind.size();
    if view.shape.contains(&0) {
        return Vec::new();
    }
    let count: u64 = view.shape.iter().product();
    if is_contiguous(view) {
        return convert(kind, &storage[view.offset as usize * size..][..count as usize * size]);
    }
    let mut bytes = Vec::with_capacity(count as usize * size);
    let mut position = vec![0; view.shape.len()];
    let mut at = view.offset;
    for _ in 0..count {
        bytes.extend_from_slice(&storage[at as usize * size..][..size]);
        for axis in (0..position.len()).rev() {
            position[axis] += 1;
            at += view.strides[axis];
            if position[axis] < view.shape[axis] {
                break;
            }
            at -= position[axis] * view.strides[axis];
            position[axis] = 0;
        }
    }
    convert(kind, &bytes)
}

fn is_contiguous(view: &View) -> bool {
    let mut expected = 1;
    view.shape.iter().zip(&view.strides).rev().all(|(extent, stride)| {
        let fits = *extent == 1 || *stride == expected;
        expected *= extent;
        fits
    })
}

#[cfg(test)]
#[path = "torch_tests.rs"]
mod tests;
