//! Weights know their model: which classes it tells apart, what its samples are and how they were prepared.

use cnnc::train::weights::{self, Contents, Provenance};
use image::{Rgb, RgbImage};

use crate::place::{Place, Said};

/// The classes of the training, each with the shade of its pictures.
const CLASSES: [(&str, u8); 3] = [("a", 20), ("b", 110), ("c", 200)];

const WEIGHTS: [&str; 2] = ["--weights", "shades.safetensors"];

/// A model that tells shades apart, for a section of data.
fn model(section: &str) -> String {
    format!(
        "model Shades(x: f32[N, 3, 8, 8]) -> f32[N, 3] {{ x |> globalavgpool |> flatten |> linear(3) as fc }}\n\
         data Folders {{ {section} }}\n\
         train Shades on Folders {{ loss = cross_entropy;  optim = sgd(0.0);  batch = 4;  epochs = 1; }}\n"
    )
}

/// Pictures of one shade in folders, three a class.
fn folders(place: &Place, root: &str, classes: &[(&str, u8)]) {
    for (class, shade) in classes {
        for part in ["train", "test"] {
            let folder = place.path(&format!("{root}/{part}/{class}"));
            std::fs::create_dir_all(&folder).expect("a folder");
            for picture in 0..3 {
                let image = RgbImage::from_pixel(8, 8, Rgb([shade + picture; 3]));
                image.save(folder.join(format!("{picture}.png"))).expect("a picture");
            }
        }
    }
}

/// Writes weights with what they say of themselves.
fn write(place: &Place, name: &str, contents: &Contents) {
    let tensors: Vec<_> = contents
        .tensors
        .iter()
        .map(|(name, tensor)| (name.as_str(), tensor.shape.as_slice(), tensor.elements.as_slice().into()))
        .collect();
    weights::save(&place.path(name), &tensors, Some(&contents.provenance)).expect("a file");
}

/// A place with folders in `data`, and `shades.safetensors`, which are right for each picture. Its metadata are those of
/// a run.
fn place(section: &str) -> Place {
    let place = Place::with("m.cnn", &model(section));
    folders(&place, "data", &CLASSES);
    place.good(&["run", "m.cnn", "--out", "run"]);
    let mut contents = weights::load(&place.path("run/model.safetensors")).expect("weights");
    let centres = CLASSES.map(|(_, shade)| f32::from(shade + 1) / 255.0);
    // The nearest centre c of a shade m has the greatest 2cm - c².
    let set = |elements: &mut [f32], value: &dyn Fn(usize) -> f32| {
        elements.iter_mut().enumerate().for_each(|(at, element)| *element = 1000.0 * value(at));
    };
    let tensor = |name: &str| name.to_owned();
    set(&mut contents.tensors.get_mut(&tensor("fc.weight")).expect("it is there").elements, &|at| {
        2.0 * centres[at / 3] / 3.0
    });
    set(&mut contents.tensors.get_mut(&tensor("fc.bias")).expect("it is there").elements, &|at| {
        -centres[at] * centres[at]
    });
    write(&place, "shades.safetensors", &contents);
    place
}

fn with_weights<'a>(arguments: &[&'a str]) -> Vec<&'a str> {
    [arguments, &WEIGHTS].concat()
}

const FOLDERS: &str = "source = folder(\"data\");";

