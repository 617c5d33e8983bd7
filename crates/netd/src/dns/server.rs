//! Questions and answers on sockets.

use std::sync::Arc;
use std::time::Duration;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, ResponseCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::JoinSet;

use super::forward::Forwarder;
use super::resolver::{Outcome, Resolver};

/// What a client takes that doesn't say so, and the most that we send in a datagram.
const PAYLOAD: (usize, u16) = (512, 1232);
/// So many questions for others are under way at once; what is beyond gets no answer, and is asked again.
const PENDING: usize = 1024;
/// A connection that stays silent for so long is closed.
const IDLE: Duration = Duration::from_secs(10);

pub(crate) struct Server {
    pub(crate) resolver: Resolver,
    pub(crate) forwarder: Forwarder,
}

/// What is to be done with a question.
enum Step {
    Answer(Message),
    Ask(Message),
    /// It has an alias; the rest of the answer is asked for.
    AskFor(Message, Box<(Message, hickory_proto::rr::Name)>),
}

impl Server {
    /// Answers datagrams until the task is ended.
    pub(crate) async fn serve_datagrams(self: Arc<Self>, socket: UdpSocket) {
        let socket = Arc::new(socket);
        let mut space = vec![0; 4096];
        let mut asked = JoinSet::new();
        loop {
            let (length, from) = match socket.recv_from(&mut space).await {
                Ok(received) => received,
                // Somebody did not wait for an answer.
                Err(error) => {
                    tracing::debug!(%error, "receive a question");
                    continue;
                }
            };
            while asked.try_join_next().is_some() {}
            let Ok(query) = Message::from_vec(&space[..length]) else { continue };
            let limit = query.edns.as_ref().map_or(PAYLOAD.0, |edns| edns.max_payload().clamp(512, PAYLOAD.1).into());
            match self.step(query) {
                None => {}
                Some(Step::Answer(answer)) => send(&socket, answer, limit, from).await,
                Some(step) if asked.len() < PENDING => {
                    let (server, socket) = (Arc::clone(&self), Arc::clone(&socket));
                    asked.spawn(async move { send(&socket, server.finish(step).await, limit, from).await });
                }
                Some(_) => {}
            }
        }
    }

    /// Answers connections until the task is ended.
    pub(crate) async fn serve_streams(self: Arc<Self>, listener: TcpListener) {
        let mut connections = JoinSet::new();
        loop {
            while connections.try_join_next().is_some() {}
            match listener.accept().await {
                Ok((stream, _)) => drop(connections.spawn(Arc::clone(&self).converse(stream))),
                Err(error) => {
                    tracing::warn!(%error, "accept a connection for names");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    async fn converse(self: Arc<Self>, mut stream: TcpStream) {
        loop {
            let question = async {
                let mut bytes = vec![0; stream.read_u16().await?.into()];
                stream.read_exact(&mut bytes).await.map(|_| bytes)
            };
            let Ok(Ok(bytes)) = tokio::time::timeout(IDLE, question).await else { return };
            let Ok(query) = Message::from_vec(&bytes) else { return };
            let Some(step) = self.step(query) else { return };
            let Ok(answer) = self.finish(step).await.to_vec() else { return };
            let Ok(length) = u16::try_from(answer.len()) else { return };
            if stream.write_all(&[&length.to_be_bytes(), answer.as_slice()].concat()).await.is_err() {
                return;
            }
        }
    }

    /// What to do with a message; `None` for what isn't a question.
    fn step(&self, query: Message) -> Option<Step> {
        if query.metadata.message_type != MessageType::Query {
            return None;
        }
        let mut response = Message::response(query.metadata.id, query.metadata.op_code);
        response.metadata.recursion_desired = query.metadata.recursion_desired;
        response.metadata.recursion_available = true;
        response.queries.clone_from(&query.queries);
        if let Some(edns) = &query.edns {
            let mut own = Edns::new();
            own.set_max_payload(PAYLOAD.1);
            response.set_edns(own);
            if edns.version() > 0 {
                response.metadata.response_code = ResponseCode::BADVERS;
                return Some(Step::Answer(response));
            }
        }
        let [question] = query.queries.as_slice() else {
            response.metadata.response_code = ResponseCode::FormErr;
            return Some(Step::Answer(response));
        };
        if query.metadata.op_code != OpCode::Query {
            response.metadata.response_code = ResponseCode::NotImp;
            return Some(Step::Answer(response));
        }
        Some(match self.resolver.answer(question, response.clone()) {
            Outcome::Answer(answer) => Step::Answer(*answer),
            Outcome::Alias(begun, target) => Step::AskFor(response, Box::new((*begun, target))),
            Outcome::Foreign => Step::Ask(response),
        })
    }

    async fn finish(&self, step: Step) -> Message {
        match step {
            Step::Answer(answer) => answer,
            Step::Ask(mut response) => {
                let Some(question) = response.queries.first().cloned() else { return response };
                match self.forwarder.ask(&question).await {
                    Ok(answer) => take_over(&mut response, answer),
                    Err(error) => {
                        tracing::debug!(name = %question.name(), %error, "ask others for a name");
                        response.metadata.response_code = ResponseCode::ServFail;
                    }
                }
                response
            }
            Step::AskFor(response, begun) => {
                let (mut begun, target) = *begun;
                let Some(mut question) = response.queries.first().cloned() else { return begun };
                question.name = target;
                // Without an answer the alias alone must do.
                if let Ok(answer) = self.forwarder.ask(&question).await {
                    begun.answers.extend(answer.answers);
                }
                begun
            }
        }
    }
}

fn take_over(response: &mut Message, answer: Message) {
    response.metadata.response_code = answer.metadata.response_code;
    response.metadata.authoritative = false;
    response.answers = answer.answers;
    response.authorities = answer.authorities;
    response.additionals = answer.additionals;
}

/// Sends an answer, or as much as to say that it is too long.
async fn send(socket: &UdpSocket, answer: Message, limit: usize, to: std::net::SocketAddr) {
    let Ok(mut bytes) = answer.to_vec() else { return };
    if bytes.len() > limit {
        let mut short = Message::response(answer.metadata.id, answer.metadata.op_code);
        short.metadata = answer.metadata;
        short.metadata.truncation = true;
        short.queries = answer.queries;
        short.edns = answer.edns;
        let Ok(fitting) = short.to_vec() else { return };
        bytes = fitting;
    }
    // Who asked may be gone.
    if let Err(error) = socket.send_to(&bytes, to).await {
        tracing::debug!(%error, "send an answer");
    }
}
