//! Programs that need more memory than there is end in one line, before they take it.

use std::process::{Command, Stdio};

use crate::place::{self, Place, Said};

/// A network whose weights, and one whose activations, are many for so small a limit.
const LARGE: &str = "\
model Wide(x: f32[N, 1, 8, 8]) -> f32[N, 10] {
  x |> flatten |> linear(1000000) as a |> relu |> linear(1000) as b |> linear(10) as c
}

model Deep(x: f32[N, 1, 8, 8]) -> f32[N, 10] {
  x |> conv(16, 3, pad=1) |> relu |> conv(16, 3, pad=1) |> relu |> flatten |> linear(10)
}

data Digits { source = digits(); }

train Wide on Digits as wide { loss = cross_entropy;  optim = adam(1e-3);  batch = 8;  epochs = 1; }
train Deep on Digits as deep { loss = cross_entropy;  optim = adam(1e-3);  batch = 1000000;  epochs = 1; }
";

/// A command in an address space of so many KiB.
fn limited(place: &Place, kib: u64, arguments: &str) -> Said {
    let mut shell = Command::new("sh");
    let line = format!("ulimit -v {kib} && exec {} {arguments}", env!("CARGO_BIN_EXE_cnnc"));
    shell.args(["-c", &line]).current_dir(place.path("")).stdin(Stdio::null());
    Said::of(shell.output().expect("a shell"))
}

#[test]
#[cfg(target_os = "linux")]
fn what_does_not_fit_is_refused() {
    let place = Place::with("large.cnn", LARGE);
    for (command, start, end) in [
        (
            "run large.cnn --model wide",
            "error: holding the weights and states, at any batch, needs 11.9 GiB of memory, and there are ",
            " of address space (ulimit -v)\n",
        ),
        ("bench large.cnn --model deep", "error: a run with batch 1000000 needs ", " would fit\n"),
        (
            "bench large.cnn --model deep --mode infer",
            "error: a run with batch 1000000 needs ",
            " would fit\n",
        ),
        ("profile large.cnn --model deep", "error: a run with batch 1000000 needs ", " would fit\n"),
    ] {
        let Said { code, out, err } = limited(&place, 1 << 20, command);
        let is_so = err.starts_with(start) && err.ends_with(end) && err.lines().count() == 1;
        assert!(code == Some(1) && out.is_empty() && is_so, "{command}: {code:?}\n{err}");
    }
    assert_eq!(place.names(), ["large.cnn"]);
}

/// The batch that was named does fit.
#[test]
#[cfg(target_os = "linux")]
fn what_fits_runs() {
    let place = Place::with("large.cnn", LARGE);
    let Said { code, err, .. } =
        limited(&place, 1 << 20, "bench large.cnn --model deep --batch 8192 --mode train");
    assert_eq!(code, Some(0), "{err}");
}

#[test]
#[cfg(target_os = "linux")]
fn the_last_small_block_is_an_error_too() {
    let place = Place::with("large.cnn", LARGE);
    for kib in [20_000, 40_000, 60_000, 80_000, 100_000, 130_000] {
        let Said { code, err, .. } =
            limited(&place, kib, "bench large.cnn --model deep --batch 64 --mode train");
        // Below some size not even the system can load the program.
        let is_ours = code == Some(1) && err.starts_with("error: ");
        let is_loaders =
            code == Some(127) || err.contains("failed to map") || err.contains("cannot allocate");
        assert!(code == Some(0) || is_ours || is_loaders, "{kib} KiB: {code:?}\n{err}");
    }
}

#[test]
fn check_warns_of_steps_that_no_machine_holds() {
    let text =
        LARGE.replace("linear(1000000)", "linear(30000000)").replace("linear(1000) as b", "linear(60) as b");
    let place = Place::with("large.cnn", &text);
    let Said { code, err, .. } = place.run(&["check", "large.cnn"]);
    assert_eq!(code, Some(0), "{err}");
    assert!(
        err.contains("warning: a step of `deep` with batch 1000000 needs ") && err.contains(" would fit"),
        "{err}"
    );
}

#[test]
fn threads_have_a_limit() {
    let place = Place::tiny();
    for (threads, limit) in [("0", "1024"), ("1025", "1024"), ("65536", "1024"), ("-1", "")] {
        let Said { code, err, .. } = place.run(&["bench", "tiny.cnn", &format!("--threads={threads}")]);
        assert!(code == Some(2) && err.contains(limit), "{threads}: {err}");
    }
}

/// Files that claim more than there is memory for, by what they become: nothing of that is taken.
#[test]
#[cfg(target_os = "linux")]
fn what_files_become_has_to_fit() {
    let place = Place::tiny();
    let header = r#"{"a":{"dtype":"F16","shape":[134217728],"data_offsets":[0,268435456]}}"#;
    place.write("w.safetensors", [&(header.len() as u64).to_le_bytes(), header.as_bytes()].concat());
    let file = std::fs::File::options().write(true).open(place.path("w.safetensors")).expect("it is there");
    file.set_len(8 + header.len() as u64 + (1 << 28)).expect("it grows");
    let Said { code, err, .. } = limited(&place, 700_000, "eval tiny.cnn --weights w.safetensors");
    assert_eq!(code, Some(1), "{err}");
    assert!(err.starts_with("error: w.safetensors: it needs 512 MiB of memory, and there are "), "{err}");
    // 3 GiB of pictures, which so many bytes could hold.
    let claim = [[0, 0, 8, 3], [0, 0, 12, 0], [0, 0, 4, 0], [0, 0, 4, 0]].concat();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    std::io::Write::write_all(&mut gzip, &claim).expect("it is in memory");
    let mut claim = gzip.finish().expect("it is in memory");
    claim.resize(4 << 20, 0);
    for part in ["train", "t10k"] {
        place.write(&format!("{part}-images-idx3-ubyte.gz"), &claim);
        place.write(&format!("{part}-labels-idx1-ubyte"), place::idx(&[3072], &[0; 3072]));
    }
    place.write("idx.cnn", place.text("tiny.cnn").replace("digits()", "idx(\".\")"));
    let Said { code, err, .. } = limited(&place, 1 << 20, "eval idx.cnn");
    assert_eq!(code, Some(1), "{err}");
    let start = "error: ./train-images-idx3-ubyte.gz: it needs 3.00 GiB of memory, and there are ";
    assert!(err.starts_with(start) && err.lines().count() == 1, "{err}");
}
