//! Reads the text of a graph back. Ids of values and ops stay as written; spans are lost.

use std::collections::HashMap;

use cranelift_entity::EntityRef;

use crate::te::DType;
use crate::te::parser::program;
use crate::te::text::{self, ParseError, labels::name_of, tree};

use super::{Graph, Init, Node, Op, OpId, Role, Sink, Value, ValueData};

/// A graph has fewer values than this.
const MOST_VALUES: usize = 1 << 20;

/// Reads a graph.
///
/// # Errors
///
/// Where the text does not follow the grammar, or uses an op, role or sink that there is not.
pub fn parse(text: &str) -> Result<Graph, ParseError> {
    let tree = text::graph(text)?;
    let mut resolver = Resolver { text, graph: Graph::default(), ops: HashMap::new() };
    for (label, op) in &tree.ops {
        let program = program(text, op)?;
        let id = resolver.graph.ops.push(Op { name: name_of(label).into(), program });
        if resolver.ops.insert(label.clone(), id).is_some() {
            let offset = op.inputs.first().map_or(0, |input| input.offset);
            return Err(ParseError::at(text, offset, format!("op `{label}` is given twice")));
        }
    }
    for input in &tree.inputs {
        let value = resolver.declare(&input.value)?;
        let role = resolver.role(&input.role)?;
        resolver.graph.inputs.push((value, role));
    }
    for node in &tree.nodes {
        resolver.node(node)?;
    }
    for output in &tree.outputs {
        let value = resolver.value(&output.value, output.offset)?;
        let sink = resolver.sink(&output.sink)?;
        resolver.graph.outputs.push((value, sink));
    }
    Ok(resolver.graph)
}

struct Resolver<'a> {
    text: &'a str,
    graph: Graph,
    ops: HashMap<String, OpId>,
}

impl Resolver<'_> {
    fn error<T>(&self, offset: usize, message: String) -> Result<T, ParseError> {
        Err(ParseError::at(self.text, offset, message))
    }

    /// The value of an id such as `v7`. Ids up to it become values, if they are none yet.
    fn value(&mut self, id: &str, offset: usize) -> Result<Value, ParseError> {
        let number = id.strip_prefix('v').and_then(|digits| digits.parse::<usize>().ok());
        let Some(number) = number.filter(|number| *number < MOST_VALUES) else {
            return self.error(offset, format!("`{id}` is no value; values are `v0`, `v1`, ..."));
        };
        while self.graph.values.len() <= number {
            let unused = ValueData { name: "unused".into(), dtype: DType::F32, shape: Vec::new() };
            self.graph.values.push(unused);
        }
        Ok(Value::new(number))
    }

    fn declare(&mut self, tree: &tree::Value) -> Result<Value, ParseError> {
        let value = self.value(&tree.id, tree.data.offset)?;
        let (name, dtype, shape) = (tree.data.name.clone(), tree.data.dtype, tree.data.shape.clone());
        self.graph.values[value] = ValueData { name, dtype, shape };
        Ok(value)
    }

    fn node(&mut self, tree: &tree::Node) -> Result<(), ParseError> {
        let Some(op) = self.ops.get(&tree.op).copied() else {
            return self.error(tree.offset, format!("there is no op `{}`", tree.op));
        };
        let results = tree.results.iter().map(|value| self.declare(value)).collect::<Result<_, _>>()?;
        let inputs = tree.inputs.iter().map(|id| self.value(id, tree.offset)).collect::<Result<_, _>>()?;
        self.graph.nodes.push(Node { op, inputs, results, path: tree.path.clone(), span: None });
        Ok(())
    }

    fn role(&self, tree: &tree::Property) -> Result<Role, ParseError> {
        use tree::Argument::{Property, String};
        match (tree.name.as_str(), tree.arguments.as_slice()) {
            ("data", []) => Ok(Role::Data),
            ("target", []) => Ok(Role::Target),
            ("partner", []) => Ok(Role::Partner),
            ("scalar", [String(name)]) => Ok(Role::Scalar(name.clone())),
            ("param", [String(path), Property(init)]) => {
                Ok(Role::Param { path: path.clone(), init: self.init(init)? })
            }
            ("state", [String(path), Property(init)]) => {
                Ok(Role::State { path: path.clone(), init: self.init(init)? })
            }
            (other, _) => self.error(tree.offset, format!("`{other}` with these arguments is no role")),
        }
    }

    fn init(&self, tree: &tree::Property) -> Result<Init, ParseError> {
        use tree::Argument::Number;
        match (tree.name.as_str(), tree.arguments.as_slice()) {
            ("constant", [Number(value)]) => Ok(Init::Constant(*value)),
            ("uniform", [Number(low), Number(high)]) => Ok(Init::Uniform { low: *low, high: *high }),
            ("normal", [Number(mean), Number(std)]) => Ok(Init::Normal { mean: *mean, std: *std }),
            (other, _) => self.error(tree.offset, format!("`{other}` with these arguments fills no tensor")),
        }
    }

    fn sink(&mut self, tree: &tree::Property) -> Result<Sink, ParseError> {
        use tree::Argument::{Property, String};
        match (tree.name.as_str(), tree.arguments.as_slice()) {
            ("loss", []) => Ok(Sink::Loss),
            ("prediction", []) => Ok(Sink::Prediction),
            ("metric", [String(name)]) => Ok(Sink::Metric(name.clone())),
            ("update", [Property(value)]) => Ok(Sink::Update(self.value(&value.name, value.offset)?)),
            ("gradient", [Property(value)]) => Ok(Sink::Gradient(self.value(&value.name, value.offset)?)),
            ("gradient_norm", [Property(value)]) => {
                Ok(Sink::GradientNorm(self.value(&value.name, value.offset)?))
            }
            ("health", of) => {
                let value = |argument: &tree::Argument| match argument {
                    Property(value) => self.value(&value.name, value.offset),
                    _ => self.error(tree.offset, "`health` is of parameters".into()),
                };
                Ok(Sink::Health(of.iter().map(value).collect::<Result<_, _>>()?))
            }
            ("accepted", []) => Ok(Sink::Accepted),
            ("probe", [String(name)]) => Ok(Sink::Probe(name.clone())),
            (other, _) => self.error(tree.offset, format!("`{other}` with these arguments is no sink")),
        }
    }
}
