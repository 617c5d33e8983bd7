//! `cargo xtask bench`: figures of minke beside those of upstream and podman, measured in one run on one machine.
//!
//! Each peer gets the same pod, the same images and a network namespace of its own, one peer at a time. Every pod figure is
//! what a client with a watch sees.

pub(crate) mod access;
pub(crate) mod api;
mod names;
mod podman;
mod pods;
mod process;
mod schedule;
mod services;
mod statistics;
mod table;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;

use crate::peer::{ColdStart, Given, Minke, Peer, Upstream};
use pods::{Pods, Times};
use statistics::{median, percentile};
use table::{Column, FIGURES};

const BURST: usize = 20;
const SCHEDULED: usize = 1000;
/// The archive of the image that every pod runs, and its name: a program that ends on TERM.
const IMAGE: (&str, &str) = ("pause", "registry.k8s.io/pause:3.10.2");

#[derive(clap::Args, Debug)]
pub(crate) struct Options {
    /// Measure upstream too, with `up.sh` and `down.sh` of this folder
    #[arg(long, value_name = "DIR", env = "MINKE_UPSTREAM")]
    upstream: Option<PathBuf>,
    /// Measure `podman kube play` too
    #[arg(long)]
    podman: bool,
    /// Measure services and names instead, beside kube-proxy and CoreDNS
    #[arg(long)]
    services: bool,
    /// How many pods are started one at a time
    #[arg(long, default_value_t = 200)]
    pods: usize,
    /// How many for the other peers
    #[arg(long, default_value_t = 20)]
    peer_pods: usize,
    /// How many cold starts of minke
    #[arg(long, default_value_t = 5)]
    boots: usize,
    /// Seconds of idleness
    #[arg(long, default_value_t = 30)]
    idle: u64,
    #[command(flatten)]
    given: Given,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    if options.services {
        return services::run(options);
    }
    let binary = options.given.binary()?;
    let mut starts = Vec::new();
    for _ in 1..options.boots {
        starts.push(Minke::boot(&binary)?.cold_start());
    }
    let minke = Minke::boot(&binary)?;
    starts.push(minke.cold_start());
    let mut columns = vec![cluster(&minke, &starts, options.pods, options)?];
    drop(minke);
    if let Some(scripts) = &options.upstream {
        let upstream = Upstream::boot(scripts, &options.given.cache())?;
        columns.push(cluster(&upstream, &[upstream.cold_start()], options.peer_pods, options)?);
    }
    if options.podman {
        columns.push(podman(options)?);
    }
    println!("{}", table::markdown(&columns));
    println!("Measured by `cargo xtask bench` on {}.", machine()?);
    Ok(())
}

fn cluster(peer: &dyn Peer, starts: &[ColdStart], count: usize, options: &Options) -> anyhow::Result<Column> {
    let empty = process::with_descendants(peer.netns().processes()?);
    let before = process::time(&empty);
    eprintln!("{}: idle for {} s", peer.name(), options.idle);
    api::runtime()?.block_on(async { tokio::time::sleep(Duration::from_secs(options.idle)).await });
    let idle = (process::time(&empty) - before) / options.idle as f64 * 100.0;
    let memory = process::memory(&empty);
    peer.import(&[options.given.image(IMAGE.0)])?;
    eprintln!("{}: {count} pods one at a time, then {BURST} at once", peer.name());
    let access = access::read(peer.kubeconfig())?;
    let (times, burst, full) = peer.netns().inside(|| {
        api::runtime()?.block_on(async {
            let mut pods = Pods::open(&access, IMAGE.1).await?;
            let times = pods.one_at_a_time(count).await?;
            let rest = process::memory(&process::with_descendants(peer.netns().processes()?));
            let burst = pods.at_once(BURST).await?;
            let full = process::memory(&process::with_descendants(peer.netns().processes()?)) - rest;
            pods.end(BURST).await?;
            anyhow::Ok((times, burst, full))
        })
    })?;
    eprintln!("{}: {SCHEDULED} pods get nodes", peer.name());
    let scheduled =
        peer.netns().inside(|| api::runtime()?.block_on(schedule::rate(&access, SCHEDULED)).context("schedule pods"));
    if let Err(error) = &scheduled {
        // The other figures are still worth their minutes; this one stays empty in the table.
        eprintln!("{}: {error:#}", peer.name());
    }
    let api: Vec<Duration> = starts.iter().map(|start| start.api).collect();
    let node: Vec<Duration> = starts.iter().map(|start| start.node).collect();
    let mut values = of_pods(&times, burst);
    values[0] = median(&api).map(milliseconds);
    values[1] = median(&node).map(milliseconds);
    values[2] = Some(memory);
    values[3] = Some(idle);
    values[7] = Some(full / BURST as f64);
    values[10] = scheduled.ok();
    Ok(Column { name: peer.name().to_owned(), values })
}

fn podman(options: &Options) -> anyhow::Result<Column> {
    eprintln!("podman: {} pods one at a time, then {BURST} at once", options.peer_pods);
    let podman = podman::Podman::open(&[options.given.image(IMAGE.0)], IMAGE.1)?;
    let times = podman.one_at_a_time(options.peer_pods)?;
    Ok(Column { name: "podman kube play".to_owned(), values: of_pods(&times, podman.at_once(BURST)?) })
}

/// The figures that every peer has.
fn of_pods(times: &Times, burst: Duration) -> [Option<f64>; FIGURES.len()] {
    let mut values = [None; FIGURES.len()];
    values[4] = median(&times.starts).map(milliseconds);
    values[5] = percentile(&times.starts, 99).map(milliseconds);
    values[6] = Some(milliseconds(burst));
    values[8] = median(&times.ends).map(milliseconds);
    values[9] = Some(times.starts.len() as f64);
    values
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// The machine: its processor, cores, memory and kernel.
fn machine() -> anyhow::Result<String> {
    let read = |path: &str| std::fs::read_to_string(path).with_context(|| format!("read {path}"));
    let field = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(name))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    let processor = field(&read("/proc/cpuinfo")?, "model name").unwrap_or_default();
    let memory = field(&read("/proc/meminfo")?, "MemTotal").unwrap_or_default();
    let kilobytes: u64 = memory.split(' ').next().and_then(|number| number.parse().ok()).unwrap_or_default();
    let cores = std::thread::available_parallelism()?;
    let kernel = read("/proc/sys/kernel/osrelease")?;
    Ok(format!("{cores} cores of {processor}, {} GiB, Linux {}", kilobytes.div_ceil(1 << 20), kernel.trim()))
}
