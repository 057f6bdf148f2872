//! Pairs of flags: what a run was begun with, and what it is resumed with. It goes on to the bits of an uninterrupted run,
//! or it is refused with the names of what differs.

use std::collections::BTreeMap;

use crate::place::{Place, Said};

const NET: &str = "\
use \"parts.cnn\";

model Net(x: f32[N, 1, 8, 8], width: int = 4) -> f32[N, 10] {
  x |> part(width) |> flatten |> dropout(0.2) |> linear(10)
}

data Digits { source = digits(); holdout = 300; }

train Net on Digits { loss = cross_entropy; optim = adam(1e-2); batch = 150; epochs = 2; save = best(val.loss); }
";

const PARTS: &str =
    "block part(x: f32[N, 1, 8, 8], width: int) { x |> conv(width, 3) |> relu |> maxpool(2) }\n";

/// Flags that make another run, and what a refusal calls the difference.
const SETTINGS: [(&[&str], &str); 12] = [
    (&["--batch", "120"], "train.batch: "),
    (&["--seed", "7"], "train.seed: "),
    (&["--set", "train.optim=sgd(0.1, momentum=0.9)"], "train.optim: "),
    (&["--set", "train.schedule=cosine()"], "train.schedule: "),
    (&["--set", "train.decay=weights"], "train.decay: "),
    (&["--set", "train.clip=norm(0.1)"], "train.clip: "),
    (&["--set", "train.fast_math=false"], "train.fast_math: "),
    (&["--set", "data.holdout=200"], "data.holdout: "),
    (&["--set", "data.drop_last=true"], "data.drop_last: "),
    (&["--set", "data.prepare=scale(0.5)"], "data.prepare: "),
    (&["--set", "args.width=3"], "args.width: "),
    (&["--cpu", "sse4"], "level: "),
];

/// Flags that change no bit.
const FREE: [&[&str]; 5] = [&[], &["--threads", "1"], &["--threads", "2"], &["--time"], &["--json"]];

/// How a run is cut short: `--steps`, in an epoch, at its end, in the next one, or not at all.
const CUTS: [&[&str]; 5] = [&["--steps", "1"], &["--steps", "5"], &["--steps", "8"], &["--steps", "11"], &[]];

struct Random(u64);

impl Random {
    fn below(&mut self, count: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % count
    }
}

/// The weights and records of a run, without times.
fn bits(place: &Place, folder: &str) -> (Vec<u8>, String, Vec<String>, String) {
    let text = |name: &str| place.text(&format!("{folder}/{name}"));
    let metrics = text("metrics.jsonl");
    let timeless = |line: &str| {
        let mut value: serde_json::Value = serde_json::from_str(line).expect("JSON");
        value["seconds"] = 0.into();
        value["images_per_second"] = 0.into();
        value.to_string()
    };
    let weights = place.read(&format!("{folder}/model.safetensors"));
    (weights, text("steps.jsonl"), metrics.lines().map(timeless).collect(), text("final.json"))
}

fn pairs(count: usize, seed: u64) {
    let place = Place::with("net.cnn", NET);
    place.write("parts.cnn", PARTS);
    let mut random = Random(seed);
    let mut whole: BTreeMap<Option<usize>, _> = BTreeMap::new();
    let (mut refused, mut misfits) = (0, 0);
    for number in 0..count {
        let first = Some(random.below(2 * SETTINGS.len())).filter(|at| *at < SETTINGS.len());
        let second = Some(random.below(2 * SETTINGS.len())).filter(|at| *at < SETTINGS.len());
        let flags = |at: Option<usize>| at.map_or(&[][..], |at| SETTINGS[at].0);
        let expected = whole.entry(first).or_insert_with(|| {
            let out = format!("whole{}", first.map_or(99, |at| at));
            place.good(&[&["run", "net.cnn", "--out", &out][..], flags(first)].concat());
            bits(&place, &out)
        });
        let (cut, free) = (CUTS[random.below(CUTS.len())], FREE[random.below(FREE.len())]);
        let out = format!("run{number}");
        place.good(&[&["run", "net.cnn", "--out", &out][..], flags(first), cut].concat());
        // Whether the file is named again or not.
        let file: &[&str] =
            if random.below(2) == 0 { &["run", "--resume"] } else { &["run", "net.cnn", "--resume"] };
        let resume = [file, &[out.as_str()], flags(second), free].concat();
        let said: Said = place.run(&resume);
        let is_same = second.is_none_or(|second| first == Some(second));
        let what = format!("{first:?} {cut:?}, then {resume:?}: {}", said.err);
        if is_same {
            assert_eq!(said.code, Some(0), "{what}");
            assert_eq!(bits(&place, &out), *expected, "{what}");
        } else {
            refused += 1;
            assert_eq!((said.code, said.out.as_str()), (Some(1), ""), "{what}");
            let name = SETTINGS[second.expect("it differs")].1;
            assert!(
                said.err.starts_with("error: this is not the run in run") && said.err.contains(name),
                "{what}"
            );
            // Nothing has changed.
            place.good(&["run", "--resume", &out]);
            assert_eq!(bits(&place, &out), *expected, "after {what}");
            let allowed = place.run(&[&resume[..], &["--allow-changes", "--epochs", "3"]].concat());
            // Weights of another shape and the states of another optimiser are no checkpoint of this run, whatever is allowed.
            let is_misfit =
                allowed.code == Some(1) && allowed.err.contains("the weights do not fit the model\n  `");
            assert!(allowed.code == Some(0) || is_misfit, "{what}: {}", allowed.err);
            misfits += u64::from(is_misfit);
        }
        std::fs::remove_dir_all(place.path(&out)).expect("a folder");
    }
    assert!(refused >= count / 8 && refused < count, "{refused} of {count} are refused");
    assert!(misfits < refused as u64 / 2, "{misfits} of {refused} do not fit");
}

/// Another learning rate, batch, seed or activation went on in silence.
#[test]
fn pairs_of_flags() {
    pairs(30, 1);
}

#[test]
#[ignore = "three hundred pairs, 3 minutes"]
fn many_pairs_of_flags() {
    pairs(300, 2);
}
