//! What `predict` writes and prints of models whose output is not `f32`, or has no axis for the batch.

use cnnc::data::npy;
use serde_json::{Value, json};

use crate::place::Place;

/// Outputs of every element type and rank, of 64 pixels.
const TEXT: &str = "\
op best(x: f32[N, C]) -> y: i32[N] {
  m[n] = max[c < C] x[n, c];
  y[n] = min[c < C] if x[n, c] == m[n] { c } else { C };
}
op large(x: f32[N, C]) -> y: i32[N, C] { y[n, c] = if x[n, c] > 0.51 { 16777217 } else { -16777219 }; }
op product(a: i32[N]) -> (y: i32[N], z: i32[N], r: i32[N]) {
  y[n] = a[n] * 16777217 - 1;
  z[n] = a[n] * 33333333 / 10;
  r[n] = (a[n] * 33333333 + 5) % 1000;
}
op sums(x: f32[N, C]) -> (y: i32[N], z: i32[N]) {
  y[n] = sum[c < C] if x[n, c] > 0.51 { 16777217 } else { 1 };
  z[n] = max[c < C] if x[n, c] > 0.51 { 16777217 } else { 16777219 };
}
op bytes(x: f32[N, C, H, W]) -> y: u8[N, C, H, W, 2] {
  y[n, c, i, j, k] = if x[n, c, i, j] > 0.51 { 44 + k } else { 255 - 255 * k };
}
op thousands(x: u8[N, C, H, W, K]) -> y: i32[N, C, H, W, K] {
  y[n, c, i, j, k] = 1000 * x[n, c, i, j, k];
}
op levels(x: f32[N, C, H, W]) -> y: u8[N, C, H, W] { y[n, c, i, j] = if x[n, c, i, j] > 0.51 { 200 } else { j }; }
op whole(x: f32[N, C, H, W]) -> y: i32[N, C, H, W] { y[n, c, i, j] = i * 50 - 10; }
op count(x: f32[N, C]) -> y: i32 { y = sum[n < N, c < C] if x[n, c] > 0.51 { 1 } else { 0 }; }
op total(x: f32[N, C]) -> y: f32 { y = sum[n < N, c < C] x[n, c]; }
op any(x: f32[N, C]) -> y: bool { y = (sum[n < N, c < C] x[n, c]) > 1; }
op columns(x: f32[N, C]) -> y: i32[2, C] { y[k, c] = sum[n < N] if x[n, c] > 0.51 { 1 + k } else { 0 }; }
op alone(x: f32[N, C]) -> y: f32[1, C] { y[k, c] = sum[n < N] x[n, c]; }
op turned(x: f32[N, C]) -> y: f32[C, N] { y[c, n] = x[n, c]; }
op pairs(x: f32[N, C]) -> y: f32[N, N] { y[n, m] = sum[c < C] x[n, c] * x[m, c]; }

model Best(x: f32[N, 1, 8, 8]) { x |> flatten |> best }
model Large(x: f32[N, 1, 8, 8]) { x |> flatten |> large }
model Products(x: f32[N, 1, 8, 8]) {
  let (y, z, r) = x |> flatten |> best |> product;
  stack(y, z, r, axis=1)
}
model Sums(x: f32[N, 1, 8, 8]) {
  let (y, z) = x |> flatten |> sums;
  stack(y, z, axis=1)
}
model Bytes(x: f32[N, 1, 8, 8]) { x |> bytes }
model Thousands(x: f32[N, 1, 8, 8]) { x |> bytes |> thousands }
model Levels(x: f32[N, 1, 8, 8]) { x |> levels }
model Whole(x: f32[N, 1, 8, 8]) { x |> whole }
model Mask(x: f32[N, 1, 8, 8]) { x > 0.51 }
model Same(x: f32[N, 1, 8, 8]) { ((x > 0.51) == (x < 0.74)) as bool[size(x, 0), 64] }
model Itself(x: f32[N, 1, 8, 8]) { x }
model Count(x: f32[N, 1, 8, 8]) { x |> flatten |> count }
model Total(x: f32[N, 1, 8, 8]) { x |> flatten |> total }
model Any(x: f32[N, 1, 8, 8]) { x |> flatten |> any }
model Columns(x: f32[N, 1, 8, 8]) { x |> flatten |> columns }
model Declared(x: f32[N, 1, 8, 8]) -> i32[2, 64] { x |> flatten |> columns }
model Claimed(x: f32[N, 1, 8, 8]) -> i32[N, 64] { x |> flatten |> columns }
model Fixed(x: f32[2, 1, 8, 8]) { x |> flatten |> columns }
model Even(x: f32[N, 1, 8, 8]) {
  assert N % 2 == 0, \"pairs of pictures\";
  x
}
model Alone(x: f32[N, 1, 8, 8]) { x |> flatten |> alone }
model Turned(x: f32[N, 1, 8, 8]) { x |> flatten |> turned }
model Pairs(x: f32[N, 1, 8, 8]) { x |> flatten |> pairs }
model Two(x: f32[N, 1, 8, 8]) { x |> flatten |> sums }
model Bits(x: u8[N, 1, 8, 8]) { x }
";

