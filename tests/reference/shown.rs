//! What a person sees of a run: its table, its last lines, and its pictures.

use crate::reference::network::Sums;
use crate::reference::program::{LOGGED, check, json, lines, place, run, with};
use crate::reference::trainer::{Phase, Trained, sgd};

const SETTINGS: &str = "optim = sgd(0.3);  batch = 5;  epochs = 3;";

fn trained() -> Trained {
    with(vec![Phase::new(3, 5, sgd(0.3, 0.0, 0.0))]).run()
}

/// Whether a number that is shown is another one, rounded to so many places.
#[track_caller]
fn shows(text: &str, wanted: f64, step: f64) {
    let found: f64 = text.parse().unwrap_or_else(|_| panic!("`{text}` is no number"));
    assert!((found - wanted).abs() < 0.6 * step, "{text}, not {wanted}");
}

/// Each column is what its title says, and so is each figure of the last line.
#[test]
fn the_table() {
    let place = place("holdout = 6;  shuffle = false;", &format!("{LOGGED}  {SETTINGS}"));
    let said = run(&place, "run", &[]);
    let titles =
        "epoch  train loss  train acc  train top2  val loss   val acc  val top2      time   images/s";
    let table: Vec<&str> = said.lines().skip_while(|line| *line != titles).collect();
    assert!(!table.is_empty(), "{said}");
    let trained = trained();
    for (at, (line, epoch)) in table.iter().skip(2).zip(&trained.epochs).enumerate() {
        let words: Vec<&str> = line.split_whitespace().filter(|word| *word != "%").collect();
        assert_eq!(words[0], (at + 1).to_string());
        let percent = |count: f64, sums: &Sums| 100.0 * count / sums.samples;
        for (words, sums) in [(&words[1..4], &epoch.train), (&words[4..7], &epoch.val)] {
            shows(words[0], sums.mean_loss(), 1e-4);
            shows(words[1], percent(sums.correct, sums), 1e-2);
            shows(words[2], percent(sums.in_top, sums), 1e-2);
        }
    }
    let last = said.lines().find(|line| line.starts_with("test ")).expect("the test");
    let numbers: Vec<&str> =
        last.split(' ').filter(|word| word.trim_end_matches(';').parse::<f64>().is_ok()).collect();
    let test = &trained.test;
    shows(numbers[0], 100.0 * test.correct / test.samples, 1e-2);
    shows(numbers[1], 100.0 * test.in_top / test.samples, 1e-2);
    shows(numbers[2].trim_end_matches(';'), test.mean_loss(), 1e-4);

    // With `--json` the lines are those of the files.
    let said = run(&place, "json", &["--json"]);
    let shown: Vec<_> = said.lines().map(json).collect();
    let files = [lines(&place, "json/metrics.jsonl"), lines(&place, "json/final.json")].concat();
    assert_eq!(shown, files);
}

/// A number among the attributes of an element.
fn number(element: &str, key: &str) -> f64 {
    let rest = element.split(&format!(" {key}=\"")).nth(1).expect("a place");
    rest.split('"').next().and_then(|number| number.parse().ok()).expect("a number")
}

/// The places and the values of the labels of vertical axes.
fn ticks(svg: &str) -> Vec<((f64, f64), f64)> {
    let texts = svg.split("<text").skip(1).filter(|text| text.contains("text-anchor=\"end\""));
    let tick = |text: &str| {
        let value = text.split('>').nth(1)?.split('<').next()?.trim().parse().ok()?;
        Some(((number(text, "x"), number(text, "y")), value))
    };
    texts.filter_map(tick).collect()
}

/// The dots of a color, from left to right.
fn dots(svg: &str, color: &str) -> Vec<(f64, f64)> {
    let circles = svg.split("<circle").skip(1).map(|rest| rest.split("/>").next().unwrap_or_default());
    let mut found: Vec<(f64, f64)> = circles
        .filter(|circle| circle.contains(color))
        .map(|circle| (number(circle, "cx"), number(circle, "cy")))
        .collect();
    found.sort_by(|one, other| one.0.total_cmp(&other.0));
    found
}

