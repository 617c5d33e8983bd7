//! Frames as bytes. Source: the SPDY/3.1 draft; header blocks are one zlib stream for the whole connection, with the draft's
//! dictionary.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};
use thiserror::Error;

const DICTIONARY: &[u8] = include_bytes!("dictionary.bin");
const VERSION: u16 = 3;
const HEADER: usize = 8;
const FIN: u8 = 1;
/// Frames and header blocks past this are refused.
const MAX_FRAME: usize = 1 << 20;

const SYN_STREAM: u16 = 1;
const SYN_REPLY: u16 = 2;
const RST_STREAM: u16 = 3;
const PING: u16 = 6;
const HEADERS: u16 = 8;

/// Names and values of a header block, in their order.
pub(super) type Headers = Vec<(String, String)>;

/// What a client sends.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Frame {
    /// A new stream.
    Open { id: u32, headers: Headers, fin: bool },
    /// Bytes of a stream.
    Data { id: u32, data: Bytes, fin: bool },
    /// A stream is given up.
    Reset { id: u32 },
    /// To be sent back as it is.
    Ping { id: u32 },
    /// Something that needs no answer here: settings, windows, further headers, going away.
    Other,
}

/// Bytes that are no SPDY.
#[derive(Debug, Error, PartialEq, Eq)]
pub(super) enum FrameError {
    #[error("a frame of {0} bytes")]
    TooLong(usize),
    #[error("SPDY of version {0}")]
    Version(u16),
    #[error("a header block that is none")]
    Headers,
}

/// Makes frames of bytes.
pub(super) struct Decoder {
    inflate: Decompress,
    dictionary_is_set: bool,
}

impl Decoder {
    pub(super) fn new() -> Self {
        Self { inflate: Decompress::new(true), dictionary_is_set: false }
    }

    /// The next frame of what was received; none as long as it is not there whole.
    pub(super) fn next(&mut self, received: &mut BytesMut) -> Result<Option<Frame>, FrameError> {
        let Some((mut head, _)) = received.split_at_checked(HEADER) else { return Ok(None) };
        let (first, second) = (head.get_u32(), head.get_u32());
        let (flags, length) = (second.to_be_bytes()[0], (second & 0x00ff_ffff) as usize);
        if length > MAX_FRAME {
            return Err(FrameError::TooLong(length));
        }
        if received.len() < HEADER + length {
            return Ok(None);
        }
        received.advance(HEADER);
        let body = received.split_to(length).freeze();
        let fin = flags & FIN != 0;
        if first >> 31 == 0 {
            return Ok(Some(Frame::Data { id: first, data: body, fin }));
        }
        let (version, kind) = (((first >> 16) & 0x7fff) as u16, (first & 0xffff) as u16);
        if version != VERSION {
            return Err(FrameError::Version(version));
        }
        self.control(kind, body, fin).map(Some)
    }

    fn control(&mut self, kind: u16, mut body: Bytes, fin: bool) -> Result<Frame, FrameError> {
        let id = body.get(..4).map_or(0, |mut id| id.get_u32() & 0x7fff_ffff);
        match kind {
            SYN_STREAM => {
                // The stream, the one it belongs to, priority and slot.
                let block = body.split_off(10.min(body.len()));
                Ok(Frame::Open { id, headers: self.headers(&block)?, fin })
            }
            // The block counts for the state of the decompressor even where nobody wants it.
            SYN_REPLY | HEADERS => self.headers(&body.split_off(4.min(body.len()))).map(|_| Frame::Other),
            RST_STREAM => Ok(Frame::Reset { id }),
            PING => Ok(Frame::Ping { id }),
            _ => Ok(Frame::Other),
        }
    }

    fn headers(&mut self, block: &[u8]) -> Result<Headers, FrameError> {
        let plain = self.inflate(block)?;
        let mut rest = plain.as_slice();
        let count = take_u32(&mut rest)?;
        let mut headers = Vec::new();
        for _ in 0..count {
            let (name, value) = (take_text(&mut rest)?, take_text(&mut rest)?);
            headers.push((name, value));
        }
        Ok(headers)
    }

    fn inflate(&mut self, block: &[u8]) -> Result<Vec<u8>, FrameError> {
        let mut plain = Vec::with_capacity(1024);
        let mut rest = block;
        while plain.len() <= MAX_FRAME {
            let before = (self.inflate.total_in(), plain.len());
            let done = self.inflate.decompress_vec(rest, &mut plain, FlushDecompress::Sync);
            let read = self.inflate.total_in() - before.0;
            rest = rest.get(usize::try_from(read).unwrap_or(usize::MAX)..).unwrap_or_default();
            match done {
                Err(error) if error.needs_dictionary().is_some() && !self.dictionary_is_set => {
                    self.inflate.set_dictionary(DICTIONARY).map_err(|_| FrameError::Headers)?;
                    self.dictionary_is_set = true;
                }
                Err(_) => return Err(FrameError::Headers),
                Ok(_) if plain.len() == plain.capacity() => plain.reserve(4096),
                Ok(Status::StreamEnd) => return Ok(plain),
                Ok(Status::Ok | Status::BufError) if rest.is_empty() => return Ok(plain),
                Ok(_) if read == 0 && plain.len() == before.1 => return Err(FrameError::Headers),
                Ok(_) => {}
            }
        }
        Err(FrameError::TooLong(plain.len()))
    }
}

