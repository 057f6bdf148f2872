//! Rules of the project that no compiler checks: who imports whom, how long a file may be, where `unsafe` lives.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use cnnc::base::fault::{self, FAULTS};
use cnnc::base::source::SourceMap;
use cnnc::elab::Library;
use cnnc::syntax;
use cnnc::syntax::ast::Item;

/// What each module may import, and does, outside of its tests. The same table stands in `ARCHITECTURE.md`.
const IMPORTS: &[(&str, &[&str])] = &[
    ("base", &[]),
    ("te", &["base"]),
    ("graph", &["base", "te"]),
    ("syntax", &["base", "te"]),
    ("elab", &["base", "graph", "syntax", "te"]),
    ("passes", &["base", "graph", "te"]),
    ("kernels", &["base", "te"]),
    ("loops", &["base", "te"]),
    ("sched", &["base", "kernels", "loops", "te"]),
    ("plan", &["base", "kernels", "loops", "sched", "te"]),
    ("codegen", &["base", "loops"]),
    ("lower", &["base", "graph", "kernels", "loops", "passes", "plan", "sched", "te"]),
    ("runtime", &["base", "codegen", "graph", "kernels", "loops", "lower", "passes", "plan", "sched", "te"]),
    ("data", &["base"]),
    ("train", &["base", "data", "elab", "graph", "lower", "passes", "runtime", "syntax", "te"]),
    ("report", &["base", "graph", "te", "train"]),
    (
        "cli",
        &[
            "base", "codegen", "data", "elab", "graph", "loops", "lower", "plan", "report", "runtime",
            "sched", "syntax", "te", "train",
        ],
    ),
    ("testing", &["base", "loops", "te"]),
];

/// The modules that know forms, not layers.
const NAMELESS: &[&str] = &["te", "passes", "kernels", "loops", "sched", "codegen"];

/// Functions of the language itself, of which the library has ops of the same name.
const SCALAR_FUNCTIONS: &[&str] = &["sigmoid", "tanh"];

/// Where `unsafe` may stand: compiled code is called, and memory is shared.
const UNSAFE: &[&str] = &["src/codegen/", "src/runtime/"];

const LONGEST_FILE: usize = 500;
/// In the program; one of tests may have a table inside.
const LONGEST_FUNCTION: usize = 60;
const LONGEST_TEST: usize = 80;
/// Beside `self`.
const MOST_PARAMETERS: usize = 6;

/// A file of the project: its path from the root, and its text.
struct File {
    path: String,
    text: String,
}

impl File {
    /// The module under `src/`; none for the files beside the modules.
    fn module(&self) -> Option<&str> {
        self.path.strip_prefix("src/")?.split_once('/').map(|(module, _)| module)
    }

    /// Whether it holds cases, not code of the program.
    fn is_test(&self) -> bool {
        self.path.starts_with("tests/") || self.path.contains("/tests") || self.path.ends_with("_tests.rs")
    }

