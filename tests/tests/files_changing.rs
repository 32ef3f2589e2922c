//! Files that vanish, grow, shrink or cannot be read while a backup runs: never torn, always named, an error unless
//! allowed.

use std::io::{Seek, Write};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use veza_dr_backup::files::{FilesConfig, FilesTarget};
use veza_dr_core::testing::MemoryArtifacts;
use veza_dr_core::{
    ArtifactSink, BackupId, BackupRequest, BackupTarget, Cx, ErrorKind, Manifest, ObjectHandle, Result, SystemClock,
    manifest::Codec,
};
use veza_dr_tests::files_scene::{FilesScene, settle};

type Deed = Arc<dyn Fn() + Send + Sync>;

/// A sink that does something to the source with the first bytes of the first segment, while it is being read.
struct Meddling {
    inner: MemoryArtifacts,
    deed: Deed,
    done: AtomicBool,
}

struct Handle {
    inner: Box<dyn ObjectHandle>,
    deed: Option<Deed>,
}

#[async_trait]
impl ArtifactSink for Meddling {
    async fn create(
        &self,
        cx: &Cx,
        name: &str,
        codec: Option<Codec>,
        hint: Option<u64>,
    ) -> Result<Box<dyn ObjectHandle>> {
        let inner = self.inner.create(cx, name, codec, hint).await?;
        let first = name.starts_with("segment-") && !self.done.swap(true, Ordering::SeqCst);
        Ok(Box::new(Handle { inner, deed: first.then(|| self.deed.clone()) }))
    }
}

#[async_trait]
impl ObjectHandle for Handle {
    async fn write(&mut self, plain: bytes::Bytes) -> Result<()> {
        if let Some(deed) = self.deed.take() {
            deed();
        }
        self.inner.write(plain).await
    }
    async fn finish(self: Box<Self>) -> Result<veza_dr_core::manifest::ObjectRecord> {
        self.inner.finish().await
    }
    async fn abort(self: Box<Self>) {
        self.inner.abort().await;
    }
}

/// Backs up with one reader while `deed` is done; the first file, `0`, is large enough to be in the middle of.
async fn meddled(config: FilesConfig, deed: impl Fn() + Send + Sync + 'static) -> (Result<Manifest>, MemoryArtifacts) {
    let target = FilesTarget::new(FilesScene::component(), config.with_jobs(1)).unwrap();
    let inner = MemoryArtifacts::new();
    let sink = Meddling { inner: inner.clone(), deed: Arc::new(deed), done: AtomicBool::new(false) };
    let request = BackupRequest::new(BackupId::new(&SystemClock));
    (target.create(&Cx::background(), request, Arc::new(sink)).await, inner)
}

