//! A folder of its own for a test, and the binary run in it.
#![allow(dead_code)] // Every test that includes this module uses a part of it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

/// A model that trains in a blink: every kind of layer that keeps something or draws numbers is in it.
pub const TINY: &str = "\
model Tiny(x: f32[N, 1, 8, 8]) -> f32[N, 10] {
  x |> conv(4, 3) as conv1 |> batchnorm as bn |> relu |> maxpool(2) |> flatten |> dropout(0.2) |> linear(10) as fc
}

data Digits { source = digits(); }

train Tiny on Digits { loss = cross_entropy;  optim = adam(1e-2);  batch = 100;  epochs = 2;  seed = 3; }
";

/// Where a test runs.
pub struct Place {
    folder: TempDir,
}

/// What a command said.
pub struct Said {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Place {
    /// An empty folder.
    pub fn new() -> Place {
        Place { folder: tempfile::tempdir().expect("a folder") }
    }

    /// A folder with a model file.
    pub fn with(name: &str, text: &str) -> Place {
        let place = Place::new();
        place.write(name, text);
        place
    }

    /// A folder with `tiny.cnn`.
    pub fn tiny() -> Place {
        Place::with("tiny.cnn", TINY)
    }

    /// A folder with `tiny.cnn` and a finished run of it in `run`.
    pub fn trained() -> Place {
        let place = Place::tiny();
        place.good(&["run", "tiny.cnn", "--out", "run", "--epochs", "1"]);
        place
    }

    /// The path of a file in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn write(&self, name: &str, contents: impl AsRef<[u8]>) {
        std::fs::write(self.path(name), contents).expect("a file");
    }

    pub fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    pub fn text(&self, name: &str) -> String {
        String::from_utf8(self.read(name)).expect("text")
    }

    /// The names of all files in it, sorted.
    pub fn names(&self) -> Vec<String> {
        names_in(self.folder.path())
    }

    /// The binary with arguments, to be started in the folder.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cnnc"));
        command.args(arguments).current_dir(self.folder.path()).stdin(Stdio::null());
        command.env("XDG_CACHE_HOME", self.path(".cache"));
        command
    }

    /// Runs the binary.
    pub fn run(&self, arguments: &[&str]) -> Said {
        Said::of(self.command(arguments).output().expect("it starts"))
    }

    /// Runs the binary, which must succeed; what it prints.
    pub fn good(&self, arguments: &[&str]) -> String {
        let said = self.run(arguments);
        assert_eq!(said.code, Some(0), "{arguments:?}: {}", said.err);
        said.out
    }

    /// Runs the binary, which must fail with this exit code, these words on standard error, and nothing else.
    pub fn bad(&self, arguments: &[&str], code: i32, message: &str) {
        let before = self.names();
        let said = self.run(arguments);
        assert_eq!(said.err.trim_end(), message.trim_end(), "{arguments:?}");
        assert_eq!((said.code, said.out.as_str()), (Some(code), ""), "{arguments:?}");
        assert_eq!(self.names(), before, "{arguments:?} left something behind");
    }
}

impl Said {
    pub fn of(output: Output) -> Said {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
        Said { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }
}

pub fn names_in(folder: &Path) -> Vec<String> {
    let entries =
        std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").file_name());
    let mut names: Vec<String> = entries.map(|name| name.into_string().expect("text")).collect();
    names.retain(|name| name != ".cache");
    names.sort();
    names
}

/// An IDX file of unsigned bytes.
pub fn idx(shape: &[u32], elements: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0, 8, shape.len() as u8];
    bytes.extend(shape.iter().flat_map(|extent| extent.to_be_bytes()));
    bytes.extend(elements);
    bytes
}
