//! Names of custom resources, kept for good.
//!
//! Built-in resources have names that are part of the program; those of custom resources live as long. Each distinct text is
//! kept once, so that defining a resource again and again costs nothing.

use std::collections::HashSet;

use crate::resource::{Column, Subresource};

/// All that was ever kept.
#[derive(Debug, Default)]
pub struct Names {
    texts: HashSet<&'static str>,
    lists: HashSet<&'static [&'static str]>,
    columns: Vec<&'static [Column]>,
    subresources: Vec<&'static [Subresource]>,
}

impl Names {
    /// A text.
    pub(crate) fn text(&mut self, text: &str) -> &'static str {
        match self.texts.get(text) {
            Some(kept) => kept,
            None => {
                let kept: &'static str = Box::leak(text.into());
                self.texts.insert(kept);
                kept
            }
        }
    }

    /// A list of texts.
    pub(crate) fn list<'a>(&mut self, texts: impl IntoIterator<Item = &'a str>) -> &'static [&'static str] {
        let texts: Vec<&'static str> = texts.into_iter().map(|text| self.text(text)).collect();
        match self.lists.get(texts.as_slice()) {
            Some(kept) => kept,
            None => {
                let kept: &'static [&'static str] = Box::leak(texts.into_boxed_slice());
                self.lists.insert(kept);
                kept
            }
        }
    }

    /// The columns of a table.
    pub(crate) fn columns(&mut self, columns: Vec<Column>) -> &'static [Column] {
        keep(&mut self.columns, columns)
    }

    /// The further endpoints of a resource.
    pub(crate) fn subresources(&mut self, subresources: Vec<Subresource>) -> &'static [Subresource] {
        keep(&mut self.subresources, subresources)
    }
}

fn keep<T: PartialEq>(kept: &mut Vec<&'static [T]>, items: Vec<T>) -> &'static [T] {
    if let Some(own) = kept.iter().find(|own| **own == items.as_slice()) {
        return own;
    }
    let own: &'static [T] = Box::leak(items.into_boxed_slice());
    kept.push(own);
    own
}
