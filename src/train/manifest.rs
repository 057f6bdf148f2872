//! What a run is: `run.json` in its folder, and the texts of its model beside it.
//!
//! The file says what was asked for (paths are absolute) and what held: every setting, the vector level, the names of the
//! classes, the data by its fingerprint. So a run goes on by its folder alone, and what another call would change is
//! found by comparing two of them ([`Manifest::differences`]).

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::base::files;
use crate::base::visible;
use crate::data::fingerprint::{Fingerprint, Part};
use crate::elab::config::Described;

use super::error::TrainError;
use super::sealed;

/// The file's name in a run's folder.
pub const MANIFEST: &str = "run.json";
/// The folder with the texts.
pub const SOURCE: &str = "source";
/// What is written here; another one is of another version.
const FORMAT: u32 = 1;

/// A run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    pub format: u32,
    /// Of this program.
    pub version: String,
    /// The name of the train section.
    pub name: String,
    pub asked: Asked,
    /// The model file first.
    pub texts: Vec<Text>,
    pub settings: Described,
    /// What runs it, and the vector level.
    pub device: String,
    pub level: String,
    pub classes: Vec<String>,
    pub data: Fingerprint,
    /// The hash of the file of weights that it began with.
    pub weights: Option<String>,
    /// How it was changed on the way.
    pub changes: Vec<Change>,
}

/// What the command line said.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asked {
    /// The model file.
    #[serde(with = "any_path")]
    pub file: PathBuf,
    /// The train section.
    pub model: Option<String>,
    /// Where the data lies, in place of what the file says.
    #[serde(with = "any_path::option")]
    pub data: Option<PathBuf>,
    /// Settings in place of the file's, flags for settings among them.
    pub set: Vec<String>,
    /// Weights to begin with.
    #[serde(with = "any_path::option")]
    pub init: Option<PathBuf>,
}

/// A file of the model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Text {
    /// Where it was read.
    #[serde(with = "any_path")]
    pub path: PathBuf,
    /// Its copy in the run's folder.
    pub copy: String,
    /// Of the text.
    pub hash: String,
}

/// A change that was allowed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// Steps that were done.
    pub step: u64,
    pub what: Vec<String>,
    /// The texts before it.
    pub texts: Vec<Text>,
}

/// Something that two runs do not have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    pub key: String,
    /// None where a run does not have it.
    pub then: Option<String>,
    pub now: Option<String>,
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let key = visible::name(&self.key);
        match (&self.then, &self.now) {
            (Some(then), Some(now)) => write!(f, "{key}: {} -> {}", visible::name(then), visible::name(now)),
            (Some(then), None) => write!(f, "{key}: {} -> nothing", visible::name(then)),
            (None, Some(now)) => write!(f, "{key}: nothing -> {}", visible::name(now)),
            (None, None) => write!(f, "{key}"),
        }
    }
}

impl Manifest {
    /// A run of this version, without what it takes time to know.
    pub fn new(name: String, asked: Asked) -> Manifest {
        Manifest {
            format: FORMAT,
            version: env!("CARGO_PKG_VERSION").into(),
            name,
            asked,
            texts: Vec::new(),
            settings: Described::new(),
            device: String::new(),
            level: String::new(),
            classes: Vec::new(),
            data: Fingerprint::new(),
            weights: None,
            changes: Vec::new(),
        }
    }

    /// The epochs of all phases that were asked for.
    pub fn epochs(&self) -> u64 {
        let is_epochs = |key: &str| key.starts_with("train.") && key.ends_with(".epochs");
        let epochs = self.settings.iter().filter(|(key, _)| is_epochs(key));
        epochs.filter_map(|(_, epochs)| epochs.parse::<u64>().ok()).sum()
    }

    /// All texts that the run has had.
    pub fn all_texts(&self) -> Vec<Text> {
        let before = self.changes.iter().flat_map(|change| &change.texts);
        self.texts.iter().chain(before).cloned().collect()
    }

    /// Gives the texts of a model names in a run's folder, which has had others before.
    pub fn name_texts(&mut self, texts: &[(PathBuf, String)], taken: &[Text]) {
        let mut names: BTreeSet<String> = taken.iter().map(|text| text.copy.clone()).collect();
        self.texts.clear();
        for (path, text) in texts {
            let hash = files::hash_of(text.as_bytes());
            // One text may have several paths, by links.
            let same = self.texts.iter().find(|other| other.hash == hash);
            let same = same.or_else(|| taken.iter().find(|other| other.hash == hash && other.path == *path));
            let copy = same.map_or_else(|| free_name(path, &names), |same| same.copy.clone());
            names.insert(copy.clone());
            self.texts.push(Text { path: path.clone(), copy, hash });
        }
    }

