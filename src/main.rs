//! Arguments to commands to exit code.
fn main() {}
