//! A network without anybody in it.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use admission::{Caller, Dial, Question, Rights};
use async_trait::async_trait;
use meta::UserInfo;
use tokio::net::TcpStream;

struct Nowhere;

#[async_trait]
impl Dial for Nowhere {
    async fn dial(&self, _: SocketAddr) -> io::Result<TcpStream> {
        Err(io::ErrorKind::ConnectionRefused.into())
    }

    async fn resolve(&self, _: &str, _: u16) -> io::Result<Vec<SocketAddr>> {
        Err(io::ErrorKind::NotFound.into())
    }
}

/// Calls webhooks there.
pub(crate) fn caller() -> Caller {
    Caller::new(Arc::new(Nowhere))
}

/// Nobody may do anything.
#[derive(Debug)]
struct NoRights;

impl Rights for NoRights {
    fn check(&self, _: &UserInfo, _: &Question) -> (bool, String) {
        (false, String::new())
    }
}

/// What users may do there.
pub(crate) fn rights() -> Arc<dyn Rights> {
    Arc::new(NoRights)
}
