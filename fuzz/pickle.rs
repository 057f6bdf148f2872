//! From the pickle of a state dict to its tensors: what the fuzz target does with its bytes, and an ordinary test with
//! the seeds.
//!
//! Bytes that begin like a zip archive are taken as one. All others are the pickle in an archive whose storages, `0` to
//! `9`, have 24 bytes each. What is read has the shape that it says, and no more elements than the file can hold; what
//! is not is told in one line.

use std::io::{Cursor, Write};

use cnnc::train::weights;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

/// Bytes of a storage.
const STORED: usize = 24;
/// Elements for each byte of a file.
const MOST_ELEMENTS: usize = 4;

/// Takes bytes as a file; gives how many tensors were read.
pub fn from_bytes(bytes: &[u8]) -> usize {
    let file = if bytes.starts_with(b"PK") { bytes.to_vec() } else { archive(bytes) };
    match weights::read(&file) {
        Ok(contents) => {
            let elements: usize = contents.tensors.values().map(|tensor| tensor.elements.len()).sum();
            assert!(elements <= MOST_ELEMENTS * file.len());
            for (name, tensor) in &contents.tensors {
                let count: i64 = if tensor.shape.contains(&0) { 0 } else { tensor.shape.iter().product() };
                assert_eq!(count, tensor.elements.len() as i64, "{name}");
                assert!(!contents.others.contains_key(name), "{name}");
            }
            contents.tensors.len()
        }
        Err(problem) => {
            assert_eq!(problem.to_string().lines().count(), 1, "{problem}");
            0
        }
    }
}

/// An archive with a pickle.
fn archive(pickle: &[u8]) -> Vec<u8> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    let mut write = |name: &str, bytes: &[u8]| {
        writer.start_file(name, options).expect("it is in memory");
        writer.write_all(bytes).expect("it is in memory");
    };
    write("m/data.pkl", pickle);
    for key in 0..10 {
        write(&format!("m/data/{key}"), &[63; STORED]);
    }
    writer.finish().expect("it is in memory").into_inner()
}