/// The pixel of a picture, a multiple of 1/64.
fn pixel(picture: usize, at: usize) -> f32 {
    ((at * 37 + picture * 11) % 64) as f32 / 64.0
}

fn picture(picture: usize) -> Vec<f32> {
    (0..64).map(|at| pixel(picture, at)).collect()
}

fn best(picture: usize) -> i32 {
    (0..64).position(|at| pixel(picture, at) == 63.0 / 64.0).expect("the largest one") as i32
}

fn place() -> Place {
    Place::with("outputs.cnn", TEXT)
}

/// The header's type and shape of a file, and its bytes.
fn written(place: &Place, file: &str) -> (String, Vec<u8>) {
    let bytes = place.read(file);
    let len = usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    let header = String::from_utf8(bytes[10..10 + len].to_vec()).expect("text");
    let between = |from: &str, to: &str| {
        let rest = header.split_once(from).expect("a key").1;
        rest.split_once(to).expect("its end").0.to_owned()
    };
    (format!("{} {}", between("'descr': '", "'"), between("'shape': ", ", }")), bytes[10 + len..].to_vec())
}

/// What a model writes for the first pictures, run in batches.
fn output(place: &Place, model: &str, pictures: usize, batch: usize) -> (String, Vec<u8>) {
    let pixels: Vec<f32> = (0..pictures).flat_map(picture).collect();
    npy::write(&place.path("x.npy"), &[pictures, 1, 8, 8], &pixels).expect("a file");
    let files = ["--input", "x.npy", "--output", "y.npy", "--batch", &batch.to_string()];
    place.good(&[&["predict", "outputs.cnn", "--model", model], &files[..]].concat());
    written(place, "y.npy")
}

fn words(values: impl IntoIterator<Item = i32>) -> Vec<u8> {
    values.into_iter().flat_map(i32::to_le_bytes).collect()
}

/// What the models say of one picture, as the bytes of an array.
fn expected(model: &str, number: usize) -> Vec<u8> {
    let pixels = picture(number);
    let best = best(number);
    let above = |value: f32| value > 0.51;
    match model {
        "Best" => words([best]),
        "Large" => words(pixels.iter().map(|x| if above(*x) { 16_777_217 } else { -16_777_219 })),
        "Products" => {
            let product = best.wrapping_mul(33_333_333);
            let rest = product.wrapping_add(5).rem_euclid(1000);
            words([best.wrapping_mul(16_777_217).wrapping_sub(1), product.div_euclid(10), rest])
        }
        "Sums" => {
            let count = pixels.iter().filter(|x| above(**x)).count() as i32;
            words([16_777_217 * count + 64 - count, 16_777_219])
        }
        "Bytes" => pixels.iter().flat_map(|x| if above(*x) { [44, 45] } else { [255, 0] }).collect(),
        "Thousands" => {
            let bytes = pixels.iter().flat_map(|x| if above(*x) { [44, 45] } else { [255, 0] });
            words(bytes.map(|byte| 1000 * byte))
        }
        "Levels" => (0..64).map(|at| if above(pixels[at]) { 200 } else { at as u8 % 8 }).collect(),
        "Mask" => pixels.iter().map(|x| u8::from(above(*x))).collect(),
        "Same" => pixels.iter().map(|x| u8::from(above(*x) == (*x < 0.74))).collect(),
        "Itself" => pixels.iter().flat_map(|x| x.to_le_bytes()).collect(),
        _ => unreachable!("no model {model}"),
    }
}

/// The type, the shape and every element, for batches that do not fill the lanes and in the order of the inputs.
#[test]
fn arrays_have_the_type_of_the_output() {
    let place = place();
    for (model, element, sample) in [
        ("Best", "<i4", ""),
        ("Large", "<i4", " 64"),
        ("Products", "<i4", " 3"),
        ("Sums", "<i4", " 2"),
        ("Bytes", "|u1", " 1, 8, 8, 2"),
        ("Thousands", "<i4", " 1, 8, 8, 2"),
        ("Levels", "|u1", " 1, 8, 8"),
        ("Mask", "|b1", " 1, 8, 8"),
        ("Same", "|b1", " 64"),
        ("Itself", "<f4", " 1, 8, 8"),
    ] {
        for (pictures, batch) in [(1, 1), (3, 3), (7, 3), (17, 17)] {
            let (header, bytes) = output(&place, model, pictures, batch);
            assert_eq!(header, format!("{element} ({pictures},{sample})"), "{model}");
            let wanted: Vec<u8> = (0..pictures).flat_map(|number| expected(model, number)).collect();
            assert_eq!(bytes, wanted, "{model} of {pictures} in batches of {batch}");
        }
    }
}

