//! Bytes as the two files of CIFAR-100, behind the length of the first: what is read is the pictures and labels at their
//! places in the files.

use std::fs;

use cnnc::data::cifar;

/// Bytes of a record: two labels and a picture.
const RECORD: usize = 2 + 3 * 32 * 32;

/// Loads what the bytes make; how many pictures there were.
pub fn from_bytes(bytes: &[u8]) -> usize {
    let [low, high, rest @ ..] = bytes else { return 0 };
    let len = usize::from(u16::from_le_bytes([*low, *high])).min(rest.len());
    let (train, test) = rest.split_at(len);
    let folder = std::env::temp_dir().join(format!("cnnc-fuzz-cifar-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("a folder");
    fs::write(folder.join("train.bin"), train).expect("a file");
    fs::write(folder.join("test.bin"), test).expect("a file");
    let loaded = cifar::load100(&folder);
    fs::remove_dir_all(&folder).expect("it was made");
    match loaded {
        Ok(data) => {
            for (split, file) in [(&data.train, train), (&data.test, test)] {
                assert_eq!(split.len() * RECORD, file.len());
                for (at, record) in file.chunks_exact(RECORD).enumerate() {
                    assert_eq!(split.classes()[at], i32::from(record[1]));
                    assert_eq!(split.image(at).expect("a picture")[..], record[2..]);
                }
            }
            data.train.len() + data.test.len()
        }
        Err(error) => {
            let said = error.to_string();
            assert!(said.len() < 2000 && !said.chars().any(char::is_control), "{said}");
            0
        }
    }
}
