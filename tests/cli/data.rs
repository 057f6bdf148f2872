//! Sources, what is done to pictures, and what is said where data does not fit.

use std::io::Write;

use cnnc::data::npy;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use crate::place::Place;

/// A place with a model `m.cnn` of pictures `[3, size, size]` and this data section.
fn place(size: usize, section: &str) -> Place {
    let text = format!(
        "model M(x: f32[N, 3, {size}, {size}]) -> f32[N, 3] {{\n  \
           x |> conv(4, 3, pad=1) as c |> relu |> flatten |> linear(3) as fc\n}}\n\
         data D {{ {section} }}\n\
         train M on D {{ loss = cross_entropy;  optim = adam(1e-2);  batch = 8;  epochs = 2;  seed = 3; }}\n"
    );
    Place::with("m.cnn", &text)
}

/// Trains, and says what was printed.
fn trains(place: &Place) -> String {
    assert_eq!(place.good(&["check", "m.cnn"]), "m.cnn: no problems\n");
    let out = place.good(&["run", "m.cnn", "--out", "run"]);
    assert!(out.contains("\ntest accuracy "), "{out}");
    out
}

/// Writes pictures in folders: three classes of six training and two test pictures of one shade each.
fn pictures(place: &Place, height: u32, width: u32) {
    for (at, class) in ["dark", "grey", "light"].iter().enumerate() {
        for (part, count) in [("train", 6), ("test", 2)] {
            let folder = place.path(&format!("data/{part}/{class}"));
            std::fs::create_dir_all(&folder).expect("a folder");
            for picture in 0..count {
                let shade = 20 + 90 * at as u8 + picture;
                let image = image::RgbImage::from_pixel(width, height, image::Rgb([shade; 3]));
                let ending = if picture % 2 == 0 { "png" } else { "jpg" };
                image.save(folder.join(format!("{picture}.{ending}"))).expect("a picture");
            }
        }
    }
}

#[test]
fn synthetic_data_is_learnt() {
    let place = place(8, "source = synthetic(classes=3, size=[3, 8, 8], images=200, test=60);");
    assert!(trains(&place).contains("\ntest accuracy 100.00 %"));
}

#[test]
fn cifar10_in_its_binary_version() {
    let place = place(32, "source = cifar10(\"data\");  classes = [\"a\"];");
    std::fs::create_dir(place.path("data")).expect("a folder");
    let record = |label: u8| [&[label][..], &[label * 80; 3072]].concat();
    for name in ["data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5", "test_batch"]
    {
        place.write(&format!("data/{name}.bin"), [record(0), record(1), record(2)].concat());
    }
    place.bad(&["run", "m.cnn"], 1, "error: `classes` names 1 classes, but the labels need 10");
    place.write("m.cnn", place.text("m.cnn").replace("  classes = [\"a\"];", ""));
    trains(&place);
    let out = place.good(&["predict", "m.cnn", "test:1", "--weights", "run/model.safetensors"]);
    assert!(out.ends_with("(labelled automobile)\n"), "{out}");
    std::fs::remove_file(place.path("data/data_batch_3.bin")).expect("it is there");
    place.bad(
        &["run", "m.cnn"],
        1,
        "error: no data_batch_3.bin in the folder data; it should hold data_batch_1.bin, data_batch_2.bin, \
         data_batch_3.bin, data_batch_4.bin, data_batch_5.bin, test_batch.bin, the files of the binary version",
    );
}

#[test]
fn cifar100_in_its_binary_version() {
    let place = place(32, "source = cifar100(\"data\");");
    std::fs::create_dir(place.path("data")).expect("a folder");
    let record = |label: u8| [&[0, label][..], &[label * 80; 3072]].concat();
    for name in ["train", "test"] {
        place.write(&format!("data/{name}.bin"), [record(0), record(1), record(2)].concat());
    }
    trains(&place);
}

#[test]
fn pictures_in_folders() {
    let section = "source = folder(\"data\");  prepare = resize(8, 8) |> normalize(0.5, 0.25);  \
                   augment = crop(8, 1) |> hflip |> colorjitter(0.1) |> erase(0.1);";
    let place = place(8, section);
    pictures(&place, 12, 10);
    trains(&place);
    // The same with another number of threads.
    place.good(&["run", "m.cnn", "--out", "other", "--threads", "3"]);
    assert_eq!(place.read("run/model.safetensors"), place.read("other/model.safetensors"));
    // A picture of any size is resized as `prepare` says, and classes have the names of the folders.
    image::RgbImage::from_pixel(31, 17, image::Rgb([200; 3])).save(place.path("a.png")).expect("a picture");
    let out = place.good(&["predict", "m.cnn", "a.png", "--weights", "run/model.safetensors"]);
    assert!(out.contains("light") && out.contains("dark") && out.contains("grey"), "{out}");
    place.good(&["eval", "m.cnn", "--weights", "run/model.safetensors"]);
}

