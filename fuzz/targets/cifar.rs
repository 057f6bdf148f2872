//! Bytes as the files of a CIFAR data set.

#![no_main]

#[path = "../cifar.rs"]
mod cifar;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    cifar::from_bytes(bytes);
});
