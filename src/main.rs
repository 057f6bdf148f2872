//! Arguments to command to exit code.

#[global_allocator]
static ALLOCATOR: cnnc::runtime::allocator::Allocator = cnnc::runtime::allocator::Allocator;

fn main() -> std::process::ExitCode {
    cnnc::cli::main()
}
