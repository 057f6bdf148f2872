//! Tables of text with aligned columns.
//!
//! A [`Table`] knows all its rows before it is printed. [`Columns`] print one row at a time, at widths that are known
//! beforehand: the table of a run's epochs.
//!
//! Where a terminal is too narrow for a table, its columns move together, titles break between words and texts where
//! they can; if that is not enough, a row goes on in a second line. Nothing is left out.

use std::fmt;
use std::ops::Range;

/// Where the cells of a column stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    Left,
    Right,
}

/// A column: its title, its side, and the width in characters that its cells have at least.
#[derive(Clone, Debug)]
struct Column {
    title: String,
    align: Align,
    width: usize,
}

/// A text column is made no narrower for the others.
const LEAST_TEXT: usize = 12;

/// How far a row is moved in where it goes on in another line.
const INDENT: usize = 2;

/// Columns of a table that is printed row by row.
#[derive(Clone, Debug)]
pub struct Columns {
    columns: Vec<Column>,
    /// The characters of a line; none where it has no end.
    limit: Option<usize>,
}

/// How columns fit into lines.
struct Layout {
    widths: Vec<usize>,
    gap: usize,
    /// The columns of each line of a row.
    lines: Vec<Range<usize>>,
    /// Whether texts are broken.
    is_narrow: bool,
}

impl Columns {
    /// Columns by title, side and least width; a title always fits.
    pub fn new(columns: &[(&str, Align, usize)]) -> Columns {
        let column = |(title, align, width): &(&str, Align, usize)| Column {
            title: (*title).to_owned(),
            align: *align,
            width: *width,
        };
        Columns { columns: columns.iter().map(column).collect(), limit: None }
    }

    /// The same in lines of so many characters.
    pub fn within(self, limit: Option<usize>) -> Columns {
        Columns { limit, ..self }
    }

    /// The line of titles.
    pub fn header(&self) -> String {
        let layout = self.layout();
        let titles = self.columns.iter().map(|column| match layout.is_narrow {
            true => broken(&column.title, words(&column.title)),
            false => vec![column.title.clone()],
        });
        self.lines(&layout, &titles.collect::<Vec<_>>(), true)
    }

    /// A row, one cell a column; a cell wider than its column pushes the others to the right.
    pub fn line(&self, cells: &[impl AsRef<str>]) -> String {
        assert_eq!(cells.len(), self.columns.len());
        let layout = self.layout();
        let cell = |((column, cell), width): ((&Column, &str), &usize)| match column.align {
            Align::Left if layout.is_narrow => broken(cell, *width),
            Align::Left | Align::Right => vec![cell.to_owned()],
        };
        let cells = self.columns.iter().zip(cells.iter().map(AsRef::as_ref)).zip(&layout.widths).map(cell);
        self.lines(&layout, &cells.collect::<Vec<_>>(), false)
    }

    /// The line between titles and rows.
    pub fn rule(&self) -> String {
        let layout = self.layout();
        "─".repeat(layout.lines.iter().map(|line| layout.length(line)).max().unwrap_or_default())
    }

    fn layout(&self) -> Layout {
        let whole = |title: &str| title.chars().count();
        let widths = |title: &dyn Fn(&str) -> usize| -> Vec<usize> {
            self.columns.iter().map(|column| column.width.max(title(&column.title))).collect()
        };
        let lines = std::iter::once(0..self.columns.len()).collect();
        let layout = Layout { widths: widths(&whole), gap: 2, lines, is_narrow: false };
        match self.limit {
            Some(limit) if layout.length(&layout.lines[0]) > limit => {
                let mut layout = Layout { widths: widths(&words), gap: 1, is_narrow: true, ..layout };
                self.narrow(&mut layout, limit);
                layout.break_rows(limit);
                layout
            }
            _ => layout,
        }
    }

    /// Makes the columns of text as narrow as needed, the widest first.
    fn narrow(&self, layout: &mut Layout, limit: usize) {
        while layout.length(&layout.lines[0]) > limit {
            let texts = self.columns.iter().enumerate().filter(|(_, column)| column.align == Align::Left);
            let widest = texts.map(|(at, _)| at).max_by_key(|at| layout.widths[*at]);
            match widest {
                Some(at) if layout.widths[at] > LEAST_TEXT => layout.widths[at] -= 1,
                _ => return,
            }
        }
    }

    /// A row whose cells are lines themselves; titles stand at the bottom, others at the top.
    fn lines(&self, layout: &Layout, cells: &[Vec<String>], is_title: bool) -> String {
        let mut text = Vec::new();
        for (at, range) in layout.lines.iter().enumerate() {
            let height = cells[range.clone()].iter().map(Vec::len).max().unwrap_or_default();
            for row in 0..height {
                let cell = |column: usize| {
                    let lines = &cells[column];
                    let line = if is_title { (row + lines.len()).checked_sub(height) } else { Some(row) };
                    let line = line.and_then(|line| lines.get(line)).map_or("", String::as_str);
                    let width = layout.widths[column];
                    match self.columns[column].align {
                        Align::Left => format!("{line:<width$}"),
                        Align::Right => format!("{line:>width$}"),
                    }
                };
                let joined = range.clone().map(cell).collect::<Vec<_>>().join(&" ".repeat(layout.gap));
                let indent = if at > 0 { " ".repeat(INDENT) } else { String::new() };
                text.push((indent + &joined).trim_end().to_owned());
            }
        }
        text.join("\n")
    }
}

