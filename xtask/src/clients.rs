//! `cargo xtask clients`: unmodified kubectl against minke and against upstream, one script, outputs side by side.
//!
//! Outputs are kept in the target folder, so that a run without `--upstream` compares with upstream's last one.

mod expected;
mod kubectl;
mod normal;
mod script;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};

use self::kubectl::Kubectl;
use crate::peer::{Given, Minke, Peer, Upstream};

/// The images that the script's pods run.
const IMAGES: [&str; 3] = ["busybox", "agnhost-2.63.0", "pause"];
/// No step takes longer, in seconds.
const LIMIT: &str = "90";

#[derive(clap::Args, Debug)]
pub(crate) struct Options {
    /// Run the script on upstream too, started with `up.sh` and `down.sh` of this folder
    #[arg(long, value_name = "DIR", env = "MINKE_UPSTREAM")]
    upstream: Option<PathBuf>,
    /// The kubectls: programs, or versions that are built from their Go modules
    #[arg(long, value_name = "VERSION|FILE", value_delimiter = ',', default_values = kubectl::VERSIONS)]
    kubectl: Vec<String>,
    /// Only compare what earlier runs left
    #[arg(long)]
    compare: bool,
    #[command(flatten)]
    given: Given,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let folder = crate::target()?.join("clients");
    let clients = options.kubectl.iter().map(|wanted| Kubectl::find(wanted, &folder));
    let clients: Vec<Kubectl> = clients.collect::<Result<_, _>>()?;
    if !options.compare {
        let images: Vec<PathBuf> = IMAGES.iter().map(|name| options.given.image(name)).collect();
        let everything = |peer: &dyn Peer| {
            peer.import(&images)?;
            let into = |client: &Kubectl| folder.join(peer.name()).join(&client.version);
            clients.iter().try_for_each(|client| play(peer, &client.program, &into(client)))
        };
        everything(&Minke::boot(&options.given.binary()?)?)?;
        if let Some(scripts) = &options.upstream {
            everything(&Upstream::boot(scripts, &options.given.cache())?)?;
        }
    }
    let mut differing = 0;
    for client in &clients {
        differing += compare(&folder, &client.version)?;
    }
    let all = clients.len() * script::steps().len();
    println!("{} of {all} outputs are upstream's", all - differing);
    if differing > 0 {
        bail!("{differing} outputs differ from upstream's");
    }
    Ok(())
}

/// Runs the script, and keeps each step's output in the folder.
fn play(peer: &dyn Peer, client: &Path, folder: &Path) -> anyhow::Result<()> {
    // What an earlier script left would be compared again.
    let _ = fs::remove_dir_all(folder);
    fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
    let work = tempfile::TempDir::with_prefix("clients-").context("make a temporary folder")?;
    fs::write(work.path().join("objects.yaml"), script::OBJECTS).context("write the script's objects")?;
    let tools = client.parent().context("find kubectl's folder")?;
    let path = std::env::join_paths([tools, Path::new("/usr/bin"), Path::new("/bin")])?;
    for step in script::steps() {
        eprintln!("{}: {}", peer.name(), step.name);
        let mut shell = Command::new("timeout");
        shell.args([LIMIT, "bash", "-c", step.commands]).current_dir(&work).stdin(Stdio::null()).env_clear();
        shell.env("PATH", &path).env("HOME", work.path()).env("KUBECONFIG", peer.kubeconfig());
        let output = peer.netns().inside(move || shell.output().context("start a step"))?;
        let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
        text += &String::from_utf8_lossy(&output.stderr);
        text += &format!("exit {}\n", output.status.code().unwrap_or(-1));
        fs::write(folder.join(step.name), text).context("keep an output")?;
    }
    Ok(())
}

/// Prints the differences of a version's outputs, and says how many outputs differ.
fn compare(folder: &Path, version: &str) -> anyhow::Result<usize> {
    let mut differing = 0;
    for step in script::steps() {
        let read = |peer: &str| {
            let path = folder.join(peer).join(version).join(step.name);
            let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
            let text = expected::without(step.name, &normal::normal(&text));
            let path = folder.join(format!("{peer}.txt"));
            fs::write(&path, text).context("write a normal output")?;
            anyhow::Ok(path)
        };
        let (theirs, ours) = (read("upstream")?, read("minke")?);
        let diff =
            Command::new("diff").args(["-U2", "--label", "upstream", "--label", "minke"]).args([theirs, ours]).output();
        let diff = diff.context("start diff")?;
        if !diff.status.success() {
            differing += 1;
            println!("== kubectl {version}: {}\n{}", step.name, String::from_utf8_lossy(&diff.stdout));
        }
    }
    Ok(differing)
}