    /// Writes the texts that are not there, and then the file.
    ///
    /// # Errors
    ///
    /// Where that fails; what was there before is as it was.
    pub fn save(&self, folder: &Path, texts: &[(PathBuf, String)]) -> std::io::Result<()> {
        files::make_folders(&folder.join(SOURCE))?;
        for (named, (_, text)) in self.texts.iter().zip(texts) {
            let path = folder.join(&named.copy);
            // One that a killed process left, before it said so, may be there.
            if files::hash(&path).ok().as_ref() != Some(&named.hash) {
                files::write_atomically(&path, text.as_bytes())?;
            }
        }
        files::write_atomically(&folder.join(MANIFEST), &sealed::seal(self))
    }

    /// What a folder says of its run; none where it has nothing of the kind, as those of earlier versions.
    ///
    /// # Errors
    ///
    /// A file that cannot be read, is damaged, or is of a later version.
    pub fn load(folder: &Path) -> Result<Option<Manifest>, TrainError> {
        let path = folder.join(MANIFEST);
        let failed = |problem: String| TrainError::Other(format!("{}: {problem}", path.display()));
        let text = match files::read_text(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            read => read.map_err(|error| failed(error.to_string()))?,
        };
        #[derive(Deserialize)]
        struct Format {
            format: u32,
        }
        let Format { format } = sealed::unseal(&text).map_err(|problem| {
            failed(format!(
                "{problem}; without the file, `cnnc run FILE --resume DIR` goes on with a model file"
            ))
        })?;
        if format != FORMAT {
            return Err(failed(format!("it is of format {format}; this version reads {FORMAT}")));
        }
        sealed::unseal(&text).map(Some).map_err(failed)
    }

    /// Whether the texts of the model are these.
    pub fn has_texts(&self, texts: &[(PathBuf, String)]) -> bool {
        let is_same = |(text, (path, found)): (&Text, &(PathBuf, String))| {
            text.path == *path && text.hash == files::hash_of(found.as_bytes())
        };
        self.texts.len() == texts.len() && self.texts.iter().zip(texts).all(is_same)
    }

    /// The texts of the model, by the paths where they were read.
    ///
    /// # Errors
    ///
    /// One that cannot be read, or that is another one by now.
    pub fn read_texts(&self, folder: &Path) -> Result<Vec<(PathBuf, String)>, TrainError> {
        let read = |text: &Text| {
            let path = folder.join(&text.copy);
            let failed = |problem: String| TrainError::Other(format!("{}: {problem}", path.display()));
            if !is_copy(&text.copy) {
                return Err(failed("it is no name of a text in this folder".into()));
            }
            let found = files::read_text(&path).map_err(|error| failed(error.to_string()))?;
            match files::hash_of(found.as_bytes()) == text.hash || planted!("train.manifest.texts") {
                true => Ok((text.path.clone(), found)),
                false => Err(failed(
                    "it is not the text that the run has; give a changed model as a file of its own, \
                     with --allow-changes"
                        .into(),
                )),
            }
        };
        self.texts.iter().map(read).collect()
    }

    /// What is not the same in `now`, but for texts, which only their items tell apart.
    pub fn differences(&self, now: &Manifest) -> Vec<Difference> {
        let mut found = Vec::new();
        let mut add = |key: String, then: Option<String>, now: Option<String>| {
            if then != now {
                found.push(Difference { key, then, now });
            }
        };
        add("train section".into(), Some(self.name.clone()), Some(now.name.clone()));
        if !planted!("train.manifest.settings") {
            let settings = settings_differences(&self.settings, &now.settings);
            settings.into_iter().for_each(|Difference { key, then, now }| add(key, then, now));
        }
        add("device".into(), Some(self.device.clone()), Some(now.device.clone()));
        if self.device == now.device {
            add("level".into(), Some(self.level.clone()), Some(now.level.clone()));
        }
        for class in 0..self.classes.len().max(now.classes.len()) {
            let name = |classes: &[String]| {
                classes.get(class).filter(|_| !planted!("train.manifest.classes")).cloned()
            };
            add(format!("class {class}"), name(&self.classes), name(&now.classes));
        }
        let parts: BTreeSet<&String> = self.data.keys().chain(now.data.keys()).collect();
        for part in parts.into_iter().filter(|_| !planted!("train.manifest.data")) {
            let key = format!("pictures of {part}");
            let (one, other) = (self.data.get(part), now.data.get(part));
            let is_alike = |one: &Part, other: &Part| (one.images, one.bytes) == (other.images, other.bytes);
            match (one, other) {
                (Some(one), Some(other)) if one != other && is_alike(one, other) => {
                    add(key, Some(said(one)), Some("as many and as large, but others".into()));
                }
                _ => add(key, one.map(said), other.map(said)),
            }
        }
        found
    }
}

