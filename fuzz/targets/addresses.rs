//! Bytes as choices that make a function with far addresses, as far as what its machine code touches.

#![no_main]

#[path = "../addresses.rs"]
mod addresses;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    addresses::from_bytes(bytes);
});
