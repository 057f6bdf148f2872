//! Runs that go on elsewhere, otherwise, or from what is left of them: what is the same goes on, what is not is named.

use crate::place::{Place, Said, TINY, names_in};

/// A picture of one colour as a PNG file.
fn picture(place: &Place, name: &str, pixel: u8) {
    let path = place.path(name);
    std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
    image::RgbImage::from_pixel(4, 4, image::Rgb([pixel; 3])).save(path).expect("a picture");
}

/// Another data set went on in silence, and so did a renamed class.
#[test]
fn other_pictures_and_classes_are_named() {
    let text = "model M(x: f32[N, 3, 4, 4]) -> f32[N, 2] { x |> flatten |> linear(2) as fc }
data P { source = folder(\"pics\"); }
train M on P { loss = cross_entropy; optim = sgd(0.1); batch = 2; epochs = 2; }";
    let place = Place::with("m.cnn", text);
    for part in ["train/a", "train/b", "test/a", "test/b"] {
        for number in 0..2 {
            picture(&place, &format!("pics/{part}/{number}.png"), 100 * number);
        }
    }
    place.good(&["run", "m.cnn", "--out", "run", "--steps", "1"]);
    let refused = |names: &[&str]| {
        let Said { code, out, err } = place.run(&["run", "--resume", "run"]);
        assert_eq!((code, out.as_str()), (Some(1), ""), "{err}");
        let lines: Vec<&str> = err.lines().filter(|line| line.starts_with("  ")).collect();
        assert_eq!(lines.len(), names.len(), "{err}");
        assert!(lines.iter().zip(names).all(|(line, name)| line.trim().starts_with(name)), "{err}");
    };
    picture(&place, "pics/test/b/1.png", 101);
    refused(&["pictures of test/b: "]);
    picture(&place, "pics/test/b/1.png", 100);
    for part in ["train", "test"] {
        std::fs::rename(place.path(&format!("pics/{part}/b")), place.path(&format!("pics/{part}/c")))
            .expect("it moves");
    }
    refused(&[
        "class 1: b -> c",
        "pictures of test/b: ",
        "pictures of test/c: ",
        "pictures of train/b: ",
        "pictures of train/c: ",
    ]);
    for part in ["train", "test"] {
        std::fs::rename(place.path(&format!("pics/{part}/c")), place.path(&format!("pics/{part}/b")))
            .expect("it moves");
    }
    // The same pictures elsewhere are the same data.
    std::fs::rename(place.path("pics"), place.path("moved")).expect("it moves");
    assert_eq!(place.run(&["run", "--resume", "run"]).code, Some(1));
    place.good(&["run", "--resume", "run", "--data", "moved"]);
}

/// A run needs its folder, not the files that it was begun with, nor the place.
#[test]
fn a_run_goes_on_without_its_files() {
    let place = Place::new();
    for folder in ["P/lib", "Q", "elsewhere"] {
        std::fs::create_dir_all(place.path(folder)).expect("a folder");
    }
    place.write("Q/real.cnn", "block one(x: f32[N, 1, 8, 8]) { x |> flatten |> linear(10) as l1 }\n");
    std::os::unix::fs::symlink("../../Q/real.cnn", place.path("P/lib/link.cnn")).expect("a link");
    let text = "use \"../Q/real.cnn\";
use \"lib/link.cnn\";
model Net(x: f32[N, 1, 8, 8]) -> f32[N, 10] { x |> one as a }
data D { source = digits(); }
train Net on D { loss = cross_entropy; optim = sgd(0.01); epochs = 2; batch = 100; }";
    place.write("P/m.cnn", text);
    place.good(&["run", "P/m.cnn", "--out", "whole"]);
    place.good(&["run", "P/m.cnn", "--out", "it's a run", "--steps", "4"]);
    let hint = place.good(&["run", "--resume", "it's a run", "--steps", "5"]);
    assert!(hint.ends_with("go on with: cnnc run --resume 'it'\\''s a run'\n"), "{hint}");
    std::fs::remove_dir_all(place.path("P")).expect("it goes");
    std::fs::remove_dir_all(place.path("Q")).expect("it goes");
    std::fs::rename(place.path("it's a run"), place.path("elsewhere/run")).expect("it moves");
    let mut command = place.command(&["run", "--resume", "run"]);
    let said = Said::of(command.current_dir(place.path("elsewhere")).output().expect("it starts"));
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert_eq!(place.read("whole/model.safetensors"), place.read("elsewhere/run/model.safetensors"));
    // A text that somebody changed is not the run's.
    let copies = names_in(&place.path("elsewhere/run/source"));
    assert_eq!(copies, ["m.cnn", "real.cnn"]);
    place.write("elsewhere/run/source/m.cnn", text.replace("0.01", "0.02"));
    let said = place.run(&["run", "--resume", "elsewhere/run", "--epochs", "3"]);
    assert!(said.code == Some(1) && said.err.contains("it is not the text that the run has"), "{}", said.err);
    // Nor do other texts in its place go on.
    place.write("m.cnn", text.replace("use \"../Q/real.cnn\";\nuse \"lib/link.cnn\";", "use \"real.cnn\";"));
    place.write("real.cnn", "block one(x: f32[N, 1, 8, 8]) { x |> flatten |> linear(10) as l1 }\n");
    let said = place.run(&["run", "m.cnn", "--resume", "elsewhere/run", "--epochs", "3"]);
    assert!(said.code == Some(1) && said.err.contains("  the model cannot be compared: "), "{}", said.err);
    place.good(&["run", "m.cnn", "--resume", "elsewhere/run", "--epochs", "3", "--allow-changes"]);
}

/// The loss of one epoch stood as the best accuracy, which nothing could beat.
#[test]
fn another_rule_begins_anew() {
    let text = TINY
        .replace("digits()", "digits(); holdout = 200")
        .replace("seed = 3;", "seed = 3; save = best(val.loss);");
    let place = Place::with("tiny.cnn", &text);
    place.good(&["run", "tiny.cnn", "--out", "run", "--steps", "20"]);
    let rule = ["--set", "train.save=best(val.accuracy)"];
    let resume = [&["run", "--resume", "run", "--epochs", "4", "--allow-changes"], &rule[..]].concat();
    let out = place.good(&resume);
    let line = out.lines().find(|line| line.starts_with("the weights are those of epoch ")).expect("a line");
    let accuracies: Vec<f64> = place
        .text("run/metrics.jsonl")
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON"))
        .map(|epoch| epoch["val_accuracy"].as_f64().expect("a share"))
        .collect();
    let best = accuracies[1..].iter().copied().fold(0.0, f64::max);
    assert!(line.ends_with(&format!("val.accuracy: {:.2} %", 100.0 * best)), "{line} {accuracies:?}");
}

/// A finished run was overwritten by one that began again, because its checkpoint was gone.
#[test]
fn what_cannot_go_on_says_so() {
    let place = Place::trained();
    let before = place.read("run/model.safetensors");
    let Said { code, err, .. } = place.run(&["run", "--resume", "run"]);
    assert_eq!(
        (code, err.lines().next()),
        (Some(0), Some("note: the run in run is done; --epochs N asks for more"))
    );
    let refused =
        "error: the run in run is done; --epochs N asks for more, and without them nothing is changed";
    let said = place.run(&["run", "--resume", "run", "--seed", "9", "--allow-changes"]);
    assert_eq!((said.code, said.err.trim_end()), (Some(1), refused));
    // Fewer epochs are another run.
    place.good(&["run", "tiny.cnn", "--out", "three", "--epochs", "3", "--steps", "20"]);
    let said = place.run(&["run", "--resume", "three", "--epochs", "2"]);
    assert!(said.code == Some(1) && said.err.contains("\n  train.epochs: 3 -> 2\n"), "{}", said.err);
    std::fs::remove_dir_all(place.path("run/checkpoint")).expect("it goes");
    place.bad(
        &["run", "--resume", "run"],
        1,
        "error: run: the checkpoint is gone, without which the run cannot go on",
    );
    assert_eq!(place.read("run/model.safetensors"), before);
    std::fs::create_dir(place.path("empty")).expect("a folder");
    for folder in ["empty", "tiny.cnn", "nothing", "."] {
        place.bad(&["run", "--resume", folder], 1, &format!("error: {folder} is no folder of a run"));
    }
    // Where no run lies, none can go on.
    place.bad(&["run", "tiny.cnn", "--out", "empty"], 1, "error: empty already exists; name a new folder");
}

/// Paths that are no text ended in a panic.
#[cfg(target_os = "linux")]
#[test]
fn paths_need_not_be_text() {
    use std::os::unix::ffi::OsStrExt;
    let name = std::ffi::OsStr::from_bytes(b"d\xffr");
    let place = Place::new();
    let folder = place.path(".").join(name);
    std::fs::create_dir(&folder).expect("a folder");
    std::fs::write(folder.join("tiny.cnn"), TINY).expect("a file");
    let run = |arguments: &[&str]| {
        let said = Said::of(place.command(arguments).current_dir(&folder).output().expect("it starts"));
        assert_eq!(said.code, Some(0), "{arguments:?}: {}", said.err);
    };
    run(&["run", "tiny.cnn", "--out", "whole"]);
    run(&["run", "tiny.cnn", "--out", "part", "--steps", "3"]);
    run(&["run", "--resume", "part"]);
    let read = |run: &str| std::fs::read(folder.join(run).join("model.safetensors")).expect("weights");
    assert_eq!(read("whole"), read("part"));
    assert_eq!(names_in(&folder), ["part", "tiny.cnn", "whole"]);
}

/// A run went on with another model; each item that is not the run's is named, wherever it stands, and comments are no
/// matter.
#[test]
fn items_that_have_changed_are_named() {
    let text = "use \"parts.cnn\";
        model Net(x: f32[N, 1, 8, 8]) -> f32[N, 10] { x |> part |> flatten |> linear(10) }
        block spare(x: f32[N, C]) { x }
        data Digits { source = digits(); }
        train Net on Digits { loss = cross_entropy; optim = sgd(0.1); batch = 300; epochs = 2; }\n";
    let parts = "block part(x: f32[N, 1, 8, 8]) { x |> conv(3, 3) |> relu }\n";
    let place = Place::with("net.cnn", text);
    place.write("parts.cnn", parts);
    place.good(&["run", "net.cnn", "--out", "whole", "--epochs", "3"]);
    place.good(&["run", "net.cnn", "--out", "run", "--steps", "3"]);
    place.write("parts.cnn", parts.replace("relu", "tanh"));
    place.write("net.cnn", text.replace("spare", "other"));
    place.bad(
        &["run", "net.cnn", "--resume", "run"],
        1,
        "error: this is not the run in run (then -> now):\n  \
         `other` is new\n  \
         `part` has another text\n  \
         `spare` is gone\n\
         --allow-changes goes on all the same",
    );
    place.write("parts.cnn", format!("// As before.\n{parts}"));
    place.write("net.cnn", text);
    place.good(&["run", "net.cnn", "--resume", "run", "--epochs", "3"]);
    assert_eq!(place.read("run/model.safetensors"), place.read("whole/model.safetensors"));
}
