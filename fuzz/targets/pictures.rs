//! Bytes as a picture file, as far as its pixels.

#![no_main]

#[path = "../pictures.rs"]
mod pictures;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    pictures::from_bytes(bytes);
});
