//! The settings that hold, key by key as texts, so that a run can say what it is and in what another one differs.

use std::collections::BTreeMap;

use super::data::DATA;
use super::overrides::Overrides;
use super::phase::{self, PHASE};
use super::settings::Settings;
use super::train::{TRAIN, model_call};
use crate::elab::Module;
use crate::syntax::ast::{Data, File, Item, Setting, SettingKind, Train};
use crate::syntax::{ast_text, expr_text};

/// Texts by keys such as `train.optim`, `train.warm.epochs` (of the phase `warm`), `data.source`, `args.classes`.
pub type Described = BTreeMap<String, String>;

/// The keys that hold where nobody gives them, with their values.
const DEFAULTS: [(&str, &str); 9] = [
    ("train.seed", "0"),
    ("train.fast_math", "true"),
    ("train.metrics", "[accuracy]"),
    ("data.holdout", "0"),
    ("data.seed", "0"),
    ("data.shuffle", "true"),
    ("data.drop_last", "false"),
    ("data.prepare", "[]"),
    ("data.augment", "[]"),
];

impl Module {
    /// The settings of a train section and of its data section, with what replaces them.
    pub fn described(&self, train: &Train, data: &Data, overrides: &Overrides) -> Described {
        let mut texts = Described::new();
        let phase_keys = |setting: &&Setting| matches!(&setting.kind, SettingKind::Key { name, .. } if phase::KEYS.contains(&name.text.as_str()));
        let common: Vec<Setting> = train.settings.iter().filter(phase_keys).cloned().collect();
        let (of_phases, of_section): (Vec<_>, Vec<_>) =
            overrides.train.iter().cloned().partition(|(name, _)| phase::KEYS.contains(&name.text.as_str()));
        let settings = Settings::new(&TRAIN, &train.settings, &of_section);
        let own = TRAIN.keys.iter().filter(|key| !phase::KEYS.contains(key));
        describe(&mut texts, "train.", own, &settings);
        let mut is_whole = true;
        for setting in &train.settings {
            if let SettingKind::Phase { name, settings } = &setting.kind {
                is_whole = false;
                let settings = Settings::with_defaults(&PHASE, settings, &common, &of_phases);
                describe_phase(&mut texts, &format!("train.{}.", name.text), &settings);
            }
        }
        if is_whole {
            describe_phase(&mut texts, "train.", &Settings::new(&PHASE, &common, &of_phases));
        }
        let settings = Settings::new(&DATA, &data.settings, &overrides.data);
        describe(&mut texts, "data.", DATA.keys, &settings);
        for (at, arg) in model_call(train, overrides).args.iter().enumerate() {
            let name = arg.name.as_ref().map_or_else(|| at.to_string(), |name| name.text.clone());
            texts.insert(format!("args.{name}"), expr_text(&arg.value));
        }
        for (key, value) in DEFAULTS {
            texts.entry(key.into()).or_insert_with(|| value.into());
        }
        texts
    }

    /// The canonical texts of the user's blocks, models and ops, by their names, without comments.
    pub fn items(&self) -> BTreeMap<String, String> {
        let named = |item: &Item| {
            let name = match item {
                Item::Fn(item) => &item.name,
                Item::Op(item) => &item.name,
                Item::Use(_) | Item::Data(_) | Item::Train(_) => return None,
            };
            Some((name.text.clone(), ast_text(&File { items: vec![item.clone()] })))
        };
        self.own_items().filter_map(named).collect()
    }
}

fn describe_phase(texts: &mut Described, prefix: &str, settings: &Settings<'_>) {
    describe(texts, prefix, phase::KEYS, settings);
    let defaults =
        [("batch", phase::BATCH.to_string()), ("epochs", phase::EPOCHS.to_string()), ("decay", "all".into())];
    for (key, default) in defaults {
        texts.entry(format!("{prefix}{key}")).or_insert(default);
    }
}

fn describe<'k>(
    texts: &mut Described,
    prefix: &str,
    keys: impl IntoIterator<Item = &'k &'static str>,
    settings: &Settings<'_>,
) {
    for key in keys {
        if let Some(value) = settings.get(key) {
            texts.insert(format!("{prefix}{key}"), expr_text(value));
        }
    }
}