/// Outputs without an axis for the batch are written for one batch, and not made up of several.
#[test]
fn outputs_of_a_whole_batch() {
    let place = place();
    let above = |picture: usize| (0..64).filter(|at| pixel(picture, *at) > 0.51).count() as i32;
    let count = above(0) + above(1);
    assert_eq!(output(&place, "Count", 2, 2), ("<i4 ()".into(), words([count])));
    assert_eq!(output(&place, "Any", 2, 2), ("|b1 ()".into(), vec![1]));
    let total: f32 = (0..2).flat_map(picture).sum();
    assert_eq!(output(&place, "Total", 2, 2), ("<f4 ()".into(), total.to_le_bytes().to_vec()));
    assert_eq!(output(&place, "Columns", 3, 3).0, "<i4 (2, 64)");
    for (model, shape) in [("Count", "[]"), ("Any", "[]"), ("Columns", "[2, 64]")] {
        let files = ["--input", "x.npy", "--output", "z.npy", "--batch", "1"];
        let message =
            format!("error: the output {shape} has no axis for the batch; run all inputs at once: --batch 3");
        place.bad(&[&["predict", "outputs.cnn", "--model", model], &files[..]].concat(), 1, &message);
    }
}

/// An extent that is equal to the batch by chance is no axis for it; one batch needs none.
#[test]
fn an_extent_that_is_the_batch_by_chance() {
    let place = place();
    let none = "has no axis for the batch; run all inputs at once: --batch";
    let several = "has other axes that depend on the batch; run all inputs at once: --batch";
    let fixed =
        "may have no axis for the batch: the model takes 2 inputs and no other number; give it so many";
    for (model, pictures, batch, problem) in [
        ("Columns", 4, 2, format!("[2, 64] {none} 4")),
        ("Columns", 5, 2, format!("[2, 64] {none} 5")),
        ("Declared", 4, 2, format!("[2, 64] {none} 4")),
        ("Claimed", 4, 2, format!("[2, 64] {fixed}")),
        ("Fixed", 4, 2, format!("[2, 64] {fixed}")),
        ("Alone", 2, 1, format!("[1, 64] {none} 2")),
        ("Turned", 128, 64, format!("[64, 64] {none} 128")),
        ("Pairs", 4, 2, format!("[2, 2] {several} 4")),
        ("Pairs", 3, 2, format!("[2, 2] {several} 3")),
    ] {
        let pixels: Vec<f32> = (0..pictures).flat_map(picture).collect();
        npy::write(&place.path("x.npy"), &[pictures, 1, 8, 8], &pixels).expect("a file");
        let batch = batch.to_string();
        let files = ["--input", "x.npy", "--output", "z.npy", "--batch", &batch];
        let predict = [&["predict", "outputs.cnn", "--model", model], &files[..]].concat();
        place.bad(&predict, 1, &format!("error: the output {problem}"));
    }
    assert_eq!(output(&place, "Fixed", 2, 2).0, "<i4 (2, 64)");
    assert_eq!(output(&place, "Claimed", 2, 2).0, "<i4 (2, 64)");
    assert_eq!(output(&place, "Pairs", 3, 3).0, "<f4 (3, 3)");
    assert_eq!(output(&place, "Turned", 64, 64).0, "<f4 (64, 64)");
    assert_eq!(output(&place, "Even", 8, 2), output(&place, "Itself", 8, 8));
    png(&place, "a.png");
    let pictures = ["a.png", "a.png", "--output", "z.npy"];
    let predict = [&["predict", "outputs.cnn", "--model", "Alone"], &pictures[..]].concat();
    let message = "error: the output [1, 64] has no axis for the batch; take one picture at a time";
    place.bad(&predict, 1, message);
    place.good(&["predict", "outputs.cnn", "--model", "Alone", "a.png", "--output", "z.npy"]);
}

/// A picture file whose pixels are those of [`picture`], but for rounding.
fn png(place: &Place, name: &str) {
    let level = |x: u32, y: u32| (pixel(0, (8 * y + x) as usize) * 255.0).round() as u8;
    let image = image::GrayImage::from_fn(8, 8, |x, y| image::Luma([level(x, y)]));
    image.save(place.path(name)).expect("a picture");
}

