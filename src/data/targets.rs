//! What a model is to say of each sample: a class, the classes of its pixels, or numbers.

use std::ops::Range;

/// The targets of some samples, one after the other.
#[derive(Clone, Debug, PartialEq)]
pub enum Targets {
    /// A class each, from 0.
    Classes(Vec<i32>),
    /// Classes in this shape, each from 0.
    Labels { labels: Vec<i32>, shape: Vec<usize> },
    /// Numbers in this shape, which is empty for one number.
    Numbers { numbers: Vec<f32>, shape: Vec<usize> },
}

impl Default for Targets {
    fn default() -> Targets {
        Targets::Classes(Vec::new())
    }
}

impl From<Vec<i32>> for Targets {
    fn from(classes: Vec<i32>) -> Targets {
        Targets::Classes(classes)
    }
}

impl Targets {
    /// The shape of one sample's target; empty for a class.
    pub fn shape(&self) -> &[usize] {
        match self {
            Targets::Classes(_) => &[],
            Targets::Labels { shape, .. } | Targets::Numbers { shape, .. } => shape,
        }
    }

    /// Elements of one sample's target.
    fn width(&self) -> usize {
        self.shape().iter().product()
    }

    /// The number of samples.
    pub fn len(&self) -> usize {
        let elements = match self {
            Targets::Classes(labels) | Targets::Labels { labels, .. } => labels.len(),
            Targets::Numbers { numbers, .. } => numbers.len(),
        };
        elements / self.width()
    }

    /// Whether there is no sample.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The classes of the samples or of their places, where they are classes.
    pub fn labels(&self) -> Option<&[i32]> {
        match self {
            Targets::Classes(labels) | Targets::Labels { labels, .. } => Some(labels),
            Targets::Numbers { .. } => None,
        }
    }

    /// The classes, to be changed.
    pub fn labels_mut(&mut self) -> Option<&mut [i32]> {
        match self {
            Targets::Classes(labels) | Targets::Labels { labels, .. } => Some(labels),
            Targets::Numbers { .. } => None,
        }
    }

    /// What they are, for messages and for the head of a run.
    pub fn describe(&self) -> String {
        let extents = |shape: &[usize]| {
            let extents: Vec<String> = shape.iter().map(ToString::to_string).collect();
            extents.join("×")
        };
        match self {
            Targets::Classes(_) => "a class each".into(),
            Targets::Labels { shape, .. } => format!("{} classes each", extents(shape)),
            Targets::Numbers { shape, .. } if shape.is_empty() => "a number each".into(),
            Targets::Numbers { shape, .. } => format!("{} numbers each", extents(shape)),
        }
    }

    /// The targets of some samples.
    pub fn of(&self, samples: &[u32]) -> Targets {
        let mut targets = Targets::default();
        self.gather(samples, &mut targets);
        targets
    }

    /// Writes the targets of some samples over others, into their memory where they are of the same kind.
    pub fn gather(&self, samples: &[u32], out: &mut Targets) {
        match (self, out) {
            (Targets::Classes(all), Targets::Classes(out)) => gather(all, 1, samples, out),
            (Targets::Labels { labels, shape }, Targets::Labels { labels: out, shape: of })
                if of == shape =>
            {
                gather(labels, self.width(), samples, out);
            }
            (Targets::Numbers { numbers, shape }, Targets::Numbers { numbers: out, shape: of })
                if of == shape =>
            {
                gather(numbers, self.width(), samples, out);
            }
            (_, out) => {
                *out = self.none();
                self.gather(samples, out);
            }
        }
    }

    /// No targets of the same kind.
    fn none(&self) -> Targets {
        match self {
            Targets::Classes(_) => Targets::Classes(Vec::new()),
            Targets::Labels { shape, .. } => Targets::Labels { labels: Vec::new(), shape: shape.clone() },
            Targets::Numbers { shape, .. } => Targets::Numbers { numbers: Vec::new(), shape: shape.clone() },
        }
    }

    /// The targets of the samples before, the first one's those of the last.
    pub fn rotated(&self) -> Targets {
        let mut targets = self.clone();
        let width = self.width();
        match &mut targets {
            Targets::Classes(labels) | Targets::Labels { labels, .. } => labels.rotate_right(width),
            Targets::Numbers { numbers, .. } => numbers.rotate_right(width),
        }
        targets
    }

    /// Moves the elements of one sample's planes of `places.len()` elements: each becomes that of the place that is named
    /// for it, or 0.
    pub fn shift(&mut self, sample: usize, places: &[Option<u32>]) {
        let width = self.width();
        let range = sample * width..(sample + 1) * width;
        match self {
            Targets::Classes(labels) | Targets::Labels { labels, .. } => shift(labels, range, places),
            Targets::Numbers { numbers, .. } => shift(numbers, range, places),
        }
    }

