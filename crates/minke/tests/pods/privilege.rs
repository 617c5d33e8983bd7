//! What a container may do, and as whom.

use anyhow::{Context, ensure};
use serde_json::{Value, json};
use testkit::{Namespace, container, pod};

const FOREVER: &str = "trap exit TERM; while true; do sleep 1 & wait $!; done";

fn capabilities(status: &str) -> anyhow::Result<u64> {
    let line = status.lines().find(|line| line.starts_with("CapEff")).context("effective capabilities")?;
    Ok(u64::from_str_radix(line.split_whitespace().last().context("a set")?, 16)?)
}

pub(crate) async fn p40_a_privileged_container_can_do_everything(space: Namespace) -> anyhow::Result<()> {
    let mut able = container("able", FOREVER);
    able["securityContext"] = json!({"privileged": true});
    space.start(&pod("p", &[able, container("plain", FOREVER)])).await?;
    let status = "cat /proc/self/status";
    let (able, plain) = (space.exec("p", "able", status).await?, space.exec("p", "plain", status).await?);
    let own = capabilities(&std::fs::read_to_string("/proc/self/status")?)?;
    ensure!(capabilities(&able)? == own, "all that the node has to give: {able}");
    ensure!(capabilities(&plain)? != own, "which the other has not: {plain}");
    ensure!(able.contains("Seccomp:\t0"), "no seccomp");
    let devices = async |name: &str| anyhow::Ok(space.exec("p", name, "ls /dev").await?.lines().count());
    ensure!(devices("able").await? > devices("plain").await?, "all devices");
    let masked = "wc -c < /proc/keys; test -w /proc/sys/net/ipv4/ip_forward && echo writable";
    ensure!(
        space.exec("p", "able", "echo 1 > /proc/sys/net/ipv4/ip_forward").await.is_ok(),
        "no read-only paths: {masked}"
    );
    ensure!(space.exec("p", "plain", "echo 1 > /proc/sys/net/ipv4/ip_forward").await.is_err(), "which the other has");
    space.exec("p", "able", "mkdir /tmp/m; mount -t tmpfs none /tmp/m").await.context("it may mount")?;
    ensure!(
        space.exec("p", "plain", "mkdir -p /tmp/m; mount -t tmpfs none /tmp/m").await.is_err(),
        "the other may not"
    );
    Ok(())
}

pub(crate) async fn p43_users_groups_and_files(space: Namespace) -> anyhow::Result<()> {
    let mut own = container("own", FOREVER);
    own["securityContext"] = json!({"runAsUser": 2000, "runAsGroup": 3000, "allowPrivilegeEscalation": false});
    let mut containers = [own, container("pods", FOREVER)];
    for container in &mut containers {
        container["volumeMounts"] = json!([{"name": "data", "mountPath": "/data"}]);
    }
    let mut pod = pod("p", &containers);
    pod["spec"]["volumes"] = json!([{"name": "data", "emptyDir": {}}]);
    pod["spec"]["securityContext"] = json!({
        "runAsUser": 1000, "runAsGroup": 1500, "fsGroup": 4000, "supplementalGroups": [5000], "runAsNonRoot": true,
        "sysctls": [{"name": "kernel.shm_rmid_forced", "value": "1"}],
    });
    space.start(&pod).await?;
    ensure!(
        space.exec("p", "own", "id -u; id -g; id -G").await? == "2000\n3000\n3000 4000 5000\n",
        "the container's win"
    );
    let groups = space.exec("p", "pods", "id -u; id -g; id -G").await?;
    let groups: Vec<_> = groups.split_whitespace().collect();
    ensure!(groups[..3] == ["1000", "1500", "1500"], "{groups:?}");
    // The last one is what the image's own table gives the user.
    ensure!(["4000", "5000", "7000"].iter().all(|group| groups.contains(group)), "{groups:?}");
    let file =
        space.exec("p", "pods", "echo x > /data/file; stat -c %g /data/file; cat /proc/sys/kernel/shm_rmid_forced");
    ensure!(file.await? == "4000\n1\n", "files belong to the group, and the parameter is set");
    let status = space.exec("p", "own", "grep NoNewPrivs /proc/self/status").await?;
    ensure!(status.trim_end().ends_with('1'), "no new privileges: {status}");
    Ok(())
}

pub(crate) async fn p43_what_breaks_a_promise_does_not_run(space: Namespace) -> anyhow::Result<()> {
    let mut root = pod("root", &[container("a", FOREVER)]);
    root["spec"]["securityContext"] = json!({"runAsNonRoot": true});
    space.create(&root).await?;
    let refused = |pod: &Value| {
        let waiting = &pod["status"]["containerStatuses"][0]["state"]["waiting"];
        let message = waiting["message"].as_str().unwrap_or_default();
        waiting["reason"] == "CreateContainerConfigError"
            && message.starts_with("container has runAsNonRoot and image will run as root")
    };
    space.until("root", "does not start", refused).await?;
    let mut unsafe_sysctl = pod("sysctl", &[container("a", FOREVER)]);
    unsafe_sysctl["spec"]["securityContext"] = json!({"sysctls": [{"name": "kernel.msgmax", "value": "8192"}]});
    space.create(&unsafe_sysctl).await?;
    let forbidden = |pod: &Value| pod["status"]["phase"] == "Failed" && pod["status"]["reason"] == "SysctlForbidden";
    space.until("sysctl", "is refused by the node", forbidden).await?;
    let mut confined = pod("confined", &[container("a", FOREVER)]);
    confined["spec"]["securityContext"] = json!({"appArmorProfile": {"type": "RuntimeDefault"}});
    space.create(&confined).await?;
    let refused = |pod: &Value| {
        let text = "Pod was rejected: Cannot enforce AppArmor: AppArmor is not enabled on the host";
        let status = &pod["status"];
        status["phase"] == "Failed" && status["reason"] == "AppArmor" && status["message"] == text
    };
    space.until("confined", "is refused by the node", refused).await?;
    let mut mapped = pod("mapped", &[container("a", FOREVER)]);
    mapped["spec"]["hostUsers"] = json!(false);
    space.create(&mapped).await?;
    let text =
        "Failed to create pod sandbox: can't set `spec.hostUsers: false`, runtime does not support user namespaces";
    space.event("mapped", "FailedCreatePodSandBox", text).await?;
    let mut strict = pod("strict", &[container("a", FOREVER)]);
    strict["spec"]["securityContext"] =
        json!({"runAsUser": 1000, "supplementalGroups": [6000], "supplementalGroupsPolicy": "Strict"});
    space.start(&strict).await?;
    ensure!(space.exec("strict", "a", "id -G").await? == "1000 6000\n", "no further groups of the image");
    Ok(())
}
