//! Bytes as a file of `cnnc bench --tune`.

use std::fs;

use cnnc::train::tuned::Tuned;

/// Reads the bytes as a file, and what is read as one that was written; whether they are one.
pub fn from_bytes(bytes: &[u8]) -> usize {
    let path = std::env::temp_dir().join(format!("cnnc-fuzz-{}.json", std::process::id()));
    fs::write(&path, bytes).expect("a file");
    let read = Tuned::load(&path);
    let count = match read {
        Ok(tuned) => {
            tuned.save(&path).expect("it is written");
            assert_eq!(Tuned::load(&path).expect("what was written"), tuned);
            1
        }
        Err(error) => {
            let said = error.to_string();
            assert!(said.len() < 2000 && !said.chars().any(char::is_control), "{said}");
            0
        }
    };
    fs::remove_file(&path).expect("it was made");
    count
}
