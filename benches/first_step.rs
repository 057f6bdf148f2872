//! The time from the start of the process to the end of the first training step, as a person sees it.
//!
//! Starts `cnnc run examples/lenet.cnn --batch 64 --steps 1` twenty times on synthetic IDX files of the shape of
//! Fashion-MNIST, uncompressed, and prints the middle of the wall times until the first step is done, beside those of
//! its phases. `cnnc run --time` measures inside the process; the time from its start to `main` is added from the
//! outside by a run of `cnnc --version`.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

const ROUNDS: usize = 20;

fn main() {
    let folder = tempfile::tempdir().expect("a folder");
    write_data(folder.path());
    let (mut names, mut times): (Vec<String>, Vec<Vec<f64>>) = (Vec::new(), Vec::new());
    let (mut start, mut whole) = (Vec::new(), Vec::new());
    for round in 0..=ROUNDS {
        let (phases, seconds) = first_step(folder.path(), round);
        if round == 0 {
            // The files' pages and the program are in memory now.
            names = phases.iter().map(|(name, _)| name.clone()).collect();
            times = vec![Vec::new(); names.len()];
            continue;
        }
        phases.iter().zip(&mut times).for_each(|((_, time), all)| all.push(*time));
        start.push(process_start());
        whole.push(seconds * 1e3);
    }
    println!("lenet, batch 64, {ROUNDS} starts; medians");
    for (name, times) in names.iter().zip(times) {
        println!("{:9.3} ms  {name}", median(times));
    }
    println!("{:9.3} ms  start of a process (cnnc --version)", median(start));
    println!("{:9.3} ms  the whole run: first step, test split, files", median(whole));
}

fn cnnc() -> Command {
    Command::new(env!("CARGO_BIN_EXE_cnnc"))
}

/// The phases of a run in milliseconds, the last is their sum, and the seconds of the whole process.
fn first_step(folder: &Path, round: usize) -> (Vec<(String, f64)>, f64) {
    let out = folder.join(format!("run{round}"));
    let model = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/lenet.cnn");
    let mut command = cnnc();
    command.args(["run", model, "--batch", "64", "--steps", "1", "--epochs", "1", "--time", "--json"]);
    command.arg("--data").arg(folder).arg("--out").arg(&out);
    let start = Instant::now();
    let output = command.output().expect("cnnc runs");
    let seconds = start.elapsed().as_secs_f64();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{text}");
    let phases = text.lines().filter_map(|line| {
        let (time, name) = line.split_once(" ms  ")?;
        Some((name.to_owned(), time.trim().parse().ok()?))
    });
    (phases.collect(), seconds)
}

/// Milliseconds to start and end a process that does nothing.
fn process_start() -> f64 {
    let start = Instant::now();
    assert!(cnnc().arg("--version").output().expect("cnnc runs").status.success());
    start.elapsed().as_secs_f64() * 1e3
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// Pictures of 28x28 pixels and their labels: 60,000 to train, 1,000 to test.
fn write_data(folder: &Path) {
    for (name, count) in [("train", 60_000_u32), ("t10k", 1_000)] {
        let pixels = (0..count * 784).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8);
        write_idx(&folder.join(format!("{name}-images-idx3-ubyte")), &[count, 28, 28], pixels);
        let labels = (0..count).map(|at| (at * 7 % 10) as u8);
        write_idx(&folder.join(format!("{name}-labels-idx1-ubyte")), &[count], labels);
    }
}

fn write_idx(path: &Path, extents: &[u32], elements: impl Iterator<Item = u8>) {
    let mut bytes = vec![0, 0, 8, extents.len() as u8];
    bytes.extend(extents.iter().flat_map(|extent| extent.to_be_bytes()));
    bytes.extend(elements);
    fs::write(path, bytes).expect("the file is written");
}
