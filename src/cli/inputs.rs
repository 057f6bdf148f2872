//! The pictures that `cnnc predict` looks at: files, or `test:2` for one of the data.

use std::ops::RangeInclusive;
use std::path::Path;

use crate::data::geometry::{self, Geometry};
use crate::data::picture::WHITE;
use crate::data::pixels::Pixels;
use crate::data::{Dataset, Prepare, Split, folder};
use crate::elab::config::DataSpec;
use crate::graph::Role;
use crate::syntax::ast::{ExprKind, FnItem, TypeKind};

use super::project::{Project, Subject, assumed_sample};
use super::{Failure, picture, sections};

/// The pixel value of picture files that reaches a model as 1.0.
const FULL_SCALE: f32 = 255.0;

/// A picture to look at.
pub struct Input {
    /// As it was written on the command line.
    pub name: String,
    /// `[C, H, W]`.
    shape: [usize; 3],
    /// After the steps of `prepare` that work on pixels.
    pixels: Pixels<'static>,
    full_scale: f32,
    /// The name of its class, where the data says it.
    pub label: Option<String>,
}

impl Input {
    /// `[C, H, W]`.
    pub fn shape(&self) -> [usize; 3] {
        self.shape
    }

    /// The values that a model reads, after the data section's `prepare`.
    pub fn values(&self, project: &Project<'_>, data: Option<&DataSpec>) -> Result<Vec<f32>, Failure> {
        let channels = self.shape[0];
        let prepare = match data {
            Some(data) if !planted!("cli.inputs.prepared") => {
                project.prepare(data, channels, self.full_scale)?
            }
            _ => Prepare::new(channels, self.full_scale, &[])
                .map_err(|error| project.train_failure(error.into()))?,
        };
        let mut values = vec![0.0; self.pixels.len()];
        prepare.write_pixels(&self.pixels, &mut values);
        Ok(values)
    }
}

/// What reads the pictures of the command line; data and model are looked at only if one needs them.
pub struct Reader<'a> {
    project: &'a Project<'a>,
    subject: &'a Subject,
    data: Option<&'a DataSpec>,
    /// The classes that the weights tell apart, where these have names: labels are among them.
    classes: Option<&'a [String]>,
    dataset: Option<Dataset>,
    wanted: Option<Extents>,
}

/// A picture, or why it cannot be read; others may be.
pub type Read = Result<Input, String>;

impl<'a> Reader<'a> {
    pub fn new(
        project: &'a Project<'a>,
        subject: &'a Subject,
        data: Option<&'a DataSpec>,
        classes: Option<&'a [String]>,
    ) -> Reader<'a> {
        Reader { project, subject, data, classes, dataset: None, wanted: None }
    }

    /// The pictures that words of the command line name, in their order: files, all files of folders, and `test:2` for
    /// pictures of the data, also from one to another.
    ///
    /// # Errors
    ///
    /// Folders that have none or cannot be read, numbers that no picture has, and data that cannot be read.
    pub fn list(&mut self, words: &[String]) -> Result<Vec<String>, Failure> {
        let mut names = Vec::new();
        for word in words {
            match place(word) {
                Some((split, range)) => {
                    let numbers = self.numbers(word, split, range)?;
                    names.extend(numbers.map(|index| format!("{split}:{index}")));
                }
                None if Path::new(word).is_dir() => {
                    let found = folder::pictures_in(Path::new(word));
                    let found = found.map_err(|error| Failure::Run(error.to_string()))?;
                    names.extend(found.iter().map(|path| path.to_string_lossy().into_owned()));
                }
                None => names.push(word.clone()),
            }
        }
        Ok(names)
    }

    /// The numbers of pictures that `2` or `0-99` means.
    fn numbers(&mut self, word: &str, split: &str, range: &str) -> Result<RangeInclusive<usize>, Failure> {
        let images = images(self.dataset(word)?, split).len();
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let number = |text: &str| text.parse::<usize>().ok().filter(|number| *number < images);
        match (number(first), number(last)) {
            (Some(first), Some(last)) if first > last => {
                Err(Failure::Usage(format!("{word}: a range goes up, such as {split}:{last}-{first}")))
            }
            (Some(first), Some(last)) => Ok(first..=last),
            _ => {
                Err(Failure::Usage(format!("{word}: the {split} split has the pictures 0 to {}", images - 1)))
            }
        }
    }

    /// A picture of [`Reader::list`].
    ///
    /// # Errors
    ///
    /// Data that cannot be read.
    pub fn read(&mut self, name: &str) -> Result<Read, Failure> {
        match place(name) {
            Some((split, index)) => Ok(of_data(name, self.dataset(name)?, split, index)),
            None => {
                let wanted = match self.wanted {
                    Some(wanted) => wanted,
                    None => *self.wanted.insert(extents(self.project, self.subject)?),
                };
                Ok(of_file(name, self.subject.name(), wanted, self.data))
            }
        }
    }

    fn dataset(&mut self, name: &str) -> Result<&Dataset, Failure> {
        if self.dataset.is_none() {
            self.dataset = Some(open(name, self.project, self.data, self.classes)?);
        }
        Ok(self.dataset.as_ref().expect("it was opened"))
    }
}

