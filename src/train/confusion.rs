//! The confusion matrix: which class the images of each class are taken for.

use serde::{Deserialize, Serialize};

/// How often each class was predicted. It is empty until images are added.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Confusion {
    /// A row a label, a column a prediction.
    #[serde(rename = "confusion")]
    rows: Vec<Vec<u64>>,
    /// The images of which a score is NaN: they are in no row.
    #[serde(default)]
    unclassified: u64,
}

/// How well a class is told from the others. A share of nothing is NaN, and null in JSON.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ClassFigures {
    /// Images whose label it is.
    pub images: u64,
    /// The share of right ones among those that are taken for it.
    pub precision: f64,
    /// The share of its images that are taken for it.
    pub recall: f64,
    /// The harmonic mean of both: `2 right / (images + taken)`.
    pub f1: f64,
}

impl Confusion {
    /// Adds a batch: its scores `[N, classes]`, always of the same classes, and its labels `[N]`, each below `classes`.
    pub fn add(&mut self, scores: &[f32], labels: &[i32]) {
        let classes = scores.len() / labels.len();
        assert_eq!(scores.len(), labels.len() * classes);
        self.rows.resize(classes, vec![0; classes]);
        for (scores, label) in scores.chunks_exact(classes).zip(labels) {
            match best(scores) {
                Some(class) if planted!("train.confusion.transposed") => {
                    self.rows[class][*label as usize] += 1
                }
                Some(class) => self.rows[*label as usize][class] += 1,
                None => self.unclassified += 1,
            }
        }
    }

    /// The counts of each label, by prediction.
    pub fn rows(&self) -> &[Vec<u64>] {
        &self.rows
    }

    /// The figures of each class.
    pub fn by_class(&self) -> Vec<ClassFigures> {
        let of = |class: usize| {
            let images: u64 = self.rows[class].iter().sum();
            let taken: u64 = self.rows.iter().map(|row| row[class]).sum();
            let right = self.rows[class][class] as f64;
            ClassFigures {
                images,
                precision: right / if planted!("train.confusion.precision") { images } else { taken } as f64,
                recall: right / images as f64,
                f1: 2.0 * right / (images + taken) as f64,
            }
        };
        (0..self.rows.len()).map(of).collect()
    }

    /// How many images have no class, because a score of theirs is NaN.
    pub fn unclassified(&self) -> u64 {
        self.unclassified
    }
}

/// The class with the best score, the first of several; none where a score is NaN, as it may be the best one.
fn best(scores: &[f32]) -> Option<usize> {
    let best = |best, class| if scores[class] > scores[best] { class } else { best };
    let has_order = !scores.iter().any(|score| score.is_nan());
    has_order.then(|| (1..scores.len()).fold(0, best))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_a_label() {
        let mut confusion = Confusion::default();
        assert!(confusion.rows().is_empty());
        confusion.add(&[0.1, 0.7, 0.2, 0.5, 0.3, 0.2], &[1, 1]);
        confusion.add(&[0.9, 0.3, 0.2], &[2]);
        assert_eq!(confusion.rows(), [[0, 0, 0], [1, 1, 0], [1, 0, 0]]);
        assert_eq!(confusion.unclassified(), 0);
    }

    #[test]
    fn ties_go_to_the_first_class() {
        assert_eq!(best(&[1.0, 3.0, 3.0]), Some(1));
        assert_eq!(best(&[-0.0, 0.0]), Some(0));
        assert_eq!(best(&[f32::NEG_INFINITY; 2]), Some(0));
        assert_eq!(best(&[0.0, f32::INFINITY, f32::INFINITY]), Some(1));
    }

    #[test]
    fn nan_is_no_class() {
        let mut confusion = Confusion::default();
        for place in 0..3 {
            let mut scores = [0.1, 0.7, 0.2];
            scores[place] = if place == 1 { -f32::NAN } else { f32::NAN };
            assert_eq!(best(&scores), None);
            confusion.add(&[&scores[..], &[0.1, 0.2, 0.3]].concat(), &[1, 0]);
        }
        assert_eq!(confusion.rows(), [[0, 0, 3], [0, 0, 0], [0, 0, 0]]);
        assert_eq!(confusion.unclassified(), 3);
    }

    #[test]
    fn records_are_read_back() {
        let mut confusion = Confusion::default();
        confusion.add(&[0.1, f32::NAN, 0.9, 0.2], &[1, 0]);
        let text = serde_json::to_string(&confusion).unwrap();
        assert_eq!(text, "{\"confusion\":[[1,0],[0,0]],\"unclassified\":1}");
        assert_eq!(serde_json::from_str::<Confusion>(&text).unwrap(), confusion);
    }

    /// Against figures by hand: of 5, 3 and 2 images; nothing is taken for the last class.
    #[test]
    fn classes_have_figures_of_their_own() {
        let confusion =
            Confusion { rows: vec![vec![4, 1, 0], vec![1, 2, 0], vec![2, 0, 0]], unclassified: 0 };
        let found = confusion.by_class();
        assert_eq!(found.iter().map(|class| class.images).collect::<Vec<_>>(), [5, 3, 2]);
        let near = |found: f64, expect: f64| assert!((found - expect).abs() < 1e-12, "{found}, not {expect}");
        near(found[0].precision, 4.0 / 7.0);
        near(found[0].recall, 0.8);
        near(found[0].f1, 2.0 / (7.0 / 4.0 + 5.0 / 4.0));
        near(found[1].precision, 2.0 / 3.0);
        near(found[1].recall, 2.0 / 3.0);
        assert!(found[2].precision.is_nan());
        assert_eq!((found[2].recall, found[2].f1), (0.0, 0.0));
    }
}
