//! A data set: training and test images as bytes, their labels, and what the labels are called.

use std::borrow::Cow;
use std::path::PathBuf;
use std::sync::Arc;

use crate::base::visible;

use super::DataError;
use super::bytes::Bytes;
use super::geometry::Geometry;
use super::images::{Images, Records};

/// So many classes are named in an error.
const MOST_NAMED: usize = 12;

/// Images and their labels. A clone shares the images.
#[derive(Clone, Debug)]
pub struct Split {
    images: Arc<Images>,
    /// The number of the first image in `images`.
    first: usize,
    /// One class an image, from 0.
    pub labels: Vec<i32>,
    /// `[C, H, W]`.
    pub shape: [usize; 3],
}

impl Split {
    /// Images and as many labels. `pixels` holds exactly that many images of `shape`, row-major.
    ///
    /// # Errors
    ///
    /// More images than are counted, in words.
    pub fn new(pixels: Bytes, labels: Vec<i32>, shape: [usize; 3]) -> Result<Split, String> {
        let len = shape.iter().product::<usize>();
        assert_eq!(pixels.len(), labels.len() * len);
        Ok(Split::of(Images::records(vec![Records::new(pixels, 0, len)], shape)?, labels))
    }

    /// Images and as many labels.
    pub fn of(images: Images, labels: Vec<i32>) -> Split {
        assert_eq!(images.count(), labels.len());
        let shape = images.shape();
        Split { images: Arc::new(images), first: 0, labels, shape }
    }

    /// The number of images.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there is no image.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Bytes of one image.
    pub fn image_len(&self) -> usize {
        self.shape.iter().product()
    }

    /// The files of the images, where each has one.
    pub fn files(&self) -> Option<&[PathBuf]> {
        self.images.paths().map(|paths| &paths[self.first..self.first + self.len()])
    }

    /// The pixels of the images as they are stored, where they are no files.
    pub fn stored(&self) -> impl Iterator<Item = &[u8]> {
        (self.first..self.first + self.len()).filter_map(|index| self.images.stored(index))
    }

    /// The pixels of one image, `[C, H, W]`.
    ///
    /// # Errors
    ///
    /// A file that cannot be read or does not fit.
    pub fn image(&self, index: usize) -> Result<Cow<'_, [u8]>, DataError> {
        self.images.get(self.first + index)
    }

    /// Whether an image is there without decoding or other work.
    pub fn is_plain(&self) -> bool {
        self.images.is_plain()
    }

    /// The same images after some steps, before it is split.
    fn prepared(&self, steps: &[Geometry]) -> Result<Split, String> {
        Ok(Split::of(self.images.prepared(steps)?, self.labels.clone()))
    }

    /// Checks the first image of each run of one class.
    fn check_sizes(&self) -> Result<(), DataError> {
        let is_first = |at: &usize| *at == 0 || self.labels[at - 1] != self.labels[*at];
        let mut firsts = (0..if self.is_plain() { 0 } else { self.len() }).filter(is_first);
        firsts.try_for_each(|at| self.images.check_size(at))
    }

    /// The first `count` images and the others.
    pub fn split_at(&self, count: usize) -> (Split, Split) {
        let part = |first: usize, labels: &[i32]| Split {
            images: self.images.clone(),
            first: self.first + if planted!("data.dataset.part") { 0 } else { first },
            labels: labels.to_vec(),
            shape: self.shape,
        };
        let (first, others) = self.labels.split_at(count);
        (part(0, first), part(count, others))
    }
}

/// A data set for classification.
#[derive(Clone, Debug)]
pub struct Dataset {
    pub train: Split,
    /// Images taken from the training set; without them the test split validates.
    pub holdout: Option<Split>,
    pub test: Split,
    /// Every label is below it.
    pub classes: usize,
    /// One a class; the number itself where the source has no names.
    pub class_names: Vec<String>,
    /// Whether the names are more than the numbers: those of the source, or of its section.
    pub named: bool,
    /// `[C, H, W]` of every image.
    pub shape: [usize; 3],
    /// The pixel value that reaches a model as 1.0.
    pub full_scale: f32,
}

