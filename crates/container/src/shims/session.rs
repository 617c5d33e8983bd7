//! Streams of a process, from descriptors to what a caller reads and writes.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::error::{Error, Result};
use crate::runtime::{Input, Output, Resizer};

/// A pipe or a terminal that does not block.
struct Stream {
    fd: AsyncFd<OwnedFd>,
}

/// Standard input: ends when it is shut down or dropped.
struct Writer {
    stream: Option<Stream>,
    on_close: Option<Box<dyn FnOnce() + Send>>,
}

/// A pipe of which the shim or a process gets one end.
pub(super) struct Pipe {
    pub(super) read: OwnedFd,
    pub(super) write: OwnedFd,
}

impl Pipe {
    pub(super) fn new() -> Result<Self> {
        let (read, write) =
            rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).map_err(Error::io("making a pipe"))?;
        Ok(Self { read, write })
    }
}

/// What stands in for a stream that nobody wants.
pub(super) fn null() -> Result<OwnedFd> {
    use rustix::fs::{Mode, OFlags};
    rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()).map_err(Error::io("opening /dev/null"))
}

/// The caller's end of standard input.
pub(super) fn input(fd: OwnedFd, on_close: Option<Box<dyn FnOnce() + Send>>) -> Result<Input> {
    Ok(Box::pin(Writer { stream: Some(Stream::new(fd)?), on_close }))
}

/// The caller's end of standard output or error.
pub(super) fn output(fd: OwnedFd) -> Result<Output> {
    Ok(Box::pin(Stream::new(fd)?))
}

/// Changes the size of the terminal whose master this is.
pub(super) fn resizer(master: OwnedFd) -> Resizer {
    Resizer::new(move |columns, rows| {
        let size = rustix::termios::Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        rustix::termios::tcsetwinsize(&master, size).map_err(Error::io("setting the size of a terminal"))
    })
}

impl Stream {
    fn new(fd: OwnedFd) -> Result<Self> {
        rustix::io::ioctl_fionbio(&fd, true).map_err(Error::io("preparing a stream"))?;
        // SAFETY: an OwnedFd stays the same open descriptor until it is dropped.
        let fd = unsafe { AsyncFd::register(fd) }.map_err(Error::io("watching a stream"))?;
        Ok(Self { fd })
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            let mut guard = ready!(self.fd.poll_read_ready(cx))?;
            let result = guard.try_io(|fd| {
                let read = rustix::io::read(fd.get_ref().as_fd(), buffer.initialize_unfilled());
                // A terminal reports the end of its last user as an error.
                match read {
                    Err(rustix::io::Errno::IO) => Ok(0),
                    other => other.map_err(io::Error::from),
                }
            });
            match result {
                Ok(Ok(read)) => {
                    buffer.advance(read);
                    return Poll::Ready(Ok(()));
                }
                Ok(Err(e)) if e.kind() == io::ErrorKind::Interrupted => {}
                Ok(Err(e)) => return Poll::Ready(Err(e)),
                Err(_would_block) => {}
            }
        }
    }
}

impl Stream {
    fn poll_write(&self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            let mut guard = ready!(self.fd.poll_write_ready(cx))?;
            match guard.try_io(|fd| rustix::io::write(fd.get_ref().as_fd(), bytes).map_err(io::Error::from)) {
                Ok(Err(e)) if e.kind() == io::ErrorKind::Interrupted => {}
                Ok(result) => return Poll::Ready(result),
                Err(_would_block) => {}
            }
        }
    }
}

impl Writer {
    fn close(&mut self) {
        self.stream = None;
        if let Some(on_close) = self.on_close.take() {
            on_close();
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.close();
    }
}

impl AsyncWrite for Writer {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &self.stream {
            Some(stream) => stream.poll_write(cx, bytes),
            None => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.close();
        Poll::Ready(Ok(()))
    }
}
