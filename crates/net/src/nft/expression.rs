//! Rules: matches, translations and verdicts, as the kernel's expressions on its registers.

use std::net::Ipv4Addr;
use std::time::Duration;

use super::buffer::Buffer;
use super::objects::{Data, Element, Kind, Set, Value, Verdict, milliseconds};

/// Something about a packet that can be matched, or chosen by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// The source address.
    Source,
    /// The destination address.
    Destination,
    /// The transport protocol.
    Protocol,
    /// The destination port.
    Port,
    /// A random number below this.
    Random(u32),
    /// Whether the destination is the machine's own: see [`Rule::to_own_address`].
    DestinationType,
    /// Whether the source is the machine's own: see [`Rule::from_own_address`].
    SourceType,
    /// The packet's mark.
    Mark,
    /// The state of its connection.
    State,
    /// The name of the link it came in by.
    InputLink,
    /// The name of the link it goes out by.
    OutputLink,
}

/// The first of the registers of four bytes.
const REGISTER: u32 = 8;
const VERDICT_REGISTER: u32 = 0;
/// nftables' bits for the states of connections.
const STATE_ESTABLISHED: u32 = 2;
const STATE_RELATED: u32 = 4;
const STATE_NEW: u32 = 8;
/// The routing table's word for addresses of the machine itself.
const LOCAL: u32 = 2;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Expression {
    Load(Field, u32),
    Compare { how: Comparison, value: Vec<u8> },
    Mask { mask: Vec<u8>, xor: Vec<u8> },
    Lookup { set: String, into: Option<u32> },
    Choose(AnonymousMap),
    Immediate(u32, Vec<u8>),
    Verdict(Verdict),
    SetMark,
    Translate,
    Masquerade,
    Reject,
    Remember { set: String, timeout: Duration },
}

/// How a value in a register compares with one in a rule: the kernel's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    Equal = 0,
    Different = 1,
    AtMost = 3,
    AtLeast = 5,
}

/// A map that belongs to one rule: its elements by a number from 0.
#[derive(Clone, Debug, PartialEq, Eq)]
struct AnonymousMap {
    data: Data,
    elements: Vec<Element>,
}

/// A rule: what must match, then what happens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule(Vec<Expression>);

impl Rule {
    /// A rule without matches.
    pub fn new() -> Self {
        Self::default()
    }

    fn with(mut self, more: impl IntoIterator<Item = Expression>) -> Self {
        self.0.extend(more);
        self
    }

    fn load(self, fields: &[Field]) -> Self {
        let mut register = REGISTER;
        let loads: Vec<_> = fields
            .iter()
            .map(|field| {
                register += 1;
                Expression::Load(*field, register - 1)
            })
            .collect();
        self.with(loads)
    }

    /// The field has this value.
    #[must_use]
    pub fn equals(self, field: Field, value: Value) -> Self {
        self.load(&[field]).with([Expression::Compare { how: Comparison::Equal, value: super::objects::key(&[value]) }])
    }

    /// The port is one of those from the first to the last.
    #[must_use]
    pub fn ports(self, first: u16, last: u16) -> Self {
        let compare = |how, port: u16| Expression::Compare { how, value: port.to_be_bytes().to_vec() };
        self.load(&[Field::Port]).with([compare(Comparison::AtLeast, first), compare(Comparison::AtMost, last)])
    }

    /// The packet comes in, or goes out, by another link than this.
    #[must_use]
    pub fn other_link(self, field: Field, name: &str) -> Self {
        self.load(&[field]).with([Expression::Compare { how: Comparison::Different, value: link(name) }])
    }

    /// The packet comes in, or goes out, by this link.
    #[must_use]
    pub fn link(self, field: Field, name: &str) -> Self {
        self.load(&[field]).with([Expression::Compare { how: Comparison::Equal, value: link(name) }])
    }

    /// The address is in a subnet.
    #[must_use]
    pub fn inside(self, field: Field, subnet: (Ipv4Addr, u8)) -> Self {
        self.subnet(field, subnet, Comparison::Equal)
    }

    /// The address is not in a subnet.
    #[must_use]
    pub fn outside(self, field: Field, subnet: (Ipv4Addr, u8)) -> Self {
        self.subnet(field, subnet, Comparison::Different)
    }

