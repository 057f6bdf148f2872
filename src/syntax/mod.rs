//! From text to the AST and back: lexer, parser, printer.

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

pub use format::{ast_text, format, tokens_text};
pub use parse::parse;

lalrpop_util::lalrpop_mod!(
    #[allow(clippy::all, clippy::pedantic, unused_parens, unused_imports, dead_code)]
    grammar,
    "/cnn.rs"
);

#[cfg(test)]
mod tests;
