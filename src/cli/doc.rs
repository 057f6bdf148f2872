//! `cnnc doc`: what the library says of its layers, ops, losses and optimisers.
//!
//! Everything comes from `src/std`: the signature, the comment above it, its text, and the equations of the ops that
//! it calls. An example is the comment's line `Example: ...`, or else one that its signature allows.

use crate::base::nearest::nearest;
use crate::base::source::SourceMap;
use crate::base::span::Span;
use crate::elab::{Callable, Module, foreign, functions, joins, show_declared, show_expr};
use crate::report::output;
use crate::report::table::{Align, Table};
use crate::syntax::ast::{Name, Param, TypeExpr, TypeKind};
use crate::syntax::token::lex;

use super::arguments::DocArguments;
use super::{Failure, Outcome, print};

/// The line of a comment that shows a use.
const EXAMPLE: &str = "Example:";

/// Signatures are broken at this width.
const LINE_WIDTH: usize = 100;

/// The library with its texts.
struct Library {
    sources: SourceMap,
    module: Module,
}

/// Prints one entry, or the list of all.
pub fn run(arguments: &DocArguments) -> Outcome {
    let library = Library::load()?;
    match &arguments.name {
        None => print(&library.list()),
        Some(name) => print(&library.explain(name)?),
    }
}

impl Library {
    fn load() -> Result<Library, Failure> {
        let mut sources = SourceMap::default();
        match Module::from_text(&mut sources, "doc", "") {
            Ok(module) => Ok(Library { sources, module }),
            Err(errors) => Err(Failure::Source(sources, errors)),
        }
    }

    /// The file that an entry stands in, such as `layers`.
    fn chapter(&self, span: Span) -> &str {
        let name = &self.sources.file(span.file).name;
        name.rsplit('/').next().unwrap_or(name).trim_end_matches(".cnn")
    }

    /// All entries by file, each with the first sentence of its comment.
    fn list(&self) -> String {
        let entries = self.module.documented();
        let mut chapters: Vec<&str> = entries.iter().map(|(entry, _)| self.chapter(entry.span())).collect();
        chapters.dedup();
        // What people write in models comes first.
        chapters.sort_by_key(|chapter| *chapter == "ops");
        let mut text = String::new();
        for chapter in chapters {
            let mut table = Table::new(&[(chapter, Align::Left), ("", Align::Left)]).within(output::width());
            let own = entries
                .iter()
                .filter(|(entry, _)| self.chapter(entry.span()) == chapter && !is_internal(*entry));
            for (entry, doc) in own {
                table.row(vec![entry.name().text.clone(), first_sentence(doc)]);
            }
            text += &format!("{table}\n");
        }
        let mut table = Table::new(&[("joins", Align::Left), ("", Align::Left)]).within(output::width());
        for join in &joins::JOINS {
            table.row(vec![join.name.into(), join.doc.into()]);
        }
        text += &format!("{table}\n");
        let mut table =
            Table::new(&[("compile-time functions", Align::Left), ("", Align::Left)]).within(output::width());
        for function in functions::FUNCTIONS {
            table.row(vec![function.name.into(), function.doc.into()]);
        }
        text + &format!("{table}\n`cnnc doc NAME` explains one\n")
    }

    fn explain(&self, name: &str) -> Result<String, Failure> {
        let entries = self.module.documented();
        if let Some((entry, doc)) = entries.iter().find(|(entry, _)| entry.name().text == name) {
            return Ok(self.entry(*entry, doc));
        }
        if let Some(join) = joins::JOINS.iter().find(|join| join.name == name) {
            return Ok(format!("{}\n\nBuilt in: {}.\n", join.signature, join.doc));
        }
        if let Some(function) = functions::find(name) {
            let parameters = function.parameters.iter().map(|parameter| match parameter.default {
                Some(value) => format!("{} = {value}", parameter.name),
                None => parameter.name.to_owned(),
            });
            let parameters: Vec<String> = parameters.collect();
            return Ok(format!("{name}({})\n\nCompile-time: {}.\n", parameters.join(", "), function.doc));
        }
        let functions = functions::FUNCTIONS.iter().map(|function| function.name);
        let known = entries.iter().map(|(entry, _)| entry.name().text.as_str()).chain(functions);
        let known = known.chain(joins::JOINS.iter().map(|join| join.name));
        let near = nearest(name, known).map_or(String::new(), |near| format!("; did you mean `{near}`?"));
        let here = [foreign::CALLS, foreign::LOSSES].into_iter().find_map(|table| foreign::find(table, name));
        let near = here.map_or(near, |here| format!("; {}", foreign::pointer(here)));
        Err(Failure::Usage(format!("the library has no `{name}`{near}\n`cnnc doc` lists all that it has")))
    }

    fn entry(&self, entry: Callable<'_>, doc: &str) -> String {
        let chapter = self.chapter(entry.span());
        let about: Vec<&str> = doc.lines().filter(|line| !line.starts_with(EXAMPLE)).collect();
        let mut text = format!("{} ({chapter})\n\n{}\n", entry.name().text, signature(entry));
        if !about.is_empty() {
            text += &format!("\n{}\n", about.join("\n"));
        }
        text += &format!("\nExample:\n\n  {}\n", example(entry, doc, chapter));
        text += &format!("\nDefinition:\n\n{}\n", indent(self.sources.slice(entry.span())));
        for op in self.ops_below(entry) {
            text += &format!("\n{}\n", indent(self.sources.slice(op.span())));
        }
        text
    }

