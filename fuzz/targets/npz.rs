//! Bytes as a `.npz` file.

#![no_main]

#[path = "../npz.rs"]
mod npz;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    npz::from_bytes(bytes);
});
