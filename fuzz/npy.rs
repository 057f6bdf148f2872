//! Bytes as a `.npy` file: what is read has the elements that its shape says, and is read again from what is written of it.

use std::fs;

use cnnc::data::npy;

/// Reads the bytes; whether they are an array.
pub fn from_bytes(bytes: &[u8]) -> usize {
    let array = match npy::parse(bytes) {
        Ok(array) => array,
        Err(said) => {
            assert!(said.len() < 2000 && !said.chars().any(char::is_control), "{said}");
            return 0;
        }
    };
    if array.elements.is_empty() {
        assert!(array.shape.contains(&0));
        return 1;
    }
    assert_eq!(array.shape.iter().product::<usize>(), array.elements.len());
    let path = std::env::temp_dir().join(format!("cnnc-fuzz-{}.npy", std::process::id()));
    npy::write(&path, &array.shape, &array.elements).expect("it is written");
    let again = npy::read(&path).expect("what was written");
    fs::remove_file(&path).expect("it was made");
    let bits =
        |array: &npy::Array| array.elements.iter().map(|element| element.to_bits()).collect::<Vec<_>>();
    assert_eq!((&again.shape, bits(&again)), (&array.shape, bits(&array)));
    1
}
