//! Folders of pictures, good and broken ones.

use tempfile::TempDir;

use super::*;
use crate::data::geometry::Geometry;

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

fn error(folder: &TempDir) -> String {
    let data = load(folder.path()).and_then(|mut data| data.prepare(&[]));
    let error = data.unwrap_err().to_string();
    error.replace(&folder.path().display().to_string(), "F")
}

#[test]
fn classes_are_the_sorted_names() {
    let folder = good();
    let mut data = load(folder.path()).unwrap();
    data.prepare(&[]).unwrap();
    assert_eq!(data.class_names, ["a", "b"]);
    assert_eq!((&data.train.labels[..], &data.test.labels[..]), (&[0, 1, 1][..], &[1][..]));
    assert_eq!(data.shape, [3, 3, 2]);
    let shades = (0..3).map(|at| data.train.image(at).unwrap().into_owned());
    assert_eq!(shades.collect::<Vec<_>>(), [vec![10; 18], vec![20; 18], vec![30; 18]]);
    assert!(!data.train.is_plain());
}

#[test]
fn steps_make_one_size() {
    let folder = good();
    put(&folder, "train/a/large.png", 50, 60, 50);
    let mut data = load(folder.path()).unwrap();
    data.prepare(&[Geometry::Resize { height: 4, width: 4 }, Geometry::Grayscale]).unwrap();
    assert_eq!((data.shape, data.train.len()), ([1, 4, 4], 4));
    assert_eq!(data.train.image(0).unwrap()[..], [50; 16]);
    // The second time from memory, without the file.
    fs::remove_file(folder.path().join("train/a/large.png")).unwrap();
    assert_eq!(data.train.image(0).unwrap()[..], [50; 16]);
    data.hold_out(1).unwrap();
    assert_eq!(data.validation().image(0).unwrap()[..], [30; 16]);
}

#[test]
fn pictures_of_another_size() {
    let folder = good();
    put(&folder, "test/b/large.png", 5, 6, 0);
    assert_eq!(
        error(&folder),
        "F/test/b/large.png: the picture is 5×6 pixels (height×width), but the first one is 3×2; give all one \
         size with `prepare = resize(h, w)`"
    );
}

#[test]
fn missing_folders() {
    let folder = good();
    fs::remove_dir_all(folder.path().join("test")).unwrap();
    let should = "it should hold train, test, each with a folder of pictures for every class";
    assert_eq!(error(&folder), format!("no test in the folder F; {should}"));
    assert_eq!(error(&tempfile::tempdir().unwrap()), format!("no train, test in the folder F; {should}"));
}

#[test]
fn empty_folders() {
    let folder = good();
    fs::create_dir(folder.path().join("train/c")).unwrap();
    assert_eq!(error(&folder), "F/train/c: the folder has no pictures (.png, .jpg or .jpeg)");
    fs::remove_dir_all(folder.path().join("train")).unwrap();
    fs::create_dir(folder.path().join("train")).unwrap();
    let expect = "F/train: the folder has no folders; each class needs one with its pictures";
    assert_eq!(error(&folder), expect);
}

#[test]
fn classes_that_are_only_tested() {
    let folder = good();
    put(&folder, "test/z/1.png", 3, 2, 0);
    assert_eq!(
        error(&folder),
        "F: test/z has no folder of its name in train; every class needs training pictures"
    );
}

#[test]
fn broken_pictures_are_named() {
    let folder = good();
    let path = folder.path().join("train/a/x.png");
    let whole = fs::read(&path).unwrap();
    fs::write(&path, b"hello, world").unwrap();
    assert!(error(&folder).starts_with("F/train/a/x.png: "), "{}", error(&folder));
    // The head is right, the pixels are cut off: that is seen when the picture is needed.
    fs::write(&path, &whole[..whole.len() - 20]).unwrap();
    let data = load(folder.path()).unwrap();
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
        assert!(error(&folder).ends_with("the name has characters that cannot be printed"), "{bytes:?}");
    }
}
