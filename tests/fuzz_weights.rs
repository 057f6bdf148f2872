//! The seeds of the fuzz targets for files of weights, checkpoints, choices and pictures, by the same functions.

#[path = "../fuzz/checkpoint.rs"]
mod checkpoint;
#[path = "../fuzz/pickle.rs"]
mod pickle;
#[path = "../fuzz/pictures.rs"]
mod pictures;
#[path = "../fuzz/safetensors.rs"]
mod safetensors;
#[path = "../fuzz/tune.rs"]
mod tune;

use std::fs;

/// Takes each seed of a target through its function. A seed that was a finding, or is to be refused, has no tensors.
fn check(target: &str, from_bytes: fn(&[u8]) -> usize) {
    let folder = format!("{}/fuzz/seeds/{target}", env!("CARGO_MANIFEST_DIR"));
    let mut paths: Vec<_> =
        fs::read_dir(folder).expect("the seeds").map(|entry| entry.expect("a seed").path()).collect();
    paths.sort();
    assert!(!paths.is_empty());
    for path in paths {
        let name = path.display().to_string();
        let wanted = usize::from(!name.contains("finding") && !name.contains("refused"));
        assert!(from_bytes(&fs::read(&path).expect("a seed")) >= wanted, "{name}");
    }
}

#[test]
fn every_seed_of_a_pickle_becomes_tensors() {
    check("pickle", pickle::from_bytes);
}

#[test]
fn every_seed_of_safetensors_becomes_tensors() {
    check("safetensors", safetensors::from_bytes);
}

#[test]
fn every_seed_of_a_checkpoint_becomes_tensors() {
    check("checkpoint", checkpoint::from_bytes);
}

#[test]
fn every_seed_of_choices_is_read() {
    check("tune", tune::from_bytes);
}

/// Whole ones and, at every tenth place, with a byte that is another.
#[test]
fn every_picture_is_read_or_refused() {
    let folder = format!("{}/tests/fixtures/pictures", env!("CARGO_MANIFEST_DIR"));
    let mut paths: Vec<_> =
        fs::read_dir(folder).expect("the seeds").map(|entry| entry.expect("a seed").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|ending| ending != "json"));
    assert!(paths.len() > 100);
    for path in paths {
        let mut bytes = fs::read(&path).expect("a seed");
        pictures::from_bytes(&bytes);
        for at in (0..bytes.len()).step_by(10) {
            let before = bytes[at];
            bytes[at] ^= 1 << (at / 10 % 8);
            pictures::from_bytes(&bytes);
            bytes[at] = before;
        }
    }
}
