//! `predict` on many pictures and on inputs that mix, `eval` by class, and `check --data`.

use cnnc::data::npy;
use serde_json::Value;

use crate::place::Place;

const RUN: [&str; 2] = ["--weights", "run"];

fn png(place: &Place, name: &str, shade: u8) {
    let path = place.path(name);
    std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
    image::GrayImage::from_pixel(8, 8, image::Luma([shade])).save(path).expect("a picture");
}

/// A bad picture ended it, and what came before it had been printed only; folders and ranges were files that are not there.
#[test]
fn bad_pictures_are_named_and_the_others_go_on() {
    let place = Place::trained();
    (0..3).for_each(|at| png(&place, &format!("some/{at}.png"), 50 * at));
    place.write("some/1.png", b"no picture");
    let said = place.run(&[&["predict", "tiny.cnn", "some", "gone.png", "test:3-4"], &RUN[..]].concat());
    assert_eq!(said.code, Some(1));
    let lines: Vec<&str> = said.out.lines().collect();
    let starts = ["some/0.png   ", "some/2.png   ", "test:3       ", "test:4       "];
    assert!(
        lines.len() == 4 && lines.iter().zip(starts).all(|(line, start)| line.starts_with(start)),
        "{}",
        said.out
    );
    let errors: Vec<&str> = said.err.lines().collect();
    assert!(errors[0].starts_with("error: some/1.png: "), "{}", said.err);
    assert_eq!(errors[1..], ["error: gone.png: No such file or directory (os error 2)"]);
    let outputs = ["predict", "tiny.cnn", "some", "--output", "y.npy"];
    let said = place.run(&[&outputs[..], &RUN].concat());
    assert_eq!((said.code, place.path("y.npy").exists()), (Some(1), false));
    assert!(
        said.err.ends_with("error: nothing is written, as 1 of 3 pictures cannot be read\n"),
        "{}",
        said.err
    );
    for (word, code, message) in [
        ("test:4-3", 2, "error: test:4-3: a range goes up, such as test:3-4"),
        ("train:0-1438", 2, "error: train:0-1438: the train split has the pictures 0 to 1437"),
    ] {
        place.bad(&[&["predict", "tiny.cnn", word], &RUN[..]].concat(), code, message);
    }
}

#[test]
fn tables_have_a_line_a_picture() {
    let place = Place::trained();
    png(&place, "a, b.png", 90);
    let words = ["predict", "tiny.cnn", "a, b.png", "test:0-2", "--top", "2", "--csv", "t.csv"];
    assert_eq!(place.good(&[&words[..], &RUN].concat()), "");
    let text = place.text("t.csv");
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], "picture,label,class_1,probability_1,class_2,probability_2");
    assert!(lines.len() == 5 && lines[1].starts_with("\"a, b.png\",,"), "{text}");
    let json = place.good(&[&["predict", "tiny.cnn", "test:0", "--top", "2", "--json"], &RUN[..]].concat());
    let value: Value = serde_json::from_str(&json).expect("JSON");
    let class = |at: usize| {
        let class = &value["classes"][at];
        format!("{},{}", class["name"].as_str().expect("a name"), class["probability"])
    };
    assert_eq!(lines[2], format!("test:0,4,{},{}", class(0), class(1)));
}

/// With 64 inputs at once, the mean was that of 64.
#[test]
fn inputs_that_mix_are_run_together() {
    let text = "op centre(x: f32[N, C]) -> y: f32[N, C] {
          m[c] = mean[n < N] x[n, c];  y[n, c] = x[n, c] - m[c]; }
        model Mixed(x: f32[N, 3]) { x |> centre }
        model Apart(x: f32[N, 3]) { 2 * x }";
    let place = Place::with("m.cnn", text);
    let inputs: Vec<f32> = (0..70 * 3).map(|at| (at * at % 31) as f32).collect();
    npy::write(&place.path("x.npy"), &[70, 3], &inputs).expect("a file");
    let run = |model: &str, more: &[&str]| {
        let words = ["predict", "m.cnn", "--model", model, "--input", "x.npy", "--output", "y.npy"];
        let said = place.run(&[&words[..], more].concat());
        assert_eq!(said.code, Some(0), "{}", said.err);
        (npy::read(&place.path("y.npy")).expect("a file").elements, said.err)
    };
    let (found, said) = run("Mixed", &[]);
    assert_eq!(said, "");
    for column in 0..3 {
        let mean = inputs.iter().skip(column).step_by(3).sum::<f32>() / 70.0;
        let columns = inputs.iter().zip(&found).skip(column).step_by(3);
        assert!(columns.into_iter().all(|(x, y)| (x - mean - y).abs() < 1e-4), "{column}");
    }
    let (other, said) = run("Mixed", &["--batch", "35"]);
    assert_ne!(other, found);
    let note =
        "note: `Mixed` mixes the inputs of a batch, so with --batch 35 it does not say what it says of all\n";
    assert_eq!(said, note);
    let double: Vec<f32> = inputs.iter().map(|x| 2.0 * x).collect();
    for more in [&[][..], &["--batch", "1"], &["--batch", "9"]] {
        assert_eq!(run("Apart", more), (double.clone(), String::new()));
    }
}

