//! `cnnc fmt`: canonical text.

use std::path::Path;

use crate::base::files::{self, write_atomically};
use crate::base::source::SourceMap;
use crate::syntax;

use super::arguments::FormatArguments;
use super::{Failure, Outcome, print, print_exactly, say, show};

/// Formats every file, also those after one that has errors.
pub fn run(arguments: &FormatArguments) -> Outcome {
    let mut is_well = true;
    for path in &arguments.files {
        match format(path, arguments.check) {
            Ok(as_asked) => is_well &= as_asked,
            Err(Failure::Source(sources, errors)) => {
                show(&sources, &errors);
                is_well = false;
            }
            Err(Failure::Run(message)) => {
                say(&format!("error: {message}"));
                is_well = false;
            }
            Err(other) => return Err(other),
        }
    }
    if is_well { Ok(()) } else { Err(Failure::Said) }
}

/// Formats one file. Says whether it is as it was asked to be: with `check`, whether it is in the canonical form.
fn format(path: &Path, check: bool) -> Result<bool, Failure> {
    let is_stdin = path.as_os_str() == "-";
    let name = if is_stdin { "standard input".into() } else { path.display().to_string() };
    let text = read(path, is_stdin).map_err(|error| Failure::Run(format!("cannot read {name}: {error}")))?;
    let mut sources = SourceMap::default();
    let file = sources.add(name.as_str(), text.as_str());
    let canonical = match syntax::format(file, &text) {
        Ok(canonical) => canonical,
        Err(errors) => return Err(Failure::Source(sources, errors)),
    };
    if check {
        if canonical != text {
            print(&format!("{name}\n"))?;
        }
        return Ok(canonical == text);
    }
    if is_stdin {
        print_exactly(&canonical)?;
    } else if canonical != text {
        write_atomically(path, canonical.as_bytes())
            .map_err(|error| Failure::Run(format!("cannot write {name}: {error}")))?;
    }
    Ok(true)
}

fn read(path: &Path, is_stdin: bool) -> std::io::Result<String> {
    if !is_stdin {
        return files::read_text(path);
    }
    files::text(std::io::stdin().lock())
}