/// Without names, labels were positions: the accuracy on the folders b and c was 0.00 %, in silence.
#[test]
fn folders_are_matched_to_classes_by_name() {
    let place = place(FOLDERS);
    let right = "accuracy  100.00 %\n";
    assert!(place.good(&with_weights(&["eval", "m.cnn"])).contains(right));
    folders(&place, "fewer", &CLASSES[1..]);
    let out = place.good(&with_weights(&["eval", "m.cnn", "--data", "fewer", "--confusion"]));
    assert!(out.starts_with("Shades on 6 test images\n") && out.contains(right), "{out}");
    let rows: Vec<&str> = out.lines().filter(|line| line.contains('3')).collect();
    assert!(rows.iter().any(|row| row.trim_start().starts_with('c')), "{out}");
    // The picture was named b and its label too, where the first folder of the data was called so; and the class a was
    // called b.
    let out = place.good(&with_weights(&["predict", "m.cnn", "test:0", "--data", "fewer", "--top", "1"]));
    assert_eq!(out, "test:0       b 100.00 %   (labelled b)\n");
    // One that the weights do not know; `c`, `d` were taken for `b`, `c`.
    folders(&place, "more", &[("a", 20), ("d\u{e9}j\u{e0}", 110), ("z", 200)]);
    let message =
        "error: the class `d\u{e9}j\u{e0}` of the data is none of those that the weights tell apart: a, b, c";
    place.bad(&with_weights(&["eval", "m.cnn", "--data", "more"]), 1, message);
    place.bad(&with_weights(&["predict", "m.cnn", "test:0", "--data", "more"]), 1, message);
    // A training that begins with them is no such case: heads are replaced.
    place.good(&["run", "m.cnn", "--data", "more", "--init", "shades.safetensors", "--out", "begun"]);
}

/// The section's names of a source's classes are names for all of them: they named the first ones, whichever these were.
#[test]
fn names_of_a_section_are_for_all_folders() {
    let place = place("source = folder(\"data\");  classes = [\"dark\", \"grey\", \"light\"];");
    assert!(place.good(&with_weights(&["eval", "m.cnn"])).contains("accuracy  100.00 %\n"));
    folders(&place, "fewer", &CLASSES[1..]);
    place.bad(
        &with_weights(&["eval", "m.cnn", "--data", "fewer"]),
        1,
        "error: `classes` names 3 classes, but the data has 2: b, c",
    );
    // The same names in another order are the same classes.
    place.write("m.cnn", model("source = folder(\"data\");  classes = [\"light\", \"grey\", \"dark\"];"));
    let moved = [("x", 200), ("y", 110), ("z", 20)];
    folders(&place, "moved", &moved);
    let out = place.good(&with_weights(&["eval", "m.cnn", "--data", "moved"]));
    assert!(out.contains("accuracy  100.00 %\n"), "{out}");
}

/// Far from the data, classes had their numbers for names.
#[test]
fn classes_are_named_without_the_data() {
    let place = place(FOLDERS);
    std::fs::rename(place.path("data"), place.path("away")).expect("it moves");
    let picture = "away/test/b/1.png";
    let named = "away/test/b/1.png b 100.00 %";
    let out = place.good(&with_weights(&["predict", "m.cnn", picture, "--top", "1"]));
    assert_eq!(out.trim_end(), named);
    // Nor is a train section needed.
    let text = model(FOLDERS);
    place.write("alone.cnn", text.lines().next().expect("a line"));
    let out = place.good(&with_weights(&["predict", "alone.cnn", picture, "--top", "1"]));
    assert_eq!(out.trim_end(), named);
    // Weights of another tool say nothing, and are used as before.
    let mut contents = weights::load(&place.path("shades.safetensors")).expect("weights");
    contents.provenance = Provenance::default();
    write(&place, "shades.safetensors", &contents);
    let out = place.good(&with_weights(&["predict", "m.cnn", picture, "--top", "1"]));
    assert_eq!(out.trim_end(), named.replace(" b ", " 1 "));
}