/// The matrix was all that was said.
#[test]
fn classes_have_precision_recall_and_f1() {
    let place = Place::trained();
    let eval = |more: &[&str]| place.good(&[&["eval", "tiny.cnn"], &RUN[..], more].concat());
    let value: Value = serde_json::from_str(&eval(&["--confusion", "--json"])).expect("JSON");
    let count = |row: usize, column: usize| value["confusion"][row][column].as_u64().expect("a count");
    let text = eval(&["--confusion"]);
    for class in 0..10 {
        let (row, column): (u64, u64) =
            ((0..10).map(|at| count(class, at)).sum(), (0..10).map(|at| count(at, class)).sum());
        let right = count(class, class) as f64;
        let figures = &value["by_class"][class];
        let expected = [right / column as f64, right / row as f64, 2.0 * right / (row + column) as f64];
        assert_eq!(
            (figures["class"].as_str(), figures["images"].as_u64()),
            (Some(&*class.to_string()), Some(row))
        );
        for (key, expected) in ["precision", "recall", "f1"].into_iter().zip(expected) {
            match figures[key].as_f64() {
                Some(found) => assert!((found - expected).abs() < 1e-12, "{key}: {found}, not {expected}"),
                None => assert!(expected.is_nan(), "{key}"),
            }
        }
        let percent = format!("{:.2} %", 100.0 * expected[1]);
        let is_line =
            |line: &&str| line.trim_start().starts_with(&format!("{class} ")) && line.contains(&percent);
        assert!(text.lines().any(|line| is_line(&line)), "{class} {percent}: {text}");
    }
    assert_eq!(eval(&["--confusion=m.svg"]), text);
    assert!(place.text("m.svg").ends_with("</svg>\n"));
}

/// A folder of pictures with all that can be wrong with them.
fn photos() -> Place {
    let text = "model Net(x: f32[N, 1, 8, 8]) { x |> flatten |> linear(2) }
        data Photos { source = folder(\"photos\"); prepare = grayscale; }
        train Net on Photos { loss = cross_entropy; optim = sgd(0.1); batch = 4; epochs = 1; }";
    let place = Place::with("net.cnn", text);
    for (at, name) in ["train/a", "train/b", "test/a", "test/b"].into_iter().enumerate() {
        (0..3).for_each(|number| {
            png(&place, &format!("photos/{name}/{number}.png"), (at * 50 + number * 7) as u8)
        });
    }
    place
}

/// Of these, only what the first training picture had was found before its batch came, and a copied picture never.
#[test]
fn check_reads_all_the_data() {
    let place = photos();
    let said = place.run(&["check", "net.cnn", "--data"]);
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert_eq!(said.err, "note: all 12 images of `Photos` were read\n");
    let copy = |from: &str, to: &str| std::fs::copy(place.path(from), place.path(to)).expect("a copy");
    copy("photos/train/a/1.png", "photos/test/a/copy.png");
    copy("photos/train/a/2.png", "photos/train/b/copy.png");
    let whole = place.read("photos/test/b/0.png");
    place.write("photos/test/b/0.png", &whole[..whole.len() - 20]);
    place.write("photos/train/b/2.png", b"");
    image::GrayImage::new(9, 8).save(place.path("photos/test/b/1.png")).expect("a picture");
    let said = place.run(&["check", "net.cnn", "--data"]);
    assert_eq!(said.code, Some(1), "{}", said.err);
    let wanted = [
        "error: photos/train/b/2.png: ",
        "error: photos/test/b/0.png: ",
        "error: photos/test/b/1.png: the picture is 8×9 pixels",
        "warning: photos/train/b/copy.png is the same picture as photos/train/a/2.png, of another class",
        "warning: photos/test/a/copy.png is the same picture as photos/train/a/1.png, in another split",
        "note: all 14 images of `Photos` were read",
        "net.cnn: 3 errors, 2 warnings",
    ];
    let lines: Vec<&str> = said.err.lines().collect();
    for (line, wanted) in lines.iter().zip(wanted) {
        assert!(line.starts_with(wanted), "{wanted}: {}", said.err);
    }
    assert_eq!(lines.len(), wanted.len(), "{}", said.err);
    // Without it, only heads are looked at; elsewhere, it reads what is there.
    assert_eq!(place.run(&["check", "net.cnn"]).code, Some(0));
    std::fs::rename(place.path("photos"), place.path("elsewhere")).expect("it moves");
    assert_eq!(place.run(&["check", "net.cnn", "--data", "elsewhere"]).code, Some(1));
    // Where there is nothing to read, nothing was read.
    let said = place.run(&["check", "net.cnn", "--data"]);
    assert!(
        said.code == Some(1) && said.err.starts_with("error: there is no folder photos, "),
        "{}",
        said.err
    );
    assert_eq!(place.run(&["check", "net.cnn"]).code, Some(0));
}

/// A broken test picture was found when the first epoch was trained.
#[test]
fn runs_read_small_data_before_they_begin() {
    let place = photos();
    place.write("photos/test/b/2.png", b"no picture");
    place.write("photos/train/b/2.png", b"no picture either");
    let said = place.run(&["run", "net.cnn", "--out", "run"]);
    assert_eq!((said.code, &*said.out, place.path("run").exists()), (Some(1), "", false));
    assert!(said.err.starts_with("error: photos/train/b/2.png: "), "{}", said.err);
    let end = "\n  and 1 more that cannot be read; `cnnc check --data` lists them all\n";
    assert!(said.err.ends_with(end), "{}", said.err);
}
