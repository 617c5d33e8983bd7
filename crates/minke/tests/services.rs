//! Services with real traffic: while pods roll, end slowly and die, no call fails that a healthy endpoint could have served; `kill -9` of the
//! program in the middle of changes drops no connection, and heals; policies keep out whom they don't let in.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use testkit::{Cluster, Namespace, container, eventually, is_ready, need_root, pod};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const SPACE: &str = "services";
/// How long a call may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// So many calls in a row reach every endpoint with near certainty.
const MANY: usize = 100;
/// A web server that answers for five seconds after it was told to end, unless it was told to be dead.
const SERVE: &str = "test -e /v/dead && exec sleep 100000; mkdir /w; hostname > /w/index.html; \
    httpd -f -p 8080 -h /w & trap 'sleep 5; exit 0' TERM; wait";

#[test]
fn calls_reach_whoever_can_serve() -> anyhow::Result<()> {
    if !need_root() {
        return Ok(());
    }
    let cluster = Cluster::start(Path::new(env!("CARGO_BIN_EXE_minke")))?;
    let services = cluster.run(async |client| {
        let space = Namespace::new(client, SPACE).await?;
        let (web, steady) = begin(&space).await?;
        pods_roll(&space, web).await?;
        a_pod_dies(&space, web).await?;
        all_end_slowly(&space, web).await?;
        policies_keep_out(&space).await?;
        Ok((web, steady))
    })?;
    crashes_heal(&cluster, services)?;
    cluster.end()
}

/// A web server in three copies behind a service, one that stays as it is behind another, and a pod that calls the first again and again.
async fn begin(space: &Namespace) -> anyhow::Result<(SocketAddr, SocketAddr)> {
    let web = service(space, "web", 8080).await?;
    let steady = service(space, "steady", 8080).await?;
    let mut server = container("a", SERVE);
    server["readinessProbe"] = json!({"httpGet": {"path": "/", "port": 8080}, "periodSeconds": 1});
    server["volumeMounts"] = json!([{"name": "v", "mountPath": "/v"}]);
    let deployment = json!({
        "metadata": {"name": "web"},
        "spec": {
            "replicas": 3, "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"terminationGracePeriodSeconds": 30, "containers": [server], "volumes": [{"name": "v", "emptyDir": {}}]},
            },
        },
    });
    deployments(space).create(&PostParams::default(), &serde_json::from_value(deployment)?).await?;
    let mut stays = pod("steady", &[container("a", SERVE)]);
    stays["metadata"]["labels"] = json!({"app": "steady"});
    space.start(&stays).await?;
    ready_pods(space, 3).await?;
    eventually("the service answers", async || call(web).await.map_err(|error| format!("{error:#}"))).await?;
    let script =
        format!("while true; do timeout 20 wget -q -O /dev/null http://{web}/ || echo failed; echo called; done");
    space.start(&pod("caller", &[container("a", &script)])).await?;
    Ok((web, steady))
}

async fn service(space: &Namespace, name: &str, port: u16) -> anyhow::Result<SocketAddr> {
    let services: Api<Service> = Api::namespaced(space.client.clone(), &space.name);
    let object = json!({"metadata": {"name": name}, "spec": {"selector": {"app": name}, "ports": [{"port": port}]}});
    let made =
        services.create(&PostParams::default(), &serde_json::from_value(object)?).await.context("make a service")?;
    let address: Ipv4Addr = made.spec.and_then(|spec| spec.cluster_ip).context("an address")?.parse()?;
    Ok(SocketAddr::new(address.into(), port))
}

fn deployments(space: &Namespace) -> Api<Deployment> {
    Api::namespaced(space.client.clone(), &space.name)
}

/// The addresses of the web servers, once exactly so many are there and Ready.
async fn ready_pods(space: &Namespace, count: usize) -> anyhow::Result<Vec<String>> {
    let selector = ListParams::default().labels("app=web");
    eventually(&format!("{count} web servers are Ready"), async || {
        let pods = space.pods().list(&selector).await.map_err(|error| error.to_string())?;
        let pods: Vec<Value> = pods.iter().filter_map(|pod| serde_json::to_value(pod).ok()).collect();
        let ready = pods.iter().filter(|pod| is_ready(pod)).count();
        let addresses = pods.iter().filter_map(|pod| pod["status"]["podIP"].as_str().map(str::to_owned));
        if ready == count && pods.len() == count {
            Ok(addresses.collect())
        } else {
            Err(format!("{ready} of {}", pods.len()))
        }
    })
    .await
}

/// One call from the node; gives who answered.
async fn call(service: SocketAddr) -> anyhow::Result<String> {
    let exchange = async {
        let mut stream = TcpStream::connect(service).await.context("connect")?;
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n").await.context("ask")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.context("hear")?;
        let (head, body) = answer.split_once("\r\n\r\n").with_context(|| format!("half an answer: {answer:?}"))?;
        ensure!(head.contains(" 200 "), "{head}");
        Ok(body.trim().to_owned())
    };
    tokio::time::timeout(PATIENCE, exchange).await.context("no answer")?
}

