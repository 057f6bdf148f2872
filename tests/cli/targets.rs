//! Targets that are numbers, and labels of pixels: trained, held out, evaluated and moved, against formulas.

use std::io::Write;

use serde_json::Value;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use crate::place::Place;

/// The `.npy` file of an array.
fn array(element: &str, shape: &[usize], data: &[u8]) -> Vec<u8> {
    let shape: String = shape.iter().map(|extent| format!("{extent}, ")).collect();
    let header = format!("{{'descr': '{element}', 'fortran_order': False, 'shape': ({shape}), }}\n");
    let len = (header.len() as u16).to_le_bytes();
    [b"\x93NUMPY\x01\x00", &len[..], header.as_bytes(), data].concat()
}

const TRAIN: usize = 10;
const TEST: usize = 5;
const SIDE: usize = 4;

/// A pixel of a picture, 0 to 1, as the model reads it.
fn pixel(image: usize, at: usize) -> f64 {
    f64::from(byte(image, at)) / 255.0
}

fn byte(image: usize, at: usize) -> u8 {
    ((image * 37 + at * 53 + image * at * 11) % 251) as u8
}

/// An element of a picture's target.
fn number(image: usize, at: usize) -> f32 {
    ((image * 5 + at * 3) % 9) as f32 / 8.0
}

fn label(image: usize, at: usize) -> u8 {
    ((image + at * at) % 3) as u8
}

/// A place with arrays of pictures and of targets of a type and a shape, and a file with a model and sections.
fn place(element: &str, shape: &[usize], text: &str) -> Place {
    let place = Place::with("net.cnn", text);
    let mut archive = ZipWriter::new(std::fs::File::create(place.path("data.npz")).expect("a file"));
    let width: usize = shape.iter().product();
    for (split, images) in [("train", 0..TRAIN), ("test", TRAIN..TRAIN + TEST)] {
        let count = images.len();
        let elements = || images.clone().flat_map(|image| (0..width).map(move |at| (image, at)));
        let pixels: Vec<u8> =
            images.clone().flat_map(|image| (0..SIDE * SIDE).map(move |at| byte(image, at))).collect();
        let targets: Vec<u8> = match element {
            "<f4" => elements().flat_map(|(image, at)| number(image, at).to_le_bytes()).collect(),
            _ => elements().map(|(image, at)| label(image, at)).collect(),
        };
        for (name, file) in [
            ("x", array("|u1", &[count, 1, SIDE, SIDE], &pixels)),
            ("y", array(element, &[&[count], shape].concat(), &targets)),
        ] {
            archive
                .start_file(format!("{name}_{split}.npy"), SimpleFileOptions::default())
                .expect("an entry");
            archive.write_all(&file).expect("it is written");
        }
    }
    archive.finish().expect("it is whole");
    place
}

/// A model whose prediction is its picture, as so many numbers or as it is, with a parameter that does not move.
fn text(body: &str, loss: &str, data: &str) -> String {
    format!(
        "model Same(x: f32[N, 1, 4, 4]) {{ param w: f32[1] = 1; {body} * w }}\n\
         data D {{ source = npz(\"data.npz\"); {data} }}\n\
         train Same on D {{ loss = {loss}; optim = sgd(0.0); batch = 4; epochs = 1; }}\n"
    )
}

fn close(what: &str, found: &Value, expected: f64) {
    let found = found.as_f64().unwrap_or_else(|| panic!("{what}: {found} is no number"));
    assert!((found - expected).abs() <= 2e-6 * (1.0 + expected.abs()), "{what}: {found}, not {expected}");
}

