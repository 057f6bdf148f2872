//! What people read: a small model at every stage, and what must hold of it by count.

mod cards;
mod model;

use cnnc::base::target::{Level, Target};
use cnnc::codegen::cranelift;
use cnnc::codegen::wgsl::Rounding;
use cnnc::graph::Graph;
use cnnc::loops::verifier::Verified;
use cnnc::lower::{CompileOptions, Lowered, lower, lower_observed};
use cnnc::sched::{Launch, TunedTiles};

use model::Model;

const TEXT: &str = "
model Small(x: f32[N, 1, 6, 6]) -> f32[N, 3] {
  x |> conv(4, 3) as conv1 |> relu |> maxpool(2) |> flatten |> linear(3) as fc
}
data Digits { source = digits(); }
train Small on Digits { loss = cross_entropy; optim = sgd(0.1); batch = 8; }
";

fn options() -> CompileOptions {
    CompileOptions::of(Target::of(Level::Fma))
}

fn step() -> Graph {
    Model::new(TEXT).step(8)
}

fn lowered(graph: &Graph) -> Lowered {
    lower(graph, &options())
}

/// The launches of a forward pass alone.
fn inference(text: &str) -> Lowered {
    let mut graph = Model::new(text).forward(8, false).expect("the model is right");
    graph.outputs.retain(|(_, sink)| *sink == cnnc::graph::Sink::Prediction);
    lowered(&graph)
}

#[test]
fn graph() {
    let graph = Model::new(TEXT).forward(8, true).expect("the model is right");
    insta::assert_snapshot!(graph.to_string());
}

#[test]
fn grad() {
    insta::assert_snapshot!(step().to_string());
}

/// What every stage of lowering leaves, where that is not what the one before it left.
fn stages(graph: &Graph) -> String {
    let (mut text, mut before) = (String::new(), String::new());
    lower_observed(graph, &options(), &TunedTiles::default(), &mut |seen| {
        let (name, description) = (seen.stage.name, seen.stage.description);
        let left = seen.stage.print(seen.state, &|_| true);
        text += &match seen.skipped {
            Some(reason) => format!("// {name} is left out: {reason}\n"),
            None if left == before => format!("// {name} changes nothing\n"),
            None => format!("// after {name}: {description}\n{left}\n"),
        };
        before = left;
    });
    text
}

#[test]
fn stages_of_a_step() {
    insta::assert_snapshot!(stages(&step()));
}

/// Of a few pictures, so that lanes are over channels.
#[test]
fn stages_of_a_prediction() {
    let mut graph = Model::new(TEXT).forward(2, false).expect("the model is right");
    graph.outputs.retain(|(_, sink)| *sink == cnnc::graph::Sink::Prediction);
    insta::assert_snapshot!(stages(&graph));
}

#[test]
fn fused() {
    let mut text = String::new();
    lower_observed(&step(), &options(), &TunedTiles::default(), &mut |seen| {
        if seen.stage.name == "prune" {
            text = seen.state.program.to_string();
        }
    });
    insta::assert_snapshot!(text);
}

#[test]
fn loops() {
    let launches = inference(TEXT).launches;
    let texts: Vec<String> = launches.iter().map(|launch| launch.function.to_string()).collect();
    insta::assert_snapshot!(texts.join("\n"));
}

#[test]
fn schedule() {
    let launches = lowered(&step()).launches;
    let texts: Vec<String> =
        launches.iter().map(|launch| format!("{}\n{}", launch.function.name, launch.schedule)).collect();
    insta::assert_snapshot!(texts.join("\n"));
}

/// Cranelift's input is compared for one machine only: its address arithmetic is that of the target.
#[cfg(target_arch = "x86_64")]
#[test]
fn clif() {
    let launches = inference(TEXT).launches;
    let target = Target::of(Level::Fma);
    let texts = launches.iter().map(|launch| {
        let function = Verified::new(launch.function.clone()).expect("it is valid");
        cranelift::clif(&function, target).expect("it compiles")
    });
    insta::assert_snapshot!(texts.collect::<Vec<_>>().join("\n"));
}

/// The launches of a prediction, but for those that run once for given parameters.
fn launches_of(layers: &str) -> usize {
    let text = format!("model M(x: f32[N, 3, 8, 8]) -> f32[N, 4, 8, 8] {{ x |> {layers} }}");
    inference(&text).plan.run_once.iter().filter(|run_once| !**run_once).count()
}

#[test]
fn convolution_bias_and_activation_are_one_kernel() {
    assert_eq!(launches_of("conv(4, 3, pad=1)"), 1);
    assert_eq!(launches_of("conv(4, 3, pad=1) |> relu"), 1);
    assert_eq!(launches_of("conv(4, 3, pad=1) |> sigmoid |> tanh"), 1);
    assert_eq!(launches_of("conv(4, 3, pad=1) |> batchnorm |> relu"), 1);
    assert_eq!(launches_of("conv(4, 3, pad=1) |> relu |> maxpool(2) |> upsample(2)"), 2);
    assert_eq!(launches_of("conv(4, 3, pad=1) |> batchnorm |> relu |> avgpool(2) |> upsample(2)"), 2);
}

#[test]
fn equal_layers_share_their_code() {
    let graph = Model::new(
        "model M(x: f32[N, 4, 8, 8]) -> f32[N, 4, 8, 8] {
           x |> conv(4, 3, pad=1) |> relu |> conv(4, 3, pad=1) |> relu |> conv(4, 3, pad=1) |> relu
         }",
    );
    let graph = graph.forward(8, false).expect("the model is right");
    let lowered = lowered(&graph);
    assert_eq!(lowered.launches.len(), 3);
    assert!(lowered.unique_functions() <= 2, "the first reads the data, the others what their like wrote");
}

/// Thirteen columns have no tile that divides them: five and eight have.
#[test]
fn loops_without_a_tile_are_cut_in_two() {
    let text = "model M(x: f32[N, 3, 13, 13]) -> f32[N, 4, 13, 13] { x |> conv(4, 3, pad=1) |> relu }";
    let graph = Model::new(text).forward(16, false).expect("the model is right");
    let launches = lower(&graph, &CompileOptions::of(Target::of(Level::Avx512))).launches;
    let parts = |launch: &Launch| {
        let steps = launch.schedule.lines().map(str::trim);
        steps
            .filter(|step| step.starts_with("restrict") || step.starts_with("tile j"))
            .map(String::from)
            .collect()
    };
    let found: Vec<Vec<String>> = launches.iter().map(parts).collect();
    assert_eq!(found, [["restrict j to 0..5", "tile j by 5"], ["restrict j to 5..13", "tile j by 4"]]);
}

/// The shaders of a whole step, for the graphics card that is taken for granted.
#[test]
fn wgsl() {
    let lowered = cards::lowered(&step());
    let texts = cards::shaders(&lowered, Rounding::Kept).into_iter().enumerate();
    let texts =
        texts.map(|(at, shader)| format!("// dispatch {at}: {} workgroups\n{}", shader.groups, shader.text));
    insta::assert_snapshot!(texts.collect::<Vec<_>>().join("\n"));
}
