//! Bytes as an IDX file, and as the pictures of a data set.

#![no_main]

#[path = "../idx.rs"]
mod idx;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    idx::from_bytes(bytes);
});
