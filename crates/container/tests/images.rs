//! Images: archives of all kinds, names, removal, and a registry. They need root, because layers have owners.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex};

use container::images::{OnProgress, Progress, RootFs};
use container::{Image, ImageConfig, ImageError, Images};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

/// A tar of files.
fn tar_of(files: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (name, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        tar.append_data(&mut header, name, content.as_slice()).expect("a tar");
    }
    tar.into_inner().expect("a tar")
}

fn file(name: &str, content: &str) -> (String, Vec<u8>) {
    (name.to_owned(), content.as_bytes().to_vec())
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    out.write_all(bytes).expect("gzip");
    out.finish().expect("gzip")
}

/// An image as documents and blobs.
struct Made {
    config: Vec<u8>,
    manifest: Vec<u8>,
    /// Uncompressed.
    plain: Vec<Vec<u8>>,
    blobs: BTreeMap<String, Vec<u8>>,
}

/// Two layers, the second of which deletes a file of the first; one gzipped, one zstd.
fn made() -> Made {
    let first = tar_of(&[file("etc/a", "a"), file("etc/gone", "x")]);
    let second = tar_of(&[file("etc/.wh.gone", ""), file("b", "b")]);
    let (one, two) = (gzip(&first), zstd::encode_all(second.as_slice(), 1).expect("zstd"));
    let config = serde_json::json!({
        "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" },
        "os": "linux",
        "config": {
            "Entrypoint": ["/b"], "Cmd": ["x"], "Env": ["A=1"], "User": "7:8", "WorkingDir": "/w", "StopSignal": "SIGQUIT",
            "Labels": {"l": "v"}, "Volumes": {"/data": {}}, "ExposedPorts": {"80/tcp": {}},
        },
        "rootfs": { "type": "layers", "diff_ids": [digest(&first), digest(&second)] },
    });
    let config = config.to_string().into_bytes();
    let blob = |kind: &str, bytes: &[u8]| {
        let digest = digest(bytes);
        serde_json::json!({ "mediaType": kind, "digest": digest, "size": bytes.len() })
    };
    let manifest = serde_json::json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": blob("application/vnd.oci.image.config.v1+json", &config),
        "layers": [
            blob("application/vnd.oci.image.layer.v1.tar+gzip", &one),
            blob("application/vnd.oci.image.layer.v1.tar+zstd", &two),
        ],
    });
    let manifest = manifest.to_string().into_bytes();
    let blobs = [&config, &manifest, &one, &two].into_iter().map(|b| (digest(b), b.clone())).collect();
    Made { config, manifest, plain: vec![first, second], blobs }
}

