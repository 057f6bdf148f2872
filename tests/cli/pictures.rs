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
        let code = if name.starts_with("test:") { 2 } else { 1 };
        place.bad(&["predict", "tiny.cnn", name, "--weights", "run/model.safetensors"], code, message);
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

/// A model for a folder of pictures, trained on two classes of grey ones.
fn on_folder(keys: &str) -> Place {
    let text = format!(
        "model M(x: f32[N, 3, 4, 4]) -> f32[N, 2] {{ x |> flatten |> linear(2) }}\n\
         data D {{ source = folder(\"data\");  prepare = resize(4, 4);  {keys} }}\n\
         train M on D {{ loss = cross_entropy;  optim = sgd(0.1);  batch = 2;  epochs = 1;  seed = 1; }}\n"
    );
    let place = Place::with("m.cnn", &text);
    for (class, shade) in [("dark", 20), ("light", 220)] {
        for part in ["train", "test"] {
            let folder = format!("data/{part}/{class}/inner");
            std::fs::create_dir_all(place.path(&folder)).expect("a folder");
            for number in 0..3 {
                png(&place, &format!("{folder}/{number}.png"), 4, 5, |_, _| shade + number);
            }
        }
    }
    place
}

/// Today folders in a class are left out, here all pictures, and so is the text, in silence.
#[test]
fn what_is_left_out_is_told_once() {
    let place = on_folder("");
    place.write("data/train/dark/inner/a.txt", "no picture");
    place.write("data/test/b.txt", "no picture");
    let note = "note: data: left out: 1 file with other endings than pictures (1 .txt), and 1 file beside the folders \
                of classes\n";
    let said = place.run(&["run", "m.cnn", "--out", "run"]);
    assert_eq!((said.code, said.err.matches(note).count()), (Some(0), 1), "{}", said.err);
    let said = place.run(&["eval", "m.cnn", "--weights", "run"]);
    assert_eq!((said.code, said.err.matches(note).count()), (Some(0), 1), "{}", said.err);
    let said = place.run(&["run", "m.cnn", "--quiet", "--out", "other"]);
    assert_eq!((said.code, said.err.as_str()), (Some(0), ""));
}

/// Today the rest of such a picture is grey, and nobody hears of it.
#[test]
fn pictures_that_are_cut_off_end_a_run_by_their_names() {
    for name in ["cut_closed.jpg", "cut_eoi.jpg", "cut_progressive_closed.jpg", "cut_scans.jpg"] {
        let place = on_folder("");
        let cut = format!("{}/tests/fixtures/pictures/{name}", env!("CARGO_MANIFEST_DIR"));
        std::fs::copy(cut, place.path("data/train/light/inner/9.jpg")).expect("a file");
        let said = place.run(&["run", "m.cnn", "--out", "run"]);
        let message = "error: data/train/light/inner/9.jpg: the JPEG file is cut off";
        assert!(said.code == Some(1) && said.err.contains(message), "{name}: {}", said.err);
    }
}

/// Today there is no such key, and `predict` takes no transparent picture.
#[test]
fn transparent_pictures_lie_over_the_background_of_the_section() {
    let place = on_folder("background = \"#10ff00\";");
    place.good(&["run", "m.cnn", "--out", "run"]);
    let run: serde_json::Value = serde_json::from_str(&place.text("run/run.json")).expect("JSON");
    assert_eq!(run["settings"]["data.background"], "\"#10ff00\"");
    let clear = image::RgbaImage::from_pixel(4, 4, image::Rgba([9, 9, 9, 0]));
    clear.save(place.path("clear.png")).expect("a picture");
    let solid = image::RgbImage::from_pixel(4, 4, image::Rgb([0x10, 0xFF, 0]));
    solid.save(place.path("solid.png")).expect("a picture");
    let out = place.good(&["predict", "m.cnn", "clear.png", "solid.png", "--weights", "run"]);
    let lines: Vec<&str> = out.lines().map(|line| line.split_once(' ').expect("a name").1).collect();
    assert_eq!(lines[0], lines[1]);
    let said = place.run(&["run", "m.cnn", "--set", "data.background=\"white\""]);
    assert!(said.code != Some(0) && said.err.contains("`background` is a colour such as"), "{}", said.err);
}

/// Today the picture is taken as it is stored, on its side.
#[test]
fn pictures_that_are_predicted_are_turned() {
    let place = Place::with("blur.cnn", "model Blur(x: f32[N, C, H, W]) { x |> avgpool(1) }\n");
    let turned = format!("{}/tests/fixtures/pictures/turned.png", env!("CARGO_MANIFEST_DIR"));
    std::fs::copy(turned, place.path("in.png")).expect("a file");
    place.good(&["predict", "blur.cnn", "in.png", "--output", "out.png"]);
    assert_eq!(image::open(place.path("out.png")).expect("a picture").to_rgb8().dimensions(), (14, 21));
}
