//! The command line as data.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;

/// Kubernetes in one small program.
#[derive(Debug, Parser)]
#[command(
    name = "minke",
    version,
    about = "Kubernetes in one small program",
    after_help = "Start with:\n  minke up --detach          boot a cluster; kubectl's context is then `minke`\n  kubectl get nodes\n  \
                  minke play FILE            run a manifest and watch it work\n  minke down --purge         leave nothing behind"
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Where the cluster lives.
#[derive(Args, Clone, Debug)]
pub(crate) struct DataDir {
    /// Folder of the cluster's state; each folder is a cluster of its own
    #[arg(long, value_name = "DIR", default_value = "/var/lib/minke", env = "MINKE_DATA_DIR")]
    pub(crate) data_dir: PathBuf,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Boot the cluster (or show that it runs)
    Up(Up),
    /// Stop the cluster: its pods end, its state stays
    Down(Down),
    /// Show whether the cluster runs, and what it is made of
    Status {
        #[command(flatten)]
        data_dir: DataDir,
    },
    /// Images of the node
    #[command(subcommand)]
    Image(Image),
    /// Run manifests and watch them work: states and logs of their pods; boots a cluster if none runs, cleans up when
    /// the pods have ended, or on Ctrl-C
    Play(Play),
    /// Print a shell's completion script
    Completion {
        /// Which shell
        shell: Shell,
    },
}

#[derive(Args, Clone, Debug)]
pub(crate) struct Up {
    #[command(flatten)]
    pub(crate) data_dir: DataDir,
    /// Return when the node is Ready; the cluster goes on in the background
    #[arg(long)]
    pub(crate) detach: bool,
    /// This is the process that `--detach` started.
    #[arg(long, hide = true)]
    pub(crate) background: bool,
    /// Write the kubeconfig to this file, instead of merging it into ~/.kube/config as context `minke`
    #[arg(long, value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// So many nodes on this machine, or 0 for the API alone [default: as many as before, 1 at first]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(0..=200))]
    pub(crate) nodes: Option<u16>,
    /// Address of the API server
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0:6443")]
    pub(crate) listen: std::net::SocketAddr,
    /// Port of the kubelet
    #[arg(long, value_name = "PORT", default_value_t = 10250)]
    pub(crate) kubelet_port: u16,
    /// Address by which others reach this node [default: the source of the default route, else the first global one]
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) node_ip: Option<std::net::IpAddr>,
    /// Whether the API accepts privileged containers
    #[arg(long, value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set)]
    pub(crate) allow_privileged: bool,
    /// Whether the node runs privileged containers
    #[arg(long, value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set)]
    pub(crate) node_allow_privileged: bool,
    /// When a node runs short and ends pods; amounts or shares of memory.available, nodefs.available, nodefs.inodesFree and pid.available
    #[arg(long, value_name = "THRESHOLDS", default_value = kubelet::Thresholds::DEFAULT)]
    pub(crate) eviction_hard: kubelet::Thresholds,
}

#[derive(Args, Debug)]
pub(crate) struct Down {
    #[command(flatten)]
    pub(crate) data_dir: DataDir,
    /// Erase the cluster's state as well
    #[arg(long)]
    pub(crate) purge: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Image {
    /// Import OCI or docker archives
    Import {
        #[command(flatten)]
        data_dir: DataDir,
        /// The archives
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
    /// List images
    Ls {
        #[command(flatten)]
        data_dir: DataDir,
    },
    /// Pull an image from its registry
    Pull {
        #[command(flatten)]
        data_dir: DataDir,
        /// The image
        image: String,
    },
    /// Remove images
    Rm {
        #[command(flatten)]
        data_dir: DataDir,
        /// The images, by name or id
        #[arg(required = true, value_name = "IMAGE")]
        images: Vec<String>,
    },
}

#[derive(Args, Debug)]
pub(crate) struct Play {
    #[command(flatten)]
    pub(crate) data_dir: DataDir,
    /// The manifests
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// Write the kubeconfig of a cluster that is booted to this file
    #[arg(long, value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// Show the page that a pod serves, whenever it changes
    #[arg(long, value_name = "POD:PORT")]
    pub(crate) show: Option<String>,
    /// End after the page was shown this often, instead of at Ctrl-C
    #[arg(long, value_name = "N")]
    pub(crate) times: Option<u32>,
}
