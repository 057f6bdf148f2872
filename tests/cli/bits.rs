//! Bits of whole runs: the weights after 20 steps, and predictions with them, at every level, as hashes.
//!
//! `tests/golden/runs.json` was written before the lower half of the compiler was rebuilt. What changes a hash changes the
//! bits of somebody's training; a commit that means to says why, and renews the hashes by
//!
//! ```text
//! GOLDEN=renew cargo test --test cli bits
//! ```

use std::collections::BTreeMap;
use std::path::Path;

use cnnc::base::files;
use cnnc::base::target::{Level, Target};

use crate::place::Place;

/// Models with their data and training, by their names.
const NETS: [(&str, &str); 4] = [
    (
        "plain",
        "model M(x: f32[N, 1, 8, 8]) -> f32[N, 10] {
           x |> conv(16, 3, pad=1) as c1 |> batchnorm as bn |> relu |> maxpool(2)
             |> conv(24, 3) as c2 |> relu |> dropout(0.2) |> flatten |> linear(10) as fc
         }
         data D { source = digits();  holdout = 0.1; }
         train M on D { loss = cross_entropy;  optim = adam(1e-3);  batch = 64;  epochs = 2;  seed = 3; }",
    ),
    (
        "residual",
        "block unit(x: f32[N, C, H, W]) -> f32[N, C, H, W] {
           let y = x |> conv(C, 3, pad=1, groups=C, bias=false) as depth |> groupnorm(2) as norm |> silu |> conv(C, 1) as point;
           x + y
         }
         model M(x: f32[N, 1, 8, 8]) -> f32[N, 10] {
           x |> conv(12, 3, stride=2, pad=1) as stem |> unit as a |> unit as b
             |> conv(20, 3, dilation=2, pad=2) as wide |> gelu |> globalavgpool |> flatten |> linear(10) as fc
         }
         data D { source = digits();  augment = crop(8, 1); }
         train M on D {
           loss = cross_entropy(label_smoothing=0.1);  optim = sgd(0.05, momentum=0.9, nesterov=true);
           schedule = cosine;  batch = 100;  epochs = 2;  seed = 5;
         }",
    ),
    (
        "tiles",
        "model M(x: f32[N, 3, 24, 24]) -> f32[N, 5] {
           x |> conv(32, 3, pad=1) as c1 |> relu |> conv(32, 3, pad=1) as c2 |> relu |> avgpool(2)
             |> conv(48, 3, pad=1) as c3 |> relu |> globalavgpool |> flatten |> linear(5) as fc
         }
         data D { source = synthetic(classes=5, size=[3, 24, 24], images=320, test=40); }
         train M on D { loss = cross_entropy;  optim = adamw(2e-3);  batch = 32;  epochs = 3;  seed = 7; }",
    ),
    (
        "odd",
        "model M(x: f32[N, 1, 8, 8]) -> f32[N, 10] {
           x |> conv(7, 5) as c |> tanh |> adaptiveavgpool(3) |> flatten |> linear(33) as f1 |> layernorm as norm
             |> sigmoid |> linear(10) as f2
         }
         data D { source = digits(); }
         train M on D {
           loss = cross_entropy;  optim = rmsprop(1e-3);  clip = norm(1.0);  batch = 13;  epochs = 1;  seed = 9;
         }",
    ),
];

/// The commands of a net at a level, and the files whose bytes count.
fn commands(level: &str) -> Vec<Vec<String>> {
    let words = |text: String| text.split(' ').map(str::to_owned).collect();
    vec![
        words(format!("run m.cnn --steps 20 --cpu {level} --out {level} --quiet")),
        words(format!("predict m.cnn test:0-19 --weights {level} --cpu {level} --output {level}/many.npy")),
        words(format!("predict m.cnn test:3 --weights {level} --cpu {level} --output {level}/one.npy")),
    ]
}

/// The bytes of tensors, without what stands before them.
fn tensors(bytes: &[u8]) -> &[u8] {
    let length = u64::from_le_bytes(*bytes.first_chunk().expect("a length"));
    &bytes[8 + length as usize..]
}

fn hashes(place: &Place, level: &str) -> String {
    for command in commands(level) {
        let words: Vec<&str> = command.iter().map(String::as_str).collect();
        place.good(&words);
    }
    let weights = place.read(&format!("{level}/model.safetensors"));
    let [many, one] = ["many", "one"].map(|name| place.read(&format!("{level}/{name}.npy")));
    [tensors(&weights), &many, &one].map(|bytes| files::hash_of(bytes)[..16].to_owned()).join(" ")
}

#[test]
fn bits_of_runs_are_what_they_were() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/runs.json");
    let text = std::fs::read_to_string(&path).unwrap_or("{}".into());
    let mut known: BTreeMap<String, String> = serde_json::from_str(&text).expect("hashes");
    let mut changed = Vec::new();
    for (name, text) in NETS {
        let place = Place::with("m.cnn", text);
        for level in [Level::Sse4, Level::Fma, Level::Avx2, Level::Avx512] {
            if level <= Target::host().level {
                let (way, found) = (format!("{name} {level}"), hashes(&place, &level.to_string()));
                if known.get(&way) != Some(&found) {
                    changed.push(way.clone());
                    known.insert(way, found);
                }
            }
        }
    }
    if std::env::var("GOLDEN").is_ok_and(|wish| wish == "renew") {
        let text = serde_json::to_string_pretty(&known).expect("JSON");
        return std::fs::write(path, text + "\n").expect("a written list");
    }
    assert!(changed.is_empty(), "changed: {}", changed.join(", "));
}
