//! From text to the AST and back: lexer, parser, printer.

pub mod ast;
mod build;
mod cut;
mod explain;
mod literal;
mod parse;
mod site;
pub mod token;

pub use parse::parse;

lalrpop_util::lalrpop_mod!(
    #[allow(clippy::all, clippy::pedantic, unused_parens, unused_imports, dead_code)]
    grammar,
    "/cnn.rs"
);

#[cfg(test)]
mod tests;
