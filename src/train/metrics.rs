//! How good a model is on images: loss, accuracy, top-k accuracy, the confusion matrix.

/// Sums over images. Figures are means over the images seen, whatever the sizes of the batches.
#[derive(Clone, Debug)]
pub struct Tally {
    classes: usize,
    top: usize,
    images: u64,
    loss: f64,
    correct: u64,
    in_top: u64,
    confusion: Vec<u64>,
}

impl Tally {
    /// An empty one for scores of `classes` classes that counts labels among the `top` best scores.
    pub fn new(classes: usize, top: usize) -> Tally {
        let confusion = vec![0; classes * classes];
        Tally { classes, top, images: 0, loss: 0.0, correct: 0, in_top: 0, confusion }
    }

    /// Adds a batch: its mean loss, its scores `[N, classes]` and its labels `[N]`, each below `classes`.
    pub fn add(&mut self, mean_loss: f64, scores: &[f32], labels: &[i32]) {
        assert_eq!(scores.len(), labels.len() * self.classes);
        self.loss += mean_loss * labels.len() as f64;
        for (scores, label) in scores.chunks_exact(self.classes).zip(labels) {
            self.add_image(scores, *label as usize);
        }
    }

    fn add_image(&mut self, scores: &[f32], label: usize) {
        let predicted = best(scores);
        self.images += 1;
        self.correct += u64::from(predicted == label);
        self.in_top += u64::from(rank(scores, label) < self.top);
        self.confusion[label * self.classes + predicted] += 1;
    }

    /// The number of images.
    pub fn images(&self) -> u64 {
        self.images
    }

    /// The mean loss; NaN without images.
    pub fn loss(&self) -> f64 {
        self.loss / self.images as f64
    }

    /// The share of images whose label has the best score.
    pub fn accuracy(&self) -> f64 {
        self.correct as f64 / self.images as f64
    }

    /// The share of images whose label is among the best scores.
    pub fn top_accuracy(&self) -> f64 {
        self.in_top as f64 / self.images as f64
    }

    /// How often each class was predicted, a row a label.
    pub fn confusion(&self) -> impl ExactSizeIterator<Item = &[u64]> {
        self.confusion.chunks_exact(self.classes)
    }
}

/// The class with the best score: the first of several, and NaN before all numbers, as in PyTorch.
pub fn best(scores: &[f32]) -> usize {
    (1..scores.len()).fold(0, |best, class| if beats(scores, class, best) { class } else { best })
}

/// How many classes score better than `label`.
fn rank(scores: &[f32], label: usize) -> usize {
    (0..scores.len()).filter(|class| beats(scores, *class, label)).count()
}

fn beats(scores: &[f32], a: usize, b: usize) -> bool {
    let (x, y) = (scores[a], scores[b]);
    let equal = x == y || (x.is_nan() && y.is_nan());
    if equal { a < b } else { x > y || x.is_nan() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_means_over_images() {
        let mut tally = Tally::new(3, 2);
        tally.add(1.0, &[0.1, 0.7, 0.2, 0.5, 0.3, 0.2], &[1, 1]);
        tally.add(4.0, &[0.9, 0.3, 0.2], &[2]);
        assert_eq!((tally.images(), tally.loss()), (3, 2.0));
        assert_eq!(tally.accuracy(), 1.0 / 3.0);
        assert_eq!(tally.top_accuracy(), 2.0 / 3.0);
        let rows: Vec<&[u64]> = tally.confusion().collect();
        assert_eq!(rows, [[0, 0, 0], [1, 1, 0], [1, 0, 0]]);
    }

    #[test]
    fn ties_and_nan_are_ordered_as_in_pytorch() {
        assert_eq!(best(&[1.0, 3.0, 3.0]), 1);
        assert_eq!(best(&[1.0, f32::NAN, 3.0, f32::NAN]), 1);
        assert_eq!((rank(&[2.0, 2.0, 2.0], 0), rank(&[2.0, 2.0, 2.0], 2)), (0, 2));
        assert_eq!(rank(&[f32::NAN, 2.0], 1), 1);
        assert_eq!(best(&[-0.0, 0.0]), 0);
    }

    #[test]
    fn nothing_seen_is_not_a_number() {
        let tally = Tally::new(2, 1);
        assert!(tally.loss().is_nan() && tally.accuracy().is_nan());
    }
}
