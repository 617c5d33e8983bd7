//! The table of what the API serves.

use std::collections::HashMap;

use kinds::Resource;
use meta::{Gvk, Gvr};

/// All resources that are served at one time, the custom ones last and a group's preferred version first. Immutable: a new
/// custom resource makes a new table; what its definition says is in [`Resource::custom`].
#[derive(Clone, Default)]
pub struct Resources {
    rows: Vec<Resource>,
    by_gvr: HashMap<Gvr, usize>,
    by_gvk: HashMap<Gvk, usize>,
}

impl Resources {
    /// The table of these rows. Of two resources with one kind (reviews aside, there are none) the first is the kind's own.
    pub fn new(rows: impl IntoIterator<Item = Resource>) -> Self {
        let rows: Vec<Resource> = rows.into_iter().collect();
        let mut table = Self::default();
        for (index, row) in rows.iter().enumerate() {
            table.by_gvr.entry(row.gvr()).or_insert(index);
            table.by_gvk.entry(row.gvk()).or_insert(index);
        }
        Self { rows, ..table }
    }

    /// What is built in.
    pub fn builtin() -> Self {
        Self::new(kinds::all().iter().cloned())
    }

    /// The resource at this endpoint.
    pub fn by_gvr(&self, gvr: &Gvr) -> Option<&Resource> {
        self.by_gvr.get(gvr).map(|index| &self.rows[*index])
    }

    /// The resource of this kind.
    pub fn by_gvk(&self, gvk: &Gvk) -> Option<&Resource> {
        self.by_gvk.get(gvk).map(|index| &self.rows[*index])
    }

    /// All of them, in the order of the table.
    pub fn iter(&self) -> impl Iterator<Item = &Resource> {
        self.rows.iter()
    }
}
