//! What a disk may hold after a loss of power: the log of all changes (`cnnc::base::files::disk`) up to some moment, of
//! which everything is there that was synced, and any part of the rest.
//!
//! Bytes of a file are safe at its `sync`, names in a folder at its `sync_folder`; each other change may be there or not,
//! whatever came before or after it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// A file or folder, wherever it is called what.
type Node = usize;

#[derive(Clone, Debug)]
enum Naming {
    Add(String, Node),
    Remove(String),
    Rename(String, String, Node),
}

#[derive(Clone, Debug)]
enum Writing {
    Append(u64, Vec<u8>),
    Cut(u64),
    /// Something that is synced before anybody could see it.
    Unknown,
}

#[derive(Clone, Debug)]
enum Kind {
    Folder { safe: BTreeMap<String, Node>, now: BTreeMap<String, Node>, pending: Vec<Naming> },
    File { safe: Vec<u8>, len: u64, pending: Vec<Writing> },
}

/// All nodes; the first one is the folder in which the run took place.
pub struct Disk {
    root: PathBuf,
    nodes: Vec<Kind>,
}

fn folder() -> Kind {
    Kind::Folder { safe: BTreeMap::new(), now: BTreeMap::new(), pending: Vec::new() }
}

/// What a disk may hold after these changes, by the number of a choice among all that may be.
pub fn after(root: &Path, changes: &[Value], choice: u64) -> Disk {
    let mut disk = Disk { root: root.to_owned(), nodes: vec![folder()] };
    changes.iter().for_each(|change| disk.apply(change));
    let mut random = choice.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ changes.len() as u64;
    for node in &mut disk.nodes {
        lose(node, &mut || {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            match choice {
                // Nothing is lost, or all that can be.
                0 => true,
                1 => false,
                _ => random >> 40 & 1 == 1,
            }
        });
    }
    disk
}

/// The steps of the last checkpoint that was whole on the disk.
pub fn last_checkpoint(changes: &[Value]) -> Option<u64> {
    let (mut progress, mut whole) = (None, None);
    for change in changes {
        let name = change["path"].as_str().expect("a path");
        match change["change"].as_str().expect("a change") {
            "sync" if name.contains(".progress.json.") => {
                let text: Vec<u8> = serde_json::from_value(change["bytes"].clone()).expect("bytes");
                let value: Value = serde_json::from_slice(&text).expect("JSON");
                progress = value["position"]["steps"].as_u64();
            }
            // The last change of those that write it.
            "rename" if change["to"].as_str().is_some_and(|to| to.ends_with("/progress.json")) => {}
            "sync_folder" if name.ends_with("/checkpoint") && progress.is_some() => whole = progress,
            _ => {}
        }
    }
    // A change is logged before it is made: the last one does not count.
    match changes.split_last() {
        Some((last, before)) if last["change"] == "sync_folder" => last_checkpoint(before),
        _ => whole,
    }
}

impl Disk {
    /// The folder around a path and its name in it.
    fn place(&self, path: &str) -> (Node, String) {
        let path = Path::new(path);
        // What the run was told is relative to where it took place.
        let relative = path.strip_prefix(&self.root).unwrap_or(path);
        let mut node = 0;
        let parts: Vec<String> = relative
            .components()
            .filter(|part| !matches!(part, std::path::Component::CurDir))
            .map(|part| part.as_os_str().to_string_lossy().into_owned())
            .collect();
        let (name, around) =
            parts.split_last().map_or((String::new(), &[][..]), |(name, around)| (name.clone(), around));
        for part in around {
            let Kind::Folder { now, .. } = &self.nodes[node] else { panic!("{part} lies in no folder") };
            node = now[part];
        }
        (node, name)
    }

    fn node(&self, path: &str) -> Node {
        let (around, name) = self.place(path);
        let Kind::Folder { now, .. } = &self.nodes[around] else { panic!("{path} lies in no folder") };
        if name.is_empty() { 0 } else { now[&name] }
    }

