//! The pictures of a split, wherever they are: in memory, or in a file each.
//!
//! Pictures in files of their own are decoded when a batch needs them. What was decoded is kept for the epochs after,
//! as bytes after `prepare`, until [`MOST_KEPT`] is used; the others are decoded again in every epoch. So memory is
//! bounded whatever the size of the folder, and the results do not depend on what was kept.

use std::borrow::Cow;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use super::DataError;
use super::bytes::Bytes;
use super::geometry::{self, Geometry};
use super::picture::{self, Picture};
use super::pixels::{Number, Pixels};

/// Bytes of decoded pictures that a split keeps.
pub const MOST_KEPT: usize = 1 << 30;

/// Records of one length: a head of some bytes, then the pixels of a picture.
#[derive(Clone, Debug)]
pub struct Records {
    bytes: Bytes,
    head: usize,
    len: usize,
}

impl Records {
    /// Whole records of `len` bytes, of which `head` come before the pixels.
    pub fn new(bytes: Bytes, head: usize, len: usize) -> Records {
        assert!(head < len && bytes.len().is_multiple_of(len));
        Records { bytes, head, len }
    }

    fn count(&self) -> usize {
        self.bytes.len() / self.len
    }

    fn pixels(&self, index: usize) -> &[u8] {
        &self.bytes[index * self.len + self.head..(index + 1) * self.len]
    }
}

/// Picture files of a split.
#[derive(Clone, Debug)]
pub struct Files {
    /// The folder with those of the classes.
    pub root: PathBuf,
    pub paths: Vec<PathBuf>,
    /// What transparent pictures lie over: red, green and blue.
    pub background: [u8; 3],
}

#[derive(Clone, Debug)]
enum Stored {
    /// `[C, H, W]` each, one part after the other.
    Records { parts: Vec<Records>, shape: [usize; 3] },
    /// `[C, H, W]` each, of numbers: records of four bytes a pixel.
    Numbers { records: Records, shape: [usize; 3] },
    /// Picture files, read as three channels.
    Files(Arc<Files>),
}

/// Pictures by their numbers, all of one shape.
#[derive(Debug)]
pub struct Images {
    stored: Stored,
    /// What is done to every stored picture.
    steps: Vec<Geometry>,
    shape: [usize; 3],
    kept: Vec<OnceLock<Box<[u8]>>>,
    /// Bytes that may still be kept.
    room: AtomicUsize,
}

impl Images {
    /// Pictures `[C, H, W]` in the records of some parts. Each record has a picture of that shape.
    ///
    /// # Errors
    ///
    /// More pictures than are counted, in words.
    pub fn records(parts: Vec<Records>, shape: [usize; 3]) -> Result<Images, String> {
        assert!(parts.iter().all(|part| part.len - part.head == shape.iter().product::<usize>()));
        check_count(parts.iter().map(Records::count).sum())?;
        Ok(Images::new(Stored::Records { parts, shape }, Vec::new(), shape))
    }

    /// Pictures `[C, H, W]` of numbers, one after the other, as `f32` of little-endian bytes.
    ///
    /// # Errors
    ///
    /// As [`Images::records`].
    pub fn numbers(bytes: Bytes, shape: [usize; 3]) -> Result<Images, String> {
        let len = size_of::<Number>() * shape.iter().product::<usize>();
        let records = Records::new(bytes, 0, len);
        check_count(records.count())?;
        Ok(Images::new(Stored::Numbers { records, shape }, Vec::new(), shape))
    }

    /// Picture files that are of this size if no step changes it.
    ///
    /// # Errors
    ///
    /// As [`Images::records`].
    pub fn files(files: Files, [height, width]: [usize; 2]) -> Result<Images, String> {
        check_count(files.paths.len())?;
        Ok(Images::new(Stored::Files(files.into()), Vec::new(), [3, height, width]))
    }

