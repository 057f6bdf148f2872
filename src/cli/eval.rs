//! `cnnc eval`: loss and metrics of trained weights on a split of the data.

use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;

use crate::base::numbers;
use crate::data::prepare::Prepare;
use crate::data::{Dataset, Split};
use crate::elab::config::Top;
use crate::graph::Scores;
use crate::lower::CompileOptions;
use crate::report::{confusion, matrix, output};
use crate::runtime::{Device, Instance, Store, Turns};
use crate::train::TrainError;
use crate::train::confusion::{ClassFigures, Confusion};
use crate::train::evaluate::{Evaluation, Figures};
use crate::train::programs::{StageTimes, advised, compile};
use crate::train::recipe::Recipe;
use crate::train::records::FinalRecord;

use super::arguments::{EvalArguments, SplitName};
use super::project::{Execution, Project, execution};
use super::trained::{self, Weights};
use super::{Failure, Outcome, print, print_json, say};

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
    /// Where the confusion matrix is asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    by_class: Vec<OfClass<'a>>,
}

/// The figures of a class.
#[derive(Serialize)]
struct OfClass<'a> {
    class: &'a str,
    #[serde(flatten)]
    figures: ClassFigures,
}

/// The splits that are evaluated.
fn splits_of(data: &Dataset, wanted: SplitName) -> Result<Vec<&Split>, Failure> {
    let held_out = data.holdout.as_ref();
    match wanted {
        _ if planted!("cli.eval.split") => Ok(vec![&data.test]),
        SplitName::Train => Ok(vec![&data.train]),
        SplitName::Test => Ok(vec![&data.test]),
        SplitName::All => Ok([&data.train].into_iter().chain(held_out).chain([&data.test]).collect()),
        SplitName::Val => held_out.map(|split| vec![split]).ok_or_else(|| {
            Failure::Usage(
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
    let Execution { options, device, threads } = execution(&arguments.machine, spec.fast_math)?;
    let mut data = project.dataset(&data_spec)?;
    data.notes.iter().for_each(|note| say(&format!("note: {note}")));
    let prepare = project.prepare(&data_spec, data.shape[0], data.full_scale)?;
    let mut recipe = project.recipe(&spec, Some(data.shape));
    if arguments.confusion.is_some() && !planted!("cli.eval.confusion") {
        recipe.metrics.confusion.get_or_insert(spec.span);
    }
    if let Some(folder) = arguments.weights.as_deref() {
        trained::compare_settings(folder, &project.described(&spec)?);
    }
    let images = splits_of(&data, arguments.split)?.iter().map(|split| split.len()).max().unwrap_or(1);
    let batch = (spec.phases[0].batch as usize).min(images);
    let graph = recipe.evaluation(batch as i64).map_err(|errors| project.failure(errors))?;
    let many = TOP_FROM_CLASSES + i64::from(planted!("cli.eval.top"));
    if recipe.metrics.accuracy
        && graph.scores.and_then(Scores::of_samples).is_some_and(|classes| classes >= many)
    {
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
    let mut store = Store::on(&device);
    let subject = trained::Subject { project: &project, name: &spec.name, file };
    subject.fill(&mut store, weights, &graph, &|_| false)?;
    let splits = splits_of(&data, arguments.split)?;
    let mut test =
        Test { recipe: &recipe, splits, prepare: &prepare, batch, store, options, device, threads };
    let mut counted = recipe.metrics.confusion.map(|_| Confusion::default());
    let figures = test.run(counted.as_mut()).map_err(|error| project.train_failure(error))?;
    let (images, figures) = (figures.images(), figures.of_test(&recipe.metrics, counted));
    if let (Some(path), Some(confusion)) = (arguments.confusion.iter().flatten().next(), &figures.confusion) {
        matrix::write(path, confusion, &data.class_names)
            .map_err(|error| Failure::Run(format!("{}: {error}", path.display())))?;
    }
    let (model, names, split) = (spec.name.as_str(), &data.class_names, arguments.split);
    if arguments.json {
        return print_json(&Report::new(model, images, &figures, split, names));
    }
    let images = numbers::grouped(images);
    let head = match split {
        SplitName::All => format!("{model} on all {images} images\n"),
        _ => format!("{model} on {images} {} images\n", split.name()),
    };
    print(&(head + &text(&figures, recipe.metrics.top_k(), names)))
}

impl Report<'_> {
    fn new<'a>(
        model: &'a str,
        images: u64,
        figures: &FinalRecord,
        split: SplitName,
        names: &'a [String],
    ) -> Report<'a> {
        let by_class = figures.confusion.as_ref().map(Confusion::by_class).unwrap_or_default();
        let names = names.iter().map(String::as_str);
        let by_class = names.zip(by_class).map(|(class, figures)| OfClass { class, figures }).collect();
        Report { model, images, figures: keyed(figures, split.name()), by_class }
    }
}

struct Test<'a> {
    recipe: &'a Recipe<'a>,
    splits: Vec<&'a Split>,
    prepare: &'a Prepare,
    batch: usize,
    store: Store,
    options: CompileOptions,
    device: Arc<dyn Device>,
    threads: usize,
}

impl Test<'_> {
    /// Runs the splits.
    fn run(&mut self, mut confusion: Option<&mut Confusion>) -> Result<Figures, TrainError> {
        let (mut programs, mut figures) = (Turns::new(), Figures::default());
        for split in self.splits.clone() {
            figures.merge(&self.run_split(split, confusion.as_deref_mut(), &mut programs)?);
        }
        Ok(figures)
    }

    fn run_split(
        &mut self,
        split: &Split,
        confusion: Option<&mut Confusion>,
        programs: &mut Turns<i64>,
    ) -> Result<Figures, TrainError> {
        let test = Evaluation {
            split,
            prepare: self.prepare,
            batch: self.batch,
            store: &mut self.store,
            threads: self.threads,
            confusion,
        };
        test.run(
            &mut |(_, images), store, run| {
                let bind = |store: &mut Store| {
                    let graph = self.recipe.evaluation(images)?;
                    let executable =
                        compile(&graph, &self.options, &*self.device, &mut StageTimes::default())?;
                    Ok(Instance::bind(executable, &self.device, store)?)
                };
                let graph_of = &mut |batch| self.recipe.evaluation(batch).ok();
                let program = programs.get(images, || bind(store));
                run(program.map_err(|error| advised(error, images, &self.options, graph_of))?, store)
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
    if let Some(counts) = &figures.confusion {
        let matrix = confusion::text(counts, names, output::width());
        text += &format!("\n{matrix}\n{}", confusion::by_class(counts, names));
    }
    text
}
