//! Protobuf's wire format: numbers, lengths, bytes.

use super::ProtoError;

pub(super) const VARINT: u32 = 0;
pub(super) const FIXED64: u32 = 1;
pub(super) const BYTES: u32 = 2;
pub(super) const FIXED32: u32 = 5;

/// Writes a message from its end to its start, so that every length is known when it is written.
#[derive(Default)]
pub(super) struct Writer {
    /// The bytes, the last one first.
    reversed: Vec<u8>,
}

impl Writer {
    pub(super) fn finish(mut self) -> Vec<u8> {
        self.reversed.reverse();
        self.reversed
    }

    /// How much is written: where a message ends that is written from here on.
    pub(super) fn mark(&self) -> usize {
        self.reversed.len()
    }

    /// Puts the length and the tag before a message that was begun at `mark`.
    pub(super) fn close(&mut self, number: u32, mark: usize) {
        let length = self.reversed.len() - mark;
        self.varint(length as u64);
        self.tag(number, BYTES);
    }

    pub(super) fn bytes(&mut self, number: u32, bytes: &[u8]) {
        let mark = self.mark();
        self.raw(bytes);
        self.close(number, mark);
    }

    pub(super) fn raw(&mut self, bytes: &[u8]) {
        self.reversed.extend(bytes.iter().rev());
    }

    /// A whole number; negative ones take ten bytes, as protobuf wants.
    pub(super) fn int(&mut self, number: u32, value: i64) {
        self.varint(value.cast_unsigned());
        self.tag(number, VARINT);
    }

    pub(super) fn float(&mut self, number: u32, value: f64) {
        self.raw(&value.to_le_bytes());
        self.tag(number, FIXED64);
    }

    fn tag(&mut self, number: u32, wire: u32) {
        self.varint(u64::from(number << 3 | wire));
    }

    fn varint(&mut self, value: u64) {
        let mut bytes = [0; 10];
        let mut length = 0;
        let mut rest = value;
        loop {
            bytes[length] = (rest & 0x7f) as u8;
            rest >>= 7;
            if rest != 0 {
                bytes[length] |= 0x80;
            }
            length += 1;
            if rest == 0 {
                break;
            }
        }
        self.raw(&bytes[..length]);
    }
}

/// Reads a message field by field.
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
}

/// What a field has.
#[derive(Debug, Clone, Copy)]
pub(super) enum Part<'a> {
    Number(u64),
    Fixed64(u64),
    Bytes(&'a [u8]),
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub(super) fn next(&mut self) -> Result<Option<(u32, Part<'a>)>, ProtoError> {
        if self.bytes.is_empty() {
            return Ok(None);
        }
        let tag = self.varint()?;
        let number = u32::try_from(tag >> 3).map_err(|_| malformed("illegal tag"))?;
        let part = match (tag & 7) as u32 {
            VARINT => Part::Number(self.varint()?),
            FIXED64 => Part::Fixed64(little_endian(self.take(8)?)),
            FIXED32 => Part::Number(little_endian(self.take(4)?)),
            BYTES => {
                let length = usize::try_from(self.varint()?).map_err(|_| malformed("negative length"))?;
                Part::Bytes(self.take(length)?)
            }
            other => return Err(malformed(&format!("illegal wireType {other}"))),
        };
        Ok(Some((number, part)))
    }

    pub(super) fn varint(&mut self) -> Result<u64, ProtoError> {
        let mut value = 0;
        for (at, byte) in self.bytes.iter().enumerate().take(10) {
            value |= u64::from(byte & 0x7f) << (7 * at);
            if byte & 0x80 == 0 {
                self.bytes = &self.bytes[at + 1..];
                return Ok(value);
            }
        }
        Err(malformed("unexpected EOF"))
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], ProtoError> {
        let (taken, rest) = self.bytes.split_at_checked(length).ok_or_else(|| malformed("unexpected EOF"))?;
        self.bytes = rest;
        Ok(taken)
    }
}

fn little_endian(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte))
}

pub(super) fn malformed(what: &str) -> ProtoError {
    ProtoError::Malformed(what.to_owned())
}
