//! The shim of the node tests: nothing but the entry point, as the real program has it.

fn main() {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    container::shim::main(&arguments)
}