    fn new(stored: Stored, steps: Vec<Geometry>, shape: [usize; 3]) -> Images {
        let files = if let Stored::Files(files) = &stored { files.paths.len() } else { 0 };
        let kept = (0..files).map(|_| OnceLock::new()).collect();
        Images { stored, steps, shape, kept, room: AtomicUsize::new(MOST_KEPT) }
    }

    /// The same pictures after some steps.
    ///
    /// # Errors
    ///
    /// The step that does not fit the shape, in words.
    pub fn prepared(&self, steps: &[Geometry]) -> Result<Images, String> {
        if self.are_numbers() {
            steps.iter().try_for_each(|step| step.check_numbers())?;
        }
        let shape = geometry::shape_after(steps, self.shape)?;
        Ok(Images::new(self.stored.clone(), [&self.steps, steps].concat(), shape))
    }

    /// The number of pictures.
    pub fn count(&self) -> usize {
        match &self.stored {
            Stored::Records { parts, .. } => parts.iter().map(Records::count).sum(),
            Stored::Numbers { records, .. } => records.count(),
            Stored::Files(files) => files.paths.len(),
        }
    }

    /// Whether pixels are numbers and not bytes.
    pub fn are_numbers(&self) -> bool {
        matches!(self.stored, Stored::Numbers { .. })
    }

    /// `[C, H, W]`.
    pub fn shape(&self) -> [usize; 3] {
        self.shape
    }

    /// Whether a picture is there without any work.
    pub fn is_plain(&self) -> bool {
        self.steps.is_empty() && !matches!(self.stored, Stored::Files(_))
    }

    /// Where the pictures are files of their own: these, in their order.
    pub fn as_files(&self) -> Option<&Files> {
        match &self.stored {
            Stored::Files(files) => Some(files),
            Stored::Records { .. } | Stored::Numbers { .. } => None,
        }
    }

    /// Waits for pictures that are still read from their files.
    ///
    /// # Errors
    ///
    /// Those of reading.
    pub fn ready(&self) -> Result<(), DataError> {
        match &self.stored {
            Stored::Records { parts, .. } => parts.iter().try_for_each(|part| part.bytes.ready()),
            Stored::Numbers { .. } | Stored::Files(_) => Ok(()),
        }
    }

    /// The pixels of a picture as they are stored, where they are no file of their own. They are [`ready`](Images::ready).
    pub fn stored(&self, index: usize) -> Option<&[u8]> {
        match &self.stored {
            Stored::Records { parts, .. } => Some(pixels(parts, index)),
            Stored::Numbers { records, .. } => Some(records.pixels(index)),
            Stored::Files(_) => None,
        }
    }

