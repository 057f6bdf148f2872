//! `cnnc eval`: loss and metrics of trained weights on the test split.

use std::collections::HashMap;

use serde::Serialize;

use crate::base::numbers;
use crate::data::Dataset;
use crate::data::prepare::Prepare;
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

use super::arguments::EvalArguments;
use super::project::{Project, execution};
use super::{Outcome, print, print_json, trained};

/// From so many classes on, it also counts how often the label is among the best five.
const TOP_FROM_CLASSES: i64 = 20;
const TOP: usize = 5;

/// What is printed.
#[derive(Serialize)]
struct Report<'a> {
    model: &'a str,
    images: u64,
    #[serde(flatten)]
    figures: FinalRecord,
}

/// Evaluates and prints.
pub fn run(arguments: &EvalArguments) -> Outcome {
    let flags: Vec<String> = arguments.batch.iter().map(|batch| format!("train.batch={batch}")).collect();
    let project = Project::load(&arguments.model, &flags)?;
    let spec = project.train()?;
    let data_spec = project.data(&spec)?;
    let (machine, pool) = execution(&arguments.machine, spec.fast_math)?;
    let data = project.dataset(&data_spec)?;
    let prepare = project.prepare(&data_spec, data.shape[0], data.full_scale)?;
    let mut recipe = project.recipe(&spec, Some(data.shape));
    if arguments.confusion && !planted!("cli.eval.confusion") {
        recipe.metrics.confusion.get_or_insert(spec.span);
    }
    let batch = (spec.phases[0].batch as usize).min(data.test.len());
    let graph = recipe.evaluation(batch as i64).map_err(|errors| project.failure(errors))?;
    let many = TOP_FROM_CLASSES + i64::from(planted!("cli.eval.top"));
    if recipe.metrics.accuracy && graph.classes.is_some_and(|classes| classes >= many) {
        recipe.metrics.top.get_or_insert(Top { k: TOP, span: spec.span });
    }
    recipe.check_data(&graph, &data).map_err(|error| project.train_failure(error))?;
    let weights = arguments.weights.as_deref();
    let store = trained::store(&project, &spec.name, &arguments.model.file, weights, &graph)?;
    let mut test = Test { recipe: &recipe, data: &data, prepare: &prepare, batch, store, machine, pool };
    let mut counted = recipe.metrics.confusion.map(|_| Confusion::default());
    let figures = test.run(counted.as_mut()).map_err(|error| project.train_failure(error))?;
    let (images, figures) = (figures.images(), figures.of_test(&recipe.metrics, counted));
    let report = Report { model: &spec.name, images, figures };
    let top = recipe.metrics.top_k();
    if arguments.json { print_json(&report) } else { print(&text(&report, top, &data.class_names)) }
}

struct Test<'a> {
    recipe: &'a Recipe<'a>,
    data: &'a Dataset,
    prepare: &'a Prepare,
    batch: usize,
    store: Store,
    machine: Machine,
    pool: Pool,
}

impl Test<'_> {
    /// Runs the test split.
    fn run(&mut self, confusion: Option<&mut Confusion>) -> Result<Figures, TrainError> {
        let mut programs: HashMap<i64, Program> = HashMap::new();
        let test = Evaluation {
            split: &self.data.test,
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

fn text(report: &Report<'_>, top: Option<usize>, names: &[String]) -> String {
    let Report { model, images, figures } = report;
    let mut text = format!("{model} on {} test images\n", numbers::grouped(*images));
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
