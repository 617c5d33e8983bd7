//! A runtime with a busybox image in folders and cgroups of its own.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use container::images::RootFs;
use container::{
    ContainerConfig, ContainerState, Event, Events, Exit, Image, ImageConfig, Images, Runtime, SandboxConfig, Seccomp,
    Shims, ShimsConfig,
};
use futures::FutureExt;

/// How long anything may take before a test gives up on it.
pub(crate) const LIMIT: Duration = Duration::from_secs(90);

/// Everything of one test.
pub(crate) struct Node {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) shims: Arc<Shims>,
    pub(crate) image: Image,
    cgroup: String,
}

/// Runs a test on a node and checks that nothing of it is left. Without root it says so and succeeds.
pub(crate) fn on_node<F: Future<Output = ()>>(test: impl FnOnce(Arc<Node>) -> F) {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("SKIPPED: this test needs root");
        return;
    }
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let node = Arc::new(Node::new().await);
        let result = AssertUnwindSafe(test(Arc::clone(&node))).catch_unwind().await;
        node.remove_all().await;
        if let Err(panic) = result {
            std::panic::resume_unwind(panic);
        }
        node.check_clean();
    });
}

fn busybox_root(folder: &Path) {
    for path in ["bin", "etc", "tmp", "proc", "root", "home/app"] {
        fs::create_dir_all(folder.join(path)).expect("a folder");
    }
    fs::copy("/bin/busybox", folder.join("bin/busybox")).expect("busybox-static is installed");
    let applets = Command::new("/bin/busybox").arg("--list").output().expect("busybox runs");
    for applet in String::from_utf8(applets.stdout).expect("names").lines().filter(|a| *a != "busybox") {
        symlink("busybox", folder.join("bin").join(applet)).expect("a link");
    }
    fs::write(folder.join("etc/passwd"), "root:x:0:0::/root:/bin/sh\napp:x:1000:1001::/home/app:/bin/sh\n")
        .expect("a file");
    fs::write(folder.join("etc/group"), "root:x:0:\nextra:x:77:app\n").expect("a file");
    fs::write(folder.join("etc/not-executable"), "text").expect("a file");
    for (name, content) in [("junk", "\u{1}junk"), ("script", "#!/no/such\n")] {
        let path = folder.join("bin").join(name);
        fs::write(&path, content).expect("a file");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("a mode");
    }
}

