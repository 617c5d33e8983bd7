//! The embedded store: one SQLite file, one thread that commits.
