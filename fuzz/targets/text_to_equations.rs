//! Bytes as the text of a model file, as far as equations.

#![no_main]

#[path = "../equations.rs"]
mod equations;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    equations::from_bytes(bytes);
});
