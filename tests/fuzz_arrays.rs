//! The seeds of the fuzz targets for files of arrays and pictures, by the same functions.

#[path = "../fuzz/cifar.rs"]
mod cifar;
#[path = "../fuzz/idx.rs"]
mod idx;
#[path = "../fuzz/npy.rs"]
mod npy;
#[path = "../fuzz/npz.rs"]
mod npz;

use std::fs;

/// Takes each seed of a target through its function. A seed that was a finding, or is to be refused, has no pictures.
fn check(target: &str, from_bytes: fn(&[u8]) -> usize) {
    let folder = format!("{}/fuzz/seeds/{target}", env!("CARGO_MANIFEST_DIR"));
    let mut paths: Vec<_> =
        fs::read_dir(folder).expect("the seeds").map(|entry| entry.expect("a seed").path()).collect();
    paths.sort();
    assert!(!paths.is_empty());
    for path in paths {
        let name = path.display().to_string();
        let is_refused = name.contains("refused");
        let count = from_bytes(&fs::read(&path).expect("a seed"));
        assert!(name.contains("finding") || (count == 0) == is_refused, "{name}: {count}");
    }
}

#[test]
fn every_seed_of_an_array_is_read() {
    check("npy", npy::from_bytes);
}

#[test]
fn every_seed_of_an_archive_has_pictures() {
    check("npz", npz::from_bytes);
}

#[test]
fn every_seed_of_idx_is_read() {
    check("idx", idx::from_bytes);
}

#[test]
fn every_seed_of_cifar_has_pictures() {
    check("cifar", cifar::from_bytes);
}
