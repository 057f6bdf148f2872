//! Reads the text of kernels and layouts back.

use crate::te::parser::Resolver;
use crate::te::text::{self, ParseError, tree};

use super::{Kernel, Kernels, Layout, Layouts, Nest, Statement};

/// Lanes and halos are no larger.
const LARGEST_LAYOUT: f64 = 65536.0;

/// Reads kernels and the layouts of their tensors.
///
/// # Errors
///
/// Where the text does not follow the grammar, or uses a name that it does not declare.
pub fn parse(text: &str) -> Result<(Kernels, Layouts), ParseError> {
    let tree = text::kernels(text)?;
    let mut resolver = Resolver::new(text);
    resolver.signature(&tree.inputs, &tree.outputs)?;
    for tensor in &tree.tensors {
        resolver.declare(tensor)?;
    }
    let mut layouts = Layouts::default();
    let mut stored = std::collections::BTreeSet::new();
    for line in &tree.stored {
        let error = |message| ParseError::at(text, line.offset, message);
        let tensor = resolver.tensor(&line.tensor).map_err(error)?;
        stored.insert(tensor);
        if !line.layout.is_empty() {
            let shape = &resolver.program.tensors[tensor].shape;
            layouts.insert(tensor, layout(shape, &line.layout).map_err(error)?);
        }
    }
    let kernels = tree.kernels.iter().map(|tree| kernel(&mut resolver, tree));
    let kernels = kernels.collect::<Result<_, _>>()?;
    Ok((Kernels { program: resolver.program, kernels, stored }, layouts))
}

fn kernel(resolver: &mut Resolver<'_>, tree: &tree::Kernel) -> Result<Kernel, ParseError> {
    let nests = tree.nests.iter().map(|tree| nest(resolver, tree)).collect::<Result<_, _>>()?;
    Ok(Kernel { name: tree.name.clone(), nests })
}

fn nest(resolver: &mut Resolver<'_>, tree: &tree::Nest) -> Result<Nest, ParseError> {
    resolver.leave();
    let axes = resolver.bind(&tree.axes).map_err(|message| resolver.error(tree.offset, message))?;
    let reduce = resolver.axes(&tree.reduce).map_err(|message| resolver.error(tree.offset, message))?;
    let windows = resolver.bind(&tree.windows).map_err(|message| resolver.error(tree.offset, message))?;
    let mut statements = Vec::new();
    for line in &tree.statements {
        let (result, at, body) = resolver.statement(line)?;
        statements.push(Statement { result, at, body });
    }
    Ok(Nest { axes, reduce, windows, statements })
}

fn layout(shape: &[i64], words: &[tree::Property]) -> Result<Layout, String> {
    let mut layout = Layout::new(shape, None, 1);
    for word in words {
        let numbers = numbers(word)?;
        match (word.name.as_str(), numbers.as_slice()) {
            ("rows", []) => {}
            ("dense", []) => layout.dense = true,
            ("lanes", [lane_dim, lanes]) => {
                layout.lane_dim = Some(whole(*lane_dim)? as usize);
                layout.lanes = whole(*lanes)?.max(1);
            }
            ("halo", widths) if widths.len() == 2 * shape.len() => {
                let pair = |pair: &[f64]| Ok::<_, String>((whole(pair[0])?, whole(pair[1])?));
                layout.halo = widths.chunks_exact(2).map(pair).collect::<Result<_, _>>()?;
            }
            ("fill", [value]) => layout.fill = Some((*value).into()),
            (other, _) => return Err(format!("`{other}` with these numbers is part of no layout")),
        }
    }
    if layout.lane_dim.is_some_and(|lane_dim| lane_dim >= shape.len()) {
        return Err("the dimension in lanes is none of the tensor's".into());
    }
    Ok(layout)
}

fn numbers(word: &tree::Property) -> Result<Vec<f64>, String> {
    let number = |argument: &tree::Argument| match argument {
        tree::Argument::Number(value) => Ok(*value),
        tree::Argument::String(_) | tree::Argument::Property(_) => {
            Err(format!("`{}` takes numbers", word.name))
        }
    };
    word.arguments.iter().map(number).collect()
}

fn whole(value: f64) -> Result<i64, String> {
    let fits = value.fract() == 0.0 && (0.0..=LARGEST_LAYOUT).contains(&value);
    if fits { Ok(value as i64) } else { Err(format!("{value} is no size of a layout")) }
}
