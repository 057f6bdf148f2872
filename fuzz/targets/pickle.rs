//! Bytes as the pickle of a state dict, or as its whole file, as far as tensors.

#![no_main]

#[path = "../pickle.rs"]
mod pickle;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    pickle::from_bytes(bytes);
});
