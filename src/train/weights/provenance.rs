//! What a file of weights says of the model that they are of: one text of JSON under one key of the file's metadata.
//!
//! One key and not several, because the order of several would change from file to file.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

use crate::base::visible;
use crate::data::Dataset;

/// The key of the metadata.
const KEY: &str = "cnnc";

/// What is written here; another one is of another version.
const FORMAT: u32 = 1;

/// Where weights come from. A file of another tool says nothing of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provenance {
    /// The number of these keys' format; earlier versions wrote none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<u32>,
    /// The version of this program that wrote them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The name of the model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The names of the classes, in the order of the scores; none where the data had no names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub classes: Option<Vec<String>>,
    /// The shape of a sample, `[C, H, W]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<[usize; 3]>,
    /// The steps of `prepare` of the data section; empty for none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prepare: Option<String>,
}

impl Provenance {
    /// That of a model that is trained on data after some steps.
    pub fn of(model: &str, data: &Dataset, prepare: String) -> Provenance {
        Provenance {
            format: Some(FORMAT),
            version: Some(env!("CARGO_PKG_VERSION").into()),
            model: Some(model.into()),
            classes: data.named.then(|| data.class_names.clone()),
            input: Some(data.shape),
            prepare: Some(prepare),
        }
    }

    /// The metadata of a file.
    pub(super) fn metadata(&self) -> HashMap<String, String> {
        let text = serde_json::to_string(self).expect("texts and numbers");
        HashMap::from([(KEY.to_owned(), text)])
    }

    /// What metadata say.
    ///
    /// # Errors
    ///
    /// Where they have the key, but not such a text under it.
    pub(super) fn read(metadata: &BTreeMap<String, String>) -> Result<Provenance, String> {
        let Some(text) = metadata.get(KEY) else { return Ok(Provenance::default()) };
        let failed = |problem: &str| format!("its metadata `{KEY}`: {}", visible::excerpt(problem));
        let read: Provenance = serde_json::from_str(text).map_err(|error| failed(&error.to_string()))?;
        match read.format {
            None | Some(FORMAT) => Ok(read),
            Some(other) => Err(failed(&format!("it is of format {other}; this version reads {FORMAT}"))),
        }
    }
}
