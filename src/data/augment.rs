//! Random changes of training images: each image is another one in every epoch.
//!
//! Steps and their parameters are those of torchvision's transforms for pictures. They work on pixels after `prepare`'s
//! geometry, bytes or numbers (`colorjitter` on bytes alone), but for erasing, which clears what the model reads and so comes last. No step changes the size.

use super::DataError;
use super::draws::CounterRng;
use super::feed::Batch;
use super::jitter::{self, Property};
use super::mix::Mix;
use super::picture::Picture;
use super::pixels::Number;
use super::warp::Affine;
use crate::base::philox;

/// How often a rectangle to erase is drawn until one fits.
const TRIES: usize = 10;
/// The share of the picture that is erased, and the ratio of height to width.
const ERASED_AREA: [f64; 2] = [0.02, 0.33];
const ERASED_RATIO: [f64; 2] = [0.3, 3.3];

/// A step. Pairs are intervals from which a number is drawn, unless they say otherwise.
#[derive(Clone, Debug, PartialEq)]
pub enum Transform {
    /// A part of this height and width, after `pad` rows above and below and columns left and right of 0.
    Crop { size: [usize; 2], pad: [usize; 2] },
    /// Left and right exchanged with probability `p`.
    FlipHorizontally { p: f64 },
    /// Top and bottom exchanged with probability `p`.
    FlipVertically { p: f64 },
    /// Counter-clockwise, in degrees.
    Rotate { degrees: [f64; 2] },
    /// Clockwise, in degrees; `translate` is the largest share of the width and of the height.
    Affine { degrees: [f64; 2], translate: [f64; 2], scale: [f64; 2], shear: [f64; 2] },
    /// Factors, applied in a random order; none where a property stays as it is.
    ColorJitter { brightness: Option<[f64; 2]>, contrast: Option<[f64; 2]>, saturation: Option<[f64; 2]> },
    /// With probability `p`, a rectangle that the model reads as 0.
    Erase { p: f64 },
}

/// All steps for images of one shape.
#[derive(Clone, Debug)]
pub struct Augment {
    steps: Vec<Transform>,
    /// What is done to whole batches, after the steps.
    mix: Option<Mix>,
    seed: u64,
    /// The largest value of a pixel.
    most: u8,
}

/// A part of a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rectangle {
    pub top: usize,
    pub left: usize,
    pub height: usize,
    pub width: usize,
}

impl Augment {
    /// Steps for images `[C, H, W]` whose largest pixel value is `full_scale`.
    ///
    /// # Errors
    ///
    /// A step that does not fit such images.
    pub fn new(
        steps: Vec<Transform>,
        shape: [usize; 3],
        full_scale: f32,
        seed: u64,
    ) -> Result<Augment, DataError> {
        for step in &steps {
            step.check(shape).map_err(DataError::Option)?;
        }
        Ok(Augment { steps, mix: None, seed, most: full_scale as u8 })
    }

    /// The same, with the images of a batch mixed.
    pub fn with_mix(self, mix: Mix) -> Augment {
        Augment { mix: Some(mix), ..self }
    }

    /// Mixes the images `[C, H, W]` of a batch that begins with the training image `first`, if that is asked for.
    pub fn mix(&self, epoch: u64, first: u32, shape: [usize; 3], batch: &mut Batch) {
        if let Some(mix) = self.mix {
            mix.apply(self.seed, epoch, first, shape, batch);
        }
    }

    /// The training image `image`, changed as in this epoch.
    pub fn apply(&self, epoch: u64, image: u32, picture: Picture) -> Picture {
        self.steps.iter().enumerate().fold(picture, |picture, (at, step)| {
            step.apply(&mut self.draws(epoch, image, at), self.most, picture)
        })
    }

    /// The same for an image `[C, H, W]` of numbers.
    pub fn apply_to_numbers(
        &self,
        epoch: u64,
        image: u32,
        shape: [usize; 3],
        numbers: Vec<Number>,
    ) -> Vec<Number> {
        self.steps.iter().enumerate().fold(numbers, |numbers, (at, step)| {
            step.moved(&mut self.draws(epoch, image, at), shape, numbers)
        })
    }

    /// Whether the steps are for images of numbers, too.
    ///
    /// # Errors
    ///
    /// The step that is not.
    pub fn check_numbers(&self) -> Result<(), DataError> {
        if !self.steps.iter().any(|step| matches!(step, Transform::ColorJitter { .. })) {
            return Ok(());
        }
        let problem = "`colorjitter` is for pictures of bytes, and these are floats; leave it out";
        Err(DataError::Option(problem.into()))
    }

