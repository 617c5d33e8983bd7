//! Answers the command line on the control socket.

use anyhow::Context;
use container::Images;
use kubelet::Pods;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::objects::Objects;
use super::{follow, images};
use crate::control::{Answer, Connection, Listener, Request, Status, Step};

/// What requests are answered from.
#[derive(Clone)]
pub(super) struct Service {
    pub(super) status: watch::Receiver<Status>,
    pub(super) images: Images,
    pub(super) objects: Objects,
    /// What each node runs.
    pub(super) pods: Vec<Pods>,
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
            if self.respond(&request, &mut connection).await.is_err() && !stopping {
                return None;
            }
            if stopping {
                return Some(connection);
            }
        }
    }

    /// Sends the steps of the work as they come, then the answer. An error means that the asker is gone.
    async fn respond(&self, request: &Request, connection: &mut Connection) -> anyhow::Result<()> {
        let (sender, mut steps) = mpsc::channel(64);
        let mut work = std::pin::pin!(self.answer(request, sender));
        let answer = loop {
            tokio::select! {
                answer = &mut work => break answer,
                Some(step) = steps.recv() => connection.answer(&Answer::Step(step)).await?,
            }
        };
        while let Ok(step) = steps.try_recv() {
            connection.answer(&Answer::Step(step)).await?;
        }
        connection.answer(&answer.unwrap_or_else(|error| Answer::Failed(format!("{error:#}")))).await
    }

    async fn answer(&self, request: &Request, steps: mpsc::Sender<Step>) -> anyhow::Result<Answer> {
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
            Request::Follow(choices) => {
                follow::follow(&self.objects.0, &self.pods, choices, steps).await.map(|()| Answer::Done)
            }
            Request::Page(namespace, name, port) => self.objects.page(namespace, name, *port).await.map(Answer::Text),
            Request::Remove(object) => self.objects.remove(object).await.map(|()| Answer::Done),
            Request::ImportImage(_) | Request::PullImage(_) | Request::ListImages | Request::RemoveImage(_) => {
                // A slow terminal misses progress, never the answer.
                images::answer(&self.images, request, |step| drop(steps.try_send(step))).await
            }
        }
    }
}
