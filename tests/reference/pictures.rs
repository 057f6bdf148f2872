//! What is done to pictures: always in the same way, at random in training alone, and mixed.

use serde_json::Value;

use crate::place::idx;
use crate::reference::network::{COLUMNS, PIXELS, ROWS, Sample, Sums, Tensors, evaluate, norm, start};
use crate::reference::program::{
    HELD_OUT, IN_FILES, LOGGED, TEST, TRAIN, all_close, check, check_run, check_with, close, label, lines,
    losses, pixels, place, run, sample, sample_of, samples, training, with,
};
use crate::reference::trainer::{Phase, Training, sgd};

const LEFT: usize = TRAIN - HELD_OUT;
const SETTINGS: &str = "optim = sgd(0.2);  batch = 5;  epochs = 2;";

fn phases() -> Vec<Phase> {
    vec![Phase::new(2, 5, sgd(0.2, 0.0, 0.0))]
}

fn mirrored(sample: &Sample) -> Sample {
    let rows = sample.pixels.chunks(COLUMNS).flat_map(|row| row.iter().rev().copied().collect::<Vec<_>>());
    Sample { pixels: rows.collect(), ..sample.clone() }
}

fn upside_down(sample: &Sample) -> Sample {
    let rows = sample.pixels.chunks(COLUMNS).rev().flatten().copied();
    Sample { pixels: rows.collect(), ..sample.clone() }
}

/// Steps are done in their order, to all pictures.
#[test]
fn preparation() {
    let all: Vec<Sample> = (0..TRAIN + TEST)
        .map(|image| {
            let number = |byte: u8| ((f64::from(byte) / 255.0 * 3.0 - 0.4) / 0.3 - 0.5) * 0.25;
            Sample {
                pixels: pixels(image).into_iter().map(number).collect(),
                labels: vec![(label(image), 1.0)],
                weight: 1.0,
            }
        })
        .collect();
    let (train, val, test) = (&all[..LEFT], &all[LEFT..TRAIN], &all[TRAIN..]);
    let training = Training {
        train: train.to_vec(),
        val: val.to_vec(),
        test: test.to_vec(),
        phases: phases(),
        ..training()
    };
    let prepare = "scale(3) |> normalize(0.4, 0.3) |> normalize(0.5, 1) |> scale(0.25)";
    let flags = format!("data.prepare={prepare}");
    check_with(
        &["--set", &flags],
        "holdout = 6;  shuffle = false;",
        &format!("{LOGGED} {SETTINGS}"),
        &training,
    );
}

/// The middle of larger pictures, so many rows and columns of it, is the picture.
#[test]
fn the_middle() {
    let place = place("holdout = 6;  shuffle = false;", &format!("{LOGGED}  {SETTINGS}"));
    for (split, images) in [("train", IN_FILES.to_vec()), ("t10k", (TRAIN..TRAIN + TEST).collect())] {
        let (high, wide) = (ROWS + 2, COLUMNS + 4);
        let mut bytes = Vec::new();
        for image in images.iter().copied() {
            let inner = pixels(image);
            bytes.extend((0..high * wide).map(|at| match (at / wide, at % wide) {
                (row @ 1..=ROWS, column) if (2..COLUMNS + 2).contains(&column) => {
                    inner[(row - 1) * COLUMNS + column - 2]
                }
                _ => 255 - (at * 7 % 200) as u8,
            }));
        }
        let shape = [images.len() as u32, high as u32, wide as u32];
        place.write(&format!("data/{split}-images-idx3-ubyte"), idx(&shape, &bytes));
    }
    run(&place, "run", &["--set", "data.prepare=centercrop(4, 5) |> normalize(0.4, 0.3)"]);
    check_run(&place, &with(phases()));
}

/// Training pictures are mirrored, those held out and those of the test are not.
#[test]
fn changes_of_training_pictures() {
    let changed = |change: fn(&Sample) -> Sample| {
        let all = training();
        let phases = phases();
        Training { train: all.train.iter().map(change).collect(), phases, ..training() }
    };
    check("holdout = 6;  augment = hflip(1);", SETTINGS, &changed(mirrored));
    check("holdout = 6;  augment = vflip(1);", SETTINGS, &changed(upside_down));
    check(
        "holdout = 6;  augment = hflip(1) |> vflip(1);",
        SETTINGS,
        &changed(|sample| upside_down(&mirrored(sample))),
    );
    check(
        "holdout = 6;  augment = hflip(0) |> crop([4, 5], 0) |> vflip(0);",
        SETTINGS,
        &changed(Sample::clone),
    );
}

