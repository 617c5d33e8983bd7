//! A cluster in this process: what its parts are, in which order they start and end.

mod address;
mod bootstrap;
mod control_plane;
mod endpoints;
mod follow;
pub(crate) mod images;
mod mounts;
mod node;
mod objects;
mod places;
mod service;
mod signers;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context;
use container::Images;
use futures::future::try_join_all;
use meta::{Clock, SystemClock, UserInfo};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::cli::Up;
use crate::commands::kubeconfig_path;
use crate::control::{Listener, Status};
use crate::layout::Layout;
use crate::toolbox;
use control_plane::ControlPlane;
use node::Node;
use places::Places;

/// A running cluster.
pub(crate) struct Cluster {
    layout: Layout,
    control: Listener,
    plane: ControlPlane,
    nodes: Vec<Node>,
    places: Places,
    images: Images,
    began: Instant,
    kubeconfig: std::path::PathBuf,
}

impl Cluster {
    /// Starts every part.
    pub(crate) async fn start(options: Up) -> anyhow::Result<Self> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let began = clock.instant();
        let layout = Layout::create(&options.data_dir.data_dir)?;
        let control = Listener::bind(&layout.control())?;
        let images = Images::open(&layout.images()).context("open the image store")?;
        let before = layout.nodes();
        let count = options.nodes.or(before).unwrap_or(1);
        let surplus = count..before.unwrap_or(count).max(count);
        layout.remember_nodes(surplus.end)?;
        if !surplus.is_empty() {
            node::sweep(&layout, surplus.clone()).await?;
        }
        let places = Places::open(&layout, 0..count, options.node_ip).await?;
        let gateway = places.all.first().map(|place| place.network.gateway());
        let node_ip =
            places.all.first().map_or_else(|| address::of_node(options.node_ip, None), |place| Ok(place.ip))?;
        let plane = ControlPlane::start(&layout, &options, node_ip, gateway, Arc::clone(&clock)).await?;
        let kubeconfig = kubeconfig_path(&options);
        plane.access.write(&layout.kubeconfig())?;
        if options.kubeconfig.is_some() {
            plane.access.write(&kubeconfig)?
        } else {
            plane.access.merge(&kubeconfig)?
        }
        for index in surplus {
            node::forget(&plane, &layout, index).await?;
        }
        layout.remember_nodes(count)?;
        let start = |place| Node::start(&layout, &options, &plane, place, images.clone());
        let nodes = try_join_all(places.all.iter().map(start)).await?;
        if images.resolve(toolbox::IMAGE)?.is_none() {
            toolbox::install(&images, &layout.root().join("toolbox")).await?;
        }
        Ok(Self { layout, control, plane, nodes, places, images, began, kubeconfig })
    }

    fn status(&self) -> Status {
        Status {
            cluster: self.layout.id().to_owned(),
            server: self.plane.access.server.clone(),
            nodes: self.nodes.iter().map(|node| node.name.clone()).collect(),
            ready_after_ms: None,
            process: std::process::id(),
            kubeconfig: self.kubeconfig.clone(),
        }
    }

    /// Answers the command line until it asks to stop, or a signal does; then ends every part, the nodes' pods first. Calls `on_ready`
    /// once all nodes are Ready.
    pub(crate) async fn run(self, on_ready: impl FnOnce(&Status)) -> anyhow::Result<()> {
        let stop = CancellationToken::new();
        let mut terminate = signal(SignalKind::terminate()).context("wait for TERM")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("wait for Ctrl-C")?;
        let admin = UserInfo::new("kubernetes-admin", &["system:masters"]);
        let objects = objects::Objects(self.plane.client(admin));
        let (known, status) = watch::channel(self.status());
        let pods = self.nodes.iter().map(Node::pods).collect();
        let control = service::Service { status, images: self.images.clone(), objects, pods };
        let ready = async {
            for node in &self.nodes {
                node.ready().await;
            }
            let after = u64::try_from(self.began.elapsed().as_millis()).ok();
            known.send_modify(|status| status.ready_after_ms = after);
            on_ready(&known.borrow());
            give_back_memory();
            std::future::pending::<Infallible>().await
        };
        // Holds the connection that asked to stop: closing it tells the asker that all is over.
        let asker = tokio::select! {
            asker = control.serve(self.control, stop.clone()) => asker,
            _ = terminate.recv() => None,
            _ = interrupt.recv() => None,
            never = ready => match never {},
        };
        try_join_all(self.nodes.into_iter().map(Node::end)).await?;
        node::remove_cgroups(self.layout.id());
        self.places.remove().await?;
        self.plane.end().await;
        std::fs::remove_dir_all(self.layout.run()).context("remove the run folder")?;
        drop(asker);
        Ok(())
    }
}

/// What only the start needed goes back to the kernel.
fn give_back_memory() {
    // SAFETY: it takes the allocator's own locks, and no pointer.
    unsafe { nix::libc::malloc_trim(0) };
}

/// Ends what a killed cluster left running on this machine.
pub(crate) async fn sweep(layout: &Layout) -> anyhow::Result<()> {
    node::sweep(layout, 0..layout.nodes().unwrap_or(1)).await?;
    node::remove_cgroups(layout.id());
    Ok(())
}
