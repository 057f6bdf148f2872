//! Folders of pictures, good and broken ones.

use tempfile::TempDir;

use super::*;
use crate::data::apart::{Amount, StratifiedSplit};
use crate::data::geometry::Geometry;
use crate::data::picture::WHITE;

/// A grey PNG picture of one shade, with the folders above it.
fn put(folder: &TempDir, name: &str, height: u32, width: u32, shade: u8) {
    let path = folder.path().join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    image::GrayImage::from_pixel(width, height, image::Luma([shade])).save(path).unwrap();
}

fn good() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    put(&folder, "train/b/2.png", 3, 2, 30);
    put(&folder, "train/b/10.PNG", 3, 2, 20);
    put(&folder, "train/a/x.png", 3, 2, 10);
    put(&folder, "test/b/y.png", 3, 2, 40);
    fs::write(folder.path().join("train/a/notes.txt"), "no picture").unwrap();
    fs::write(folder.path().join("train/a/.hidden.png"), "no picture").unwrap();
    folder
}

fn error_of(folder: &TempDir) -> String {
    let data = load(folder.path(), &TestSplit::default(), WHITE).and_then(|mut data| data.prepare(&[]));
    let error = data.unwrap_err().to_string();
    error.replace(&folder.path().display().to_string(), "F")
}

#[test]
fn classes_are_the_sorted_names() {
    let folder = good();
    let mut data = load(folder.path(), &TestSplit::default(), WHITE).unwrap();
    data.prepare(&[]).unwrap();
    assert_eq!(data.class_names, ["a", "b"]);
    assert_eq!((data.train.classes(), data.test.classes()), (&[0, 1, 1][..], &[1][..]));
    assert_eq!(data.shape, [3, 3, 2]);
    let shades = (0..3).map(|at| data.train.image(at).unwrap().into_owned());
    assert_eq!(shades.collect::<Vec<_>>(), [vec![10; 18], vec![20; 18], vec![30; 18]]);
    assert!(!data.train.is_plain());
}

/// Today folders in a class are left out in silence, as all other files are.
#[test]
fn folders_in_a_class_are_read_and_what_is_left_out_is_counted() {
    let folder = good();
    put(&folder, "train/a/inner/deep/1.png", 3, 2, 70);
    put(&folder, "train/a/z.bmp", 3, 2, 80);
    for name in ["train/a/inner/more.TXT", "train/a/LICENSE", "train/list.csv", "test/b/a.heic"] {
        fs::write(folder.path().join(name), "no picture").unwrap();
    }
    let data = load(folder.path(), &TestSplit::default(), WHITE).unwrap();
    assert_eq!(data.train.classes(), [0, 0, 0, 1, 1]);
    let first = |at: usize| data.train.image(at).unwrap()[0];
    assert_eq!([0, 1, 2, 3].map(first), [70, 10, 80, 20]);
    let place = folder.path().display();
    assert_eq!(
        data.notes,
        [format!(
            "{place}: left out: 4 files with other endings than pictures (2 .txt, 1 without one, 1 .heic), and 1 file \
             beside the folders of classes"
        )]
    );
    assert_eq!(load(good().path(), &TestSplit::default(), WHITE).unwrap().notes.len(), 1);
}

/// Today pictures that are transparent are errors.
#[test]
fn transparent_pictures_lie_over_the_background() {
    let folder = good();
    let clear = image::RgbaImage::from_pixel(2, 3, image::Rgba([200, 200, 200, 0]));
    clear.save(folder.path().join("train/a/x.png")).unwrap();
    let data = load(folder.path(), &TestSplit::default(), [1, 2, 3]).unwrap();
    assert_eq!(data.train.image(0).unwrap()[..], [[1; 6], [2; 6], [3; 6]].concat());
}

/// Today links to folders in a class are left out.
#[test]
#[cfg(unix)]
fn links_are_followed_but_not_round_and_round() {
    use std::os::unix::fs::symlink;
    let folder = good();
    put(&folder, "elsewhere/1.png", 3, 2, 90);
    symlink(folder.path().join("elsewhere"), folder.path().join("train/a/link")).unwrap();
    assert_eq!(load(folder.path(), &TestSplit::default(), WHITE).unwrap().train.classes(), [0, 0, 1, 1]);
    symlink(folder.path().join("train"), folder.path().join("elsewhere/back")).unwrap();
    let message = "F/train/a/link/back/a: the link leads back to a folder that it is in";
    assert_eq!(error_of(&folder), message);
    fs::remove_file(folder.path().join("elsewhere/back")).unwrap();
    fs::create_dir_all(folder.path().join("train/b").join("d/".repeat(40))).unwrap();
    let message = "a class has at most 100,000 folders, at most 32 inside each other";
    assert!(error_of(&folder).ends_with(message), "{}", error_of(&folder));
}

