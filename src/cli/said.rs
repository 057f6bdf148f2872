//! What `cnnc predict` says of a picture: a line for people, of JSON, or of a table.

use serde::Serialize;

use crate::base::{numbers, visible};

use super::nested::Nested;

/// Probabilities sum to 1 but for rounding.
const SUM_TOLERANCE: f32 = 1e-3;

/// A line of output.
#[derive(Serialize)]
pub struct Line<'a> {
    pub picture: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<&'a str>,
    #[serde(flatten)]
    pub said: Said<'a>,
}

/// What a model says of a picture.
#[derive(Serialize)]
#[serde(untagged)]
pub enum Said<'a> {
    /// The most probable first.
    Classes {
        classes: Vec<Class>,
    },
    /// Of scores that have no order; it says why.
    NoClass {
        classes: [Class; 0],
        unclassified: String,
    },
    Output {
        output: Nested<'a>,
    },
}

/// A class and how probable it is.
#[derive(Serialize)]
pub struct Class {
    pub class: usize,
    pub name: String,
    pub probability: f32,
}

impl Line<'_> {
    /// For people.
    pub fn text(&self) -> String {
        let percent = |class: &Class| numbers::percent(f64::from(class.probability));
        let said = match &self.said {
            Said::Classes { classes } => {
                let classes =
                    classes.iter().map(|class| format!("{} {}", visible::name(&class.name), percent(class)));
                classes.collect::<Vec<_>>().join(", ")
            }
            Said::NoClass { unclassified, .. } => format!("no class: {unclassified}"),
            Said::Output { output } => output.to_string(),
        };
        let label = self.label.map(|label| format!("   (labelled {})", visible::name(label)));
        let label = label.unwrap_or_default();
        format!("{:<12} {said}{label}\n", visible::name(self.picture))
    }
}

/// Lines as a table of comma-separated values (RFC 4180): a picture a line, with its label where the data says it, then the
/// most probable classes or what else the model says of it, one column each.
pub struct Table {
    rows: Vec<Vec<String>>,
    columns: Vec<String>,
}

impl Table {
    pub fn new() -> Table {
        Table { rows: Vec::new(), columns: ["picture", "label"].map(String::from).to_vec() }
    }

    /// Adds a line; those with fewer columns than others have empty ones.
    pub fn add(&mut self, line: &Line<'_>) {
        let mut row = vec![line.picture.to_owned(), line.label.unwrap_or_default().to_owned()];
        let mut named = |names: &[String]| {
            let known = self.columns.len().min(2 + names.len());
            self.columns.extend_from_slice(&names[known - 2..]);
        };
        match &line.said {
            Said::Classes { classes } => {
                let names =
                    (1..=classes.len()).flat_map(|at| [format!("class_{at}"), format!("probability_{at}")]);
                named(&names.collect::<Vec<_>>());
                row.extend(
                    classes.iter().flat_map(|class| [class.name.clone(), class.probability.to_string()]),
                );
            }
            Said::NoClass { .. } => {}
            Said::Output { output } => {
                let numbers = output.numbers();
                named(&(1..=numbers.len()).map(|at| format!("output_{at}")).collect::<Vec<_>>());
                row.extend(numbers);
            }
        }
        self.rows.push(row);
    }

    /// The table with a line of names, as UTF-8.
    ///
    /// # Errors
    ///
    /// Those of the writer.
    pub fn bytes(&self) -> Result<Vec<u8>, csv::Error> {
        let mut writer = csv::Writer::from_writer(Vec::new());
        writer.write_record(&self.columns)?;
        for row in &self.rows {
            let missing = std::iter::repeat_n("", self.columns.len() - row.len());
            writer.write_record(row.iter().map(String::as_str).chain(missing))?;
        }
        writer.into_inner().map_err(|error| error.into_error().into())
    }
}

/// The softmax of scores, or the scores themselves where they are probabilities. Where the highest score is infinite, this
/// is the limit: all that have it share the probability.
pub fn probabilities(scores: &[f32]) -> Vec<f32> {
    let sum: f32 = scores.iter().sum();
    if (sum - 1.0).abs() < SUM_TOLERANCE && scores.iter().all(|score| *score >= 0.0) {
        return scores.to_vec();
    }
    let highest = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let power = |score: &f32| if *score == highest { 1.0 } else { (score - highest).exp() };
    let powers: Vec<f32> = scores.iter().map(power).collect();
    let total: f32 = powers.iter().sum();
    powers.iter().map(|power| power / total).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_become_probabilities_once() {
        let sure = probabilities(&[0.0, 1000.0]);
        assert_eq!(sure, [0.0, 1.0]);
        assert_eq!(probabilities(&sure), sure);
        assert_eq!(probabilities(&[3.0, 3.0]), [0.5, 0.5]);
        assert_eq!(probabilities(&[0.25, 0.75]), [0.25, 0.75]);
        let mixed = probabilities(&[-1.0, 2.0]);
        assert!((mixed.iter().sum::<f32>() - 1.0).abs() < 1e-6 && mixed[1] > 0.9, "{mixed:?}");
    }

    #[test]
    fn infinite_scores_have_probabilities() {
        assert_eq!(probabilities(&[1.0, f32::INFINITY, f32::NEG_INFINITY]), [0.0, 1.0, 0.0]);
        assert_eq!(probabilities(&[f32::INFINITY, 0.0, f32::INFINITY]), [0.5, 0.0, 0.5]);
        assert_eq!(probabilities(&[f32::NEG_INFINITY, 0.0]), [0.0, 1.0]);
        assert_eq!(probabilities(&[f32::NEG_INFINITY; 2]), [0.5, 0.5]);
    }

    #[test]
    fn tables_have_a_column_for_all_that_is_said() {
        let class = |class: usize, name: &str, probability| Class { class, name: name.into(), probability };
        let mut table = Table::new();
        let classes = vec![class(1, "a, \"b\"", 0.75)];
        table.add(&Line { picture: "x.png", label: None, said: Said::Classes { classes } });
        let unclassified = "1 of the 2 scores are NaN".into();
        table.add(&Line {
            picture: "y.png",
            label: Some("c"),
            said: Said::NoClass { classes: [], unclassified },
        });
        let classes = vec![class(0, "c", 0.5), class(1, "d", 0.25)];
        table.add(&Line { picture: "z\n.png", label: Some("d"), said: Said::Classes { classes } });
        let expect = "picture,label,class_1,probability_1,class_2,probability_2\n\
                      x.png,,\"a, \"\"b\"\"\",0.75,,\n\
                      y.png,c,,,,\n\
                      \"z\n.png\",d,c,0.5,d,0.25\n";
        assert_eq!(String::from_utf8(table.bytes().unwrap()).unwrap(), expect);
    }
}