/// What stock tar finds in the segments: it must read every one of them to its end.
fn listed(artifacts: &MemoryArtifacts) -> Vec<(String, u64)> {
    let mut found = Vec::new();
    for record in artifacts.records().iter().filter(|r| r.name.starts_with("segment-")) {
        let mut tar = Command::new("tar");
        let mut tar = tar.args(["-tvf", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let bytes = artifacts.bytes(&record.name).unwrap();
        let mut stdin = tar.stdin.take().unwrap();
        let feeding = std::thread::spawn(move || stdin.write_all(&bytes));
        let output = tar.wait_with_output().unwrap();
        feeding.join().unwrap().unwrap();
        assert!(output.status.success());
        for line in String::from_utf8(output.stdout).unwrap().lines() {
            let fields: Vec<&str> = line.split_whitespace().collect();
            found.push((fields[5].rsplit('/').next().unwrap().to_owned(), fields[2].parse().unwrap()));
        }
    }
    found
}

fn index(manifest: &Manifest, artifacts: &MemoryArtifacts) -> String {
    String::from_utf8(artifacts.bytes(&FilesScene::detail(manifest).index).unwrap().to_vec()).unwrap()
}

const LARGE: usize = 12 << 20;

fn scene() -> FilesScene {
    let scene = FilesScene::new();
    scene.put("0", vec![1; LARGE]);
    for i in 1..6 {
        scene.put(&i.to_string(), vec![1; 3000]);
    }
    settle();
    scene
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_grows_is_an_error_or_a_prefix() {
    for allowed in [false, true] {
        let scene = scene();
        let path = scene.at("0");
        let grow = move || std::fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(b"more").unwrap();
        let config = FilesConfig::new([scene.live()]).allowing_changed(allowed);
        let (done, artifacts) = meddled(config, grow).await;
        if allowed {
            let manifest = done.unwrap();
            assert_eq!(manifest.skipped.len(), 1, "{:?}", manifest.skipped);
            assert!(manifest.skipped[0].why.contains(&format!("first {LARGE} bytes")), "{:?}", manifest.skipped);
            let line = index(&manifest, &artifacts).lines().find(|l| l.contains("/live/0\t")).unwrap().to_owned();
            assert_eq!(line.split('\t').nth(6), Some(LARGE.to_string().as_str()));
        } else {
            // It grew once and was then read again, as a whole.
            let manifest = done.unwrap();
            assert!(manifest.skipped.is_empty());
            let line = index(&manifest, &artifacts).lines().find(|l| l.contains("/live/0\t")).unwrap().to_owned();
            assert_eq!(line.split('\t').nth(6), Some((LARGE + 4).to_string().as_str()));
        }
        listed(&artifacts);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_never_stops_growing_is_an_error_unless_allowed() {
    for allowed in [false, true] {
        let scene = scene();
        let (path, stop) = (scene.at("0"), Arc::new(AtomicBool::new(false)));
        let stopping = stop.clone();
        let writer = std::thread::spawn(move || {
            let mut log = std::fs::OpenOptions::new().append(true).open(path).unwrap();
            while !stopping.load(Ordering::Relaxed) {
                log.write_all(b"a line\n").unwrap();
            }
        });
        let result = scene.backup_with(scene.config().allowing_changed(allowed)).await;
        stop.store(true, Ordering::Relaxed);
        writer.join().unwrap();
        if allowed {
            let manifest = result.unwrap();
            assert!(manifest.skipped.iter().any(|s| s.what.ends_with("/live/0") && s.why.contains("grew")));
            let restored = scene.restored(&manifest).await;
            assert!(restored.contains("b'0'"), "{restored}");
        } else {
            let e = result.unwrap_err();
            assert_eq!(e.kind(), ErrorKind::Conflict, "{}", e.chain());
            assert!(e.to_string().contains("/live/0: grew") && e.help().unwrap().contains("allow_changed"), "{e:?}");
            assert!(scene.latest().await.is_err(), "nothing was published");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_is_cut_is_read_again_and_the_archive_stays_one() {
    let scene = scene();
    let path = scene.at("0");
    let cut = move || std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(5000).unwrap();
    let (done, artifacts) = meddled(FilesConfig::new([scene.live()]), cut).await;
    let manifest = done.unwrap();
    assert!(manifest.skipped.is_empty(), "{:?}", manifest.skipped);
    let sizes: Vec<u64> =
        listed(&artifacts).into_iter().filter(|(name, _)| name == "0").map(|(_, size)| size).collect();
    assert_eq!(sizes, [LARGE as u64, 5000], "the first attempt is complete, and dead");
    let line = index(&manifest, &artifacts).lines().find(|l| l.contains("/live/0\t")).unwrap().to_owned();
    let fields: Vec<&str> = line.split('\t').collect();
    assert_eq!((fields[6], fields[12]), ("5000", "1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_vanishes_or_becomes_something_else_is_named() {
    for allowed in [false, true] {
        let scene = scene();
        let live = scene.live();
        let meddle = move || {
            std::fs::remove_file(live.join("3")).unwrap();
            std::fs::remove_file(live.join("4")).unwrap();
            std::os::unix::fs::symlink("/etc/passwd", live.join("4")).unwrap();
        };
        let config = FilesConfig::new([scene.live()]).allowing_changed(allowed);
        let (done, artifacts) = meddled(config, meddle).await;
        if allowed {
            let manifest = done.unwrap();
            let named: Vec<&str> = manifest.skipped.iter().map(|s| s.what.rsplit('/').next().unwrap()).collect();
            assert_eq!(named, ["3", "4"], "{:?}", manifest.skipped);
            let text = index(&manifest, &artifacts);
            assert!(!text.contains("/live/3\t") && !text.contains("/live/4\t") && text.contains("/live/5\t"));
            assert!(!listed(&artifacts).iter().any(|(name, _)| name == "3"));
        } else {
            let e = done.unwrap_err();
            assert!(e.to_string().contains("/live/3: vanished") || e.to_string().contains("/live/4"), "{}", e.chain());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_written_over_in_place_is_found_out() {
    let scene = scene();
    let path = scene.at("0");
    let overwrite = move || {
        let mut file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
        file.seek(std::io::SeekFrom::Start(LARGE as u64 - 10)).unwrap();
        file.write_all(b"torn").unwrap();
    };
    let (done, artifacts) = meddled(FilesConfig::new([scene.live()]).allowing_changed(true), overwrite).await;
    let manifest = done.unwrap();
    assert_eq!(manifest.skipped.len(), 1);
    assert!(manifest.skipped[0].why.contains("written to"), "{:?}", manifest.skipped);
    listed(&artifacts);
}

/// Runs the ignored test `unprivileged` as nobody.
fn as_nobody(scene: &FilesScene, what: &str) -> (bool, String) {
    // The folder and the program must be within nobody's reach.
    let open = |path: &std::path::Path| std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    open(scene.dir.path());
    let program = scene.dir.path().join("program");
    std::fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    open(&program);
    let output = Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(&program)
        .args(["--ignored", "--exact", "unprivileged", "--nocapture"])
        .current_dir("/")
        .env("VEZA_DR_TESTS_NOBODY", format!("{what} {}", scene.dir.path().display()))
        .output()
        .unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output.status.success(), said)
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "not a test of its own: the others start it as another user"]
async fn unprivileged() {
    let Ok(order) = std::env::var("VEZA_DR_TESTS_NOBODY") else { return };
    let (what, dir) = order.split_once(' ').unwrap();
    let dir = std::path::Path::new(dir);
    let config = FilesConfig::new([dir.join("live")]);
    let store = veza_dr_backup::store::DirectoryStore::open("local", dir.join("nobody/store")).unwrap();
    let repository = veza_dr_backup::Repository::new(Arc::new(store), veza_dr_backup::Encryption::default());
    let cx = Cx::background();
    let backup = |config: FilesConfig| {
        let repository = repository.clone();
        async move {
            let target = FilesTarget::new(FilesScene::component(), config).unwrap();
            let options = veza_dr_backup::BackupOptions::default();
            veza_dr_backup::back_up(&Cx::background(), &target, &[repository], &options).await
        }
    };
    match what {
        "backup" => {
            let report = FilesTarget::new(FilesScene::component(), config.clone()).unwrap().check(&cx).await.unwrap();
            assert!(!report.is_ok(), "{report:?}");
            assert!(report.steps.iter().any(|s| s.detail.contains("secret")), "{report:?}");
            let e = backup(config.clone()).await.unwrap_err();
            assert_eq!(e.kind(), ErrorKind::Denied, "{}", e.chain());
            assert!(
                e.to_string().contains("/live/secret: open:") && e.to_string().contains("/live/closed: list:"),
                "{e}"
            );
            let report = backup(config.allowing_unreadable(true)).await.unwrap();
            let manifest = report.manifest().unwrap();
            let named: Vec<&str> = manifest.skipped.iter().map(|s| s.what.rsplit('/').next().unwrap()).collect();
            assert_eq!(named, ["closed", "secret"]);
        }
        _ => {
            use veza_dr_core::{RestoreRequest, RestoreTarget};
            let store = veza_dr_backup::store::DirectoryStore::open("local", dir.join("store")).unwrap();
            let repository = veza_dr_backup::Repository::new(Arc::new(store), veza_dr_backup::Encryption::default());
            let which = veza_dr_backup::Selector::Latest;
            let manifest = repository.manifest(&cx, &FilesScene::component(), &which).await.unwrap();
            let target = veza_dr_restore::files::FilesRestore::new(FilesScene::component(), config).unwrap();
            let to = RestoreRequest::default().to(dir.join(format!("nobody/out-{what}")).display().to_string());
            let plan = target.plan(&cx, &to, &manifest).await.unwrap();
            if what == "devices" {
                assert!(plan.blockers.iter().any(|b| b.contains("devices, which only root can make")), "{plan:?}");
                let only = to.only(["null".to_owned()]);
                let plan = target.plan(&cx, &only, &manifest).await.unwrap();
                let done = target.apply(&cx, plan, &manifest, Arc::new(repository.open(&manifest))).await;
                let e = done.unwrap_err();
                assert_eq!(e.kind(), ErrorKind::Denied, "{}", e.chain());
                assert!(e.to_string().contains("character device") && e.help().unwrap().contains("root"), "{e:?}");
            } else {
                let done = target.apply(&cx, plan, &manifest, Arc::new(repository.open(&manifest))).await.unwrap();
                let told = done.report.steps.iter().find(|s| s.name == "owners").expect("owners are told");
                assert!(told.detail.starts_with("2 owners"), "{told:?}");
            }
        }
    }
}

fn for_nobody() -> FilesScene {
    let scene = FilesScene::new();
    scene.put("public", "p");
    let nobody = scene.dir.path().join("nobody");
    std::fs::create_dir(&nobody).unwrap();
    std::os::unix::fs::chown(&nobody, Some(65534), Some(65534)).unwrap();
    scene
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_is_an_error_or_named() {
    let scene = for_nobody();
    scene.put("secret", "s");
    scene.put("closed/inside", "i");
    std::fs::set_permissions(scene.at("secret"), std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::set_permissions(scene.at("closed"), std::fs::Permissions::from_mode(0o700)).unwrap();
    let (fine, said) = as_nobody(&scene, "backup");
    assert!(fine, "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_root_owners_are_told_and_devices_refused() {
    let scene = for_nobody();
    scene.backup().await;
    open_store(&scene);
    let (fine, said) = as_nobody(&scene, "owners");
    assert!(fine, "{said}");
    assert_eq!(
        std::fs::read(scene.dir.path().join("nobody/out-owners").join(scene.at("public").strip_prefix("/").unwrap()))
            .unwrap(),
        b"p"
    );
    veza_dr_tests::files_scene::python(
        "import os,sys\nos.mknod(sys.argv[1]+'/null', 0o020666, os.makedev(1,3))",
        &scene.live(),
    );
    scene.backup().await;
    open_store(&scene);
    let (fine, said) = as_nobody(&scene, "devices");
    assert!(fine, "{said}");
}

fn open_store(scene: &FilesScene) {
    let store = scene.dir.path().join("store");
    assert!(Command::new("chmod").args(["-R", "a+rX"]).arg(&store).status().unwrap().success());
}
