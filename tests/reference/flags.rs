//! Every flag has its effect.

use crate::place::Place;
use crate::reference::network::{CLASSES, COLUMNS, MODEL, PIXELS, ROWS, evaluate, probabilities, start};
use crate::reference::program::{
    DATA, HELD_OUT, LOGGED, TEST, TRAIN, all_close, check_run, check_test, check_with, close, json, label,
    lines, losses, place, run, sample, samples, text, training, weights, with, write_pictures,
};
use crate::reference::trainer::{Phase, Training, adam, sgd};

const LEFT: usize = TRAIN - HELD_OUT;

/// What flags and `--set` give stands for all phases and for the data; of two, the last one counts.
#[test]
fn settings() {
    let sections = format!(
        "{LOGGED}  batch = 2;  epochs = 9;  optim = adam(0.5);
         phase one {{ epochs = 7; }} phase two {{ batch = 3;  optim = adam(0.7);  clip = norm(9); }}"
    );
    let started = std::time::Instant::now();
    let flags = [
        ["--epochs", "2"],
        ["--batch", "5"],
        ["--set", "train.optim=sgd(9)"],
        ["--set", "train.optim=sgd(0.2, momentum=0.9)"],
        ["--set", "data.holdout=6"],
        ["--set", "data.shuffle=false"],
    ];
    let phase = || Phase::new(2, 5, sgd(0.2, 0.9, 0.0));
    let training = with(vec![phase(), phase()]);
    let (place, _) = check_with(flags.as_flattened(), "holdout = 2;", &sections, &training);
    let epochs = lines(&place, "run/metrics.jsonl");
    let seconds: f64 = epochs.iter().map(|epoch| epoch["seconds"].as_f64().expect("a time")).sum();
    assert!(seconds > 0.0 && seconds < started.elapsed().as_secs_f64(), "{seconds} s");
}

/// A run that ends within an epoch has figures of its part, and the test.
#[test]
fn steps() {
    let settings = format!("{LOGGED}  optim = sgd(0.2);  batch = 5;  epochs = 3;  schedule = linear;");
    let place = place("holdout = 6;  shuffle = false;", &settings);
    run(&place, "run", &["--steps", "6"]);
    let factor = |step: usize, steps: usize, _: usize| 1.0 - step as f64 / steps as f64;
    let phase = Phase { factor, ..Phase::new(3, 5, sgd(0.2, 0.0, 0.0)) };
    let whole = with(vec![phase]).run();
    all_close("a loss", &losses(&place, "run", "train"), &whole.losses[..6]);
    let last = &lines(&place, "run/metrics.jsonl")[1];
    let number = |key: &str| last[key].as_f64().expect("a figure");
    close("train_loss", number("train_loss"), (whole.losses[4] + whole.losses[5]) / 2.0);
    close("learning_rate", number("learning_rate"), 0.2 * (1.0 - 5.0 / 12.0));
    assert_eq!(lines(&place, "run/metrics.jsonl").len(), 2);
    assert!((number("images_per_second") * number("seconds") - 10.0).abs() < 1e-6);
}

/// Another folder of pictures, and one of several train sections.
#[test]
fn places_and_names() {
    let place = Place::new();
    let (train, test): (Vec<usize>, Vec<usize>) = ((0..LEFT).collect(), (TRAIN..TRAIN + TEST).collect());
    write_pictures(&place, "elsewhere", &train, &test);
    place.write("start.safetensors", weights(&start()));
    let sections = format!(
        "{MODEL}data D {{ {DATA}  shuffle = false; }}
         train Net on D {{ loss = cross_entropy;  {LOGGED}  optim = sgd(0.2);  epochs = 2; }}
         train Net on D as Other {{ loss = cross_entropy;  {LOGGED}  optim = adam(0.05);  batch = 4;  epochs = 3; }}"
    );
    place.write("net.cnn", sections);
    let training =
        |phase: Phase| Training { val: samples(TRAIN..TRAIN + TEST), phases: vec![phase], ..training() };
    run(&place, "run", &["--data", "elsewhere", "--model", "Other"]);
    check_run(&place, &training(Phase::new(3, 4, adam(0.05, 0.0))));
    std::fs::remove_dir_all(place.path("run")).expect("it was made");
    run(&place, "run", &["--data", "elsewhere", "--model", "Net"]);
    check_run(&place, &training(Phase::new(2, LEFT, sgd(0.2, 0.0, 0.0))));
    // The folder that the section names is looked for without the flag.
    assert_eq!(place.run(&["run", "net.cnn", "--model", "Net"]).code, Some(1));
}

