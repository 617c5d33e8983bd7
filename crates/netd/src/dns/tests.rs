//! Questions on the wire, in a network of their own: the server that others know is at port 53. Needs root.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hickory_proto::op::{Edns, Message, Query, ResponseCode};
use hickory_proto::rr::rdata::A;
use hickory_proto::rr::{Name, RData, Record, RecordType};
use net::Namespace;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::task::JoinSet;

use super::testing::Fixed;
use super::{Resolver, serve};
use crate::testing::in_kernel;

const SERVER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 10053);
const PATIENCE: Duration = Duration::from_secs(5);
const SOMEBODY: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

/// How a question is asked.
#[derive(Clone, Copy, Debug)]
enum Way {
    Datagram,
    /// With the size of answers that are taken, and a version of the extension.
    Extended(u16, u8),
    Stream,
}

async fn ask(name: &str, kind: RecordType, way: Way) -> Message {
    let mut message = Message::query();
    message.metadata.id = 7;
    message.metadata.recursion_desired = true;
    message.queries.push(Query::query(Name::from_ascii(name).expect("a name"), kind));
    if let Way::Extended(size, version) = way {
        let mut edns = Edns::new();
        edns.set_max_payload(size).set_version(version);
        message.set_edns(edns);
    }
    let bytes = message.to_vec().expect("a message");
    let exchange = async {
        let mut answer = vec![0; 4096];
        if matches!(way, Way::Stream) {
            let mut stream = TcpStream::connect(SERVER).await?;
            let length = u16::try_from(bytes.len()).expect("a short question");
            stream.write_all(&[&length.to_be_bytes(), bytes.as_slice()].concat()).await?;
            let length = stream.read_u16().await?;
            answer.truncate(length.into());
            stream.read_exact(&mut answer).await?;
        } else {
            let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
            socket.send_to(&bytes, SERVER).await?;
            let length = socket.recv(&mut answer).await?;
            answer.truncate(length);
        }
        std::io::Result::Ok(answer)
    };
    let answer = tokio::time::timeout(PATIENCE, exchange).await.expect("an answer in time").expect("an answer");
    let answer = Message::from_vec(&answer).expect("a message");
    assert_eq!(answer.metadata.id, 7);
    answer
}

/// Knows one address for every name, and counts who asks.
async fn know(asked: Arc<AtomicUsize>) {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 53)).await.expect("bind the port of names");
    let mut space = [0; 4096];
    loop {
        let (length, from) = socket.recv_from(&mut space).await.expect("a question");
        asked.fetch_add(1, Ordering::Relaxed);
        let query = Message::from_vec(&space[..length]).expect("a message");
        let mut answer = Message::response(query.metadata.id, query.metadata.op_code);
        answer.queries.clone_from(&query.queries);
        let name = query.queries[0].name().clone();
        answer.answers.push(Record::from_rdata(name, 60, RData::A(A(SOMEBODY))));
        socket.send_to(&answer.to_vec().expect("a message"), from).await.expect("answer");
    }
}

/// What an answer holds: its code, how many records, how many of authorities, and whether it is cut off.
fn shape(answer: &Message) -> (ResponseCode, usize, usize, bool) {
    (answer.metadata.response_code, answer.answers.len(), answer.authorities.len(), answer.metadata.truncation)
}

#[test]
fn questions_are_answered_as_the_wire_wants_it() {
    let done = std::thread::spawn(|| {
        if in_kernel().is_none() {
            return;
        }
        let up = Command::new("ip").args(["link", "set", "lo", "up"]).status().expect("run ip");
        assert!(up.success());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let file = std::env::temp_dir().join(format!("netd-resolv-{}", std::process::id()));
            std::fs::write(&file, "nameserver 127.0.0.1\n").expect("write resolv.conf");
            let mut tasks = JoinSet::new();
            let resolver = Resolver::from(Box::new(Fixed), "cluster.local", ([10, 96, 0, 0].into(), 16));
            serve(&mut tasks, resolver, &Namespace::own(), SERVER, &file).await.expect("serve");
            let asked = Arc::new(AtomicUsize::new(0));
            tasks.spawn(know(Arc::clone(&asked)));
            of_the_cluster().await;
            of_others(&asked).await;
            std::fs::remove_file(&file).expect("remove resolv.conf");
        });
    });
    done.join().expect("names are answered");
}

async fn of_the_cluster() {
    use ResponseCode::{NXDomain, NoError};
    let check = async |name: &str, kind: RecordType, way: Way, expected: (ResponseCode, usize, usize, bool)| {
        let answer = ask(name, kind, way).await;
        assert!(answer.metadata.authoritative, "{name}");
        assert_eq!(shape(&answer), expected, "{name} {kind} {way:?}");
        answer
    };
    let web = check("web.shop.svc.cluster.local.", RecordType::A, Way::Datagram, (NoError, 1, 0, false)).await;
    assert_eq!(web.answers[0].data, RData::A(A([10, 96, 0, 7].into())));
    check("WEB.shop.svc.Cluster.local.", RecordType::A, Way::Stream, (NoError, 1, 0, false)).await;
    // There is nothing of that kind, or no such name: the authority says for how long.
    check("web.shop.svc.cluster.local.", RecordType::AAAA, Way::Datagram, (NoError, 0, 1, false)).await;
    let nothing = check("nope.shop.svc.cluster.local.", RecordType::A, Way::Datagram, (NXDomain, 0, 1, false)).await;
    assert_eq!(nothing.authorities[0].record_type(), RecordType::SOA);
    check("7.0.96.10.in-addr.arpa.", RecordType::PTR, Way::Datagram, (NoError, 1, 0, false)).await;
    check("cluster.local.", RecordType::SOA, Way::Datagram, (NoError, 1, 0, false)).await;
    // What doesn't fit is cut off, and asked for in another way.
    let many = "many.shop.svc.cluster.local.";
    check(many, RecordType::A, Way::Datagram, (NoError, 0, 0, true)).await;
    check(many, RecordType::A, Way::Extended(1232, 0), (NoError, 59, 0, false)).await;
    check(many, RecordType::A, Way::Stream, (NoError, 59, 0, false)).await;
    let newer = ask(many, RecordType::A, Way::Extended(1232, 1)).await;
    // The code has two names; this is the one that means the version.
    assert_eq!(u16::from(newer.metadata.response_code), u16::from(ResponseCode::BADVERS));
}

async fn of_others(asked: &AtomicUsize) {
    let first = ask("example.org.", RecordType::A, Way::Datagram).await;
    assert!(!first.metadata.authoritative);
    assert_eq!(first.answers[0].data, RData::A(A(SOMEBODY)));
    ask("example.org.", RecordType::A, Way::Stream).await;
    assert_eq!(asked.load(Ordering::Relaxed), 1, "the second question was answered from memory");
    let alias = ask("out.shop.svc.cluster.local.", RecordType::A, Way::Datagram).await;
    let kinds: Vec<RecordType> = alias.answers.iter().map(Record::record_type).collect();
    assert_eq!(kinds, [RecordType::CNAME, RecordType::A]);
}