/// Paths as text, or as their bytes where they are none.
mod any_path {
    use std::path::{Path, PathBuf};

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Serialize, Deserialize)]
    #[serde(untagged)]
    enum Shape {
        Text(String),
        Bytes(Vec<u8>),
    }

    fn shape(path: &Path) -> Shape {
        match path.to_str() {
            Some(text) => Shape::Text(text.into()),
            None => Shape::Bytes(path.as_os_str().as_encoded_bytes().to_vec()),
        }
    }

    fn path(shape: Shape) -> PathBuf {
        match shape {
            Shape::Text(text) => text.into(),
            #[cfg(unix)]
            Shape::Bytes(bytes) => {
                <std::ffi::OsString as std::os::unix::ffi::OsStringExt>::from_vec(bytes).into()
            }
            #[cfg(not(unix))]
            Shape::Bytes(bytes) => String::from_utf8_lossy(&bytes).into_owned().into(),
        }
    }

    pub fn serialize<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
        shape(path).serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PathBuf, D::Error> {
        Shape::deserialize(deserializer).map(path)
    }

    /// The same of one that may be missing.
    pub mod option {
        use super::{Deserialize, Deserializer, PathBuf, Serialize, Serializer, Shape, path, shape};

        pub fn serialize<S: Serializer>(path: &Option<PathBuf>, serializer: S) -> Result<S::Ok, S::Error> {
            path.as_deref().map(shape).serialize(serializer)
        }

        pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<PathBuf>, D::Error> {
            Ok(Option::<Shape>::deserialize(deserializer)?.map(path))
        }
    }
}

/// What differs between settings.
pub fn settings_differences(then: &Described, now: &Described) -> Vec<Difference> {
    let keys = keys(then, now).into_iter().filter(|key| then.get(*key) != now.get(*key));
    keys.map(|key| Difference { key: key.clone(), then: then.get(key).cloned(), now: now.get(key).cloned() })
        .collect()
}

/// What differs between the blocks, models and ops of two texts.
pub fn item_differences(then: &BTreeMap<String, String>, now: &BTreeMap<String, String>) -> Vec<Difference> {
    let keys = keys(then, now).into_iter().filter(|key| then.get(*key) != now.get(*key));
    keys.map(|key| match (then.contains_key(key), now.contains_key(key)) {
        (true, true) => Difference { key: format!("`{key}` has another text"), then: None, now: None },
        (true, false) => Difference { key: format!("`{key}` is gone"), then: None, now: None },
        (false, _) => Difference { key: format!("`{key}` is new"), then: None, now: None },
    })
    .collect()
}

fn keys<'a>(one: &'a BTreeMap<String, String>, other: &'a BTreeMap<String, String>) -> BTreeSet<&'a String> {
    one.keys().chain(other.keys()).collect()
}

fn said(part: &Part) -> String {
    format!("{} ({} bytes)", part.images, part.bytes)
}

/// A name in the folder of texts that no other text has.
fn free_name(path: &Path, names: &BTreeSet<String>) -> String {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let name = |count: usize| match count {
        1 => format!("{SOURCE}/{stem}.cnn"),
        count => format!("{SOURCE}/{stem}-{count}.cnn"),
    };
    (1..).map(name).find(|name| !names.contains(name)).expect("there are more numbers than names")
}

/// Whether a name is one that [`free_name`] gives, which leads to no other folder.
fn is_copy(name: &str) -> bool {
    name.strip_prefix("source/").is_some_and(|rest| {
        !rest.is_empty() && !rest.contains(['/', '\\']) && rest.ends_with(".cnn") && !rest.starts_with("..")
    })
}
