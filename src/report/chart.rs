//! Charts as SVG: panels of curves.

use std::ops::Range;

use plotters::coord::Shift;
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

const GRID: RGBColor = RGBColor(225, 225, 225);
const INK: RGBColor = RGBColor(60, 60, 60);
const MARKED: RGBColor = RGBColor(150, 150, 150);

/// In pixels: the title of a picture, that of a panel, a row of marks, and what is around a panel.
const HEAD: u32 = 32;
const CAPTION: u32 = 18;
const ROW: u32 = 16;
const MARGIN: u32 = 12;
/// The sizes of letters, and the pixels that one of them takes at most on average.
const TITLE_FONT: u32 = 18;
const LABEL_FONT: u32 = 13;
const LETTER: u32 = 8;
const TITLE_LETTER: u32 = 10;

/// Longer curves are lines without dots.
const MOST_DOTS: usize = 60;

pub const BLUE: RGBColor = RGBColor(31, 119, 180);
pub const ORANGE: RGBColor = RGBColor(214, 94, 0);

type Chart<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;
type Drawn = Result<(), Box<dyn std::error::Error>>;

/// Points joined by a line, from left to right; all finite.
pub struct Curve {
    pub label: String,
    pub color: RGBColor,
    pub points: Vec<(f64, f64)>,
}

/// Where a panel names its curves.
#[derive(Clone, Copy, Debug)]
pub enum Legend {
    Above,
    Below,
}

/// A place on the x axis that has a name.
#[derive(Clone, Debug)]
pub struct Mark {
    pub x: f64,
    pub label: String,
    /// The line above the curves that its label stands in, from 0: the labels of a line are in the order of their places.
    pub row: usize,
}

/// Curves with common axes. Labels of the x axis are whole numbers.
pub struct Panel {
    pub title: &'static str,
    pub x_title: &'static str,
    pub x: Range<f64>,
    pub y: Range<f64>,
    /// The text of a value on the y axis; none for one that [`axis_text`] finds.
    pub y_text: Option<fn(f64) -> String>,
    pub curves: Vec<Curve>,
    pub legend: Legend,
    pub marks: Vec<Mark>,
}

/// Panels side by side below a title, in a picture of so many pixels.
///
/// # Errors
///
/// Where the drawing library fails.
pub fn svg(title: &str, size: (u32, u32), panels: &[Panel]) -> Result<String, Box<dyn std::error::Error>> {
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        root.fill(&WHITE)?;
        let (head, body) = root.split_vertically(HEAD);
        let most = (size.0.saturating_sub(2 * MARGIN) / TITLE_LETTER) as usize;
        head.draw(&Text::new(shortened(title, most), (MARGIN as i32, 12), font(TITLE_FONT)))?;
        for (area, panel) in body.split_evenly((1, panels.len())).iter().zip(panels) {
            draw(area, panel)?;
        }
        root.present()?;
    }
    Ok(svg)
}

/// Whether a value is drawn. Between larger ones a range has no length that is a number.
fn is_drawn(value: f64) -> bool {
    value.abs() <= 1e300
}

/// The range of all values with some air, never above `limit`.
pub fn value_range(curves: &[Curve], limit: f64) -> Range<f64> {
    let all = || curves.iter().flat_map(|curve| &curve.points).map(|(_, value)| *value);
    let values = || all().filter(|value| is_drawn(*value));
    let (low, high) = (values().fold(f64::INFINITY, f64::min), values().fold(f64::NEG_INFINITY, f64::max));
    if low > high {
        return 0.0..1.0;
    }
    // Values this near to each other are equal to the eye, and labels between them may be no numbers of their own.
    let size = low.abs().max(high.abs()).max(1e-3);
    let air = if high - low > size * 1e-9 { (high - low) * 0.06 } else { size * 0.1 };
    let top = if high <= limit { (high + air).min(limit) } else { high + air };
    let bottom = if low >= 0.0 { (low - air).max(0.0) } else { low - air };
    bottom..top
}

