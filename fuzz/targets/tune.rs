//! Bytes as a file of `cnnc bench --tune`.

#![no_main]

#[path = "../tune.rs"]
mod tune;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    tune::from_bytes(bytes);
});
