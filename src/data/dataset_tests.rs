//! Data sets of a few small pictures.

use super::super::apart::Amount;
use super::*;

fn apart(count: usize) -> StratifiedSplit {
    StratifiedSplit { key: "holdout", amount: Amount::Count(count), seed: 3 }
}

fn split(labels: &[i32]) -> Split {
    let pixels: Vec<u8> = (0..labels.len() * 4).map(|pixel| pixel as u8).collect();
    Split::new(Bytes::from(pixels), labels.to_vec(), [1, 2, 2]).unwrap()
}

#[test]
fn held_out_images_are_no_training_images() {
    let mut dataset = Dataset::new("toy", split(&[0, 1, 0, 1, 0, 1]), split(&[0]), 255.0).unwrap();
    assert_eq!(dataset.validation().len(), 1);
    dataset.hold_out(&apart(2)).unwrap();
    let held = dataset.validation().clone();
    assert_eq!((dataset.train.classes(), held.classes()), (&[0, 1, 0, 1][..], &[0, 1][..]));
    let parts = [&dataset.train, &held];
    let firsts =
        parts.map(|part| (0..part.len()).map(|at| part.image(at).unwrap()[0] / 4).collect::<Vec<_>>());
    assert!(firsts.iter().all(|places| places.is_sorted()), "{firsts:?}");
    let mut all = firsts.concat();
    all.sort_unstable();
    assert_eq!(all, [0, 1, 2, 3, 4, 5]);
    for (part, places) in parts.iter().zip(&firsts) {
        assert!(places.iter().zip(part.classes()).all(|(place, label)| i32::from(place % 2) == *label));
    }
    // A part of a part.
    dataset.holdout = None;
    dataset.hold_out(&apart(1)).unwrap();
    assert_eq!((dataset.train.len(), dataset.validation().len()), (3, 1));
    assert!(firsts[0].contains(&(dataset.validation().image(0).unwrap()[0] / 4)));
    dataset.holdout = None;
    let error = dataset.hold_out(&apart(2)).unwrap_err().to_string();
    let expect = "`holdout = 2` leaves a class without an image for training, of 3 in all; take at most 1";
    assert_eq!(error, expect);
}

#[test]
fn labels_are_checked() {
    let error = Dataset::new("toy", split(&[0, 1]), split(&[0, 2]), 255.0).unwrap_err().to_string();
    assert_eq!(error, "toy: label 2 of test image 1 is out of range: there are 2 classes, from 0");
    let dataset = Dataset::new("toy", split(&[0, 3]), split(&[0]), 255.0).unwrap();
    assert_eq!(dataset.classes, 4);
    assert!(dataset.check_labels(10).is_ok());
    let error = dataset.check_labels(3).unwrap_err().to_string();
    assert_eq!(error, "label 3 of training image 1 is out of range: there are 3 classes, from 0");
}

#[test]
fn names_are_enough_or_an_error() {
    let mut dataset = Dataset::new("toy", split(&[0, 1]), split(&[0]), 255.0).unwrap();
    assert_eq!(dataset.class_names, ["0", "1"]);
    let names = |count: usize| (0..count).map(|class| format!("c{class}")).collect();
    assert!(dataset.name_classes(names(1)).is_err());
    dataset.name_classes(names(3)).unwrap();
    assert_eq!(dataset.classes, 3);
}

#[test]
fn names_of_a_source_are_replaced_one_by_one() {
    let names = |list: &[&str]| list.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let mut dataset =
        Dataset::with_classes("toy", split(&[0, 1]), split(&[0]), 255.0, names(&["b", "c"])).unwrap();
    let error = dataset.name_classes(names(&["x", "y", "z"])).unwrap_err().to_string();
    assert_eq!(error, "`classes` names 3 classes, but the data has 2: b, c");
    dataset.name_classes(names(&["x", "y"])).unwrap();
}

#[test]
fn classes_are_found_by_name() {
    let names = |list: &[&str]| list.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let named = |list: &[&str]| {
        let mut dataset =
            Dataset::with_classes("toy", split(&[0, 1, 1]), split(&[1]), 255.0, names(list)).unwrap();
        dataset.hold_out(&apart(1)).unwrap();
        dataset
    };
    let mut dataset = named(&["c", "b"]);
    dataset.count_classes_as(&names(&["a", "b", "c"])).unwrap();
    let holdout = dataset.holdout.as_ref().unwrap();
    assert_eq!(
        (dataset.train.classes(), holdout.classes(), dataset.test.classes()),
        (&[2, 1][..], &[1][..], &[1][..])
    );
    assert_eq!((dataset.classes, &*dataset.class_names[2]), (3, "c"));
    let error = named(&["c", "d\n"]).count_classes_as(&names(&["a", "b", "c"])).unwrap_err().to_string();
    assert_eq!(error, "the class `d\\n` of the data is none of those that the weights tell apart: a, b, c");
    let error = named(&["a", "b"]).count_classes_as(&names(&["a", "b", "a"])).unwrap_err().to_string();
    assert!(error.starts_with("the class `a` of the data could be several of those"), "{error}");
    // The same list is the same classes, whatever they are called.
    let mut dataset = named(&["a", "a"]);
    dataset.count_classes_as(&names(&["a", "a"])).unwrap();
    assert_eq!(dataset.test.classes(), [1]);
    // Numbers are no names.
    let mut dataset = Dataset::new("toy", split(&[0, 1]), split(&[0]), 255.0).unwrap();
    dataset.count_classes_as(&names(&["a", "b"])).unwrap();
    assert_eq!((&*dataset.class_names, dataset.train.classes()), (&names(&["a", "b"])[..], &[0, 1][..]));
}

#[test]
fn empty_or_unequal_splits_are_errors() {
    assert!(Dataset::new("toy", split(&[]), split(&[0]), 255.0).is_err());
    let wide = Split::new(Bytes::from(vec![0; 4]), vec![0_i32], [1, 1, 4]).unwrap();
    let error = Dataset::new("toy", split(&[0]), wide, 255.0).unwrap_err().to_string();
    assert!(error.contains("training images are [1, 2, 2] and test images [1, 1, 4]"), "{error}");
}
