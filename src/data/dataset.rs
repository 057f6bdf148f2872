//! A data set: training and test images as bytes, their labels, and what the labels are called.

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::base::visible;

use super::DataError;
use super::apart::{Apart, TestSplit};
use super::bytes::Bytes;
use super::geometry::Geometry;
use super::images::{Images, Records};
use super::pixels::Pixels;
use super::targets::Targets;

/// So many classes are named in an error.
const MOST_NAMED: usize = 12;

/// Images and their targets. A clone shares the images.
#[derive(Clone, Debug)]
pub struct Split {
    images: Arc<Images>,
    /// Their numbers in `images`, ascending; none where they are all of them.
    chosen: Option<Arc<[u32]>>,
    pub targets: Targets,
    /// `[C, H, W]`.
    pub shape: [usize; 3],
}

impl Split {
    /// Images and as many targets. `pixels` holds exactly that many images of `shape`, row-major.
    ///
    /// # Errors
    ///
    /// More images than are counted, in words.
    pub fn new(pixels: Bytes, targets: impl Into<Targets>, shape: [usize; 3]) -> Result<Split, String> {
        let len = shape.iter().product::<usize>();
        let targets = targets.into();
        assert_eq!(pixels.len(), targets.len() * len);
        Ok(Split::of(Images::records(vec![Records::new(pixels, 0, len)], shape)?, targets))
    }

    /// Images and as many targets.
    pub fn of(images: Images, targets: impl Into<Targets>) -> Split {
        let (targets, shape) = (targets.into(), images.shape());
        assert_eq!(images.count(), targets.len());
        Split { images: Arc::new(images), chosen: None, targets, shape }
    }

    /// The number of images.
    pub fn len(&self) -> usize {
        self.targets.len()
    }

    /// Whether there is no image.
    pub fn is_empty(&self) -> bool {
        self.targets.is_empty()
    }

    /// The class of each image; of other targets, none.
    pub fn classes(&self) -> &[i32] {
        match &self.targets {
            Targets::Classes(classes) => classes,
            Targets::Labels { .. } | Targets::Numbers { .. } => &[],
        }
    }

    /// Pixels of one image, all channels together.
    pub fn image_len(&self) -> usize {
        self.shape.iter().product()
    }

    /// The number of an image in its source.
    pub fn place(&self, index: usize) -> usize {
        self.chosen.as_ref().map_or(index, |chosen| chosen[index] as usize)
    }

    /// The folder with those of the classes, where each image has a file.
    pub fn root(&self) -> Option<&Path> {
        self.images.as_files().map(|files| files.root.as_path())
    }

    /// The file of an image, where each has one.
    pub fn file(&self, index: usize) -> Option<&PathBuf> {
        self.images.as_files().map(|files| &files.paths[self.place(index)])
    }

    /// The pixels of an image as they are stored, where they are no file.
    pub fn stored(&self, index: usize) -> Option<&[u8]> {
        self.images.stored(self.place(index))
    }

    /// The pixels of one image, `[C, H, W]`.
    ///
    /// # Errors
    ///
    /// A file that cannot be read or does not fit.
    pub fn pixels(&self, index: usize) -> Result<Pixels<'_>, DataError> {
        self.images.pixels(self.place(index))
    }

    /// Whether pixels are numbers and not bytes.
    pub fn has_numbers(&self) -> bool {
        self.images.are_numbers()
    }

    /// The pixels of one image of bytes, `[C, H, W]`.
    ///
    /// # Errors
    ///
    /// As [`Split::pixels`], and images of numbers.
    pub fn image(&self, index: usize) -> Result<Cow<'_, [u8]>, DataError> {
        self.images.get(self.place(index))
    }

    /// Whether an image is there without decoding or other work.
    pub fn is_plain(&self) -> bool {
        self.images.is_plain()
    }

    /// The same with other images in place of its own, which have the same numbers.
    fn with_images(&self, images: &Arc<Images>) -> Split {
        Split { images: images.clone(), shape: images.shape(), ..self.clone() }
    }

    /// Checks the first image of each run of one class.
    fn check_sizes(&self) -> Result<(), DataError> {
        let classes = self.classes();
        let is_first = |at: &usize| *at == 0 || classes.get(at - 1) != classes.get(*at);
        let mut firsts = (0..if self.is_plain() { 0 } else { self.len() }).filter(is_first);
        firsts.try_for_each(|at| self.images.check_size(self.place(at)))
    }

    /// The places of images that are set apart: of every class, where they have classes.
    fn draw(&self, apart: &Apart) -> Result<Vec<u32>, String> {
        match &self.targets {
            Targets::Classes(classes) => apart.draw(classes),
            Targets::Labels { .. } | Targets::Numbers { .. } => apart.draw(&vec![0; self.len()]),
        }
    }

    /// The images without some, and these. The places are ascending.
    pub fn set_apart(&self, places: &[u32]) -> (Split, Split) {
        let mut apart = places.iter().peekable();
        let is_left = |at: &u32| apart.next_if_eq(&at).is_none();
        let others: Vec<u32> = (0..self.len() as u32).filter(is_left).collect();
        (self.part(&others), self.part(places))
    }

    fn part(&self, places: &[u32]) -> Split {
        let is_wrong = planted!("data.dataset.part");
        let source = |(index, at): (usize, &u32)| if is_wrong { index } else { self.place(*at as usize) };
        let chosen = places.iter().enumerate().map(|at| source(at) as u32).collect();
        let targets = self.targets.of(places);
        Split { images: self.images.clone(), chosen: Some(chosen), targets, shape: self.shape }
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
    /// What people are to know of it, a line each.
    pub notes: Vec<String>,
}

