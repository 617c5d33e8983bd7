//! What a table is made of.

use std::net::Ipv4Addr;
use std::time::Duration;

use super::buffer::Buffer;

/// What happens to a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the kernel's verdicts")]
pub enum Verdict {
    Accept,
    Drop,
    Return,
    Jump(String),
    Goto(String),
}

impl Verdict {
    fn code(&self) -> i32 {
        match self {
            Self::Drop => 0,
            Self::Accept => 1,
            Self::Jump(_) => -3,
            Self::Goto(_) => -4,
            Self::Return => -5,
        }
    }

    pub(super) fn write(&self, buffer: &mut Buffer) {
        const VERDICT: u16 = 2;
        const CODE: u16 = 1;
        const CHAIN: u16 = 2;
        buffer.nested(VERDICT, |verdict| {
            verdict.attribute(CODE, &self.code().to_be_bytes());
            if let Self::Jump(chain) | Self::Goto(chain) = self {
                verdict.text(CHAIN, chain);
            }
        });
    }
}

/// Where packets enter a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the kernel's hooks")]
pub enum Hook {
    Prerouting,
    Input,
    Forward,
    Output,
    Postrouting,
}

/// What makes a chain one that packets enter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Base {
    /// `nat` or `filter`.
    pub kind: &'static str,
    /// Where.
    pub hook: Hook,
    /// Lower ones come first; -100 is where destinations are translated, 100 where sources are.
    pub priority: i32,
}

/// A chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// Its name within the table.
    pub name: String,
    /// `None` for one that others jump to.
    pub base: Option<Base>,
}

impl Chain {
    pub(super) fn write(&self, buffer: &mut Buffer) {
        const NAME: u16 = 3;
        const HOOK: u16 = 4;
        const TYPE: u16 = 7;
        const NUMBER: u16 = 1;
        const PRIORITY: u16 = 2;
        buffer.text(NAME, &self.name);
        let Some(base) = self.base else { return };
        buffer.nested(HOOK, |hook| {
            hook.number(NUMBER, base.hook as u32);
            hook.attribute(PRIORITY, &base.priority.to_be_bytes());
        });
        buffer.text(TYPE, base.kind);
    }
}

/// The type of a field of a key or of data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An IPv4 address.
    Address,
    /// A transport protocol.
    Protocol,
    /// A port.
    Port,
    /// A number in the machine's order.
    Number,
}

impl Kind {
    // The numbers by which nft(8) knows types; the kernel only keeps them.
    fn number(self) -> u32 {
        match self {
            Self::Number => 4,
            Self::Address => 7,
            Self::Protocol => 12,
            Self::Port => 13,
        }
    }
}

/// The type of several fields in a row.
fn joined(kinds: &[Kind]) -> u32 {
    kinds.iter().fold(0, |joined, kind| joined << 6 | kind.number())
}

/// What a map gives for a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Data {
    /// A verdict.
    Verdict,
    /// Fields.
    Fields(Vec<Kind>),
}

/// A set, or with `data` a map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Set {
    /// Its name within the table.
    pub name: String,
    /// The fields of its keys.
    pub key: Vec<Kind>,
    /// What it maps to.
    pub data: Option<Data>,
    /// Rules add elements, which go after this time.
    pub timeout: Option<Duration>,
}

impl Set {
    const ANONYMOUS: u32 = 1 | 2;
    const MAP: u32 = 8;
    const TIMEOUT: u32 = 0x10;
    const EVALUATED: u32 = 0x20;

