//! A data set: training and test images as bytes, their labels, and what the labels are called.

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::base::{numbers, visible};

use super::DataError;
use super::apart::{StratifiedSplit, TestSplit};
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
    fn draw(&self, apart: &StratifiedSplit) -> Result<Vec<u32>, String> {
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

    /// The same with a validation set of its own. `what` names the source in errors.
    ///
    /// # Errors
    ///
    /// One of another kind of images, or of none.
    pub fn validated(mut self, what: &str, holdout: Split) -> Result<Dataset, DataError> {
        if holdout.is_empty() {
            return Err(DataError::Option(format!("{what}: the validation split has no images")));
        }
        assert_eq!(
            self.train.shape, holdout.shape,
            "a source that has such a split has pictures of one kind"
        );
        self.holdout = Some(holdout);
        Ok(self)
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
            if let Some(holdout) = &mut self.holdout {
                *holdout = holdout.with_images(&prepared(holdout)?);
            }
            (self.train, self.test) = (self.train.with_images(&train), self.test.with_images(&test));
            self.shape = self.train.shape;
        }
        self.splits().try_for_each(Split::check_sizes)
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
    /// More than there are, but one of each class, and none; and a data set that has a validation set already.
    pub fn hold_out(&mut self, apart: &StratifiedSplit) -> Result<(), DataError> {
        if let Some(own) = &self.holdout {
            let images = numbers::grouped(own.len() as u64);
            return Err(DataError::Option(format!(
                "the data has a validation split of its own, of {images} images; leave out `{}`",
                apart.key
            )));
        }
        let places = self.train.draw(apart).map_err(DataError::Option)?;
        let (train, holdout) = self.train.set_apart(&places[usize::from(planted!("data.dataset.held"))..]);
        if !planted!("data.dataset.both") {
            self.train = train;
        }
        self.holdout = Some(holdout);
        Ok(())
    }

    /// Waits for pictures that are still read from their files, behind the one that asked for them.
    ///
    /// # Errors
    ///
    /// Those of reading.
    pub fn ready(&self) -> Result<(), DataError> {
        self.splits().try_for_each(|split| split.images.ready())
    }

    /// All that there are.
    fn splits(&self) -> impl Iterator<Item = &Split> {
        [&self.train, &self.test].into_iter().chain(&self.holdout)
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
#[path = "dataset_tests.rs"]
mod tests;
