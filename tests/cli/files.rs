//! `new`, `fmt`, `check`, `doc`: commands about files and the library.

use std::io::Write;
use std::process::Stdio;

use crate::place::{Place, Said, TINY};

#[test]
fn new_writes_an_example_once() {
    let place = Place::new();
    let list = place.good(&["new"]);
    for name in ["digits", "lenet", "convnet_gap", "convnet_gmp", "mnist_cnn", "mnist_cnn_all"] {
        assert!(list.contains(&format!("\n{name} ")), "{name} in {list}");
    }
    assert_eq!(place.good(&["new", "digits"]), "wrote digits.cnn; train it with: cnnc run digits.cnn\n");
    assert_eq!(
        place.good(&["new", "lenet", "mine.cnn"]),
        "wrote mine.cnn; train it with: cnnc run mine.cnn\n\
         its data is looked for in data/fashion-mnist: the four files of MNIST, as they are or with .gz;\n  \
         where they lie elsewhere, add --data DIR\n"
    );
    assert_eq!(place.names(), ["digits.cnn", "mine.cnn"]);
    place.bad(&["new", "digits"], 1, "error: digits.cnn already exists; nothing was written");
    place.bad(
        &["new", "lenett"],
        2,
        "error: no example `lenett`; there are digits, lenet, convnet_gap, convnet_gmp, mnist_cnn, mnist_cnn_all; \
         did you mean `lenet`?",
    );
}

/// Every example is right, in the canonical form, and has its layers as it should.
#[test]
fn examples_are_right() {
    let place = Place::new();
    for name in ["digits", "lenet", "convnet_gap", "convnet_gmp", "mnist_cnn", "mnist_cnn_all"] {
        place.good(&["new", name]);
        let file = format!("{name}.cnn");
        // The course notes' ConvNets have what two lints warn of, as their comments say.
        let found = if name.starts_with("convnet") { "2 warnings" } else { "no problems" };
        assert_eq!(place.good(&["check", &file]), format!("{file}: {found}\n"));
        assert_eq!(place.good(&["fmt", "--check", &file]), "");
    }
}

/// The library is in the canonical form, and says of each of its items what it is.
#[test]
fn the_library_is_formatted_and_explained() {
    let place = Place::new();
    for name in ["ops", "layers", "losses", "optimisers"] {
        let file = format!("{}/src/std/{name}.cnn", env!("CARGO_MANIFEST_DIR"));
        assert_eq!(place.good(&["fmt", "--check", &file]), "");
    }
    let list = place.good(&["doc"]);
    let entries = list.split("\n\n").flat_map(|chapter| chapter.lines().skip(2));
    let bare: Vec<&str> = entries.filter(|line| line.split_whitespace().count() == 1).collect();
    assert_eq!(bare, Vec::<&str>::new());
    assert!(list.contains("concat"), "{list}");
}

