//! Users at work on one pod each, and what they know when the daemon is gone.

use std::path::PathBuf;
use std::time::Duration;

use kube::api::{AttachParams, DeleteParams, Patch, PatchParams, PostParams};
use rand::Rng;
use rand::rngs::StdRng;
use serde_json::{Value, json};
use testkit::{Namespace, is_ready};

use crate::mix::Mix;

/// Somebody who works on one pod.
pub(crate) struct User {
    pub(crate) mix: Mix,
    pub(crate) name: String,
    pub(crate) marks: PathBuf,
    pub(crate) random: StdRng,
}

/// What was acknowledged to a user, and what the user saw.
#[derive(Debug)]
pub(crate) struct Story {
    pub(crate) mix: Mix,
    pub(crate) name: String,
    pub(crate) marks: PathBuf,
    /// Of the pod whose creation was acknowledged.
    pub(crate) uid: Option<String>,
    /// The last label that was acknowledged, and the one that was on its way.
    pub(crate) label: Option<u32>,
    pub(crate) asked_label: Option<u32>,
    /// Whether a deletion was asked for, and acknowledged.
    pub(crate) asked_deletion: bool,
    pub(crate) deleted: bool,
    /// The pod when it was seen Ready.
    pub(crate) ready: Option<Value>,
    /// Whether its shim was killed.
    pub(crate) struck: bool,
}

impl User {
    /// Works until the daemon does not answer any more.
    pub(crate) async fn work(mut self, space: &Namespace) -> Story {
        let mut story = Story {
            mix: self.mix,
            name: self.name.clone(),
            marks: self.marks.clone(),
            uid: None,
            label: None,
            asked_label: None,
            asked_deletion: false,
            deleted: false,
            ready: None,
            struck: false,
        };
        // Whatever ends the work is the daemon's end: the invariants are checked afterwards.
        let _ended = self.steps(space, &mut story).await;
        story
    }

    async fn steps(&mut self, space: &Namespace, story: &mut Story) -> anyhow::Result<()> {
        let pods = space.pods();
        let pod = serde_json::from_value(self.mix.pod(&self.name, &self.marks))?;
        story.uid = pods.create(&PostParams::default(), &pod).await?.metadata.uid;
        let mut looks = tokio::time::interval(Duration::from_millis(100));
        while !story.deleted {
            looks.tick().await;
            let pod = serde_json::to_value(pods.get(&self.name).await?)?;
            if story.ready.is_none() && is_ready(&pod) {
                story.ready = Some(pod);
            }
            match self.random.random_range(0..12) {
                0 | 1 => self.label(space, story).await?,
                2 if story.ready.is_some() => self.enter(space).await,
                3 if story.ready.is_some() || self.random.random_ratio(1, 8) => self.delete(space, story).await?,
                _ => {}
            }
        }
        Ok(())
    }

    async fn label(&mut self, space: &Namespace, story: &mut Story) -> anyhow::Result<()> {
        let label = self.random.random();
        story.asked_label = Some(label);
        let patch = json!({"metadata": {"labels": {"storm": label.to_string()}}});
        space.pods().patch(&self.name, &PatchParams::default(), &Patch::Merge(patch)).await?;
        story.label = Some(label);
        Ok(())
    }

    /// The container may have ended meanwhile: nothing is said about the answer.
    async fn enter(&mut self, space: &Namespace) {
        let options = AttachParams::default().container("a").stdout(true).stderr(false);
        if let Ok(process) = space.pods().exec(&self.name, ["true"], &options).await {
            let _ended = process.join().await;
        }
    }

    async fn delete(&mut self, space: &Namespace, story: &mut Story) -> anyhow::Result<()> {
        story.asked_deletion = true;
        space.pods().delete(&self.name, &DeleteParams::default()).await?;
        story.deleted = true;
        Ok(())
    }
}