    fn subnet(self, field: Field, (address, length): (Ipv4Addr, u8), how: Comparison) -> Self {
        let mask = u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0);
        let value = (address.to_bits() & mask).to_be_bytes().to_vec();
        let mask = mask.to_be_bytes().to_vec();
        self.load(&[field]).with([Expression::Mask { mask, xor: vec![0; 4] }, Expression::Compare { how, value }])
    }

    /// The mark has this bit.
    #[must_use]
    pub fn marked(self, bit: u32) -> Self {
        self.bits(Field::Mark, bit)
    }

    /// The packet begins a connection.
    #[must_use]
    pub fn begins_connection(self) -> Self {
        self.bits(Field::State, STATE_NEW)
    }

    /// The packet belongs to a connection that was let through, or to one that such a connection made.
    #[must_use]
    pub fn continues_connection(self) -> Self {
        self.bits(Field::State, STATE_ESTABLISHED | STATE_RELATED)
    }

    fn bits(self, field: Field, bit: u32) -> Self {
        let mask = Expression::Mask { mask: bit.to_ne_bytes().to_vec(), xor: vec![0; 4] };
        self.load(&[field]).with([mask, Expression::Compare { how: Comparison::Different, value: vec![0; 4] }])
    }

    /// The destination is an address of the machine itself.
    #[must_use]
    pub fn to_own_address(self) -> Self {
        self.equals(Field::DestinationType, Value::Number(LOCAL))
    }

    /// The source is an address of the machine itself.
    #[must_use]
    pub fn from_own_address(self) -> Self {
        self.equals(Field::SourceType, Value::Number(LOCAL))
    }

    /// The fields are in a set.
    #[must_use]
    pub fn within(self, fields: &[Field], set: &str) -> Self {
        self.load(fields).with([Expression::Lookup { set: set.to_owned(), into: None }])
    }

    /// What a map of verdicts gives for the fields; nothing if they are not in it.
    #[must_use]
    pub fn decide(self, fields: &[Field], map: &str) -> Self {
        let into = Some(VERDICT_REGISTER);
        self.load(fields).with([Expression::Lookup { set: map.to_owned(), into }])
    }

    /// One of the verdicts, at random.
    #[must_use]
    pub fn choose(self, verdicts: Vec<Verdict>) -> Self {
        let count = verdicts.len();
        let elements = (0..).zip(verdicts).map(|(i, verdict)| Element::verdict(&[Value::Number(i)], verdict));
        self.random(count, AnonymousMap { data: Data::Verdict, elements: elements.collect() })
    }

    fn random(self, count: usize, map: AnonymousMap) -> Self {
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        self.load(&[Field::Random(count)]).with([Expression::Choose(map)])
    }

    /// Sends the connection to this address and port.
    #[must_use]
    pub fn translate(self, (address, port): (Ipv4Addr, u16)) -> Self {
        self.with([
            Expression::Immediate(REGISTER, address.octets().to_vec()),
            Expression::Immediate(REGISTER + 1, port.to_be_bytes().to_vec()),
            Expression::Translate,
        ])
    }

    /// Sends the connection to one of these addresses and ports, at random.
    #[must_use]
    pub fn translate_to_any(self, targets: &[(Ipv4Addr, u16)]) -> Self {
        if let [one] = targets {
            return self.translate(*one);
        }
        let element = |(i, (address, port)): (u32, &(Ipv4Addr, u16))| {
            Element::fields(&[Value::Number(i)], &[Value::Address(*address), Value::Port(*port)])
        };
        let elements = (0..).zip(targets).map(element).collect();
        let data = Data::Fields(vec![Kind::Address, Kind::Port]);
        self.random(targets.len(), AnonymousMap { data, elements }).with([Expression::Translate])
    }

    /// Sends the connection to what a map of addresses and ports gives for the fields.
    #[must_use]
    pub fn translate_by(self, fields: &[Field], map: &str) -> Self {
        let lookup = Expression::Lookup { set: map.to_owned(), into: Some(REGISTER) };
        self.load(fields).with([lookup, Expression::Translate])
    }

    /// Gives the packet's mark this bit.
    #[must_use]
    pub fn mark(self, bit: u32) -> Self {
        self.set_mark(!bit, bit)
    }

    /// Takes this bit from the packet's mark.
    #[must_use]
    pub fn unmark(self, bit: u32) -> Self {
        self.set_mark(!bit, 0)
    }

    fn set_mark(self, mask: u32, xor: u32) -> Self {
        let change = Expression::Mask { mask: mask.to_ne_bytes().to_vec(), xor: xor.to_ne_bytes().to_vec() };
        self.load(&[Field::Mark]).with([change, Expression::SetMark])
    }

    /// Puts the field into a set, or renews it there.
    #[must_use]
    pub fn remember(self, field: Field, set: &str, timeout: Duration) -> Self {
        self.load(&[field]).with([Expression::Remember { set: set.to_owned(), timeout }])
    }

    /// Lets the connection come from the address of the link it goes out by.
    #[must_use]
    pub fn masquerade(self) -> Self {
        self.with([Expression::Masquerade])
    }

    /// Answers that nobody listens at the port.
    #[must_use]
    pub fn reject(self) -> Self {
        self.with([Expression::Reject])
    }

    /// Decides.
    #[must_use]
    pub fn then(self, verdict: Verdict) -> Self {
        self.with([Expression::Verdict(verdict)])
    }

    /// Writes the expressions. The rule's own maps, which must be written before it, have the numbers from `first`.
    pub(super) fn write(&self, buffer: &mut Buffer, mut first: u32) {
        const EXPRESSIONS: u16 = 4;
        buffer.nested(EXPRESSIONS, |list| {
            for expression in &self.0 {
                expression.write(list, first);
                first += u32::from(matches!(expression, Expression::Choose(_)));
            }
        });
    }

    /// The rule's own maps with their elements.
    pub(super) fn maps(&self) -> impl Iterator<Item = (Set, &[Element])> {
        self.0.iter().filter_map(|expression| match expression {
            Expression::Choose(map) => {
                let set = Set {
                    name: ANONYMOUS.to_owned(),
                    key: vec![Kind::Number],
                    data: Some(map.data.clone()),
                    timeout: None,
                };
                Some((set, map.elements.as_slice()))
            }
            _ => None,
        })
    }
}