#[test]
fn fmt_rewrites_what_is_not_canonical() {
    let place = Place::with("a.cnn", "model   M(x:f32[N,2])->f32[N,2]{x|>relu}");
    place.write("b.cnn", "// fine\nmodel M(x: f32[N, 2]) -> f32[N, 2] { x |> relu }\n");
    let canonical = "model M(x: f32[N, 2]) -> f32[N, 2] { x |> relu }\n";
    let said = place.run(&["fmt", "--check", "a.cnn", "b.cnn"]);
    assert_eq!((said.code, said.out.as_str(), said.err.as_str()), (Some(1), "a.cnn\n", ""));
    assert_eq!(place.good(&["fmt", "a.cnn", "b.cnn"]), "");
    assert_eq!(place.text("a.cnn"), canonical);
    assert_eq!(place.good(&["fmt", "--check", "a.cnn", "b.cnn"]), "");
    assert_eq!(place.names(), ["a.cnn", "b.cnn"]);
    let mut child =
        place.command(&["fmt", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"model M(x: f32[N,2]) -> f32[N,2] {x |> relu}").unwrap();
    let said = Said::of(child.wait_with_output().unwrap());
    assert_eq!((said.code, said.out.as_str()), (Some(0), canonical));
}

#[test]
fn fmt_leaves_files_with_errors() {
    let place = Place::with("a.cnn", "model M(x: f32[N, 2] { x }");
    place.write("b.cnn", "model M(x: f32[N,2]){x}");
    let said = place.run(&["fmt", "a.cnn", "b.cnn", "c.cnn"]);
    assert_eq!(said.code, Some(1));
    assert!(said.err.contains("--> a.cnn:1:"), "{}", said.err);
    assert!(said.err.contains("error: cannot read c.cnn: "), "{}", said.err);
    assert_eq!(place.text("a.cnn"), "model M(x: f32[N, 2] { x }");
    assert_eq!(place.text("b.cnn"), "model M(x: f32[N, 2]) { x }\n");
}

#[test]
fn check_finds_errors_of_all_models_and_sections() {
    let place = Place::with(
        "a.cnn",
        "model A(x: f32[N, 1, 8, 8]) { x |> konv(2, 3) }\n\
         model B(x: f32[N, 1, 4, 4]) { x |> conv(2, 5) }\n\
         model C(x: f32[N, 1, 8, 8]) { x |> flatten |> linear(9) }\n\
         data D { source = digits(); }\n\
         train C on D { loss = cross_entropy; optim = adam(1e-3); bach = 3; }\n\
         train C on D as E { loss = cross_entropy; optim = adam(1e-3); }\n",
    );
    let said = place.run(&["check", "a.cnn"]);
    assert_eq!((said.code, said.out.as_str()), (Some(1), ""));
    for line in [
        "error: unknown key `bach` of a train section",
        "error: label 9 of training image 25 is out of range: there are 9 classes, from 0",
        "error: unknown layer, op or function `konv`",
        "error: conv 5×5 on 4×4 input: output height (4 + 0 - 5)/1 + 1 = 0",
        "a.cnn: 4 errors, 0 warnings",
    ] {
        assert!(said.err.lines().any(|found| found == line), "no `{line}` in {}", said.err);
    }
}

#[test]
fn check_warns_of_unused_names() {
    let place = Place::with(
        "a.cnn",
        &TINY.replace("{\n  x |> conv(4, 3)", "{\n  let unused = 3;\n  x |> conv(4, 3, bias=false)"),
    );
    let said = place.run(&["check", "a.cnn"]);
    assert_eq!((said.code, said.out.as_str()), (Some(0), "a.cnn: 1 warning\n"));
    assert!(said.err.starts_with("warning: unused variable `unused`\n --> a.cnn:2:7\n"), "{}", said.err);
}

#[test]
fn check_needs_no_data() {
    let place = Place::new();
    place.good(&["new", "lenet"]);
    let said = place.run(&["check", "lenet.cnn"]);
    assert_eq!((said.code, said.out.as_str()), (Some(0), "lenet.cnn: no problems\n"));
    assert_eq!(said.err, "note: the data of `LeNet` was not looked at: it is not in data/fashion-mnist\n");
}

#[test]
fn doc_explains_the_library() {
    let place = Place::new();
    let list = place.good(&["doc"]);
    for entry in ["conv ", "relu ", "cross_entropy ", "adam ", "xavier_uniform "] {
        assert!(list.contains(&format!("\n{entry}")), "{entry} in {list}");
    }
    let conv = place.good(&["doc", "conv"]);
    for part in [
        "conv (layers)\n\n  conv(x: f32[N, C, H, W], out: int, k: any, stride: any = 1,",
        "\nConvolution. ",
        "\nExample:\n\n  x |> conv(16, 3, pad=1)\n",
        "\n  block conv(",
        "y[n, o, i, j] = sum[c < C, u < K, v < L]",
        "op add_channels(",
    ] {
        assert!(conv.contains(part), "no `{part}` in {conv}");
    }
    assert!(place.good(&["doc", "cross_entropy"]).contains("\n  loss = cross_entropy;\n"));
    place.bad(
        &["doc", "batchnom"],
        2,
        "error: the library has no `batchnom`; did you mean `batchnorm`?\n`cnnc doc` lists all that it has",
    );
}

/// Everything that the list names has an entry with a signature, an example and a definition.
#[test]
fn doc_has_an_entry_for_all_that_it_lists() {
    let place = Place::new();
    let list = place.good(&["doc"]);
    let library = list.split("compile-time functions").next().expect("text");
    let lines = library.lines().filter(|line| !line.starts_with('─') && !line.is_empty());
    let names = lines.filter_map(|line| line.split_whitespace().next());
    let names: Vec<&str> =
        names.filter(|name| !["layers", "losses", "optimisers", "ops"].contains(name)).collect();
    assert!(names.len() > 50, "{names:?}");
    // One of each chapter is enough for the time that a process takes.
    for name in names.iter().step_by(9) {
        let entry = place.good(&["doc", name]);
        let parts =
            [format!("{name} ("), format!("\n  {name}("), "\nExample:\n".into(), "\nDefinition:\n".into()];
        assert!(parts.iter().all(|part| entry.contains(part)), "{entry}");
    }
}

#[test]
fn nothing_at_all_shows_how_to_begin() {
    let place = Place::new();
    assert!(place.good(&[]).contains("cnnc new digits"));
    let help = place.good(&["--help"]);
    for command in
        ["run", "eval", "predict", "new", "doc", "emit", "check", "fmt", "summary", "bench", "profile"]
    {
        assert!(help.contains(&format!("\n  {command} ")), "{command} in {help}");
    }
}

/// A model may use models, and nothing else that is there: no other text is shown, and no pipe waited for.
#[test]
#[cfg(unix)]
fn a_model_uses_models_only() {
    let place = Place::new();
    place.write("secret", "the password\n");
    place.write("good.cnn", "op twice(x: f32) -> y: f32 { y = 2 * x; }\n");
    std::os::unix::fs::symlink(place.path("secret"), place.path("link.cnn")).expect("a link");
    std::os::unix::fs::symlink(place.path("good.cnn"), place.path("other.cnn")).expect("a link");
    std::fs::create_dir(place.path("folder.cnn")).expect("a folder");
    pipe(&place, "pipe.cnn");
    let model = "model M(x: f32[N, 4]) { twice(x) }\n";
    for file in ["good.cnn", "other.cnn", "./good.cnn"] {
        place.write("m.cnn", format!("use \"{file}\";\n{model}"));
        place.good(&["check", "m.cnn"]);
    }
    let secret = place.path("secret");
    for (file, wanted) in [
        ("secret", "`secret` is no model file"),
        (secret.to_str().expect("a path"), "is no model file"),
        ("link.cnn", "`link.cnn` is no model file"),
        ("/proc/self/environ", "`/proc/self/environ` is no model file"),
        ("/dev/zero", "`/dev/zero` is no model file"),
        ("pipe.cnn", "cannot read pipe.cnn: it is no regular file"),
        ("folder.cnn", "cannot read folder.cnn: it is a folder"),
    ] {
        place.write("m.cnn", format!("use \"{file}\";\n{model}"));
        let Said { code, out, err } = place.run(&["check", "m.cnn"]);
        assert_eq!(code, Some(1), "{file}: {out}{err}");
        assert!(err.contains(wanted) && !err.contains("password"), "{file}: {err}");
    }
}

#[cfg(unix)]
fn pipe(place: &Place, name: &str) {
    assert!(std::process::Command::new("mkfifo").arg(place.path(name)).status().expect("it runs").success());
}

/// Nobody writes to the pipes, so who opens one waits for ever.
#[test]
#[cfg(unix)]
fn pipes_and_devices_are_not_read() {
    let place = Place::tiny();
    let names = ["m.cnn", "w.safetensors", "x.npy", "p.png", "t.json", "train-images-idx3-ubyte", "a.npz"];
    names.into_iter().for_each(|name| pipe(&place, name));
    place.write("plain.cnn", "model Plain(x: f32[N, 1, 8, 8]) { x |> relu |> flatten }\n");
    for (arguments, code) in [
        (&["check", "m.cnn"][..], 1),
        (&["fmt", "m.cnn"], 1),
        (&["emit", "m.cnn", "--stage", "tokens"], 1),
        (&["predict", "tiny.cnn", "p.png", "--weights", "w.safetensors"], 1),
        (&["predict", "plain.cnn", "p.png"], 1),
        (&["predict", "plain.cnn", "--input", "x.npy", "--output", "y.npy"], 1),
        (&["eval", "tiny.cnn", "--weights", "w.safetensors"], 1),
        (&["eval", "tiny.cnn", "--weights", "/dev/zero"], 1),
        (&["run", "tiny.cnn", "--init", "w.safetensors"], 1),
        (&["bench", "tiny.cnn", "--tuned", "t.json"], 1),
    ] {
        let Said { code: found, out, err } = place.run(arguments);
        assert_eq!(found, Some(code), "{arguments:?}: {out}{err}");
        assert!(err.contains("it is no regular file"), "{arguments:?}: {err}");
    }
    for (source, wanted) in
        [("idx(\".\")", "error: no train-images-idx3-ubyte, "), ("npz(\"a.npz\")", "it is no regular file")]
    {
        let text = place.text("tiny.cnn").replace("digits()", source);
        place.write("other.cnn", text);
        let Said { code, out, err } = place.run(&["run", "other.cnn"]);
        assert_eq!(code, Some(1), "{source}: {out}{err}");
        assert!(err.contains(wanted), "{source}: {err}");
    }
}

/// Whatever stands in a run's folder in place of its files, nothing waits, and the folder is refused.
#[test]
#[cfg(unix)]
fn runs_go_on_from_regular_files_only() {
    let place = Place::trained();
    let state = std::fs::read_dir(place.path("run/checkpoint")).expect("a folder").flatten();
    let mut state = state.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let state = state.find(|name| name.starts_with("state-")).expect("tensors");
    let checkpoint = ["progress.json", &state].map(|name| format!("checkpoint/{name}"));
    let others = ["metrics.jsonl", "steps.jsonl", "gradients.jsonl", "tune.json"].map(str::to_owned);
    for name in checkpoint.into_iter().chain(others) {
        let (file, kept) = (place.path(&format!("run/{name}")), place.path("kept"));
        let had = std::fs::rename(&file, &kept).is_ok();
        for is_pipe in [true, false] {
            match is_pipe {
                true => pipe(&place, &format!("run/{name}")),
                false => std::os::unix::fs::symlink("/dev/zero", &file).expect("a link"),
            }
            let Said { code, out, err } = place.run(&["run", "tiny.cnn", "--resume", "run"]);
            assert_eq!((code, out.as_str()), (Some(1), ""), "{name}: {err}");
            assert!(err.ends_with(&format!("run/{name}: it is no regular file\n")), "{name}: {err}");
            std::fs::remove_file(&file).expect("it was made");
        }
        if had {
            std::fs::rename(&kept, &file).expect("it was moved");
        }
    }
    place.good(&["run", "tiny.cnn", "--resume", "run"]);
}

/// Data are read before the first step. Today they are mapped, and the run ends by a signal.
#[test]
fn data_that_shrink_during_a_run_do_not_matter() {
    use std::io::BufRead;
    let images: u32 = 4096;
    let head = |extents: &[u32]| {
        let bytes: Vec<u8> = extents.iter().flat_map(|extent| extent.to_be_bytes()).collect();
        [vec![0, 0, 8, extents.len() as u8], bytes].concat()
    };
    let place = Place::tiny();
    for part in ["train", "t10k"] {
        let pixels = [head(&[images, 8, 8]), vec![7; 64 * images as usize]].concat();
        place.write(&format!("{part}-images-idx3-ubyte"), pixels);
        let labels = [head(&[images]), vec![1; images as usize]].concat();
        place.write(&format!("{part}-labels-idx1-ubyte"), labels);
    }
    place.write("shrinks.cnn", place.text("tiny.cnn").replace("digits()", "idx(\".\")"));
    let arguments = ["run", "shrinks.cnn", "--json", "--epochs", "40", "--out", "run"];
    let mut child =
        place.command(&arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    let mut lines = std::io::BufReader::new(child.stdout.take().expect("a pipe")).lines();
    lines.next().expect("an epoch").expect("text");
    let file = std::fs::File::options().write(true).open(place.path("train-images-idx3-ubyte"));
    file.expect("it is there").set_len(16).expect("it shrinks");
    lines.for_each(drop);
    let output = child.wait_with_output().expect("it ends");
    let err = String::from_utf8(output.stderr).expect("text");
    assert_eq!(output.status.code(), Some(0), "{err}");
    let Said { code, err, .. } = place.run(&["run", "shrinks.cnn", "--epochs", "1", "--out", "next"]);
    assert_eq!(code, Some(1), "{err}");
    let problem = "the file is cut off: its header claims 262160 bytes, but it has 16";
    assert!(err.ends_with(&format!("train-images-idx3-ubyte: {problem}\n")), "{err}");
}

/// What a name on the command line would do to a terminal, and what stands in a model.
#[test]
#[cfg(unix)]
fn names_of_pictures_and_sources_do_nothing_to_a_terminal() {
    let place = Place::with("m.cnn", "model M(x: f32[N, 1, 1, 2]) { x |> flatten }\n");
    let name = "a\u{1b}[2J\u{9b}2J\u{7f}\u{202e}.pgm";
    place.write(name, b"P5\n2 1\n255\n\x00\xff");
    let code = "a\\u{1b}[2J\\u{9b}2J\\u{7f}\\u{202e}.pgm";
    assert!(place.good(&["predict", "m.cnn", name]).starts_with(code));
    let json = place.good(&["predict", "m.cnn", name, "--json"]);
    assert!(json.starts_with(r#"{"picture":"a\u001b[2J\u009b2J\u007f\u202e.pgm""#), "{json}");
    place.write("bad.cnn", "model M(x: f32[N, 2]) { \u{9b}2J\u{2028}\u{85} y }\n");
    let Said { err, .. } = place.run(&["check", "bad.cnn"]);
    assert!(err.contains(" y }") && !err.contains(['\u{9b}', '\u{85}', '\u{2028}']), "{err}");
}
