//! What containers of a sandbox share, and what they are kept from.

use std::fs;

use container::{
    Capabilities, ContainerConfig, Mount, MountKind, NamespaceMode, Namespaces, Propagation, Runtime, Seccomp, User,
};

use crate::support::on_node;

#[test]
fn a_sandbox_shares_network_ipc_and_host_name() {
    on_node(async |node| {
        let mut sandbox = node.sandbox("s");
        sandbox.sysctls.insert("net.ipv4.ip_unprivileged_port_start".to_owned(), "77".to_owned());
        let sandbox = node.shims.run_sandbox(sandbox).await.unwrap();
        node.start(node.script("s", "a", "echo secret >/dev/shm/note; nc -l -p 5000 -e echo hello & sleep 1000")).await;
        node.start(node.script("s", "b", "sleep 1000")).await;
        let show = "hostname; for n in net ipc uts; do readlink /proc/self/ns/$n; done";
        let (a, b) = (node.exec("a", show).await.1, node.exec("b", show).await.1);
        assert!(a == b && a.starts_with("host-s\n"), "{a} {b}");
        let netns = fs::read_link(&sandbox.netns).unwrap();
        assert!(a.contains(netns.to_str().unwrap()), "{a} {netns:?}");
        assert_ne!(netns, fs::read_link("/proc/self/ns/net").unwrap());
        let (code, text) = node
            .exec(
                "b",
                "for i in $(seq 100); do [ -e /dev/shm/note ] && break; sleep 0.05; done; cat /dev/shm/note; \
                      nc 127.0.0.1 5000; cat /proc/sys/net/ipv4/ip_unprivileged_port_start",
            )
            .await;
        assert_eq!((code, text.as_str()), (0, "secret\nhello\n77\n"));
        // Not the mounts, and not the processes.
        let (_, text) = node
            .exec("b", "readlink /proc/self/ns/mnt; readlink /proc/self/ns/pid; ps -o args | grep -c 'sleep 100[0]'")
            .await;
        let (_, other) = node.exec("a", "readlink /proc/self/ns/mnt; readlink /proc/self/ns/pid; echo 1").await;
        assert!(text.ends_with("\n1\n") && text != other, "{text} {other}");
        // Another sandbox sees none of it.
        let (_, text) = node.run_alone("ls /dev/shm; hostname", |_| {}).await;
        assert!(text.starts_with("host-alone"), "{text}");
    });
}

#[test]
fn processes_can_be_shared() {
    on_node(async |node| {
        let pid = NamespaceMode::Sandbox;
        let sandbox =
            container::SandboxConfig { namespaces: Namespaces { pid, ..Namespaces::default() }, ..node.sandbox("s") };
        node.shims.run_sandbox(sandbox).await.unwrap();
        node.start(node.script("s", "a", "sleep 12345")).await;
        node.start(node.script("s", "b", "sleep 1000")).await;
        let (code, text) = node
            .exec(
                "b",
                "pidof sleep | wc -w; ls /proc/1/root/ 2>&1 | head -1; \
                      kill -9 $(ps -o pid,args | grep 'sleep 1234[5]' | head -1 | awk '{print $1}')",
            )
            .await;
        assert_eq!(code, 0, "{text}");
        assert!(text.contains("ermission denied") || text.contains("ermission"), "{text}");
        assert!(!text.contains("bin"), "the host's files are visible: {text}");
        crate::support::eventually("the other container ends", || {
            matches!(node.shims.status("a").unwrap().state, container::ContainerState::Exited(_))
        })
        .await;
    });
}

#[test]
fn host_namespaces() {
    on_node(async |node| {
        let host = NamespaceMode::Host;
        let namespaces = Namespaces { network: host.clone(), ipc: host.clone(), uts: host.clone(), pid: host };
        node.shims.run_sandbox(container::SandboxConfig { namespaces, ..node.sandbox("s") }).await.unwrap();
        let exit =
            node.run(node.script("s", "c", "for n in net ipc uts pid; do readlink /proc/self/ns/$n; done")).await;
        assert_eq!(exit.status.code, 0);
        let own: String = ["net", "ipc", "uts", "pid"]
            .iter()
            .map(|n| format!("{}\n", fs::read_link(format!("/proc/self/ns/{n}")).unwrap().display()))
            .collect();
        assert_eq!(node.log("c"), own);
    });
}

#[test]
fn the_default_filter_is_applied() {
    on_node(async |node| {
        let script = "grep Seccomp: /proc/self/status; unshare -m true; mount -t tmpfs x /tmp; true";
        let (_, text) = node.run_alone(script, |_| {}).await;
        assert!(text.contains("Seccomp:\t2\n"), "{text}");
        assert_eq!(
            text.matches("Operation not permitted").count() + text.matches("ermission denied").count(),
            2,
            "{text}"
        );
        let (_, text) = node.run_alone("grep Seccomp: /proc/self/status", |c| c.seccomp = Seccomp::Unconfined).await;
        assert_eq!(text, "Seccomp:\t0\n");
        // Even with the capability, the filter alone forbids what the capability does not open.
        let (_, text) =
            node.run_alone("grep -E 'Seccomp:|NoNewPrivs' /proc/self/status", |c| c.no_new_privileges = true).await;
        assert_eq!(text, "NoNewPrivs:\t1\nSeccomp:\t2\n");
    });
}

