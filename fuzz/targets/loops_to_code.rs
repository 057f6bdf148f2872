//! Bytes as the text of a loop function, as far as machine code and its results.

#![no_main]

#[path = "../code.rs"]
mod code;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    code::from_bytes(bytes);
});
