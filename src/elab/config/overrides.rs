//! `--set train.batch=8`: settings and model arguments from the command line in place of the file's.

use crate::base::diagnostic::Diagnostic;
use crate::base::source::SourceMap;
use crate::syntax::ast::{Arg, Expr, Item, Name, SettingKind};

/// What the names of the sources of such settings begin with.
pub const SETTING: &str = "--set ";

/// Values that replace those of the sections and of the model's arguments.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    pub(super) train: Vec<(Name, Expr)>,
    pub(super) data: Vec<(Name, Expr)>,
    pub(super) args: Vec<Arg>,
}

impl Overrides {
    /// Parses `train.KEY=VALUE`, `data.KEY=VALUE` and `args.NAME=VALUE`.
    ///
    /// # Errors
    ///
    /// One for each text that has not this form.
    pub fn parse(sources: &mut SourceMap, texts: &[String]) -> Result<Overrides, Vec<Diagnostic>> {
        let (mut overrides, mut errors) = (Overrides::default(), Vec::new());
        for text in texts {
            if let Err(mut found) = overrides.add(sources, text) {
                errors.append(&mut found);
            }
        }
        if errors.is_empty() { Ok(overrides) } else { Err(errors) }
    }

    fn add(&mut self, sources: &mut SourceMap, text: &str) -> Result<(), Vec<Diagnostic>> {
        let wrong = || {
            vec![
                Diagnostic::error(format!("`{SETTING}{text}` is not understood"))
                    .help("write `train.KEY=VALUE`, `data.KEY=VALUE` or `args.NAME=VALUE`"),
            ]
        };
        let (place, value) = text.split_once('=').ok_or_else(wrong)?;
        let (section, key) = place.trim().split_once('.').ok_or_else(wrong)?;
        let (name, value) = parse_setting(sources, text, key, value)?.ok_or_else(wrong)?;
        match section {
            "train" if planted!("elab.config.last_flag") => self.train.insert(0, (name, value)),
            "train" => self.train.push((name, value)),
            "data" => self.data.push((name, value)),
            "args" => self.args.push(Arg { name: Some(name), value }),
            _ => return Err(wrong()),
        }
        Ok(())
    }

    /// The model's arguments.
    pub fn arguments(&self) -> &[Arg] {
        &self.args
    }

    /// Replaces a setting of the train section, as a flag of its own does.
    ///
    /// # Errors
    ///
    /// Where the value does not parse.
    pub fn set(&mut self, sources: &mut SourceMap, text: &str) -> Result<(), Vec<Diagnostic>> {
        self.add(sources, text)
    }
}

/// Parses `key = value;` as the only setting of a section.
fn parse_setting(
    sources: &mut SourceMap,
    shown: &str,
    key: &str,
    value: &str,
) -> Result<Option<(Name, Expr)>, Vec<Diagnostic>> {
    let text = format!("data set {{ {key} = {value}; }}");
    let file = sources.add(format!("{SETTING}{shown}"), text.as_str());
    let (parsed, errors) = crate::syntax::parse(file, &text);
    if !errors.is_empty() {
        return Err(errors);
    }
    let [Item::Data(data)] = parsed.items.as_slice() else { return Ok(None) };
    let [setting] = data.settings.as_slice() else { return Ok(None) };
    match &setting.kind {
        SettingKind::Key { name, value } => Ok(Some((name.clone(), value.clone()))),
        SettingKind::Phase { .. } => Ok(None),
    }
}