#[test]
fn steps_make_one_size() {
    let folder = good();
    put(&folder, "train/a/large.png", 50, 60, 50);
    let mut data = load(folder.path(), &TestSplit::default(), WHITE).unwrap();
    data.prepare(&[Geometry::Resize { height: 4, width: 4 }, Geometry::Grayscale]).unwrap();
    assert_eq!((data.shape, data.train.len()), ([1, 4, 4], 4));
    assert_eq!(data.train.image(0).unwrap()[..], [50; 16]);
    // The second time from memory, without the file.
    fs::remove_file(folder.path().join("train/a/large.png")).unwrap();
    assert_eq!(data.train.image(0).unwrap()[..], [50; 16]);
    data.hold_out(&StratifiedSplit { key: "holdout", amount: Amount::Count(2), seed: 0 }).unwrap();
    assert_eq!((data.validation().classes(), data.train.classes()), (&[0, 1][..], &[0, 1][..]));
    assert!([[20; 16], [30; 16]].contains(&(*data.validation().image(1).unwrap()).try_into().unwrap()));
}

#[test]
fn pictures_of_another_size() {
    let folder = good();
    put(&folder, "test/b/large.png", 5, 6, 0);
    assert_eq!(
        error_of(&folder),
        "F/test/b/large.png: the picture is 5×6 pixels (height×width), but the first one is 3×2; give all one \
         size with `prepare = resize(h, w)`"
    );
}

#[test]
fn missing_folders() {
    let should = "it should hold train, test, each with a folder of pictures for every class, or these folders themselves";
    assert_eq!(error_of(&tempfile::tempdir().unwrap()), format!("no train, test in the folder F; {should}"));
}

#[test]
fn empty_folders() {
    let folder = good();
    fs::create_dir(folder.path().join("train/c")).unwrap();
    assert_eq!(
        error_of(&folder),
        "F/train/c: the folder has no pictures (.png, .jpg, .jpeg, .bmp, .gif, .tif, .tiff, .webp, .pbm, .pgm, .ppm, .pnm)"
    );
    fs::remove_dir_all(folder.path().join("train")).unwrap();
    fs::create_dir(folder.path().join("train")).unwrap();
    let expect = "F/train: the folder has no folders; each class needs one with its pictures";
    assert_eq!(error_of(&folder), expect);
}

#[test]
fn classes_that_are_only_tested() {
    let folder = good();
    put(&folder, "test/z/1.png", 3, 2, 0);
    assert_eq!(
        error_of(&folder),
        "F: test/z has no folder of its name in train; every class needs training pictures"
    );
}

#[test]
fn broken_pictures_are_named() {
    let folder = good();
    let path = folder.path().join("train/a/x.png");
    let whole = fs::read(&path).unwrap();
    fs::write(&path, b"hello, world").unwrap();
    assert!(error_of(&folder).starts_with("F/train/a/x.png: "), "{}", error_of(&folder));
    // The head is right, the pixels are cut off: that is seen when the picture is needed.
    fs::write(&path, &whole[..whole.len() - 20]).unwrap();
    let data = load(folder.path(), &TestSplit::default(), WHITE).unwrap();
    let error = data.train.image(0).unwrap_err().to_string();
    assert!(error.starts_with(&path.display().to_string()), "{error}");
    assert!(data.train.image(1).is_ok());
}

#[test]
#[cfg(unix)]
fn names_of_classes_can_be_printed() {
    use std::os::unix::ffi::OsStrExt;
    for bytes in [&b"a\x1b[31mred"[..], b"two\nlines", b"\xff", "turned\u{202e}".as_bytes()] {
        let folder = good();
        let class = folder.path().join("train").join(std::ffi::OsStr::from_bytes(bytes));
        fs::create_dir(class).unwrap();
        assert!(error_of(&folder).ends_with("the name has characters that cannot be printed"), "{bytes:?}");
    }
}

