//! Commands, flags, files and names that are others than those that are meant: one line each that helps.

use crate::place::{Place, TINY};

/// Says what is wrong with a command line, exactly, with exit code 2.
#[track_caller]
fn usage(place: &Place, arguments: &[&str], message: &str) {
    place.bad(arguments, 2, &format!("error: {message}"));
}

/// Today these are "unrecognized subcommand 'train'" and "unexpected argument '--lr' found".
#[test]
fn commands_and_flags_of_other_programs() {
    let place = Place::tiny();
    for (command, here) in [
        ("train", "`cnnc run MODEL` trains"),
        ("test", "`cnnc eval MODEL --weights RUN` gives loss and metrics of the test split"),
        (
            "export",
            "`cnnc run` writes the weights to model.safetensors; `cnnc predict --input x.npy --output y.npy` runs them",
        ),
        ("resume", "`cnnc run --resume RUN` goes on with a run"),
    ] {
        usage(&place, &[command, "tiny.cnn"], &format!("there is no command `{command}`; {here}"));
    }
    let optimiser = "the optimiser has it: `--set 'train.optim=adam(1e-3)'`";
    for (command, flag, here) in [
        ("run", "--lr", optimiser),
        ("run", "--weight-decay", optimiser),
        ("run", "--batch-size", "it is called `--batch N` here"),
        ("eval", "--num-workers", "it is called `--threads N` here"),
        ("run", "--weights", "a training begins with the weights of `--init FILE`"),
        ("predict", "--init", "the weights are named by `--weights RUN`"),
        ("bench", "--gpu", "this version compiles for the CPU only"),
    ] {
        usage(&place, &[command, "tiny.cnn", flag, "1"], &format!("there is no flag `{flag}`; {here}"));
    }
    // What is no word of theirs is said as before, with what is near.
    let said = place.run(&["run", "tiny.cnn", "--epoch", "3"]);
    assert!(said.code == Some(2) && said.err.contains("'--epochs'"), "{}", said.err);
}

/// Today all of these end with 1, as an error in a file does.
#[test]
fn errors_of_the_command_line_end_with_2() {
    let place = Place::tiny();
    for (arguments, start) in [
        (&["run", "tiny.cnn", "--batch", "0"][..], "error: `batch` is at least 1, not 0\n"),
        (&["run", "tiny.cnn", "--set", "train.bach=3"], "error: unknown key `bach` of a train section\n"),
        (&["run", "tiny.cnn", "--set", "batch=3"], "error: `--set batch=3` is not understood\n"),
        (&["check", "tiny.cnn", "--set", "data.holdout=x"], "error: unknown name `x`\n"),
        (&["check", "tiny.cnn", "--set", "x"], "error: `--set x` is not understood\n"),
        (&["eval", "tiny.cnn"], "error: `Tiny` has parameters, so it needs --weights FILE; "),
        (&["new", "digit"], "error: no example `digit`; there are "),
        (&["doc", "linaer"], "error: the library has no `linaer`; did you mean `linear`?\n"),
        (&["doc", "Conv2d"], "error: the library has no `Conv2d`; it is called `conv` here\n"),
    ] {
        let said = place.run(arguments);
        assert_eq!(said.code, Some(2), "{arguments:?}: {}", said.err);
        assert!(said.err.starts_with(start), "{arguments:?}: {}", said.err);
    }
    // A file that is wrong as well is what is wrong.
    place.write("bad.cnn", TINY.replace("relu", "rleu"));
    assert_eq!(place.run(&["check", "bad.cnn", "--set", "train.bach=3"]).code, Some(1));
}

/// Today they are "no regular file", or the system's words for a path that is not there.
#[test]
fn folders_in_the_place_of_files() {
    let place = Place::trained();
    std::fs::create_dir(place.path("nets")).expect("a folder");
    place.bad(&["run", "nets"], 1, "error: nets is a folder, not a model file");
    place.write("nets/a.cnn", TINY);
    place.bad(&["check", "nets"], 1, "error: nets is a folder, not a model file; it has nets/a.cnn");
    let run = "error: run is the folder of a run, not a model file; `cnnc run --resume run` goes on with it";
    place.bad(&["run", "run"], 1, run);
    place.bad(&["fmt", "nets"], 1, "error: cannot read nets: it is a folder");
    place.bad(&["runs", "tiny.cnn"], 1, "error: tiny.cnn is a file, not a folder with runs");
    let no_run = "error: nets has no model.safetensors, so it is no folder of a run";
    place.bad(&["eval", "tiny.cnn", "--weights", "nets"], 1, no_run);
    let model = "error: tiny.cnn is a model file; weights are a run's folder or a file of tensors";
    place.bad(&["eval", "tiny.cnn", "--weights", "tiny.cnn"], 1, model);
}