/// Which pictures are mirrored is drawn in each epoch, for each picture, by the seed.
#[test]
fn draws_are_those_of_the_epoch_and_the_seed() {
    let place = place(
        "holdout = 6;  shuffle = false;  augment = hflip(0.5);",
        "optim = sgd(0);  batch = 1;  epochs = 6;",
    );
    run(&place, "one", &[]);
    run(&place, "two", &["--seed", "1"]);
    let loss = |sample: &Sample| evaluate(&start(), std::slice::from_ref(sample)).0.loss;
    let mirrors = |out: &str| -> Vec<Vec<bool>> {
        let found = losses(&place, out, "train");
        let is_mirrored = |(at, found): (usize, &f64)| {
            let plain = sample(at);
            let (kept, turned) = (loss(&plain), loss(&mirrored(&plain)));
            assert!((kept - turned).abs() > 1e-4 && (kept - found).abs().min((turned - found).abs()) < 2e-5);
            (turned - found).abs() < 2e-5
        };
        found.chunks(LEFT).map(|epoch| epoch.iter().enumerate().map(is_mirrored).collect()).collect()
    };
    let mut all = [mirrors("one"), mirrors("two")].concat();
    let count = all.iter().flatten().filter(|mirrored| **mirrored).count();
    assert!(
        (2 * all.len() * LEFT / 5..3 * all.len() * LEFT / 5 + 1).contains(&count),
        "{count} of {}",
        all.len() * LEFT
    );
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 12, "{all:?}");
}

/// Steps on one picture draw independently: some are mirrored in one way, some in the other, some in both or none.
#[test]
fn steps_draw_their_own() {
    let settings = "optim = sgd(0);  batch = 1;  epochs = 4;";
    let place = place("holdout = 6;  shuffle = false;  augment = hflip(0.5) |> vflip(0.5);", settings);
    run(&place, "run", &[]);
    let mut counts = [0; 4];
    for (step, found) in losses(&place, "run", "train").into_iter().enumerate() {
        let plain = sample(step % LEFT);
        let turned = mirrored(&plain);
        let ways = [upside_down(&plain), upside_down(&turned), turned, plain];
        let is_near =
            |way: &Sample| (evaluate(&start(), std::slice::from_ref(way)).0.loss - found).abs() < 2e-5;
        counts[ways.iter().position(is_near).expect("one of four ways")] += 1;
    }
    assert!(counts.iter().all(|count| *count > 6), "{counts:?}");
}

/// Changes with one outcome, and those that are one of a few: each picture is one of them, and all of them come.
#[test]
fn changes_of_pixels() {
    let of = |image: usize, change: &dyn Fn(usize, usize) -> Option<usize>| {
        let bytes = pixels(image);
        let byte = |at: usize| change(at / COLUMNS, at % COLUMNS).map_or(0, |from| bytes[from]);
        sample_of(&(0..PIXELS).map(byte).collect::<Vec<u8>>(), label(image))
    };
    // What lies outside of the picture is black.
    let moved = |image: usize, [down, right]: [i64; 2]| {
        of(image, &|row, column| {
            let (row, column) = (row as i64 - down, column as i64 - right);
            let is_inside = (0..ROWS as i64).contains(&row) && (0..COLUMNS as i64).contains(&column);
            is_inside.then(|| row as usize * COLUMNS + column as usize)
        })
    };
    let turned = |image: usize| vec![of(image, &|row, column| Some(PIXELS - 1 - (row * COLUMNS + column)))];
    let all_shifts = |rows: i64, columns: i64| {
        move |image: usize| -> Vec<Sample> {
            let shifts = (-rows..=rows).flat_map(|down| (-columns..=columns).map(move |right| [down, right]));
            shifts.map(|shift| moved(image, shift)).collect()
        }
    };
    let halved = |image: usize| {
        let half: Vec<u8> = pixels(image).iter().map(|byte| byte / 2).collect();
        vec![sample_of(&half, label(image))]
    };
    let grey = |image: usize| {
        let mean = pixels(image).iter().map(|byte| f64::from(*byte)).sum::<f64>() / PIXELS as f64;
        vec![sample_of(&[mean.round() as u8; PIXELS], label(image))]
    };
    // Against the clock, as torchvision rotates: a pixel is the one that lies where it comes from.
    let rotated = |image: usize| {
        let (sine, cosine) = 40.0_f64.to_radians().sin_cos();
        let middle = [(ROWS as f64 - 1.0) / 2.0, (COLUMNS as f64 - 1.0) / 2.0];
        let from = |row: usize, column: usize| {
            let (y, x) = (row as f64 - middle[0], column as f64 - middle[1]);
            let (row, column) = (middle[0] + sine * x + cosine * y, middle[1] + cosine * x - sine * y);
            let (row, column) = (row.round() as i64, column.round() as i64);
            let is_inside = (0..ROWS as i64).contains(&row) && (0..COLUMNS as i64).contains(&column);
            is_inside.then(|| row as usize * COLUMNS + column as usize)
        };
        vec![of(image, &from)]
    };
    all_of("rotate([40, 40])", 1, &rotated);
    all_of("rotate([180, 180])", 1, &turned);
    all_of("affine([180, 180])", 1, &turned);
    all_of("colorjitter(brightness=[0.5, 0.5])", 1, &halved);
    all_of("colorjitter(contrast=[0, 0])", 1, &grey);
    all_of("crop([4, 5], [1, 0])", 3, &all_shifts(1, 0));
    all_of("crop([4, 5], 1)", 9, &all_shifts(1, 1));
    all_of("affine(0, translate=[0.8, 0])", 9, &all_shifts(0, 4));
    all_of("affine(0, translate=[0, 0.5])", 5, &all_shifts(2, 0));
}

