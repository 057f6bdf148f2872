//! A confusion matrix as text.

use super::table::{Align, Table};
use crate::base::{numbers, visible};
use crate::train::confusion::Confusion;

/// A row a label, a column a prediction; classes without a name have their number. Behind them the images without a
/// class, if there are any.
pub fn text(confusion: &Confusion, names: &[String]) -> String {
    let name =
        |class: usize| names.get(class).map(|name| visible::name(name)).unwrap_or_else(|| class.to_string());
    let titles: Vec<String> = (0..confusion.rows().len()).map(name).collect();
    let mut columns = vec![("is \\ taken for", Align::Left)];
    columns.extend(titles.iter().map(|title| (title.as_str(), Align::Right)));
    let mut table = Table::new(&columns);
    let column = |at: usize| confusion.rows().iter().map(|row| row[at]).collect();
    for (at, (title, row)) in titles.iter().zip(confusion.rows()).enumerate() {
        let row: Vec<u64> = if planted!("report.confusion.transposed") { column(at) } else { row.clone() };
        let counts = row.iter().map(|count| if *count == 0 { "·".into() } else { count.to_string() });
        table.row(std::iter::once(title.clone()).chain(counts).collect());
    }
    table.to_string() + &without_class(confusion.unclassified())
}

fn without_class(images: u64) -> String {
    match images {
        0 => String::new(),
        1 => "1 image has no class: a score of it is NaN\n".into(),
        _ => format!("{} images have no class: a score of each is NaN\n", numbers::grouped(images)),
    }
}