/// Does some work, and calls the service all the time until that is done. Fails with the first call that does.
async fn while_called<T>(service: SocketAddr, work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let calling = async {
        for number in 0_u64.. {
            if let Err(error) = call(service).await {
                return error.context(format!("call {number}"));
            }
        }
        anyhow::anyhow!("called for ever")
    };
    tokio::select! {
        error = calling => Err(error),
        done = work => done,
    }
}

async fn change(space: &Namespace, patch: Value) -> anyhow::Result<()> {
    deployments(space)
        .patch("web", &PatchParams::default(), &Patch::Merge(patch))
        .await
        .context("change the deployment")?;
    Ok(())
}

/// A pod that was told to end goes on to serve whom it serves, gets no new calls, and its successor gets them once it is Ready.
async fn pods_roll(space: &Namespace, web: SocketAddr) -> anyhow::Result<()> {
    let before = ready_pods(space, 3).await?;
    let template = json!({"spec": {"template": {"metadata": {"annotations": {"version": "2"}}}}});
    let roll = async {
        change(space, template).await?;
        eventually("all pods are new", async || {
            let now = ready_pods(space, 3).await.map_err(|error| error.to_string())?;
            if now.iter().any(|address| before.contains(address)) { Err(format!("{before:?} {now:?}")) } else { Ok(()) }
        })
        .await
    };
    while_called(web, roll).await.context("while pods roll")?;
    let log = space.log("caller", "a").await?;
    let said: Vec<&str> = log.lines().filter(|line| *line != "called").take(5).collect();
    ensure!(said.is_empty(), "a pod's call failed while pods rolled: {said:?}");
    ensure!(log.lines().count() > MANY, "the pod calls: {} times", log.lines().count());
    Ok(())
}

/// One that dies without a word is noticed soon, and the others serve.
async fn a_pod_dies(space: &Namespace, web: SocketAddr) -> anyhow::Result<()> {
    let victim = call(web).await?;
    // The server's first process ends with it, and takes the command along.
    if let Err(error) = space.exec(&victim, "a", "touch /v/dead; busybox killall -9 httpd").await {
        ensure!(format!("{error:#}").contains("137"), "{error:#}");
    }
    eventually("only the others are called", async || {
        for number in 0..MANY {
            match call(web).await {
                Ok(name) if name != victim => {}
                other => return Err(format!("call {number}: {other:?}")),
            }
        }
        Ok(())
    })
    .await?;
    space.pods().delete(&victim, &DeleteParams::default().grace_period(0)).await?;
    ready_pods(space, 3).await.map(drop)
}

