//! The menu of development tasks.
fn main() {}
