//! Parts for tests on real clusters: a cluster in a network of its own, a foreign client to it, an image with a shell, and a look at
//! what the kernel holds afterwards.

mod cluster;
mod eventually;
mod image;
mod kernel;
mod pods;
mod seed;
mod suite;

pub use cluster::{Cluster, enter};
pub use eventually::eventually;
pub use image::{BUSYBOX, BUSYBOX_AGAIN, busybox_archive};
pub use kernel::{nothing_is_left, traces};
pub use pods::{Namespace, container, is_ready, pod};
pub use seed::seed;
pub use suite::{Suite, need_root};
