//! `cargo xtask bench --services`: how soon a change of endpoints is a working rule, and how names are answered, beside kube-proxy and
//! CoreDNS.
//!
//! Services lead to two servers in the peer's own network. A change moves one service from one server to the other, and is done when
//! a call of the service reaches the new one.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use hyper::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::access::{self, Access};
use super::api::{self, Api};
use super::names::{self, Load};
use super::statistics::{median, percentile};
use super::{Options, machine, milliseconds, process};
use crate::peer::{Minke, Peer, Upstream};

const COUNTS: [usize; 3] = [10, 1000, 5000];
const CHANGES: usize = 15;
/// Between changes: kube-proxy gathers those that follow each other closely.
const PAUSE: Duration = Duration::from_millis(1200);
const SERVERS: [Ipv4Addr; 2] = [Ipv4Addr::new(198, 51, 100, 1), Ipv4Addr::new(198, 51, 100, 2)];
const PORT: u16 = 8080;
/// A call that went nowhere is tried again after that.
const ATTEMPT: Duration = Duration::from_millis(250);
const CONNECTIONS: usize = 16;
const SERVICES: &str = "/api/v1/namespaces/bench/services";
const SLICES: &str = "/apis/discovery.k8s.io/v1/namespaces/bench/endpointslices";

/// What was measured of a peer.
struct Column {
    name: &'static str,
    /// For each of [`COUNTS`]: the times of changes.
    changes: Vec<Vec<Duration>>,
    names: Load,
    memory: f64,
}

pub(super) fn run(options: &Options) -> anyhow::Result<()> {
    let minke = Minke::boot(&options.given.binary()?)?;
    let gateway = SocketAddr::new(Ipv4Addr::new(10, 244, 0, 1).into(), 10053);
    let mut columns = vec![measure(&minke, gateway, |_| true)?];
    drop(minke);
    // The other peer takes long, and may fail.
    print(&columns)?;
    if let Some(scripts) = &options.upstream {
        let upstream = Upstream::boot(scripts, &options.given.cache())?;
        let coredns = SocketAddr::new(Ipv4Addr::new(10, 66, 0, 1).into(), 53);
        columns.push(measure(&upstream, coredns, |name| matches!(name, "kube-proxy" | "coredns"))?);
        print(&columns)?;
    }
    Ok(())
}

/// `counts` tells by its name whether a process of the peer has part in services.
fn measure(peer: &dyn Peer, resolver: SocketAddr, counts: fn(&str) -> bool) -> anyhow::Result<Column> {
    let access = access::read(peer.kubeconfig())?;
    peer.netns().inside(|| {
        for address in SERVERS {
            crate::run(Command::new("ip").args(["addr", "add", &format!("{address}/32"), "dev", "lo"]))?;
        }
        let mut changes = Vec::new();
        api::runtime()?.block_on(async {
            let mut services = Services::open(&access).await?;
            for count in COUNTS {
                eprintln!("{}: {CHANGES} changes among {count} services", peer.name());
                services.grow(count).await?;
                changes.push(services.change().await?);
            }
            anyhow::Ok(())
        })?;
        let all = process::with_descendants(peer.netns().processes()?);
        let own: Vec<u32> =
            all.into_iter().filter(|process| process::name(*process).is_some_and(|name| counts(&name))).collect();
        ensure!(!own.is_empty(), "{} has nothing that serves services", peer.name());
        eprintln!("{}: names of {} services", peer.name(), COUNTS[2]);
        let before = process::time(&own);
        let mut names = names::load(resolver, COUNTS[2])?;
        names.processor = process::time(&own) - before;
        Ok(Column { name: peer.name(), changes, names, memory: process::memory(&own) })
    })
}

/// Services without selectors, each with a slice that leads to one of the servers.
struct Services {
    api: Api,
    count: usize,
    first: SocketAddr,
}

