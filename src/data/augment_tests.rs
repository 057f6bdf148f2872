//! The steps, their draws, and what does not fit.

use super::*;

fn counting(shape: [usize; 3]) -> Picture {
    Picture::new(shape, (0..shape.iter().product::<usize>()).map(|pixel| pixel as u8 + 1).collect())
}

fn augment(steps: Vec<Transform>, shape: [usize; 3]) -> Augment {
    Augment::new(steps, shape, 255.0, 7).unwrap()
}

/// The different pictures that many epochs make.
fn outcomes(step: Transform, picture: &Picture) -> Vec<Vec<u8>> {
    let augment = augment(vec![step], picture.shape);
    let mut found: Vec<Vec<u8>> =
        (0..400).map(|epoch| augment.apply(epoch, 5, picture.clone()).pixels).collect();
    found.sort();
    found.dedup();
    found
}

#[test]
fn crops_are_all_windows_of_the_padded_picture() {
    let found = outcomes(Transform::Crop { size: [2, 2], pad: [1, 1] }, &counting([1, 2, 2]));
    let all = [
        [0, 0, 0, 1],
        [0, 0, 1, 2],
        [0, 0, 2, 0],
        [0, 1, 0, 3],
        [1, 2, 3, 4],
        [2, 0, 4, 0],
        [0, 3, 0, 0],
        [3, 4, 0, 0],
        [4, 0, 0, 0],
    ];
    let mut all = all.map(|window| window.to_vec()).to_vec();
    all.sort();
    assert_eq!(found, all);
    // A border wider than the picture: only parts of it are left, or nothing.
    assert!(outcomes(Transform::Crop { size: [1, 1], pad: [3, 0] }, &counting([1, 1, 1])).contains(&vec![0]));
}

#[test]
fn flips_are_two_pictures() {
    let picture = counting([1, 2, 2]);
    let pairs = [
        (Transform::FlipHorizontally { p: 0.5 }, vec![2, 1, 4, 3]),
        (Transform::FlipVertically { p: 0.5 }, vec![3, 4, 1, 2]),
    ];
    for (step, flipped) in pairs {
        assert_eq!(outcomes(step, &picture), [vec![1, 2, 3, 4], flipped]);
    }
    assert_eq!(outcomes(Transform::FlipHorizontally { p: 1.0 }, &picture), [[2, 1, 4, 3]]);
    assert_eq!(outcomes(Transform::FlipVertically { p: 0.0 }, &picture), [[1, 2, 3, 4]]);
    let mut odd = counting([2, 3, 1]);
    flip_vertically(&mut odd.pixels, odd.shape);
    assert_eq!(odd.pixels, [3, 2, 1, 6, 5, 4]);
}

/// Every step that moves pixels moves numbers as it does bytes.
#[test]
fn numbers_are_moved_as_bytes_are() {
    let picture = counting([2, 5, 4]);
    let numbers: Vec<Number> = picture.pixels.iter().map(|byte| f32::from(*byte).to_le_bytes()).collect();
    let steps = vec![
        Transform::Crop { size: [5, 4], pad: [1, 2] },
        Transform::FlipHorizontally { p: 0.5 },
        Transform::FlipVertically { p: 0.5 },
        Transform::Rotate { degrees: [-50.0, 50.0] },
        Transform::Affine {
            degrees: [-9.0, 9.0],
            translate: [0.2; 2],
            scale: [0.8, 1.2],
            shear: [-5.0, 5.0],
        },
        Transform::Erase { p: 1.0 },
    ];
    let augment = Augment::new(steps, picture.shape, 255.0, 5).unwrap();
    augment.check_numbers().unwrap();
    for image in 0..20 {
        let bytes = augment.apply(3, image, picture.clone()).pixels;
        let moved = augment.apply_to_numbers(3, image, picture.shape, numbers.clone());
        let moved: Vec<f32> = moved.into_iter().map(f32::from_le_bytes).collect();
        assert_eq!(moved, bytes.into_iter().map(f32::from).collect::<Vec<_>>());
    }
    let jitter = Transform::ColorJitter { brightness: Some([0.5, 1.5]), contrast: None, saturation: None };
    let error = Augment::new(vec![jitter], picture.shape, 1.0, 5).unwrap().check_numbers().unwrap_err();
    assert!(error.to_string().starts_with("`colorjitter` is for pictures of bytes"), "{error}");
}

#[test]
fn maps_stay_in_their_intervals() {
    let picture = counting([1, 3, 3]);
    assert_eq!(
        outcomes(Transform::Rotate { degrees: [90.0, 90.0] }, &picture),
        [[3, 6, 9, 2, 5, 8, 1, 4, 7]]
    );
    let still =
        |translate| Transform::Affine { degrees: [0.0; 2], translate, scale: [1.0; 2], shear: [0.0; 2] };
    assert_eq!(outcomes(still([0.0, 0.0]), &picture), std::slice::from_ref(&picture.pixels));
    // A third of the width is one pixel to each side.
    assert_eq!(outcomes(still([1.0 / 3.0, 0.0]), &picture).len(), 3);
    assert_eq!(outcomes(still([1.0 / 3.0, 1.0 / 3.0]), &picture).len(), 9);
}

#[test]
fn colours_change_in_their_intervals() {
    let brightness = Some([0.5, 0.5]);
    let step = Transform::ColorJitter { brightness, contrast: None, saturation: None };
    assert_eq!(outcomes(step, &Picture::new([1, 1, 2], vec![100, 7])), [[50, 3]]);
    // Brightness cuts what is too bright, so the order matters: two orders, two pictures.
    let step =
        Transform::ColorJitter { brightness: Some([2.0; 2]), contrast: Some([0.5; 2]), saturation: None };
    assert_eq!(outcomes(step, &Picture::new([1, 1, 2], vec![20, 200])), [[94, 201], [130, 255]]);
}

