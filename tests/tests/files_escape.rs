//! Archives and indexes made to write where they must not: each is refused by name, and nothing outside is touched.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use veza_dr_backup::files::{
    ContentHash, Entry, FilesConfig, FilesDetail, FilesTarget, IndexLine, Kind, Time, TreeDigest,
};
use veza_dr_core::testing::MemoryArtifacts;
use veza_dr_core::{
    ArtifactSink, BackupId, BackupRequest, BackupTarget, Cx, ErrorKind, Manifest, RestoreRequest, RestoreTarget,
    SystemClock,
};
use veza_dr_restore::files::FilesRestore;
use veza_dr_tests::files_scene::{FilesScene, observe, settle};

/// A true backup of a small tree, to be made a false one.
struct Forgery {
    scene: FilesScene,
    manifest: Manifest,
    lines: Vec<String>,
    segment: Vec<u8>,
}

impl Forgery {
    async fn new() -> Self {
        let scene = FilesScene::new();
        scene.put("dir/file", "content");
        scene.put("zz/last", "last");
        let target = FilesTarget::new(FilesScene::component(), scene.config()).unwrap();
        let artifacts = MemoryArtifacts::new();
        let request = BackupRequest::new(BackupId::new(&SystemClock));
        let mut manifest = target.create(&Cx::background(), request, Arc::new(artifacts.clone())).await.unwrap();
        manifest.objects = artifacts.records();
        let detail = FilesScene::detail(&manifest);
        let index = String::from_utf8(artifacts.bytes(&detail.index).unwrap().to_vec()).unwrap();
        let segment = artifacts.bytes(&detail.segments[0].object()).unwrap().to_vec();
        Self { scene, manifest, lines: index.lines().map(str::to_owned).collect(), segment }
    }

    fn member(&self, below: &str) -> String {
        format!("{}/{below}", self.scene.live().strip_prefix("/").unwrap().display())
    }

    fn line(&self, path: &str, kind: Kind, link: &str) -> String {
        let mut entry = Entry::new(path.as_bytes().to_vec(), kind);
        (entry.mode, entry.link, entry.mtime) = (0o777, link.as_bytes().to_vec(), Time { sec: 1, nsec: 0 });
        let mut text = Vec::new();
        IndexLine::write(&entry, &mut text);
        String::from_utf8(text).unwrap().trim_end().to_owned()
    }

    /// Puts the forged parts together so that every digest is right, and restores them.
    async fn restore(&self) -> Result<String, String> {
        let artifacts = MemoryArtifacts::new();
        let cx = Cx::background();
        let mut detail: FilesDetail = FilesScene::detail(&self.manifest);
        let index = self.lines.iter().map(|l| format!("{l}\n")).collect::<String>();
        for (name, bytes) in
            [(detail.index.clone(), index.clone().into_bytes()), (detail.segments[0].object(), self.segment.clone())]
        {
            let mut handle = artifacts.create(&cx, &name, None, None).await.unwrap();
            handle.write(bytes.into()).await.unwrap();
            handle.finish().await.unwrap();
        }
        let mut hash = ContentHash::default();
        hash.update(index.as_bytes());
        detail.index_digest = format!("{:032x}", hash.digest());
        let mut digest = TreeDigest::default();
        for line in &self.lines {
            if let Ok(line) = IndexLine::parse(line.as_bytes()) {
                digest.add(&line);
            }
        }
        let mut manifest = self.manifest.clone();
        manifest.objects = artifacts.records();
        manifest.contents[0].rows = digest.entries;
        manifest.contents[0].digest = Some(digest.to_text());
        manifest.details = serde_json::to_value(detail).unwrap();
        let out = tempfile::tempdir_in(self.scene.dir.path()).unwrap();
        let request = RestoreRequest::default().to(out.path().join("out").display().to_string());
        let target = self.scene.target();
        let plan = target.plan(&cx, &request, &manifest).await.map_err(|e| e.chain())?;
        target.apply(&cx, plan, &manifest, Arc::new(artifacts)).await.map_err(|e| e.chain())?;
        Ok(observe(&out.path().join("out")))
    }

