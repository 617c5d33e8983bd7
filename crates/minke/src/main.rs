fn main() { println!("minke"); }
