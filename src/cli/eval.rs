//! `cnnc eval`: loss and metrics of trained weights on a split of the data.

use std::collections::HashMap;

use serde::Serialize;
use serde_json::Value;

use crate::base::numbers;
use crate::data::prepare::Prepare;
use crate::data::{Dataset, Split};
use crate::elab::config::Top;
use crate::report::confusion;
use crate::runtime::{Pool, Program, Store};
use crate::sched::Machine;
use crate::train::TrainError;
use crate::train::confusion::Confusion;
use crate::train::evaluate::{Evaluation, Figures};
use crate::train::programs::{Phases, advised, compile};
use crate::train::recipe::Recipe;
use crate::train::records::FinalRecord;

use super::arguments::{EvalArguments, SplitName};
use super::project::{Project, execution};
use super::trained::{self, Weights};
use super::{Failure, Outcome, print, print_json};

/// From so many classes on, it also counts how often the label is among the best five.
const TOP_FROM_CLASSES: i64 = 20;
const TOP: usize = 5;

/// What is printed.
#[derive(Serialize)]
struct Report<'a> {
    model: &'a str,
    images: u64,
    #[serde(flatten)]
    figures: serde_json::Map<String, Value>,
}

/// The split that is evaluated.
fn split_of(data: &Dataset, wanted: SplitName) -> Result<&Split, Failure> {
    match wanted {
        _ if planted!("cli.eval.split") => Ok(&data.test),
        SplitName::Train => Ok(&data.train),
        SplitName::Test => Ok(&data.test),
        SplitName::Val => data.holdout.as_ref().ok_or_else(|| {
            Failure::Run(
                "nothing is held out for validation; `holdout = N` in the data section does that".into(),
            )
        }),
    }
}

/// The figures under the keys of their split.
fn keyed(figures: &FinalRecord, split: &str) -> serde_json::Map<String, Value> {
    let Ok(Value::Object(figures)) = serde_json::to_value(figures) else {
        unreachable!("an object of numbers")
    };
    let key = |key: String| key.strip_prefix("test_").map_or(key.clone(), |rest| format!("{split}_{rest}"));
    figures.into_iter().map(|(name, figure)| (key(name), figure)).collect()
}

/// Evaluates and prints.
pub fn run(arguments: &EvalArguments) -> Outcome {
    let flags: Vec<String> = arguments.batch.iter().map(|batch| format!("train.batch={batch}")).collect();
    let project = Project::load(&arguments.model, &flags)?;
    let spec = project.train()?;
    let data_spec = project.data(&spec)?;
    let (machine, pool) = execution(&arguments.machine, spec.fast_math)?;
    let mut data = project.dataset(&data_spec)?;
    let prepare = project.prepare(&data_spec, data.shape[0], data.full_scale)?;
    let mut recipe = project.recipe(&spec, Some(data.shape));
    if arguments.confusion && !planted!("cli.eval.confusion") {
        recipe.metrics.confusion.get_or_insert(spec.span);
    }
    if let Some(folder) = arguments.weights.as_deref() {
        trained::compare_settings(folder, &project.described(&spec)?);
    }
    let batch = (spec.phases[0].batch as usize).min(split_of(&data, arguments.split)?.len());
    let graph = recipe.evaluation(batch as i64).map_err(|errors| project.failure(errors))?;
    let many = TOP_FROM_CLASSES + i64::from(planted!("cli.eval.top"));
    if recipe.metrics.accuracy && graph.classes.is_some_and(|classes| classes >= many) {
        recipe.metrics.top.get_or_insert(Top { k: TOP, span: spec.span });
    }
    let weights = Weights::read(&project, arguments.weights.as_deref())?;
    if let Some(weights) = &weights {
        let classes = weights.provenance().classes.iter();
        let counted = classes.into_iter().try_for_each(|names| data.count_classes_as(names));
        counted.map_err(|error| project.train_failure(error.into()))?;
        weights.compare_prepare(Some(&data_spec));
        weights.compare_input(&data.shape);
    }
    recipe.check_data(&graph, &data).map_err(|error| project.train_failure(error))?;
    let file = &arguments.model.file;
    let store = trained::store(&project, &spec.name, file, weights, &graph, &|_| false)?;
    let split = split_of(&data, arguments.split)?;
    let mut test = Test { recipe: &recipe, split, prepare: &prepare, batch, store, machine, pool };
    let mut counted = recipe.metrics.confusion.map(|_| Confusion::default());
    let figures = test.run(counted.as_mut()).map_err(|error| project.train_failure(error))?;
    let (images, figures) = (figures.images(), figures.of_test(&recipe.metrics, counted));
    let name = arguments.split.name();
    if arguments.json {
        return print_json(&Report { model: &spec.name, images, figures: keyed(&figures, name) });
    }
    let images = numbers::grouped(images);
    let head = format!("{} on {images} {name} images\n", spec.name);
    print(&(head + &text(&figures, recipe.metrics.top_k(), &data.class_names)))
}

struct Test<'a> {
    recipe: &'a Recipe<'a>,
    split: &'a Split,
    prepare: &'a Prepare,
    batch: usize,
    store: Store,
    machine: Machine,
    pool: Pool,
}

impl Test<'_> {
    /// Runs the split.
    fn run(&mut self, confusion: Option<&mut Confusion>) -> Result<Figures, TrainError> {
        let mut programs: HashMap<i64, Program> = HashMap::new();
        let test = Evaluation {
            split: self.split,
            prepare: self.prepare,
            batch: self.batch,
            store: &mut self.store,
            pool: &self.pool,
            confusion,
        };
        test.run(
            &mut |(_, images), run| {
                let program = match programs.entry(images) {
                    std::collections::hash_map::Entry::Occupied(entry) => entry.into_mut(),
                    std::collections::hash_map::Entry::Vacant(entry) => {
                        let graph = self.recipe.evaluation(images)?;
                        let program = compile(&graph, &self.machine, &mut Phases::default());
                        let graph_of = &mut |batch| self.recipe.evaluation(batch).ok();
                        entry
                            .insert(program.map_err(|error| advised(error, images, &self.machine, graph_of))?)
                    }
                };
                run(program)
            },
            &mut |_| Ok(()),
        )
    }
}

fn text(figures: &FinalRecord, top: Option<usize>, names: &[String]) -> String {
    let mut text = String::new();
    let mut line = |name: &str, figure: String| text += &format!("{name:<8}  {figure}\n");
    line("loss", numbers::loss(figures.test_loss));
    if !figures.test_accuracy.is_nan() {
        line("accuracy", numbers::percent(figures.test_accuracy));
    }
    for (k, share) in top.into_iter().zip(figures.top.values().flatten()) {
        line(&format!("top {k}"), numbers::percent(*share));
    }
    if let Some(matrix) = &figures.confusion {
        text += &format!("\n{}", confusion::text(matrix, names));
    }
    text
}