    /// The lines with their numbers, without comments.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines = self.text.lines().enumerate();
        lines.map(|(at, line)| (at + 1, line)).filter(|(_, line)| !line.trim_start().starts_with("//"))
    }

    /// The lines before the tests inside the file.
    fn program(&self) -> impl Iterator<Item = (usize, &str)> {
        self.code().take_while(|(_, line)| line.trim() != "mod tests {")
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The files below some folders whose names end so.
fn files(folders: &[&str], ending: &str) -> Vec<File> {
    let mut open: Vec<PathBuf> = folders.iter().map(|folder| root().join(folder)).collect();
    let mut found = Vec::new();
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of the project") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                open.push(path);
            } else if path.to_string_lossy().ends_with(ending) {
                let text = fs::read_to_string(&path).expect("text");
                let path = path.strip_prefix(root()).expect("below the root").to_string_lossy().into_owned();
                found.push(File { path, text });
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(!found.is_empty(), "no {ending} in {folders:?}");
    found
}

fn sources() -> Vec<File> {
    files(&["src"], ".rs")
}

/// Fails with all findings, one a line.
fn check(rule: &str, findings: &[String]) {
    assert!(findings.is_empty(), "{rule}:\n  {}", findings.join("\n  "));
}

/// The words after each `crate::` of a line.
fn imported(line: &str) -> impl Iterator<Item = &str> {
    line.split("crate::").skip(1).map(|rest| {
        let end = rest.find(|c: char| !c.is_ascii_lowercase() && c != '_').unwrap_or(rest.len());
        &rest[..end]
    })
}

/// The names in `word(...)` behind each `start` of the text.
fn occurrences<'a>(text: &'a str, start: &'a str) -> impl Iterator<Item = &'a str> {
    text.split(start).skip(1).filter_map(|rest| rest.split_once('"').map(|(name, _)| name))
}

#[test]
fn imports_point_one_way() {
    let order: Vec<&str> = IMPORTS.iter().map(|(module, _)| *module).collect();
    for (at, (module, imports)) in IMPORTS.iter().enumerate() {
        let back = imports.iter().find(|import| !order[..at].contains(import));
        assert_eq!(back, None, "{module} imports a module that comes after it");
    }
}

/// Commands share what is beside them, and know nothing of each other. Today `bench`, `profile` and `tune` go in a circle.
#[test]
fn files_of_commands_import_each_other_without_a_circle() {
    let mut left: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for file in sources().iter().filter(|file| file.module() == Some("cli") && !file.is_test()) {
        let Some(name) = file.path["src/cli/".len()..].strip_suffix(".rs") else { continue };
        let names = |line: &str| {
            let rest = line.split("use super::").nth(1).unwrap_or_default();
            rest.split(|c: char| !c.is_ascii_lowercase() && c != '_').map(str::to_owned).collect::<Vec<_>>()
        };
        // Below `mod.rs`, which has all of them.
        if !name.contains('/') && name != "mod" {
            left.entry(name.into()).or_default().extend(file.program().flat_map(|(_, line)| names(line)));
        }
    }
    let all: BTreeSet<String> = left.keys().cloned().collect();
    left.values_mut().for_each(|imports| imports.retain(|name| all.contains(name)));
    assert!(left.values().filter(|imports| !imports.is_empty()).count() > 5, "{left:?}");
    while let Some(name) = left.iter().find(|(_, imports)| imports.is_empty()).map(|(name, _)| name.clone()) {
        left.remove(&name);
        left.values_mut().for_each(|imports| _ = imports.remove(&name));
    }
    assert!(left.is_empty(), "these go in a circle: {left:?}");
}

#[test]
fn imports_are_exactly_those_of_the_table() {
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for file in sources() {
        let Some(module) = file.module() else { continue };
        let imports = found.entry(module.into()).or_default();
        if file.is_test() {
            continue;
        }
        let names = file.program().flat_map(|(_, line)| imported(line));
        imports.extend(names.filter(|name| *name != module).map(String::from));
    }
    let expected: BTreeMap<String, BTreeSet<String>> = IMPORTS
        .iter()
        .map(|(module, imports)| {
            ((*module).into(), imports.iter().map(|import| (*import).to_owned()).collect())
        })
        .collect();
    assert_eq!(found, expected);
}

/// Which devices there are is known in one place, and what only a device has, nowhere behind it.
#[test]
fn only_one_place_knows_the_devices() {
    let mut findings = Vec::new();
    for file in sources().iter().filter(|file| !file.is_test()) {
        let own = ["cpu", "interpreter", "gpu"].map(|device| format!("src/runtime/{device}"));
        let is_inside = own.iter().any(|folder| file.path.starts_with(folder.as_str()));
        for (number, line) in file.program() {
            let devices = ["cpu", "interpreter", "gpu"];
            let names_device: Vec<String> = ["runtime", "super"]
                .iter()
                .flat_map(|parent| devices.iter().map(move |device| format!("{parent}::{device}")))
                .collect();
            let in_runtime = file.path.starts_with("src/runtime/");
            let names = names_device.iter().filter(|name| in_runtime || name.starts_with("runtime"));
            if names.into_iter().any(|name| line.contains(name.as_str())) && !is_inside {
                findings.push((file.path.clone(), number));
            }
        }
    }
    assert!(findings.iter().all(|(path, _)| path == "src/runtime/devices.rs"), "{findings:?}");
    assert_eq!(findings.len(), 3, "one line for each device: {findings:?}");
}

/// What belongs to graphics cards, word by word.
const OF_CARDS: &[&str] =
    &["gpu", "wgpu", "vulkan", "wgsl", "shader", "shaders", "graphics card", "graphics cards"];

/// Where these words may stand: the back end, the device, what names and shows both, and how loops are chosen for it.
const KNOW_CARDS: &[&str] = &[
    "src/codegen/wgsl/",
    "src/codegen/mod.rs",
    "src/runtime/gpu/",
    "src/runtime/devices.rs",
    "src/runtime/mod.rs",
    "src/cli/",
    "src/sched/policy/gpu",
    "src/lib.rs",
];

/// The words of graphics cards in a line, comments and all.
fn words_of_cards(line: &str) -> Vec<&'static str> {
    let line = line.to_lowercase();
    let is_letter = |letter: Option<char>| letter.is_some_and(|letter| letter.is_alphanumeric());
    let stands = |word: &&&str| {
        line.match_indices(**word).any(|(at, _)| {
            let (before, after) = (&line[..at], &line[at + word.len()..]);
            !is_letter(before.chars().next_back()) && !is_letter(after.chars().next())
        })
    };
    OF_CARDS.iter().filter(stands).copied().collect()
}

