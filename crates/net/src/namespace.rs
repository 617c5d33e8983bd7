//! A handle on a network namespace, and the only place that makes sockets.

use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use nix::mount::{MntFlags, MsFlags};
use nix::sched::{CloneFlags, setns};
use nix::sys::statfs::statfs;
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

/// The type of the file system of namespaces, from `linux/magic.h`.
const NSFS_MAGIC: libc::c_long = 0x6e73_6673;

/// A network namespace. Cheap to clone; keeps the namespace alive.
#[derive(Clone, Debug)]
pub struct Namespace(Option<Arc<File>>);

impl Namespace {
    /// The namespace that the process lives in.
    pub fn own() -> Self {
        Self(None)
    }

    /// The namespace behind a path, for example `/proc/PID/ns/net`.
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self(Some(Arc::new(File::open(path)?))))
    }

    /// The namespace that is kept under a path: it goes on without processes, until [`Namespace::discard`]. It is made if it isn't there.
    pub async fn keep(path: &Path) -> io::Result<Self> {
        if is_namespace(path) {
            return Self::open(path);
        }
        File::create(path)?;
        let (make, target) = (std::thread::Builder::new().name("netns".to_owned()), path.to_owned());
        let (answer, answered) = oneshot::channel();
        make.spawn(move || {
            let bind = || {
                nix::sched::unshare(CloneFlags::CLONE_NEWNET)?;
                let none = None::<&str>;
                nix::mount::mount(Some("/proc/thread-self/ns/net"), &target, none, MsFlags::MS_BIND, none)
            };
            // The caller may have given up; then nobody needs the answer.
            let _ = answer.send(bind());
        })?;
        answered.await.map_err(|_| io::Error::other("making a network namespace panicked"))??;
        Self::open(path)
    }

    /// Lets go of a kept namespace: it ends with its last process and socket.
    pub fn discard(path: &Path) -> io::Result<()> {
        if is_namespace(path) {
            nix::mount::umount2(path, MntFlags::MNT_DETACH)?;
        }
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Gives the calling thread a network namespace of its own, which ends with it: for tests of what changes the kernel.
    pub fn leave() -> io::Result<()> {
        Ok(nix::sched::unshare(CloneFlags::CLONE_NEWNET)?)
    }

    /// The open file of a namespace that isn't the process's own.
    pub(crate) fn file(&self) -> Option<&File> {
        self.0.as_deref()
    }

    /// Runs `work` inside: on a thread of its own that entered the namespace and ends with the work. Sockets that it
    /// makes stay in the namespace and are served by the caller's runtime.
    pub async fn run<T, F>(&self, work: F) -> io::Result<T>
    where
        T: Send + 'static,
        F: FnOnce() -> io::Result<T> + Send + 'static,
    {
        let Some(file) = self.0.clone() else { return work() };
        let runtime = Handle::current();
        let (answer, answered) = oneshot::channel();
        std::thread::Builder::new().name("netns".to_owned()).spawn(move || {
            let _reactor = runtime.enter();
            let entered = setns(&*file, CloneFlags::CLONE_NEWNET).map_err(io::Error::from);
            // The caller may have given up; then nobody needs the answer.
            let _ = answer.send(entered.and_then(|()| work()));
        })?;
        answered.await.map_err(|_| io::Error::other("the work in the network namespace panicked"))?
    }

    /// A listening TCP socket.
    pub async fn listen(&self, address: SocketAddr) -> io::Result<TcpListener> {
        let listener = self.run(move || std::net::TcpListener::bind(address)).await?;
        listener.set_nonblocking(true)?;
        TcpListener::from_std(listener)
    }

    /// A connected TCP socket.
    pub async fn connect(&self, address: SocketAddr) -> io::Result<TcpStream> {
        let socket = self
            .run(
                move || {
                    if address.is_ipv4() { tokio::net::TcpSocket::new_v4() } else { tokio::net::TcpSocket::new_v6() }
                },
            )
            .await?;
        socket.connect(address).await
    }

    /// A bound UDP socket.
    pub async fn bind_udp(&self, address: SocketAddr) -> io::Result<UdpSocket> {
        let socket = self.run(move || std::net::UdpSocket::bind(address)).await?;
        socket.set_nonblocking(true)?;
        UdpSocket::from_std(socket)
    }

    /// Sets a kernel parameter beneath `/proc/sys/net`, for example `ipv4/ip_forward`. One that is right already is left alone: a
    /// container may have prepared what it forbids to change.
    pub async fn set_parameter(&self, name: &str, value: &str) -> io::Result<()> {
        let path = format!("/proc/sys/net/{name}");
        let value = value.to_owned();
        let set = move || match std::fs::read_to_string(&path) {
            Ok(now) if now.trim() == value => Ok(()),
            Ok(_) | Err(_) => std::fs::write(path, value),
        };
        self.run(set).await
    }
}

/// Whether a namespace is mounted there. Its file may have outlived it: mounts end with the machine's uptime.
fn is_namespace(path: &Path) -> bool {
    statfs(path).is_ok_and(|found| found.filesystem_type().0 == NSFS_MAGIC)
}
