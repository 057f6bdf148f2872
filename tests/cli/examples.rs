//! The examples of the course notes and of the zoo: they are right, and give the numbers of the notes.

use std::path::PathBuf;

use cnnc::data::npy;

use crate::place::{Place, names_in};

fn folder(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("examples").join(name)
}

fn example(name: &str) -> String {
    folder("notes").join(name).display().to_string()
}

/// What a model without parameters makes of an array.
fn made(file: &str, model: &str, shape: &[usize], values: &[f32]) -> npy::Array {
    let place = Place::new();
    npy::write(&place.path("x.npy"), shape, values).expect("a file");
    let file = example(file);
    place.good(&["predict", &file, "--model", model, "--input", "x.npy", "--output", "y.npy"]);
    npy::read(&place.path("y.npy")).expect("an array")
}

/// Values without a pattern, from -1 to 1.
fn noise(count: usize) -> Vec<f32> {
    (0..count as u32)
        .map(|at| (at.wrapping_mul(2_654_435_761) >> 8) as f32 / (1 << 23) as f32 - 1.0)
        .collect()
}

#[test]
fn all_are_formatted_and_right() {
    for name in ["notes", "targets", "zoo"] {
        for file in names_in(&folder(name)).iter().filter(|file| file.ends_with(".cnn")) {
            let path = folder(name).join(file).display().to_string();
            let place = Place::new();
            assert_eq!(place.good(&["fmt", "--check", &path]), "");
            assert_eq!(place.good(&["check", &path]), format!("{path}: no problems\n"));
        }
    }
}

#[test]
fn the_worked_numbers_of_the_notes() {
    let x: Vec<f32> = (0..9).map(|value| value as f32).collect();
    let of = |model: &str| made("filters.cnn", model, &[1, 1, 3, 3], &x).elements;
    assert_eq!(of("OneChannel"), [19.0, 25.0, 37.0, 43.0]);
    assert_eq!(of("TwoChannels"), [56.0, 72.0, 104.0, 120.0]);
    let three = [56.0, 72.0, 104.0, 120.0, 76.0, 100.0, 148.0, 172.0, 96.0, 128.0, 192.0, 224.0];
    assert_eq!(of("ThreeOutputs"), three);
    let bar: Vec<f32> = (0..48).map(|at| if (2..6).contains(&(at % 8)) { 0.0 } else { 1.0 }).collect();
    let rows = |model: &str, row: &[f32]| {
        let found = made("filters.cnn", model, &[1, 1, 6, 8], &bar).elements;
        assert!(found.chunks(row.len()).all(|found| found == row), "{model}: {found:?}");
    };
    rows("EdgeOfBar", &[0.0, 1.0, 0.0, 0.0, 0.0, -1.0, 0.0]);
    rows("PooledEdge", &[1.0, 1.0, 0.0, 0.0, 0.0, 0.0]);
}

#[test]
fn poolings_by_hand_are_those_of_the_library() {
    let largest = made("pooling_by_hand.cnn", "Largest", &[2, 3, 6, 8], &noise(288)).elements;
    assert!(largest.len() == 8 && largest.iter().all(|difference| *difference < 1e-6), "{largest:?}");
}

#[test]
fn chunks_are_those_of_torch() {
    let x = noise(2 * 7 * 4 * 6);
    let [pooled, by_hand] = ["Pooled", "ByHand"].map(|model| made("chunks.cnn", model, &[2, 7, 4, 6], &x));
    assert_eq!((pooled.shape.as_slice(), &pooled.elements), (&[2, 3, 2, 3][..], &by_hand.elements));
}

/// Three layers that no Rust file knows train through their derived gradients.
#[test]
fn layers_of_a_user_train() {
    let place = Place::new();
    place.good(&["run", &example("attention.cnn"), "--out", "run"]);
    let record: serde_json::Value = serde_json::from_str(&place.text("run/final.json")).expect("JSON");
    assert!(record["test_accuracy"].as_f64().expect("a number") > 0.95, "{record}");
}

/// A regression and a segmentation learn from arrays that come with them.
#[test]
fn other_targets_are_learnt() {
    let place = Place::new();
    let test = |name: &str, key: &str| {
        let file = folder("targets").join(name).display().to_string();
        place.good(&["run", &file, "--out", name]);
        let record: serde_json::Value =
            serde_json::from_str(&place.text(&format!("{name}/final.json"))).expect("JSON");
        record[key].as_f64().expect("a figure")
    };
    // A model that always says the middle has 0.027.
    let loss = test("places.cnn", "test_loss");
    assert!(loss < 0.002, "{loss}");
    // Six of seven pixels are paper.
    let accuracy = test("strokes.cnn", "test_accuracy");
    assert!(accuracy > 0.97, "{accuracy}");
}
