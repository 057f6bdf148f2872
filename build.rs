//! Generates the parsers of `grammar/` with LALRPOP.

fn main() {
    println!("cargo:rerun-if-changed=grammar");
    lalrpop::Configuration::new()
        .set_in_dir("grammar")
        .process()
        .expect("the grammars in grammar/ are LALR(1)");
}