/// Whether dots lie on one scale of their values: the height of a dot is a line of its value.
#[track_caller]
fn on_one_scale(what: &str, dots: &[(f64, f64)], values: &[f64]) {
    assert_eq!(dots.len(), values.len(), "{what}");
    let of = |pick: fn(f64, f64) -> f64| {
        let value = values.iter().copied().reduce(pick).expect("a value");
        let at = values.iter().position(|known| *known == value).expect("one of them");
        (value, dots[at].1)
    };
    let ((low, bottom), (high, top)) = (of(f64::min), of(f64::max));
    assert!(bottom - top > 50.0, "{what}: the largest value is highest");
    for ((_, y), value) in dots.iter().zip(values) {
        let wanted = bottom + (top - bottom) * (value - low) / (high - low);
        assert!((y - wanted).abs() < 2.5, "{what}: {value} is at {y}, not {wanted}; {dots:?} {values:?}");
    }
}

const BLUE: &str = "#1F77B4";
const ORANGE: &str = "#D65E00";

/// Training is blue and validation orange; the norms of the first epoch are blue and those of the last orange, on a scale
/// of their logarithms.
#[test]
fn curves() {
    let training = with(vec![Phase::new(3, 5, sgd(0.3, 0.0, 0.0))]);
    let (place, trained) = check("holdout = 6;", SETTINGS, &training);
    let svg = place.text("run/curves.svg");
    let (blue, orange) = (dots(&svg, BLUE), dots(&svg, ORANGE));
    let figures: [fn(&Sums) -> f64; 3] = [
        Sums::mean_loss,
        |sums| 100.0 * sums.correct / sums.samples,
        |sums| 100.0 * sums.in_top / sums.samples,
    ];
    for (panel, figure) in figures.iter().enumerate() {
        let part = panel * 3..panel * 3 + 3;
        let mut dots = [&blue[part.clone()], &orange[part]].concat();
        let train = trained.epochs.iter().map(|epoch| figure(&epoch.train));
        let mut values: Vec<f64> =
            train.chain(trained.epochs.iter().map(|epoch| figure(&epoch.val))).collect();
        // The axis says the same.
        let within = |x: f64| (dots[0].0 - 60.0..dots[0].0).contains(&x);
        let (places, labels): (Vec<_>, Vec<_>) =
            ticks(&svg).into_iter().filter(|((x, _), _)| within(*x)).unzip();
        assert!(labels.len() > 2, "panel {panel}: {labels:?}");
        dots.extend(places);
        values.extend::<Vec<f64>>(labels);
        on_one_scale(&format!("panel {panel}"), &dots, &values);
        for epochs in dots[..6].chunks(3) {
            let [first, second, third] = [epochs[0].0, epochs[1].0, epochs[2].0];
            assert!((second - first - (third - second)).abs() <= 1.0 && second - first > 50.0, "{epochs:?}");
        }
    }
    let svg = place.text("run/gradients.svg");
    let steps = trained.losses.len() / 3;
    let mean = |epoch: usize, name: &str| {
        let norms = trained.norms[epoch * steps..(epoch + 1) * steps].iter().map(|norms| norms[name]);
        (norms.sum::<f64>() / steps as f64).log10()
    };
    let values: Vec<f64> = [0, 2]
        .into_iter()
        .flat_map(|epoch| ["a.weight", "ab.weight"].map(|name| mean(epoch, name)))
        .collect();
    on_one_scale("gradients", &[dots(&svg, BLUE), dots(&svg, ORANGE)].concat(), &values);
    for (epoch, color) in [(1, BLUE), (3, ORANGE)] {
        assert!(svg.contains(&format!("epoch {epoch}")) && svg.contains(color));
    }
}