    pub(super) fn write(&self, buffer: &mut Buffer, id: u32, anonymous: bool) {
        const NAME: u16 = 2;
        const FLAGS: u16 = 3;
        const KEY_TYPE: u16 = 4;
        const KEY_LENGTH: u16 = 5;
        const DATA_TYPE: u16 = 6;
        const DATA_LENGTH: u16 = 7;
        const ID: u16 = 10;
        const TIMEOUT: u16 = 11;
        const USERDATA: u16 = 13;
        const VERDICTS: u32 = 0xffff_ff00;
        let mut flags = if anonymous { Self::ANONYMOUS } else { 0 };
        flags |= if self.data.is_some() { Self::MAP } else { 0 };
        flags |= if self.timeout.is_some() { Self::TIMEOUT | Self::EVALUATED } else { 0 };
        buffer.text(NAME, &self.name);
        buffer.number(FLAGS, flags);
        buffer.number(KEY_TYPE, joined(&self.key));
        buffer.number(KEY_LENGTH, length(&self.key));
        match &self.data {
            Some(Data::Verdict) => buffer.number(DATA_TYPE, VERDICTS),
            Some(Data::Fields(kinds)) => {
                buffer.number(DATA_TYPE, joined(kinds));
                buffer.number(DATA_LENGTH, length(kinds));
            }
            None => {}
        }
        buffer.number(ID, id);
        if let Some(timeout) = self.timeout {
            buffer.attribute(TIMEOUT, &milliseconds(timeout));
        }
        if self.key == [Kind::Number] {
            // Tells nft(8) to show keys in the machine's order: type 0, length 4, value 1.
            buffer.attribute(USERDATA, &[&[0, 4], &1_u32.to_ne_bytes()[..]].concat());
        }
    }
}

fn length(kinds: &[Kind]) -> u32 {
    const FIELD: u32 = 4;
    if let [one] = kinds {
        return match one {
            Kind::Address | Kind::Number => 4,
            Kind::Port => 2,
            Kind::Protocol => 1,
        };
    }
    kinds.iter().map(|_| FIELD).sum()
}

pub(super) fn milliseconds(time: Duration) -> [u8; 8] {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX).to_be_bytes()
}

/// A field's value, as it stands in keys and data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the variants are those of Kind")]
pub enum Value {
    Address(Ipv4Addr),
    Protocol(u8),
    Port(u16),
    Number(u32),
}

/// The bytes of fields in a row: each begins at a multiple of four.
pub fn key(values: &[Value]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(values.len() * 4);
    for value in values {
        match value {
            Value::Address(address) => bytes.extend_from_slice(&address.octets()),
            Value::Protocol(number) => bytes.push(*number),
            Value::Port(number) => bytes.extend_from_slice(&number.to_be_bytes()),
            Value::Number(number) => bytes.extend_from_slice(&number.to_ne_bytes()),
        }
        if values.len() > 1 {
            bytes.resize(bytes.len().next_multiple_of(4), 0);
        }
    }
    bytes
}

/// An element of a set or map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Element {
    /// See [`key`].
    pub key: Vec<u8>,
    /// What a map gives for it.
    pub data: Option<ElementData>,
}

/// What a map gives for one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ElementData {
    /// A verdict.
    Verdict(Verdict),
    /// Fields; see [`key`].
    Fields(Vec<u8>),
}

impl Element {
    /// An element of a set.
    pub fn new(values: &[Value]) -> Self {
        Self { key: key(values), data: None }
    }

    /// An element of a map of verdicts.
    pub fn verdict(values: &[Value], verdict: Verdict) -> Self {
        Self { key: key(values), data: Some(ElementData::Verdict(verdict)) }
    }

    /// An element of a map of fields.
    pub fn fields(values: &[Value], data: &[Value]) -> Self {
        Self { key: key(values), data: Some(ElementData::Fields(key(data))) }
    }

    pub(super) fn write(&self, buffer: &mut Buffer) {
        const ELEMENT: u16 = 1;
        const KEY: u16 = 1;
        const DATA: u16 = 2;
        buffer.nested(ELEMENT, |element| {
            element.nested(KEY, |value| value.attribute(1, &self.key));
            match &self.data {
                Some(ElementData::Verdict(verdict)) => element.nested(DATA, |data| verdict.write(data)),
                Some(ElementData::Fields(bytes)) => element.nested(DATA, |data| data.attribute(1, bytes)),
                None => {}
            }
        });
    }
}