impl Services {
    async fn open(access: &Access) -> anyhow::Result<Self> {
        for (index, address) in SERVERS.into_iter().enumerate() {
            let listener = TcpListener::bind((address, PORT)).await.context("listen as a server")?;
            tokio::spawn(serve(listener, u8::try_from(index)?));
        }
        let mut api = Api::connect(access).await?;
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "bench"}});
        api.call(Method::POST, "/api/v1/namespaces", Some(&namespace)).await?;
        Ok(Self { api, count: 0, first: SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 80) })
    }

    /// Makes services until there are so many, and waits until the last one works.
    async fn grow(&mut self, count: usize) -> anyhow::Result<()> {
        let mut makers = tokio::task::JoinSet::new();
        for part in 0..CONNECTIONS {
            let mut api = self.api.another().await?;
            let numbers: Vec<usize> = (self.count..count).skip(part).step_by(CONNECTIONS).collect();
            makers.spawn(async move {
                let mut made = Vec::new();
                for number in numbers {
                    let service = api.call(Method::POST, SERVICES, Some(&service(number))).await?;
                    api.call(Method::POST, SLICES, Some(&slice(number, 0))).await?;
                    made.push((number, service["spec"]["clusterIP"].as_str().unwrap_or_default().parse::<IpAddr>()?));
                }
                anyhow::Ok(made)
            });
        }
        let made: Vec<_> = makers.join_all().await.into_iter().collect::<Result<Vec<_>, _>>()?.concat();
        for (number, address) in made.into_iter().filter(|(number, _)| *number == 0 || number + 1 == count) {
            let place = SocketAddr::new(address, 80);
            if number == 0 {
                self.first = place;
            }
            reach(place, 0).await.with_context(|| format!("service {number} does not work"))?;
        }
        self.count = count;
        Ok(())
    }

    /// Moves the first service to and fro; gives how long each change took.
    async fn change(&mut self) -> anyhow::Result<Vec<Duration>> {
        let mut times = Vec::new();
        for index in 0..CHANGES {
            tokio::time::sleep(PAUSE).await;
            let server = (index + 1) % 2;
            let (path, slice) = (format!("{SLICES}/s0"), slice(0, server));
            let began = Instant::now();
            let write = async { self.api.call(Method::PUT, &path, Some(&slice)).await };
            let (written, reached) = tokio::join!(write, reach(self.first, u8::try_from(server)?));
            written?;
            reached?;
            times.push(began.elapsed());
        }
        Ok(times)
    }
}

/// Tells everyone who calls which server it is.
async fn serve(listener: TcpListener, own: u8) {
    while let Ok((mut stream, _)) = listener.accept().await {
        // Who went away needs no answer.
        let _ = stream.write_all(&[own]).await;
    }
}

/// Calls until a server answers.
async fn reach(service: SocketAddr, server: u8) -> anyhow::Result<()> {
    let call = async || {
        let mut stream = TcpStream::connect(service).await?;
        stream.read_u8().await
    };
    let began = Instant::now();
    while began.elapsed() < api::LIMIT {
        if let Ok(Ok(answer)) = tokio::time::timeout(ATTEMPT, call()).await
            && answer == server
        {
            return Ok(());
        }
        tokio::task::yield_now().await;
    }
    anyhow::bail!("{service} does not lead to server {server}")
}

fn service(number: usize) -> Value {
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": format!("s{number}")},
        "spec": {"ports": [{"port": 80, "targetPort": PORT, "protocol": "TCP"}]}})
}

fn slice(number: usize, server: usize) -> Value {
    let name = format!("s{number}");
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"name": name, "labels": {"kubernetes.io/service-name": name}},
        "ports": [{"name": "", "port": PORT, "protocol": "TCP"}],
        "endpoints": [{"addresses": [SERVERS[server].to_string()], "conditions": {"ready": true}}],
    })
}

fn print(columns: &[Column]) -> anyhow::Result<()> {
    let row = |what: &str, value: &dyn Fn(&Column) -> String| {
        let cells: Vec<String> = columns.iter().map(value).collect();
        println!("| {what} | {} |", cells.join(" | "));
    };
    row("", &|column| column.name.to_owned());
    println!("|---|{}", "---:|".repeat(columns.len()));
    for (index, count) in COUNTS.iter().enumerate() {
        for (name, percent) in [("p50", 50), ("p99", 99)] {
            row(&format!("endpoint change to working rule, {count} services, {name}"), &|column| {
                time(percentile(&column.changes[index], percent))
            });
        }
    }
    row("names answered", &|column| format!("{:.0} a second", column.names.rate()));
    row("a name, p50", &|column| time(median(&column.names.times)));
    row("a name, p99", &|column| time(percentile(&column.names.times, 99)));
    row("processor time a name", &|column| {
        format!("{:.1} µs", column.names.processor * 1e6 / column.names.times.len() as f64)
    });
    row(&format!("memory with {} services", COUNTS[2]), &|column| format!("{:.0} MiB", column.memory));
    println!(
        "\nMeasured by `cargo xtask bench --services` on {}; of minke the whole program is counted, of upstream kube-proxy (nftables) and CoreDNS.",
        machine()?
    );
    Ok(())
}

fn time(time: Option<Duration>) -> String {
    time.map_or_else(|| "–".to_owned(), |time| format!("{:.2} ms", milliseconds(time)))
}
