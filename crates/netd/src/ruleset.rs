//! The rules of one table as they are, and the transaction from there to how they should be.

use std::borrow::Cow;
use std::collections::BTreeMap;

use net::nft::{Chain, Element, Rule, Set, Transaction};

/// A set and the key of an element in it.
pub(crate) type ElementKey = (Cow<'static, str>, Vec<u8>);

/// What one object of the API adds to a table. Its chains and sets have names that no other object's have; elements may be
/// wanted by several.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fragment {
    pub(crate) sets: BTreeMap<String, Set>,
    pub(crate) chains: BTreeMap<String, Vec<Rule>>,
    pub(crate) elements: BTreeMap<ElementKey, Element>,
}

impl Fragment {
    /// Adds an element to a set, which may be its own or the table's.
    pub(crate) fn element(&mut self, set: impl Into<Cow<'static, str>>, element: Element) {
        self.elements.insert((set.into(), element.key.clone()), element);
    }
}

/// What a table holds: a skeleton that is there always, and a fragment for each object.
#[derive(Clone, Debug)]
pub(crate) struct Ruleset {
    table: String,
    skeleton: Transaction,
    fragments: BTreeMap<String, Fragment>,
    /// Who wants which element. Where several want one, the first of them has it.
    wanted: BTreeMap<ElementKey, BTreeMap<String, Element>>,
}

impl Ruleset {
    /// A table with a skeleton and nothing else.
    pub(crate) fn new(table: &str, skeleton: impl FnOnce(&mut Transaction)) -> Self {
        let mut change = Transaction::new(table);
        change.add_table();
        change.remove_table();
        change.add_table();
        skeleton(&mut change);
        Self { table: table.to_owned(), skeleton: change, fragments: BTreeMap::new(), wanted: BTreeMap::new() }
    }

    /// The transaction that makes the table anew, whatever is there.
    pub(crate) fn rebuild(&self) -> Transaction {
        let mut change = self.skeleton.clone();
        let empty = Fragment::default();
        let pairs: Vec<_> = self.fragments.values().map(|new| (&empty, new)).collect();
        add_objects(&mut change, &pairs);
        let elements = self.wanted.iter().filter_map(|(key, owners)| Some((key, owners.values().next()?)));
        add_elements(&mut change, elements);
        change
    }

    /// The names of those that have a fragment.
    pub(crate) fn owners(&self) -> impl Iterator<Item = &String> {
        self.fragments.keys()
    }

    /// Takes new fragments over, and gives the transaction from the rules before; `None` if there is nothing to do.
    pub(crate) fn update(&mut self, fragments: Vec<(String, Fragment)>) -> Option<Transaction> {
        let mut before: BTreeMap<ElementKey, Option<Element>> = BTreeMap::new();
        let mut pairs = Vec::new();
        for (owner, new) in fragments {
            let old = self.fragments.remove(&owner).unwrap_or_default();
            if old == new {
                self.keep(owner, new);
                continue;
            }
            for key in old.elements.keys().chain(new.elements.keys()) {
                before.entry(key.clone()).or_insert_with(|| self.element(key).cloned());
            }
            self.disown(&owner, &old);
            for (key, element) in &new.elements {
                self.wanted.entry(key.clone()).or_default().insert(owner.clone(), element.clone());
            }
            pairs.push((old, new.clone()));
            self.keep(owner, new);
        }
        if pairs.is_empty() {
            return None;
        }
        let mut change = Transaction::new(&self.table);
        let pairs: Vec<_> = pairs.iter().map(|(old, new)| (old, new)).collect();
        self.write(&mut change, &pairs, &before);
        (change.changes() > 0).then_some(change)
    }

    fn write(
        &self,
        change: &mut Transaction,
        pairs: &[(&Fragment, &Fragment)],
        before: &BTreeMap<ElementKey, Option<Element>>,
    ) {
        let moved: Vec<_> = before.iter().filter(|(key, old)| self.element(key) != old.as_ref()).collect();
        for (key, old) in &moved {
            if let Some(old) = old {
                change.remove_elements(&key.0, std::slice::from_ref(old));
            }
        }
        for (old, new) in pairs {
            for (name, rules) in &old.chains {
                if new.chains.get(name) != Some(rules) {
                    change.flush_chain(name);
                }
            }
        }
        add_objects(change, pairs);
        let new = moved.iter().filter_map(|(key, _)| Some((*key, self.element(key)?)));
        add_elements(change, new);
        for (old, new) in pairs {
            old.chains.keys().filter(|name| !new.chains.contains_key(*name)).for_each(|name| change.remove_chain(name));
            old.sets.keys().filter(|name| !new.sets.contains_key(*name)).for_each(|name| change.remove_set(name));
        }
    }

    fn keep(&mut self, owner: String, fragment: Fragment) {
        if fragment != Fragment::default() {
            self.fragments.insert(owner, fragment);
        }
    }

    fn disown(&mut self, owner: &str, fragment: &Fragment) {
        for key in fragment.elements.keys() {
            if let Some(owners) = self.wanted.get_mut(key) {
                owners.remove(owner);
                if owners.is_empty() {
                    self.wanted.remove(key);
                }
            }
        }
    }

    fn element(&self, key: &ElementKey) -> Option<&Element> {
        self.wanted.get(key)?.values().next()
    }
}

/// Adds sets, chains and rules that are not there as they should be; chains that change are empty already.
fn add_objects(change: &mut Transaction, pairs: &[(&Fragment, &Fragment)]) {
    for (old, new) in pairs {
        for (_, set) in new.sets.iter().filter(|(name, _)| !old.sets.contains_key(*name)) {
            change.add_set(set);
        }
        for name in new.chains.keys().filter(|name| !old.chains.contains_key(*name)) {
            change.add_chain(&Chain { name: name.clone(), base: None });
        }
    }
    for (old, new) in pairs {
        for (name, rules) in new.chains.iter().filter(|(name, rules)| old.chains.get(*name) != Some(rules)) {
            rules.iter().for_each(|rule| change.add_rule(name, rule));
        }
    }
}

fn add_elements<'a>(change: &mut Transaction, elements: impl Iterator<Item = (&'a ElementKey, &'a Element)>) {
    let mut by_set: BTreeMap<&str, Vec<Element>> = BTreeMap::new();
    for ((set, _), element) in elements {
        by_set.entry(set.as_ref()).or_default().push(element.clone());
    }
    for (set, elements) in by_set {
        change.add_elements(set, &elements);
    }
}
