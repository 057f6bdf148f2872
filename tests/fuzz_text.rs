//! The seeds of the fuzz target lead to equations, by the same function.

#[path = "../fuzz/equations.rs"]
mod equations;

use std::collections::BTreeSet;

/// Words of the language that the seeds use together.
const WORDS: &str = "model inline block op data train on as phase let param state for in if else assert true false inf \
                     sum prod max min mean real uniform detach exp log sqrt rsqrt tanh sigmoid erf abs floor pow \
                     concat stack size count len pair sides cdiv rank training i32 u8 bool int float list string any";

/// Signs likewise.
const SIGNS: &str = "|> <- .. -> || && == != <= >= < > + - * / % !";

fn seeds() -> Vec<(String, String)> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/seeds/text_to_equations");
    let files = std::fs::read_dir(folder).expect("the seeds").map(|entry| entry.expect("a seed").path());
    let mut seeds: Vec<(String, String)> = files
        .map(|path| (path.display().to_string(), std::fs::read_to_string(&path).expect("text")))
        .collect();
    seeds.sort();
    seeds
}

#[test]
fn every_seed_becomes_equations() {
    for (name, text) in seeds() {
        // A seed that was a finding may have nothing to elaborate.
        let wanted = usize::from(!name.contains("finding"));
        assert!(equations::from_bytes(text.as_bytes()) >= wanted, "{name}");
    }
}

#[test]
fn the_seeds_use_the_whole_language() {
    let text: String = seeds().into_iter().map(|(_, text)| text + "\n").collect();
    let words: BTreeSet<&str> = text.split(|c: char| !c.is_alphanumeric() && c != '_').collect();
    let missing: Vec<&str> = WORDS.split_whitespace().filter(|word| !words.contains(word)).collect();
    let absent: Vec<&str> = SIGNS.split_whitespace().filter(|sign| !text.contains(sign)).collect();
    assert!(missing.is_empty() && absent.is_empty(), "the seeds lack {missing:?} {absent:?}");
}