    /// Whether targets of this shape can go with images `[C, H, W]`: those that are pictures are moved with them.
    ///
    /// # Errors
    ///
    /// A step that moves pixels, where the targets are pictures of another size, and mixing by rectangles.
    pub fn check_targets(&self, target: &[usize], shape: [usize; 3]) -> Result<(), DataError> {
        if target.len() < 2 {
            return Ok(());
        }
        let step = self.steps.iter().find_map(Transform::mover).filter(|_| !is_picture(target, shape));
        let problem = match (step, self.mix.and_then(Mix::mover)) {
            (Some(step), _) => format!(
                "`{step}` moves the pixels of pictures, and the targets {target:?} are of another size"
            ),
            (None, Some(mix)) => {
                format!("`{mix}` moves the pixels of pictures, and not those of the targets {target:?}")
            }
            (None, None) => return Ok(()),
        };
        Err(DataError::Option(format!("{problem}; leave it out")))
    }

    /// For each pixel of this image's target, the one that it is in this epoch, or none where it comes from outside. Nothing
    /// where the target is no picture of the image's size, or no step moves pixels.
    pub fn places(
        &self,
        epoch: u64,
        image: u32,
        shape: [usize; 3],
        target: &[usize],
    ) -> Option<Vec<Option<u32>>> {
        if !is_picture(target, shape) || self.steps.iter().all(|step| step.mover().is_none()) {
            return None;
        }
        let [_, height, width] = shape;
        let numbered: Vec<Option<u32>> = (0..(height * width) as u32).map(Some).collect();
        let steps = self.steps.iter().enumerate();
        Some(steps.fold(numbered, |places, (at, step)| {
            step.moved(&mut self.draws(epoch, image, at), [1, height, width], places)
        }))
    }

    /// The parts of this image that the model reads as 0 in this epoch.
    pub fn erased(&self, epoch: u64, image: u32, shape: [usize; 3]) -> impl Iterator<Item = Rectangle> {
        let steps = self.steps.iter().enumerate();
        steps.filter_map(move |(at, step)| match step {
            Transform::Erase { p } => erase(&mut self.draws(epoch, image, at), *p, shape),
            _ => None,
        })
    }

    fn draws(&self, epoch: u64, image: u32, step: usize) -> CounterRng {
        let epoch = if planted!("data.augment.epoch") { 0 } else { epoch };
        let step = if planted!("data.augment.step") { 0 } else { step };
        CounterRng::new(self.seed, epoch, image, philox::stream("augment") ^ step as u32)
    }
}

impl Transform {
    fn check(&self, [channels, height, width]: [usize; 3]) -> Result<(), String> {
        match self {
            Transform::Crop { size: [high, wide], pad } if [*high, *wide] != [height, width] => {
                let padded = [height + 2 * pad[0], width + 2 * pad[1]];
                let why = if *high > padded[0] || *wide > padded[1] {
                    format!("with its padding a picture is only {}×{}", padded[0], padded[1])
                } else {
                    "validation and test pictures would have another size".to_owned()
                };
                Err(format!(
                    "`crop` makes pictures of {high}×{wide} pixels (height×width), but `prepare` makes them \
                     {height}×{width}, and {why}; write `crop([{height}, {width}], ...)`"
                ))
            }
            Transform::ColorJitter { saturation: Some(_), .. } if channels != 3 => Err(format!(
                "`colorjitter` cannot change the saturation of pictures of {channels} channels; leave it out"
            )),
            _ => Ok(()),
        }
    }

