//! The seeds of the fuzz targets that lead to machine code, by the same functions; and functions with far addresses
//! that random bytes make.

#[path = "../fuzz/addresses.rs"]
mod addresses;
#[path = "../fuzz/code.rs"]
mod code;

use code::Reached;

fn seeds(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = format!("{}/fuzz/seeds/{target}", env!("CARGO_MANIFEST_DIR"));
    let files = std::fs::read_dir(folder).expect("the seeds").map(|entry| entry.expect("a seed").path());
    let mut seeds: Vec<(String, Vec<u8>)> =
        files.map(|path| (path.display().to_string(), std::fs::read(&path).expect("a file"))).collect();
    seeds.sort();
    seeds
}

#[test]
fn every_loop_function_gives_the_interpreters_bits() {
    let seeds = seeds("loops_to_code");
    assert!(seeds.len() >= 10, "{} seeds", seeds.len());
    for (name, text) in seeds {
        // A seed that was a finding may be no function.
        let wanted = if name.contains("finding") { Reached::Error } else { Reached::Results };
        let reached = code::from_bytes(&text);
        assert!(reached >= wanted, "{name}: {reached:?}");
    }
}

#[test]
fn every_seed_of_addresses_is_where_the_model_says() {
    let runs = seeds("addresses").into_iter().filter(|(_, bytes)| addresses::from_bytes(bytes)).count();
    assert!(runs >= 4, "{runs} functions were proved right and run");
}

/// Random bytes of a seed.
fn random(seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 24) as u8
    };
    (0..8).for_each(|_| _ = next());
    (0..512).map(|_| next()).collect()
}

#[test]
fn far_elements_are_where_the_model_says() {
    let proved = (0..1000).filter(|seed| addresses::from_bytes(&random(*seed))).count();
    assert!(proved >= 200, "{proved} functions were proved right and run");
}

#[test]
#[ignore = "many more, a quarter of a minute"]
fn many_far_elements_are_where_the_model_says() {
    let proved = (1_000..20_000).filter(|seed| addresses::from_bytes(&random(*seed))).count();
    assert!(proved >= 4_000, "{proved} functions were proved right and run");
}