/// A grid is a form of machine. What drives one is known at the ends alone: where code is written, and where it runs.
#[test]
fn the_compiler_knows_grids_not_graphics_cards() {
    let mut findings = Vec::new();
    for file in sources().iter().filter(|file| !KNOW_CARDS.iter().any(|place| file.path.starts_with(place))) {
        for (at, line) in file.text.lines().enumerate() {
            let words = words_of_cards(line).into_iter();
            findings.extend(words.map(|word| format!("{}:{}: {word}", file.path, at + 1)));
        }
    }
    check("a word of graphics cards stands where a machine is a grid", &findings);
}

#[test]
fn words_of_graphics_cards_are_found() {
    for (line, words) in [
        ("//! On GPUs, and a shaderless card.", &[] as &[&str]),
        ("let gpu = Gpu::new(); // WGSL", &["gpu", "wgsl"]),
        ("/// Of a Graphics Card, its shaders.", &["shaders", "graphics card"]),
        ("use crate::codegen::wgsl::Shader;", &["wgsl", "shader"]),
        ("fn run_gpu(vulkan_instance: X)", &["gpu", "vulkan"]),
    ] {
        assert_eq!(words_of_cards(line), words, "{line}");
    }
}

/// Training knows instances, and nothing of what they are made of.
#[test]
fn training_names_no_pool_schedule_or_plan() {
    let mut findings = Vec::new();
    for file in sources().iter().filter(|file| file.module() == Some("train") && !file.is_test()) {
        for (number, line) in file.program() {
            let words = line.split(|c: char| !c.is_alphanumeric() && c != '_');
            let inner =
                ["Pool", "Plan", "Launch", "LoopNest", "Arena", "sched", "plan", "codegen", "pool", "arena"];
            findings.extend(
                words
                    .filter(|word| inner.contains(word))
                    .map(|word| format!("{}:{number}: {word}", file.path)),
            );
        }
    }
    check("train/ names what belongs to the compiler or a device", &findings);
}