/// Which split and which picture of it `test:2` means.
fn place(name: &str) -> Option<(&str, &str)> {
    name.split_once(':').filter(|(split, _)| matches!(*split, "test" | "train"))
}

fn open(
    name: &str,
    project: &Project<'_>,
    data: Option<&DataSpec>,
    classes: Option<&[String]>,
) -> Result<Dataset, Failure> {
    let data =
        data.ok_or_else(|| Failure::Usage(format!("{name}: the file has no train section with data")))?;
    let mut data = project.dataset(data)?;
    let counted = classes.map_or(Ok(()), |classes| data.count_classes_as(classes));
    counted.map_err(|error| project.train_failure(error.into()))?;
    Ok(data)
}

fn images<'d>(data: &'d Dataset, split: &str) -> &'d Split {
    if split == "test" || planted!("cli.inputs.split") { &data.test } else { &data.train }
}

/// A picture of the data, whose number is one.
fn of_data(name: &str, data: &Dataset, split: &str, index: &str) -> Read {
    let images = images(data, split);
    let index = index.parse().ok().filter(|index| *index < images.len()).ok_or(name)?;
    let class = images.classes().get(index);
    let label = class.and_then(|class| data.class_names.get(*class as usize).cloned());
    let pixels = images.pixels(index).map_err(|error| error.to_string())?.into_owned();
    Ok(Input { name: name.into(), shape: images.shape, pixels, full_scale: data.full_scale, label })
}

/// Channels, height and width that a model takes; none for those that it leaves open.
type Extents = [Option<usize>; 3];

/// A file as the data section wants it: after its steps, which bring it to the size and the channels that the model takes.
fn of_file(name: &str, model: &str, wanted: Extents, data: Option<&DataSpec>) -> Read {
    let steps = data.map(|data| sections::geometry(&data.prepare)).unwrap_or_default();
    let background = data.map_or(WHITE, |data| data.background);
    let channels = if steps.contains(&Geometry::Grayscale) { Some(3) } else { wanted[0] };
    let picture = picture::read(Path::new(name), channels, background)?;
    let picture = geometry::apply(&steps, picture);
    let picture = picture.map_err(|problem| format!("{name}: {problem}"))?;
    let shape = picture.shape;
    let fits = |axis: usize| wanted[axis].is_none_or(|extent| extent == shape[axis]);
    if !(fits(1) && fits(2)) {
        let show = |extent: Option<usize>| extent.map_or("any".to_owned(), |extent| extent.to_string());
        let (found, takes) = ((shape[1], shape[2]), (show(wanted[1]), show(wanted[2])));
        return Err(format!(
            "{name} is {}×{} pixels (height×width), but `{model}` takes {}×{}; resize it first",
            found.0, found.1, takes.0, takes.1
        ));
    }
    let pixels = Pixels::Bytes(picture.pixels.into());
    Ok(Input { name: name.into(), shape, pixels, full_scale: FULL_SCALE, label: None })
}

fn extents(project: &Project<'_>, subject: &Subject) -> Result<Extents, Failure> {
    let model = subject.model();
    let item = project.module.model(&model.name).map_err(|error| project.failure(vec![error]))?;
    let all =
        if assumed_sample(item).is_some() { open_extents(item) } else { closed_extents(project, subject)? };
    <[Option<usize>; 4]>::try_from(all).map(|[_, c, h, w]| [c, h, w]).map_err(|_| {
        Failure::Run(format!("`{}` takes no pictures, which have four axes; use --input", subject.name()))
    })
}

/// What the input's type says, where it leaves axes open.
fn open_extents(item: &FnItem) -> Vec<Option<usize>> {
    let TypeKind::Tensor { dims: Some(dims), .. } = &item.params[0].ty.kind else { return Vec::new() };
    let extent = |kind: &ExprKind| match kind {
        ExprKind::Number { value, .. } => Some(*value as usize),
        _ => None,
    };
    dims.iter().map(|dim| extent(&dim.kind)).collect()
}

fn closed_extents(project: &Project<'_>, subject: &Subject) -> Result<Vec<Option<usize>>, Failure> {
    let graph = project.untrained(subject.model(), None).inference(1);
    let graph = graph.map_err(|errors| project.failure(errors))?;
    let input = graph.inputs.iter().find(|(_, role)| *role == Role::Data);
    let shape = input.map_or(&[][..], |(value, _)| &graph.values[*value].shape);
    Ok(shape.iter().map(|extent| Some(*extent as usize)).collect())
}
