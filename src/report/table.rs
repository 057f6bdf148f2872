//! Tables of text with aligned columns.
//!
//! A [`Table`] knows all its rows before it is printed. [`Columns`] print one row at a time, at widths that are known
//! beforehand: the table of a run's epochs.

use std::fmt;

/// Where the cells of a column stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    Left,
    Right,
}

/// A column: its title, its side, and the width in characters that it has at least.
#[derive(Clone, Debug)]
struct Column {
    title: String,
    align: Align,
    width: usize,
}

/// Columns of a table that is printed row by row.
#[derive(Clone, Debug)]
pub struct Columns(Vec<Column>);

impl Columns {
    /// Columns by title, side and least width; a title always fits.
    pub fn new(columns: &[(&str, Align, usize)]) -> Columns {
        let column = |(title, align, width): &(&str, Align, usize)| Column {
            title: (*title).to_owned(),
            align: *align,
            width: (*width).max(title.chars().count()),
        };
        Columns(columns.iter().map(column).collect())
    }

    /// The line of titles.
    pub fn header(&self) -> String {
        let titles: Vec<&str> = self.0.iter().map(|column| column.title.as_str()).collect();
        self.line(&titles)
    }

    /// A row, one cell a column; a cell wider than its column pushes the others to the right.
    pub fn line(&self, cells: &[impl AsRef<str>]) -> String {
        assert_eq!(cells.len(), self.0.len());
        let padded = self.0.iter().zip(cells).map(|(Column { align, width, .. }, cell)| match align {
            Align::Left => format!("{:<width$}", cell.as_ref()),
            Align::Right => format!("{:>width$}", cell.as_ref()),
        });
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    }

    /// The line between titles and rows.
    pub fn rule(&self) -> String {
        let width: usize = self.0.iter().map(|column| column.width + 2).sum();
        "─".repeat(width.saturating_sub(2))
    }
}

/// A table; `Display` writes titles, a rule and the rows, a line each.
#[derive(Clone, Debug)]
pub struct Table {
    columns: Columns,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table without rows.
    pub fn new(columns: &[(&str, Align)]) -> Table {
        let columns: Vec<_> = columns.iter().map(|(title, align)| (*title, *align, 0)).collect();
        Table { columns: Columns::new(&columns), rows: Vec::new() }
    }

    /// Appends a row, one cell a column.
    pub fn row(&mut self, cells: Vec<String>) {
        assert_eq!(cells.len(), self.columns.0.len());
        for (column, cell) in self.columns.0.iter_mut().zip(&cells) {
            column.width = column.width.max(cell.chars().count());
        }
        self.rows.push(cells);
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.columns.header())?;
        writeln!(f, "{}", self.columns.rule())?;
        self.rows.iter().try_for_each(|row| writeln!(f, "{}", self.columns.line(row)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_cells() {
        let mut table =
            Table::new(&[("layer", Align::Left), ("parameters", Align::Right), ("note", Align::Left)]);
        table.row(vec!["conv1".into(), "320".into(), "3×3".into()]);
        table.row(vec!["batch_norm1".into(), "1,234,567,890".into(), String::new()]);
        let expect = "\
layer           parameters  note
────────────────────────────────
conv1                  320  3×3
batch_norm1  1,234,567,890
";
        assert_eq!(table.to_string(), expect);
    }

    #[test]
    fn rows_can_be_printed_one_by_one() {
        let columns = Columns::new(&[("epoch", Align::Right, 3), ("loss", Align::Right, 8)]);
        assert_eq!(columns.header(), "epoch      loss");
        assert_eq!(columns.line(&["1", "0.25"]), "    1      0.25");
        assert_eq!(columns.rule().chars().count(), 15);
    }
}
