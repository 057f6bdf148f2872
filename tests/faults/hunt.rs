//! The hunt: the test binaries, started directly, against one fault after the other, until one of them fails.
//!
//! The binaries are those that cargo names; the short ones come first. Each must pass without a fault, which also says
//! how long it takes; one that computes several times as long with a fault, or waits for much longer, hangs, which is
//! noticed. The time of the processor counts, so that other work on the machine makes no fault noticed.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use cnnc::base::fault::{self, Fault, TRAINING};

/// The binaries in the order in which they are asked: short ones first. What is not named comes after them, and then those
/// that notice any change, right or wrong.
const FIRST: [&str; 17] = [
    "faults",
    "integers",
    "programs",
    "rounding",
    "spoiled",
    "fixtures",
    "runs",
    "properties",
    "scalars",
    "reference",
    "gradients",
    "choices",
    "cnnc",
    "pytorch",
    "zoo",
    "winograd",
    "cli",
];
/// Those that are asked before them about faults of what is around the compiler.
const AROUND: [&str; 3] = ["reference", "cli", "cnnc"];
const LAST: [&str; 4] = ["agreement", "golden", "snapshots", "tidy"];

/// How much more of the processor's time than without a fault takes by the clock a binary may use.
const TIMES: u32 = 10;
const AT_LEAST: Duration = Duration::from_secs(60);
/// How much longer by the clock.
const WAITING: u32 = 10;

/// A test binary.
struct Binary {
    name: String,
    path: PathBuf,
    /// How long it takes without a fault, once that is known.
    takes: Option<Duration>,
}

/// What became of a run.
#[derive(Debug)]
enum Outcome {
    Passed,
    /// The first test that failed, or how the run ended.
    Noticed(String),
}