impl Dataset {
    /// A data set whose classes are those of the training labels, named by their numbers; of numbers, it has none. `what`
    /// names the source in errors: a label of the test split that no training image has.
    pub fn new(what: &str, train: Split, test: Split, full_scale: f32) -> Result<Dataset, DataError> {
        let largest = train.targets.labels().and_then(|labels| labels.iter().max());
        let classes = largest.map_or(0, |largest| *largest as usize + 1);
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
        let [first, other] = [&train, &test].map(|split| split.targets.describe());
        if first != other {
            let problem = format!("training images have {first}, and test images {other}");
            return Err(DataError::Option(format!("{what}: {problem}")));
        }
        if train.is_empty() || test.is_empty() {
            let empty = if train.is_empty() { "training" } else { "test" };
            return Err(DataError::Option(format!("{what}: the {empty} split has no images")));
        }
        let (classes, shape) = (class_names.len(), train.shape);
        let named = true;
        let (holdout, notes) = (None, Vec::new());
        let dataset = Dataset { train, holdout, test, classes, class_names, named, shape, full_scale, notes };
        dataset.check_labels(classes).map_err(|error| DataError::Option(format!("{what}: {error}")))?;
        Ok(dataset)
    }

    /// A data set whose classes have names, and whose test split is drawn from all images. `what` names the source in
    /// errors.
    ///
    /// # Errors
    ///
    /// Those of [`with_classes`](Dataset::with_classes), and too few images.
    pub fn divided(
        what: &str,
        all: Split,
        test: &TestSplit,
        full_scale: f32,
        class_names: Vec<String>,
    ) -> Result<Dataset, DataError> {
        let places = all.draw(&test.apart());
        let places = places.map_err(|problem| DataError::Option(format!("{what}: {problem}")))?;
        let (train, test) = all.set_apart(&places);
        Dataset::with_classes(what, train, test, full_scale, class_names)
    }

    /// Does these steps to every image from now on.
    ///
    /// # Errors
    ///
    /// A step that does not fit the images, and the first picture file of a class that is not of the size of the
    /// others after all steps. Further files are checked when they are decoded.
    pub fn prepare(&mut self, steps: &[Geometry]) -> Result<(), DataError> {
        if !steps.is_empty() {
            let prepared =
                |split: &Split| split.images.prepared(steps).map(Arc::new).map_err(DataError::Option);
            let train = prepared(&self.train)?;
            let is_shared = Arc::ptr_eq(&self.train.images, &self.test.images);
            let test = if is_shared { train.clone() } else { prepared(&self.test)? };
            (self.train, self.test) = (self.train.with_images(&train), self.test.with_images(&test));
            self.shape = self.train.shape;
        }
        self.train.check_sizes()?;
        self.test.check_sizes()
    }

