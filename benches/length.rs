//! How the time and the memory from the text of a model to its compiled training step grow with the length of the
//! network: twice the layers should take twice of both, or less.
//!
//! Chains of element-wise layers, of convolutions that are all equal or all different, of residual blocks, and of
//! layers that add channels to what they read. Each is compiled in a process of its own, as the most memory that a
//! process had is known for the whole of it only. An argument is the most layers, 800 otherwise.

use std::process::Command;
use std::time::Instant;

use cnnc::base::source::SourceMap;
use cnnc::base::target::Target;
use cnnc::elab::Module;
use cnnc::elab::config::Overrides;
use cnnc::lower::{CompileOptions, lower};
use cnnc::runtime::{Executable, devices};
use cnnc::train::recipe::Recipe;

const KINDS: [&str; 5] = ["element-wise", "equal", "distinct", "residual", "dense"];

const FEWEST_LAYERS: usize = 100;

const MOST_LAYERS: usize = 800;

/// The mark of a process that compiles one chain.
const CHILD: &str = "--one-chain";

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [mark, kind, layers] = arguments.as_slice()
        && mark == CHILD
    {
        return child(kind, layers.parse().expect("a number of layers"));
    }
    let most = arguments.iter().find_map(|argument| argument.parse().ok()).unwrap_or(MOST_LAYERS);
    println!("{:14} {:>6} {:>9} {:>9} {:>8}", "chain", "layers", "seconds", "ms/layer", "MB");
    for kind in KINDS {
        let mut layers = FEWEST_LAYERS;
        while layers <= most {
            let (seconds, megabytes) = measure(kind, layers);
            let each = seconds * 1e3 / layers as f64;
            println!("{kind:14} {layers:6} {seconds:9.2} {each:9.2} {megabytes:8.0}");
            layers *= 2;
        }
    }
}

/// Seconds and megabytes of the compilation of a chain.
fn measure(kind: &str, layers: usize) -> (f64, f64) {
    let own = std::env::current_exe().expect("the path of this program");
    let output = Command::new(own).args([CHILD, kind, &layers.to_string()]).output().expect("it starts");
    let text = String::from_utf8_lossy(&output.stdout);
    let mut numbers = text.split_whitespace().filter_map(|number| number.parse().ok());
    match (numbers.next(), numbers.next()) {
        (Some(seconds), Some(megabytes)) => (seconds, megabytes),
        _ => panic!("{}", String::from_utf8_lossy(&output.stderr)),
    }
}

/// Compiles one chain and prints what that took.
fn child(kind: &str, layers: usize) {
    let start = Instant::now();
    let mut sources = SourceMap::default();
    let module = Module::from_text(&mut sources, "chain.cnn", &text(kind, layers)).expect("right text");
    let overrides = Overrides::default();
    let spec = module.train_spec(module.train_sections()[0], &overrides).expect("a right section");
    let phase = &spec.phases[0];
    let graph = Recipe::of(&module, &spec).step(phase.batch, phase).expect("it elaborates");
    let options = CompileOptions::of(Target::host());
    let lowered = lower(&graph, &options);
    let device = devices::host(1).expect("a thread");
    let program = Executable::compile(&graph, lowered, &*device).expect("it compiles");
    println!("{} {}", start.elapsed().as_secs_f64(), peak_megabytes());
    drop(program);
}

/// The most memory that this process has had, where Linux says it.
fn peak_megabytes() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.strip_suffix("kB"));
    peak.and_then(|kilobytes| kilobytes.trim().parse().ok())
        .map_or(f64::NAN, |kilobytes: f64| kilobytes / 1e3)
}

/// The model file of a chain.
fn text(kind: &str, layers: usize) -> String {
    let layer = match kind {
        "element-wise" => "x = tanh(x * 1.01);",
        "equal" => "x = x |> conv(4, 3, pad=1) |> relu;",
        // 37 numbers of channels in an order in which pairs seldom come again.
        "distinct" => "x = x |> conv(2 + (i * i + 3 * i) % 37, 3, pad=1) |> relu;",
        "residual" => "x = relu(x + (x |> conv(4, 3, pad=1, bias=false) |> batchnorm));",
        _ => "x = concat(x, x |> conv(2, 3, pad=1) |> relu, axis=1);",
    };
    format!(
        "model Chain(x: f32[N, 4, 8, 8]) -> f32[N, 10] {{
            for i in 0..{layers} {{ {layer} }}
            x |> flatten |> linear(10)
        }}
        data Made {{ source = synthetic(size=[4, 8, 8]); }}
        train Chain on Made {{ loss = cross_entropy;  optim = adam(1e-3);  batch = 16;  epochs = 1; }}"
    )
}