#[test]
fn a_filter_from_a_file() {
    on_node(async |node| {
        let path = node.folder.path().join("profile.json");
        let profile = r#"{"defaultAction":"SCMP_ACT_ALLOW",
            "syscalls":[{"names":["mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO"}]}"#;
        fs::write(&path, profile).unwrap();
        let (_, text) =
            node.run_alone("mkdir /tmp/x || echo refused", |c| c.seccomp = Seccomp::Localhost(path.clone())).await;
        assert!(text.ends_with("refused\n"), "{text}");
    });
}

#[test]
fn processes_started_later_have_the_same_limits() {
    on_node(async |node| {
        node.shims.run_sandbox(node.sandbox("s")).await.unwrap();
        let show = "cat /proc/self/oom_score_adj; grep -E 'Seccomp:|Cap|NoNewPrivs|Uid|Gid|Groups' /proc/self/status; \
                    cat /proc/self/cgroup; pwd; echo $HOME $FROM";
        for (id, no_new_privileges, uid) in
            [("root", false, None), ("user", true, Some(1000)), ("user2", false, Some(1000))]
        {
            let config = ContainerConfig {
                no_new_privileges,
                user: User { uid, ..User::default() },
                working_dir: Some("/made/up".to_owned()),
                oom_score_adj: 500,
                ..node.script("s", id, &format!("{show}; echo end; sleep 1000"))
            };
            node.start(config).await;
            node.eventually_logs(id, "end").await;
            let (_, later) = node.exec(id, show).await;
            assert_eq!(node.log(id), format!("{later}end\n"), "{id}");
            assert!(later.contains("Seccomp:\t2\n") && later.contains("/made/up\n"), "{later}");
            assert!(later.starts_with("500\n"), "{later}");
        }
        assert!(node.log("user").contains("Groups:\t77 1001"), "{}", node.log("user"));
    });
}

#[test]
fn capabilities() {
    on_node(async |node| {
        let caps = "grep -E 'CapBnd|CapEff' /proc/self/status | cut -f2";
        let (_, text) = node.run_alone(caps, |_| {}).await;
        assert_eq!(text, "00000000a80425fb\n00000000a80425fb\n");
        let (_, text) = node
            .run_alone(caps, |c| {
                c.capabilities = Capabilities { add: vec!["NET_ADMIN".to_owned()], drop: vec!["ALL".to_owned()] };
            })
            .await;
        assert_eq!(text, "0000000000001000\n0000000000001000\n");
        let (_, text) = node
            .run_alone(
                &format!(
                    "{caps}; grep Seccomp: /proc/self/status; mount -t tmpfs x /tmp && echo mounted; \
             touch /sys/fs/cgroup/memory/x 2>&1 | grep -c 'Read-only'"
                ),
                |c| {
                    c.privileged = true;
                },
            )
            .await;
        let own = fs::read_to_string("/proc/self/status").unwrap();
        let bounding = own.lines().find_map(|l| l.strip_prefix("CapBnd:\t")).unwrap();
        assert!(text.starts_with(&format!("{bounding}\n{bounding}\nSeccomp:\t0\n")), "{text}");
        assert!(text.contains("mounted\n0\n"), "{text}");
    });
}

#[test]
fn root_file_systems() {
    on_node(async |node| {
        let (exit, text) =
            node.run_alone("touch /x; echo $?; touch /tmp/y; id -u", |c| c.read_only_rootfs = true).await;
        assert_eq!(exit.status.code, 0);
        assert!(text.contains("Read-only file system") && text.contains("1\n"), "{text}");
        // What one container writes, the next of the same image does not see.
        node.run_alone("touch /bin/new; rm /bin/cat", |_| {}).await;
        let (_, text) = node.run_alone("ls /bin/new /bin/cat", |_| {}).await;
        assert!(text.contains("/bin/cat\n") && text.contains("No such file"), "{text}");
        assert!(!node.image.layers[0].join("bin/new").exists());
        let (_, text) = node
            .run_alone(
                "cat /proc/keys; echo x > /proc/sys/kernel/domainname; ls /proc/acpi /sys/firmware | wc -l",
                |_| {},
            )
            .await;
        assert!(text.contains("Read-only file system"), "{text}");
    });
}

#[test]
fn a_container_cannot_change_its_own_limits() {
    on_node(async |node| {
        let script = "cd /sys/fs/cgroup; ls -R . | grep -c shim; cd memory 2>/dev/null; \
                      mkdir x; echo 1 >cgroup.procs; mkdir ../y";
        let (_, text) = node.run_alone(script, |_| {}).await;
        assert_eq!(text.matches("Read-only file system").count(), 3, "{text}");
        assert!(text.contains("0\n"), "{text}");
    });
}

