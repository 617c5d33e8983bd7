//! A storm: rounds in which mixed pods are made, entered, changed and deleted while the program is killed at a random moment, in every
//! tenth round a random shim too. What was acknowledged holds, what ran is not disturbed, what was ending gets its grace period again,
//! exit codes are true, and nothing stays.

mod invariants;
mod mix;
mod shims;
mod users;

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use testkit::{Cluster, Namespace, eventually, need_root, nothing_is_left, seed};

use mix::Mix;
use users::{Story, User};

const PODS: usize = 30;
/// The rounds of the whole suite; `cargo xtask storm` asks for more.
const ROUNDS: u32 = 4;
const VARIABLE: &str = "MINKE_STORM_ROUNDS";
const SPACE: &str = "storm";
/// The daemon is killed within so many milliseconds: on a slow machine pods take some of them to become Ready.
const LATEST: u64 = 10_000;
/// Every so many rounds a shim is killed.
const SHIM: u32 = 10;

#[test]
fn a_storm_is_weathered() -> anyhow::Result<()> {
    if !need_root() {
        return Ok(());
    }
    let rounds = rounds()?;
    let mut random = StdRng::seed_from_u64(seed()?);
    let cluster = Cluster::start(Path::new(env!("CARGO_BIN_EXE_minke")))?;
    cluster.run(async |client| Namespace::new(client, SPACE).await.map(drop))?;
    for number in 0..rounds {
        let round = Round { cluster: &cluster, number };
        round.run(&mut random).with_context(|| format!("round {number} of {rounds}"))?;
    }
    cluster.end()
}

#[expect(clippy::disallowed_methods, reason = "tests have no command line of their own")]
fn rounds() -> anyhow::Result<u32> {
    match std::env::var(VARIABLE) {
        Ok(text) => text.parse().with_context(|| format!("read {VARIABLE}={text}")),
        Err(_) => Ok(ROUNDS),
    }
}

struct Round<'a> {
    cluster: &'a Cluster,
    number: u32,
}

impl Round<'_> {
    fn run(&self, random: &mut StdRng) -> anyhow::Result<()> {
        let marks = self.cluster.folder().join(format!("marks-{}", self.number));
        std::fs::create_dir(&marks).context("make the folder of marks")?;
        let users: Vec<User> = (0..PODS)
            .map(|index| {
                let name = format!("pod-{}-{index}", self.number);
                User { mix: Mix::of(index), name, marks: marks.clone(), random: StdRng::from_rng(&mut *random) }
            })
            .collect();
        let delay = Duration::from_millis(random.random_range(5..LATEST));
        let mut stories = self.until_the_crash(users, delay)?;
        if self.number % SHIM == SHIM - 1 {
            self.kill_a_shim(&mut stories, random)?;
        }
        let crash = invariants::uptime()?;
        let count = |what: fn(&Story) -> bool| stories.iter().filter(|story| what(story)).count();
        eprintln!(
            "round {}: killed after {delay:?}; {} made, {} seen Ready, {} deleted, {} lost their shim",
            self.number,
            count(|story| story.uid.is_some()),
            count(|story| story.ready.is_some()),
            count(|story| story.deleted),
            count(|story| story.struck)
        );
        // A time without the daemon, in which pods go on and end.
        std::thread::park_timeout(Duration::from_millis(random.random_range(0..500)));
        let resumed = invariants::uptime()?;
        self.cluster.up().context("resume")?;
        self.cluster.run(async |client| {
            let space = Namespace { client, name: SPACE.to_owned() };
            for story in &stories {
                let held = invariants::hold(&space, story, invariants::Times { crash, resumed }).await;
                held.with_context(|| format!("{:?} {}", story.mix, story.name))?;
            }
            self.clear(&space, &stories).await
        })
    }

    /// Users are at work until the daemon is killed; gives what each of them knows.
    fn until_the_crash(&self, users: Vec<User>, delay: Duration) -> anyhow::Result<Vec<Story>> {
        let process = self.cluster.process()?;
        self.cluster.run(async |client| {
            let space = Namespace { client, name: SPACE.to_owned() };
            let work = futures::future::join_all(users.into_iter().map(|user| user.work(&space)));
            let kill = async {
                tokio::time::sleep(delay).await;
                nix::sys::signal::kill(process, nix::sys::signal::Signal::SIGKILL)
            };
            let (stories, killed) = tokio::join!(work, kill);
            killed.context("kill the daemon")?;
            Ok(stories)
        })
    }

    /// Its pod may lose everything but its objects.
    fn kill_a_shim(&self, stories: &mut [Story], random: &mut StdRng) -> anyhow::Result<()> {
        let shims = shims::of(self.cluster)?;
        if shims.is_empty() {
            return Ok(());
        }
        let (process, group) = &shims[random.random_range(0..shims.len())];
        nix::sys::signal::kill(*process, nix::sys::signal::Signal::SIGKILL).context("kill a shim")?;
        for story in stories {
            story.struck |= story.uid.as_ref().is_some_and(|uid| group.contains(uid.as_str()));
        }
        Ok(())
    }

    /// Deletes all and waits until no pod and no trace of one is left.
    async fn clear(&self, space: &Namespace, stories: &[Story]) -> anyhow::Result<()> {
        let pods = space.pods();
        for story in stories {
            match pods.delete(&story.name, &kube::api::DeleteParams::default()).await {
                Ok(_) => {}
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                Err(error) => bail!("delete {}: {error}", story.name),
            }
        }
        eventually("all pods are gone", async || match pods.list(&kube::api::ListParams::default()).await {
            Ok(list) if list.items.is_empty() => Ok(()),
            Ok(list) => Err(list.items.into_iter().filter_map(|pod| pod.metadata.name).collect()),
            Err(error) => Err(vec![error.to_string()]),
        })
        .await?;
        let uids: Vec<String> = stories.iter().filter_map(|story| story.uid.clone()).collect();
        nothing_is_left(&uids).await
    }
}
