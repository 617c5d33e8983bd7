//! Changes of one table that happen together.

use super::buffer::Buffer;
use super::expression::Rule;
use super::objects::{Chain, Element, Set};

const SUBSYSTEM: u16 = 10;
const REQUEST: u16 = 1;
const CREATE: u16 = 0x400;
const APPEND: u16 = 0x800;
const IPV4: u8 = 2;
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
const ACKNOWLEDGE: u16 = 4;

const NEW_TABLE: u16 = 0;
const DELETE_TABLE: u16 = 2;
const NEW_CHAIN: u16 = 3;
const DELETE_CHAIN: u16 = 5;
const NEW_RULE: u16 = 6;
const DELETE_RULE: u16 = 8;
const NEW_SET: u16 = 9;
const DELETE_SET: u16 = 11;
const NEW_ELEMENT: u16 = 12;
const DELETE_ELEMENT: u16 = 14;

/// The attribute that names the table, in every message.
const TABLE: u16 = 1;

/// So many elements fit an attribute, whatever their names are: chains' names have up to 255 bytes.
const ELEMENTS: usize = 160;

/// Changes of one table, in order. Nothing of it happens before [`super::Rules::commit`], and then all of it or nothing.
#[derive(Clone, Debug)]
pub struct Transaction {
    table: String,
    buffer: Buffer,
    sets: u32,
    changes: usize,
}

impl Transaction {
    /// No changes yet.
    pub fn new(table: &str) -> Self {
        let mut buffer = Buffer::default();
        buffer.message(BATCH_BEGIN, REQUEST, (0, SUBSYSTEM), |_| {});
        Self { table: table.to_owned(), buffer, sets: 0, changes: 0 }
    }

    /// How many changes there are.
    pub fn changes(&self) -> usize {
        self.changes
    }

    fn message(&mut self, kind: u16, flags: u16, body: impl FnOnce(&mut Buffer)) {
        let table = &self.table;
        self.changes += 1;
        self.buffer.message(SUBSYSTEM << 8 | kind, REQUEST | ACKNOWLEDGE | flags, (IPV4, 0), |message| {
            message.text(TABLE, table);
            body(message);
        });
    }

    /// Makes the table, unless it is there.
    pub fn add_table(&mut self) {
        self.message(NEW_TABLE, CREATE, |_| {});
    }

    /// Removes the table, which must be there, with everything in it.
    pub fn remove_table(&mut self) {
        self.message(DELETE_TABLE, 0, |_| {});
    }

    /// Makes a chain.
    pub fn add_chain(&mut self, chain: &Chain) {
        self.message(NEW_CHAIN, CREATE, |message| chain.write(message));
    }

    /// Removes a chain that has no rules and that nothing leads to.
    pub fn remove_chain(&mut self, name: &str) {
        const NAME: u16 = 3;
        self.message(DELETE_CHAIN, 0, |message| message.text(NAME, name));
    }

    /// Removes all rules of a chain.
    pub fn flush_chain(&mut self, name: &str) {
        const CHAIN: u16 = 2;
        self.message(DELETE_RULE, 0, |message| message.text(CHAIN, name));
    }

    /// Puts a rule at the end of a chain.
    pub fn add_rule(&mut self, chain: &str, rule: &Rule) {
        const CHAIN: u16 = 2;
        let first = self.sets + 1;
        for (set, elements) in rule.maps() {
            let id = self.new_set(&set, true);
            for part in elements.chunks(ELEMENTS) {
                self.elements(NEW_ELEMENT, (&set.name, Some(id)), part);
            }
        }
        self.message(NEW_RULE, CREATE | APPEND, |message| {
            message.text(CHAIN, chain);
            rule.write(message, first);
        });
    }

    /// Makes a set or map.
    pub fn add_set(&mut self, set: &Set) {
        self.new_set(set, false);
    }

    fn new_set(&mut self, set: &Set, anonymous: bool) -> u32 {
        self.sets += 1;
        let id = self.sets;
        self.message(NEW_SET, CREATE, |message| set.write(message, id, anonymous));
        id
    }

    /// Removes a set that no rule uses.
    pub fn remove_set(&mut self, name: &str) {
        const NAME: u16 = 2;
        self.message(DELETE_SET, 0, |message| message.text(NAME, name));
    }

    /// Puts elements into a set.
    pub fn add_elements(&mut self, set: &str, elements: &[Element]) {
        for part in elements.chunks(ELEMENTS) {
            self.elements(NEW_ELEMENT, (set, None), part);
        }
    }

    /// Takes elements out of a set; they must be there.
    pub fn remove_elements(&mut self, set: &str, elements: &[Element]) {
        for part in elements.chunks(ELEMENTS) {
            self.elements(DELETE_ELEMENT, (set, None), part);
        }
    }

    fn elements(&mut self, kind: u16, (set, id): (&str, Option<u32>), elements: &[Element]) {
        const NAME: u16 = 2;
        const LIST: u16 = 3;
        const ID: u16 = 4;
        self.message(kind, if kind == NEW_ELEMENT { CREATE } else { 0 }, |message| {
            message.text(NAME, set);
            if let Some(id) = id {
                message.number(ID, id);
            }
            message.nested(LIST, |list| elements.iter().for_each(|element| element.write(list)));
        });
    }

    /// The messages as they go to the kernel.
    pub(super) fn finish(&self) -> Buffer {
        let mut buffer = self.buffer.clone();
        buffer.message(BATCH_END, REQUEST, (0, SUBSYSTEM), |_| {});
        buffer
    }
}
