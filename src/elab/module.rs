//! A model file with everything that it uses: its items by name, those of other files and those of the library.
//!
//! Loading parses; it evaluates nothing. The user's items come before the library's of the same name, and the
//! library's own code sees only the library.

use std::collections::HashMap;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::AtomicUsize;

use super::evaluate::at;
use super::library::Library;
use crate::base::diagnostic::Diagnostic;
use crate::base::files;
use crate::base::source::SourceMap;
use crate::base::span::{FileId, Span};
use crate::syntax::ast::{self, FnKind, Item, Name};

/// A block, model or op.
#[derive(Clone, Copy, Debug)]
pub enum Callable<'m> {
    Fn(&'m ast::FnItem),
    Op(&'m ast::OpItem),
}

impl<'m> Callable<'m> {
    /// Its name.
    pub fn name(self) -> &'m Name {
        match self {
            Callable::Fn(item) => &item.name,
            Callable::Op(item) => &item.name,
        }
    }

    /// Its parameters.
    pub fn params(self) -> &'m [ast::Param] {
        match self {
            Callable::Fn(item) => &item.params,
            Callable::Op(item) => &item.params,
        }
    }

    /// "block", "model" or "op".
    pub fn word(self) -> &'static str {
        match self {
            Callable::Fn(item) => match item.kind {
                FnKind::Model => "model",
                FnKind::Block => "block",
            },
            Callable::Op(_) => "op",
        }
    }

    /// The whole item.
    pub fn span(self) -> Span {
        match self {
            Callable::Fn(item) => item.span,
            Callable::Op(item) => item.span,
        }
    }
}

/// A place among the loaded files: file and item.
type Place = (usize, usize);

struct Loaded {
    id: FileId,
    ast: ast::File,
}

/// A model file with everything that it uses.
pub struct Module {
    /// The user's files, that of the model last, and then the library's.
    files: Vec<Loaded>,
    /// How many of `files` are the user's.
    own: usize,
    /// Other paths by which the user's files use each other.
    aliases: Vec<(PathBuf, FileId)>,
    callables: HashMap<String, Place>,
    library: HashMap<String, Place>,
    docs: HashMap<Place, String>,
    /// The directory that paths in the model file are relative to.
    directory: PathBuf,
    /// The steps of all elaborations so far.
    pub(super) spent: AtomicUsize,
}

/// Reads and parses a model file, the files that it uses, and the embedded library.
///
/// # Errors
///
/// Everything that does not parse, files that cannot be read, cycles of `use`, and names defined twice.
pub fn load(sources: &mut SourceMap, path: &Path) -> Result<Module, Vec<Diagnostic>> {
    let text = files::read_text(path)
        .map_err(|error| vec![Diagnostic::error(format!("cannot read {}: {error}", path.display()))])?;
    Module::from_text(sources, &path.display().to_string(), &text)
}

/// The same from texts, by their paths as [`lexical`] gives them; nothing else is read.
///
/// # Errors
///
/// As those of [`load`]; a text that is not there among them.
pub fn load_texts(
    sources: &mut SourceMap,
    path: &Path,
    texts: &[(PathBuf, String)],
) -> Result<Module, Vec<Diagnostic>> {
    let missing = || vec![Diagnostic::error(format!("there is no text of {}", path.display()))];
    let (_, text) = texts.iter().find(|(known, _)| *known == lexical(path)).ok_or_else(missing)?;
    Module::of(sources, &path.display().to_string(), text, &Library::embedded(), Some(texts))
}

/// An absolute path without `.` and `..`, as it is written: links are not looked at, and nothing need be there.
pub fn lexical(path: &Path) -> PathBuf {
    let mut found = PathBuf::new();
    for part in std::path::absolute(path).unwrap_or_else(|_| path.to_owned()).components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => _ = found.pop(),
            part => found.push(part),
        }
    }
    found
}

impl Module {
    /// A module from the text of its model file. `name` is its path: messages show it, and `use` is relative to it.
    pub fn from_text(sources: &mut SourceMap, name: &str, text: &str) -> Result<Module, Vec<Diagnostic>> {
        Module::with_library(sources, name, text, &Library::embedded())
    }

    /// Like [`Module::from_text`], with another library.
    pub fn with_library(
        sources: &mut SourceMap,
        name: &str,
        text: &str,
        library: &Library,
    ) -> Result<Module, Vec<Diagnostic>> {
        Module::of(sources, name, text, library, None)
    }

