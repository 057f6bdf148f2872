//! The program on the reference's network and pictures: a folder with both, its runs, and what they leave behind.

use std::collections::BTreeMap;

use safetensors::tensor::{Dtype, TensorView};
use safetensors::{SafeTensors, serialize};
use serde_json::Value;

use crate::place::{Place, idx};
use crate::reference::network::{
    CLASSES, COLUMNS, MODEL, PIXELS, ROWS, SHAPES, Sample, Sums, Tensors, start,
};
use crate::reference::trainer::{Epoch, Phase, Trained, Training};

/// Pictures of the training split, of which cases hold out some, and of the test split. The numbers of those held out are
/// the last ones.
pub const TRAIN: usize = 23;
pub const TEST: usize = 8;
pub const HELD_OUT: usize = 6;

/// What every data section of a case begins with; the pixels are normalised by numbers that are no powers of two.
pub const DATA: &str = "source = idx(\"data\");  prepare = normalize(0.4, 0.3);  seed = 4;";

/// The training pictures as they lie in their files: those that [`DATA`] holds out are the last ones.
pub const IN_FILES: [usize; TRAIN] =
    [0, 1, 2, 3, 4, 5, 17, 6, 18, 19, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 20, 21, 22];

/// The bytes of a picture, no two alike.
pub fn pixels(image: usize) -> Vec<u8> {
    (0..PIXELS).map(|pixel| ((image * 89 + pixel * 57 + image * image * pixel * 11) % 251) as u8).collect()
}

/// Its label: what its pixels say, but for some.
pub fn label(image: usize) -> usize {
    let pixels = pixels(image);
    let sums = [pixels[0], pixels[2], pixels[4]].map(u32::from);
    let largest = (0..CLASSES).max_by_key(|class| sums[*class]).expect("a class");
    if image % 5 == 3 && image != 18 { (largest + 1) % CLASSES } else { largest }
}

/// A picture as the network reads it.
pub fn sample(image: usize) -> Sample {
    sample_of(&pixels(image), label(image))
}

/// Other pixels in its place.
pub fn sample_of(pixels: &[u8], label: usize) -> Sample {
    let number = |byte: &u8| (f64::from(*byte) / 255.0 - 0.4) / 0.3;
    Sample { pixels: pixels.iter().map(number).collect(), labels: vec![(label, 1.0)], weight: 1.0 }
}

pub fn samples(images: std::ops::Range<usize>) -> Vec<Sample> {
    images.map(sample).collect()
}

/// A training without phases on all pictures but those held out, in their order.
pub fn training() -> Training {
    Training {
        start: start(),
        train: samples(0..TRAIN - HELD_OUT),
        val: samples(TRAIN - HELD_OUT..TRAIN),
        test: samples(TRAIN..TRAIN + TEST),
        drop_last: false,
        phases: Vec::new(),
        save: None,
    }
}

/// The same with these phases.
pub fn with(phases: Vec<Phase>) -> Training {
    Training { phases, ..training() }
}

/// The bytes of a file of weights.
pub fn weights(tensors: &Tensors) -> Vec<u8> {
    let bytes: Vec<(&str, &[usize], Vec<u8>)> = SHAPES
        .iter()
        .map(|(name, shape)| {
            let numbers = tensors[name].iter().flat_map(|value| (*value as f32).to_le_bytes());
            (*name, *shape, numbers.collect())
        })
        .collect();
    let views = bytes.iter().map(|(name, shape, bytes)| {
        (*name, TensorView::new(Dtype::F32, shape.to_vec(), bytes).expect("as many bytes"))
    });
    serialize(views.collect::<Vec<_>>(), None).expect("weights")
}

/// Writes the four files of a data set.
pub fn write_pictures(place: &Place, folder: &str, train: &[usize], test: &[usize]) {
    std::fs::create_dir_all(place.path(folder)).expect("a folder");
    for (split, images) in [("train", train), ("t10k", test)] {
        let bytes: Vec<u8> = images.iter().flat_map(|image| pixels(*image)).collect();
        let labels: Vec<u8> = images.iter().map(|image| label(*image) as u8).collect();
        let shape = [images.len() as u32, ROWS as u32, COLUMNS as u32];
        place.write(&format!("{folder}/{split}-images-idx3-ubyte"), idx(&shape, &bytes));
        place.write(&format!("{folder}/{split}-labels-idx1-ubyte"), idx(&shape[..1], &labels));
    }
}