    /// An error if a label is not below `classes`, the number that a model tells apart.
    pub fn check_labels(&self, classes: usize) -> Result<(), DataError> {
        let holdout = self.holdout.iter().map(|split| ("holdout", split));
        for (name, split) in [("training", &self.train), ("test", &self.test)].into_iter().chain(holdout) {
            let labels = split.targets.labels().unwrap_or_default();
            let wrong = labels.iter().position(|label| *label < 0 || *label as usize >= classes);
            if let Some(at) = wrong {
                let (label, image) = (labels[at], at * split.len() / labels.len());
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
            for label in splits.filter_map(|split| split.targets.labels_mut()).flatten() {
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

    /// Takes training images as the validation set, of every class.
    ///
    /// # Errors
    ///
    /// More than there are, but one of each class, and none.
    pub fn hold_out(&mut self, apart: &Apart) -> Result<(), DataError> {
        let places = self.train.draw(apart).map_err(DataError::Option)?;
        let (train, holdout) = self.train.set_apart(&places[usize::from(planted!("data.dataset.held"))..]);
        if !planted!("data.dataset.both") {
            self.train = train;
        }
        self.holdout = Some(holdout);
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
    use super::super::apart::Amount;
    use super::*;

    fn apart(count: usize) -> Apart {
        Apart { key: "holdout", amount: Amount::Count(count), seed: 3 }
    }

    fn split(labels: &[i32]) -> Split {
        let pixels: Vec<u8> = (0..labels.len() * 4).map(|pixel| pixel as u8).collect();
        Split::new(Bytes::from(pixels), labels.to_vec(), [1, 2, 2]).unwrap()
    }

    #[test]
    fn held_out_images_are_no_training_images() {
        let mut dataset = Dataset::new("toy", split(&[0, 1, 0, 1, 0, 1]), split(&[0]), 255.0).unwrap();
        assert_eq!(dataset.validation().len(), 1);
        dataset.hold_out(&apart(2)).unwrap();
        let held = dataset.validation().clone();
        assert_eq!((dataset.train.classes(), held.classes()), (&[0, 1, 0, 1][..], &[0, 1][..]));
        let parts = [&dataset.train, &held];
        let firsts =
            parts.map(|part| (0..part.len()).map(|at| part.image(at).unwrap()[0] / 4).collect::<Vec<_>>());
        assert!(firsts.iter().all(|places| places.is_sorted()), "{firsts:?}");
        let mut all = firsts.concat();
        all.sort_unstable();
        assert_eq!(all, [0, 1, 2, 3, 4, 5]);
        for (part, places) in parts.iter().zip(&firsts) {
            assert!(places.iter().zip(part.classes()).all(|(place, label)| i32::from(place % 2) == *label));
        }
        // A part of a part.
        dataset.hold_out(&apart(1)).unwrap();
        assert_eq!((dataset.train.len(), dataset.validation().len()), (3, 1));
        assert!(firsts[0].contains(&(dataset.validation().image(0).unwrap()[0] / 4)));
        let error = dataset.hold_out(&apart(2)).unwrap_err().to_string();
        let expect =
            "`holdout = 2` leaves a class without an image for training, of 3 in all; take at most 1";
        assert_eq!(error, expect);
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
            dataset.hold_out(&apart(1)).unwrap();
            dataset
        };
        let mut dataset = named(&["c", "b"]);
        dataset.count_classes_as(&names(&["a", "b", "c"])).unwrap();
        let holdout = dataset.holdout.as_ref().unwrap();
        assert_eq!(
            (dataset.train.classes(), holdout.classes(), dataset.test.classes()),
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
        assert_eq!(dataset.test.classes(), [1]);
        // Numbers are no names.
        let mut dataset = Dataset::new("toy", split(&[0, 1]), split(&[0]), 255.0).unwrap();
        dataset.count_classes_as(&names(&["a", "b"])).unwrap();
        assert_eq!((&*dataset.class_names, dataset.train.classes()), (&names(&["a", "b"])[..], &[0, 1][..]));
    }

    #[test]
    fn empty_or_unequal_splits_are_errors() {
        assert!(Dataset::new("toy", split(&[]), split(&[0]), 255.0).is_err());
        let wide = Split::new(Bytes::from(vec![0; 4]), vec![0_i32], [1, 1, 4]).unwrap();
        let error = Dataset::new("toy", split(&[0]), wide, 255.0).unwrap_err().to_string();
        assert!(error.contains("training images are [1, 2, 2] and test images [1, 1, 4]"), "{error}");
    }
}
