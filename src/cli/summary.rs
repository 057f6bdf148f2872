//! `cnnc summary`: the layers of a model.

use serde::Serialize;

use crate::base::numbers;
use crate::report::layers::{self, Layer};
use crate::report::output;
use crate::report::table::{Align, Table};

use super::arguments::SummaryArguments;
use super::project::Project;
use super::{Outcome, print, print_json};

#[derive(Serialize)]
struct Summary {
    model: String,
    batch: u32,
    parameters: u64,
    macs: u64,
    activation_bytes: u64,
    layers: Vec<Layer>,
}

/// Prints the summary of the prediction.
pub fn run(arguments: &SummaryArguments) -> Outcome {
    let project = Project::load(&arguments.model, &[])?;
    let subject = project.subject()?;
    let recipe = project.recipe_of(&subject)?;
    let graph = recipe
        .inference(if planted!("cli.summary.batch") { 1 } else { i64::from(arguments.batch) })
        .map_err(|errors| project.failure(errors))?;
    let layers = layers::layers(&graph);
    let sum = |figure: fn(&Layer) -> u64| layers.iter().map(figure).fold(0, u64::saturating_add);
    let summary = Summary {
        model: subject.model().name.text.clone(),
        batch: arguments.batch,
        parameters: sum(|layer| layer.parameters),
        macs: sum(|layer| layer.macs),
        activation_bytes: sum(|layer| layer.activation_bytes),
        layers,
    };
    if arguments.json { print_json(&summary) } else { print(&text(&summary)) }
}

fn text(summary: &Summary) -> String {
    let mut table = Table::new(&[
        ("layer", Align::Left),
        ("output", Align::Right),
        ("parameters", Align::Right),
        ("MACs", Align::Right),
        ("sees", Align::Right),
        ("jump", Align::Right),
        ("memory", Align::Right),
    ])
    .within(output::width());
    for layer in &summary.layers {
        let pair =
            |pair: Option<[i64; 2]>| pair.map_or("-".into(), |[rows, columns]| format!("{rows}×{columns}"));
        table.row(vec![
            layer.name.clone(),
            layer.shape.iter().map(i64::to_string).collect::<Vec<_>>().join("×"),
            count(layer.parameters),
            if layer.macs == 0 { "-".into() } else { numbers::short(layer.macs as f64) },
            pair(layer.receptive_field),
            pair(layer.jump),
            if layer.activation_bytes == 0 { "-".into() } else { numbers::bytes(layer.activation_bytes) },
        ]);
    }
    let images = if summary.batch == 1 { "one input".into() } else { format!("{} inputs", summary.batch) };
    format!(
        "{table}\n{}: {} parameters ({}); for {images} {} multiply-adds and {} of outputs\n\
         `sees` is the receptive field: the part of the input that one output depends on; `jump` is how far the fields of\n\
         neighbouring outputs lie apart\n",
        summary.model,
        numbers::grouped(summary.parameters),
        numbers::bytes(4 * summary.parameters),
        numbers::short(summary.macs as f64),
        numbers::bytes(summary.activation_bytes),
    )
}

fn count(number: u64) -> String {
    if number == 0 { "-".into() } else { numbers::grouped(number) }
}
