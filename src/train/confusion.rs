//! The confusion matrix: which class the images of each class are taken for.

use serde::{Deserialize, Serialize};

/// How often each class was predicted, a row a label. It is empty until images are added.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Confusion(Vec<Vec<u64>>);

impl Confusion {
    /// Adds a batch: its scores `[N, classes]`, always of the same classes, and its labels `[N]`, each below `classes`.
    pub fn add(&mut self, scores: &[f32], labels: &[i32]) {
        let classes = scores.len() / labels.len();
        assert_eq!(scores.len(), labels.len() * classes);
        self.0.resize(classes, vec![0; classes]);
        for (scores, label) in scores.chunks_exact(classes).zip(labels) {
            self.0[*label as usize][best(scores)] += 1;
        }
    }

    /// The counts of each label, by prediction.
    pub fn rows(&self) -> &[Vec<u64>] {
        &self.0
    }
}

/// The class with the best score: the first of several, and NaN before all numbers, as in PyTorch.
fn best(scores: &[f32]) -> usize {
    let beats = |a: f32, b: f32| a > b || (a.is_nan() && !b.is_nan());
    (1..scores.len()).fold(0, |best, class| if beats(scores[class], scores[best]) { class } else { best })
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
    }

    #[test]
    fn ties_and_nan_are_ordered_as_in_pytorch() {
        assert_eq!(best(&[1.0, 3.0, 3.0]), 1);
        assert_eq!(best(&[1.0, f32::NAN, 3.0, f32::NAN]), 1);
        assert_eq!(best(&[-0.0, 0.0]), 0);
    }
}
