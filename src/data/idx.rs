//! MNIST and alike: IDX files of unsigned bytes, as they are or compressed with gzip.
//!
//! An IDX file is `0 0 type rank`, the extents as big-endian `u32`, and the elements, row-major
//! (<http://yann.lecun.com/exdb/mnist/>). Whether a file is compressed its first bytes say, not its name. Compressed ones
//! are inflated once into the user's cache folder and read from there. What the reader takes follows what a file holds,
//! and no header may claim more than 4 GiB, than its compressed file could hold, or than there is memory for.

use std::cmp::Ordering;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;

use crate::base::files;

use super::bytes::Bytes;
use super::cache::stamp;
use super::{DataError, Dataset, Split, cache};

/// The element type "unsigned byte".
const UNSIGNED_BYTE: u8 = 0x08;
/// Images with channels have the most dimensions: `[images, C, H, W]`.
const MAX_RANK: u8 = 4;
/// The most channels of an image: each has a table of what its pixels mean.
const MOST_CHANNELS: usize = 4096;
/// The largest file, in bytes; so an image's number fits `u32`.
const MAX_LEN: u64 = u32::MAX as u64;
/// DEFLATE writes at least two bits for 258 bytes.
const MAX_RATIO: u64 = 1032;
/// How a gzip file begins. An IDX file begins with two zeros.
const GZIP: [u8; 2] = [0x1f, 0x8b];
/// A head is in the first bytes of a file, also of a compressed one.
const MOST_OF_HEAD: u64 = 1 << 12;

const TRAIN: [&str; 2] = ["train-images-idx3-ubyte", "train-labels-idx1-ubyte"];
const TEST: [&str; 2] = ["t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"];

/// The elements of a file.
#[derive(Clone, Debug)]
pub struct Array {
    pub shape: Vec<usize>,
    /// Row-major.
    pub elements: Bytes,
}

/// The data set in `folder`, which holds the four files of MNIST under their names, each with or without `.gz`. Pictures
/// are read on threads of their own, from heads that are right on: [`Dataset::ready`] waits for them.
///
/// # Errors
///
/// Files that are missing, that cannot be read or are no such files, and splits that do not fit each other.
pub fn load(folder: &Path) -> Result<Dataset, DataError> {
    begin(folder, cache::folder())
}

/// The same with another cache folder, or none, and all of it there.
///
/// # Errors
///
/// As [`load`].
pub fn load_with_cache(folder: &Path, cache: Option<&Path>) -> Result<Dataset, DataError> {
    let data = begin(folder, cache.map(Path::to_owned))?;
    data.ready()?;
    Ok(data)
}

fn begin(folder: &Path, cache: Option<PathBuf>) -> Result<Dataset, DataError> {
    let paths = find(folder)?;
    let mut images = [&paths[0], &paths[2]].map(|path| read_later(path, cache.clone())).into_iter();
    let mut labels = [&paths[1], &paths[3]].map(|path| read(path, cache.as_deref())).into_iter();
    let mut next = |at: usize| {
        let (images, labels) = images.next().zip(labels.next()).expect("two splits");
        split((&paths[at], images?), (&paths[at + 1], labels?))
    };
    let (train, test) = (next(0)?, next(2)?);
    Dataset::new(&folder.display().to_string(), train, test, 255.0)
}

/// The four files: training images and labels, test images and labels.
fn find(folder: &Path) -> Result<[PathBuf; 4], DataError> {
    let names = [TRAIN[0], TRAIN[1], TEST[0], TEST[1]];
    let found = names.map(|name| {
        // Some mirrors write `train-images.idx3-ubyte`.
        let dotted = name.replace("-idx", ".idx");
        let spellings = [name.to_owned(), format!("{name}.gz"), dotted.clone(), format!("{dotted}.gz")];
        spellings.iter().map(|spelling| folder.join(spelling)).find(|path| path.is_file())
    });
    let missing = names.iter().zip(&found).filter(|(_, path)| path.is_none());
    let missing: Vec<String> = missing.map(|(name, _)| (*name).to_owned()).collect();
    if missing.is_empty() {
        return Ok(found.map(Option::unwrap_or_default));
    }
    let all = names.map(str::to_owned).to_vec();
    let note = ", each as it is or with .gz";
    Err(DataError::missing(folder, missing, all, note))
}