/// A run that stops in the middle of an epoch goes on with the same random changes.
#[test]
fn random_changes_are_resumed() {
    let section = "source = synthetic(classes=3, size=[3, 8, 8], images=40, test=9);  \
                   augment = crop(8, 2) |> rotate(20) |> erase;";
    let place = place(8, section);
    place.good(&["run", "m.cnn", "--out", "whole"]);
    place.good(&["run", "m.cnn", "--out", "part", "--steps", "7"]);
    place.good(&["run", "m.cnn", "--resume", "part"]);
    assert_eq!(place.read("whole/model.safetensors"), place.read("part/model.safetensors"));
}

#[test]
fn folders_that_do_not_fit() {
    let place = place(8, "source = folder(\"data\");");
    let should = "which should hold train, test, each with a folder of pictures for every class, or these folders themselves";
    let error = format!("error: there is no folder data, {should}; --data DIR names another one");
    place.bad(&["run", "m.cnn"], 1, &error);
    pictures(&place, 8, 8);
    let large = image::RgbImage::from_pixel(9, 8, image::Rgb([0; 3]));
    large.save(place.path("data/test/grey/0.png")).expect("a picture");
    place.bad(
        &["run", "m.cnn"],
        1,
        "error: data/test/grey/0.png: the picture is 8×9 pixels (height×width), but the first one is 8×8; \
         give all one size with `prepare = resize(h, w)`",
    );
}

/// What was learnt before a picture that cannot be read is kept.
#[test]
fn broken_pictures_stop_a_run() {
    let place = place(8, "source = folder(\"data\");  shuffle = false;");
    pictures(&place, 8, 8);
    let (name, large) = ("data/train/light/5.jpg", "data/train/light/3.jpg");
    let whole = place.read(name);
    place.write(name, b"no picture");
    // So large that not all is read before; what is behind the end of a JPEG is no matter.
    place.write(large, [place.read(large), vec![0; 33 << 20]].concat());
    let said = place.run(&["run", "m.cnn", "--out", "run"]);
    assert_eq!(said.code, Some(1));
    let note =
        "note: the pictures are read when they are needed; `cnnc check --data` reads them all before\n";
    assert!(said.err.contains(&format!("error: {name}: ")) && said.err.contains(note), "{}", said.err);
    place.write(name, whole);
    place.good(&["run", "m.cnn", "--resume", "run", "--allow-changes"]);
    place.good(&["run", "m.cnn", "--out", "other"]);
    assert_eq!(place.read("run/model.safetensors"), place.read("other/model.safetensors"));
}

/// The `.npy` file of an array.
fn array(element: &str, shape: &str, data: &[u8]) -> Vec<u8> {
    let header = format!("{{'descr': '{element}', 'fortran_order': False, 'shape': ({shape}), }}\n");
    let len = (header.len() as u16).to_le_bytes();
    [b"\x93NUMPY\x01\x00", &len[..], header.as_bytes(), data].concat()
}

/// A model that gives what it reads: floats themselves. Today such arrays are refused.
#[test]
fn arrays_of_floats_are_what_a_model_reads() {
    let text = |body: &str, steps: &str| {
        format!(
            "model M(x: f32[N, 1, 1, 2]) -> f32[N, 2] {{ x |> flatten{body} }}\n\
             data D {{ source = npz(\"data.npz\");{steps} }}\n\
             train M on D {{ loss = cross_entropy;  optim = adam(1e-2);  batch = 2;  epochs = 2; }}\n"
        )
    };
    let layer = " |> linear(2) as fc";
    let place = Place::with("m.cnn", &text(layer, ""));
    let mut archive = ZipWriter::new(std::fs::File::create(place.path("data.npz")).expect("a file"));
    let numbers = [1.0_f64, -2.5, 300.0, 0.1].map(f64::to_be_bytes).concat();
    for name in ["x_train", "y_train", "x_test", "y_test"] {
        archive.start_file(format!("{name}.npy"), SimpleFileOptions::default()).expect("an entry");
        let array = match name.starts_with('x') {
            true => array(">f8", "2, 1, 2", &numbers),
            false => array("|u1", "2,", &[0, 1]),
        };
        archive.write_all(&array).expect("it is written");
    }
    archive.finish().expect("it is written");
    place.good(&["check", "m.cnn"]);
    place.good(&["run", "m.cnn", "--out", "run"]);
    for (steps, expect) in
        [("", [300.0, 0.1]), ("  prepare = scale(2) |> normalize(1, 0.5);", [1198.0, -1.6])]
    {
        place.write("same.cnn", text("", steps));
        place.good(&["predict", "same.cnn", "test:1", "--output", "y.npy"]);
        assert_eq!(npy::read(&place.path("y.npy")).expect("an array").elements, expect);
    }
    for (steps, name) in [("prepare = resize(1, 2)", "resize"), ("augment = colorjitter(0.5)", "colorjitter")]
    {
        place.write("m.cnn", text(layer, &format!("  {steps};")));
        let said = place.run(&["run", "m.cnn"]);
        let problem = format!("`{name}` is for pictures of bytes, and these are floats; ");
        assert!(said.code == Some(1) && said.err.contains(&problem), "{}", said.err);
    }
}