    /// The pixels of a picture, `[C, H, W]`.
    ///
    /// # Errors
    ///
    /// A file that cannot be read or whose picture has another size.
    pub fn pixels(&self, index: usize) -> Result<Pixels<'_>, DataError> {
        match &self.stored {
            Stored::Numbers { records, shape } => {
                Ok(Pixels::Numbers(self.of_numbers(records.pixels(index).as_chunks().0, *shape)))
            }
            Stored::Records { .. } | Stored::Files(_) => self.get(index).map(Pixels::Bytes),
        }
    }

    /// Of the steps, those that numbers have.
    fn of_numbers<'a>(&self, numbers: &'a [Number], shape: [usize; 3]) -> Cow<'a, [Number]> {
        let mut shape = shape;
        let mut numbers = Cow::Borrowed(numbers);
        for step in &self.steps {
            if let Geometry::CenterCrop { height, width } = *step {
                numbers = Cow::Owned(geometry::middle(&numbers, shape, [height, width]));
                shape = [shape[0], height, width];
            }
        }
        numbers
    }

    /// The pixels of a picture of bytes, `[C, H, W]`.
    ///
    /// # Errors
    ///
    /// As [`Images::pixels`], and pictures of numbers.
    pub fn get(&self, index: usize) -> Result<Cow<'_, [u8]>, DataError> {
        match &self.stored {
            Stored::Records { parts, shape } => {
                self.ready()?;
                self.of_record(pixels(parts, index), *shape)
            }
            Stored::Numbers { .. } => Err(DataError::Option("the pixels are no bytes".into())),
            Stored::Files(files) => match self.kept[index].get() {
                Some(pixels) => Ok(Cow::Borrowed(pixels)),
                None => self.decode(files, index),
            },
        }
    }

    fn of_record<'a>(&self, pixels: &'a [u8], shape: [usize; 3]) -> Result<Cow<'a, [u8]>, DataError> {
        if self.steps.is_empty() {
            return Ok(Cow::Borrowed(pixels));
        }
        let picture = geometry::apply(&self.steps, Picture::new(shape, pixels.to_vec()));
        picture.map(|picture| Cow::Owned(picture.pixels)).map_err(DataError::Option)
    }

    fn decode(&self, files: &Files, index: usize) -> Result<Cow<'_, [u8]>, DataError> {
        let (path, place) = (&files.paths[index], &self.kept[index]);
        let picture = geometry::apply(&self.steps, picture::read(path, files.background)?);
        let picture = picture.map_err(|problem| DataError::format(path, problem))?;
        if picture.shape != self.shape {
            let [_, height, width] = picture.shape;
            return Err(DataError::format(path, other_size([height, width], self.shape)));
        }
        if self.make_room(picture.pixels.len()) {
            return Ok(Cow::Borrowed(place.get_or_init(|| picture.pixels.into())));
        }
        Ok(Cow::Owned(picture.pixels))
    }

    fn make_room(&self, bytes: usize) -> bool {
        let take = |room: usize| room.checked_sub(bytes);
        self.room.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }

    /// Checks the size that the head of a picture's file claims, where no step makes all sizes one.
    ///
    /// # Errors
    ///
    /// A file that is no picture or whose picture has another size.
    pub fn check_size(&self, index: usize) -> Result<(), DataError> {
        let Stored::Files(files) = &self.stored else { return Ok(()) };
        if self.steps.iter().any(|step| matches!(step, Geometry::Resize { .. })) {
            return Ok(());
        }
        let path = &files.paths[index];
        let [height, width] = picture::size(path)?;
        let shape = geometry::shape_after(&self.steps, [3, height, width]);
        if shape.map_err(|problem| DataError::format(path, problem))? == self.shape {
            return Ok(());
        }
        Err(DataError::format(path, other_size([height, width], self.shape)))
    }
}

/// An epoch has the numbers of its pictures in 32 bits each.
///
/// # Errors
///
/// More pictures, in words.
pub(super) fn check_count(count: usize) -> Result<(), String> {
    match u32::try_from(count) {
        Ok(_) => Ok(()),
        Err(_) => Err(format!("{count} images in one split; at most {} are read", u32::MAX)),
    }
}

fn other_size([height, width]: [usize; 2], shape: [usize; 3]) -> String {
    format!(
        "the picture is {height}×{width} pixels (height×width), but the first one is {}×{}; \
         give all one size with `prepare = resize(h, w)`",
        shape[1], shape[2]
    )
}

/// The pixels of a record of several parts, of which there are few.
fn pixels(parts: &[Records], index: usize) -> &[u8] {
    let mut index = index;
    for part in parts {
        if index < part.count() {
            return part.pixels(index);
        }
        index -= part.count();
    }
    panic!("there is no picture {index} after the last")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Memory that nothing is written to costs addresses only.
    #[test]
    fn pictures_are_counted_in_32_bits() {
        let images =
            |count: usize| Images::records(vec![Records::new(Bytes::from(vec![0; count]), 0, 1)], [1, 1, 1]);
        assert_eq!(images(u32::MAX as usize).unwrap().count(), u32::MAX as usize);
        let error = images(1 << 32).unwrap_err();
        assert_eq!(error, "4294967296 images in one split; at most 4294967295 are read");
    }
}