/// A part is 0 for the network, the mean and not black.
#[test]
fn erased_parts() {
    let erased = |image: usize| -> Vec<Sample> {
        let erase = |part: Vec<usize>| {
            let mut sample = sample(image);
            part.into_iter().for_each(|pixel| sample.pixels[pixel] = 0.0);
            sample
        };
        rectangles().into_iter().filter(|part| part.len() < PIXELS / 2).map(erase).collect()
    };
    all_of("erase(1)", 15, &erased);
}

/// Each training picture of a few epochs is changed to one of the candidates, and at least so many of them are met.
fn all_of(augment: &str, least: usize, candidates: &dyn Fn(usize) -> Vec<Sample>) {
    let data = format!("holdout = 6;  shuffle = false;  augment = {augment};");
    let place = place(&data, "optim = sgd(0);  batch = 1;  epochs = 4;");
    run(&place, "run", &[]);
    let mut met = Vec::new();
    for (step, found) in losses(&place, "run", "train").into_iter().enumerate() {
        let distance = |way: &Sample| (evaluate(&start(), std::slice::from_ref(way)).0.loss - found).abs();
        let all: Vec<f64> = candidates(step % LEFT).iter().map(distance).collect();
        let nearest =
            (0..all.len()).min_by(|one, other| all[*one].total_cmp(&all[*other])).expect("a candidate");
        assert!(all[nearest] < 2e-5, "{augment}: step {step} has the loss {found}");
        met.push(nearest);
    }
    met.sort_unstable();
    met.dedup();
    assert!(met.len() >= least, "{augment}: {met:?}");
    let val: Vec<f64> =
        samples(LEFT..TRAIN).iter().map(|way| evaluate(&start(), std::slice::from_ref(way)).0.loss).collect();
    all_close(augment, &losses(&place, "run", "val"), &val.repeat(4));
}

/// A batch of pictures of which each is mixed with the one before it, the first with the last.
fn mixed(batch: &[Sample], share: f64) -> Vec<Sample> {
    let partner = |at: usize| &batch[(at + batch.len() - 1) % batch.len()];
    let mixed = |(at, sample): (usize, &Sample)| Sample {
        pixels: sample
            .pixels
            .iter()
            .zip(&partner(at).pixels)
            .map(|(x, y)| share * x + (1.0 - share) * y)
            .collect(),
        labels: vec![(sample.labels[0].0, share), (partner(at).labels[0].0, 1.0 - share)],
        weight: 1.0,
    };
    batch.iter().enumerate().map(mixed).collect()
}

/// The share by which the reference comes nearest to the loss and the norms of a step, and the figures with it.
fn share_of(batch: &[Sample], loss: f64, norms: &Value) -> (f64, Sums) {
    let distance = |share: f64| {
        let (sums, gradient): (Sums, Tensors) = evaluate(&start(), &mixed(batch, share));
        let norms =
            gradient.iter().map(|(name, values)| norm(values) - norms[*name].as_f64().expect("a norm"));
        norms.map(f64::abs).fold((sums.mean_loss() - loss).abs(), f64::max)
    };
    let nearest = |from: f64, step: f64| {
        let shares =
            (-1000..=1000).map(|at| from + f64::from(at) * step).filter(|share| (0.0..=1.0).contains(share));
        shares.min_by(|one, other| distance(*one).total_cmp(&distance(*other))).expect("a share")
    };
    let share = nearest(nearest(0.5, 5e-4), 1e-6);
    close("the loss and the norms of a mixed batch", distance(share), 0.0);
    (share, evaluate(&start(), &mixed(batch, share)).0)
}