    fn apply(&mut self, change: &Value) {
        let path = change["path"].as_str().expect("a path");
        match change["change"].as_str().expect("a change") {
            "make_folder" => self.add(path, folder()),
            "create" => self.add(path, Kind::File { safe: Vec::new(), len: 0, pending: Vec::new() }),
            "put" => self.write(path, Writing::Unknown),
            "append" => {
                let bytes: Vec<u8> = serde_json::from_value(change["bytes"].clone()).expect("bytes");
                let Kind::File { len, .. } = &self.nodes[self.node(path)] else {
                    panic!("{path} is no file")
                };
                self.write(path, Writing::Append(*len, bytes));
            }
            "cut" => self.write(path, Writing::Cut(change["len"].as_u64().expect("a length"))),
            "sync" => {
                let bytes: Vec<u8> = serde_json::from_value(change["bytes"].clone()).expect("bytes");
                let node = self.node(path);
                self.nodes[node] = Kind::File { len: bytes.len() as u64, safe: bytes, pending: Vec::new() };
            }
            "sync_folder" => {
                let node = self.node(path);
                let Kind::Folder { safe, now, pending } = &mut self.nodes[node] else { panic!("no folder") };
                safe.clone_from(now);
                pending.clear();
            }
            "rename" => {
                let (around, from) = self.place(path);
                let (other, to) = self.place(change["to"].as_str().expect("a path"));
                assert_eq!(around, other, "a name that moves to another folder");
                let Kind::Folder { now, pending, .. } = &mut self.nodes[around] else { panic!("no folder") };
                let node = now.remove(&from).unwrap_or_else(|| panic!("there is no {path}"));
                now.insert(to.clone(), node);
                pending.push(Naming::Rename(from, to, node));
            }
            "remove" => {
                let (around, name) = self.place(path);
                let Kind::Folder { now, pending, .. } = &mut self.nodes[around] else { panic!("no folder") };
                // One that is not there is no change.
                if now.remove(&name).is_some() {
                    pending.push(Naming::Remove(name));
                }
            }
            other => panic!("{other} is no change of a run that ends well"),
        }
    }

    fn add(&mut self, path: &str, kind: Kind) {
        let (around, name) = self.place(path);
        self.nodes.push(kind);
        let node = self.nodes.len() - 1;
        let Kind::Folder { now, pending, .. } = &mut self.nodes[around] else { panic!("no folder") };
        now.insert(name.clone(), node);
        pending.push(Naming::Add(name, node));
    }

    fn write(&mut self, path: &str, writing: Writing) {
        let node = self.node(path);
        let Kind::File { len, pending, .. } = &mut self.nodes[node] else { panic!("{path} is no file") };
        match &writing {
            Writing::Append(_, bytes) => *len += bytes.len() as u64,
            Writing::Cut(to) => *len = *to,
            Writing::Unknown => {}
        }
        pending.push(writing);
    }

    /// Writes what is kept under a name, as far as there is something.
    pub fn write_to(&self, name: &str, to: &Path) {
        let Kind::Folder { safe, .. } = &self.nodes[0] else { panic!("the root is a folder") };
        if let Some(node) = safe.get(name) {
            self.copy(*node, to);
        }
    }

    fn copy(&self, node: Node, to: &Path) {
        match &self.nodes[node] {
            Kind::File { safe, .. } => std::fs::write(to, safe).expect("a file"),
            Kind::Folder { safe, .. } => {
                std::fs::create_dir(to).expect("a folder");
                safe.iter().for_each(|(name, node)| self.copy(*node, &to.join(name)));
            }
        }
    }
}

/// Makes safe what is kept of the pending changes.
fn lose(node: &mut Kind, keeps: &mut dyn FnMut() -> bool) {
    match node {
        Kind::Folder { safe, pending, .. } => {
            for naming in pending.drain(..).filter(|_| keeps()) {
                match naming {
                    Naming::Add(name, node) => _ = safe.insert(name, node),
                    Naming::Remove(name) => _ = safe.remove(&name),
                    Naming::Rename(from, to, node) => {
                        safe.remove(&from);
                        safe.insert(to, node);
                    }
                }
            }
        }
        Kind::File { safe, pending, .. } => {
            for writing in pending.drain(..).filter(|_| keeps()) {
                match writing {
                    Writing::Append(at, bytes) => {
                        let end = at as usize + bytes.len();
                        safe.resize(safe.len().max(end), 0);
                        safe[at as usize..end].copy_from_slice(&bytes);
                    }
                    Writing::Cut(len) => safe.resize(len as usize, 0),
                    Writing::Unknown => safe.resize(100, 0),
                }
            }
        }
    }
}