impl Dataset {
    /// A data set whose classes are those of the training labels, named by their numbers. `what` names the source in
    /// errors: a label of the test split that no training image has.
    pub fn new(what: &str, train: Split, test: Split, full_scale: f32) -> Result<Dataset, DataError> {
        let classes = train.labels.iter().max().map_or(0, |largest| *largest as usize + 1);
        Dataset::numbered(what, train, test, full_scale, classes)
    }

    /// A data set of so many classes, named by their numbers. `what` names the source in errors.
    ///
    /// # Errors
    ///
    /// Those of [`with_classes`](Dataset::with_classes).
    pub fn numbered(
        what: &str,
        train: Split,
        test: Split,
        full_scale: f32,
        classes: usize,
    ) -> Result<Dataset, DataError> {
        let names = (0..classes).map(|class| class.to_string()).collect();
        let dataset = Dataset::with_classes(what, train, test, full_scale, names)?;
        Ok(Dataset { named: false, ..dataset })
    }

    /// A data set whose classes have names. `what` names the source in errors.
    ///
    /// # Errors
    ///
    /// Splits that are empty or of several shapes, and labels that have no name.
    pub fn with_classes(
        what: &str,
        train: Split,
        test: Split,
        full_scale: f32,
        class_names: Vec<String>,
    ) -> Result<Dataset, DataError> {
        if train.shape != test.shape {
            let problem = format!("training images are {:?} and test images {:?}", train.shape, test.shape);
            return Err(DataError::Option(format!("{what}: {problem} ([channels, height, width])")));
        }
        if train.is_empty() || test.is_empty() {
            let empty = if train.is_empty() { "training" } else { "test" };
            return Err(DataError::Option(format!("{what}: the {empty} split has no images")));
        }
        let (classes, shape) = (class_names.len(), train.shape);
        let named = true;
        let dataset = Dataset { train, holdout: None, test, classes, class_names, named, shape, full_scale };
        dataset.check_labels(classes).map_err(|error| DataError::Option(format!("{what}: {error}")))?;
        Ok(dataset)
    }

    /// Does these steps to every image from now on.
    ///
    /// # Errors
    ///
    /// A step that does not fit the images, and the first picture file of a class that is not of the size of the
    /// others after all steps. Further files are checked when they are decoded.
    pub fn prepare(&mut self, steps: &[Geometry]) -> Result<(), DataError> {
        if !steps.is_empty() {
            self.train = self.train.prepared(steps).map_err(DataError::Option)?;
            self.test = self.test.prepared(steps).map_err(DataError::Option)?;
            self.shape = self.train.shape;
        }
        self.train.check_sizes()?;
        self.test.check_sizes()
    }

    /// An error if a label is not below `classes`, the number that a model tells apart.
    pub fn check_labels(&self, classes: usize) -> Result<(), DataError> {
        let holdout = self.holdout.iter().map(|split| ("holdout", split));
        for (name, split) in [("training", &self.train), ("test", &self.test)].into_iter().chain(holdout) {
            let wrong = split.labels.iter().position(|label| *label < 0 || *label as usize >= classes);
            if let Some(image) = wrong {
                let label = split.labels[image];
                let problem = format!("label {label} of {name} image {image} is out of range");
                return Err(DataError::Option(format!("{problem}: there are {classes} classes, from 0")));
            }
        }
        Ok(())
    }

    /// Names the classes. There may be more names than classes that occur, never fewer; where the source has names
    /// itself, these are others for them, so there are as many.
    pub fn name_classes(&mut self, names: Vec<String>) -> Result<(), DataError> {
        if self.named && names.len() > self.classes {
            let (given, known) = (names.len(), listed(&self.class_names));
            return Err(DataError::Option(format!(
                "`classes` names {given} classes, but the data has {}: {known}",
                self.classes
            )));
        }
        if names.len() < self.classes {
            let (given, needed) = (names.len(), self.classes);
            return Err(DataError::Option(format!(
                "`classes` names {given} classes, but the labels need {needed}"
            )));
        }
        self.classes = names.len();
        self.class_names = names;
        self.named = true;
        Ok(())
    }