fn take_u32(rest: &mut &[u8]) -> Result<u32, FrameError> {
    rest.try_get_u32().map_err(|_| FrameError::Headers)
}

fn take_text(rest: &mut &[u8]) -> Result<String, FrameError> {
    let length = take_u32(rest)? as usize;
    let (text, after) = rest.split_at_checked(length).ok_or(FrameError::Headers)?;
    *rest = after;
    String::from_utf8(text.to_vec()).map_err(|_| FrameError::Headers)
}

/// Makes bytes of frames.
pub(super) struct Encoder {
    deflate: Compress,
}

impl Encoder {
    pub(super) fn new() -> Self {
        let mut deflate = Compress::new(Compression::default(), true);
        let set = deflate.set_dictionary(DICTIONARY);
        debug_assert!(set.is_ok(), "a new stream takes a dictionary");
        Self { deflate }
    }

    /// The server takes the stream.
    pub(super) fn accept(&mut self, id: u32) -> Bytes {
        let block = self.block(&[]);
        let mut out = control(SYN_REPLY, 4 + block.len());
        out.put_u32(id);
        out.put_slice(&block);
        out.freeze()
    }

    fn block(&mut self, headers: &[(&str, &str)]) -> Vec<u8> {
        let mut plain = Vec::new();
        plain.put_u32(u32::try_from(headers.len()).unwrap_or_default());
        for text in headers.iter().flat_map(|(name, value)| [name, value]) {
            plain.put_u32(u32::try_from(text.len()).unwrap_or_default());
            plain.put_slice(text.as_bytes());
        }
        let mut out = Vec::with_capacity(plain.len() + 64);
        // The room is enough: what deflate adds to incompressible bytes is a few for each 16 KiB.
        let done = self.deflate.compress_vec(&plain, &mut out, FlushCompress::Sync);
        debug_assert!(done.is_ok(), "memory to memory");
        out
    }
}

#[cfg(test)]
impl Encoder {
    /// A new stream, as a client opens it.
    pub(super) fn open(&mut self, id: u32, headers: &[(&str, &str)], fin: bool) -> Bytes {
        let block = self.block(headers);
        let mut out = control(SYN_STREAM, 10 + block.len());
        out[4] = u8::from(fin);
        out.put_u32(id);
        out.put_bytes(0, 6);
        out.put_slice(&block);
        out.freeze()
    }
}

fn control(kind: u16, length: usize) -> BytesMut {
    let mut out = BytesMut::with_capacity(HEADER + length);
    out.put_u16(0x8000 | VERSION);
    out.put_u16(kind);
    out.put_u32(u32::try_from(length).unwrap_or_default());
    out
}

/// The answer to a ping.
pub(super) fn ping(id: u32) -> Bytes {
    let mut out = control(PING, 4);
    out.put_u32(id);
    out.freeze()
}

/// Bytes of a stream, and whether they are its last.
pub(super) fn data(id: u32, data: &[u8], fin: bool) -> Bytes {
    let mut out = BytesMut::with_capacity(HEADER + data.len());
    out.put_u32(id);
    out.put_u32((u32::from(fin) << 24) | u32::try_from(data.len()).unwrap_or_default());
    out.put_slice(data);
    out.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(decoder: &mut Decoder, bytes: &[u8]) -> Result<Vec<Frame>, FrameError> {
        let (mut received, mut frames) = (BytesMut::new(), Vec::new());
        // Byte by byte: nothing may depend on how the bytes arrive.
        for byte in bytes {
            received.put_u8(*byte);
            frames.extend(decoder.next(&mut received)?);
        }
        assert!(received.is_empty(), "all is used");
        Ok(frames)
    }

    #[test]
    fn frames_come_back() {
        let (mut encoder, mut decoder) = (Encoder::new(), Decoder::new());
        let mut check = |bytes: Bytes, expected: Frame| {
            assert_eq!(decode(&mut decoder, &bytes), Ok(vec![expected]));
        };
        let long = "x".repeat(100_000);
        for (id, value) in [(1, "error"), (3, "data"), (5, long.as_str())] {
            let headers = vec![("streamtype".to_owned(), value.to_owned()), ("port".to_owned(), "80".to_owned())];
            let bytes = encoder.open(id, &[("streamtype", value), ("port", "80")], id == 1);
            check(bytes, Frame::Open { id, headers, fin: id == 1 });
        }
        check(encoder.accept(7), Frame::Other);
        check(data(3, b"hello", false), Frame::Data { id: 3, data: Bytes::from_static(b"hello"), fin: false });
        check(data(3, b"", true), Frame::Data { id: 3, data: Bytes::new(), fin: true });
        check(ping(9), Frame::Ping { id: 9 });
    }

    #[test]
    fn what_is_no_spdy_is_refused() {
        let check = |bytes: &[u8], expected: FrameError| {
            assert_eq!(decode(&mut Decoder::new(), bytes), Err(expected));
        };
        check(&[0x80, 2, 0, 1, 0, 0, 0, 0], FrameError::Version(2));
        check(&[0, 0, 0, 1, 0, 0xff, 0xff, 0xff], FrameError::TooLong(0xff_ffff));
        check(&[0x80, 3, 0, 1, 0, 0, 0, 12, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, 2], FrameError::Headers);
        check(&[0x80, 3, 0, 1, 0, 0, 0, 0], FrameError::Headers);
    }
}
