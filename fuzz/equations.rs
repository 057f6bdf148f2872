//! From a text to equations, as far as the compiler goes before it plans kernels: what the fuzz target does with its
//! bytes, and an ordinary test with the seeds.
//!
//! Every model, and every block and op with arguments that are made up here, is elaborated for a small batch. Its step
//! goes through gradients, lowering and all passes, with the verifiers after each. What is wrong with a text is told
//! by errors, which are rendered; nothing may panic, and nothing may take long.

use cnnc::base::diagnostic::Diagnostic;
use cnnc::base::source::SourceMap;
use cnnc::elab::config::{Metrics, Overrides};
use cnnc::elab::{ModelCall, Module};
use cnnc::graph::{self, Graph};
use cnnc::passes;
use cnnc::syntax::ast::{Expr, ExprKind, FnItem, FnKind, Item, Name, Param, TypeKind};
use cnnc::te::DType;
use cnnc::train::recipe::Recipe;

/// Longer texts are not looked at.
const LONGEST_TEXT: usize = 4096;

/// Graphs of more nodes are not lowered: that they take long is no finding.
const MOST_NODES: usize = 80;

/// Samples a step.
const BATCH: i64 = 2;

/// Takes bytes as a text; gives how many programs of equations it led to.
pub fn from_bytes(bytes: &[u8]) -> usize {
    match std::str::from_utf8(bytes) {
        Ok(text) if text.len() <= LONGEST_TEXT => from_text(text),
        _ => 0,
    }
}

/// Makes equations of everything in a text; gives how many programs of equations that were.
pub fn from_text(text: &str) -> usize {
    let mut sources = SourceMap::default();
    let file = sources.add("model.cnn", text);
    let (tree, mistakes) = cnnc::syntax::parse(file, text);
    rendered(&sources, &mistakes);
    // Files that a text uses could be anything, devices among them.
    if tree.items.iter().any(|item| matches!(item, Item::Use(_))) {
        return 0;
    }
    let wrappers: String = tree.items.iter().enumerate().filter_map(wrapper).collect();
    let mut sources = SourceMap::default();
    match Module::from_text(&mut sources, "model.cnn", &format!("{text}\n{wrappers}")) {
        Ok(module) => programs(&module, &sources),
        Err(errors) => {
            rendered(&sources, &errors);
            0
        }
    }
}

fn rendered(sources: &SourceMap, errors: &[Diagnostic]) {
    errors.iter().for_each(|error| assert!(!error.render(sources, false).is_empty()));
}

/// A model that calls a block or an op of the file with arguments that fit its parameters, if such are known.
fn wrapper((number, item): (usize, &Item)) -> Option<String> {
    let (name, params) = match item {
        Item::Fn(FnItem { kind: FnKind::Block, name, params, .. }) => (name, params),
        Item::Op(item) => (&item.name, &item.params),
        Item::Fn(_) | Item::Use(_) | Item::Data(_) | Item::Train(_) => return None,
    };
    let rank = params.iter().find_map(rank).unwrap_or(2);
    let shape = ["N", "4", "6", "6"].get(..rank)?.join(", ");
    let arguments: Option<Vec<&str>> =
        params.iter().filter(|param| param.default.is_none()).map(|param| argument(param, rank)).collect();
    let call = format!("{}({})", name.text, arguments?.join(", "));
    Some(format!(
        "model Wrapper{number}(x: f32[{shape}]) {{ param w: f32[1] = 0.5;  let t = x * w;  {call} }}\n"
    ))
}

/// The number of axes that a parameter declares.
fn rank(param: &Param) -> Option<usize> {
    match &param.ty.kind {
        TypeKind::Tensor { dtype: DType::F32, dims: Some(dims) } => Some(dims.len()),
        TypeKind::Tensor { .. } | TypeKind::Named(_) => None,
    }
}

/// What a wrapper gives for a parameter.
fn argument(param: &Param, wanted: usize) -> Option<&'static str> {
    match &param.ty.kind {
        TypeKind::Tensor { dtype: DType::F32, dims: None } => Some("t"),
        TypeKind::Tensor { .. } => (rank(param) == Some(wanted)).then_some("t"),
        TypeKind::Named(name) => match name.as_str() {
            "int" => Some("2"),
            "float" => Some("0.5"),
            "bool" => Some("true"),
            "list" => Some("[2, 1]"),
            "any" => Some("t"),
            _ => None,
        },
    }
}

/// Lowers what train sections and models say.
fn programs(module: &Module, sources: &SourceMap) -> usize {
    let mut made = 0;
    let mut lower = |graph: Result<Graph, Vec<Diagnostic>>| match graph {
        Ok(graph) => made += usize::from(lowered(&graph)),
        Err(errors) => rendered(sources, &errors),
    };
    for section in module.data_sections() {
        rendered(sources, &module.data_spec(section, &Overrides::default()).err().unwrap_or_default());
    }
    for section in module.train_sections() {
        match module.train_spec(section, &Overrides::default()) {
            Ok(spec) => {
                spec.phases.iter().for_each(|phase| lower(Recipe::of(module, &spec).step(BATCH, phase)))
            }
            Err(errors) => rendered(sources, &errors),
        }
    }
    for model in module.models() {
        let recipe = untrained(module, model);
        lower(recipe.gradients(BATCH));
        lower(recipe.inference(1));
    }
    made
}

/// A model with a loss of some kind.
fn untrained<'m>(module: &'m Module, model: &FnItem) -> Recipe<'m> {
    let Name { span, .. } = model.name;
    Recipe {
        module,
        model: ModelCall::new(model),
        loss: Some(Expr { kind: ExprKind::Name("mse".into()), span }),
        init: Vec::new(),
        sample: None,
        mixed: false,
        metrics: Metrics::default(),
        gradient_norms: false,
        watched: None,
    }
}

/// Lowers a graph if it is small, and says whether it is.
fn lowered(graph: &Graph) -> bool {
    assert_eq!(graph::verifier::verify(graph), Ok(()));
    if graph.nodes.len() > MOST_NODES {
        return false;
    }
    let mut program = passes::equations::run(graph);
    cnnc::lower::simplify(&mut program);
    true
}