#[test]
fn lines_have_the_type_of_the_output() {
    let place = place();
    png(&place, "a.png");
    let predict = |model: &str, more: &[&str]| {
        place.good(&[&["predict", "outputs.cnn", "--model", model, "a.png"], more].concat())
    };
    let line = |model: &str| -> Value { serde_json::from_str(&predict(model, &["--json"])).expect("JSON") };
    let product = best(0) * 33_333_333;
    let products = [best(0) * 16_777_217 - 1, product / 10, (product + 5) % 1000];
    assert_eq!(line("Best"), json!({ "picture": "a.png", "output": best(0) }));
    assert_eq!(line("Products")["output"], json!(products));
    assert_eq!(line("Any")["output"], json!(true));
    assert_eq!(line("Mask")["output"][0][0][0], json!(pixel(0, 0) > 0.51));
    assert_eq!(line("Bytes")["output"][0][0][0], json!([255, 0]));
    let second = line("Itself")["output"][0][0][1].as_f64().expect("a number");
    assert_eq!(second as f32, (pixel(0, 1) * 255.0).round() / 255.0);
    let [a, b, c] = products;
    assert_eq!(predict("Products", &[]), format!("{:<12} [{a}, {b}, {c}]\n", "a.png"));
    assert_eq!(predict("Best", &[]), format!("{:<12} {}\n", "a.png", best(0)));
    assert!(predict("Same", &[]).contains("true, false"));
    place.bad(
        &["predict", "outputs.cnn", "--model", "Mask", "a.png"],
        1,
        "error: the output [1, 1, 8, 8] is not one score a class; write it with --output FILE.png or FILE.npy",
    );
}

#[test]
fn pictures_have_the_levels_of_the_output() {
    let place = place();
    png(&place, "a.png");
    let write = |model: &str| {
        place.good(&["predict", "outputs.cnn", "--model", model, "a.png", "--output", "out.png"]);
        image::open(place.path("out.png")).expect("a picture").to_luma8().into_raw()
    };
    assert_eq!(write("Levels"), expected("Levels", 0));
    let mask: Vec<u8> = expected("Mask", 0).iter().map(|bit| bit * 255).collect();
    assert_eq!(write("Mask"), mask);
    assert_eq!(write("Itself"), image::open(place.path("a.png")).expect("a picture").to_luma8().into_raw());
    let predict = ["predict", "outputs.cnn", "--model", "Whole", "a.png", "--output", "whole.png"];
    let message =
        "error: the output has -10, but the levels of a picture are 0 to 255; write it to a .npy file";
    place.bad(&predict, 1, message);
}

#[test]
fn what_is_not_supported_is_said() {
    let place = place();
    png(&place, "a.png");
    let first = |model: &str| {
        let said = place.run(&["predict", "outputs.cnn", "--model", model, "a.png"]);
        assert_eq!(said.code, Some(1));
        said.err.lines().next().expect("an error").to_owned()
    };
    assert_eq!(first("Two"), "error: the model's value is 2 results, not a tensor");
    assert_eq!(first("Bits"), "error: the input `x` is a tensor of f32");
    npy::write(&place.path("x.npy"), &[1, 1, 8, 8], &[16_777_217; 64]).expect("a file");
    place.bad(
        &["predict", "outputs.cnn", "--model", "Itself", "--input", "x.npy", "--output", "y.npy"],
        1,
        "error: x.npy: an element is 16777217, which f32 does not hold exactly; save x.astype(\"float32\") to round it",
    );
}

/// What a model wrote of whole numbers and truth values is read as the input of another.
#[test]
fn arrays_of_other_types_are_inputs() {
    let place = place();
    let read = |elements: &dyn Fn(&std::path::Path)| {
        elements(&place.path("x.npy"));
        let files = ["--input", "x.npy", "--output", "y.npy"];
        place.good(&[&["predict", "outputs.cnn", "--model", "Itself"], &files[..]].concat());
        npy::read(&place.path("y.npy")).expect("an array").elements
    };
    let bits: Vec<bool> = (0..64).map(|at| at % 3 == 0).collect();
    let numbers: Vec<f32> = bits.iter().map(|bit| f32::from(u8::from(*bit))).collect();
    assert_eq!(read(&|path| npy::write(path, &[1, 1, 8, 8], &bits).expect("a file")), numbers);
    let bytes: Vec<u8> = (0..64).collect();
    let numbers: Vec<f32> = bytes.iter().copied().map(f32::from).collect();
    assert_eq!(read(&|path| npy::write(path, &[1, 1, 8, 8], &bytes).expect("a file")), numbers);
    let whole: Vec<i32> = (0..64).map(|at| (at - 32) * 524_288).collect();
    let numbers: Vec<f32> = whole.iter().map(|value| *value as f32).collect();
    assert_eq!(read(&|path| npy::write(path, &[1, 1, 8, 8], &whole).expect("a file")), numbers);
}