/// The pictures, the labels, and the counts of right predictions are mixed by one share a batch; validation is not.
#[test]
fn mixed_pictures() {
    let settings = format!("{LOGGED}  optim = sgd(0);  batch = 5;  epochs = 3;");
    let place = place("holdout = 6;  shuffle = false;  augment = mixup(1);", &settings);
    run(&place, "run", &[]);
    let (losses_found, norms) = (losses(&place, "run", "train"), lines(&place, "run/gradients.jsonl"));
    let batches: Vec<Vec<Sample>> = samples(0..LEFT).chunks(5).map(<[Sample]>::to_vec).collect();
    let epochs = lines(&place, "run/metrics.jsonl");
    let mut shares = Vec::new();
    for (epoch, record) in epochs.iter().enumerate() {
        let mut sums = Sums::default();
        for (at, batch) in batches.iter().enumerate() {
            let step = epoch * batches.len() + at;
            let (share, found) = share_of(batch, losses_found[step], &norms[step]["norms"]);
            shares.push(share);
            sums.add(&found);
        }
        let number = |key: &str| record[key].as_f64().expect("a figure");
        close("train_loss", number("train_loss"), sums.mean_loss());
        close("train_accuracy", number("train_accuracy"), sums.correct / sums.samples);
        close("train_top2_accuracy", number("train_top2_accuracy"), sums.in_top / sums.samples);
    }
    shares.sort_by(f64::total_cmp);
    assert!(shares.windows(2).all(|pair| pair[1] - pair[0] > 1e-4), "a share a batch: {shares:?}");
    assert!(shares[0] < 0.4 && shares[shares.len() - 1] > 0.6, "{shares:?}");
    let val: Vec<f64> =
        samples(LEFT..TRAIN).chunks(5).map(|batch| evaluate(&start(), batch).0.mean_loss()).collect();
    all_close("val", &losses(&place, "run", "val"), &val.repeat(3));
}

/// A rectangle of another picture has the share of the label that it has of the pixels.
#[test]
fn pasted_pictures() {
    let settings = "log = [gradients];  optim = sgd(0);  batch = 2;  epochs = 8;";
    let place = place("holdout = 6;  shuffle = false;  augment = cutmix(1);", settings);
    run(&place, "run", &[]);
    let all = samples(0..LEFT);
    let mut seen = Vec::new();
    for (step, found) in losses(&place, "run", "train").into_iter().enumerate() {
        let first = step % LEFT.div_ceil(2) * 2;
        let batch = &all[first..LEFT.min(first + 2)];
        let candidates =
            rectangles().into_iter().map(|part| (part.len(), evaluate(&start(), &pasted(batch, &part)).0));
        let nearest = candidates.min_by(|(_, one), (_, other)| {
            (one.mean_loss() - found).abs().total_cmp(&(other.mean_loss() - found).abs())
        });
        let (count, sums) = nearest.expect("a rectangle");
        close("the loss of a pasted batch", found, sums.mean_loss());
        seen.push(count);
    }
    seen.sort_unstable();
    seen.dedup();
    assert!(seen.len() > 2, "{seen:?}");
}

/// The pixels of all rectangles, the empty one among them.
fn rectangles() -> Vec<Vec<usize>> {
    let mut all = vec![Vec::new()];
    let rows = PIXELS / COLUMNS;
    for (top, bottom) in (0..rows).flat_map(|top| (top + 1..=rows).map(move |bottom| (top, bottom))) {
        for (left, right) in
            (0..COLUMNS).flat_map(|left| (left + 1..=COLUMNS).map(move |right| (left, right)))
        {
            all.push(
                (top..bottom)
                    .flat_map(|row| (left..right).map(move |column| row * COLUMNS + column))
                    .collect(),
            );
        }
    }
    all
}

fn pasted(batch: &[Sample], part: &[usize]) -> Vec<Sample> {
    let share = 1.0 - part.len() as f64 / PIXELS as f64;
    let paste = |(at, sample): (usize, &Sample)| {
        let partner = &batch[(at + batch.len() - 1) % batch.len()];
        let mut pixels = sample.pixels.clone();
        part.iter().for_each(|pixel| pixels[*pixel] = partner.pixels[*pixel]);
        Sample {
            pixels,
            labels: vec![(sample.labels[0].0, share), (partner.labels[0].0, 1.0 - share)],
            weight: 1.0,
        }
    };
    batch.iter().enumerate().map(paste).collect()
}