fn draw(area: &DrawingArea<SVGBackend<'_>, Shift>, panel: &Panel) -> Drawn {
    let y_text: Box<dyn Fn(f64) -> String> = match panel.y_text {
        Some(text) => Box::new(text),
        None => axis_text(&panel.y),
    };
    let longest = [panel.y.start, (panel.y.start + panel.y.end) / 2.0, panel.y.end].map(&y_text);
    let longest = longest.iter().map(|text| text.chars().count() as u32).max().unwrap_or_default();
    let left = longest * LETTER + 16;
    let rows = panel.marks.iter().map(|mark| mark.row as u32 + 1).max().unwrap_or_default();
    let mut chart = ChartBuilder::on(area)
        .margin(MARGIN)
        .margin_right(20)
        .margin_top(MARGIN + CAPTION + rows * ROW)
        .x_label_area_size(40)
        .y_label_area_size(left.max(40))
        .build_cartesian_2d(panel.x.clone(), panel.y.clone())?;
    let middle = (area.dim_in_pixel().0 / 2) as i32;
    let centred = font(TITLE_FONT).pos(Pos::new(HPos::Center, VPos::Top));
    area.draw(&Text::new(panel.title, (middle, 8), centred))?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(GRID)
        .axis_style(INK)
        .label_style(font(LABEL_FONT))
        .x_desc(panel.x_title)
        .x_labels(x_label_count(&panel.x, area.dim_in_pixel().0.saturating_sub(left + 40)))
        .y_labels(6)
        .x_label_formatter(&|x| if x.fract() == 0.0 { format!("{x}") } else { String::new() })
        .y_label_formatter(&|value| y_text(*value))
        .draw()?;
    draw_marks(area, &mut chart, panel)?;
    for curve in panel.curves.iter().filter(|curve| !curve.points.is_empty()) {
        draw_curve(&mut chart, curve)?;
    }
    chart
        .configure_series_labels()
        .position(match panel.legend {
            Legend::Above => SeriesLabelPosition::UpperRight,
            Legend::Below => SeriesLabelPosition::LowerRight,
        })
        .background_style(WHITE.mix(0.85))
        .border_style(GRID)
        .label_font(font(LABEL_FONT))
        .draw()?;
    Ok(())
}

/// Lines at the marks of a panel, with their labels above it. A label has the room up to the next one of its row.
fn draw_marks(area: &DrawingArea<SVGBackend<'_>, Shift>, chart: &mut Chart<'_, '_>, panel: &Panel) -> Drawn {
    let base = area.get_base_pixel();
    let rows = panel.marks.iter().map(|mark| mark.row + 1).max().unwrap_or_default();
    let right = area.dim_in_pixel().0 as i32;
    let place = |chart: &Chart<'_, '_>, mark: &Mark| {
        let (x, y) = chart.backend_coord(&(mark.x, panel.y.end));
        (x - base.0, y - base.1)
    };
    for (at, mark) in panel.marks.iter().enumerate() {
        let (x, top) = place(chart, mark);
        let next = panel.marks[at + 1..].iter().find(|next| next.row == mark.row);
        let end = next.map_or(right, |next| place(chart, next).0) - 4;
        // Near the right end there is room on the left.
        let whole = mark.label.chars().count() as i32 * LETTER as i32;
        let start = if next.is_none() { x.min((end - whole).max(0)) } else { x };
        let most = ((end - start).max(0) as u32 / LETTER) as usize;
        let line = [(mark.x, panel.y.start), (mark.x, panel.y.end)];
        chart.draw_series(std::iter::once(PathElement::new(line, MARKED)))?;
        let label = shortened(&mark.label, most);
        let above = top - (rows - mark.row) as i32 * ROW as i32;
        area.draw(&Text::new(label, (start, above), font(LABEL_FONT)))?;
    }
    Ok(())
}

fn font(size: u32) -> TextStyle<'static> {
    ("sans-serif", size).into_font().color(&INK)
}

/// A text of at most so many letters; one that is cut ends in an ellipsis.
fn shortened(text: &str, most: usize) -> String {
    match text.chars().count() <= most {
        true => text.to_owned(),
        false if most < 2 => String::new(),
        false => text.chars().take(most - 1).chain(['…']).collect(),
    }
}

/// At most a label a whole number, and none over another, on so many pixels.
fn x_label_count(x: &Range<f64>, pixels: u32) -> usize {
    let letters = format!("{:.0}", x.end).len() as u32;
    let most = (pixels / ((letters + 2) * LETTER)).clamp(2, 10);
    (x.end - x.start).min(f64::from(most - 1)) as usize + 1
}

