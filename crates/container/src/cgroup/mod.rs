//! Control groups of all three kinds: v1, hybrid and v2.
//!
//! A [`Cgroup`] is one path beneath the root of every hierarchy. Controllers that a machine lacks are left out, never an error.
