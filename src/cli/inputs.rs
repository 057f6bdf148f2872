//! The pictures that `cnnc predict` looks at: files, or `test:2` for one of the data.

use std::path::Path;

use crate::data::geometry::{self, Geometry};
use crate::data::picture::Picture;
use crate::data::{Dataset, Prepare};
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
    /// After the steps of `prepare` that work on pixels.
    picture: Picture,
    full_scale: f32,
    /// The name of its class, where the data says it.
    pub label: Option<String>,
}

impl Input {
    /// `[C, H, W]`.
    pub fn shape(&self) -> [usize; 3] {
        self.picture.shape
    }

    /// The values that a model reads, after the data section's `prepare`.
    pub fn values(&self, project: &Project<'_>, data: Option<&DataSpec>) -> Result<Vec<f32>, Failure> {
        let channels = self.picture.shape[0];
        let prepare = match data {
            Some(data) if !planted!("cli.inputs.prepared") => {
                project.prepare(data, channels, self.full_scale)?
            }
            _ => Prepare::new(channels, self.full_scale, &[])
                .map_err(|error| project.train_failure(error.into()))?,
        };
        let mut values = vec![0.0; self.picture.pixels.len()];
        prepare.write(&self.picture.pixels, &mut values);
        Ok(values)
    }
}

/// The pictures of the command line; data and model are looked at only if one needs them. Labels of the data are
/// among the `classes` that the weights tell apart, where these have names.
pub fn read(
    names: &[String],
    project: &Project<'_>,
    subject: &Subject,
    data: Option<&DataSpec>,
    classes: Option<&[String]>,
) -> Result<Vec<Input>, Failure> {
    let (mut dataset, mut wanted) = (None, None);
    let mut inputs = Vec::new();
    for name in names {
        inputs.push(match place(name) {
            Some((split, index)) => {
                let dataset = match &dataset {
                    Some(dataset) => dataset,
                    None => dataset.insert(open(name, project, data, classes)?),
                };
                of_data(name, project, dataset, split, index)?
            }
            None => {
                let wanted = match wanted {
                    Some(wanted) => wanted,
                    None => *wanted.insert(extents(project, subject)?),
                };
                let steps = data.map(|data| sections::geometry(&data.prepare)).unwrap_or_default();
                of_file(name, subject.name(), wanted, &steps)?
            }
        });
    }
    Ok(inputs)
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
        data.ok_or_else(|| Failure::Run(format!("{name}: the file has no train section with data")))?;
    let mut data = project.dataset(data)?;
    let counted = classes.map_or(Ok(()), |classes| data.count_classes_as(classes));
    counted.map_err(|error| project.train_failure(error.into()))?;
    Ok(data)
}

fn of_data(
    name: &str,
    project: &Project<'_>,
    data: &Dataset,
    split: &str,
    index: &str,
) -> Result<Input, Failure> {
    let images = if split == "test" || planted!("cli.inputs.split") { &data.test } else { &data.train };
    let index = index.parse().ok().filter(|index| *index < images.len()).ok_or_else(|| {
        Failure::Run(format!("{name}: the {split} split has the pictures 0 to {}", images.len() - 1))
    })?;
    let class = images.labels[index];
    let label = data.class_names.get(class as usize).cloned();
    let pixels = images.image(index).map_err(|error| project.train_failure(error.into()))?;
    let picture = Picture::new(images.shape, pixels.into_owned());
    Ok(Input { name: name.into(), picture, full_scale: data.full_scale, label })
}

/// Channels, height and width that a model takes; none for those that it leaves open.
type Extents = [Option<usize>; 3];

/// A file after `steps`, which bring it to the size and the channels that the model takes.
fn of_file(name: &str, model: &str, wanted: Extents, steps: &[Geometry]) -> Result<Input, Failure> {
    let channels = if steps.contains(&Geometry::Grayscale) { Some(3) } else { wanted[0] };
    let picture = picture::read(Path::new(name), channels).map_err(Failure::Run)?;
    let picture = geometry::apply(steps, picture);
    let picture = picture.map_err(|problem| Failure::Run(format!("{name}: {problem}")))?;
    let shape = picture.shape;
    let fits = |axis: usize| wanted[axis].is_none_or(|extent| extent == shape[axis]);
    if !(fits(1) && fits(2)) {
        let show = |extent: Option<usize>| extent.map_or("any".to_owned(), |extent| extent.to_string());
        let (found, takes) = ((shape[1], shape[2]), (show(wanted[1]), show(wanted[2])));
        return Err(Failure::Run(format!(
            "{name} is {}×{} pixels (height×width), but `{model}` takes {}×{}; resize it first",
            found.0, found.1, takes.0, takes.1
        )));
    }
    Ok(Input { name: name.into(), picture, full_scale: FULL_SCALE, label: None })
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