impl Made {
    fn oci_archive(&self, name: &str) -> Vec<u8> {
        let index = serde_json::json!({ "schemaVersion": 2, "manifests": [{
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": digest(&self.manifest), "size": self.manifest.len(),
            "annotations": { "io.containerd.image.name": name },
        }]});
        let mut files = vec![file("index.json", &index.to_string())];
        files.extend(self.blobs.iter().map(|(d, bytes)| (format!("blobs/sha256/{}", &d[7..]), bytes.clone())));
        files.push(file("oci-layout", r#"{"imageLayoutVersion":"1.0.0"}"#));
        tar_of(&files)
    }

    fn docker_archive(&self, name: &str) -> Vec<u8> {
        let manifest = serde_json::json!([{
            "Config": "config.json", "RepoTags": [name], "Layers": ["1/layer.tar", "2/layer.tar"],
        }]);
        tar_of(&[
            ("1/layer.tar".to_owned(), self.plain[0].clone()),
            ("2/layer.tar".to_owned(), self.plain[1].clone()),
            ("config.json".to_owned(), self.config.clone()),
            file("manifest.json", &manifest.to_string()),
        ])
    }
}

fn quiet() -> OnProgress {
    Arc::new(|_| {})
}

async fn import(images: &Images, archive: Vec<u8>) -> Result<Vec<Image>, ImageError> {
    images.import(Box::new(std::io::Cursor::new(archive)), quiet()).await
}

/// Runs a test with an empty store. Without root it says so and succeeds.
fn with_store<F: Future<Output = ()>>(test: impl FnOnce(Images, std::path::PathBuf) -> F) {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("SKIPPED: this test needs root");
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let images = Images::open(folder.path()).expect("a store");
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    runtime.block_on(test(images, folder.path().to_owned()));
    let left = fs::read_dir(folder.path().join("temp")).expect("a folder").count();
    assert_eq!(left, 0, "temporary files are left");
}

fn check_image(image: &Image) {
    let made = made();
    assert_eq!(image.id.0, digest(&made.config));
    assert_eq!(image.tags, ["docker.io/library/thing:1"]);
    assert_eq!(image.config.entrypoint, ["/b"]);
    assert_eq!((image.config.user.as_str(), image.config.stop_signal.as_deref()), ("7:8", Some("SIGQUIT")));
    assert_eq!(image.config.volumes, ["/data"]);
    assert_eq!(fs::read_to_string(image.layers[0].join("etc/a")).expect("a file"), "a");
    assert_eq!(fs::read_to_string(image.layers[1].join("b")).expect("a file"), "b");
    assert!(fs::symlink_metadata(image.layers[1].join("etc/gone")).is_ok_and(|m| !m.is_file()));
}

#[test]
fn archives_of_both_kinds() {
    with_store(async |images, folder| {
        let made = made();
        let found = import(&images, made.oci_archive("docker.io/library/thing:1")).await.expect("an image");
        check_image(&found[0]);
        let by_digest = format!("docker.io/library/thing@{}", digest(&made.manifest));
        assert_eq!(found[0].digests, std::slice::from_ref(&by_digest));
        let again = import(&images, gzip(&made.docker_archive("thing:1"))).await.expect("an image");
        check_image(&again[0]);
        assert_eq!(images.list().len(), 1);
        assert_eq!(fs::read_dir(folder.join("layers")).expect("a folder").count(), 2);

        for name in ["thing:1", "docker.io/thing:1", &found[0].id.0, &found[0].id.0[7..19], &by_digest] {
            let image = images.resolve(name).expect("a name").unwrap_or_else(|| panic!("{name} not found"));
            assert_eq!(image.id, found[0].id);
        }
        assert_eq!(images.resolve("thing").expect("a name"), None);
        assert!(matches!(images.resolve("Thing"), Err(ImageError::InvalidReference(..))));
        // Another store on the same folder finds the same.
        assert_eq!(Images::open(&folder).expect("a store").list(), images.list());

        images.remove("thing:1").await.expect("removal");
        assert_eq!(images.list(), []);
        assert_eq!(fs::read_dir(folder.join("layers")).expect("a folder").count(), 0);
        images.remove("thing:1").await.expect("removal");
    });
}

#[test]
fn a_tag_moves_and_layers_are_shared() {
    with_store(async |images, folder| {
        import(&images, made().oci_archive("thing:1")).await.expect("an image");
        let tar = || RootFs::Tar(Box::new(std::io::Cursor::new(tar_of(&[file("f", "f")]))));
        let config = ImageConfig { cmd: vec!["/f".to_owned()], ..ImageConfig::default() };
        let mine = images.add("thing:1", config.clone(), tar()).await.expect("an image");
        let other = images.add("other:2", ImageConfig::default(), tar()).await.expect("an image");
        assert_eq!(mine.layers, other.layers);
        assert_eq!(images.add("thing:1", config, tar()).await.expect("an image"), mine);
        assert_eq!(images.resolve("thing:1").expect("a name").expect("an image").id, mine.id);
        assert_eq!(images.list().len(), 3);
        images.remove(&mine.id.0).await.expect("removal");
        assert!(other.layers[0].exists());
        images.remove("other:2").await.expect("removal");
        assert_eq!(fs::read_dir(folder.join("layers")).expect("a folder").count(), 2);
    });
}

#[test]
fn broken_archives() {
    with_store(async |images, _folder| {
        let cases: [(Vec<u8>, &str); 4] = [
            (tar_of(&[file("readme", "no image")]), "not an image archive"),
            (vec![1; 4096], "archive"),
            (
                {
                    let mut made = made();
                    let layer = made.blobs.values_mut().find(|b| b.starts_with(&[0x1f, 0x8b])).expect("a layer");
                    *layer = gzip(&tar_of(&[file("evil", "evil")]));
                    made.oci_archive("thing:1")
                },
                "has other content",
            ),
            (
                {
                    let mut made = made();
                    made.plain[1] = tar_of(&[file("evil", "evil")]);
                    made.docker_archive("thing:1")
                },
                "has content",
            ),
        ];
        for (archive, want) in cases {
            let error = import(&images, archive).await.expect_err("an error").to_string();
            assert!(error.contains(want), "{error}");
        }
        assert_eq!(images.list(), []);
    });
}

/// Serves the blobs and manifests of an image the way a registry does.
async fn registry(made: Made) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    let made = Arc::new(made);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream, Arc::clone(&made)));
        }
    });
    address
}