#[test]
fn the_architecture_page_shows_the_same_table() {
    let page = fs::read_to_string(root().join("ARCHITECTURE.md")).expect("ARCHITECTURE.md");
    for (module, imports) in IMPORTS {
        let names: Vec<String> = imports.iter().map(|import| format!("`{import}`")).collect();
        let cell = if names.is_empty() { "nothing".to_owned() } else { names.join(" ") };
        let row = format!("| `{module}` | {cell} |");
        assert!(page.lines().any(|line| line == row), "ARCHITECTURE.md lacks the row\n{row}");
    }
    let rows = page.lines().filter(|line| line.starts_with("| `")).count();
    assert_eq!(rows, IMPORTS.len(), "rows of tables in ARCHITECTURE.md that begin with a module");
}

#[test]
fn the_compiler_knows_forms_not_layers() {
    let names = library_names();
    let mut findings = Vec::new();
    for file in sources().iter().filter(|file| !file.is_test()) {
        if !file.module().is_some_and(|module| NAMELESS.contains(&module)) {
            continue;
        }
        for (number, line) in file.program() {
            let literals = occurrences(line, "\"").filter(|literal| names.contains(*literal));
            findings.extend(literals.map(|name| format!("{}:{number}: \"{name}\"", file.path)));
        }
    }
    check("a name of the library stands in the compiler", &findings);
}

/// The names of all ops and blocks of the library that are no functions of the language.
fn library_names() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for (name, text) in Library::embedded().files {
        let file = SourceMap::default().add(name, text.as_str());
        for item in syntax::parse(file, &text).0.items {
            match item {
                Item::Fn(item) => names.insert(item.name.text),
                Item::Op(item) => names.insert(item.name.text),
                Item::Use(_) | Item::Data(_) | Item::Train(_) => false,
            };
        }
    }
    assert!(names.contains("conv") && names.contains("conv2d") && names.contains("adam"), "{names:?}");
    names.retain(|name| !SCALAR_FUNCTIONS.contains(&name.as_str()));
    names
}

#[test]
fn files_say_what_they_are_for() {
    let all = files(&["src", "tests", "benches"], ".rs");
    let silent = all.iter().filter(|file| !file.text.starts_with("//!"));
    let findings: Vec<String> = silent.map(|file| file.path.clone()).collect();
    check("files that do not open with `//!`", &findings);
}

#[test]
fn files_are_short() {
    let long = sources().into_iter().filter(|file| !file.is_test());
    let long = long.map(|file| (file.text.lines().count(), file.path));
    let findings: Vec<String> = long
        .filter(|(lines, _)| *lines > LONGEST_FILE)
        .map(|(lines, path)| format!("{path}: {lines} lines"))
        .collect();
    check("files that are too long", &findings);
}

#[test]
fn functions_are_short_and_take_few_parameters() {
    let mut findings = Vec::new();
    for file in files(&["src", "tests", "benches"], ".rs") {
        let most = if file.path.starts_with("src/") { LONGEST_FUNCTION } else { LONGEST_TEST };
        let lines: Vec<&str> = file.text.lines().collect();
        for (at, line) in lines.iter().enumerate().filter(|(_, line)| begins_function(line)) {
            let (length, parameters) = (function_length(&lines[at..]), parameters(&lines[at..]));
            if length > most || parameters > MOST_PARAMETERS {
                let place = format!("{}:{}", file.path, at + 1);
                let head = line.trim();
                findings.push(format!("{place}: {length} lines, {parameters} parameters: {head}"));
            }
        }
    }
    check("functions that are too long", &findings);
}

