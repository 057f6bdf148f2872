//! Bytes as the files of a checkpoint.

#![no_main]

#[path = "../checkpoint.rs"]
mod checkpoint;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    checkpoint::from_bytes(bytes);
});
