//! What is allowed but probably not meant: names that nothing uses.
//!
//! A name counts as used where its word stands anywhere else in its item, also within the braces of a message. So a
//! shadowed name is never reported wrongly; some unused ones are not reported at all.

use std::collections::HashMap;

use crate::base::diagnostic::Diagnostic;
use crate::base::span::{FileId, Span};
use crate::syntax::ast::{
    Block, Else, Expr, ExprKind, File, IfExpr, Item, Name, OpStmtKind, Param, Stmt, StmtKind,
};
use crate::syntax::token::{Kind, lex};

/// The warnings of a file.
pub fn run(tree: &File, id: FileId, text: &str) -> Vec<Diagnostic> {
    let words = Words::of(id, text);
    let mut warnings = Vec::new();
    for item in &tree.items {
        let (params, names) = declared(item);
        let unused = |name: &&Name| words.count(&name.text, item.span()) < 2;
        let params = params.iter().map(|param| &param.name).filter(unused);
        warnings.extend(params.map(|name| warning("parameter", name)));
        warnings.extend(names.into_iter().filter(unused).map(|name| warning("variable", name)));
    }
    warnings
}

fn warning(what: &str, name: &Name) -> Diagnostic {
    Diagnostic::warning(format!("unused {what} `{}`", name.text)).primary(name.span, "nothing reads it")
}

/// The words of a file with their places, in order, and the places of each.
pub(super) struct Words<'a> {
    all: Vec<(u32, &'a str)>,
    places: HashMap<&'a str, Vec<u32>>,
}

impl Words<'_> {
    pub(super) fn of(id: FileId, text: &str) -> Words<'_> {
        let mut all = Vec::new();
        for token in lex(id, text).0.tokens {
            let written = token.text(text);
            match token.kind {
                Kind::Name => all.push((token.start, written)),
                Kind::String => all.extend(interpolated(written).map(|word| (token.start, word))),
                _ => {}
            }
        }
        let mut places: HashMap<&str, Vec<u32>> = HashMap::new();
        for (start, word) in &all {
            places.entry(word).or_default().push(*start);
        }
        Words { all, places }
    }

    /// How often a word stands within a span.
    pub(super) fn count(&self, word: &str, span: Span) -> usize {
        let places = self.places.get(word).map_or(&[][..], Vec::as_slice);
        let before = |end: u32| places.partition_point(|start| *start < end);
        before(span.end).saturating_sub(before(span.start))
    }

    /// The words within a span.
    pub(super) fn within(&self, span: Span) -> impl Iterator<Item = &str> {
        let before = |end: u32| self.all.partition_point(|(start, _)| *start < end);
        self.all[before(span.start)..before(span.end)].iter().map(|(_, word)| *word)
    }
}

/// The words within the braces of a string.
fn interpolated(text: &str) -> impl Iterator<Item = &str> {
    let parts = text.split('{').skip(1).filter_map(|part| part.split('}').next());
    parts.flat_map(|part| part.split(|letter: char| !letter.is_alphanumeric() && letter != '_'))
}

/// The parameters and the variables that an item declares.
fn declared(item: &Item) -> (&[Param], Vec<&Name>) {
    let mut names = Vec::new();
    match item {
        Item::Fn(item) => {
            in_block(&item.body, &mut names);
            (&item.params, names)
        }
        Item::Op(item) => {
            names.extend(item.body.iter().filter_map(|statement| match &statement.kind {
                OpStmtKind::Let { name, .. } => Some(name),
                OpStmtKind::Equation { .. } | OpStmtKind::Assert(_) => None,
            }));
            (&item.params, names)
        }
        Item::Use(_) | Item::Data(_) | Item::Train(_) => (&[], names),
    }
}

fn in_block<'a>(block: &'a Block, names: &mut Vec<&'a Name>) {
    in_statements(&block.stmts, names);
    if let Some(Expr { kind: ExprKind::If(tail), .. }) = block.tail.as_deref() {
        in_if(tail, names);
    }
}

fn in_statements<'a>(statements: &'a [Stmt], names: &mut Vec<&'a Name>) {
    for statement in statements {
        match &statement.kind {
            StmtKind::Let { targets, .. } => names.extend(targets),
            StmtKind::For { body, .. } => in_statements(body, names),
            StmtKind::If(branches) => in_if(branches, names),
            StmtKind::Declare { .. }
            | StmtKind::Assign { .. }
            | StmtKind::Update { .. }
            | StmtKind::Assert(_) => {}
        }
    }
}

fn in_if<'a>(branches: &'a IfExpr, names: &mut Vec<&'a Name>) {
    in_block(&branches.then, names);
    match &branches.otherwise {
        Some(Else::If(next)) => in_if(next, names),
        Some(Else::Block(block)) => in_block(block, names),
        None => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::source::SourceMap;

    fn unused(text: &str) -> Vec<String> {
        let mut sources = SourceMap::default();
        let id = sources.add("model.cnn", text);
        let (tree, errors) = crate::syntax::parse(id, text);
        assert!(errors.is_empty(), "{errors:?}");
        run(&tree, id, text).into_iter().map(|warning| warning.message).collect()
    }

    #[test]
    fn finds_unused_names() {
        let text =
            "block b(x: any, k: int) { let a = 1; let (p, q) = two(x); if p { let r = 2; x } else { x } }";
        assert_eq!(
            unused(text),
            ["unused parameter `k`", "unused variable `a`", "unused variable `q`", "unused variable `r`"]
        );
        assert_eq!(unused("op f(x: f32, w: f32) -> y: f32 { let h = 2; y = x; }").len(), 2);
    }

    #[test]
    fn any_mention_is_a_use() {
        assert_eq!(
            unused("block b(x: any, k: int) { let k = pair(k); assert true, \"k is {k[0]}\"; x }"),
            [""; 0]
        );
        assert_eq!(unused("block b(x: any, name: string) { assert false, \"{name}: no\"; x }"), [""; 0]);
    }
}