/// The kernel fills in a number.
const ANONYMOUS: &str = "__map%d";

/// The bytes of a link's name, as the kernel compares them.
fn link(name: &str) -> Vec<u8> {
    let mut bytes = name.as_bytes().to_vec();
    bytes.resize(libc::IFNAMSIZ, 0);
    bytes
}

impl Expression {
    fn write(&self, list: &mut Buffer, map: u32) {
        match self {
            Self::Load(field, register) => field.write(list, *register),
            Self::Compare { how, value } => named(list, "cmp", |data| {
                data.number(1, REGISTER);
                data.number(2, *how as u32);
                data.nested(3, |inner| inner.attribute(1, value));
            }),
            Self::Mask { mask, xor } => named(list, "bitwise", |data| {
                data.number(1, REGISTER);
                data.number(2, REGISTER);
                data.number(3, 4);
                data.nested(4, |inner| inner.attribute(1, mask));
                data.nested(5, |inner| inner.attribute(1, xor));
            }),
            Self::Lookup { set, into } => named(list, "lookup", |data| {
                data.text(1, set);
                data.number(2, REGISTER);
                if let Some(register) = into {
                    data.number(3, *register);
                }
            }),
            Self::Choose(own) => named(list, "lookup", |data| {
                data.text(1, ANONYMOUS);
                data.number(2, REGISTER);
                data.number(3, if own.data == Data::Verdict { VERDICT_REGISTER } else { REGISTER });
                data.number(4, map);
            }),
            Self::Immediate(register, value) => named(list, "immediate", |data| {
                data.number(1, *register);
                data.nested(2, |inner| inner.attribute(1, value));
            }),
            Self::Verdict(verdict) => named(list, "immediate", |data| {
                data.number(1, VERDICT_REGISTER);
                data.nested(2, |inner| verdict.write(inner));
            }),
            Self::SetMark => named(list, "meta", |data| {
                data.number(2, 3);
                data.number(3, REGISTER);
            }),
            Self::Translate => named(list, "nat", |data| {
                data.number(1, 1);
                data.number(2, libc::AF_INET.cast_unsigned());
                data.number(3, REGISTER);
                data.number(5, REGISTER + 1);
            }),
            Self::Masquerade => named(list, "masq", |_| {}),
            Self::Reject => named(list, "reject", |data| {
                // ICMP's "port unreachable".
                data.number(1, 0);
                data.attribute(2, &[3]);
            }),
            Self::Remember { set, timeout } => named(list, "dynset", |data| {
                data.text(1, set);
                data.number(3, 1);
                data.number(4, REGISTER);
                data.attribute(6, &milliseconds(*timeout));
            }),
        }
    }
}

impl Field {
    fn write(self, list: &mut Buffer, register: u32) {
        const NETWORK: u32 = 1;
        const TRANSPORT: u32 = 2;
        let payload = |list: &mut Buffer, base: u32, offset: u32, length: u32| {
            named(list, "payload", |data| {
                data.number(1, register);
                data.number(2, base);
                data.number(3, offset);
                data.number(4, length);
            });
        };
        let meta = |list: &mut Buffer, key: u32| {
            named(list, "meta", |data| {
                data.number(1, register);
                data.number(2, key);
            });
        };
        match self {
            Self::Source => payload(list, NETWORK, 12, 4),
            Self::Destination => payload(list, NETWORK, 16, 4),
            Self::Port => payload(list, TRANSPORT, 2, 2),
            Self::Mark => meta(list, 3),
            Self::InputLink => meta(list, 6),
            Self::OutputLink => meta(list, 7),
            Self::Protocol => meta(list, 16),
            Self::Random(below) => named(list, "numgen", |data| {
                data.number(1, register);
                data.number(2, below);
                data.number(3, 1);
                data.number(4, 0);
            }),
            Self::State => named(list, "ct", |data| {
                data.number(1, register);
                data.number(2, 0);
            }),
            Self::SourceType | Self::DestinationType => named(list, "fib", |data| {
                data.number(1, register);
                data.number(2, 3);
                data.number(3, if self == Self::SourceType { 1 } else { 2 });
            }),
        }
    }
}

fn named(list: &mut Buffer, name: &str, data: impl FnOnce(&mut Buffer)) {
    list.nested(1, |element| {
        element.text(1, name);
        element.nested(2, data);
    });
}
