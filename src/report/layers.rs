//! The layers of a graph: what each costs and how much of the input its outputs see.
//!
//! In: a forward graph. A layer is what the graph's paths say: the nodes of one instance, or a node of its own between
//! instances. All figures come from the equations of its ops; no op is known by name.

use std::collections::{BTreeSet, HashSet};

use serde::Serialize;

use crate::graph::{Graph, Node, Role, Value};
use crate::te::{Binary, Expr, ExprId, Program, Reduction};

use super::reach::Reach;

/// One layer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Layer {
    /// The path of its instance, or of its node.
    pub name: String,
    /// The ops that it calls.
    pub ops: Vec<String>,
    /// The output's extents, the batch first.
    pub shape: Vec<i64>,
    /// Numbers that are trained.
    pub parameters: u64,
    /// Multiply-adds of its sums of products, those on padding included.
    pub macs: u64,
    /// The height and width of the part of the input that one output element depends on; none where the input is not
    /// a picture.
    pub receptive_field: Option<[i64; 2]>,
    /// The rows and columns of the input between what neighbouring output elements see; none without neighbours.
    pub jump: Option<[i64; 2]>,
    /// Bytes of its output; none are counted for one that only renames elements, such as a reshape.
    pub activation_bytes: u64,
}

/// All layers in the order of the graph.
pub fn layers(graph: &Graph) -> Vec<Layer> {
    let is_param = |role: &Role| matches!(role, Role::Param { .. });
    let params = graph.inputs.iter().filter(|(_, role)| is_param(role)).map(|(value, _)| *value).collect();
    let mut figures = Figures { graph, reach: Reach::of(graph), uncounted: params };
    groups(graph).into_iter().map(|(name, nodes)| figures.layer(name, &nodes)).collect()
}

/// Names and nodes of the layers.
fn groups(graph: &Graph) -> Vec<(String, Vec<&Node>)> {
    let inner: BTreeSet<&str> = graph
        .nodes
        .iter()
        .filter_map(|node| instance(node).rsplit_once('.'))
        .map(|(outer, _)| outer)
        .collect();
    let is_leaf = |instance: &str| !instance.is_empty() && !inner.contains(instance);
    let mut groups: Vec<(String, Vec<&Node>)> = Vec::new();
    for node in &graph.nodes {
        match groups.last_mut() {
            Some((name, nodes)) if is_leaf(instance(node)) && name == instance(node) => nodes.push(node),
            _ if is_leaf(instance(node)) => groups.push((instance(node).to_owned(), vec![node])),
            _ => groups.push((node.path.clone(), vec![node])),
        }
    }
    groups
}

/// The path of the instance that a node belongs to; the last component of its path is the op's own.
fn instance(node: &Node) -> &str {
    node.path.rsplit_once('.').map_or("", |(instance, _)| instance)
}

struct Figures<'a> {
    graph: &'a Graph,
    reach: Option<Reach<'a>>,
    /// The parameters that no layer so far has read.
    uncounted: HashSet<Value>,
}

impl Figures<'_> {
    fn layer(&mut self, name: String, nodes: &[&Node]) -> Layer {
        let graph = self.graph;
        let last = nodes[nodes.len() - 1];
        let output = last.results[0];
        let shape = graph.values[output].shape.clone();
        let size = if planted!("report.layers.bytes") { 1 } else { graph.values[output].dtype.size() as u64 };
        let programs = || nodes.iter().map(|node| &graph.ops[node.op].program);
        let inputs = nodes.iter().flat_map(|node| &node.inputs);
        let parameters = inputs.filter(|value| match planted!("report.layers.shared") {
            true => self.uncounted.contains(value),
            false => self.uncounted.remove(value),
        });
        let parameters = parameters.map(|value| elements(&graph.values[*value].shape)).sum();
        let counted = if planted!("report.layers.first") { 1 } else { usize::MAX };
        let field = self.reach.as_mut().and_then(|reach| reach.field(output));
        Layer {
            name,
            ops: nodes.iter().map(|node| graph.ops[node.op].name.clone()).collect(),
            parameters,
            macs: programs().take(counted).map(multiply_adds).fold(0, u64::saturating_add),
            receptive_field: field.map(|field| field.size),
            jump: field.and_then(|field| field.jump),
            activation_bytes: if programs().all(only_renames) { 0 } else { elements(&shape) * size },
            shape,
        }
    }
}

fn elements(shape: &[i64]) -> u64 {
    shape.iter().map(|extent| *extent as u64).product()
}