impl Layout {
    fn length(&self, line: &Range<usize>) -> usize {
        let widths: usize = self.widths[line.clone()].iter().map(|width| width + self.gap).sum();
        let indent = if line.start > 0 { INDENT } else { 0 };
        (indent + widths).saturating_sub(self.gap)
    }

    /// Lets rows go on in another line where they are too long.
    fn break_rows(&mut self, limit: usize) {
        let mut lines = Vec::new();
        let mut line = 0..0;
        for column in 0..self.widths.len() {
            let longer = line.start..column + 1;
            if column > line.start && self.length(&longer) > limit {
                lines.push(line);
                line = column..column + 1;
            } else {
                line = longer;
            }
        }
        lines.push(line);
        self.lines = lines;
    }
}

/// The characters of the longest word.
fn words(text: &str) -> usize {
    text.split(' ').map(|word| word.chars().count()).max().unwrap_or_default()
}

/// A text in lines of at most `width` characters, which end behind a space, else behind a sign, else anywhere.
fn broken(text: &str, width: usize) -> Vec<String> {
    let letters: Vec<char> = text.chars().collect();
    let width = width.max(1);
    let (mut lines, mut start) = (Vec::new(), 0);
    while letters.len() - start > width {
        let end = start + width;
        let seam = |is_seam: fn(char) -> bool| (start + 1..=end).rev().find(|at| is_seam(letters[at - 1]));
        let space = if letters[end] == ' ' { Some(end) } else { seam(|letter| letter == ' ') };
        let cut = space.or_else(|| seam(|letter| !letter.is_alphanumeric())).unwrap_or(end);
        lines.push(letters[start..cut].iter().collect::<String>().trim_end().to_owned());
        start = cut + usize::from(letters.get(cut) == Some(&' '));
    }
    lines.push(letters[start..].iter().collect());
    lines
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

    /// The same in lines of so many characters.
    pub fn within(self, limit: Option<usize>) -> Table {
        Table { columns: self.columns.within(limit), ..self }
    }

    /// Appends a row, one cell a column.
    pub fn row(&mut self, cells: Vec<String>) {
        assert_eq!(cells.len(), self.columns.columns.len());
        for (column, cell) in self.columns.columns.iter_mut().zip(&cells) {
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

    /// The table of a run's epochs: today its lines of 78 characters break anywhere on a narrow terminal.
    #[test]
    fn narrow_lines_have_all_of_a_row() {
        let columns = [
            ("epoch", 5),
            ("train loss", 8),
            ("train acc", 8),
            ("test loss", 8),
            ("test acc", 8),
            ("time", 8),
            ("images/s", 9),
        ];
        let columns: Vec<_> = columns.iter().map(|(title, width)| (*title, Align::Right, *width)).collect();
        let columns = Columns::new(&columns);
        let cells = ["1", "1.6275", "52.99 %", "0.5372", "84.40 %", "452 ms", "3,179"];
        let wide = columns.clone().within(Some(80));
        assert_eq!(wide.line(&cells), columns.line(&cells));
        let narrow = columns.clone().within(Some(60));
        let text = format!("{}\n{}\n{}", narrow.header(), narrow.rule(), narrow.line(&cells));
        let expect = "
         train    train     test     test
epoch     loss      acc     loss      acc     time  images/s
────────────────────────────────────────────────────────────
    1   1.6275  52.99 %   0.5372  84.40 %   452 ms     3,179";
        assert_eq!(text, expect[1..]);
        let narrow = columns.within(Some(40));
        let text = format!("{}\n{}\n{}", narrow.header(), narrow.rule(), narrow.line(&cells));
        let expect = "
         train    train     test
epoch     loss      acc     loss
      test
       acc     time  images/s
────────────────────────────────
    1   1.6275  52.99 %   0.5372
   84.40 %   452 ms     3,179";
        assert_eq!(text, expect[1..]);
    }

    /// Today a long name makes all lines as long.
    #[test]
    fn long_texts_are_broken() {
        let mut table = Table::new(&[("kernel", Align::Left), ("ms", Align::Right)]).within(Some(24));
        table.row(vec!["conv1.conv2d.y+conv1.add_channels.y".into(), "0.125".into()]);
        table.row(vec!["a text of several words".into(), "1.000".into()]);
        let expect = "\
kernel                ms
────────────────────────
conv1.conv2d.y+    0.125
conv1.add_
channels.y
a text of several  1.000
words
";
        assert_eq!(table.to_string(), expect);
    }
}
