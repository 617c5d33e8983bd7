//! When what a pod's volumes show has changed: the config maps and secrets they name, and tokens that grow old.

use std::collections::BTreeSet;
use std::time::Duration;

use client::Client;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use k8s_openapi::api::core::v1::{Pod, Volume, VolumeProjection};
use meta::{FieldSelector, Gvr, ResourcePath, WatchOptions};

/// How long to wait before a watch that broke is opened again.
const AGAIN: Duration = Duration::from_secs(5);

/// An item for every change.
pub(super) fn of(client: &Client, pod: &Pod) -> BoxStream<'static, ()> {
    let volumes = || pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    let namespace = pod.metadata.namespace.clone().unwrap_or_default();
    let objects: BTreeSet<(&'static str, String)> = volumes().flat_map(named).collect();
    let mut all: Vec<BoxStream<'static, ()>> =
        objects.into_iter().map(|(resource, name)| object(client.clone(), resource, namespace.clone(), name)).collect();
    if let Some(seconds) = volumes().flat_map(token_seconds).min() {
        all.push(timer(Duration::from_secs(seconds.unsigned_abs()).mul_f64(0.8)));
    }
    stream::select_all(all).boxed()
}

fn projections(volume: &Volume) -> impl Iterator<Item = &VolumeProjection> {
    volume.projected.iter().flat_map(|source| source.sources.iter().flatten())
}

fn named(volume: &Volume) -> Vec<(&'static str, String)> {
    let mut names = Vec::new();
    names.extend(volume.config_map.iter().map(|source| ("configmaps", source.name.clone())));
    names.extend(volume.secret.iter().filter_map(|source| Some(("secrets", source.secret_name.clone()?))));
    for part in projections(volume) {
        names.extend(part.config_map.iter().map(|source| ("configmaps", source.name.clone())));
        names.extend(part.secret.iter().map(|source| ("secrets", source.name.clone())));
    }
    names
}

fn token_seconds(volume: &Volume) -> Vec<i64> {
    let tokens = projections(volume).filter_map(|part| part.service_account_token.as_ref());
    tokens.map(|token| token.expiration_seconds.unwrap_or(3600).max(600)).collect()
}

/// An item for every event of one object, from a watch that is opened again when it ends.
fn object(client: Client, resource: &'static str, namespace: String, name: String) -> BoxStream<'static, ()> {
    let watch = move || {
        let (client, namespace, name) = (client.clone(), namespace.clone(), name.clone());
        async move {
            let path = ResourcePath::collection(Gvr::new("", "v1", resource), &namespace);
            let fields = FieldSelector::equal("metadata.name", &name);
            client.watch(&path, WatchOptions { fields, ..WatchOptions::default() }).await
        }
    };
    let rounds = stream::unfold(true, move |first| {
        let watch = watch.clone();
        async move {
            if !first {
                tokio::time::sleep(AGAIN).await;
            }
            let events = match watch().await {
                Ok(events) => events.take_while(|event| std::future::ready(event.is_ok())).map(|_| ()).boxed(),
                Err(_) => stream::empty().boxed(),
            };
            Some((events, false))
        }
    });
    rounds.flatten().boxed()
}

fn timer(every: Duration) -> BoxStream<'static, ()> {
    stream::unfold((), move |()| async move {
        tokio::time::sleep(every).await;
        Some(((), ()))
    })
    .boxed()
}
