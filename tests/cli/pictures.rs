//! `predict`: pictures, raw arrays, and models that make pictures.

use cnnc::data::npy;

use crate::place::Place;

/// A grey PNG file.
fn png(place: &Place, name: &str, width: u32, height: u32, pixel: impl Fn(u32, u32) -> u8) {
    let image = image::GrayImage::from_fn(width, height, |x, y| image::Luma([pixel(x, y)]));
    image.save(place.path(name)).expect("a picture");
}

#[test]
fn pictures_get_classes_with_probabilities() {
    let place = Place::trained();
    png(&place, "a.png", 8, 8, |x, _| (x * 30) as u8);
    let weights = ["--weights", "run/model.safetensors"];
    let out = place.good(&[&["predict", "tiny.cnn", "a.png", "test:0", "train:3"], &weights[..]].concat());
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines.len(), 3, "{out}");
    assert!(lines[0].starts_with("a.png        ") && lines[0].matches(" %").count() == 3, "{out}");
    // The first test image of the digits is a 4, the fourth training image is a 3.
    assert!(lines[1].ends_with("(labelled 4)") && lines[2].ends_with("(labelled 3)"), "{out}");
    let json =
        place.good(&[&["predict", "tiny.cnn", "test:0", "--json", "--top", "10"], &weights[..]].concat());
    let value: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    let classes = value["classes"].as_array().expect("classes");
    let sum: f64 = classes.iter().filter_map(|class| class["probability"].as_f64()).sum();
    assert!(classes.len() == 10 && (sum - 1.0).abs() < 1e-5, "{json}");
    assert_eq!(value["label"], "4");
}

#[test]
fn class_names_are_those_of_the_data_section() {
    let names: Vec<String> = (0..10).map(|class| format!("\"digit {class}\"")).collect();
    let text = crate::place::TINY
        .replace("source = digits();", &format!("source = digits(); classes = [{}];", names.join(", ")));
    let place = Place::with("tiny.cnn", &text);
    place.good(&["run", "tiny.cnn", "--out", "run"]);
    let out = place.good(&["predict", "tiny.cnn", "test:0", "--weights", "run/model.safetensors"]);
    assert!(out.contains(" digit ") && out.ends_with("(labelled digit 4)\n"), "{out}");
}

/// Raw inputs are run in batches, and no batch size changes what comes out.
#[test]
fn raw_inputs_give_raw_outputs() {
    let place = Place::trained();
    let values: Vec<f32> = (0..7 * 64).map(|at| (at % 17) as f32 / 16.0).collect();
    npy::write(&place.path("x.npy"), &[7, 1, 8, 8], &values).expect("a file");
    let run = |output: &str, batch: &str| {
        let paths =
            ["--weights", "run/model.safetensors", "--input", "x.npy", "--output", output, "--batch", batch];
        assert_eq!(place.good(&[&["predict", "tiny.cnn"], &paths[..]].concat()), "");
        npy::read(&place.path(output)).expect("an array")
    };
    let (all, three) = (run("all.npy", "100"), run("three.npy", "3"));
    assert_eq!((all.shape.as_slice(), three.shape.as_slice()), (&[7, 10][..], &[7, 10][..]));
    for (a, b) in all.elements.iter().zip(&three.elements) {
        assert!((a - b).abs() <= 1e-5 * a.abs().max(1.0), "{a} {b}");
    }
}

/// A filter takes its size from the picture, needs no weights, and makes a picture.
#[test]
fn a_filter_makes_a_picture() {
    let place = Place::with("blur.cnn", "model Blur(x: f32[N, C, H, W]) { x |> avgpool(3, 1, pad=1) }\n");
    png(&place, "in.png", 5, 4, |x, y| if (x, y) == (2, 1) { 90 } else { 0 });
    place.good(&["predict", "blur.cnn", "in.png", "--output", "out.png"]);
    let out = image::open(place.path("out.png")).expect("a picture").to_luma8();
    assert_eq!(out.dimensions(), (5, 4));
    for (x, y, pixel) in out.enumerate_pixels() {
        let is_near = x.abs_diff(2) <= 1 && y.abs_diff(1) <= 1;
        assert_eq!(pixel.0[0], if is_near { 10 } else { 0 }, "{x} {y}");
    }
    place.bad(
        &["predict", "blur.cnn", "in.png"],
        1,
        "error: the output [1, 1, 4, 5] is not one score a class; write it with --output FILE.png or FILE.npy",
    );
    place.bad(
        &["predict", "blur.cnn", "in.png", "--output", "out.jpg"],
        2,
        "error: --output out.jpg: the file is a .npy or a .png",
    );
}

#[test]
fn pictures_that_do_not_fit_are_refused() {
    let place = Place::trained();
    png(&place, "wide.png", 9, 8, |_, _| 0);
    place.write("text.png", "this is no picture");
    let red = image::RgbImage::from_pixel(8, 8, image::Rgb([200, 0, 0]));
    red.save(place.path("red.png")).expect("a picture");
    let predict = |name: &str, message: &str| {
        place.bad(&["predict", "tiny.cnn", name, "--weights", "run/model.safetensors"], 1, message);
    };
    predict(
        "wide.png",
        "error: wide.png is 8×9 pixels (height×width), but `Tiny` takes 8×8; resize it first",
    );
    predict("red.png", "error: red.png is in colour, but the model takes 1 channel; save it in grey");
    predict("no.png", "error: no.png: No such file or directory (os error 2)");
    predict("test:359", "error: test:359: the test split has the pictures 0 to 358");
    predict("test:x", "error: test:x: the test split has the pictures 0 to 358");
    let said = place.run(&["predict", "tiny.cnn", "text.png", "--weights", "run/model.safetensors"]);
    assert_eq!(said.code, Some(1));
    assert!(said.err.starts_with("error: text.png: "), "{}", said.err);
}
