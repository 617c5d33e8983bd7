//! Answers the command line on the control socket.

use anyhow::Context;
use container::Images;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::images;
use super::objects::Objects;
use crate::control::{Answer, Connection, Listener, Request, Status};

/// What requests are answered from.
#[derive(Clone)]
pub(super) struct Service {
    pub(super) status: watch::Receiver<Status>,
    pub(super) images: Images,
    pub(super) objects: Objects,
}

impl Service {
    /// Answers until someone asks to stop; that one's connection is given back.
    pub(super) async fn serve(self, listener: Listener, stop: CancellationToken) -> Option<Connection> {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok(connection) => drop(connections.spawn(self.clone().converse(connection))),
                    Err(error) => tracing::error!(%error, "the control socket failed"),
                },
                Some(ended) = connections.join_next() => {
                    if let Ok(Some(asker)) = ended {
                        stop.cancel();
                        return Some(asker);
                    }
                }
            }
        }
    }

    /// Answers one connection; gives it back if it asked to stop.
    async fn converse(self, mut connection: Connection) -> Option<Connection> {
        loop {
            let request = match connection.request().await {
                Ok(Some(request)) => request,
                Ok(None) => return None,
                Err(error) => {
                    tracing::debug!(%error, "a command spoke unclearly");
                    return None;
                }
            };
            let stopping = matches!(request, Request::Stop);
            let answer = self.answer(&request, &mut connection).await;
            let answer = answer.unwrap_or_else(|error| Answer::Failed(format!("{error:#}")));
            if connection.answer(&answer).await.is_err() && !stopping {
                return None;
            }
            if stopping {
                return Some(connection);
            }
        }
    }

    async fn answer(&self, request: &Request, connection: &mut Connection) -> anyhow::Result<Answer> {
        match request {
            Request::Status => Ok(Answer::Status(self.status.borrow().clone())),
            Request::Ready => {
                let mut status = self.status.clone();
                let ready = status.wait_for(|status| status.ready_after_ms.is_some()).await;
                Ok(Answer::Status(ready.context("the cluster ends")?.clone()))
            }
            Request::Stop => Ok(Answer::Done),
            Request::Apply(object) => self.objects.apply(object).await.map(|()| Answer::Done),
            Request::PodReady(namespace, name) => self.objects.ready(namespace, name).await.map(|()| Answer::Done),
            Request::Page(namespace, name, port) => self.objects.page(namespace, name, *port).await.map(Answer::Text),
            Request::Remove(object) => self.objects.remove(object).await.map(|()| Answer::Done),
            Request::ImportImage(_) | Request::PullImage(_) | Request::ListImages | Request::RemoveImage(_) => {
                let (sender, mut receiver) = tokio::sync::mpsc::channel(16);
                let work = images::answer(&self.images, request, |what, done, total| {
                    // A slow terminal misses steps, never the answer.
                    let _ = sender.try_send(Answer::Progress { what: what.to_owned(), done, total });
                });
                tokio::pin!(work);
                loop {
                    tokio::select! {
                        answer = &mut work => return answer,
                        Some(step) = receiver.recv() => connection.answer(&step).await?,
                    }
                }
            }
        }
    }
}
