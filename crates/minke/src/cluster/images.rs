//! What the command line asks of images, on the one store that has them open.

use std::fs::File;
use std::sync::{Arc, Mutex};

use anyhow::Context;
use container::images::Progress;
use container::{Image, Images};

use crate::control::{Answer, ImageRow, Request, Step};

/// Answers a request about images; progress goes to `on_step` while the work is done.
pub(crate) async fn answer(store: &Images, request: &Request, mut on_step: impl FnMut(Step)) -> anyhow::Result<Answer> {
    let (sender, mut receiver) = tokio::sync::watch::channel((String::new(), 0, 0));
    let sender = Mutex::new(sender);
    let on_progress = Arc::new(move |step: Progress| {
        let (what, done, total) = match step {
            Progress::Transfer { digest, done, total } => (digest, done, total.unwrap_or(done)),
            Progress::Unpack { digest, done, total } => (digest, done, total),
            Progress::Done { digest } => (digest, 1, 1),
        };
        // Nobody may be watching any more.
        let _ = sender.lock().map(|sender| sender.send((what, done, total)));
    });
    let work = work(store, request, on_progress);
    tokio::pin!(work);
    loop {
        tokio::select! {
            answer = &mut work => return answer,
            Ok(()) = receiver.changed() => {
                let (what, done, total) = receiver.borrow_and_update().clone();
                on_step(Step::Progress { what, done, total });
            }
        }
    }
}

async fn work(store: &Images, request: &Request, progress: container::images::OnProgress) -> anyhow::Result<Answer> {
    let images = match request {
        Request::ImportImage(path) => {
            let open = || format!("import {}", path.display());
            let file = File::open(path).with_context(open)?;
            store.import(Box::new(file), progress).await.with_context(open)?
        }
        Request::PullImage(name) => {
            vec![store.pull(name, None, progress).await.with_context(|| format!("pull {name}"))?]
        }
        Request::ListImages => store.list(),
        Request::RemoveImage(name) => {
            store.remove(name).await.with_context(|| format!("remove {name}"))?;
            return Ok(Answer::Done);
        }
        _ => anyhow::bail!("that is not about images"),
    };
    Ok(Answer::Images(images.into_iter().map(row).collect()))
}

fn row(image: Image) -> ImageRow {
    ImageRow { names: image.tags.into_iter().chain(image.digests).collect(), id: image.id.0, bytes: image.size }
}
