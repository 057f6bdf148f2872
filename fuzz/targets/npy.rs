//! Bytes as a `.npy` file.

#![no_main]

#[path = "../npy.rs"]
mod npy;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    npy::from_bytes(bytes);
});