/// Data without names is what it was; so are weights of such data.
#[test]
fn numbers_are_no_names() {
    let place = Place::trained();
    let provenance = weights::load(&place.path("run/model.safetensors")).expect("weights").provenance;
    assert_eq!((provenance.classes, provenance.input), (None, Some([1, 8, 8])));
    assert_eq!(provenance.model.as_deref(), Some("Tiny"));
    assert_eq!(provenance.version.as_deref(), Some(env!("CARGO_PKG_VERSION")));
    let text = place.text("tiny.cnn");
    let names: Vec<String> = (0..10).map(|class| format!("\"digit {class}\"")).collect();
    let named = format!("digits(); classes = [{}];", names.join(", "));
    place.write("named.cnn", text.replace("digits();", &named));
    let figures = |model: &str| place.good(&["eval", model, "--json", "--weights", "run/model.safetensors"]);
    assert_eq!(figures("named.cnn"), figures("tiny.cnn"));
    // Names of weights are those of labels that have none.
    place.good(&["run", "named.cnn", "--out", "named"]);
    let out = place.good(&["predict", "tiny.cnn", "test:0", "--weights", "named/model.safetensors"]);
    assert!(out.contains(" digit ") && out.ends_with("(labelled digit 4)\n"), "{out}");
}

/// Names of a file are shown, and do nothing.
#[test]
fn names_of_weights_do_nothing_to_a_terminal() {
    let place = place(FOLDERS);
    let mut contents = weights::load(&place.path("shades.safetensors")).expect("weights");
    let names = ["größer", "\u{1b}[31mred\n", "\u{202e}turned"].map(str::to_owned);
    contents.provenance.classes = Some(names.to_vec());
    write(&place, "shades.safetensors", &contents);
    let picture = "data/test/b/1.png";
    let out = place.good(&with_weights(&["predict", "m.cnn", picture, "--top", "1"]));
    assert_eq!(out, "data/test/b/1.png \\u{1b}[31mred\\n 100.00 %\n");
    let json = place.good(&with_weights(&["predict", "m.cnn", picture, "--json"]));
    let value: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(value["classes"][0]["name"], names[1]);
    assert!(!json.trim_end().contains(['\u{1b}', '\n', '\u{202e}']), "{json}");
    place.bad(
        &with_weights(&["eval", "m.cnn"]),
        1,
        "error: the class `a` of the data is none of those that the weights tell apart: größer, \\u{1b}[31mred\\n, \
         \\u{202e}turned",
    );
    // A name that is there twice is none to find a label by.
    contents.provenance.classes = Some(["a", "b", "a"].map(str::to_owned).to_vec());
    write(&place, "shades.safetensors", &contents);
    place.bad(
        &with_weights(&["eval", "m.cnn"]),
        1,
        "error: the class `a` of the data could be several of those that the weights tell apart: a, b, a",
    );
    contents.provenance.classes = Some(Vec::new());
    write(&place, "shades.safetensors", &contents);
    assert_eq!(place.run(&with_weights(&["eval", "m.cnn"])).code, Some(1));
    let out = place.good(&with_weights(&["predict", "m.cnn", picture, "--top", "1"]));
    assert_eq!(out, "data/test/b/1.png 1 100.00 %\n");
}

/// Pictures that are prepared in another way are other pictures; nothing said so.
#[test]
fn another_preparation_is_told() {
    let place = place("source = folder(\"data\");  prepare = scale(1.0);");
    let said = place.run(&with_weights(&["eval", "m.cnn"]));
    assert_eq!((said.code, said.err.as_str()), (Some(0), ""));
    let warning = |here: &str, now: &str| {
        format!(
            "warning: shades.safetensors: in their training, `prepare` was `scale(1)`; in {here} it is {now}\n"
        )
    };
    let set = "data.prepare=scale(0.5) |> normalize(0.5, [0.25])";
    let now = warning("the data section", "`scale(0.5) |> normalize([0.5], [0.25])`");
    for command in [&["eval", "m.cnn"][..], &["predict", "m.cnn", "data/test/b/1.png"]] {
        let said = place.run(&with_weights(&[command, &["--set", set]].concat()));
        assert_eq!((said.code, said.err.as_str()), (Some(0), now.as_str()), "{command:?}");
    }
    place.write("alone.cnn", model(FOLDERS).lines().next().expect("a line"));
    let said = place.run(&with_weights(&["predict", "alone.cnn", "data/test/b/1.png"]));
    assert_eq!(said.err, warning("a file without a train section", "nothing"));
    // Samples of another shape.
    let text = model("source = folder(\"data\");  prepare = resize(4, 4);").replace("3, 8, 8", "3, H, W");
    place.write("small.cnn", text);
    let said = place.run(&with_weights(&["eval", "small.cnn"]));
    let note =
        "note: shades.safetensors: they were trained on samples of [3, 8, 8], and these are [3, 4, 4]\n";
    assert!(said.code == Some(0) && said.err.ends_with(note), "{}", said.err);
}

