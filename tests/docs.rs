//! The pages say what is so: every block of code in `docs/language.md` and `README.md` is compiled or run.
//!
//! `BLESS=1 cargo test --test docs -- --test-threads=1` writes down what is said now: errors, outputs of commands, the library's list.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use cnnc::base::diagnostic::Diagnostic;
use cnnc::base::source::SourceMap;
use cnnc::elab::config::Overrides;
use cnnc::elab::{Callable, ModelCall, Module, Request};
use cnnc::graph::Graph;
use cnnc::train::recipe::Recipe;

/// A fenced block of a page: what stands after the fence, and the lines between.
#[derive(Clone, Debug)]
struct Block {
    info: String,
    text: String,
    /// The first line of `text`, counted from 0.
    line: usize,
}

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn page(name: &str) -> String {
    fs::read_to_string(path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn blocks(page: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut open: Option<Block> = None;
    for (number, line) in page.lines().enumerate() {
        match (&mut open, line.strip_prefix("```")) {
            (None, Some(info)) => {
                open = Some(Block { info: info.into(), text: String::new(), line: number + 1 });
            }
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (Some(block), None) => block.text += &format!("{line}\n"),
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "a fence is not closed");
    blocks
}

/// The page with other texts in some of its blocks, the last first.
fn with_texts(page: &str, mut changes: Vec<(Block, String)>) -> String {
    changes.sort_by_key(|(block, _)| std::cmp::Reverse(block.line));
    let mut lines: Vec<&str> = page.lines().collect();
    for (block, text) in &changes {
        lines.splice(block.line..block.line + block.text.lines().count(), text.lines());
    }
    lines.join("\n") + "\n"
}

/// Compares a page with what it should be, or writes it.
fn check_page(name: &str, expected: &str) {
    if std::env::var_os("BLESS").is_some() {
        fs::write(path(name), expected).expect("the page is written");
    }
    let found = page(name);
    let difference = found.lines().zip(expected.lines()).position(|(a, b)| a != b);
    if let Some(at) = difference {
        let line = |text: &str| text.lines().nth(at).unwrap_or("").to_owned();
        panic!("{name}:{}: the page says\n{}\nbut it is\n{}", at + 1, line(&found), line(expected));
    }
    assert_eq!(found, expected, "{name}");
}

fn rendered(sources: &SourceMap, errors: &[Diagnostic]) -> String {
    let texts: Vec<String> = errors.iter().map(|error| error.render(sources, false)).collect();
    let lines = texts.join("\n\n");
    lines.lines().map(str::trim_end).collect::<Vec<_>>().join("\n") + "\n"
}

/// Elaborates all that a file holds: the sections, the training steps with their gradients, and the other models.
fn graphs(sources: &mut SourceMap, text: &str) -> Result<Vec<Graph>, Vec<Diagnostic>> {
    let module = Module::from_text(sources, "model.cnn", text)?;
    let mut graphs = Vec::new();
    let none = Overrides::default();
    for data in module.data_sections() {
        module.data_spec(data, &none)?;
    }
    let trains = module.train_sections();
    for train in &trains {
        let spec = module.train_spec(train, &none)?;
        let recipe = Recipe::of(&module, &spec);
        graphs.push(recipe.step(4, &spec.phases[0])?);
        graphs.push(recipe.inference(4)?);
    }
    for model in module.models() {
        if !trains.iter().any(|train| train.model.text == model.name.text) {
            let request = Request { training: true, ..Request::inference(4) };
            graphs.push(module.graph(&ModelCall::new(model), &request)?);
        }
    }
    Ok(graphs)
}

#[test]
fn the_reference_compiles() {
    let text = page("docs/language.md");
    let mut compiled = 0;
    for block in blocks(&text) {
        let file = match block.info.as_str() {
            "cnn" => block.text.clone(),
            "cnn,fragment" => format!("model Fragment(x: f32[N, 3, 32, 32]) {{\n{}}}\n", block.text),
            "cnn,error" | "text" | "sh" => continue,
            other => panic!("docs/language.md:{}: a block of `{other}`", block.line),
        };
        let mut sources = SourceMap::default();
        match graphs(&mut sources, &file) {
            Ok(graphs) => compiled += usize::from(!graphs.is_empty()),
            Err(errors) => panic!("docs/language.md:{}:\n{}", block.line, rendered(&sources, &errors)),
        }
    }
    assert!(compiled >= 10, "only {compiled} blocks have a model");
}

#[test]
fn the_reference_shows_the_errors_that_are_reported() {
    let text = page("docs/language.md");
    let blocks = blocks(&text);
    let mut changes = Vec::new();
    for pair in blocks.windows(2).filter(|pair| pair[0].info == "cnn,error") {
        assert_eq!(pair[1].info, "text", "docs/language.md:{}: the error follows", pair[0].line);
        let mut sources = SourceMap::default();
        let errors = graphs(&mut sources, &pair[0].text).err();
        let errors = errors.unwrap_or_else(|| panic!("docs/language.md:{}: no error", pair[0].line));
        changes.push((pair[1].clone(), rendered(&sources, &errors)));
    }
    assert!(changes.len() >= 5);
    check_page("docs/language.md", &with_texts(&text, changes));
}

/// `name(parameters)` as it is declared, on one line.
fn signature(sources: &SourceMap, callable: Callable<'_>) -> String {
    let params = callable.params().iter().map(|param| {
        let mut shown = format!("{}: {}", param.name.text, sources.slice(param.ty.span));
        if let Some(default) = &param.default {
            shown += &format!(" = {}", sources.slice(default.span));
        }
        shown
    });
    format!("{}({})", callable.name().text, params.collect::<Vec<_>>().join(", "))
}

/// The library's items of one file: signature and comment, a line each. Those without a comment, or whose first
/// parameter is no tensor but the name to use in messages, are parts of others.
fn library_list(file: &str) -> String {
    let mut sources = SourceMap::default();
    let module = Module::from_text(&mut sources, "model.cnn", "").expect("the library");
    let documented = module.documented().into_iter().filter(|(callable, doc)| {
        let is_part = callable.params().first().is_some_and(|param| param.name.text == "name");
        !doc.is_empty() && !is_part && sources.file(callable.span().file).name == format!("std/{file}.cnn")
    });
    let line = |(callable, doc): (Callable<'_>, &str)| {
        let text = doc.lines().filter(|line| !line.starts_with("Example:")).collect::<Vec<_>>().join(" ");
        format!("- `{}`: {text}\n", signature(&sources, callable))
    };
    documented.map(line).collect()
}

#[test]
fn the_reference_lists_the_library() {
    let mut text = page("docs/language.md");
    for file in ["layers", "losses", "optimisers", "ops"] {
        let (open, close) = (format!("<!-- std/{file} -->\n"), format!("<!-- end of std/{file} -->"));
        let (before, rest) = text.split_once(&open).expect("the list begins");
        let (_, after) = rest.split_once(&close).expect("the list ends");
        text = format!("{before}{open}{}{close}{after}", library_list(file));
    }
    check_page("docs/language.md", &text);
}

/// What is said about a file with a setting.
fn said(before: &str, setting: &str) -> String {
    let mut sources = SourceMap::default();
    let errors = graphs(&mut sources, &format!("{before} {setting} }}")).err().unwrap_or_default();
    rendered(&sources, &errors)
}

#[test]
fn the_reference_lists_the_keys() {
    let text = page("docs/language.md");
    let model = "model M(x: f32[N, 1, 8, 8]) -> f32[N, 10] { x |> flatten |> linear(10) }";
    let data = "data D { source = digits();";
    let train = format!("{model} {data} }} train M on D {{ loss = cross_entropy; optim = sgd(0.1);");
    for (title, before) in [("## Data sections", data), ("## Train sections", &train)] {
        let section = text.split_once(title).expect("the section").1.split("\n## ").next().expect("its text");
        let known = said(before, "nonsense = 1;");
        let keys = known.split_once("the keys are ").expect("a note").1.lines().next().expect("the keys");
        for key in keys.split(", ") {
            assert!(section.contains(&format!("\n| `{key}` |")), "{title}: no row for `{key}`");
        }
        let later = section.split_once("not supported yet: the key").map_or("", |(_, later)| later);
        for key in later.split('`').nth(1).unwrap_or_default().split_whitespace() {
            let found = said(before, &format!("{key} = 1;"));
            assert!(found.contains("not supported yet"), "{title}: `{key}`: {found}");
        }
    }
}

/// What a block of `console` says a command prints: all of it, or its first lines and `[...]`.
fn console(folder: &std::path::Path, block: &Block) -> String {
    let command = block.text.lines().next().and_then(|line| line.strip_prefix("$ cnnc "));
    let command = command.unwrap_or_else(|| panic!("README.md:{}: begins with a command", block.line));
    let output = Command::new(env!("CARGO_BIN_EXE_cnnc"))
        .args(command.split_whitespace())
        .current_dir(folder)
        .output()
        .expect("cnnc runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cnnc {command}: {errors}");
    let text = String::from_utf8(output.stdout).expect("text");
    let lines: Vec<&str> = text.trim_end().lines().map(str::trim_end).collect();
    let most =
        block.info.strip_prefix("console lines=").map_or(lines.len(), |most| most.parse().expect("lines"));
    let rest = if lines.len() > most { "\n[...]" } else { "" };
    format!("$ cnnc {command}\n{}{rest}\n", lines[..most.min(lines.len())].join("\n"))
}

#[test]
#[cfg(target_arch = "x86_64")] // Machine code is shown.
fn the_readme_shows_what_the_commands_print() {
    let text = page("README.md");
    let folder = tempfile::tempdir().expect("a folder");
    let mut changes = Vec::new();
    for block in blocks(&text) {
        if let Some(file) = block.info.strip_prefix("cnn file=") {
            fs::write(folder.path().join(file), &block.text).expect("the model");
        } else if block.info.starts_with("console") {
            changes.push((block.clone(), console(folder.path(), &block)));
        }
    }
    assert!(changes.len() >= 4);
    check_page("README.md", &with_texts(&text, changes));
}

#[test]
fn the_commands_of_the_readme_are_those_of_the_program() {
    let output = Command::new(env!("CARGO_BIN_EXE_cnnc")).arg("--help").output().expect("cnnc runs");
    let help = String::from_utf8(output.stdout).expect("text");
    let commands = help.split_once("Commands:\n").expect("commands").1.split_once("\n\n").expect("an end").0;
    let text = page("README.md");
    for line in commands.lines() {
        let name = line.split_whitespace().next().expect("a name");
        let row = format!("| `cnnc {name}");
        assert!(name == "help" || text.contains(&row), "README.md has no row `{row}`");
    }
    for row in text.lines().filter_map(|line| line.strip_prefix("| `cnnc ")) {
        let name = row.split([' ', '`']).next().expect("a name");
        let known = commands.lines().any(|line| line.split_whitespace().next() == Some(name));
        assert!(known, "README.md has a row for `cnnc {name}`, which is no command");
    }
}
