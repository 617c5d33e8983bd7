//! Asking a server for names, as fast as it answers.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

/// So many questions are under way at once.
const PENDING: u16 = 32;
const TIME: Duration = Duration::from_secs(5);
/// One that has no answer by then is lost.
const PATIENCE: Duration = Duration::from_secs(2);

/// What a server did.
pub(super) struct Load {
    /// Of each answer.
    pub(super) times: Vec<Duration>,
    took: Duration,
    /// Seconds that the server's processes took.
    pub(super) processor: f64,
}

impl Load {
    /// Answers a second.
    pub(super) fn rate(&self) -> f64 {
        self.times.len() as f64 / self.took.as_secs_f64()
    }
}

/// Asks for the addresses of services, one after the other. Every answer has to hold one.
pub(super) fn load(server: SocketAddr, services: usize) -> anyhow::Result<Load> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).context("make a socket")?;
    socket.connect(server).context("connect to the name server")?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let began = Instant::now();
    let mut asked: HashMap<u16, Instant> = HashMap::new();
    let mut times = Vec::new();
    let mut next = 0_u16;
    let mut ask = |asked: &mut HashMap<u16, Instant>| {
        next = next.wrapping_add(1);
        asked.insert(next, Instant::now());
        socket.send(&question(next, &format!("s{}", usize::from(next) % services)))
    };
    for _ in 0..PENDING {
        ask(&mut asked)?;
    }
    let mut answer = [0; 2048];
    while began.elapsed() < TIME {
        let length = socket.recv(&mut answer).context("no answer to any question")?;
        ensure!(length > 12, "half an answer");
        let number = u16::from_be_bytes([answer[0], answer[1]]);
        let (code, answers) = (answer[3] & 15, u16::from_be_bytes([answer[6], answer[7]]));
        ensure!(code == 0 && answers > 0, "question {number} was answered with code {code} and {answers} records");
        times.extend(asked.remove(&number).map(|since| since.elapsed()));
        ask(&mut asked)?;
        asked.retain(|_, since| since.elapsed() < PATIENCE);
    }
    Ok(Load { times, took: began.elapsed(), processor: 0.0 })
}

/// A question for the IPv4 address of a service.
fn question(number: u16, service: &str) -> Vec<u8> {
    let mut bytes = number.to_be_bytes().to_vec();
    bytes.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in [service, "bench", "svc", "cluster", "local"] {
        bytes.push(u8::try_from(label.len()).unwrap_or_default());
        bytes.extend(label.as_bytes());
    }
    bytes.extend([0, 0, 1, 0, 1]);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_as_on_the_wire() {
        let bytes = question(7, "s1");
        assert_eq!(bytes[..12], [0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
        assert_eq!(bytes[12..15], [2, b's', b'1']);
        assert_eq!(bytes[bytes.len() - 5..], [0, 0, 1, 0, 1]);
    }
}
