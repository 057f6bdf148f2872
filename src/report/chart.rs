//! Charts as SVG: panels of curves.

use std::ops::Range;

use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;

const GRID: RGBColor = RGBColor(225, 225, 225);
const INK: RGBColor = RGBColor(60, 60, 60);
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

/// Curves with common axes. Labels of the x axis are whole numbers.
pub struct Panel {
    pub title: &'static str,
    pub x_title: &'static str,
    pub x: Range<f64>,
    pub y: Range<f64>,
    /// The text of a value on the y axis.
    pub y_text: fn(f64) -> String,
    pub curves: Vec<Curve>,
    pub legend: Legend,
}

/// Panels side by side in a picture of so many pixels.
///
/// # Errors
///
/// Where the drawing library fails.
pub fn svg(size: (u32, u32), panels: &[Panel]) -> Result<String, Box<dyn std::error::Error>> {
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        root.fill(&WHITE)?;
        for (area, panel) in root.split_evenly((1, panels.len())).iter().zip(panels) {
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

fn draw(area: &DrawingArea<SVGBackend<'_>, plotters::coord::Shift>, panel: &Panel) -> Drawn {
    let mut chart = ChartBuilder::on(area)
        .margin(12)
        .margin_right(20)
        .caption(panel.title, ("sans-serif", 18).into_font().color(&INK))
        .x_label_area_size(40)
        .y_label_area_size(56)
        .build_cartesian_2d(panel.x.clone(), panel.y.clone())?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(GRID)
        .axis_style(INK)
        .label_style(("sans-serif", 13).into_font().color(&INK))
        .x_desc(panel.x_title)
        .x_labels(x_label_count(&panel.x))
        .y_labels(6)
        .x_label_formatter(&|x| if x.fract() == 0.0 { format!("{x}") } else { String::new() })
        .y_label_formatter(&|value| (panel.y_text)(*value))
        .draw()?;
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
        .label_font(("sans-serif", 13).into_font().color(&INK))
        .draw()?;
    Ok(())
}

/// At most a label a whole number.
fn x_label_count(x: &Range<f64>) -> usize {
    (x.end - x.start).min(9.0) as usize + 1
}

/// A number with at most four places.
pub fn plain(value: f64) -> String {
    let text = if value.abs() >= 1000.0 { format!("{value:.0}") } else { format!("{value:.4}") };
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
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
                y_text: plain,
                curves,
                legend: Legend::Above,
            };
            assert!(svg((400, 300), &[panel]).unwrap().ends_with("</svg>\n"), "{values:?}");
        }
        assert_eq!(x_label_count(&(1.0..1.8e19)), 10);
        assert_eq!(x_label_count(&(1.0..1.0)), 1);
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
