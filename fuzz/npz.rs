//! Bytes as an archive of arrays, where they begin like one, and else as its four arrays behind the lengths of three:
//! sums of checks are no work for a fuzzer. What is read has pictures of one shape, finite values and labels of classes.

use std::fs;
use std::io::{Cursor, Write};

use cnnc::data::{Dataset, Prepare, npz};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

/// Loads what the bytes make; how many pictures there were.
pub fn from_bytes(bytes: &[u8]) -> usize {
    let archive = if bytes.starts_with(b"PK") { bytes.to_vec() } else { archive(bytes) };
    let path = std::env::temp_dir().join(format!("cnnc-fuzz-{}.npz", std::process::id()));
    fs::write(&path, archive).expect("a file");
    let loaded = npz::load(&path);
    fs::remove_file(&path).expect("it was made");
    match loaded {
        Ok(data) => check(&data),
        Err(error) => {
            let said = error.to_string();
            assert!(said.len() < 2000 && !said.chars().any(char::is_control), "{said}");
            0
        }
    }
}

fn archive(bytes: &[u8]) -> Vec<u8> {
    let (head, mut rest) = bytes.split_at_checked(6).unwrap_or((&[0; 6], bytes));
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    for (at, name) in ["x_train", "y_train", "x_test", "y_test"].into_iter().enumerate() {
        let len = head
            .get(2 * at..2 * at + 2)
            .map_or(rest.len(), |len| usize::from(u16::from_le_bytes([len[0], len[1]])));
        let (array, others) = rest.split_at(len.min(rest.len()));
        rest = others;
        writer.start_file(format!("{name}.npy"), options).expect("it is in memory");
        writer.write_all(array).expect("it is in memory");
    }
    writer.finish().expect("it is in memory").into_inner()
}

/// Looks at every picture; how many there are.
fn check(data: &Dataset) -> usize {
    let prepare = Prepare::new(data.shape[0], data.full_scale, &[]).expect("no steps");
    for split in [&data.train, &data.test] {
        assert_eq!(split.shape, data.shape);
        let mut values = vec![0.0; split.image_len()];
        for at in 0..split.len() {
            prepare.write_pixels(&split.pixels(at).expect("a picture"), &mut values);
            assert!(values.iter().all(|value| value.is_finite()));
        }
        let labels = split.targets.labels().unwrap_or_default();
        assert!(labels.iter().all(|label| (0..data.classes as i32).contains(label)));
    }
    data.train.len() + data.test.len()
}