    /// Counts the classes as `names` does, whichever of them the data has: labels become the places of their names.
    /// Where the data has no names, its labels are these places already.
    ///
    /// # Errors
    ///
    /// A class that is not among the names, or that two of them could be.
    pub fn count_classes_as(&mut self, names: &[String]) -> Result<(), DataError> {
        if self.named && self.class_names != names {
            let places: Result<Vec<i32>, DataError> =
                self.class_names.iter().map(|name| place(name, names)).collect();
            let places = places?;
            let splits = [&mut self.train, &mut self.test].into_iter().chain(&mut self.holdout);
            for label in splits.flat_map(|split| &mut split.labels) {
                *label = places[*label as usize];
            }
        }
        if self.named || names.len() >= self.classes {
            self.classes = names.len();
            self.class_names = names.to_vec();
            self.named = true;
        }
        Ok(())
    }

    /// Takes the last `count` training images, in the order of the source, as the validation set. The last ones and
    /// not a draw, so that the set does not depend on the seed.
    pub fn hold_out(&mut self, count: usize) -> Result<(), DataError> {
        let images = self.train.len();
        if count >= images {
            let problem = format!("`holdout = {count}` leaves no training image of {images}");
            return Err(DataError::Option(format!("{problem}; take at most {}", images - 1)));
        }
        if count > 0 {
            let (train, holdout) =
                self.train.split_at(images - count - usize::from(planted!("data.dataset.held")));
            if !planted!("data.dataset.both") {
                self.train = train;
            }
            self.holdout = Some(holdout);
        }
        Ok(())
    }

    /// What an epoch is evaluated on: the images held out, or else the test split.
    pub fn validation(&self) -> &Split {
        self.holdout.as_ref().filter(|_| !planted!("data.dataset.validation")).unwrap_or(&self.test)
    }
}

/// Where a class is among those that weights tell apart.
fn place(name: &str, names: &[String]) -> Result<i32, DataError> {
    let mut places = names.iter().enumerate().filter(|(_, known)| *known == name);
    let problem = match (places.next(), places.next()) {
        (Some((place, _)), None) => return Ok(place as i32),
        (Some(_), Some(_)) => "could be several of those",
        (None, _) => "is none of those",
    };
    let (name, known) = (visible::excerpt(name), listed(names));
    Err(DataError::Option(format!(
        "the class `{name}` of the data {problem} that the weights tell apart: {known}"
    )))
}

