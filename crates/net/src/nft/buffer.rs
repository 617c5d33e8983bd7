//! Netlink messages in one buffer: headers and attributes, with their lengths and padding.

/// Bytes of netlink messages, one after another.
#[derive(Clone, Debug, Default)]
pub(crate) struct Buffer(Vec<u8>);

/// Netlink headers are aligned to this.
const ALIGN: usize = 4;
const NESTED: u16 = 1 << 15;

impl Buffer {
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// A message with a netfilter header: its type, flags, address family and resource.
    pub(crate) fn message(
        &mut self,
        kind: u16,
        flags: u16,
        (family, resource): (u8, u16),
        body: impl FnOnce(&mut Self),
    ) {
        let start = self.0.len();
        self.0.extend_from_slice(&[0; 4]);
        self.0.extend_from_slice(&kind.to_ne_bytes());
        self.0.extend_from_slice(&flags.to_ne_bytes());
        self.0.extend_from_slice(&[0; 8]);
        self.0.extend_from_slice(&[family, 0]);
        self.0.extend_from_slice(&resource.to_be_bytes());
        body(self);
        let length = u32::try_from(self.0.len() - start).expect("callers split what grows beyond a few kilobytes");
        self.0[start..start + 4].copy_from_slice(&length.to_ne_bytes());
    }

    pub(crate) fn attribute(&mut self, kind: u16, value: &[u8]) {
        self.header(kind, value.len());
        self.0.extend_from_slice(value);
        self.pad();
    }

    /// A number, in network order as netfilter wants it.
    pub(crate) fn number(&mut self, kind: u16, value: u32) {
        self.attribute(kind, &value.to_be_bytes());
    }

    pub(crate) fn text(&mut self, kind: u16, value: &str) {
        self.header(kind, value.len() + 1);
        self.0.extend_from_slice(value.as_bytes());
        self.0.push(0);
        self.pad();
    }

    pub(crate) fn nested(&mut self, kind: u16, body: impl FnOnce(&mut Self)) {
        let start = self.0.len();
        self.header(kind | NESTED, 0);
        body(self);
        let length = u16::try_from(self.0.len() - start).expect("callers split lists that fill an attribute");
        self.0[start..start + 2].copy_from_slice(&length.to_ne_bytes());
    }

    /// Attributes that are encoded already.
    pub(crate) fn raw(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
        self.pad();
    }

    fn header(&mut self, kind: u16, length: usize) {
        let length = u16::try_from(length + 4).expect("names and keys are short");
        self.0.extend_from_slice(&length.to_ne_bytes());
        self.0.extend_from_slice(&kind.to_ne_bytes());
    }

    fn pad(&mut self) {
        self.0.resize(self.0.len().next_multiple_of(ALIGN), 0);
    }
}

/// The attributes in a piece of a message, as (kind, value).
pub(crate) fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16::from_ne_bytes(bytes.get(..2)?.try_into().ok()?));
        let kind = u16::from_ne_bytes(bytes.get(2..4)?.try_into().ok()?) & 0x3fff;
        let value = bytes.get(4..length)?;
        bytes = bytes.get(length.next_multiple_of(ALIGN)..).unwrap_or_default();
        Some((kind, value))
    })
}

/// The messages in what was received, as (kind, everything after the netlink header).
pub(crate) fn messages(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = u32::from_ne_bytes(bytes.get(..4)?.try_into().ok()?) as usize;
        let kind = u16::from_ne_bytes(bytes.get(4..6)?.try_into().ok()?);
        let body = bytes.get(16..length)?;
        bytes = bytes.get(length.next_multiple_of(ALIGN)..).unwrap_or_default();
        Some((kind, body))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let mut buffer = Buffer::default();
        buffer.message(7, 1, (2, 0), |message| {
            message.text(1, "ab");
            message.nested(2, |inner| inner.number(3, 0x0102_0304));
        });
        let (kind, body) = messages(buffer.bytes()).next().expect("a message");
        let found: Vec<_> = attributes(&body[4..]).collect();
        assert_eq!((kind, found[0]), (7, (1, &b"ab\0"[..])));
        assert_eq!(attributes(found[1].1).next(), Some((3, &[1, 2, 3, 4][..])));
    }
}