/// Data and weights that a file names lie beside it, wherever the command is started.
#[test]
fn paths_of_the_file() {
    let place = Place::new();
    let (train, test): (Vec<usize>, Vec<usize>) = ((0..LEFT).collect(), (TRAIN..TRAIN + TEST).collect());
    write_pictures(&place, "inside/data", &train, &test);
    place.write("inside/start.safetensors", weights(&start()));
    let settings =
        format!("{LOGGED}  optim = sgd(0.2);  epochs = 2;  weights = load(\"start.safetensors\");");
    place.write("inside/net.cnn", text("shuffle = false;", &settings));
    place.good(&["run", "inside/net.cnn", "--out", "run"]);
    let training =
        Training { val: samples(TRAIN..TRAIN + TEST), ..with(vec![Phase::new(2, LEFT, sgd(0.2, 0.0, 0.0))]) };
    check_run(&place, &training);
}

/// As many pictures, classes and channels as a made-up data set is asked for, those of its seed.
#[test]
fn synthetic_data() {
    let text = "model S(x: f32[N, 2, 4, 5]) -> f32[N, 3] { x |> flatten |> linear(3) as fc }
data D { source = synthetic(classes=3, size=[2, 4, 5], images=7, test=5);  shuffle = false; }
train S on D { loss = cross_entropy;  optim = sgd(0);  batch = 1;  epochs = 1; }";
    let place = Place::with("s.cnn", text);
    let run = |out: &str, source: &str| {
        place.good(&["run", "s.cnn", "--out", out, "--set", &format!("data.source={source}")]);
        [losses(&place, out, "train"), losses(&place, out, "test")]
    };
    let one = run("one", "synthetic(classes=3, size=[2, 4, 5], images=7, test=5)");
    let zero = run("zero", "synthetic(classes=3, size=[2, 4, 5], images=7, test=5, seed=0)");
    let other = run("other", "synthetic(classes=3, size=[2, 4, 5], images=7, test=5, seed=1)");
    assert_eq!((one[0].len(), one[1].len(), &zero), (7, 10, &one));
    assert!(one.iter().flatten().zip(other.iter().flatten()).all(|(one, other)| one != other));
    place.good(&[
        "run",
        "s.cnn",
        "--out",
        "few",
        "--set",
        "data.source=synthetic(classes=2, size=[2, 4, 5])",
    ]);
    assert_eq!([losses(&place, "few", "train").len(), losses(&place, "few", "test").len()], [1000, 400]);
}

/// Arguments of the model, from the command line in place of those of the section.
#[test]
fn arguments_of_the_model() {
    let text = "model W(x: f32[N, 1, 8, 8], width: int, classes: int = 3) -> f32[N, classes] {
  x |> flatten |> linear(width) as a |> linear(classes) as b
}
data D { source = digits(); }
train W(width = 7) on D { loss = cross_entropy;  optim = sgd(0.1); }";
    let place = Place::with("w.cnn", text);
    let parameters = |more: &[&str]| {
        json(&place.good(&[&["summary", "w.cnn", "--json"], more].concat()))["parameters"].as_u64()
    };
    let wanted = |width: u64, classes: u64| Some(65 * width + (width + 1) * classes);
    assert_eq!(parameters(&[]), wanted(7, 3));
    assert_eq!(parameters(&["--set", "args.width=9"]), wanted(9, 3));
    assert_eq!(parameters(&["--set", "args.classes=10"]), wanted(7, 10));
    assert_eq!(parameters(&["--set", "args.width=5", "--set", "args.classes=11"]), wanted(5, 11));
}

/// The test split, whatever is held out and however many at once; the matrix has a row a label.
#[test]
fn eval() {
    let place = place(
        "holdout = 6;  classes = [\"cat\", \"dog\", \"owl\"];",
        "optim = sgd(0.1);  metrics = [accuracy, top(2)];",
    );
    let sums = evaluate(&start(), &samples(TRAIN..TRAIN + TEST)).0;
    let rows = sums.confusion;
    assert!((0..3).any(|i| (0..3).any(|j| rows[i][j] != rows[j][i])), "{rows:?} is symmetric");
    let eval =
        |more: &[&str]| place.good(&[&["eval", "net.cnn", "--weights", "start.safetensors"], more].concat());
    for batch in ["1", "3", "8", "100"] {
        let found = json(&eval(&["--json", "--confusion", "--batch", batch]));
        check_test(&found, &sums);
        assert_eq!(found["images"], TEST);
    }
    assert!(json(&eval(&["--json"]))["confusion"].is_null());
    let text = eval(&["--confusion"]);
    let shown: Vec<Vec<String>> = text
        .lines()
        .skip_while(|line| !line.starts_with('─'))
        .skip(1)
        .take(CLASSES)
        .map(|line| line.split_whitespace().skip(1).map(|cell| cell.replace('·', "0")).collect())
        .collect();
    assert_eq!(shown, rows.map(|row| row.map(|count| count.to_string()).to_vec()));
    let titles = text.lines().find(|line| line.contains("taken for")).expect("titles");
    assert_eq!(titles.split_whitespace().skip(4).collect::<Vec<_>>(), ["cat", "dog", "owl"]);
    let line = |name: &str| {
        let line =
            text.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("no {name}: {text}"));
        line[name.len()..].trim().trim_end_matches(" %").parse::<f64>().expect("a number")
    };
    assert!((line("loss") - sums.mean_loss()).abs() < 1e-3, "{text}");
    assert!((line("accuracy") - 100.0 * sums.correct / 8.0).abs() < 1e-2, "{text}");
    assert!((line("top 2") - 100.0 * sums.in_top / 8.0).abs() < 1e-2, "{text}");
    assert!(!eval(&[]).contains("taken for"));
}