#[test]
fn mounts() {
    on_node(async |node| {
        let volume = node.folder.path().join("volume");
        fs::create_dir(&volume).unwrap();
        fs::write(volume.join("file"), "content\n").unwrap();
        let mount = |source: &std::path::Path, destination: &str, readonly| Mount {
            source: source.to_owned(),
            destination: destination.into(),
            readonly,
            ..Mount::default()
        };
        let mounts = vec![
            mount(&volume, "/data/deep", false),
            mount(&volume, "/ro", true),
            mount(&volume.join("file"), "/etc/hosts", false),
            mount(&volume.join("file"), "/dev/termination-log", false),
            Mount {
                kind: MountKind::Tmpfs,
                destination: "/fast".into(),
                options: vec!["size=1m".to_owned()],
                ..Mount::default()
            },
        ];
        let script = "cat /etc/hosts; echo new > /data/deep/new; touch /ro/x 2>&1; echo $?; df /fast | tail -1 | awk '{print $1,$2}'";
        let (_, text) = node.run_alone(script, |c| c.mounts = mounts).await;
        assert!(
            text.starts_with("content\n") && text.contains("Read-only") && text.ends_with("tmpfs 1024\n"),
            "{text}"
        );
        assert_eq!(fs::read_to_string(volume.join("new")).unwrap(), "new\n");
    });
}

#[test]
fn the_program_of_the_shim_cannot_be_overwritten() {
    on_node(async |node| {
        let sandbox = node.shims.run_sandbox(node.sandbox("s")).await.unwrap();
        let file_system = rustix::fs::statvfs(format!("/proc/{}/exe", sandbox.pid)).unwrap();
        assert!(file_system.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY));
    });
}

#[test]
fn only_listed_devices_can_be_opened() {
    on_node(async |node| {
        let script = "mknod /dev/mem c 1 1; head -c1 /dev/mem; mknod /tmp/z c 1 5; head -c1 /tmp/z | wc -c";
        let (_, text) = node.run_alone(script, |_| {}).await;
        assert!(text.contains("/dev/mem: Operation not permitted") && text.contains("1\n"), "{text}");
        let device = container::DeviceMapping {
            host_path: "/dev/full".into(),
            container_path: "/dev/mine".into(),
            permissions: "r".to_owned(),
        };
        let (_, text) =
            node.run_alone("head -c1 /dev/mine | wc -c; ls -l /dev/mine | cut -c1", |c| c.devices = vec![device]).await;
        assert_eq!(text, "1\nc\n");
    });
}

#[test]
fn mounts_pass_between_host_and_container() {
    use nix::mount::{MsFlags, mount, umount};
    on_node(async |node| {
        let volume = node.folder.path().join("shared");
        fs::create_dir(&volume).unwrap();
        mount(Some("t"), &volume, Some("tmpfs"), MsFlags::empty(), None::<&str>).unwrap();
        mount(None::<&str>, &volume, None::<&str>, MsFlags::MS_SHARED, None::<&str>).unwrap();
        for name in ["later", "back"] {
            fs::create_dir(volume.join(name)).unwrap();
        }
        node.shims.run_sandbox(node.sandbox("s")).await.unwrap();
        let with = |id: &str, propagation| {
            let mut config = node.script("s", id, "sleep 1000");
            config.mounts =
                vec![Mount { source: volume.clone(), destination: "/v".into(), propagation, ..Mount::default() }];
            config.privileged = propagation == Propagation::Bidirectional;
            config
        };
        node.start(with("private", Propagation::Private)).await;
        node.start(with("slave", Propagation::HostToContainer)).await;
        node.start(with("shared", Propagation::Bidirectional)).await;
        mount(Some("t"), &volume.join("later"), Some("tmpfs"), MsFlags::empty(), None::<&str>).unwrap();
        fs::write(volume.join("later/file"), "").unwrap();
        let sees = async |id: &str| node.exec(id, "ls /v/later").await.1 == "file\n";
        assert_eq!((sees("private").await, sees("slave").await, sees("shared").await), (false, true, true));
        let (code, text) = node.exec("shared", "mount -t tmpfs t /v/back && touch /v/back/there").await;
        assert_eq!((code, text.as_str()), (0, ""));
        assert!(volume.join("back/there").exists());
        node.shims.remove_sandbox("s").await.unwrap();
        for place in ["later", "back", ""] {
            umount(&volume.join(place)).unwrap();
        }
    });
}

#[test]
fn a_score_that_cannot_be_lowered_is_no_failure() {
    on_node(async |node| {
        let (exit, _) = node.run_alone("cat /proc/self/oom_score_adj", |c| c.oom_score_adj = -900).await;
        assert_eq!(exit.status.code, 0);
    });
}