/// Runs the tests against faults and prints who noticed; the names of those that nobody did. Of this binary, only the
/// test `exam` is run.
pub fn hunt(faults: impl Iterator<Item = &'static Fault>, exam: &str) -> Vec<&'static str> {
    let mut binaries = binaries();
    let mut survivors = Vec::new();
    let witness = std::env::temp_dir().join(format!("cnnc-fault-{}", std::process::id()));
    for fault in faults {
        let started = Instant::now();
        _ = std::fs::remove_file(&witness);
        let is_around = TRAINING.iter().any(|other| other.name == fault.name);
        binaries.sort_by_key(|binary| place(&binary.name, is_around));
        let near = binaries.iter().find_map(|binary| binary.notices_nearby(fault, &witness));
        let noticed =
            near.or_else(|| binaries.iter_mut().find_map(|binary| binary.notices(fault, exam, &witness)));
        let met = if witness.exists() { "SURVIVED" } else { "SURVIVED, and no test meets it" };
        if noticed.is_none() {
            survivors.push(fault.name);
        }
        let seconds = started.elapsed().as_secs();
        println!("{:40} {:4} s  {}", fault.name, seconds, noticed.as_deref().unwrap_or(met));
    }
    _ = std::fs::remove_file(&witness);
    survivors
}

/// All test binaries of the package, compiled.
fn binaries() -> Vec<Binary> {
    let cargo = std::env::var_os("CARGO").unwrap_or("cargo".into());
    let output = Command::new(cargo)
        .args(["test", "--workspace", "--no-run", "--message-format=json"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stderr(Stdio::inherit())
        .output()
        .expect("cargo starts");
    assert!(output.status.success(), "the tests do not compile");
    let text = String::from_utf8(output.stdout).expect("text");
    let messages = text.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let binaries: Vec<Binary> = messages
        .filter(|message| message["profile"]["test"] == true)
        .filter_map(|message| {
            let (name, path) = (message["target"]["name"].as_str()?, message["executable"].as_str()?);
            Some(Binary { name: name.into(), path: path.into(), takes: None })
        })
        .collect();
    assert!(binaries.len() > FIRST.len(), "too few test binaries");
    binaries
}

/// Where a binary stands in the order.
fn place(name: &str, is_around: bool) -> usize {
    let before: &[&str] = if is_around { &AROUND } else { &[] };
    let among = |names: &[&str]| names.iter().position(|n| *n == name);
    match (among(before), among(&FIRST), among(&LAST)) {
        (Some(at), ..) => at,
        (None, Some(at), _) => AROUND.len() + at,
        (None, None, Some(at)) => AROUND.len() + FIRST.len() + 1 + at,
        (None, None, None) => AROUND.len() + FIRST.len(),
    }
}

impl Binary {
    /// Its tests, under a limit that is still to be set.
    fn command(&self) -> Command {
        let mut command = Command::new("sh");
        command
            .args(["-c", r#"ulimit -t "$LIMIT"; exec "$0" "$@""#])
            .arg(&self.path)
            .env("LIMIT", "unlimited");
        command.current_dir(env!("CARGO_MANIFEST_DIR")).env("INSTA_UPDATE", "no").process_group(0);
        command
    }

    /// Who notices a fault among the library's own tests of its module, which take a second or two.
    fn notices_nearby(&self, fault: &Fault, witness: &Path) -> Option<String> {
        let module = fault.file.split(['/', '.']).next().filter(|_| self.name == "cnnc")?;
        let mut command = self.command();
        command.arg(format!("{module}::")).env("LIMIT", AT_LEAST.as_secs().to_string());
        command.env(fault::CHOICE, fault.name).env(fault::WITNESS, witness);
        match run(&mut command, Some(AT_LEAST * WAITING)) {
            Outcome::Passed => None,
            Outcome::Noticed(how) => Some(format!("{}: {how}", self.name)),
        }
    }

    /// Who notices a fault, in words.
    fn notices(&mut self, fault: &Fault, exam: &str, witness: &Path) -> Option<String> {
        let mut command = self.command();
        if self.name == "faults" {
            command.args(["--exact", exam]);
        }
        let takes = *self.takes.get_or_insert_with(|| control(&self.name, &mut command));
        let limit = AT_LEAST.max(takes * TIMES);
        command.env("LIMIT", limit.as_secs().to_string());
        command.env(fault::CHOICE, fault.name).env(fault::WITNESS, witness);
        match run(&mut command, Some(limit * WAITING)) {
            Outcome::Passed => None,
            Outcome::Noticed(how) => Some(format!("{}: {how}", self.name)),
        }
    }
}

/// Runs a binary without a fault.
fn control(name: &str, command: &mut Command) -> Duration {
    let started = Instant::now();
    match run(command, None) {
        Outcome::Passed => started.elapsed(),
        Outcome::Noticed(how) => panic!("{name} fails without a fault: {how}"),
    }
}

/// Runs a test binary until its first failure, its end, or a time limit.
fn run(command: &mut Command, limit: Option<Duration>) -> Outcome {
    let started = Instant::now();
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("it starts");
    let lines = lines(child.stdout.take().expect("it is piped"));
    let failed = loop {
        let left = limit.map_or(Duration::MAX, |limit| limit.saturating_sub(started.elapsed()));
        match lines.recv_timeout(left.min(Duration::from_secs(3600))) {
            Ok(line) => {
                let failed = line.strip_prefix("test ").and_then(|rest| rest.strip_suffix(" ... FAILED"));
                if let Some(test) = failed {
                    break Some(test.to_owned());
                }
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => break None,
            Err(mpsc::RecvTimeoutError::Timeout) => {
                break Some(format!("no end after {:?}", started.elapsed()));
            }
        }
    };
    match failed {
        Some(test) => {
            stop(&mut child);
            Outcome::Noticed(test)
        }
        None => ended(&mut child),
    }
}

/// The lines that a child prints, as they come.
fn lines(output: impl Read + Send + 'static) -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    receiver
}

/// Ends a child and all that it has started.
fn stop(child: &mut Child) {
    let group = format!("-{}", child.id());
    _ = Command::new("kill").args(["-KILL", "--", &group]).stderr(Stdio::null()).status();
    _ = child.kill();
    _ = child.wait();
}

fn ended(child: &mut Child) -> Outcome {
    let status = child.wait().expect("it ends");
    match (status.success(), status.signal()) {
        (true, _) => Outcome::Passed,
        (false, Some(signal)) => Outcome::Noticed(format!("ended by signal {signal}")),
        (false, None) => Outcome::Noticed(format!("ended with {status}")),
    }
}