    /// Calls `add` with the bytes of all elements and of the shape, so that other targets give others.
    pub fn bytes(&self, mut add: impl FnMut(&[u8])) {
        match self {
            Targets::Classes(labels) => labels.iter().for_each(|label| add(&label.to_le_bytes())),
            Targets::Labels { labels, shape } => {
                shape.iter().for_each(|extent| add(&(*extent as u64).to_le_bytes()));
                labels.iter().for_each(|label| add(&label.to_le_bytes()));
            }
            Targets::Numbers { numbers, shape } => {
                shape.iter().for_each(|extent| add(&(*extent as u64).to_le_bytes()));
                numbers.iter().for_each(|number| add(&number.to_le_bytes()));
            }
        }
    }
}

fn gather<T: Copy>(all: &[T], width: usize, samples: &[u32], out: &mut Vec<T>) {
    out.clear();
    for sample in samples {
        let at = *sample as usize * width;
        out.extend_from_slice(&all[at..at + width]);
    }
}

fn shift<T: Copy + Default>(all: &mut [T], range: Range<usize>, places: &[Option<u32>]) {
    for plane in all[range].chunks_exact_mut(places.len()) {
        let before = plane.to_vec();
        for (element, place) in plane.iter_mut().zip(places) {
            *element = place.map_or_else(T::default, |place| before[place as usize]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> [Targets; 3] {
        [
            Targets::Classes(vec![3, 1, 2]),
            Targets::Labels { labels: (0..12).collect(), shape: vec![2, 2] },
            Targets::Numbers { numbers: vec![0.5, 1.5, 2.5, 3.5, 4.5, 5.5], shape: vec![2] },
        ]
    }

    #[test]
    fn samples_keep_what_is_theirs() {
        let [classes, labels, numbers] = all();
        assert_eq!([&classes, &labels, &numbers].map(Targets::len), [3; 3]);
        assert_eq!(classes.of(&[2, 0]), Targets::Classes(vec![2, 3]));
        let expect = Targets::Labels { labels: vec![8, 9, 10, 11, 0, 1, 2, 3], shape: vec![2, 2] };
        assert_eq!(labels.of(&[2, 0]), expect);
        assert_eq!(numbers.of(&[1]), Targets::Numbers { numbers: vec![2.5, 3.5], shape: vec![2] });
        // Into memory that others have used.
        let mut out = classes.clone();
        for targets in [&labels, &numbers, &numbers, &classes] {
            targets.gather(&[1, 1, 0], &mut out);
            assert_eq!(out, targets.of(&[1, 1, 0]));
        }
        assert_eq!(numbers.of(&[]).len(), 0);
        let single = Targets::Numbers { numbers: vec![1.0, 2.0], shape: vec![] };
        assert_eq!(
            (single.len(), single.of(&[1])),
            (2, Targets::Numbers { numbers: vec![2.0], shape: vec![] })
        );
    }

    #[test]
    fn each_takes_those_of_the_one_before() {
        for targets in all() {
            assert_eq!(targets.rotated(), targets.of(&[2, 0, 1]));
        }
    }

    #[test]
    fn elements_move_within_their_sample() {
        let mut labels = all()[1].clone();
        labels.shift(1, &[Some(1), Some(0), None, Some(2)]);
        let expect =
            Targets::Labels { labels: vec![0, 1, 2, 3, 5, 4, 0, 6, 8, 9, 10, 11], shape: vec![2, 2] };
        assert_eq!(labels, expect);
        let mut planes = Targets::Numbers { numbers: vec![1.0, 2.0, 3.0, 4.0], shape: vec![2, 1, 2] };
        planes.shift(0, &[Some(1), None]);
        assert_eq!(planes, Targets::Numbers { numbers: vec![2.0, 0.0, 4.0, 0.0], shape: vec![2, 1, 2] });
    }

    #[test]
    fn others_have_other_bytes() {
        let bytes = |targets: &Targets| {
            let mut all = Vec::new();
            targets.bytes(|bytes| all.extend_from_slice(bytes));
            all
        };
        let shaped = |shape: &[usize]| Targets::Numbers { numbers: vec![0.0; 6], shape: shape.to_vec() };
        let all = [all().to_vec(), vec![shaped(&[2]), shaped(&[3]), shaped(&[6])]].concat();
        for (at, one) in all.iter().enumerate() {
            assert!(all[..at].iter().all(|other| bytes(other) != bytes(one)), "{one:?}");
        }
    }
}
