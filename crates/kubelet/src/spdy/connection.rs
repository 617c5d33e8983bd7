//! The streams of one connection.

use std::collections::HashMap;
use std::io;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;

use super::frame::{Decoder, Encoder, Frame, data, ping};

/// How many frames wait for a reader, or for the connection.
const QUEUE: usize = 16;

/// A stream that the client opened.
#[derive(Debug)]
pub(crate) struct Stream {
    /// What it is for. Names are in lower case.
    pub(crate) headers: HashMap<String, String>,
    /// What the client sends.
    pub(crate) reader: Reader,
    /// What it gets.
    pub(crate) writer: Writer,
}

/// The bytes of a stream that the client sends.
#[derive(Debug)]
pub(crate) struct Reader(mpsc::Receiver<Bytes>);

impl Reader {
    /// The next bytes, until the client has ended its side.
    pub(crate) async fn next(&mut self) -> Option<Bytes> {
        self.0.recv().await
    }
}

/// The way back. Dropping it leaves the stream open; [`Writer::finish`] ends it.
#[derive(Debug)]
pub(crate) struct Writer {
    id: u32,
    out: mpsc::Sender<Out>,
}

impl Writer {
    /// Sends bytes; false when the connection has ended.
    pub(crate) async fn write(&self, bytes: Bytes) -> bool {
        self.out.send(Out::Data { id: self.id, bytes, fin: false }).await.is_ok()
    }

    /// Ends our side of the stream.
    pub(crate) async fn finish(self) {
        // The connection may have ended before.
        let _ = self.out.send(Out::Data { id: self.id, bytes: Bytes::new(), fin: true }).await;
    }
}

#[derive(Debug)]
enum Out {
    Accept(u32),
    Ping(u32),
    Data { id: u32, bytes: Bytes, fin: bool },
}

/// The streams of a connection, and the two futures that move its bytes: the first ends when the client has left, the second when the
/// first, every stream and the receiver are gone and all is written.
pub(crate) fn open<S>(
    socket: S,
) -> (mpsc::Receiver<Stream>, impl Future<Output = io::Result<()>>, impl Future<Output = io::Result<()>>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (reader, writer) = tokio::io::split(socket);
    let (opened, streams) = mpsc::channel(QUEUE);
    let (out, frames) = mpsc::channel(QUEUE);
    (streams, receive(reader, opened, out), send(writer, frames))
}

async fn receive<R>(mut socket: R, opened: mpsc::Sender<Stream>, out: mpsc::Sender<Out>) -> io::Result<()>
where
    R: AsyncRead + Unpin,
{
    let (mut decoder, mut received) = (Decoder::new(), BytesMut::with_capacity(32 << 10));
    let mut readers: HashMap<u32, mpsc::Sender<Bytes>> = HashMap::new();
    let ended = |_| io::Error::from(io::ErrorKind::BrokenPipe);
    loop {
        while let Some(frame) = decoder.next(&mut received).map_err(io::Error::other)? {
            match frame {
                Frame::Open { id, headers, fin } => {
                    let (sender, reader) = mpsc::channel(QUEUE);
                    if !fin {
                        readers.insert(id, sender);
                    }
                    out.send(Out::Accept(id)).await.map_err(|_| io::ErrorKind::BrokenPipe)?;
                    let headers = headers.into_iter().map(|(name, value)| (name.to_ascii_lowercase(), value)).collect();
                    let writer = Writer { id, out: out.clone() };
                    opened.send(Stream { headers, reader: Reader(reader), writer }).await.map_err(ended)?;
                }
                Frame::Data { id, data, fin } => {
                    // A reader that has gone wants no more; the client is not told, as it may still read.
                    if let Some(reader) = readers.get(&id).filter(|_| !data.is_empty()) {
                        let _ = reader.send(data).await;
                    }
                    if fin {
                        readers.remove(&id);
                    }
                }
                Frame::Reset { id } => drop(readers.remove(&id)),
                Frame::Ping { id } => out.send(Out::Ping(id)).await.map_err(|_| io::ErrorKind::BrokenPipe)?,
                Frame::Other => {}
            }
        }
        if socket.read_buf(&mut received).await? == 0 {
            return Ok(());
        }
    }
}

async fn send<W>(mut socket: W, mut frames: mpsc::Receiver<Out>) -> io::Result<()>
where
    W: AsyncWrite + Unpin,
{
    let mut encoder = Encoder::new();
    while let Some(frame) = frames.recv().await {
        let bytes = match frame {
            Out::Accept(id) => encoder.accept(id),
            Out::Ping(id) => ping(id),
            Out::Data { id, bytes, fin } => data(id, &bytes, fin),
        };
        socket.write_all(&bytes).await?;
        socket.flush().await?;
    }
    socket.shutdown().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_stream_echoes() {
        let (ours, mut theirs) = tokio::io::duplex(1 << 16);
        let (mut streams, receiving, sending) = open(ours);
        let echo = async move {
            let mut stream = streams.recv().await.expect("a stream");
            assert_eq!(stream.headers["streamtype"], "data");
            while let Some(bytes) = stream.reader.next().await {
                assert!(stream.writer.write(bytes).await);
            }
            stream.writer.finish().await;
        };
        let client = async {
            let mut encoder = Encoder::new();
            theirs.write_all(&encoder.open(1, &[("streamType", "data")], false)).await.expect("sent");
            theirs.write_all(&ping(1)).await.expect("sent");
            theirs.write_all(&data(1, b"hello", true)).await.expect("sent");
            let mut answer = Vec::new();
            theirs.read_to_end(&mut answer).await.expect("an answer");
            answer
        };
        let serve = async {
            tokio::select! {
                () = echo => {}
                result = receiving => result.expect("SPDY"),
            }
        };
        let (answer, (), sent) = tokio::join!(client, serve, sending);
        sent.expect("all is sent");
        let expected = [&ping(1)[..], &data(1, b"hello", false), &data(1, b"", true)].concat();
        assert_eq!(answer[answer.len() - expected.len()..], expected);
    }
}