#[test]
fn arrays_of_numpy() {
    let place = place(4, "source = npz(\"data.npz\");");
    let pixels: Vec<u8> = (0..6 * 48).map(|at| (at / 48 % 3 * 80) as u8).collect();
    let write = |place: &Place, names: &[&str]| {
        let mut archive = ZipWriter::new(std::fs::File::create(place.path("data.npz")).expect("a file"));
        for name in names {
            archive.start_file(format!("{name}.npy"), SimpleFileOptions::default()).expect("an entry");
            let array = if name.starts_with('x') {
                array("|u1", "6, 4, 4, 3", &pixels)
            } else {
                array("|u1", "6,", &[0, 1, 2, 0, 1, 2])
            };
            archive.write_all(&array).expect("it is written");
        }
        archive.finish().expect("it is written");
    };
    write(&place, &["x_train", "y_train", "x_test", "y_test"]);
    trains(&place);
    write(&place, &["x_train", "y_train", "x_test"]);
    place.bad(
        &["run", "m.cnn"],
        1,
        "error: data.npz: no array y_test in it; it holds x_test, x_train, y_train, but should hold x_train, \
         y_train, x_test, y_test",
    );
    place.write("data.npz", b"PK");
    let said = place.run(&["run", "m.cnn"]);
    assert!(
        said.err.starts_with("error: data.npz: not a .npz file, which is a zip archive ("),
        "{}",
        said.err
    );
}

#[test]
fn steps_that_do_not_fit_the_data() {
    let check = |section: &str, message: &str| {
        let place = place(8, &format!("source = synthetic(3, [3, 8, 8], 20, 5);  {section}"));
        place.bad(&["run", "m.cnn"], 1, &format!("error: {message}"));
        let said = place.run(&["check", "m.cnn"]);
        assert!(said.err.contains(message), "{}", said.err);
    };
    check(
        "prepare = centercrop(9, 9);",
        "`centercrop(9, 9)` cuts from a picture of 8×8 pixels (height×width); resize it before",
    );
    check(
        "augment = crop(6, 1);",
        "`crop` makes pictures of 6×6 pixels (height×width), but `prepare` makes them 8×8, and validation and \
         test pictures would have another size; write `crop([8, 8], ...)`",
    );
    check(
        "prepare = normalize([0.5, 0.5], [1, 1]);",
        "the `mean` of normalize(mean, std) lists 2 numbers, but images have 3 channels",
    );
}

/// Today `val` is left out in silence, and a rule for its figures is refused whatever the folder has.
#[test]
fn validation_pictures_of_a_folder() {
    let place = place(8, "source = folder(\"data\");");
    let saved = place.text("m.cnn").replace("seed = 3;", "seed = 3;  save = best(val.accuracy);");
    place.write("m.cnn", &saved);
    pictures(&place, 8, 8);
    let said = place.run(&["run", "m.cnn", "--out", "run"]);
    let start = "error: there are no validation images: nothing is held out in `D`\n";
    assert!(said.code == Some(1) && said.err.starts_with(start), "{}", said.err);
    for class in ["dark", "grey", "light"] {
        std::fs::create_dir_all(place.path(&format!("data/val/{class}"))).expect("a folder");
        let [from, to] = ["train", "val"].map(|part| place.path(&format!("data/{part}/{class}/5.jpg")));
        std::fs::rename(from, to).expect("it moves");
    }
    let out = place.good(&["run", "m.cnn", "--out", "run", "--steps", "3"]);
    assert!(out.contains("15 training images, 3 validation images, 6 test images"), "{out}");
    place.good(&["run", "--resume", "run"]);
    let out = place.good(&["eval", "m.cnn", "--weights", "run", "--split", "val"]);
    assert!(out.starts_with("M on 3 val images\n"), "{out}");
    let shade = image::RgbImage::from_pixel(8, 8, image::Rgb([7; 3]));
    shade.save(place.path("data/val/dark/5.jpg")).expect("a picture");
    let said = place.run(&["run", "--resume", "run", "--epochs", "3"]);
    assert!(said.code == Some(1) && said.err.contains("val/dark"), "{}", said.err);
    place.write("m.cnn", saved.replace("(\"data\")", "(\"data\");  validate = test"));
    let error = "error: `D` has a validation split, so `validate = test` says nothing; leave it out";
    place.bad(&["run", "m.cnn"], 1, error);
    place.write("m.cnn", saved.replace("(\"data\")", "(\"data\");  holdout = 3"));
    let error = "error: the data has a validation split of its own, of 3 images; leave out `holdout`";
    place.bad(&["run", "m.cnn"], 1, error);
}