/// The text of numbers on an axis of this range: with as many places as tell its labels apart, and with an exponent
/// where they would be long.
pub fn axis_text(range: &Range<f64>) -> Box<dyn Fn(f64) -> String> {
    let size = range.start.abs().max(range.end.abs());
    // About six labels, whose distances are 1, 2 or 5 times a power of ten.
    let step = ((range.end - range.start) / 10.0).max(f64::MIN_POSITIVE);
    if (1e-3..1e6).contains(&size) {
        let places = (-step.log10().floor()).clamp(0.0, 12.0) as usize;
        return Box::new(move |value| trimmed(&format!("{value:.places$}")));
    }
    let places = (size.log10().floor() - step.log10().floor()).clamp(0.0, 12.0) as usize;
    Box::new(move |value| match format!("{value:.places$e}").split_once('e') {
        _ if value == 0.0 => "0".to_owned(),
        Some((digits, exponent)) => format!("{}e{exponent}", trimmed(digits)),
        None => value.to_string(),
    })
}

/// A number without the zeros at its end.
fn trimmed(text: &str) -> String {
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { text };
    if text == "-0" { "0".to_owned() } else { text.to_owned() }
}

fn draw_curve<'a, 'b: 'a>(chart: &mut Chart<'a, 'b>, curve: &Curve) -> Drawn {
    let color = curve.color;
    let points: Vec<(f64, f64)> =
        curve.points.iter().copied().filter(|(_, value)| is_drawn(*value)).collect();
    let line = LineSeries::new(points.iter().copied(), color.stroke_width(2));
    chart
        .draw_series(line)?
        .label(&curve.label)
        .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], color.stroke_width(2)));
    if points.len() <= MOST_DOTS {
        chart.draw_series(points.iter().map(|point| Circle::new(*point, 3, color.filled())))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A chart is made of any numbers, and soon.
    #[test]
    fn any_numbers_are_drawn() {
        for values in [[1e308, -1e308], [f64::NAN, 1.0], [1e300, 1e300], [0.0, 5e-324], [f64::INFINITY, 2.0]]
        {
            let points = vec![(1.0, values[0]), (2.0, values[1])];
            let curves = vec![Curve { label: "a".into(), color: BLUE, points }];
            let y = value_range(&curves, f64::INFINITY);
            assert!((y.end - y.start).is_finite() && y.end > y.start, "{values:?}: {y:?}");
            let panel = Panel {
                title: "t",
                x_title: "x",
                x: 1.0..2.0,
                y,
                y_text: None,
                curves,
                legend: Legend::Above,
                marks: Vec::new(),
            };
            assert!(svg("a", (400, 300), &[panel]).unwrap().ends_with("</svg>\n"), "{values:?}");
        }
        assert_eq!(x_label_count(&(1.0..20.0), 400), 10);
        assert_eq!(x_label_count(&(1.0..1.8e19), 400), 2);
        assert_eq!(x_label_count(&(1.0..1.0), 400), 1);
    }

    /// Today a loss of 1e-9 has the label 0 everywhere, and one of 123456 a label wider than its room.
    #[test]
    fn labels_tell_numbers_apart() {
        let texts = |range: Range<f64>, values: &[f64]| {
            let text = axis_text(&range);
            values.iter().map(|value| text(*value)).collect::<Vec<_>>()
        };
        assert_eq!(texts(0.0..2.5, &[0.0, 0.5, 2.0]), ["0", "0.5", "2"]);
        assert_eq!(texts(0.0..1e-9, &[0.0, 2e-10, 4e-10]), ["0", "2e-10", "4e-10"]);
        assert_eq!(texts(123450.0..123460.0, &[123452.0, 123454.0]), ["123452", "123454"]);
        assert_eq!(texts(0.0..5e9, &[1e9, 2.5e9]), ["1e9", "2.5e9"]);
        assert_eq!(texts(0.9999..1.0001, &[0.99995, 1.0]), ["0.99995", "1"]);
        assert_eq!(texts(-3.0..-1.0, &[-2.5, -0.0]), ["-2.5", "0"]);
    }

    #[test]
    fn long_labels_are_cut() {
        assert_eq!(["phase", "a long name of a phase"].map(|text| shortened(text, 8)), ["phase", "a long …"]);
        assert_eq!(shortened("phase", 1), "");
    }

    #[test]
    fn ranges_have_air_within_limits() {
        let curve =
            |points: &[(f64, f64)]| [Curve { label: String::new(), color: BLUE, points: points.to_vec() }];
        assert_eq!(value_range(&curve(&[(1.0, 0.0), (2.0, 100.0)]), 100.0), 0.0..100.0);
        assert_eq!(value_range(&curve(&[(1.0, 2.0)]), f64::INFINITY), 1.8..2.2);
        assert_eq!(value_range(&curve(&[]), 100.0), 0.0..1.0);
    }
}
