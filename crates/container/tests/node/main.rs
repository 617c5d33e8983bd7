//! Node tests: real containers on this machine. They need root, and leave nothing behind, which each of them checks.

mod isolation;
mod life;
mod load;
mod recovery;
mod streams;
mod support;