/// Today this is "no text (UTF-8)".
#[test]
fn a_file_in_utf_16() {
    let place = Place::new();
    let bytes: Vec<u8> = format!("\u{feff}{TINY}").encode_utf16().flat_map(u16::to_le_bytes).collect();
    place.write("a.cnn", bytes);
    place.bad(&["check", "a.cnn"], 1, "error: cannot read a.cnn: it is UTF-16; save it as UTF-8");
    place.bad(&["fmt", "a.cnn"], 1, "error: cannot read a.cnn: it is UTF-16; save it as UTF-8");
}

/// Today the file is said to have no train section for the model.
#[test]
fn a_model_whose_train_section_has_a_name() {
    let text = TINY.replace("train Tiny on Digits", "train Tiny on Digits as Quick");
    let place = Place::with("a.cnn", &text);
    usage(
        &place,
        &["run", "a.cnn", "--model", "Tiny"],
        "a.cnn trains `Tiny` by the train section `Quick`; choose that with --model Quick",
    );
    place.write("b.cnn", format!("{text}model Other(x: f32[N, 4]) {{ x |> linear(2) }}\n"));
    place.bad(
        &["run", "b.cnn", "--model", "Other"],
        1,
        "error: b.cnn has no train section for `Other`; add `train Other on DATA { ... }`",
    );
}

/// Today `conv2` chooses `conv2d`, and a name that nothing has prints a graph without nodes.
#[test]
fn ops_that_are_not_there() {
    let place = Place::tiny();
    let none = |stage: &str, op: &str, help: &str| {
        usage(
            &place,
            &["emit", "tiny.cnn", "--stage", stage, "--op", op],
            &format!("no op, layer or kernel of the stage {stage} is called `{op}`; {help}"),
        );
    };
    none("graph", "conv2", "did you mean `conv2d`?");
    none("fused", "con", "did you mean `conv1`?");
    none("kernels", "nothing", "`cnnc emit --stage kernels` without --op shows all names");
    none("sched", "maxpol1", "did you mean `maxpool1`?");
    none("graph", "", "`cnnc emit --stage graph` without --op shows all names");
    for (stage, op) in
        [("graph", "conv2d"), ("grad", "conv2d.wrt_w"), ("kernels", "conv1"), ("graph", "conv1.conv2d")]
    {
        assert!(place.good(&["emit", "tiny.cnn", "--stage", stage, "--op", op]).contains(op), "{stage} {op}");
    }
}

/// Today `check` says nothing of it, and `run` nothing of a way out.
#[test]
fn a_last_batch_that_is_too_small() {
    let text = TINY.replace("maxpool(2) |> flatten", "maxpool(6) |> flatten |> batchnorm as last");
    let place = Place::with("a.cnn", &text.replace("batch = 100", "batch = 479"));
    let help = "  = help: the last batch of an epoch has 1 sample: `drop_last = true` in the data section leaves it out, \
                or take another `batch` than 479\n";
    for command in ["run", "check"] {
        let said = place.run(&[command, "a.cnn"]);
        assert_eq!(said.code, Some(1), "{}", said.err);
        let start = "error: batchnorm: in training it needs more than one value per channel";
        assert!(said.err.contains(start) && said.err.contains(help), "{}", said.err);
    }
    let said = place.run(&["check", "a.cnn", "--set", "data.drop_last=true"]);
    assert_eq!(said.code, Some(0), "{}", said.err);
}

/// Today all tables are as wide as their titles and names ask for.
#[test]
fn tables_fit_narrow_terminals() {
    let place = Place::trained();
    let wide = place.good(&["summary", "tiny.cnn"]);
    for (arguments, rows) in [
        (&["summary", "tiny.cnn"][..], "fc"),
        (&["runs", "."], "done"),
        (&["doc"], "instancenorm"),
        (&["new"], "digits"),
        (&["run", "tiny.cnn", "--out", "narrow"], "epoch"),
        (&["eval", "tiny.cnn", "--weights", "run", "--confusion"], "taken"),
        (&["profile", "tiny.cnn", "--batch", "8"], "kernel"),
    ] {
        let output = place.command(arguments).env("COLUMNS", "60").output().expect("it starts");
        let text = String::from_utf8(output.stdout).expect("text");
        assert!(output.status.success() && text.contains(rows), "{arguments:?}: {text}");
        let table = text.lines().skip_while(|line| !line.contains("──"));
        let table = table.take_while(|line| !line.is_empty());
        for line in table {
            assert!(line.chars().count() <= 60, "{arguments:?}: {line}");
        }
    }
    assert_eq!(place.good(&["summary", "tiny.cnn"]), wide);
}
