//! Bytes as a safetensors file, as far as the tensors of a model.

#![no_main]

#[path = "../safetensors.rs"]
mod safetensors;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    safetensors::from_bytes(bytes);
});
