//! Bytes as an IDX file, compressed or not: what is read is the same with a cache as without, the first time and the
//! second. As the pictures of a data set they have labels that are made up.

use std::fs;
use std::path::Path;

use cnnc::data::idx;

/// Reads the bytes; whether they are such a file.
pub fn from_bytes(bytes: &[u8]) -> usize {
    let folder = std::env::temp_dir().join(format!("cnnc-fuzz-idx-{}", std::process::id()));
    let cache = folder.join("cache");
    fs::create_dir_all(&folder).expect("a folder");
    let path = folder.join("train-images-idx3-ubyte");
    fs::write(&path, bytes).expect("a file");
    let read = |cache: Option<&Path>| {
        let array = idx::read(&path, cache).map_err(|error| error.to_string());
        array.map(|array| (array.shape.clone(), array.elements.to_vec()))
    };
    let array = read(None);
    assert_eq!(read(Some(&cache)), array);
    assert_eq!(read(Some(&cache)), array);
    let count = match array {
        Ok((shape, elements)) => {
            assert_eq!(shape.iter().product::<usize>(), elements.len());
            data_set(&folder, bytes, shape[0]);
            1
        }
        Err(said) => {
            assert!(said.len() < 2000 && !said.chars().any(char::is_control), "{said}");
            0
        }
    };
    fs::remove_dir_all(&folder).expect("it was made");
    count
}

/// As many labels of 0 as the file says that it has pictures.
fn data_set(folder: &Path, images: &[u8], count: usize) {
    let Ok(extent) = u32::try_from(count) else { return };
    if count > images.len().saturating_mul(2000) {
        return;
    }
    let labels = [&[0, 0, 8, 1], &extent.to_be_bytes()[..], &vec![0; count]].concat();
    fs::write(folder.join("t10k-images-idx3-ubyte.gz"), images).expect("a file");
    for name in ["train-labels-idx1-ubyte", "t10k-labels.idx1-ubyte"] {
        fs::write(folder.join(name), &labels).expect("a file");
    }
    if let Ok(data) = idx::load_with_cache(folder, None) {
        assert_eq!((data.train.len(), data.test.len(), data.classes), (count, count, 1));
        assert_eq!(data.test.image(count - 1).expect("a picture").len(), data.train.image_len());
    }
}