    /// The ops that a block calls, in the order of its text, and those that they call.
    fn ops_below(&self, entry: Callable<'_>) -> Vec<Callable<'_>> {
        let mut below: Vec<Callable<'_>> = Vec::new();
        let mut spans = vec![entry.span()];
        while let Some(span) = spans.pop() {
            for op in self.ops_in(span) {
                let is_new = below.iter().all(|known| known.span() != op.span());
                if is_new && op.span() != entry.span() {
                    below.push(op);
                    spans.push(op.span());
                }
            }
        }
        below
    }

    /// The ops whose names stand in a text before a parenthesis.
    fn ops_in(&self, span: Span) -> Vec<Callable<'_>> {
        let text = self.sources.slice(span);
        let (tokens, _) = lex(span.file, text);
        let words: Vec<&str> = tokens.tokens.iter().map(|token| token.text(text)).collect();
        let called = words.windows(2).filter(|pair| pair[1] == "(").map(|pair| pair[0]);
        let found = called.filter_map(|name| self.module.find(name, true));
        // Ops on single numbers have the names of the functions that their equations use.
        found.filter(|found| matches!(found, Callable::Op(_)) && !text.starts_with("op")).collect()
    }
}

/// Whether an entry serves others of the library: it computes nothing from a tensor.
fn is_internal(entry: Callable<'_>) -> bool {
    !entry.params().first().is_some_and(is_tensor)
}

fn is_tensor(param: &Param) -> bool {
    match &param.ty.kind {
        TypeKind::Tensor { .. } => true,
        TypeKind::Named(name) => name == "any",
    }
}

/// `conv(x: f32[N, C, H, W], out: int, k: any, stride: any = 1)`, broken between parameters where it is long.
fn signature(entry: Callable<'_>) -> String {
    let parameter = |param: &Param| {
        let default =
            param.default.as_ref().map_or(String::new(), |value| format!(" = {}", show_expr(value)));
        format!("{}: {}{default}", param.name.text, show_declared(&param.ty))
    };
    let parameters: Vec<String> = entry.params().iter().map(parameter).collect();
    let all = format!("{}){}", parameters.join(",\n"), results(entry));
    fill(&format!("  {}(", entry.name().text), &all.lines().collect::<Vec<_>>())
}

fn results(entry: Callable<'_>) -> String {
    match entry {
        Callable::Fn(item) => {
            item.result.as_ref().map_or(String::new(), |ty| format!(" -> {}", show_declared(ty)))
        }
        Callable::Op(item) => {
            let result = |(name, ty): &(Name, TypeExpr)| format!("{}: {}", name.text, show_declared(ty));
            let results: Vec<String> = item.results.iter().map(result).collect();
            match results.as_slice() {
                [one] => format!(" -> {one}"),
                several => format!(" -> ({})", several.join(", ")),
            }
        }
    }
}

/// Words after a start, in lines that are no longer than they must be.
fn fill(start: &str, words: &[&str]) -> String {
    let (mut lines, mut line) = (Vec::new(), start.to_owned());
    for (at, word) in words.iter().enumerate() {
        if at > 0 && line.chars().count() + word.chars().count() >= LINE_WIDTH {
            lines.push(std::mem::replace(&mut line, " ".repeat(start.chars().count())));
        } else if at > 0 {
            line.push(' ');
        }
        line.push_str(word);
    }
    lines.push(line);
    lines.join("\n")
}

/// The example of the comment, or one with every argument that has no default.
fn example(entry: Callable<'_>, doc: &str, chapter: &str) -> String {
    if let Some(example) = doc.lines().find_map(|line| line.strip_prefix(EXAMPLE)) {
        return example.trim().to_owned();
    }
    let name = &entry.name().text;
    match chapter {
        "losses" => format!("loss = {name};"),
        "optimisers" => format!("optim = {name}(1e-3);"),
        _ => call(entry),
    }
}

/// A call in which each parameter stands for its argument; a single tensor comes through a pipe.
fn call(entry: Callable<'_>) -> String {
    let name = &entry.name().text;
    let needed: Vec<&Param> = entry.params().iter().filter(|param| param.default.is_none()).collect();
    let names = |params: &[&Param]| -> String {
        params.iter().map(|param| param.name.text.as_str()).collect::<Vec<_>>().join(", ")
    };
    match needed.as_slice() {
        [only] => format!("{} |> {name}", only.name.text),
        [first, rest @ ..] if is_tensor(first) => {
            format!("{} |> {name}({})", first.name.text, names(rest))
        }
        all => format!("{name}({})", names(all)),
    }
}

fn first_sentence(doc: &str) -> String {
    let text = doc.lines().filter(|line| !line.starts_with(EXAMPLE)).collect::<Vec<_>>().join(" ");
    let end = text.find(". ").map_or(text.len(), |end| end + 1);
    text[..end].trim_end_matches('.').to_owned()
}

fn indent(text: &str) -> String {
    text.lines().map(|line| format!("  {line}").trim_end().to_owned()).collect::<Vec<_>>().join("\n")
}