async fn answer(mut stream: TcpStream, made: Arc<Made>) {
    let mut request = Vec::new();
    let mut byte = [0];
    while !request.ends_with(b"\r\n\r\n") && stream.read(&mut byte).await.is_ok_and(|n| n == 1) {
        request.push(byte[0]);
    }
    let request = String::from_utf8_lossy(&request).into_owned();
    let path = request.split(' ').nth(1).unwrap_or_default();
    let name = path.rsplit('/').next().unwrap_or_default();
    let (status, kind, body) = match path {
        "/v2/" => ("200 OK", "application/json", b"{}".to_vec()),
        _ if path.contains("/secret/") => ("401 Unauthorized", "application/json", b"{}".to_vec()),
        _ if path.contains("/thing/manifests/1") => {
            ("200 OK", "application/vnd.oci.image.manifest.v1+json", made.manifest.clone())
        }
        _ => match made.blobs.get(name) {
            Some(blob) => ("200 OK", "application/octet-stream", blob.clone()),
            None => (
                "404 Not Found",
                "application/json",
                br#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown","detail":{}}]}"#.to_vec(),
            ),
        },
    };
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\
         docker-content-digest: {}\r\nconnection: close\r\n\r\n",
        body.len(),
        digest(&body)
    );
    // A client that went away wants no answer.
    let _ = stream.write_all(head.as_bytes()).await;
    let _ = stream.write_all(&body).await;
}

#[test]
fn pulling() {
    with_store(async |images, _folder| {
        let address = registry(made()).await;
        let seen = Arc::new(Mutex::new(Vec::new()));
        let progress: OnProgress = {
            let seen = Arc::clone(&seen);
            Arc::new(move |p| seen.lock().expect("no panic").push(p))
        };
        let name = format!("{address}/my/thing:1");
        let image = images.pull(&name, None, progress).await.expect("an image");
        assert_eq!(image.tags, std::slice::from_ref(&name));
        assert_eq!(image.digests, [format!("{address}/my/thing@{}", digest(&made().manifest))]);
        assert!(image.layers.iter().all(|l| Path::new(l).exists()));
        let transferred = |seen: &[Progress]| seen.iter().filter(|p| matches!(p, Progress::Transfer { .. })).count();
        let first = transferred(&seen.lock().expect("no panic"));
        assert!(first >= 2, "no progress was told");
        // The second time nothing is transferred.
        let again = Arc::new(Mutex::new(Vec::new()));
        let keep = Arc::clone(&again);
        images.pull(&name, None, Arc::new(move |p| keep.lock().expect("no panic").push(p))).await.expect("an image");
        assert_eq!(transferred(&again.lock().expect("no panic")), 0);

        let error = images.pull(&format!("{address}/my/none:1"), None, quiet()).await.expect_err("an error");
        assert!(matches!(error, ImageError::NotFound(_)), "{error:?}");
        let error = images.pull(&format!("{address}/secret/thing:1"), None, quiet()).await.expect_err("an error");
        assert!(matches!(error, ImageError::Unauthorized { .. }), "{error:?}");
        let error = images.pull("127.0.0.1:1/a:1", None, quiet()).await.expect_err("an error");
        assert!(matches!(error, ImageError::Network { .. }), "{error:?}");
        let error = images.pull("no-such-registry.invalid/a:1", None, quiet()).await.expect_err("an error");
        assert!(matches!(error, ImageError::Network { .. }), "{error:?}");
    });
}