impl Node {
    async fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("minke-node-").tempdir().expect("a folder");
        let root = folder.path().join("rootfs");
        busybox_root(&root);
        let images = Images::open(&folder.path().join("images")).expect("an image store");
        let config = ImageConfig {
            cmd: vec!["sh".to_owned()],
            env: vec!["PATH=/bin".to_owned(), "FROM=image".to_owned()],
            ..ImageConfig::default()
        };
        let image = images.add("busybox", config, RootFs::Folder(root)).await.expect("an image");
        let shims = Arc::new(Shims::recover(settings(folder.path())).await.expect("a runtime"));
        let unique = folder.path().file_name().expect("a name").to_string_lossy().into_owned();
        Self { folder, shims, image, cgroup: format!("minke-test/{unique}") }
    }

    /// The same node seen by a daemon that was started anew.
    pub(crate) async fn recovered(&self) -> Shims {
        Shims::recover(settings(self.folder.path())).await.expect("a runtime")
    }

    pub(crate) fn sandbox(&self, id: &str) -> SandboxConfig {
        SandboxConfig {
            id: id.to_owned(),
            name: id.to_owned(),
            hostname: format!("host-{id}"),
            cgroup_parent: format!("{}/{id}", self.cgroup),
            ..SandboxConfig::default()
        }
    }

    /// A container that runs a shell script.
    pub(crate) fn script(&self, sandbox: &str, id: &str, script: &str) -> ContainerConfig {
        ContainerConfig {
            id: id.to_owned(),
            sandbox_id: sandbox.to_owned(),
            name: id.to_owned(),
            image: self.image.id.clone(),
            command: ["/bin/sh", "-c", script].map(str::to_owned).to_vec(),
            seccomp: Seccomp::RuntimeDefault,
            log_path: self.log_path(id),
            ..ContainerConfig::default()
        }
    }

    fn log_path(&self, id: &str) -> PathBuf {
        self.folder.path().join("logs").join(id).join("0.log")
    }

    /// The text that a container wrote, without stamps and stream names; of a line that is still being written, nothing.
    pub(crate) fn log(&self, id: &str) -> String {
        let text = fs::read_to_string(self.log_path(id)).expect("a log");
        let written = text.rfind('\n').map_or("", |end| &text[..=end]);
        written.lines().map(|line| format!("{}\n", line.splitn(4, ' ').nth(3).expect("four fields"))).collect()
    }

    pub(crate) fn raw_log(&self, id: &str) -> String {
        fs::read_to_string(self.log_path(id)).expect("a log")
    }

    /// Runs a container to its end.
    pub(crate) async fn run(&self, config: ContainerConfig) -> Exit {
        let (id, mut events) = (config.id.clone(), self.shims.events());
        self.shims.create_container(config).await.expect("a container");
        self.shims.start_container(&id).await.expect("a started container");
        exit_of(&mut events, &id).await
    }

    /// Runs a script in a sandbox of its own, changed as wanted, and gives exit and output.
    pub(crate) async fn run_alone(&self, script: &str, change: impl FnOnce(&mut ContainerConfig)) -> (Exit, String) {
        let id = format!("alone-{:x}", rand::random::<u32>());
        self.shims.run_sandbox(self.sandbox(&id)).await.expect("a sandbox");
        let mut config = self.script(&id, &format!("{id}-c"), script);
        change(&mut config);
        let exit = self.run(config).await;
        let log = self.log(&format!("{id}-c"));
        self.shims.remove_sandbox(&id).await.expect("removal");
        (exit, log)
    }

    /// Starts a container and leaves it running.
    pub(crate) async fn start(&self, config: ContainerConfig) -> u32 {
        let id = config.id.clone();
        self.shims.create_container(config).await.expect("a container");
        self.shims.start_container(&id).await.expect("a started container").pid
    }

    /// Runs a command in a running container and gives exit code and output.
    pub(crate) async fn exec(&self, id: &str, script: &str) -> (i32, String) {
        let command = ["/bin/sh", "-c", script].map(str::to_owned).to_vec();
        let output = self.shims.exec_sync(id, command, Some(LIMIT)).await.expect("exec");
        let text = [output.stdout, output.stderr].concat();
        (output.status.code, String::from_utf8(text).expect("text"))
    }

    /// Waits until a container's log has a line.
    pub(crate) async fn eventually_logs(&self, id: &str, line: &str) {
        let what = format!("{id} logs {line:?}");
        eventually(&what, || self.log(id).lines().any(|l| l == line)).await;
    }

    async fn remove_all(&self) {
        for sandbox in self.shims.list() {
            self.shims.remove_sandbox(&sandbox.config.id).await.expect("removal");
        }
    }

    /// Everything is removed: no process, mount, cgroup, file.
    fn check_clean(&self) {
        let folder = self.folder.path().to_string_lossy().into_owned();
        let mounts = fs::read_to_string("/proc/self/mountinfo").expect("mounts");
        assert!(!mounts.contains(&folder), "a mount is left in {folder}");
        for hierarchy in fs::read_dir("/sys/fs/cgroup").expect("cgroups").flatten() {
            let left = hierarchy.path().join(&self.cgroup);
            if let Ok(inside) = fs::read_dir(&left) {
                let folders: Vec<_> = inside.flatten().filter(|e| e.path().is_dir()).map(|e| e.path()).collect();
                assert!(folders.is_empty(), "cgroups left: {folders:?}");
            }
            // The folder that tests share goes with the last of them.
            let _ = fs::remove_dir(&left);
            let _ = left.parent().map(fs::remove_dir);
        }
        for place in ["run", "state"] {
            let left: Vec<_> = fs::read_dir(self.folder.path().join(place)).expect("a folder").flatten().collect();
            assert!(left.is_empty(), "left in {place}: {left:?}");
        }
    }
}

fn settings(folder: &Path) -> ShimsConfig {
    ShimsConfig {
        run_dir: folder.join("run"),
        state_dir: folder.join("state"),
        images: Images::open(&folder.join("images")).expect("an image store"),
        executable: env!("CARGO_BIN_EXE_minke_test_shim").into(),
        arguments: vec!["shim".into()],
    }
}

/// Waits for the exit of a container.
pub(crate) async fn exit_of(events: &mut Events, wanted: &str) -> Exit {
    let exited = async {
        loop {
            match events.recv().await.expect("an event") {
                Event::ContainerExited { id, exit, .. } if id == wanted => return exit,
                _ => {}
            }
        }
    };
    tokio::time::timeout(LIMIT, exited).await.unwrap_or_else(|_| panic!("{wanted} does not exit"))
}

/// Waits until something is so.
pub(crate) async fn eventually(what: &str, mut check: impl FnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + LIMIT;
    while !check() {
        assert!(tokio::time::Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The pid of a container that runs.
pub(crate) fn pid_of(runtime: &dyn Runtime, id: &str) -> u32 {
    match runtime.status(id).expect("a container").state {
        ContainerState::Running { pid, .. } => pid,
        other => panic!("{id} is {other:?}"),
    }
}