    fn of(
        sources: &mut SourceMap,
        name: &str,
        text: &str,
        library: &Library,
        texts: Option<&[(PathBuf, String)]>,
    ) -> Result<Module, Vec<Diagnostic>> {
        let mut loader = Loader {
            sources,
            texts,
            files: Vec::new(),
            aliases: Vec::new(),
            loading: Vec::new(),
            errors: Vec::new(),
        };
        loader.add(Path::new(name), text.to_owned());
        let own = loader.files.len();
        for (name, text) in &library.files {
            loader.add(Path::new(name), text.clone());
        }
        let Loader { files, aliases, mut errors, .. } = loader;
        let files: Vec<Loaded> = files.into_iter().map(|(_, loaded)| loaded).collect();
        let callables = table(&files, 0..own, &mut errors);
        let library = table(&files, own..files.len(), &mut errors);
        check_sections(&files[own - 1].ast, &mut errors);
        if errors.iter().any(Diagnostic::is_error) {
            return Err(errors);
        }
        let docs = docs(sources, &files);
        let directory = Path::new(name).parent().unwrap_or(Path::new("")).to_owned();
        Ok(Module { files, own, aliases, callables, library, docs, directory, spent: AtomicUsize::new(0) })
    }

    /// The directory that paths in the model file are relative to.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The user's files, that of the model first.
    pub fn own_files(&self) -> impl Iterator<Item = FileId> {
        self.files[..self.own].iter().rev().map(|loaded| loaded.id)
    }

    /// Other paths of the user's files, where one is used by several.
    pub fn aliases(&self) -> &[(PathBuf, FileId)] {
        &self.aliases
    }

    /// The item of a name: the user's before the library's, or the library's alone.
    pub fn find(&self, name: &str, library_only: bool) -> Option<Callable<'_>> {
        let own = if library_only { None } else { self.callables.get(name) };
        own.or_else(|| self.library.get(name)).map(|place| self.callable(*place))
    }

    fn callable(&self, (file, item): Place) -> Callable<'_> {
        match &self.files[file].ast.items[item] {
            Item::Fn(item) => Callable::Fn(item),
            Item::Op(item) => Callable::Op(item),
            Item::Use(_) | Item::Data(_) | Item::Train(_) => unreachable!("the table holds callables"),
        }
    }

    /// Whether a file is the library's.
    pub fn in_library(&self, file: FileId) -> bool {
        self.files[self.own..].iter().any(|loaded| loaded.id == file)
    }

    /// The names of all blocks, models and ops, sorted, for suggestions: the user's and the library's.
    pub fn callable_names(&self) -> (Vec<String>, Vec<String>) {
        let names = |table: &HashMap<String, Place>| {
            let mut names: Vec<String> = table.keys().cloned().collect();
            names.sort_unstable();
            names
        };
        (names(&self.callables), names(&self.library))
    }

    /// The user's models in the order in which they stand, those of the model file last.
    pub fn models(&self) -> Vec<&ast::FnItem> {
        let items = self.own_items().filter_map(|item| match item {
            Item::Fn(item) if item.kind == FnKind::Model => Some(item),
            _ => None,
        });
        items.collect()
    }

    /// The models of the model file itself.
    pub fn main_models(&self) -> Vec<&ast::FnItem> {
        let file = self.files[self.own - 1].id;
        self.models().into_iter().filter(|model| model.span.file == file).collect()
    }

    /// The data sections of the model file. Those of files that it uses are theirs alone.
    pub fn data_sections(&self) -> Vec<&ast::Data> {
        let items = self.main_items().iter().filter_map(|item| match item {
            Item::Data(data) => Some(data),
            _ => None,
        });
        items.collect()
    }

    /// The train sections of the model file.
    pub fn train_sections(&self) -> Vec<&ast::Train> {
        let items = self.main_items().iter().filter_map(|item| match item {
            Item::Train(train) => Some(train),
            _ => None,
        });
        items.collect()
    }

    /// Every block and op, the user's and the library's, with the comment above it.
    pub fn documented(&self) -> Vec<(Callable<'_>, &str)> {
        let mut places: Vec<Place> = self.library.values().chain(self.callables.values()).copied().collect();
        places.sort_unstable();
        places.into_iter().map(|place| (self.callable(place), self.doc(place))).collect()
    }

    fn doc(&self, place: Place) -> &str {
        self.docs.get(&place).map_or("", String::as_str)
    }

    fn main_items(&self) -> &[Item] {
        &self.files[self.own - 1].ast.items
    }

    pub(super) fn own_items(&self) -> impl Iterator<Item = &Item> {
        self.files[..self.own].iter().flat_map(|loaded| &loaded.ast.items)
    }
}

/// Loads files depth first, so that a file comes after those that it uses.
struct Loader<'a> {
    sources: &'a mut SourceMap,
    /// What `use` finds, in place of the files.
    texts: Option<&'a [(PathBuf, String)]>,
    files: Vec<(PathBuf, Loaded)>,
    /// Other paths of files that are loaded.
    aliases: Vec<(PathBuf, FileId)>,
    /// The files whose `use`s are being loaded.
    loading: Vec<PathBuf>,
    errors: Vec<Diagnostic>,
}