fn json(text: &str) -> Value {
    serde_json::from_str(text.trim()).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// The loss of every split of a run and of `eval`, and the accuracy where there is one, against those of each picture.
fn check(place: &Place, what: &str, of: &dyn Fn(usize) -> (f64, Option<f64>)) {
    place.good(&["run", "net.cnn", "--out", "run"]);
    let mean = |images: std::ops::Range<usize>| {
        let count = images.len() as f64;
        let (losses, shares): (Vec<f64>, Vec<Option<f64>>) = images.map(of).unzip();
        let share = shares.into_iter().sum::<Option<f64>>().map(|sum| sum / count);
        (losses.iter().sum::<f64>() / count, share)
    };
    let epoch = json(place.text("run/metrics.jsonl").lines().next().expect("an epoch"));
    let eval = json(&place.good(&["eval", "net.cnn", "--weights", "run", "--json"]));
    for (record, key, images) in [
        (&epoch, "train", 0..TRAIN),
        (&epoch, "test", TRAIN..TRAIN + TEST),
        (&eval, "test", TRAIN..TRAIN + TEST),
    ] {
        let (loss, share) = mean(images);
        close(what, &record[format!("{key}_loss")], loss);
        match share {
            Some(share) => close(what, &record[format!("{key}_accuracy")], share),
            None => assert_eq!(record[format!("{key}_accuracy")], Value::Null, "{what}"),
        }
    }
}

const WIDTH: usize = SIDE * SIDE;

/// No source had such targets: every loss for numbers was an error with all data.
#[test]
fn numbers_train() {
    let softplus = |x: f64| x.max(0.0) + (-x.abs()).exp().ln_1p();
    type Element = Box<dyn Fn(f64, f64) -> f64>;
    let losses: [(&str, Element); 6] = [
        ("mse", Box::new(|p, t| (p - t) * (p - t))),
        ("l1", Box::new(|p, t| (p - t).abs())),
        (
            "huber(delta=0.25)",
            Box::new(|p, t| {
                let d = (p - t).abs();
                if d < 0.25 { 0.5 * d * d } else { 0.25 * (d - 0.125) }
            }),
        ),
        ("bce", Box::new(|p, t| -(t * p.ln().max(-100.0) + (1.0 - t) * (1.0 - p).ln().max(-100.0)))),
        ("bce_with_logits", Box::new(move |p, t| softplus(p) - t * p)),
        ("own", Box::new(|p, t| 3.0 * p - t)),
    ];
    let own = "op own(p: f32[N, C, H, W], t: f32[N, C, H, W]) -> y: f32 {
        y = mean[n < N, c < C, h < H, w < W] 3 * p[n, c, h, w] - t[n, c, h, w]; }\n";
    for (loss, of) in losses {
        let place = place("<f4", &[1, SIDE, SIDE], &(own.to_owned() + &text("x", loss, "")));
        let image = |image: usize| {
            let elements = (0..WIDTH).map(|at| of(pixel(image, at), f64::from(number(image, at))));
            (elements.sum::<f64>() / WIDTH as f64, None)
        };
        check(&place, loss, &image);
    }
}

/// Axes of one element are no matter: `[N]`, `[N, 1]` and `[N, 1, 1]` are one number a picture.
#[test]
fn one_number_a_picture() {
    for shape in [&[][..], &[1], &[1, 1]] {
        let mean = "op middle(x: f32[N, C, H, W]) -> y: f32[N, 1] {
            y[n, k < 1] = mean[c < C, h < H, w < W] x[n, c, h, w]; }\n";
        let place = place("<f4", shape, &(mean.to_owned() + &text("middle(x)", "mse", "")));
        let image = |image: usize| {
            let prediction = (0..WIDTH).map(|at| pixel(image, at)).sum::<f64>() / WIDTH as f64;
            ((prediction - f64::from(number(image, 0))).powi(2), None)
        };
        check(&place, "mse", &image);
    }
}

/// Scores of three classes a pixel: the picture, half of it, and one less it.
const SCORES: &str = "concat(x, 0.5 * x, 1.0 - x)";

fn of_pixels(picture: &dyn Fn(usize) -> f64, label: &dyn Fn(usize) -> u8) -> (f64, Option<f64>) {
    let (mut loss, mut right) = (0.0, 0.0);
    for at in 0..WIDTH {
        let scores = [picture(at), 0.5 * picture(at), 1.0 - picture(at)];
        let own = scores[usize::from(label(at))];
        loss += scores.iter().map(|score| score.exp()).sum::<f64>().ln() - own;
        let first = scores.iter().position(|score| *score >= scores[0].max(scores[2])).expect("a best one");
        right += f64::from(u8::from(first == usize::from(label(at))));
    }
    (loss / WIDTH as f64, Some(right / WIDTH as f64))
}

