//! A confusion matrix as a picture: a square a pair of classes, the darker the more of the label's images it has.

use std::path::Path;

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::base::files::write_atomically;
use crate::base::visible;
use crate::train::confusion::Confusion;

const INK: RGBColor = RGBColor(60, 60, 60);
/// The colour of a row whose images are all in one square.
const FULL: [f64; 3] = [31.0, 90.0, 160.0];
/// More classes have no names beside the matrix, and fewer have their counts in it.
const MOST_NAMED: usize = 64;
const MOST_COUNTED: usize = 24;
/// Pixels of the squares together, and of a name's longest part that is shown.
const SIDE: i32 = 560;
const LONGEST: usize = 14;
/// Room for names and titles.
const LEFT: i32 = 130;
const TOP: i32 = 50;
const BOTTOM: i32 = 120;

/// Writes the picture.
///
/// # Errors
///
/// Where it cannot be drawn or written.
pub fn write(path: &Path, confusion: &Confusion, names: &[String]) -> std::io::Result<()> {
    let svg = svg(confusion, names).map_err(|error| std::io::Error::other(error.to_string()))?;
    write_atomically(path, svg.as_bytes())
}

fn svg(confusion: &Confusion, names: &[String]) -> Result<String, Box<dyn std::error::Error>> {
    let mut svg = String::new();
    let classes = confusion.rows().len();
    let cell = (SIDE / classes.max(1) as i32).clamp(1, 64);
    let size = (LEFT + cell * classes as i32 + 30, TOP + cell * classes as i32 + BOTTOM);
    {
        let root = SVGBackend::with_string(&mut svg, (size.0 as u32, size.1 as u32)).into_drawing_area();
        root.fill(&WHITE)?;
        let middle = LEFT + cell * classes as i32 / 2;
        root.draw(&text(
            "rows: what an image is; columns: what it is taken for",
            (middle, 24),
            16,
            HPos::Center,
            INK,
        ))?;
        for (row, counts) in confusion.rows().iter().enumerate() {
            let images: u64 = counts.iter().sum();
            for (column, count) in counts.iter().enumerate() {
                let corner = (LEFT + cell * column as i32, TOP + cell * row as i32);
                let share = *count as f64 / images.max(1) as f64;
                let square = [corner, (corner.0 + cell, corner.1 + cell)];
                root.draw(&Rectangle::new(square, shade(share).filled()))?;
                if classes <= MOST_COUNTED && *count > 0 {
                    let color = if share > 0.5 { WHITE } else { INK };
                    let at = (corner.0 + cell / 2, corner.1 + cell / 2);
                    root.draw(&text(&count.to_string(), at, (cell / 3).clamp(7, 14), HPos::Center, color))?;
                }
            }
        }
        if classes <= MOST_NAMED {
            let height = (cell - 2).clamp(7, 14);
            for class in 0..classes {
                let name = shortened(class, names);
                let at = cell * class as i32 + cell / 2;
                root.draw(&text(&name, (LEFT - 8, TOP + at), height, HPos::Right, INK))?;
                let below = (LEFT + at, TOP + cell * classes as i32 + 8);
                let style = ("sans-serif", height).into_font().transform(FontTransform::Rotate90).color(&INK);
                root.draw(&Text::new(name, below, style.pos(Pos::new(HPos::Left, VPos::Center))))?;
            }
        }
        root.present()?;
    }
    Ok(svg)
}

/// From white to the full colour.
fn shade(share: f64) -> RGBColor {
    let [red, green, blue] = FULL.map(|full| (255.0 + (full - 255.0) * share).round() as u8);
    RGBColor(red, green, blue)
}

fn text(
    text: &str,
    at: (i32, i32),
    height: i32,
    side: HPos,
    color: RGBColor,
) -> Text<'static, (i32, i32), String> {
    let style = ("sans-serif", height).into_font().color(&color).pos(Pos::new(side, VPos::Center));
    Text::new(text.to_owned(), at, style)
}

/// A class's name, or its number, as far as there is room.
fn shortened(class: usize, names: &[String]) -> String {
    let name = names.get(class).map_or_else(|| class.to_string(), |name| visible::name(name));
    match name.char_indices().nth(LONGEST) {
        None => name,
        Some(_) => name.chars().take(LONGEST - 1).chain(['…']).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rectangles of a matrix behind the ground, and its texts.
    fn drawn(classes: usize) -> (usize, String) {
        let mut confusion = Confusion::default();
        for label in 0..classes {
            let mut scores = vec![0.0; classes];
            scores[label / 2] = 1.0;
            confusion.add(&scores, &[label as i32]);
        }
        let names: Vec<String> = (0..classes).map(|class| format!("<class> numbers {class}")).collect();
        let svg = svg(&confusion, &names).unwrap();
        (svg.matches("<rect").count() - 1, svg)
    }

    #[test]
    fn every_pair_of_classes_has_a_square() {
        for classes in [1, 3, 24, 100] {
            assert_eq!(drawn(classes).0, classes * classes);
        }
        // Beside its row and below its column, as far as there is room.
        assert_eq!(drawn(3).1.matches("&lt;class&gt; numbe…").count(), 6);
        assert!(!drawn(100).1.contains("class"));
    }
}