impl Loader<'_> {
    fn add(&mut self, path: &Path, text: String) {
        let id = self.sources.add(path.display().to_string(), text.as_str());
        let (ast, diagnostics) = crate::syntax::parse(id, &text);
        self.errors.extend(diagnostics);
        self.loading.push(self.identity(path));
        for item in &ast.items {
            if let Item::Use(used) = item {
                self.add_used(path, used);
            }
        }
        self.loading.pop();
        let identity = self.identity(path);
        self.files.push((identity, Loaded { id, ast }));
    }

    fn add_used(&mut self, from: &Path, used: &ast::Use) {
        let path = from.parent().unwrap_or(Path::new("")).join(&used.path.value);
        let known = self.identity(&path);
        if let Some((_, loaded)) = self.files.iter().find(|(loaded, _)| *loaded == known) {
            self.aliases.push((path, loaded.id));
            return;
        }
        if self.loading.contains(&known) {
            let error = at(format!("`{}` uses itself", used.path.value), used.path.span);
            self.errors.push(error.note("files that use each other cannot be loaded"));
            return;
        }
        let is_model = |path: &Path| path.extension().is_some_and(|ending| ending == "cnn");
        // What it says must not be shown if it is something else, also where a link leads to that.
        if !is_model(&path) || !is_model(&known) {
            let error = at(format!("`{}` is no model file", used.path.value), used.path.span);
            self.errors.push(
                error.note("`use` reads files called `*.cnn`, and nothing that a link of this name leads to"),
            );
            return;
        }
        match self.text(&path) {
            Ok(text) => self.add(&path, text),
            Err(error) => {
                let message = format!("cannot read {}: {error}", path.display());
                self.errors.push(at(message, used.path.span));
            }
        }
    }
}

impl Loader<'_> {
    /// One name for one file, however it was written.
    fn identity(&self, path: &Path) -> PathBuf {
        let Some(texts) = self.texts else { return canonical(path) };
        // Links are not there any more: what has the same text is the same file.
        let path = lexical(path);
        let text = texts.iter().find(|(known, _)| *known == path).map(|(_, text)| text);
        let first = texts.iter().find(|(_, other)| Some(other) == text);
        first.map_or(path, |(first, _)| first.clone())
    }

    fn text(&self, path: &Path) -> io::Result<String> {
        let Some(texts) = self.texts else { return files::read_text(path) };
        let found = texts.iter().find(|(known, _)| *known == lexical(path));
        found.map(|(_, text)| text.clone()).ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

/// One name for one file, however it was written.
fn canonical(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}

/// The callables of some files by name; a second one of a name is an error.
fn table(
    files: &[Loaded],
    range: std::ops::Range<usize>,
    errors: &mut Vec<Diagnostic>,
) -> HashMap<String, Place> {
    let mut places: HashMap<String, (Place, Span)> = HashMap::new();
    for file in range {
        for (at, item) in files[file].ast.items.iter().enumerate() {
            let name = match item {
                Item::Fn(item) => &item.name,
                Item::Op(item) => &item.name,
                Item::Use(_) | Item::Data(_) | Item::Train(_) => continue,
            };
            match places.get(&name.text) {
                Some((_, first)) => errors.push(defined_twice(name, *first)),
                None => {
                    places.insert(name.text.clone(), ((file, at), name.span));
                }
            }
        }
    }
    places.into_iter().map(|(name, (place, _))| (name, place)).collect()
}

fn defined_twice(name: &Name, first: Span) -> Diagnostic {
    at(format!("`{}` is defined twice", name.text), name.span).secondary(first, "first here")
}

/// Data sections have names of their own, and so have train sections that are named by `as`.
fn check_sections(file: &ast::File, errors: &mut Vec<Diagnostic>) {
    let (mut data, mut trains): (HashMap<&str, Span>, HashMap<&str, Span>) = Default::default();
    for item in &file.items {
        let (names, name) = match item {
            Item::Data(section) => (&mut data, Some(&section.name)),
            Item::Train(section) => (&mut trains, section.alias.as_ref()),
            Item::Fn(_) | Item::Op(_) | Item::Use(_) => continue,
        };
        let Some(name) = name else { continue };
        if let Some(first) = names.insert(&name.text, name.span) {
            errors.push(defined_twice(name, first));
        }
    }
}

fn docs(sources: &SourceMap, files: &[Loaded]) -> HashMap<Place, String> {
    let mut docs = HashMap::new();
    for (file, loaded) in files.iter().enumerate() {
        for (item, parsed) in loaded.ast.items.iter().enumerate() {
            let doc = comment_above(sources.text(loaded.id), parsed.span().start as usize);
            if !doc.is_empty() {
                docs.insert((file, item), doc);
            }
        }
    }
    docs
}

/// The lines of comment directly above a place, without their slashes.
fn comment_above(text: &str, start: usize) -> String {
    let above = text.get(..start).unwrap_or("");
    let lines = above.trim_end_matches([' ', '\t']).strip_suffix('\n').unwrap_or("").rsplit('\n');
    let comments = lines.map_while(|line| line.trim().strip_prefix("//"));
    let mut lines: Vec<&str> = comments.map(|line| line.trim_start_matches('/').trim_end()).collect();
    lines.reverse();
    let lines = lines.into_iter().map(|line| line.strip_prefix(' ').unwrap_or(line));
    lines.collect::<Vec<_>>().join("\n")
}