#[test]
fn lengths_and_parameters_are_counted() {
    let cases = [
        ("fn none() {}", 1, 0),
        ("pub(super) const fn two<T: Fn(A, B) -> C>(one: &[T; 2], (a, b): (u8, u8)) -> u8 {\n    a\n}", 3, 2),
        (
            "unsafe fn three(\n    &mut self,\n    a: A<B, C>,\n    f: impl Fn(X, Y) -> Z,\n    c: D,\n) -> E {\n}",
            7,
            3,
        ),
        ("fn declared(&self, a: A) -> B;", 1, 1),
        ("fn parts(Parts { a, b }: Parts<'_>, c: C) {}", 1, 2),
        ("fn declared(\n    self: Arc<Self>,\n    a: A,\n) -> B;", 4, 1),
    ];
    for (text, length, count) in cases {
        let lines: Vec<&str> = text.lines().collect();
        assert!(begins_function(lines[0]), "{text}");
        assert_eq!((function_length(&lines), parameters(&lines)), (length, count), "{text}");
    }
}

/// The parameters beside `self` of a formatted function.
fn parameters(lines: &[&str]) -> usize {
    let text = lines[..lines.len().min(LONGEST_TEST)].concat();
    let (_, text) = text.split_once("fn ").expect("a function");
    let (mut depth, mut angles, mut before) = (0, 0, ' ');
    let mut parts = vec![String::new()];
    for c in text.chars() {
        match c {
            '<' => angles += 1,
            '>' if before != '-' => angles -= 1,
            // Those of a bound in angles are no parameters of the function.
            '(' | '[' if angles == 0 || depth > 0 => depth += 1,
            ')' | ']' if angles == 0 || depth > 0 => depth -= 1,
            '{' if depth > 0 => depth += 1,
            '}' if depth > 0 => depth -= 1,
            ',' if depth == 1 && angles == 0 => parts.push(String::new()),
            _ if depth > 0 => parts.last_mut().expect("a part").push(c),
            _ => {}
        }
        if depth == 0 && c == ')' && angles == 0 {
            break;
        }
        before = c;
    }
    let is_self = |part: &str| part.ends_with("self") || part.starts_with("self:");
    parts.iter().map(|part| part.trim()).filter(|part| !part.is_empty() && !is_self(part)).count()
}

fn begins_function(line: &str) -> bool {
    let words = line.split_whitespace();
    let before = ["pub", "pub(super)", "pub(crate)", "const", "unsafe", "extern", "\"C\""];
    words.into_iter().find(|word| !before.contains(word)) == Some("fn")
}

/// The lines of a formatted function: up to the brace at its own indentation.
fn function_length(lines: &[&str]) -> usize {
    let indentation = lines[0].len() - lines[0].trim_start().len();
    let is_end = |line: &&&str| line.len() == indentation + 1 && line.ends_with('}');
    if lines[0].ends_with('}') || lines[0].ends_with(';') {
        return 1;
    }
    let is_declared =
        |line: &&str| line.len() - line.trim_start().len() == indentation && line.ends_with(';');
    lines.iter().position(|line| is_end(&line) || is_declared(line)).map_or(lines.len(), |at| at + 1)
}

#[test]
fn function_lengths_are_counted() {
    let text =
        "    pub fn long(\n        a: u8,\n    ) {\n        if a {\n        }\n    }\n\n    fn next() {}";
    let lines: Vec<&str> = text.lines().collect();
    assert!(begins_function(lines[0]) && !begins_function(lines[3]));
    assert_eq!((function_length(&lines), function_length(&lines[7..])), (6, 1));
}

#[test]
fn nothing_is_left_undone() {
    // Written apart, so that this file does not find itself.
    let forbidden =
        [["todo", "!"], ["unimplemented", "!"], ["#[ignore", "]"], ["allow(dead", "_code)"], ["dbg", "!("]];
    let mut findings = Vec::new();
    for file in files(&["src", "tests", "benches"], ".rs") {
        for (number, line) in file.code() {
            // A module that several tests include is used by each in part.
            let shared = |word: &String| word.starts_with("allow") && file.path.starts_with("tests/");
            let found = forbidden.iter().map(|parts| parts.concat()).filter(|word| line.contains(word));
            let found = found.filter(|word| !shared(word));
            findings.extend(found.map(|word| format!("{}:{number}: {word}", file.path)));
        }
    }
    check("what stands for work undone", &findings);
}