/// A place with the pictures, the weights to begin with, and a file with these sections.
pub fn place(data: &str, train: &str) -> Place {
    let place = Place::new();
    let test_images: Vec<usize> = (TRAIN..TRAIN + TEST).collect();
    write_pictures(&place, "data", &IN_FILES, &test_images);
    place.write("start.safetensors", weights(&start()));
    place.write("net.cnn", text(data, train));
    place
}

/// The model with a data and a train section.
pub fn text(data: &str, train: &str) -> String {
    let loss = if train.contains("loss = ") { "" } else { "loss = cross_entropy;" };
    format!("{MODEL}data D {{ {DATA}  {data} }}\ntrain Net on D {{ {loss}  {train} }}\n")
}

/// Runs the file from the weights to begin with; what is printed.
pub fn run(place: &Place, out: &str, more: &[&str]) -> String {
    place.good(&[&["run", "net.cnn", "--init", "start.safetensors", "--out", out], more].concat())
}

pub fn json(text: &str) -> Value {
    serde_json::from_str(text.trim()).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// The lines of a run's file.
pub fn lines(place: &Place, file: &str) -> Vec<Value> {
    place.text(file).lines().map(json).collect()
}

/// The losses of a split's batches.
pub fn losses(place: &Place, out: &str, split: &str) -> Vec<f64> {
    let lines = lines(place, &format!("{out}/steps.jsonl"));
    let lines = lines.iter().filter(|line| line["split"] == split);
    lines.map(|line| line["loss"].as_f64().expect("a loss")).collect()
}

/// The tensors of a file of weights.
pub fn tensors(place: &Place, file: &str) -> BTreeMap<String, Vec<f64>> {
    let bytes = place.read(file);
    let file = SafeTensors::deserialize(&bytes).expect("a file of weights");
    let numbers = |view: &TensorView<'_>| {
        let numbers = view.data().as_chunks().0.iter().map(|bytes| f64::from(f32::from_le_bytes(*bytes)));
        numbers.collect()
    };
    file.iter().map(|(name, view)| (name.to_owned(), numbers(&view))).collect()
}

/// Whether numbers are equal but for the rounding of `f32` in a few dozen steps.
#[track_caller]
pub fn close(what: &str, found: f64, wanted: f64) {
    let distance = (found - wanted).abs();
    assert!(distance <= 3e-5 * wanted.abs().max(0.1), "{what}: {found}, not {wanted}");
}

#[track_caller]
pub fn all_close(what: &str, found: &[f64], wanted: &[f64]) {
    assert_eq!(found.len(), wanted.len(), "{what}: {found:?}, not {wanted:?}");
    for (at, (found, wanted)) in found.iter().zip(wanted).enumerate() {
        close(&format!("{what} {at}"), *found, *wanted);
    }
}

/// What is written down of the runs that are compared.
pub const LOGGED: &str = "log = [gradients];  metrics = [accuracy, top(2), confusion];";

/// Runs these sections and compares all that the run leaves behind with the reference.
pub fn check(data: &str, train: &str, training: &Training) -> (Place, Trained) {
    check_with(&[], &format!("shuffle = false;  {data}"), &format!("{LOGGED}  {train}"), training)
}

/// The same with flags, and with sections as they are.
pub fn check_with(flags: &[&str], data: &str, train: &str, training: &Training) -> (Place, Trained) {
    let place = place(data, train);
    run(&place, "run", flags);
    let trained = check_run(&place, training);
    (place, trained)
}

