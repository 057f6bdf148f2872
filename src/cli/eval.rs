//! `cnnc eval`: loss and accuracy of trained weights on the test split.

use std::collections::HashMap;

use serde::Serialize;

use crate::data::Dataset;
use crate::data::prepare::Prepare;
use crate::graph::{Graph, Sink};
use crate::report::numbers;
use crate::report::table::{Align, Table};
use crate::runtime::{Pool, Program, Store};
use crate::sched::Machine;
use crate::train::TrainError;
use crate::train::evaluate::{Figures, evaluate};
use crate::train::metrics::Tally;
use crate::train::programs::{Phases, compile};
use crate::train::recipe::Recipe;

use super::arguments::EvalArguments;
use super::project::{Project, execution};
use super::{Outcome, print, print_json, trained};

/// With more classes, it also counts how often the label is among the best five.
const TOP_FROM_CLASSES: usize = 20;
const TOP: usize = 5;

/// What is printed.
#[derive(Serialize)]
struct Report<'a> {
    model: &'a str,
    images: u64,
    test_loss: f64,
    /// None where the prediction is not one score a class.
    test_accuracy: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    test_top5_accuracy: Option<f64>,
    /// A row a label; asked for by a flag.
    #[serde(skip_serializing_if = "Option::is_none")]
    confusion: Option<Vec<Vec<u64>>>,
}

/// Evaluates and prints.
pub fn run(arguments: &EvalArguments) -> Outcome {
    let flags: Vec<String> = arguments.batch.iter().map(|batch| format!("train.batch={batch}")).collect();
    let project = Project::load(&arguments.model, &flags)?;
    let spec = project.train()?;
    let data_spec = project.data(&spec)?;
    let (machine, pool) = execution(&arguments.machine)?;
    let data = project.dataset(&data_spec)?;
    let prepare = project.prepare(&data_spec, data.shape[0], data.full_scale)?;
    let recipe = project.recipe(&spec, Some(data.shape));
    let graph = recipe.evaluation(1).map_err(|errors| project.failure(errors))?;
    recipe.check_data(&graph, &data).map_err(|error| project.train_failure(error))?;
    let weights = arguments.weights.as_deref();
    let store = trained::store(&project, &spec.name, &arguments.model.file, weights, &graph)?;
    let batch = (spec.phases[0].batch as usize).min(data.test.len());
    let test = Test { recipe: &recipe, data: &data, prepare: &prepare, batch, store, machine, pool };
    let (figures, tally) = test.run(&graph).map_err(|error| project.train_failure(error))?;
    let report = Report {
        model: &spec.name,
        images: figures.images(),
        test_loss: figures.loss(),
        test_accuracy: tally.as_ref().map(Tally::accuracy),
        test_top5_accuracy: tally
            .as_ref()
            .filter(|tally| tally.confusion().len() >= TOP_FROM_CLASSES)
            .map(Tally::top_accuracy),
        confusion: tally
            .filter(|_| arguments.confusion)
            .map(|tally| tally.confusion().map(<[u64]>::to_vec).collect()),
    };
    if arguments.json { print_json(&report) } else { print(&text(&report, &data.class_names)) }
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
    /// Runs the test split; the tally is none where the prediction is not one score a class.
    fn run(&self, graph: &Graph) -> Result<(Figures, Option<Tally>), TrainError> {
        let split = &self.data.test;
        let mut tally = classes(graph).map(|classes| Tally::new(classes, TOP));
        let mut programs: HashMap<i64, Program> = HashMap::new();
        let mut seen = 0;
        let figures = evaluate(
            split,
            self.prepare,
            self.batch,
            &self.store,
            &self.pool,
            &mut |(_, images), run| {
                let program = match programs.entry(images) {
                    std::collections::hash_map::Entry::Occupied(entry) => entry.into_mut(),
                    std::collections::hash_map::Entry::Vacant(entry) => {
                        let graph = self.recipe.evaluation(images)?;
                        entry.insert(compile(&graph, &self.machine, &mut Phases::default())?)
                    }
                };
                run(program);
                let labels = &split.labels[seen..seen + images as usize];
                seen += images as usize;
                if let (Some(tally), Some(scores)) =
                    (&mut tally, program.output(&Sink::Prediction, &self.store))
                {
                    tally.add(0.0, &scores, labels);
                }
                Ok(())
            },
            &mut |_| Ok(()),
        )?;
        Ok((figures, tally))
    }
}

/// The number of classes, where the prediction is one score a class.
fn classes(graph: &Graph) -> Option<usize> {
    let (value, _) = graph.outputs.iter().find(|(_, sink)| *sink == Sink::Prediction)?;
    match graph.values[*value].shape.as_slice() {
        [_, classes] => Some(*classes as usize),
        _ => None,
    }
}

fn text(report: &Report<'_>, names: &[String]) -> String {
    let mut text = format!("{} on {} test images\n", report.model, numbers::grouped(report.images));
    text += &format!("loss      {}\n", numbers::loss(report.test_loss));
    if let Some(accuracy) = report.test_accuracy {
        text += &format!("accuracy  {}\n", numbers::percent(accuracy));
    }
    if let Some(accuracy) = report.test_top5_accuracy {
        text += &format!("top 5     {}\n", numbers::percent(accuracy));
    }
    if let Some(confusion) = &report.confusion {
        text += &format!("\n{}", matrix(confusion, names));
    }
    text
}

/// A row a label, a column a prediction.
fn matrix(confusion: &[Vec<u64>], names: &[String]) -> String {
    let name = |class: usize| names.get(class).cloned().unwrap_or_else(|| class.to_string());
    let titles: Vec<String> = (0..confusion.len()).map(name).collect();
    let mut columns = vec![("is \\ taken for", Align::Left)];
    columns.extend(titles.iter().map(|title| (title.as_str(), Align::Right)));
    let mut table = Table::new(&columns);
    for (title, row) in titles.iter().zip(confusion) {
        let counts = row.iter().map(|count| if *count == 0 { "·".into() } else { count.to_string() });
        table.row(std::iter::once(title.clone()).chain(counts).collect());
    }
    table.to_string()
}
