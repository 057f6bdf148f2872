//! From text to the AST and back.
//!
//! [`parse`] gives the [`ast`] of a file with its diagnostics, [`format()`] the canonical text with its comments. On the
//! way: `token` and `literal` are the lexer, `cut` takes a file apart into items, `brackets` and the grammar in
//! `grammar/cnn.lalrpop` check each, `explain` and `mistakes` say what is wrong, `print` and its siblings make documents
//! of a tree, and `layout` breaks their lines. Nothing here knows what a name means.

pub mod ast;
mod brackets;
mod build;
mod cut;
mod explain;
mod format;
mod layout;
mod literal;
mod mistakes;
mod parse;
mod print;
mod print_expr;
mod print_item;
mod site;
pub mod token;

pub use format::{ast_text, expr_text, format, tokens_text};
pub use parse::parse;

lalrpop_util::lalrpop_mod!(
    #[allow(clippy::all, clippy::pedantic, unused_parens, unused_imports, dead_code)]
    grammar,
    "/cnn.rs"
);

#[cfg(test)]
mod tests;