    /// The name of a step that moves pixels.
    fn mover(&self) -> Option<&'static str> {
        match self {
            Transform::Crop { .. } => Some("crop"),
            Transform::FlipHorizontally { .. } => Some("hflip"),
            Transform::FlipVertically { .. } => Some("vflip"),
            Transform::Rotate { .. } => Some("rotate"),
            Transform::Affine { .. } => Some("affine"),
            Transform::ColorJitter { .. } | Transform::Erase { .. } => None,
        }
    }

    fn apply(&self, draws: &mut CounterRng, most: u8, picture: Picture) -> Picture {
        match self {
            Transform::ColorJitter { brightness, contrast, saturation } => {
                let factors = [
                    (Property::Brightness, *brightness),
                    (Property::Contrast, *contrast),
                    (Property::Saturation, *saturation),
                ];
                color_jitter(draws, factors, most, picture)
            }
            _ => Picture::new(picture.shape, self.moved(draws, picture.shape, picture.pixels)),
        }
    }

    /// The pixels `[C, H, W]` of any type, where the step moves them; what comes from outside is 0.
    fn moved<T: Copy + Default>(
        &self,
        draws: &mut CounterRng,
        shape: [usize; 3],
        mut pixels: Vec<T>,
    ) -> Vec<T> {
        match self {
            Transform::Crop { pad, .. } => {
                let [top, left] = pad.map(|pad| draws.below(2 * pad + 1));
                shifted(&pixels, shape, [top, left], *pad)
            }
            Transform::FlipHorizontally { p } => {
                if draws.chance(*p) {
                    pixels.chunks_exact_mut(shape[2]).for_each(<[T]>::reverse);
                }
                pixels
            }
            Transform::FlipVertically { p } => {
                if draws.chance(*p) {
                    flip_vertically(&mut pixels, shape);
                }
                pixels
            }
            Transform::Rotate { degrees } => {
                let angle = draws.between(*degrees);
                let angle = if planted!("data.augment.angle") { angle } else { -angle };
                Affine::rotation(angle).apply(&pixels, shape)
            }
            Transform::Affine { degrees, translate, scale, shear } => {
                let [_, height, width] = shape;
                let angle = draws.between(*degrees);
                let wide = if planted!("data.augment.sides") { height } else { width };
                let most = [translate[0] * wide as f64, translate[1] * height as f64];
                let translate = most.map(|most| draws.between([-most, most]).round_ties_even());
                let scale = draws.between(*scale);
                let shear = [draws.between(*shear), 0.0];
                Affine { angle, translate, scale, shear }.apply(&pixels, shape)
            }
            Transform::ColorJitter { .. } | Transform::Erase { .. } => pixels,
        }
    }
}

/// Whether targets are pictures, of any number of channels, as large as images `[C, H, W]`.
fn is_picture(target: &[usize], [_, height, width]: [usize; 3]) -> bool {
    (2..4).contains(&target.len()) && target.ends_with(&[height, width])
}

fn flip_vertically<T>(pixels: &mut [T], [_, height, width]: [usize; 3]) {
    for plane in pixels.chunks_exact_mut(height * width) {
        for row in 0..height / 2 {
            let (upper, lower) = plane.split_at_mut((height - 1 - row) * width);
            upper[row * width..][..width].swap_with_slice(&mut lower[..width]);
        }
    }
}

/// The window at `[top, left]` of a picture with a border of `pad` rows and columns of 0, as large as the picture.
fn shifted<T: Copy + Default>(
    pixels: &[T],
    [_, height, width]: [usize; 3],
    [top, left]: [usize; 2],
    pad: [usize; 2],
) -> Vec<T> {
    let mut shifted = vec![T::default(); pixels.len()];
    let (rows, columns) = (overlap(height, top, pad[0]), overlap(width, left, pad[1]));
    let planes = pixels.chunks_exact(height * width);
    for (plane, out) in planes.zip(shifted.chunks_exact_mut(height * width)) {
        for row in 0..rows.len {
            let from = &plane[(rows.from + row) * width + columns.from..][..columns.len];
            out[(rows.to + row) * width + columns.to..][..columns.len].copy_from_slice(from);
        }
    }
    shifted
}

/// Which pixels of a line go where.
struct Overlap {
    from: usize,
    to: usize,
    len: usize,
}

fn overlap(extent: usize, start: usize, pad: usize) -> Overlap {
    let (from, to) = (start.saturating_sub(pad), pad.saturating_sub(start));
    Overlap { from: from.min(extent), to: to.min(extent), len: extent.saturating_sub(from.max(to)) }
}

/// Changes the properties in a random order.
fn color_jitter(
    draws: &mut CounterRng,
    mut factors: [(Property, Option<[f64; 2]>); 3],
    most: u8,
    mut picture: Picture,
) -> Picture {
    for last in (1..factors.len()).rev() {
        factors.swap(last, draws.below(last + 1));
    }
    for (property, interval) in factors {
        if let Some(interval) = interval {
            jitter::change(property, draws.between(interval), most, &mut picture);
        }
    }
    picture
}

/// A rectangle inside the picture, smaller than it; none if it is not to be or none of the tries fits.
fn erase(draws: &mut CounterRng, p: f64, [_, height, width]: [usize; 3]) -> Option<Rectangle> {
    if !draws.chance(p) {
        return None;
    }
    let logarithms = ERASED_RATIO.map(f64::ln);
    (0..TRIES).find_map(|_| {
        let area = (height * width) as f64 * draws.between(ERASED_AREA);
        let ratio = draws.between(logarithms).exp();
        let high = (area * ratio).sqrt().round_ties_even() as usize;
        let wide = (area / ratio).sqrt().round_ties_even() as usize;
        (high < height && wide < width).then(|| {
            let (top, left) = (draws.below(height - high + 1), draws.below(width - wide + 1));
            Rectangle { top, left, height: high, width: wide }
        })
    })
}

#[cfg(test)]
#[path = "augment_tests.rs"]
mod tests;