/// One IDX file, as it is or compressed.
///
/// # Errors
///
/// A file that cannot be read or is no such file, or not a whole one.
pub fn read(path: &Path, cache: Option<&Path>) -> Result<Array, DataError> {
    if let Some(bytes) = cache.and_then(|folder| stamp::follow(folder, path)) {
        return parse(bytes, path);
    }
    let source = cache.and_then(|_| stamp::Source::new(path));
    let bytes = Bytes::read(path).map_err(|error| DataError::io(path, error))?;
    if !bytes.starts_with(&GZIP) {
        return parse(bytes, path);
    }
    let Some(folder) = cache else { return inflate(&bytes, path) };
    let entry = cache::entry(folder, path, &bytes);
    let stamp = || source.iter().for_each(|source| source.leads_to(&entry));
    if let Some(bytes) = cache::load(&entry) {
        stamp();
        return parse(bytes, path);
    }
    let mut inflated = inflate_bytes(&bytes, path)?;
    // Without a place to keep it, the next run inflates again.
    if let Ok(()) = cache::store(&entry, &mut inflated) {
        stamp();
    }
    parse_inflated(inflated, path)
}

/// The same, where the head of the file is right: then its elements are read on a thread of their own.
///
/// # Errors
///
/// A file whose head is not right.
fn read_later(path: &Path, cache: Option<PathBuf>) -> Result<Array, DataError> {
    let Some(shape) = head_of(path) else { return read(path, cache.as_deref()) };
    let (file, of_head) = (path.to_owned(), shape.clone());
    let elements = Bytes::later(shape.iter().product(), move || {
        let Array { shape, elements } = read(&file, cache.as_deref())?;
        match shape == of_head {
            true => Ok(elements),
            false => Err(DataError::format(&file, "it has changed while it was read")),
        }
    });
    // Without another thread, this one reads.
    elements.map_or_else(|_| read(path, None), |elements| Ok(Array { shape, elements }))
}

/// The shape that the head of a file says, compressed or not; none where anything is odd about it.
fn head_of(path: &Path) -> Option<Vec<usize>> {
    let mut start = Vec::new();
    let file = files::open(path).ok()?;
    let len = file.metadata().ok()?.len();
    file.take(MOST_OF_HEAD).read_to_end(&mut start).ok()?;
    let longest = 4 + 4 * usize::from(MAX_RANK);
    let mut head = Vec::new();
    let is_compressed = start.starts_with(&GZIP);
    match is_compressed {
        true => _ = MultiGzDecoder::new(&start[..]).take(longest as u64).read_to_end(&mut head),
        false => head.extend_from_slice(&start[..longest.min(start.len())]),
    }
    let header = Header::parse(&head, path).ok()?;
    let claim = header.file_len();
    let can_be = if is_compressed { claim <= len.saturating_mul(MAX_RATIO) } else { claim == len };
    can_be.then_some(header.shape)
}

/// The elements of a compressed IDX file. `path` names it in errors.
///
/// # Errors
///
/// Bytes that are no such file, or not a whole one.
pub fn inflate(compressed: &[u8], path: &Path) -> Result<Array, DataError> {
    parse_inflated(inflate_bytes(compressed, path)?, path)
}

/// The whole inflated file, header and all, behind as many bytes as an entry of the cache begins with.
fn inflate_bytes(compressed: &[u8], path: &Path) -> Result<Vec<u8>, DataError> {
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::OutOfMemory => DataError::io(path, error),
        _ => DataError::format(
            path,
            format!("the gzip data are corrupt or cut off ({error}); fetch the file again"),
        ),
    };
    let mut decoder = MultiGzDecoder::new(compressed);
    let mut header = vec![0; 4];
    decoder.read_exact(&mut header).map_err(failed)?;
    header.resize(4 + 4 * rank(&header, path)?, 0);
    decoder.read_exact(&mut header[4..]).map_err(failed)?;
    let claim = Header::parse(&header, path)?.file_len();
    if claim > compressed.len() as u64 * MAX_RATIO {
        let problem = format!("the header claims {claim} bytes, more than the compressed file can hold");
        return Err(DataError::format(path, problem));
    }
    // It reads to the end of what is there, where the checksum is.
    let whole = (&[0; cache::HEAD][..]).chain(&header[..]).chain(decoder);
    let bytes = files::claimed(whole, cache::HEAD as u64 + claim).map_err(failed)?;
    match ((bytes.len() - cache::HEAD) as u64).cmp(&claim) {
        Ordering::Equal => Ok(bytes),
        Ordering::Less => Err(failed(io::ErrorKind::UnexpectedEof.into())),
        Ordering::Greater => Err(DataError::format(
            path,
            format!("there are more than the {claim} bytes that the header claims"),
        )),
    }
}

