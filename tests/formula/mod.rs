//! The numbers of the fixtures: the same formula as `tests/fixtures/formula.py`, and the fixtures' contents.
//!
//! A tensor is named. Element `i` (row-major) comes from a 32-bit hash of the name and `i`; a rule turns it into a
//! value that is exact in `f32`.
#![allow(dead_code)] // Every test that includes this module uses a part of it.

pub mod cases;

/// The values of a tensor, row-major.
pub fn values(name: &str, shape: &[usize], rule: &str) -> Vec<f64> {
    let count = shape.iter().product::<usize>() as u32;
    (0..count).map(|element| value(hash(name, element), shape, rule)).collect()
}

/// The same as `f32`, which is exact.
pub fn values_f32(name: &str, shape: &[usize], rule: &str) -> Vec<f32> {
    values(name, shape, rule).into_iter().map(|value| value as f32).collect()
}

/// One label an image, below `classes`.
pub fn labels(name: &str, count: usize, classes: u32) -> Vec<i32> {
    (0..count as u32).map(|element| (hash(name, element) % classes) as i32).collect()
}

fn value(hash: u32, shape: &[usize], rule: &str) -> f64 {
    let centred = f64::from(hash % 255) - 127.0;
    match rule {
        "grid" => centred / 128.0,
        "weight" => centred / 128.0 * weight_scale(shape),
        "wide" => centred / 32.0,
        "coarse" => (f64::from(hash % 5) - 2.0) / 2.0,
        "pixel" => f64::from(hash % 17) / 16.0,
        "unit" => f64::from(hash % 15 + 1) / 16.0,
        "near_one" => 1.0 + centred / 512.0,
        "small" => centred / 2048.0,
        "zero" => 0.0,
        "one" => 1.0,
        _ => panic!("the fixtures have no rule `{rule}`"),
    }
}

/// 2 over the smallest power of two that is at least the root of `fan_in`, the product of all extents but the first.
fn weight_scale(shape: &[usize]) -> f64 {
    let fan_in = shape[1..].iter().product::<usize>();
    let mut root = 1;
    while root * root < fan_in {
        root *= 2;
    }
    2.0 / root as f64
}

/// lowbias32 of the name's FNV-1a hash and the element.
fn hash(name: &str, element: u32) -> u32 {
    let seed =
        name.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    let mut x = seed.wrapping_add(element.wrapping_mul(0x9e37_79b9));
    x = (x ^ x >> 16).wrapping_mul(0x7feb_352d);
    x = (x ^ x >> 15).wrapping_mul(0x846c_a68b);
    x ^ x >> 16
}