/// The first few names of classes.
fn listed(names: &[String]) -> String {
    let first: Vec<String> = names.iter().take(MOST_NAMED).map(|name| visible::excerpt(name)).collect();
    let others = if names.len() > MOST_NAMED { ", ..." } else { "" };
    first.join(", ") + others
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(labels: &[i32]) -> Split {
        let pixels: Vec<u8> = (0..labels.len() * 4).map(|pixel| pixel as u8).collect();
        Split::new(Bytes::from(pixels), labels.to_vec(), [1, 2, 2]).unwrap()
    }

    #[test]
    fn holdout_is_the_end_of_the_training_set() {
        let mut dataset = Dataset::new("toy", split(&[0, 1, 2, 1]), split(&[0]), 255.0).unwrap();
        assert_eq!(dataset.validation().len(), 1);
        dataset.hold_out(1).unwrap();
        assert_eq!(dataset.train.labels, [0, 1, 2]);
        assert_eq!(dataset.validation().labels, [1]);
        assert_eq!(dataset.validation().image(0).unwrap()[..], [12, 13, 14, 15]);
        let error = dataset.hold_out(3).unwrap_err().to_string();
        assert_eq!(error, "`holdout = 3` leaves no training image of 3; take at most 2");
    }

    #[test]
    fn labels_are_checked() {
        let error = Dataset::new("toy", split(&[0, 1]), split(&[0, 2]), 255.0).unwrap_err().to_string();
        assert_eq!(error, "toy: label 2 of test image 1 is out of range: there are 2 classes, from 0");
        let dataset = Dataset::new("toy", split(&[0, 3]), split(&[0]), 255.0).unwrap();
        assert_eq!(dataset.classes, 4);
        assert!(dataset.check_labels(10).is_ok());
        let error = dataset.check_labels(3).unwrap_err().to_string();
        assert_eq!(error, "label 3 of training image 1 is out of range: there are 3 classes, from 0");
    }

    #[test]
    fn names_are_enough_or_an_error() {
        let mut dataset = Dataset::new("toy", split(&[0, 1]), split(&[0]), 255.0).unwrap();
        assert_eq!(dataset.class_names, ["0", "1"]);
        let names = |count: usize| (0..count).map(|class| format!("c{class}")).collect();
        assert!(dataset.name_classes(names(1)).is_err());
        dataset.name_classes(names(3)).unwrap();
        assert_eq!(dataset.classes, 3);
    }

    #[test]
    fn names_of_a_source_are_replaced_one_by_one() {
        let names = |list: &[&str]| list.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let mut dataset =
            Dataset::with_classes("toy", split(&[0, 1]), split(&[0]), 255.0, names(&["b", "c"])).unwrap();
        let error = dataset.name_classes(names(&["x", "y", "z"])).unwrap_err().to_string();
        assert_eq!(error, "`classes` names 3 classes, but the data has 2: b, c");
        dataset.name_classes(names(&["x", "y"])).unwrap();
    }

    #[test]
    fn classes_are_found_by_name() {
        let names = |list: &[&str]| list.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let named = |list: &[&str]| {
            let mut dataset =
                Dataset::with_classes("toy", split(&[0, 1, 1]), split(&[1]), 255.0, names(list)).unwrap();
            dataset.hold_out(1).unwrap();
            dataset
        };
        let mut dataset = named(&["c", "b"]);
        dataset.count_classes_as(&names(&["a", "b", "c"])).unwrap();
        let holdout = dataset.holdout.as_ref().unwrap();
        assert_eq!(
            (&*dataset.train.labels, &*holdout.labels, &*dataset.test.labels),
            (&[2, 1][..], &[1][..], &[1][..])
        );
        assert_eq!((dataset.classes, &*dataset.class_names[2]), (3, "c"));
        let error = named(&["c", "d\n"]).count_classes_as(&names(&["a", "b", "c"])).unwrap_err().to_string();
        assert_eq!(
            error,
            "the class `d\\n` of the data is none of those that the weights tell apart: a, b, c"
        );
        let error = named(&["a", "b"]).count_classes_as(&names(&["a", "b", "a"])).unwrap_err().to_string();
        assert!(error.starts_with("the class `a` of the data could be several of those"), "{error}");
        // The same list is the same classes, whatever they are called.
        let mut dataset = named(&["a", "a"]);
        dataset.count_classes_as(&names(&["a", "a"])).unwrap();
        assert_eq!(dataset.test.labels, [1]);
        // Numbers are no names.
        let mut dataset = Dataset::new("toy", split(&[0, 1]), split(&[0]), 255.0).unwrap();
        dataset.count_classes_as(&names(&["a", "b"])).unwrap();
        assert_eq!((&*dataset.class_names, &*dataset.train.labels), (&names(&["a", "b"])[..], &[0, 1][..]));
    }

    #[test]
    fn empty_or_unequal_splits_are_errors() {
        assert!(Dataset::new("toy", split(&[]), split(&[0]), 255.0).is_err());
        let wide = Split::new(Bytes::from(vec![0; 4]), vec![0], [1, 1, 4]).unwrap();
        let error = Dataset::new("toy", split(&[0]), wide, 255.0).unwrap_err().to_string();
        assert!(error.contains("training images are [1, 2, 2] and test images [1, 1, 4]"), "{error}");
    }
}
