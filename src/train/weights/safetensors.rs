//! The format safetensors: a header of JSON, then the elements.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use serde::Deserializer;
use serde::de::{Error, IgnoredAny, MapAccess, Visitor};

use crate::base::{memory, visible};

use super::elements::{Type, convert};
use super::provenance::Provenance;
use super::{Contents, Problem, Tensor, is_counter};

/// The bytes before the header, which are its length.
const LENGTH: usize = size_of::<u64>();

/// What a file of these bytes holds.
///
/// # Errors
///
/// Bytes that are no such file, a name that is there twice, metadata of ours that cannot be read, and where there is no
/// memory for the elements.
pub fn read(file: &[u8]) -> Result<Contents, Problem> {
    let wrong = |problem: String| Problem::Safetensors(visible::excerpt(&problem));
    let tensors = SafeTensors::deserialize(file).map_err(|error| wrong(error.to_string()))?;
    let metadata = metadata(file).map_err(|error| wrong(error.to_string()))?;
    let provenance = Provenance::read(&metadata).map_err(wrong)?;
    let kept: Vec<(&str, TensorView<'_>)> = tensors.iter().filter(|(name, _)| !is_counter(name)).collect();
    let read = kept.iter().filter(|(_, view)| type_of(view.dtype()).is_some());
    // Elements of a file may be smaller than those that are made of them.
    let elements: usize = read.map(|(_, view)| view.shape().iter().product::<usize>()).sum();
    memory::check("it", (elements * size_of::<f32>()) as u64)?;
    let mut contents = Contents { provenance, ..Contents::default() };
    for (name, view) in kept {
        let extent = |extent: &usize| i64::try_from(*extent).unwrap_or(i64::MAX);
        match type_of(view.dtype()) {
            Some(kind) => {
                let shape = view.shape().iter().map(extent).collect();
                contents.tensors.insert(name.into(), Tensor { shape, elements: convert(kind, view.data()) });
            }
            None => {
                contents.others.insert(name.into(), format!("{:?}", view.dtype()));
            }
        }
    }
    Ok(contents)
}

fn type_of(dtype: Dtype) -> Option<Type> {
    match dtype {
        Dtype::F32 => Some(Type::F32),
        Dtype::F64 => Some(Type::F64),
        Dtype::F16 => Some(Type::F16),
        Dtype::BF16 => Some(Type::BF16),
        _ => None,
    }
}

/// The metadata of a header, in which every name stands once: who reads it into a table would take the last one.
fn metadata(file: &[u8]) -> Result<BTreeMap<String, String>, serde_json::Error> {
    let (length, rest) = file.split_first_chunk::<LENGTH>().unwrap_or((&[0; LENGTH], &[]));
    let length = usize::try_from(u64::from_le_bytes(*length)).unwrap_or(usize::MAX);
    let header = rest.get(..length).unwrap_or_default();
    serde_json::Deserializer::from_slice(header).deserialize_map(Header)
}

/// The names of a header.
struct Header;

impl<'de> Visitor<'de> for Header {
    type Value = BTreeMap<String, String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a header")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let (mut seen, mut metadata) = (BTreeSet::new(), BTreeMap::new());
        while let Some(name) = map.next_key::<String>()? {
            if name == "__metadata__" {
                metadata = map.next_value_seed(Metadata)?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
            if let Some(name) = seen.replace(name) {
                return Err(twice(&name));
            }
        }
        Ok(metadata)
    }
}

/// The entries of the metadata.
struct Metadata;

impl<'de> serde::de::DeserializeSeed<'de> for Metadata {
    type Value = BTreeMap<String, String>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Metadata {
    type Value = BTreeMap<String, String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("texts by name")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut entries = BTreeMap::new();
        while let Some((name, value)) = map.next_entry::<String, String>()? {
            if entries.insert(name.clone(), value).is_some() {
                return Err(twice(&name));
            }
        }
        Ok(entries)
    }
}

fn twice<E: Error>(name: &str) -> E {
    E::custom(format!("`{}` is there twice", visible::excerpt(name)))
}