#[test]
fn faults_are_planted_where_the_list_says() {
    let listed: BTreeSet<(String, String)> =
        FAULTS.iter().map(|fault| (format!("src/{}", fault.file), fault.name.to_owned())).collect();
    let mut planted = BTreeSet::new();
    for file in sources() {
        let names = file.code().flat_map(|(_, line)| occurrences(line, "planted!(\""));
        planted.extend(names.map(|name| (file.path.clone(), name.to_owned())));
    }
    assert_eq!(planted, listed);
}

/// A release must not know how to compute something else: only the tests' dependency on the package asks for the
/// switch, and no build without debug assertions has it.
#[test]
fn only_tests_can_plant_faults() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).expect("Cargo.toml");
    let (_, for_tests) = manifest.split_once("[dev-dependencies]").expect("a section");
    let (for_tests, _) = for_tests.split_once("\n[").expect("another section");
    let asks = |text: &str| -> Vec<String> {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        lines
            .filter(|line| line.contains("testing") || line.starts_with("default ="))
            .map(String::from)
            .collect()
    };
    let of_tests = "cnnc = { path = \".\", features = [\"testing\"] }";
    assert_eq!(asks(&manifest), ["default = [\"cli\"]", "testing = []", of_tests]);
    assert_eq!(asks(for_tests), [of_tests]);
    for file in sources() {
        for (number, line) in file.code().filter(|(_, line)| line.contains("feature = \"")) {
            let switch = line.contains("all(feature = \"testing\", debug_assertions)");
            let modules = ["#[cfg(any(test, feature = \"testing\"))]", "#[cfg(feature = \"cli\")]"];
            let cards = ["#[cfg(feature = \"gpu\")]", "#[cfg(not(feature = \"gpu\"))]"];
            let place = format!("{}:{number}", file.path);
            let guarded = match &*file.path {
                "src/base/fault.rs" => switch,
                "src/lib.rs" => modules.contains(&line),
                "src/runtime/mod.rs" | "src/runtime/devices.rs" => cards.contains(&line),
                _ => false,
            };
            assert!(guarded, "{place} asks for a feature");
        }
    }
    assert_eq!(fault::HAS_SWITCH, cfg!(debug_assertions));
}

#[test]
fn unsafe_code_says_why_it_is_safe() {
    let mut findings = Vec::new();
    for file in sources() {
        let lines: Vec<&str> = file.text.lines().collect();
        for (number, line) in file.code().filter(|(_, line)| is_unsafe(line)) {
            let near = &lines[number.saturating_sub(13)..number];
            let explained = near.iter().any(|line| line.contains("SAFETY:") || line.contains("# Safety"));
            let allowed = UNSAFE.iter().any(|place| file.path.starts_with(place));
            if !allowed || !explained {
                findings.push(format!("{}:{number}: {}", file.path, line.trim()));
            }
        }
    }
    check("unsafe code in the wrong place, or without a reason", &findings);
}

/// Whether a line begins an unsafe block, function or implementation; the type of one is no code.
fn is_unsafe(line: &str) -> bool {
    let words = ["unsafe {", "unsafe fn", "unsafe impl", "unsafe extern \"C\" {"];
    words.iter().any(|word| line.contains(word))
}

#[test]
fn examples_are_formatted() {
    let bless = std::env::var_os("BLESS").is_some();
    for mut file in files(&["examples"], ".cnn") {
        let id = SourceMap::default().add(file.path.as_str(), file.text.as_str());
        let formatted = syntax::format(id, &file.text).expect("it parses");
        if bless {
            fs::write(root().join(&file.path), &formatted).expect("the file is written");
            file.text.clone_from(&formatted);
        }
        assert_eq!(formatted, file.text, "{} is not formatted (BLESS=1 formats it)", file.path);
    }
}

