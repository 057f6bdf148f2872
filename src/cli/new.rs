//! `cnnc new`: the examples that the binary carries, as model files to start from.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use crate::base::nearest::nearest;
use crate::base::source::SourceMap;
use crate::elab::Module;
use crate::elab::config::{Overrides, Source};
use crate::report::output;
use crate::report::table::{Align, Table};

use super::arguments::NewArguments;
use super::{Failure, Outcome, print};

/// An example: its name and its text, which begins with a comment that says what it is.
struct Example {
    name: &'static str,
    text: &'static str,
}

macro_rules! example {
    ($name:literal) => {
        Example { name: $name, text: include_str!(concat!("../../examples/", $name, ".cnn")) }
    };
}

const EXAMPLES: &[Example] = &[
    example!("digits"),
    example!("lenet"),
    example!("convnet_gap"),
    example!("convnet_gmp"),
    example!("mnist_cnn"),
    example!("mnist_cnn_all"),
];

impl Example {
    /// What it is, from the comment at its beginning.
    fn description(&self) -> &'static str {
        self.text.lines().next().unwrap_or("").trim_start_matches(['/', ' '])
    }
}

/// Writes an example, or lists all.
pub fn run(arguments: &NewArguments) -> Outcome {
    let Some(name) = &arguments.name else { return print(&list()) };
    let name = name.strip_suffix(".cnn").unwrap_or(name);
    let Some(example) = EXAMPLES.iter().find(|example| example.name == name) else {
        return Err(Failure::Usage(unknown(name)));
    };
    let path = arguments.file.clone().unwrap_or_else(|| PathBuf::from(format!("{name}.cnn")));
    create(&path, example.text)?;
    let file = path.display();
    let needs = data_folders(&path, example.text);
    let needs = needs.iter().map(|folder| {
        format!(
            "its data is looked for in {}: the four files of MNIST, as they are or with .gz;\n\
             \x20 where they lie elsewhere, add --data DIR\n",
            folder.display()
        )
    });
    let needs: String = needs.collect();
    print(&format!("wrote {file}; train it with: cnnc run {file}\n{needs}"))
}

fn list() -> String {
    let mut table =
        Table::new(&[("example", Align::Left), ("what it is", Align::Left)]).within(output::width());
    for example in EXAMPLES {
        table.row(vec![example.name.into(), example.description().into()]);
    }
    format!("{table}\n`cnnc new NAME` writes one to NAME.cnn\n")
}

fn unknown(name: &str) -> String {
    let names = || EXAMPLES.iter().map(|example| example.name);
    let near = nearest(name, names()).map_or(String::new(), |near| format!("; did you mean `{near}`?"));
    let known = names().collect::<Vec<_>>().join(", ");
    format!("no example `{name}`; there are {known}{near}")
}

/// Writes a file that must not exist.
fn create(path: &Path, text: &str) -> Outcome {
    let written = OpenOptions::new().write(true).create_new(true).open(path);
    written.and_then(|mut file| file.write_all(text.as_bytes())).map_err(|error| {
        Failure::Run(match error.kind() {
            ErrorKind::AlreadyExists => format!("{} already exists; nothing was written", path.display()),
            _ => format!("cannot write {}: {error}", path.display()),
        })
    })
}

/// The folders and files that the data sections of a model file name.
fn data_folders(path: &Path, text: &str) -> Vec<PathBuf> {
    let name = path.display().to_string();
    let Ok(module) = Module::from_text(&mut SourceMap::default(), &name, text) else { return Vec::new() };
    let sections = module.data_sections().into_iter();
    let specs = sections.filter_map(|section| module.data_spec(section, &Overrides::default()).ok());
    specs
        .filter_map(|spec| match spec.source {
            Source::Idx(path)
            | Source::Cifar10(path)
            | Source::Cifar100(path)
            | Source::Folder(path)
            | Source::Npz(path) => Some(path),
            Source::Digits | Source::Synthetic { .. } => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_of_the_examples_is_carried() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
        let mut files: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.ends_with(".cnn"))
            .collect();
        files.sort();
        let mut carried: Vec<String> =
            EXAMPLES.iter().map(|example| format!("{}.cnn", example.name)).collect();
        carried.sort();
        assert_eq!(files, carried);
    }

    #[test]
    fn every_example_says_what_it_is() {
        for example in EXAMPLES {
            assert!(example.text.starts_with("// ") && example.description().len() > 20, "{}", example.name);
        }
    }
}
