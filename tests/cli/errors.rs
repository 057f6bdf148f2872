//! What goes wrong: exit codes and exact messages, and nothing half-written.

use crate::place::{Place, TINY, idx};

/// A tiny model of MNIST's files in `data`.
const IDX: &str = "\
model M(x: f32[N, 1, 4, 4]) -> f32[N, 3] { x |> flatten |> linear(3) as fc }
data D { source = idx(\"data\"); }
train M on D { loss = cross_entropy;  optim = sgd(0.1);  batch = 4;  epochs = 1; }
";

const NAMES: [&str; 4] = [
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
];

/// A folder with the model and its data.
fn with_data() -> Place {
    let place = Place::with("m.cnn", IDX);
    std::fs::create_dir(place.path("data")).expect("a folder");
    let images: Vec<u8> = (0..6 * 16).map(|pixel| (pixel % 251) as u8).collect();
    for [images_name, labels_name] in [[NAMES[0], NAMES[1]], [NAMES[2], NAMES[3]]] {
        place.write(&format!("data/{images_name}"), idx(&[6, 4, 4], &images));
        place.write(&format!("data/{labels_name}"), idx(&[6], &[0, 1, 2, 0, 1, 2]));
    }
    place
}

#[test]
fn data_in_a_folder_is_trained_on() {
    let place = with_data();
    let out = place.good(&["run", "m.cnn", "--out", "run"]);
    assert!(out.contains("\ntest accuracy "), "{out}");
    std::fs::rename(place.path("data"), place.path("elsewhere")).expect("a folder");
    place.good(&["run", "m.cnn", "--out", "other", "--data", "elsewhere"]);
    assert_eq!(place.read("run/model.safetensors"), place.read("other/model.safetensors"));
}

#[test]
fn missing_files() {
    let place = Place::tiny();
    place.bad(&["run", "no.cnn"], 1, "error: cannot read no.cnn: No such file or directory (os error 2)");
    let place = Place::with("m.cnn", IDX);
    let all = NAMES.join(", ");
    place.bad(
        &["run", "m.cnn"],
        1,
        &format!(
            "error: there is no folder data, which should hold {all}, each as it is or with .gz; \
             --data DIR names another one"
        ),
    );
    let place = with_data();
    std::fs::remove_file(place.path(&format!("data/{}", NAMES[3]))).expect("it is there");
    place.bad(
        &["run", "m.cnn", "--data", "data"],
        1,
        &format!(
            "error: no {} in the folder data; it should hold {all}, each as it is or with .gz",
            NAMES[3]
        ),
    );
}

#[test]
fn damaged_data() {
    let place = with_data();
    let name = format!("data/{}", NAMES[0]);
    let whole = place.read(&name);
    let damaged = |bytes: &[u8], problem: &str| {
        place.write(&name, bytes);
        place.bad(&["run", "m.cnn"], 1, &format!("error: {name}: {problem}"));
    };
    damaged(&whole[..50], "the file is cut off: its header claims 112 bytes, but it has 50");
    damaged(&whole[..7], "the file is cut off within its header");
    damaged(&[], "the file is too short for an IDX file");
    damaged(b"hello, world", "not an IDX file: it begins with 68 65 6c 6c, not with 00 00 08");
    damaged(&idx(&[u32::MAX, 4, 4], &[]), "the header claims [4294967295, 4, 4] elements, more than 4 GiB");
    place.write(&name, idx(&[5, 4, 4], &[0; 80]));
    let labels = NAMES[1];
    place.bad(&["run", "m.cnn"], 1, &format!("error: data/{labels}: 6 labels for the 5 images of {name}"));
}

#[test]
fn data_that_does_not_fit_the_model() {
    let place = with_data();
    place.write(&format!("data/{}", NAMES[3]), idx(&[6], &[0, 1, 2, 0, 1, 7]));
    place.bad(
        &["run", "m.cnn"],
        1,
        "error: data: label 7 of test image 5 is out of range: there are 3 classes, from 0",
    );
    let place = Place::with(
        "a.cnn",
        &TINY.replace("linear(10) as fc", "linear(9) as fc").replace("-> f32[N, 10]", ""),
    );
    place.bad(
        &["run", "a.cnn"],
        1,
        "error: label 9 of training image 25 is out of range: there are 9 classes, from 0",
    );
}

#[test]
fn a_loss_of_numbers_does_not_take_labels() {
    let place = Place::with("a.cnn", &TINY.replace("loss = cross_entropy", "loss = mse"));
    place.bad(
        &["run", "a.cnn"],
        1,
        "\
error: this loss compares numbers, but the data has labels of classes
 --> a.cnn:7:31
  |
7 | train Tiny on Digits { loss = mse;  optim = adam(1e-2);  batch = 100;  epochs = 2;  seed = 3; }
  |                               ^^^
  |
  = help: a loss for labels declares its second parameter as `i32[N]`",
    );
}

#[test]
fn command_lines() {
    let place = Place::tiny();
    let said = place.run(&["run", "tiny.cnn", "--bogus"]);
    assert_eq!(said.code, Some(2));
    assert!(said.err.starts_with("error: unexpected argument '--bogus' found\n"), "{}", said.err);
    assert_eq!(place.run(&["train", "tiny.cnn"]).code, Some(2));
    assert_eq!(place.run(&["run", "tiny.cnn", "--threads", "0"]).code, Some(2));
    assert_eq!(place.run(&["run", "tiny.cnn", "--out", "a", "--resume", "b"]).code, Some(2));
    let without_cards = "error: this build has no graphics cards; build it with `--features gpu`";
    if !cfg!(feature = "gpu") {
        place.bad(&["run", "tiny.cnn", "--device", "gpu"], 1, without_cards);
        assert!(place.good(&["devices"]).contains("gpu: this build has no graphics cards"));
    }
    let said = place.run(&["run", "tiny.cnn", "--device", "tpu"]);
    assert_eq!(said.code, Some(2));
    assert!(said.err.contains("known are cpu, gpu and gpu:NAME"), "{}", said.err);
    place.bad(
        &["run", "tiny.cnn", "--model", "Tony"],
        2,
        "error: tiny.cnn has no model `Tony`; it has Tiny; did you mean `Tiny`?",
    );
    place.bad(
        &["predict", "tiny.cnn"],
        2,
        "error: name pictures (files, or test:N), or raw inputs with --input",
    );
}

#[test]
fn several_models_need_a_choice() {
    let more = "train Tiny on Digits as Fast { loss = cross_entropy;  optim = sgd(0.1);  epochs = 1; }\n";
    let place = Place::with("a.cnn", &format!("{TINY}{more}"));
    place.bad(&["run", "a.cnn"], 2, "error: a.cnn has several models; choose one with --model: Fast, Tiny");
    place.good(&["run", "a.cnn", "--model", "Fast", "--steps", "1"]);
    assert!(place.path("runs/Fast-1").is_dir());
}

#[test]
fn settings_of_the_command_line() {
    let place = Place::tiny();
    place.bad(
        &["run", "tiny.cnn", "--batch", "0"],
        2,
        "\
error: `batch` is at least 1, not 0
 --> --set train.batch=0:1:20
  |
1 | data set { batch = 0; }
  |                    ^",
    );
    place.bad(
        &["run", "tiny.cnn", "--set", "batch=3"],
        2,
        "\
error: `--set batch=3` is not understood
 |
 = help: write `train.KEY=VALUE`, `data.KEY=VALUE` or `args.NAME=VALUE`",
    );
    let said = place.run(&["run", "tiny.cnn", "--set", "train.bach=3"]);
    assert_eq!(said.code, Some(2));
    assert!(said.err.starts_with("error: unknown key `bach` of a train section\n"), "{}", said.err);
    assert!(said.err.contains("= help: did you mean `batch`?"), "{}", said.err);
    place.good(&[
        "run",
        "tiny.cnn",
        "--set",
        "train.optim=sgd(0.1)",
        "--set",
        "data.holdout=100",
        "--steps",
        "1",
    ]);
}

#[test]
fn runs_that_cannot_begin() {
    let place = Place::trained();
    place.bad(
        &["run", "tiny.cnn", "--out", "run"],
        1,
        "error: run already exists; name a new folder, or go on with --resume run",
    );
    place.bad(&["run", "tiny.cnn", "--resume", "no"], 1, "error: no is no folder of a run");
    place.write("wrong.cnn", TINY.replace("conv(4, 3)", "conv(4, 9)"));
    let said = place.run(&["run", "wrong.cnn", "--out", "new"]);
    assert_eq!(said.code, Some(1));
    assert!(said.err.starts_with("error: conv 9×9 on 8×8 input: output height "), "{}", said.err);
    assert!(!place.path("new").exists());
    place.write("other.cnn", TINY.replace("conv(4, 3)", "conv(5, 3)"));
    let said = place.run(&["run", "other.cnn", "--resume", "run", "--allow-changes", "--epochs", "2"]);
    assert_eq!(said.code, Some(1));
    assert!(
        said.err.starts_with(
            "error: run/checkpoint: the weights do not fit the model\n  \
             `conv1.weight` is [4, 1, 3, 3] in the file and [5, 1, 3, 3] in the model\n"
        ),
        "{}",
        said.err
    );
}

/// A smaller last batch that cannot be trained ends the run before its first epoch, not after it.
#[test]
fn a_last_batch_of_one_is_found_at_the_beginning() {
    let text = TINY.replace("maxpool(2) |> flatten", "maxpool(6) |> flatten |> batchnorm as last");
    let place = Place::with("a.cnn", &text.replace("batch = 100", "batch = 479"));
    let said = place.run(&["run", "a.cnn"]);
    assert_eq!(said.code, Some(1));
    assert!(
        said.err.contains("batchnorm: in training it needs more than one value per channel"),
        "{}",
        said.err
    );
    assert_eq!(place.names(), ["a.cnn"]);
}

#[test]
fn a_loss_that_is_not_finite_keeps_the_weights_before_it() {
    let text = TINY.replace("|> batchnorm as bn ", "").replace("adam(1e-2)", "sgd(1e30)");
    let place = Place::with("a.cnn", &text);
    let said = place.run(&["run", "a.cnn", "--out", "run"]);
    assert_eq!(said.code, Some(1));
    let step = said.err.split(" in step ").nth(1).and_then(|rest| rest.split(' ').next()).expect("a step");
    let step: usize = step.parse().expect("a number");
    assert!(
        said.err.starts_with("error: the loss is ")
            && said.err.contains("A smaller learning rate often helps"),
        "{}",
        said.err
    );
    assert_eq!(place.text("run/steps.jsonl").lines().count(), step - 1);
    assert!(place.path("run/model.safetensors").is_file() && !place.path("run/final.json").exists());
    let before = (step - 1).to_string();
    place.good(&["run", "a.cnn", "--out", "before", "--steps", &before]);
    let weights = |run: &str| std::fs::read(place.path(run).join("model.safetensors")).expect("weights");
    assert!(weights("run") == weights("before"), "a step without a finite loss changed the weights");
}

#[test]
fn weights_that_do_not_fit() {
    let place = Place::trained();
    place.bad(
        &["predict", "tiny.cnn", "test:0"],
        2,
        "error: `Tiny` has parameters, so it needs --weights FILE; `cnnc run tiny.cnn` makes them",
    );
    place.good(&["run", "tiny.cnn", "--steps", "1"]);
    let hint = "error: `Tiny` has parameters, so it needs --weights FILE; the newest run has runs/Tiny-1/model.safetensors";
    place.bad(&["eval", "tiny.cnn"], 2, hint);
    place.bad(&["predict", "tiny.cnn", "test:0"], 2, hint);
    place.write("other.cnn", TINY.replace("conv(4, 3) as conv1", "conv(5, 3) as first"));
    place.bad(
        &["eval", "other.cnn", "--weights", "run/model.safetensors"],
        1,
        "\
error: run/model.safetensors: the weights do not fit the model
  `bn.running_mean` is [4] in the file and [5] in the model
  `bn.running_var` is [4] in the file and [5] in the model
  `bn.weight` is [4] in the file and [5] in the model
  `bn.bias` is [4] in the file and [5] in the model
  `fc.weight` is [10, 36] in the file and [10, 45] in the model
  `first.weight` is not in the file
  `first.bias` is not in the file
  `conv1.bias` of the file is not in the model
  `conv1.weight` of the file is not in the model
  they are weights of the model `Tiny`",
    );
    place.write("broken", "no weights");
    let said = place.run(&["run", "tiny.cnn", "--init", "broken", "--out", "new"]);
    assert_eq!(said.code, Some(1));
    assert!(said.err.starts_with("error: broken: not a usable safetensors file: "), "{}", said.err);
    assert!(!place.path("new").exists());
}

/// Weights of PyTorch have counters that nothing here needs.
#[test]
fn counters_of_pytorch_are_skipped() {
    let place = Place::trained();
    let file = place.read("run/model.safetensors");
    let tensors = safetensors::SafeTensors::deserialize(&file).expect("weights");
    let counter = 7_i64.to_le_bytes();
    let view =
        safetensors::tensor::TensorView::new(safetensors::Dtype::I64, vec![], &counter).expect("a tensor");
    let mut all = tensors.tensors();
    all.push(("bn.num_batches_tracked".into(), view));
    place.write("torch.safetensors", safetensors::serialize(all, None).expect("a file"));
    let figures = |weights: &str| place.good(&["eval", "tiny.cnn", "--json", "--weights", weights]);
    assert_eq!(figures("torch.safetensors"), figures("run/model.safetensors"));
}

/// `check` looks at what nothing calls, also in files that are used, and says nothing twice.
#[test]
fn items_that_nothing_calls_are_checked() {
    let place = Place::with(
        "m.cnn",
        &format!("use \"parts.cnn\";\nblock head(x: any) {{ x |> linaer(10) }}\n{TINY}"),
    );
    place.write(
        "parts.cnn",
        "block part(x: any) { x |> conv(4, 3, padd=1) }\nmodel Other(x: f32[N, C], k: int) { y }\n",
    );
    place.good(&["run", "m.cnn", "--epochs", "1", "--out", "run"]);
    let said = place.run(&["check", "m.cnn"]);
    assert_eq!(said.code, Some(1), "{}", said.err);
    let errors: Vec<&str> = said.err.lines().filter(|line| line.starts_with("error")).collect();
    let wanted = [
        "error: `conv` has no argument `padd`",
        "error: unknown name `y`",
        "error: unknown layer, op or function `linaer`",
    ];
    assert_eq!(errors, wanted);
    let place = Place::with("m.cnn", &TINY.replace("relu |> maxpool", "rleu |> maxpool"));
    let said = place.run(&["check", "m.cnn"]);
    assert_eq!(said.err.matches("unknown layer").count(), 1, "{}", said.err);
}

/// A gradient that no equation can name point by point is looked for among all of them; here these are too many. The
/// model alone is right.
#[test]
fn a_gradient_beyond_all_time_is_an_error_at_its_op() {
    let place = Place::with(
        "m.cnn",
        "op f(x: f32[N, C], w: f32[K]) -> y: f32[N, C] {
  y[n, i] = sum[j < 1048576] w[(i + j / 3 + j % 7) % K] * x[n, i];
}
block weigh(x: any) { param w: f32[1073741824] = 0.5;  f(x, w) }
model M(x: f32[N, C, H, W]) { x |> flatten |> weigh |> linear(2) }
data D { source = synthetic(classes=2, size=[1, 2, 2]); }
train M on D { loss = cross_entropy; optim = sgd(0.1); batch = 4; }
",
    );
    let error = "error: the gradient `f.wrt_w` is computed at 18014398509481984 points
 --> m.cnn:4:56
  |
4 | block weigh(x: any) { param w: f32[1073741824] = 0.5;  f(x, w) }
  |                                                        ^
  |
  = note: an equation is computed at 2^52 points at most
";
    place.bad(&["run", "m.cnn"], 1, error);
    place.bad(&["check", "m.cnn"], 1, &format!("{error}\nm.cnn: 1 error, 0 warnings"));
    place.good(&["emit", "m.cnn", "--model", "M"]);
}