/// Today cargo warns that the manifest names no documentation, and the package has all tests.
#[test]
fn the_package_has_what_it_is_built_of() {
    let arguments = ["package", "--list", "--allow-dirty", "--offline"];
    let output = std::process::Command::new(env!("CARGO")).args(arguments).current_dir(root()).output();
    let output = output.expect("cargo starts");
    let (list, said) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && !said.contains("warning"), "{said}");
    let list: BTreeSet<&str> = list.lines().collect();
    let sources = sources().into_iter().map(|file| file.path);
    let others = ["build.rs", "grammar/cnn.lalrpop", "src/std/layers.cnn", "README.md", "docs/language.md"];
    let notices = ["LICENSE-MIT", "LICENSE-APACHE", "NOTICE", "THIRD-PARTY.md"];
    let needed = sources.chain(others.into_iter().chain(notices).map(str::to_owned));
    let missing: Vec<String> = needed.filter(|path| !list.contains(path.as_str())).collect();
    assert!(missing.is_empty(), "not in the package: {missing:?}");
    let tests: Vec<&&str> = list.iter().filter(|path| path.starts_with("tests/cli")).collect();
    assert!(tests.is_empty(), "in the package: {tests:?}");
}

/// The dependencies of the program in a manifest, with what they are asked for with: those of every system, and of some.
fn dependencies(manifest: &str) -> Vec<(&str, &str)> {
    let (mut is_linked, mut found) = (false, Vec::new());
    for line in manifest.lines() {
        if line.starts_with('[') {
            is_linked =
                line == "[dependencies]" || line.starts_with("[target.") && line.ends_with(".dependencies]");
        } else if is_linked {
            found.extend(line.split_once(" = "));
        }
    }
    found
}

/// Today nothing names the crates in the binary.
#[test]
fn the_notices_name_the_crates_that_are_asked_for() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).expect("a manifest");
    let notices = fs::read_to_string(root().join("THIRD-PARTY.md")).expect("notices");
    let missing = dependencies(&manifest).into_iter().map(|(name, _)| name);
    let missing = missing.filter(|name| !notices.contains(&format!("\n| {name} | ")));
    let findings: Vec<String> =
        missing.map(|name| format!("{name} is not in THIRD-PARTY.md: run .ci/notices.py")).collect();
    check("notices", &findings);
}

/// What drives graphics cards is larger than all the rest: only those who ask for the feature build it.
#[test]
fn no_build_has_graphics_cards_unless_it_asks() {
    const CRATES: [&str; 3] = ["naga", "pollster", "wgpu"];
    let manifest = fs::read_to_string(root().join("Cargo.toml")).expect("Cargo.toml");
    let of_cards = dependencies(&manifest).into_iter().filter(|(name, _)| CRATES.contains(name));
    let of_cards: Vec<(&str, &str)> = of_cards.collect();
    let names: BTreeSet<&str> = of_cards.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, BTreeSet::from(CRATES), "the crates of the feature");
    let always = of_cards.iter().filter(|(_, asked)| !asked.contains("optional = true"));
    let findings: Vec<String> = always.map(|(name, asked)| format!("{name} = {asked}")).collect();
    check("crates that the default build must not have", &findings);
    // And no feature but the one has them.
    let (_, features) = manifest.split_once("\n[features]\n").expect("features");
    let (features, _) = features.split_once("\n[").expect("another section");
    let asks = |line: &&str| {
        let (name, asked) = line.split_once(" = ").expect("a feature");
        name != "gpu" && (asked.contains("gpu") || CRATES.iter().any(|crate_name| asked.contains(crate_name)))
    };
    let lines = features.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    assert_eq!(
        lines.filter(asks).collect::<Vec<_>>(),
        [] as [&str; 0],
        "features that ask for graphics cards"
    );
}
