//! A graph as a picture: the language of Graphviz.

use std::fmt::Write;

use crate::base::visible;
use crate::te::printer::type_text;

use super::printer::{RoleText, SinkText};
use super::{Graph, Value};

/// The text for `dot`: a box a node, an ellipse an input or output, an edge a value with its type.
pub fn dot(graph: &Graph) -> String {
    let mut text = String::from("digraph {\n  node [fontname=\"sans-serif\"];\n");
    let mut line = |line: String| writeln!(text, "  {line}").unwrap_or_default();
    for (value, role) in &graph.inputs {
        let name = format!("{}\n{}", graph.values[*value].name, RoleText(role));
        line(format!("{value} [label={}, shape=ellipse];", label(&name)));
    }
    for (at, node) in graph.nodes.iter().enumerate() {
        let name = format!("{}\n{}", graph.ops[node.op].name, node.path);
        line(format!("node{at} [label={}, shape=box];", label(name.trim_end())));
        for input in &node.inputs {
            let edge = format!("{} -> node{at}", producer(graph, *input));
            line(format!("{edge} [label={}];", label(&value_type(graph, *input))));
        }
    }
    for (at, (value, sink)) in graph.outputs.iter().enumerate() {
        line(format!("output{at} [label={}, shape=ellipse];", label(&SinkText(sink).to_string())));
        let edge = format!("{} -> output{at}", producer(graph, *value));
        line(format!("{edge} [label={}];", label(&value_type(graph, *value))));
    }
    text + "}\n"
}

fn value_type(graph: &Graph, value: Value) -> String {
    let data = &graph.values[value];
    type_text(data.dtype, &data.shape)
}

/// The picture's node that defines a value.
fn producer(graph: &Graph, value: Value) -> String {
    let node = graph.nodes.iter().position(|node| node.results.contains(&value));
    node.map_or_else(|| value.to_string(), |at| format!("node{at}"))
}

fn label(text: &str) -> String {
    format!("\"{}\"", visible::lines(text).replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_hold_nothing_that_acts() {
        assert_eq!(label("a\"b\\\nc\u{1b}\u{9b}"), r#""a\"b\\\nc\\u{1b}\\u{9b}""#);
    }
}