    async fn refused(&self, because: &str) {
        let outside = self.scene.dir.path().join("outside");
        let _ = std::fs::create_dir(&outside);
        let before = observe(&outside);
        let why = self.restore().await.expect_err(because);
        assert!(why.contains(because), "refused with: {why}");
        assert_eq!(observe(&outside), before);
        assert!(!Path::new("/tmp/veza-dr-escaped").exists());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_honest_forgery_restores() {
    // What the others change must be all that is wrong with them.
    let f = Forgery::new().await;
    assert!(f.restore().await.unwrap().contains("dir/file"));
}

#[tokio::test(flavor = "multi_thread")]
async fn paths_that_climb_or_are_absolute() {
    for path in ["../../outside/x", "/tmp/veza-dr-escaped", "a/../../../outside/x"] {
        let mut f = Forgery::new().await;
        f.lines.push(f.line(path, Kind::Symlink, "x"));
        f.refused("absolute or climbs").await;
    }
    let mut f = Forgery::new().await;
    f.lines.push(f.line("zzz-elsewhere", Kind::Dir, ""));
    f.refused("outside of its own roots").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_and_then_a_file_through_it() {
    let f = Forgery::new().await;
    let outside = f.scene.dir.path().join("outside").display().to_string();
    // The folder of the file becomes a link out of the tree.
    let mut through =
        Forgery { lines: f.lines.clone(), segment: f.segment.clone(), manifest: f.manifest.clone(), scene: f.scene };
    let dir = through.member("dir");
    let link = through.line(&dir, Kind::Symlink, &outside);
    for line in &mut through.lines {
        if line.starts_with(&format!("{dir}\t")) {
            line.clone_from(&link);
        }
    }
    through.refused("dir/file").await;
    // A folder below a link.
    let mut below = Forgery::new().await;
    let outside = below.scene.dir.path().join("outside").display().to_string();
    let at = below.lines.iter().position(|l| l.starts_with(&format!("{}\t", below.member("zz")))).unwrap();
    let new =
        [below.line(&below.member("y"), Kind::Symlink, &outside), below.line(&below.member("y/sub"), Kind::Dir, "")];
    below.lines.splice(at..at, new);
    below.refused("y/sub").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hard_links_to_the_outside() {
    for target in ["/etc/passwd", "../../../etc/passwd", "etc/passwd"] {
        let mut f = Forgery::new().await;
        let at = f.lines.iter().position(|l| l.starts_with(&format!("{}\t", f.member("zz")))).unwrap();
        f.lines.insert(at, f.line(&f.member("y"), Kind::Hardlink, target));
        let why = f.restore().await.unwrap_err();
        assert!(why.contains("climbs") || why.contains("outside of its own roots"), "{why}");
    }
    // To a link inside that points out: the link itself is linked, and that is no file.
    let mut f = Forgery::new().await;
    let at = f.lines.iter().position(|l| l.starts_with(&format!("{}\t", f.member("zz")))).unwrap();
    let new =
        [f.line(&f.member("x"), Kind::Symlink, "/etc/passwd"), f.line(&f.member("y"), Kind::Hardlink, &f.member("x"))];
    f.lines.splice(at..at, new);
    f.refused("").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn archives_that_hold_something_else() {
    // The member's name, changed in the header together with its checksum.
    let rename = |segment: &[u8], to: &str| {
        let mut bytes = segment.to_vec();
        let at = bytes.chunks(512).position(|b| b[156] == b'0' && &b[257..262] == b"ustar").unwrap() * 512;
        bytes[at..at + 100].fill(0);
        bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
        bytes[at + 148..at + 156].fill(b' ');
        let sum: u32 = bytes[at..at + 512].iter().map(|b| u32::from(*b)).sum();
        bytes[at + 148..at + 156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        bytes
    };
    for (name, because) in [
        ("/tmp/veza-dr-escaped", "no segment does"),
        ("../../../outside/x", "no segment does"),
        ("etc/outside-of-all", "outside of its own roots"),
    ] {
        let mut f = Forgery::new().await;
        f.segment = rename(&f.segment, name);
        f.refused(because).await;
    }
    let mut f = Forgery::new().await;
    let other = f.member("dir/other");
    f.segment = rename(&f.segment, &other);
    f.refused("it is not in the backup").await;
    // Cut off, and with something after its end.
    let mut f = Forgery::new().await;
    f.segment.truncate(1700);
    f.refused("ends in the middle").await;
    let mut f = Forgery::new().await;
    f.segment.extend_from_slice(&[1; 512]);
    f.refused("something after its end").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_of_other_roots_does_not_replace_them() {
    let f = Forgery::new().await;
    let mut manifest = f.manifest.clone();
    let mut detail = FilesScene::detail(&manifest);
    detail.roots[0].member = "etc".into();
    manifest.details = serde_json::to_value(detail).unwrap();
    let plan = f.scene.target().plan(&Cx::background(), &RestoreRequest::in_place(), &manifest).await.unwrap();
    assert!(plan.blockers.iter().any(|b| b.contains("/etc") && b.contains("include list")), "{plan:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_root_inside_an_included_folder_is_not_replaced_where_no_rollback_would_look() {
    let scene = FilesScene::new();
    scene.put("deep/one", "1");
    let inner = scene.config();
    let manifest =
        scene.backup_with(FilesConfig::new([scene.at("deep")]).with_jobs(2).with_segment_bytes(1 << 20)).await.unwrap();
    let (cx, request) = (Cx::background(), RestoreRequest::in_place());
    let outer = FilesRestore::new(FilesScene::component(), inner).unwrap();
    let plan = outer.plan(&cx, &request, &manifest).await.unwrap();
    assert!(plan.blockers.iter().any(|b| b.contains("lies inside a folder")), "{plan:?}");
    let itself = FilesRestore::new(FilesScene::component(), FilesConfig::new([scene.at("deep")])).unwrap();
    assert_eq!(itself.plan(&cx, &request, &manifest).await.unwrap().blockers, [""; 0]);
}

/// A folder that looks as if a restore had made it, with a journal that names `kept` as its own.
fn plant(at: &Path, kept: &Path, member: &str) {
    let folder = at.join(GENERATION);
    std::fs::create_dir_all(folder.join("tree")).unwrap();
    std::fs::write(folder.join("tree/precious"), "precious").unwrap();
    let journal = serde_json::json!({
        "version": 1, "component": "files", "backup": "20261101T000000Z-000000", "since": "2026-11-01T00:00:00Z",
        "sequence": 2, "phase": "kept", "places": [{"member": member, "folder": kept.join(GENERATION)}], "exchanges": [],
    });
    std::fs::write(folder.join("journal.json"), journal.to_string()).unwrap();
}

const GENERATION: &str = "20261101T000000Z-000000-20261101T000000000";

#[tokio::test(flavor = "multi_thread")]
async fn planted_work_folders_are_neither_believed_nor_removed() {
    let scene = FilesScene::new();
    scene.put("dir/file", "content");
    settle();
    scene.backup().await;
    let (target, cx) = (scene.target(), Cx::background());
    let outside = scene.dir.path().join("outside");
    let member = scene.live().strip_prefix("/").unwrap().display().to_string();
    plant(&outside, &outside, &member);
    std::fs::set_permissions(&outside, std::fs::Permissions::from_mode(0o700)).unwrap();
    for aside in [scene.at(".veza-dr"), scene.dir.path().join(".live.veza-dr")] {
        for how in ["link", "others may enter", "of another user", "names another folder", "names another path"] {
            if how == "link" {
                std::os::unix::fs::symlink(&outside, &aside).unwrap();
            } else {
                let (kept, of) = match how {
                    "names another folder" => (&outside, &*member),
                    "names another path" => (&aside, "etc"),
                    _ => (&aside, &*member),
                };
                plant(&aside, kept, of);
                let mode = if how == "others may enter" { 0o755 } else { 0o700 };
                std::fs::set_permissions(&aside, std::fs::Permissions::from_mode(mode)).unwrap();
                if how == "of another user" {
                    std::os::unix::fs::chown(&aside, Some(12345), None).expect("this test needs root");
                }
            }
            let before = (observe(&outside), scene.state());
            let restored = scene.restore(&RestoreRequest::in_place()).await.map(drop);
            let (back, released) = (target.rollback(&cx).await.map(drop), target.release(&cx).await.map(drop));
            for done in [restored, back, released] {
                let e = done.expect_err(how);
                assert_eq!(e.kind(), ErrorKind::Conflict, "{how}: {}", e.chain());
                assert!(e.chain().contains(".veza-dr"), "{how}: {}", e.chain());
            }
            assert_eq!((observe(&outside), scene.state()), before, "{how}");
            if how == "link" {
                std::fs::remove_file(&aside).unwrap();
            } else {
                assert!(aside.join(GENERATION).join("tree/precious").exists(), "{how}");
                std::fs::remove_dir_all(&aside).unwrap();
            }
        }
    }
    // What is not named as a restore names its folders stays, also in one's own.
    let before = observe(&outside);
    let own = scene.dir.path().join(".live.veza-dr");
    std::fs::create_dir_all(own.join("mine")).unwrap();
    std::fs::set_permissions(&own, std::fs::Permissions::from_mode(0o700)).unwrap();
    scene.restore(&RestoreRequest::in_place()).await.unwrap();
    target.release(&cx).await.unwrap();
    assert!(own.join("mine").exists());
    assert_eq!(observe(&outside), before);
}
