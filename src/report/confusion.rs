//! A confusion matrix, and what follows from it for each class, as text.

use super::table::{Align, Table};
use crate::base::{numbers, visible};
use crate::train::confusion::Confusion;

/// A row a label, a column a prediction; classes without a name have their number. Behind them the images without a
/// class, if there are any. A line has at most `limit` characters.
pub fn text(confusion: &Confusion, names: &[String], limit: Option<usize>) -> String {
    let titles: Vec<String> = (0..confusion.rows().len()).map(|class| name(class, names)).collect();
    let mut columns = vec![("is \\ taken for", Align::Left)];
    columns.extend(titles.iter().map(|title| (title.as_str(), Align::Right)));
    let mut table = Table::new(&columns).within(limit);
    let column = |at: usize| confusion.rows().iter().map(|row| row[at]).collect();
    for (at, (title, row)) in titles.iter().zip(confusion.rows()).enumerate() {
        let row: Vec<u64> = if planted!("report.confusion.transposed") { column(at) } else { row.clone() };
        let counts = row.iter().map(|count| if *count == 0 { "·".into() } else { count.to_string() });
        table.row(std::iter::once(title.clone()).chain(counts).collect());
    }
    table.to_string() + &without_class(confusion.unclassified())
}

/// How well each class is told from the others; a dash where there is nothing to divide by.
pub fn by_class(confusion: &Confusion, names: &[String]) -> String {
    let columns = ["images", "precision", "recall", "F1"].map(|title| (title, Align::Right));
    let mut table = Table::new(&[&[("class", Align::Left)][..], &columns].concat());
    let share = |share: f64| if share.is_nan() { "–".into() } else { numbers::percent(share) };
    for (class, figures) in confusion.by_class().iter().enumerate() {
        let shares = [figures.precision, figures.recall, figures.f1].map(share);
        let row = [name(class, names), numbers::grouped(figures.images)];
        table.row(row.into_iter().chain(shares).collect());
    }
    table.to_string()
}

fn name(class: usize, names: &[String]) -> String {
    names.get(class).map_or_else(|| class.to_string(), |name| visible::name(name))
}

fn without_class(images: u64) -> String {
    match images {
        0 => String::new(),
        1 => "1 image has no class: a score of it is NaN\n".into(),
        _ => format!("{} images have no class: a score of each is NaN\n", numbers::grouped(images)),
    }
}