/// Without `fast_math` a convolution is its sum, which rounds otherwise than tiles, and the same in every run.
#[test]
fn fast_math() {
    let text = "model C(x: f32[N, 1, 8, 8]) -> f32[N, 10] {
  x |> conv(16, 3, pad=1) as a |> relu |> conv(16, 3, pad=1) as b |> flatten |> linear(10) as c
}
data D { source = digits(); }
train C on D { loss = cross_entropy;  optim = sgd(0.1);  batch = 64; }";
    let place = Place::with("c.cnn", text);
    let weights = |out: &str, value: &str| {
        place.good(&[
            "run",
            "c.cnn",
            "--steps",
            "2",
            "--out",
            out,
            "--set",
            &format!("train.fast_math={value}"),
        ]);
        place.read(&format!("{out}/model.safetensors"))
    };
    let (fast, exact) = (weights("fast", "true"), weights("exact", "false"));
    assert!(fast != exact && exact == weights("again", "false"));
    place.good(&["run", "c.cnn", "--steps", "2", "--out", "default"]);
    assert_eq!(place.read("default/model.safetensors"), fast);
}

/// The best classes first, as many as are asked for, under the names of the section.
#[test]
fn predictions() {
    let place = place("holdout = 6;  classes = [\"cat\", \"dog\", \"owl\"];", "optim = sgd(0.1);");
    let names = ["cat", "dog", "owl"];
    let predict = |more: &[&str]| {
        let common = ["predict", "net.cnn", "--weights", "start.safetensors", "test:2", "train:5"];
        place.good(&[&common[..], more].concat())
    };
    for top in [1, 2, 3] {
        let said = predict(&["--json", "--top", &top.to_string()]);
        let found: Vec<_> = said.lines().map(json).collect();
        for (line, (name, image)) in found.iter().zip([("test:2", TRAIN + 2), ("train:5", 5)]) {
            assert_eq!(
                (line["picture"].as_str(), line["label"].as_str()),
                (Some(name), Some(names[label(image)]))
            );
            let mut wanted: Vec<(usize, f64)> =
                probabilities(&start(), &sample(image).pixels).into_iter().enumerate().collect();
            wanted.sort_by(|one, other| other.1.total_cmp(&one.1));
            let classes = line["classes"].as_array().expect("classes");
            assert_eq!(classes.len(), top);
            for (class, (number, probability)) in classes.iter().zip(wanted) {
                assert_eq!(
                    (class["class"].as_u64(), class["name"].as_str()),
                    (Some(number as u64), Some(names[number]))
                );
                close("a probability", class["probability"].as_f64().expect("a number"), probability);
            }
        }
    }
    let text = predict(&["--top", "1"]);
    let sure = probabilities(&start(), &sample(5).pixels).into_iter().enumerate();
    let (class, share) = sure.max_by(|one, other| one.1.total_cmp(&other.1)).expect("a class");
    let wanted =
        format!("train:5      {} {:.2} %   (labelled {})", names[class], 100.0 * share, names[label(5)]);
    assert_eq!(text.lines().nth(1), Some(wanted.as_str()));
    // Three classes are named by default.
    assert_eq!(predict(&[]).lines().map(|line| line.matches('%').count()).collect::<Vec<_>>(), [3, 3]);
}

/// A `.npy` file of numbers of `f32`.
fn npy(shape: &str, numbers: &[f32]) -> Vec<u8> {
    let header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({shape}), }}");
    let header = format!("{header:<117}\n");
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.as_bytes());
    bytes.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
    bytes
}

