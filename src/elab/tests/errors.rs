//! The exact texts of errors. Each case is a model file and what is said about it, in `errors/*.txt`;
//! `UPDATE_ERRORS=1 cargo test` writes down what is said now.

use super::*;
use crate::elab::config::{Metrics, Overrides};

/// What is said about a file: its errors, or those of the graphs and sections.
fn said(text: &str) -> String {
    let mut sources = SourceMap::default();
    let errors = errors_of(&mut sources, text);
    if errors.is_empty() { "nothing".into() } else { rendered(&sources, &errors) }
}

pub(super) fn errors_of(sources: &mut SourceMap, text: &str) -> Vec<Diagnostic> {
    let module = match Module::from_text(sources, "model.cnn", text) {
        Ok(module) => module,
        Err(errors) => return errors,
    };
    let mut errors = Vec::new();
    for data in module.data_sections() {
        errors.extend(module.data_spec(data, &Overrides::default()).err().unwrap_or_default());
    }
    let mut graphs = Vec::new();
    for train in module.train_sections() {
        match module.train_spec(train, &Overrides::default()) {
            Ok(spec) => graphs.push((spec.model, Some(spec.loss), spec.init, spec.metrics)),
            Err(found) => errors.extend(found),
        }
    }
    if module.train_sections().is_empty() {
        let model = module.models().last().copied();
        graphs.extend(model.map(|model| (ModelCall::new(model), None, Vec::new(), Metrics::default())));
    }
    for (call, loss, init, metrics) in &graphs {
        let request = Request {
            batch: 2,
            training: true,
            loss: loss.as_ref(),
            sample: None,
            init,
            freeze: None,
            mixed: false,
            metrics: *metrics,
        };
        match module.graph(call, &request) {
            Ok(graph) => assert_eq!(crate::graph::verifier::verify(&graph), Ok(())),
            Err(found) => errors.extend(found),
        }
    }
    errors
}

/// What is said about items that nothing calls.
fn said_of_items(text: &str) -> String {
    let mut sources = SourceMap::default();
    let errors = match Module::from_text(&mut sources, "model.cnn", text) {
        Ok(module) => module.audit(),
        Err(errors) => errors,
    };
    if errors.is_empty() { "nothing".into() } else { rendered(&sources, &errors) }
}

/// Compares every case of a file with what is said.
fn check(file: &str) {
    check_with(file, &said);
}

fn check_with(file: &str, said: &dyn Fn(&str) -> String) {
    let path = format!("{}/src/elab/tests/errors/{file}.txt", env!("CARGO_MANIFEST_DIR"));
    let cases = std::fs::read_to_string(&path).expect("the cases");
    let mut now = String::new();
    for case in cases.split("=== ").skip(1) {
        let (name, rest) = case.split_once('\n').expect("a name");
        let text = rest.split_once("---\n").map_or(rest, |(text, _)| text);
        let lines: Vec<String> = said(text).lines().map(|line| line.trim_end().to_owned()).collect();
        now.push_str(&format!("=== {name}\n{text}---\n{}\n\n", lines.join("\n")));
    }
    if std::env::var_os("UPDATE_ERRORS").is_some() {
        std::fs::write(&path, &now).expect("the cases are written");
    }
    for (expected, found) in cases.split("=== ").zip(now.split("=== ")) {
        assert_eq!(expected.trim_end(), found.trim_end(), "in {file}.txt");
    }
}

#[test]
fn calls() {
    check("calls");
}

#[test]
fn shapes() {
    check("shapes");
}

#[test]
fn blocks() {
    check("blocks");
}

#[test]
fn equations() {
    check("equations");
}

#[test]
fn sections() {
    check("sections");
}

#[test]
fn sizes() {
    check("sizes");
}

#[test]
fn uncalled() {
    check_with("uncalled", &said_of_items);
}

/// The library as a file of the user, and files of all that the language has, are found good.
#[test]
fn uncalled_items_that_are_right() {
    let library: String = Library::embedded().files.into_iter().map(|(_, text)| text).collect();
    for text in [library.as_str(), super::mutations::NETWORK] {
        assert_eq!(said_of_items(text), "nothing");
    }
}

/// Names of PyTorch and Keras. Today most of these have no help, or the wrong one: `Conv2d` was said to be the op `conv2d`.
#[test]
fn foreign() {
    check("foreign");
}

/// What is forgotten, hidden or in the wrong place.
#[test]
fn forgotten() {
    check("forgotten");
}

#[test]
fn data() {
    check("data");
}