fn parse_inflated(inflated: Vec<u8>, path: &Path) -> Result<Array, DataError> {
    let len = inflated.len();
    parse(Bytes::from(inflated).slice(cache::HEAD..len), path)
}

/// The elements of a whole file that is not compressed.
fn parse(bytes: Bytes, path: &Path) -> Result<Array, DataError> {
    let header = Header::parse(&bytes, path)?;
    let (claim, len) = (header.file_len(), bytes.len() as u64);
    if claim != len {
        let what = if len < claim { "is cut off" } else { "has bytes beyond its end" };
        let problem = format!("the file {what}: its header claims {claim} bytes, but it has {len}");
        return Err(DataError::format(path, problem));
    }
    Ok(Array { elements: bytes.slice(header.len()..bytes.len()), shape: header.shape })
}

struct Header {
    shape: Vec<usize>,
}

impl Header {
    fn parse(bytes: &[u8], path: &Path) -> Result<Header, DataError> {
        let rank = rank(bytes, path)?;
        let Some(extents) = bytes.get(4..4 + 4 * rank) else {
            return Err(DataError::format(path, "the file is cut off within its header"));
        };
        let extent = |bytes: &[u8]| u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) as usize;
        let header = Header { shape: extents.chunks_exact(4).map(extent).collect() };
        let claim = header.shape.iter().try_fold(1_u64, |len, extent| len.checked_mul(*extent as u64));
        match claim {
            Some(elements) if elements <= MAX_LEN => Ok(header),
            _ => Err(DataError::format(
                path,
                format!("the header claims {:?} elements, more than 4 GiB", header.shape),
            )),
        }
    }

    fn len(&self) -> usize {
        4 + 4 * self.shape.len()
    }

    /// Bytes of header and elements; `parse` keeps it far from overflow.
    fn file_len(&self) -> u64 {
        self.len() as u64 + self.shape.iter().map(|extent| *extent as u64).product::<u64>()
    }
}

/// The number of dimensions, from the first four bytes.
fn rank(bytes: &[u8], path: &Path) -> Result<usize, DataError> {
    match bytes {
        [0, 0, UNSIGNED_BYTE, rank @ 1..=MAX_RANK, ..] => Ok(usize::from(*rank)),
        [0, 0, UNSIGNED_BYTE, rank, ..] => Err(DataError::format(
            path,
            format!("an IDX file of {rank} dimensions; 1 to {MAX_RANK} are read"),
        )),
        [0, 0, kind, _, ..] => Err(DataError::format(
            path,
            format!("an IDX file of element type {kind:#04x}; only unsigned bytes (0x08) are read"),
        )),
        [a, b, c, d, ..] => Err(DataError::format(
            path,
            format!("not an IDX file: it begins with {a:02x} {b:02x} {c:02x} {d:02x}, not with 00 00 08"),
        )),
        _ => Err(DataError::format(path, "the file is too short for an IDX file")),
    }
}

/// Images of one or more channels with their labels; each array with the path that names it in errors.
pub(super) fn split(images: (&Path, Array), labels: (&Path, Array)) -> Result<Split, DataError> {
    let ((images_path, images), (labels_path, labels)) = (images, labels);
    let (count, shape) = match images.shape[..] {
        [count, height, width] => (count, [1, height, width]),
        [count, channels, height, width] => (count, [channels, height, width]),
        _ => {
            let problem = format!("images have 3 or 4 dimensions, not {}", images.shape.len());
            return Err(DataError::format(images_path, problem));
        }
    };
    if count == 0 {
        return Err(DataError::format(images_path, "the file has no images"));
    }
    if shape[0] > MOST_CHANNELS {
        let problem = format!("images of {} channels; at most {MOST_CHANNELS} are read", shape[0]);
        return Err(DataError::format(images_path, problem));
    }
    if shape.contains(&0) {
        return Err(DataError::format(images_path, format!("images of {shape:?} have no pixels")));
    }
    if labels.shape.len() != 1 {
        let problem = format!("labels have 1 dimension, not {}", labels.shape.len());
        return Err(DataError::format(labels_path, problem));
    }
    if labels.shape[0] != count {
        let problem =
            format!("{} labels for the {count} images of {}", labels.shape[0], images_path.display());
        return Err(DataError::format(labels_path, problem));
    }
    let labels: Vec<i32> = labels.elements.iter().map(|label| i32::from(*label)).collect();
    Split::new(images.elements, labels, shape).map_err(|problem| DataError::format(images_path, problem))
}

#[cfg(test)]
#[path = "idx_tests.rs"]
mod tests;