/// Raw inputs are not prepared, and go through the model in parts of the batch that is asked for, the last one smaller.
#[test]
fn raw_inputs() {
    let place = place("", "optim = sgd(0.1);  batch = 3;");
    let inputs: Vec<f32> = (0..7 * PIXELS).map(|at| ((at * 31 % 17) as f32 - 8.0) / 8.0).collect();
    place.write("x.npy", npy(&format!("7, 1, {ROWS}, {COLUMNS}"), &inputs));
    let wanted: Vec<f64> = inputs
        .chunks(PIXELS)
        .flat_map(|pixels| probabilities(&start(), &pixels.iter().map(|x| f64::from(*x)).collect::<Vec<_>>()))
        .collect();
    for batch in [&[][..], &["--batch", "1"], &["--batch", "4"], &["--batch", "50"]] {
        let common =
            ["predict", "net.cnn", "--weights", "start.safetensors", "--input", "x.npy", "--output", "y.npy"];
        place.good(&[&common[..], batch].concat());
        let bytes = place.read("y.npy");
        let scores: Vec<f64> = bytes[bytes.len() - 7 * 3 * 4..]
            .as_chunks()
            .0
            .iter()
            .map(|bytes| f64::from(f32::from_le_bytes(*bytes)))
            .collect();
        assert!(String::from_utf8_lossy(&bytes).contains("(7, 3)"), "{batch:?}");
        let found: Vec<f64> = scores
            .chunks(3)
            .flat_map(|scores| {
                let total: f64 = scores.iter().map(|score| score.exp()).sum();
                scores.iter().map(move |score| score.exp() / total)
            })
            .collect();
        all_close("a probability", &found, &wanted);
    }
}

/// The batch and the kind of the graph that is printed: a training step by default, of the section's batch.
#[test]
fn graphs() {
    let place = place("", "optim = sgd(0.1);  batch = 6;");
    let emit = |more: &[&str]| place.good(&[&["emit", "net.cnn"], more].concat());
    for (flags, batch) in [(&[][..], 6), (&["--batch", "9"], 9)] {
        let (step, inference) = (emit(flags), emit(&[&["--mode", "infer"], flags].concat()));
        for graph in [&step, &inference] {
            assert!(graph.contains(&format!("f32[{batch}, 1, {ROWS}, {COLUMNS}] data")), "{graph}");
        }
        assert!(step.contains("cross_entropy") && !inference.contains("cross_entropy"), "{inference}");
    }
}

/// Threads, the vector level and the batch of what is measured, and the arithmetic of a prediction: a multiply-add is two.
#[test]
fn measurements() {
    let place = place("", "optim = sgd(0.1);  batch = 6;");
    let said = |arguments: &[&str]| json(&place.good(&[arguments, &["net.cnn", "--json"]].concat()));
    for (threads, batch) in [("1", "4"), ("3", "2")] {
        let flags = ["--threads", threads, "--batch", batch, "--cpu", "sse4"];
        let found = said(&[&["profile"][..], &flags].concat());
        assert_eq!(found["threads"].to_string(), threads);
        assert_eq!((found["batch"].to_string().as_str(), found["level"].as_str()), (batch, Some("sse4")));
    }
    let found = said(&["profile", "--threads", "1"]);
    let number = |value: &serde_json::Value, key: &str| value[key].as_f64().expect("a number");
    for kernel in found["kernels"].as_array().expect("kernels") {
        let seconds = number(kernel, "milliseconds") * 1e-3;
        let (gflop, gigabytes) = (number(kernel, "gflop"), number(kernel, "megabytes") * 1e-3);
        let least = (gflop / number(&found, "peak_gflops"))
            .max(gigabytes / number(&found, "memory_gigabytes_per_second"));
        for (key, wanted) in [
            ("gflops", gflop / seconds),
            ("gigabytes_per_second", gigabytes / seconds),
            ("of_roofline", least / seconds),
            ("share", seconds / (number(&found, "step_ms") * 1e-3)),
        ] {
            assert!((number(kernel, key) - wanted).abs() <= 1e-9 * wanted, "{key} of {kernel}");
        }
    }
    let text = place.good(&["profile", "net.cnn", "--top", "2", "--threads", "1"]);
    let rows =
        text.lines().skip_while(|line| !line.starts_with('─')).skip(1).take_while(|line| !line.is_empty());
    assert_eq!(rows.count(), 2, "{text}");
    let found = said(&["bench", "--mode", "infer", "--threads", "2"]);
    assert_eq!((found["threads"].as_u64(), found["batch"].as_u64()), (Some(2), Some(6)));
    let macs = json(&place.good(&["summary", "net.cnn", "--json", "--batch", "6"]))["macs"].as_f64();
    assert_eq!(macs, Some((6 * 5 * (PIXELS + 3)) as f64));
    let gflop = found["infer_gflop"].as_f64().expect("a number");
    assert!((gflop / (2e-9 * macs.expect("a count")) - 1.0).abs() < 1e-9, "{found}");
    let milliseconds = found["infer_ms"]["min"].as_f64().expect("a time");
    let rate = found["infer_gflops"].as_f64().expect("a number");
    assert!((rate * milliseconds * 1e-3 / gflop - 1.0).abs() < 1e-9, "{found}");
}