/// Before, "no test in the folder F".
#[test]
fn a_folder_without_a_test_split_is_divided() {
    for prefix in ["train/", ""] {
        let folder = tempfile::tempdir().unwrap();
        for number in 0..10 {
            put(&folder, &format!("{prefix}a/{number}.png"), 3, 2, number);
        }
        (0..5).for_each(|number| put(&folder, &format!("{prefix}b/{number}.png"), 3, 2, 100 + number));
        let divided = |amount| load(folder.path(), &TestSplit { amount, seed: 1 }, WHITE).unwrap();
        let shades =
            |split: &Split| (0..split.len()).map(|at| split.image(at).unwrap()[0]).collect::<Vec<u8>>();
        let mut data = divided(None);
        data.prepare(&[]).unwrap();
        assert_eq!((data.class_names.join(" "), data.test.classes()), ("a b".into(), &[0, 0, 1][..]));
        let mut all = [shades(&data.train), shades(&data.test)].concat();
        all.sort_unstable();
        assert_eq!(all, (0..10).chain(100..105).collect::<Vec<_>>());
        assert_eq!(divided(Some(Amount::Count(6))).test.classes(), [0, 0, 0, 0, 1, 1]);
        assert_eq!(shades(&divided(Some(Amount::Share(0.2))).test), shades(&data.test));
    }
    let error =
        load(good().path(), &TestSplit { amount: Some(Amount::Share(0.5)), seed: 0 }, WHITE).unwrap_err();
    assert!(error.to_string().ends_with(" has a test split of its own; leave out `test = 0.5`"), "{error}");
    let folder = tempfile::tempdir().unwrap();
    put(&folder, "test/a/1.png", 3, 2, 0);
    assert!(error_of(&folder).starts_with("no train in the folder F; it should hold train, test, "));
}

/// Today `val` is left unread in silence, and a tenth of the training pictures has to be held out instead.
#[test]
fn a_folder_may_have_validation_pictures() {
    for name in VAL {
        let folder = good();
        put(&folder, &format!("{name}/b/z.png"), 6, 4, 90);
        put(&folder, &format!("{name}/a/z.png"), 3, 2, 80);
        let mut data = load(folder.path(), &TestSplit::default(), WHITE).unwrap();
        let said = data.prepare(&[]).unwrap_err().to_string();
        assert!(said.contains("z.png") && said.contains("6"), "{said}");
        data.prepare(&[Geometry::Resize { height: 3, width: 2 }]).unwrap();
        let held_out = data.validation();
        assert_eq!((held_out.classes(), data.train.len(), data.test.len()), (&[0, 1][..], 3, 1));
        assert_eq!([0, 1].map(|at| held_out.image(at).unwrap()[0]), [80, 90]);
        let parts: Vec<String> = crate::data::fingerprint::of(&data).unwrap().into_keys().collect();
        assert_eq!(parts, ["train/a", "train/b", "val/a", "val/b", "test/b"]);
        let said = data
            .hold_out(&StratifiedSplit { key: "holdout", amount: Amount::Count(1), seed: 0 })
            .unwrap_err();
        let expect = "the data has a validation split of its own, of 2 images; leave out `holdout`";
        assert_eq!(said.to_string(), expect);
    }
}

/// Without `test`, beside a class without validation pictures, of two names, and with a class of its own.
#[test]
fn what_is_beside_validation_pictures() {
    let folder = good();
    put(&folder, "val/b/z.png", 3, 2, 90);
    fs::remove_dir_all(folder.path().join("test")).unwrap();
    let data = load(folder.path(), &TestSplit { amount: Some(Amount::Count(1)), seed: 0 }, WHITE).unwrap();
    assert_eq!((data.train.len(), data.validation().len(), data.test.len()), (2, 1, 1));
    put(&folder, "val/c/z.png", 3, 2, 90);
    let expect = "F: val/c has no folder of its name in train; every class needs training pictures";
    assert_eq!(error_of(&folder), expect);
    fs::rename(folder.path().join("val/c"), folder.path().join("validation")).unwrap();
    assert_eq!(error_of(&folder), "F: it has both val and validation; a data set has one validation split");
    // What stands beside no `train` is a class.
    let folder = tempfile::tempdir().unwrap();
    put(&folder, "val/1.png", 3, 2, 10);
    put(&folder, "val/2.png", 3, 2, 10);
    put(&folder, "other/1.png", 3, 2, 10);
    put(&folder, "other/2.png", 3, 2, 10);
    let data = load(folder.path(), &TestSplit { amount: Some(Amount::Count(1)), seed: 0 }, WHITE).unwrap();
    assert_eq!(data.class_names, ["other", "val"]);
    assert!(data.holdout.is_none());
}