/// Multiply-adds of all sums of products of an op.
fn multiply_adds(program: &Program) -> u64 {
    let pieces = program.equations.iter().flat_map(|equation| &equation.pieces);
    let count = |piece: &crate::te::Piece| {
        let axes = piece.axes.iter().skip(usize::from(planted!("report.layers.batch")));
        let points: u64 = axes.map(|axis| program.axes[*axis].extent as u64).product();
        products(program, piece.body, points, &mut HashSet::new())
    };
    pieces.map(count).fold(0, u64::saturating_add)
}

/// Those of an expression that is evaluated at so many points.
fn products(program: &Program, id: ExprId, points: u64, seen: &mut HashSet<ExprId>) -> u64 {
    if !seen.insert(id) {
        return 0;
    }
    let (mut total, mut points) = (0_u64, points);
    if let Expr::Reduce { op, axes, body } = &program.exprs[id] {
        let each: u64 = axes.iter().map(|axis| program.axes[*axis].extent as u64).product();
        points = points.saturating_mul(each);
        let reads = |id: ExprId| !program.reads(id).is_empty();
        if let (Reduction::Sum, Expr::Binary(Binary::Mul, x, y)) = (op, &program.exprs[*body])
            && reads(*x)
            && reads(*y)
        {
            total = points;
        }
    }
    program.exprs[id].for_each_operand(&mut |operand| {
        total = u64::saturating_add(total, products(program, operand, points, seen));
    });
    total
}

/// Whether every element of the results is an element of an input.
fn only_renames(program: &Program) -> bool {
    let pieces = program.equations.iter().flat_map(|equation| &equation.pieces);
    pieces.into_iter().all(|piece| matches!(program.exprs[piece.body], Expr::Read { fill: None, .. }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::source::SourceMap;
    use crate::elab::{ModelCall, Module, Request};

    /// The layers of the only model of a text, for one sample.
    fn of(text: &str) -> Vec<Layer> {
        let module = Module::from_text(&mut SourceMap::default(), "model.cnn", text).ok().unwrap();
        let call = ModelCall::new(module.models()[0]);
        layers(&module.graph(&call, &Request::inference(1)).unwrap())
    }

    #[test]
    fn figures_of_a_network() {
        let layers = of("model M(x: f32[N, 1, 28, 28]) {
            x |> conv(6, 5, pad=2) as c1 |> relu |> maxpool(2) |> conv(16, 5) as c2 |> flatten |> linear(10) as fc
        }");
        let shown: Vec<_> = layers
            .iter()
            .map(|layer| {
                let Layer { name, parameters, macs, receptive_field, activation_bytes, .. } = layer;
                (name.as_str(), *parameters, *macs, receptive_field.unwrap(), *activation_bytes)
            })
            .collect();
        assert_eq!(
            shown,
            [
                ("c1", 6 * 25 + 6, 6 * 25 * 784, [5, 5], 6 * 784 * 4),
                ("relu", 0, 0, [5, 5], 6 * 784 * 4),
                ("maxpool1", 0, 0, [6, 6], 6 * 196 * 4),
                ("c2", 16 * 6 * 25 + 16, 16 * 100 * 6 * 25, [14, 14], 16 * 100 * 4),
                ("flatten1", 0, 0, [14, 14], 0),
                ("fc", 16010, 16000, [28, 28], 40),
            ]
        );
    }

    #[test]
    fn a_renamed_library_has_the_same_figures() {
        let own = "op product(x: f32[N, C, H, W], w: f32[O, C, K, K]) -> y: f32[N, O, H-K+1, W-K+1] {
              y[n, o, i, j] = sum[c < C, u < K, v < K] w[o, c, u, v] * x[n, c, i+u, j+v];
            }
            block blob(x: f32[N, C, H, W]) { param weight: f32[4, C, 3, 3] = zeros(); product(x, weight) }
            model M(x: f32[N, 2, 8, 8]) { x |> blob }";
        let theirs = "model M(x: f32[N, 2, 8, 8]) { x |> conv(4, 3, bias=false) }";
        let figures = |text| {
            let layer = of(text).remove(0);
            (layer.shape, layer.parameters, layer.macs, layer.receptive_field, layer.activation_bytes)
        };
        assert_eq!(figures(own), figures(theirs));
    }

    #[test]
    fn nested_instances_are_layers_of_their_own() {
        let layers = of("block pair(x: any) { x |> conv(2, 1) |> relu |> conv(2, 1) }
            model M(x: f32[N, 2, 8, 8]) { x |> pair as a |> pair as b }");
        let names: Vec<&str> = layers.iter().map(|layer| layer.name.as_str()).collect();
        assert_eq!(names, ["a.conv1", "a.relu", "a.conv2", "b.conv1", "b.relu", "b.conv2"]);
    }
}