#[test]
fn erased_parts_are_inside() {
    let shape = [3, 20, 10];
    let always = augment(vec![Transform::Erase { p: 1.0 }], shape);
    for image in 0..500 {
        let rectangles: Vec<Rectangle> = always.erased(0, image, shape).collect();
        for Rectangle { top, left, height, width } in rectangles.iter().copied() {
            assert!(top + height <= 20 && left + width <= 10 && height < 20 && width < 10);
            assert!((1..=80).contains(&(height * width)), "{height} {width}");
        }
        assert_eq!(always.apply(0, image, counting([1, 2, 2])), counting([1, 2, 2]));
    }
    let half = augment(vec![Transform::Erase { p: 0.5 }], shape);
    let erased = (0..1000).filter(|image| half.erased(3, *image, shape).next().is_some()).count();
    assert!((400..600).contains(&erased), "{erased}");
}

#[test]
fn draws_depend_on_image_epoch_seed_and_place() {
    let steps =
        || vec![Transform::Crop { size: [8, 8], pad: [4, 4] }, Transform::Crop { size: [8, 8], pad: [4, 4] }];
    let picture = counting([1, 8, 8]);
    let first = augment(steps(), picture.shape);
    let same = first.apply(1, 2, picture.clone());
    assert_eq!(first.apply(1, 2, picture.clone()), same);
    assert_ne!(first.apply(2, 2, picture.clone()), same);
    assert_ne!(first.apply(1, 3, picture.clone()), same);
    let other = Augment::new(steps(), picture.shape, 255.0, 8).unwrap();
    assert_ne!(other.apply(1, 2, picture.clone()), same);
    let [first, second] = [0, 1].map(|step| other.draws(0, 0, step).bits());
    assert_ne!(first, second);
}

#[test]
fn what_does_not_fit() {
    let error = |step| Augment::new(vec![step], [1, 32, 32], 255.0, 0).unwrap_err().to_string();
    let crop = |size| error(Transform::Crop { size: [size, size], pad: [2, 2] });
    assert_eq!(
        crop(28),
        "`crop` makes pictures of 28×28 pixels (height×width), but `prepare` makes them 32×32, and validation \
         and test pictures would have another size; write `crop([32, 32], ...)`"
    );
    assert!(crop(40).contains("with its padding a picture is only 36×36"));
    let colour = Transform::ColorJitter { brightness: None, contrast: None, saturation: Some([0.5, 1.5]) };
    assert_eq!(
        error(colour),
        "`colorjitter` cannot change the saturation of pictures of 1 channels; leave it out"
    );
}

/// Targets that are pictures are moved as their images are; there were none.
#[test]
fn targets_are_moved_with_their_images() {
    let steps = vec![
        Transform::FlipHorizontally { p: 0.5 },
        Transform::Crop { size: [3, 4], pad: [1, 2] },
        Transform::ColorJitter { brightness: None, contrast: None, saturation: None },
        Transform::Rotate { degrees: [-90.0, 90.0] },
        Transform::FlipVertically { p: 0.5 },
    ];
    let shape = [1, 3, 4];
    let augment = Augment::new(steps, shape, 255.0, 3).unwrap();
    for (epoch, image) in (0..20).flat_map(|epoch| [(epoch, 0), (epoch, 7)]) {
        let changed = augment.apply(epoch, image, counting(shape));
        let places = augment.places(epoch, image, shape, &[3, 4]).unwrap();
        let of_places: Vec<u8> =
            places.iter().map(|place| place.map_or(0, |place| place as u8 + 1)).collect();
        assert_eq!(changed.pixels, of_places);
        assert_eq!(augment.places(epoch, image, shape, &[5, 3, 4]), Some(places));
        for other in [&[][..], &[4], &[4, 3], &[1, 1, 3, 4]] {
            assert_eq!(augment.places(epoch, image, shape, other), None);
        }
    }
    let still = Augment::new(vec![Transform::Erase { p: 1.0 }], shape, 255.0, 3).unwrap();
    assert_eq!(still.places(0, 0, shape, &[3, 4]), None);
}

#[test]
fn targets_that_cannot_be_moved() {
    let shape = [1, 8, 8];
    let check = |steps: Vec<Transform>, target: &[usize], expect: Option<&str>| {
        let checked = Augment::new(steps, shape, 255.0, 0).unwrap().check_targets(target, shape);
        assert_eq!(checked.err().map(|error| error.to_string()).as_deref(), expect);
    };
    let flip = || vec![Transform::Erase { p: 1.0 }, Transform::FlipVertically { p: 0.5 }];
    for target in [&[][..], &[4], &[8, 8], &[2, 8, 8]] {
        check(flip(), target, None);
    }
    check(vec![Transform::Erase { p: 1.0 }], &[2, 2], None);
    let message =
        "`vflip` moves the pixels of pictures, and the targets [4, 4] are of another size; leave it out";
    check(flip(), &[4, 4], Some(message));
    let mixed =
        |mix| Augment::new(vec![], shape, 255.0, 0).unwrap().with_mix(mix).check_targets(&[8, 8], shape);
    assert!(mixed(Mix::Blend { alpha: 1.0 }).is_ok());
    let message = "`cutmix` moves the pixels of pictures, and not those of the targets [8, 8]; leave it out";
    assert_eq!(mixed(Mix::Paste { alpha: 1.0 }).unwrap_err().to_string(), message);
}