/// Where all of them end, those that still answer do.
async fn all_end_slowly(space: &Namespace, web: SocketAddr) -> anyhow::Result<()> {
    let begun = Instant::now();
    let end = async {
        change(space, json!({"spec": {"replicas": 0}})).await?;
        let selector = ListParams::default().labels("app=web");
        eventually("all pods end", async || {
            let pods = space.pods().list(&selector).await.map_err(|error| error.to_string())?;
            let end = pods.iter().all(|pod| pod.metadata.deletion_timestamp.is_some());
            if end { Ok(()) } else { Err(String::new()) }
        })
        .await?;
        for number in 0..MANY {
            // They answer for five seconds; on a slow machine there is less to see.
            if begun.elapsed() < Duration::from_secs(2) {
                call(web).await.with_context(|| format!("call {number} to pods that end"))?;
            }
        }
        Ok(())
    };
    while_called(web, end).await.context("while all pods end")?;
    ready_pods(space, 0).await?;
    eventually("nobody serves", async || match call(web).await {
        Err(error) if format!("{error:#}").contains("refused") => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await?;
    change(space, json!({"spec": {"replicas": 3}})).await?;
    ready_pods(space, 3).await.map(drop)
}

/// A pod that a policy chooses is reached by those that it lets in, at the ports that it names, and by the node.
async fn policies_keep_out(space: &Namespace) -> anyhow::Result<()> {
    let policies: Api<NetworkPolicy> = Api::namespaced(space.client.clone(), &space.name);
    for name in ["friend", "stranger"] {
        let mut pod = pod(name, &[container("a", "exec sleep 100000")]);
        pod["metadata"]["labels"] = json!({"app": name});
        space.start(&pod).await?;
    }
    let server = ready_pods(space, 3).await?.pop().context("a server")?;
    let steady =
        space.until("steady", "runs", |_| true).await?["status"]["podIP"].as_str().unwrap_or_default().to_owned();
    let reaches = async |from: &str, expected: bool, to: &str| {
        eventually(&format!("{from} reaches {to}: {expected}"), async || {
            let reached = space.exec(from, "a", &format!("timeout 1 nc {} < /dev/null", to.replace(':', " "))).await;
            if reached.is_ok() == expected { Ok(()) } else { Err(format!("{reached:?}")) }
        })
        .await
    };
    let check = async |spec: Value, expected: &[(&str, bool, String)]| {
        let object = json!({"metadata": {"name": "p"}, "spec": spec});
        policies.create(&PostParams::default(), &serde_json::from_value(object)?).await.context("make a policy")?;
        for (from, expected, to) in expected {
            reaches(from, *expected, to).await.with_context(|| spec.to_string())?;
        }
        policies.delete("p", &DeleteParams::default()).await?;
        reaches("stranger", true, &format!("{server}:8080")).await
    };
    let (web, steady) = (format!("{server}:8080"), format!("{steady}:8080"));
    let of_web = json!({"matchLabels": {"app": "web"}});
    let of_friends = json!({"podSelector": {"matchLabels": {"app": "friend"}}});
    check(
        json!({"podSelector": of_web, "policyTypes": ["Ingress"]}),
        &[("friend", false, web.clone()), ("friend", true, steady.clone())],
    )
    .await?;
    let open = [("friend", true, web.clone()), ("stranger", false, web.clone()), ("friend", true, web.clone())];
    check(json!({"podSelector": of_web, "ingress": [{"from": [of_friends], "ports": [{"port": 8080}]}]}), &open)
        .await?;
    let other_port =
        json!({"podSelector": of_web, "ingress": [{"from": [of_friends], "ports": [{"port": 8081, "endPort": 9000}]}]});
    check(other_port, &[("friend", false, web.clone())]).await?;
    let block = json!({"cidr": "10.244.0.0/16", "except": [format!("{server}/32")]});
    let egress = json!({"podSelector": {"matchLabels": {"app": "stranger"}}, "policyTypes": ["Egress"], "egress": [{"to": [{"ipBlock": block}]}]});
    check(egress, &[("stranger", false, web.clone()), ("stranger", true, steady), ("friend", true, web)]).await?;
    // Nobody keeps the node out: it asks its pods how they are.
    let object = json!({"metadata": {"name": "none"}, "spec": {"podSelector": of_web, "policyTypes": ["Ingress"]}});
    policies.create(&PostParams::default(), &serde_json::from_value(object)?).await?;
    reaches("friend", false, &format!("{server}:8080")).await?;
    call(format!("{server}:8080").parse()?).await.context("the node's own call")?;
    policies.delete("none", &DeleteParams::default()).await?;
    Ok(())
}

/// A connection outlives crashes in the middle of changes, and afterwards the rules are those of the pods that there are.
fn crashes_heal(cluster: &Cluster, (web, steady): (SocketAddr, SocketAddr)) -> anyhow::Result<()> {
    cluster.enter()?;
    for (round, (replicas, delay)) in [(1, 5), (4, 40), (2, 120), (3, 15)].into_iter().enumerate() {
        let mut kept = std::net::TcpStream::connect(steady).context("connect")?;
        kept.set_read_timeout(Some(PATIENCE))?;
        kept.write_all(b"GET / HTTP/1.0\r\n").context("begin to ask")?;
        cluster.run(async |client| {
            let space = Namespace { client, name: SPACE.to_owned() };
            change(&space, json!({"spec": {"replicas": replicas}})).await?;
            tokio::time::sleep(Duration::from_millis(delay)).await;
            Ok(())
        })?;
        cluster.kill()?;
        kept.write_all(b"Host: steady\r\n")
            .with_context(|| format!("go on while the program is dead, crash {round}"))?;
        cluster.up()?;
        kept.write_all(b"\r\n").with_context(|| format!("end the question after crash {round}"))?;
        let mut answer = String::new();
        kept.read_to_string(&mut answer).with_context(|| format!("hear the answer after crash {round}"))?;
        ensure!(answer.contains(" 200 "), "{answer}");
        let pods = cluster.run(async |client| {
            let space = Namespace { client, name: SPACE.to_owned() };
            let mut pods = ready_pods(&space, replicas).await?;
            pods.sort();
            eventually("the rules lead to the pods", async || match targets(cluster) {
                Ok(found) if found == pods => Ok(()),
                other => Err(format!("{other:?}, not {pods:?}")),
            })
            .await?;
            for _ in 0..MANY {
                call(web).await.with_context(|| format!("after crash {round}"))?;
            }
            Ok(pods)
        })?;
        ensure!(pods.len() == replicas, "{pods:?}");
    }
    Ok(())
}

/// The addresses that the kernel leads calls of the web service to.
fn targets(cluster: &Cluster) -> anyhow::Result<Vec<String>> {
    let id = std::fs::read_to_string(cluster.data().join("cluster-id")).context("read the cluster's id")?;
    let table = format!("minke-{}-services", id.trim());
    let output = Command::new("nft").args(["list", "table", "ip", &table]).output().context("run nft")?;
    if !output.status.success() {
        bail!("nft: {}", String::from_utf8_lossy(&output.stderr));
    }
    let text = String::from_utf8(output.stdout)?;
    let chain = text.split(&format!("chain service-{SPACE}/web/tcp/8080 {{")).nth(1).context("no chain")?;
    let rules = chain.split_once("\n\t}").map_or(chain, |(rules, _)| rules);
    let words = rules.split(|letter: char| !letter.is_ascii_digit() && letter != '.');
    let mut addresses: Vec<String> = words.filter(|word| word.parse::<Ipv4Addr>().is_ok()).map(str::to_owned).collect();
    addresses.sort();
    Ok(addresses)
}