/// The weights of the best epoch know as much as those of the last.
#[test]
fn all_weights_of_a_run_know_their_model() {
    let place = Place::tiny();
    let Said { code, err, .. } =
        place.run(&["run", "tiny.cnn", "--out", "run", "--set", "train.save=best(training.accuracy)"]);
    assert_eq!(code, Some(0), "{err}");
    let of = |name: &str| weights::load(&place.path(name)).expect("weights").provenance;
    assert_eq!(of("run/best.safetensors"), of("run/model.safetensors"));
    assert_ne!(of("run/best.safetensors"), Provenance::default());
}

/// A loss may have parameters, which a prediction does not need: it said that they are not in the model.
#[test]
fn parameters_of_a_loss_do_not_hinder_a_prediction() {
    let place = Place::tiny();
    let text = place.text("tiny.cnn").replace("loss = cross_entropy;", "loss = tempered;");
    let loss = "block tempered(x: f32[N, C], label: i32[N]) {\n  param heat: f32[1] = 1.0;\n  \
                x * heat |> cross_entropy(label)\n}\n";
    place.write("tiny.cnn", format!("{loss}{text}"));
    place.good(&["run", "tiny.cnn", "--out", "run"]);
    let tensors = weights::load(&place.path("run/model.safetensors")).expect("weights").tensors;
    assert!(tensors.keys().any(|name| name.ends_with("heat")), "{:?}", tensors.keys());
    place.good(&["eval", "tiny.cnn", "--weights", "run"]);
    place.good(&["predict", "tiny.cnn", "test:0", "--weights", "run"]);
    // Whatever else is unknown is an error still.
    let mut contents = weights::load(&place.path("run/model.safetensors")).expect("weights");
    let other = contents.tensors.values().next().expect("a tensor").clone();
    contents.tensors.insert("other".into(), other);
    write(&place, "other.safetensors", &contents);
    place.bad(
        &["predict", "tiny.cnn", "test:0", "--weights", "other.safetensors"],
        1,
        "error: other.safetensors: the weights do not fit the model\n  `other` of the file is not in the model\n  \
         they are weights of the model `Tiny`",
    );
}

/// What was held out in the run was tested as if it had been, or could not be found, without a word.
#[test]
fn settings_of_the_run_are_compared() {
    let place = Place::tiny();
    place.good(&["run", "tiny.cnn", "--out", "run", "--epochs", "1", "--set", "data.holdout=100"]);
    let note = "note: the settings are not those of the run in run: data.holdout: 100 -> 0\n";
    let said = place.run(&["eval", "tiny.cnn", "--weights", "run"]);
    assert_eq!((said.code, said.err.as_str()), (Some(0), note));
    let said = place.run(&["eval", "tiny.cnn", "--weights", "run", "--split", "val"]);
    assert!(
        said.code == Some(2) && said.err.starts_with(&format!("{note}error: nothing is held out")),
        "{}",
        said.err
    );
    // Another rate or batch changes no figure, and a file of its own says nothing of its run.
    for same in [&["run", "--set", "data.holdout=100", "--batch", "9"][..], &["run/model.safetensors"]] {
        let said = place.run(&[&["eval", "tiny.cnn", "--weights"], same].concat());
        assert_eq!((said.code, said.err.as_str()), (Some(0), ""));
    }
}
