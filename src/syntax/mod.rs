//! From text to the AST and back: lexer, parser, printer.

pub mod ast;