#[test]
fn labels_of_pixels_train() {
    let place = place("|u1", &[SIDE, SIDE], &text(SCORES, "cross_entropy2d", ""));
    check(&place, "pixels", &|image| of_pixels(&|at| pixel(image, at), &|at| label(image, at)));
    // The best weights are chosen by the accuracy of pixels.
    let set = ["--set", "train.save=best(val.accuracy)", "--set", "data.holdout=0.3"];
    place.good(&[&["run", "net.cnn", "--out", "best"], &set[..]].concat());
    let record = json(place.text("best/metrics.jsonl").lines().next().expect("an epoch"));
    assert!(record["val_accuracy"].as_f64().expect("a share") > 0.0, "{record}");
}

/// Pictures that are mirrored have mirrored targets: without that, the loss would be another one.
#[test]
fn targets_move_with_their_pictures() {
    let turned = |at: usize| at / SIDE * SIDE + (SIDE - 1 - at % SIDE);
    let place = place("|u1", &[SIDE, SIDE], &text(SCORES, "cross_entropy2d", "augment = hflip(1);"));
    check(&place, "mirrored pixels", &|image| {
        let is_training = image < TRAIN;
        let at = |at: usize| if is_training { turned(at) } else { at };
        of_pixels(&|place| pixel(image, at(place)), &|place| label(image, at(place)))
    });
}

/// What is held out of numbers is drawn from all, and a run goes on to the same bits.
#[test]
fn numbers_are_held_out_and_resumed() {
    let text = "model Net(x: f32[N, 1, 4, 4]) { x |> flatten |> linear(2) }
        data D { source = npz(\"data.npz\"); holdout = 0.3; augment = mixup(0.4); }
        train Net on D { loss = mse; optim = adam(1e-2); batch = 3; epochs = 4; save = best(val.loss); }";
    let place = place("<f4", &[2], text);
    place.good(&["run", "net.cnn", "--out", "whole"]);
    let header = place.good(&["run", "net.cnn", "--out", "cut", "--steps", "5"]);
    assert!(
        header.contains("7 training images, 3 validation images, 5 test images, 1×4×4, 2 numbers each"),
        "{header}"
    );
    place.good(&["run", "--resume", "cut"]);
    assert_eq!(place.read("whole/model.safetensors"), place.read("cut/model.safetensors"));
    let predicted = place.good(&["predict", "net.cnn", "--weights", "whole", "test:0", "--json"]);
    assert_eq!(json(&predicted)["output"].as_array().expect("a list").len(), 2);
}

/// The error of a file, at its loss.
fn check_error(element: &str, shape: &[usize], body: &str, loss: &str, data: &str, expect: &str) {
    let place = place(element, shape, &text(body, loss, data));
    for command in ["run", "check"] {
        let said = place.run(&[command, "net.cnn"]);
        assert_eq!(said.code, Some(1), "{}", said.err);
        let first = said.err.lines().next().unwrap_or_default();
        assert_eq!(first, format!("error: {expect}"), "{command}");
    }
}

#[test]
fn targets_that_do_not_fit() {
    let flat = "(x |> flatten)";
    check_error(
        "<f4",
        &[2],
        flat,
        "mse",
        "",
        "this loss takes targets [N, 16], but those of the data are [N, 2]",
    );
    let labels = "this loss compares numbers, but the data has labels of classes";
    check_error("|u1", &[], flat, "mse", "", labels);
    check_error("|u1", &[SIDE, SIDE], "x", "bce", "", labels);
    let numbers = "this loss compares labels of classes, but the data has numbers";
    check_error("<f4", &[], flat, "cross_entropy", "", numbers);
    let shape = "this loss takes targets [N], but those of the data are [N, 16]";
    check_error("|u1", &[16], flat, "cross_entropy", "", shape);
    let shape = "this loss takes targets [N, 4, 4], but those of the data are [N]";
    check_error("|u1", &[], SCORES, "cross_entropy2d", "", shape);
    let range = "label 2 of training image 1 is out of range: there are 2 classes, from 0";
    check_error("|u1", &[SIDE, SIDE], "concat(x, x)", "cross_entropy2d", "", range);
    let size =
        "`vflip` moves the pixels of pictures, and the targets [2, 2] are of another size; leave it out";
    check_error("|u1", &[2, 2], SCORES, "cross_entropy2d", "augment = vflip;", size);
    let mix = "`cutmix` moves the pixels of pictures, and not those of the targets [4, 4]; leave it out";
    check_error("|u1", &[SIDE, SIDE], SCORES, "cross_entropy2d", "augment = cutmix(1);", mix);
}