/// Compares what is in the folder `run` with the reference.
pub fn check_run(place: &Place, training: &Training) -> Trained {
    let trained = training.run();
    check_steps(place, training, &trained);
    let epochs = lines(place, "run/metrics.jsonl");
    assert_eq!(epochs.len(), trained.epochs.len(), "epochs");
    epochs
        .iter()
        .zip(&trained.epochs)
        .for_each(|(record, epoch)| check_epoch(record, epoch, evaluated(place)));
    let found = tensors(place, "run/model.safetensors");
    assert_eq!(found.len(), SHAPES.len());
    for (name, wanted) in &trained.tensors {
        all_close(name, &found[*name], wanted);
    }
    check_test(&json(&place.text("run/final.json")), &trained.test);
    trained
}

/// The losses and the norms of all steps, and their numbers.
fn check_steps(place: &Place, training: &Training, trained: &Trained) {
    all_close("the loss of step", &losses(place, "run", "train"), &trained.losses);
    let norms = lines(place, "run/gradients.jsonl");
    assert_eq!(norms.len(), trained.norms.len(), "lines of norms");
    for (at, (record, wanted)) in norms.iter().zip(&trained.norms).enumerate() {
        assert_eq!(record["step"], at + 1);
        let found = record["norms"].as_object().expect("norms");
        assert_eq!(found.keys().collect::<Vec<_>>(), wanted.keys().collect::<Vec<_>>(), "step {at}");
        for (name, norm) in wanted {
            close(&format!("the norm of {name} in step {at}"), found[*name].as_f64().expect("a norm"), *norm);
        }
    }
    // Each epoch's steps, then what validates; the test at the end.
    let batches = |sums: &Sums, batch: usize| (sums.samples as usize).div_ceil(batch);
    let (mut wanted, mut step) = (Vec::new(), 0);
    for epoch in &trained.epochs {
        wanted.extend((1..=epoch.steps).map(|at| ("train", epoch.number, step + at)));
        step += epoch.steps;
        wanted.extend(vec![(evaluated(place), epoch.number, step); batches(&epoch.val, epoch.batch)]);
    }
    // The end of the training is behind all epochs, those among them that a rule has left out.
    let end: usize = training.phases.iter().map(|phase| phase.epochs).sum();
    let batch = training.phases.last().expect("a phase").batch;
    wanted.extend(vec![("test", end, step); batches(&trained.test, batch)]);
    let steps = lines(place, "run/steps.jsonl");
    assert_eq!(steps.len(), wanted.len(), "lines of steps");
    for (line, (split, epoch, step)) in steps.iter().zip(wanted) {
        assert!(
            line["split"] == split && line["epoch"] == epoch && line["step"] == step,
            "{line}: {split} {epoch} {step}"
        );
    }
}

/// What the epochs of the run were evaluated on: what was held out, or the test split under its own name.
fn evaluated(place: &Place) -> &'static str {
    if place.text("run/metrics.jsonl").contains("\"val_loss\"") { "val" } else { "test" }
}

fn check_epoch(record: &Value, epoch: &Epoch, split: &'static str) {
    assert_eq!(record["epoch"], epoch.number);
    let number = |key: &str| record[key].as_f64().unwrap_or_else(|| panic!("{key} of {record}"));
    for (split, sums) in [("train", &epoch.train), (split, &epoch.val)] {
        let what = |figure: &str| format!("{split}_{figure}");
        close(&what("loss"), number(&what("loss")), sums.mean_loss());
        close(&what("accuracy"), number(&what("accuracy")), sums.correct / sums.samples);
        close(&what("top2_accuracy"), number(&what("top2_accuracy")), sums.in_top / sums.samples);
    }
    close("learning_rate", number("learning_rate"), epoch.rate);
    let images = number("images_per_second") * number("seconds");
    assert!((images - epoch.train.samples).abs() < 1e-6, "{images} images of an epoch in {record}");
}

/// The figures of the test split.
pub fn check_test(record: &Value, sums: &Sums) {
    let number = |key: &str| record[key].as_f64().unwrap_or_else(|| panic!("{key} of {record}"));
    close("test_loss", number("test_loss"), sums.mean_loss());
    close("test_accuracy", number("test_accuracy"), sums.correct / sums.samples);
    close("test_top2_accuracy", number("test_top2_accuracy"), sums.in_top / sums.samples);
    assert_eq!(record["confusion"], serde_json::json!(sums.confusion));
}
