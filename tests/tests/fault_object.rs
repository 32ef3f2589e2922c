//! Stored objects and manifests are damaged: every level of verification and the restore name what is wrong, and the
//! live database stays as it is.

use std::path::{Path, PathBuf};
use std::process::Command;

use veza_dr_backup::{BackupState, Encryption, Repository, Selector, store::DirectoryStore, verify_objects};
use veza_dr_core::{Cx, Error, ErrorKind, Manifest, RestoreRequest, SecretString, Verdict};
use veza_dr_restore::postgres::verify_structure;
use veza_dr_tests::{product::Depot, scene::Scene};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Damage {
    Truncated,
    OneBit,
    Deleted,
    Swapped,
}

const ALL: [Damage; 4] = [Damage::Truncated, Damage::OneBit, Damage::Deleted, Damage::Swapped];

/// The files of a backup, to be damaged and put right again.
struct Files {
    dir: PathBuf,
    manifest: Manifest,
}

impl Files {
    async fn of(scene: &Scene) -> Self {
        let manifest = scene.depot.latest().await.unwrap();
        Self { dir: scene.depot.path().join("database").join(manifest.id.as_str()), manifest }
    }

    fn damage(&self, name: &str, how: Damage) {
        let path = self.dir.join(name);
        let mut bytes = std::fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        match how {
            Damage::Truncated => bytes.truncate(middle),
            Damage::OneBit => bytes[middle] ^= 1,
            Damage::Deleted => return std::fs::remove_file(&path).unwrap(),
            Damage::Swapped => {
                let other = self.manifest.objects.iter().find(|o| o.name != name && o.name.starts_with("data/"));
                bytes = std::fs::read(self.dir.join(&other.unwrap().name)).unwrap();
            }
        }
        std::fs::write(&path, bytes).unwrap();
    }
}

fn copy_all(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().flatten() {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() { copy_all(&entry.path(), &target) } else { drop(std::fs::copy(entry.path(), target)) }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn any_damage_to_any_object_is_found_by_name() {
    let scene = Scene::with(Default::default(), 600).await;
    scene.backup().await;
    let files = Files::of(&scene).await;
    let saved = tempfile::tempdir().unwrap();
    copy_all(&files.dir, saved.path());
    let cx = Cx::background();
    let mut looked = 0;
    for object in &files.manifest.objects {
        for how in ALL {
            files.damage(&object.name, how);
            let found = verify_objects(&cx, &scene.depot.repository, &files.manifest).await.unwrap();
            let named: Vec<&str> = found.findings.iter().map(|f| f.what.as_str()).collect();
            assert_eq!(named, [object.name.as_str()], "{how:?}: {:#?}", found.findings);
            assert_eq!(found.verdict(), Verdict::Different);
            // The globals are for a new server: no archive and no row depends on them.
            if !object.name.starts_with("globals") {
                let found = verify_structure(&cx, &scene.depot.repository, &files.manifest).await.unwrap();
                assert_eq!(found.verdict(), Verdict::Different, "{how:?} {}", object.name);
                let why = &found.findings[0].why;
                assert!(why.contains(&object.name), "{how:?}: {why}");
                looked += 1;
            }
            copy_all(saved.path(), &files.dir);
        }
    }
    assert!(looked > 20, "{looked}");
    scene.assert_store_is_sound(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_from_damaged_objects_changes_nothing() {
    let scene = Scene::with(Default::default(), 600).await;
    scene.backup().await;
    let backed_up = scene.state().await;
    scene.move_on().await;
    let moved_on = scene.state().await;
    let files = Files::of(&scene).await;
    let saved = tempfile::tempdir().unwrap();
    copy_all(&files.dir, saved.path());
    let chunk = files.manifest.objects.iter().rfind(|o| o.name.contains("transfer")).unwrap().name.clone();
    let archive = |name: &str| files.manifest.object(name).unwrap().name.clone();
    for name in [archive("schema.dump"), archive("residual.dump"), chunk] {
        for how in ALL {
            files.damage(&name, how);
            let error = scene.depot.restore_in_place(&scene.config()).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{how:?} {name}: {error:#?}");
            assert!(error.chain().contains(&name), "{how:?}: {}", error.chain());
            let error = scene.depot.restore(&scene.config(), &RestoreRequest::scratch()).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{how:?} {name} in scratch: {error:#?}");
            copy_all(saved.path(), &files.dir);
        }
    }
    moved_on.assert_same(&scene.state().await);
    // Nothing that came from damaged objects is in what a good restore then makes live.
    scene.restore().await;
    backed_up.assert_same(&scene.state().await);
    assert_eq!(scene.leftovers().await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_manifests_are_refused_and_never_passed_over_in_silence() {
    let scene = Scene::with(Default::default(), 200).await;
    scene.backup().await;
    let older = scene.depot.latest().await.unwrap();
    scene.backup().await;
    let files = Files::of(&scene).await;
    let path = files.dir.join("manifest.json");
    let good = std::fs::read(&path).unwrap();
    let json: serde_json::Value = serde_json::from_slice(&good).unwrap();
    let with = |change: &dyn Fn(&mut serde_json::Value)| {
        let mut changed = json.clone();
        change(&mut changed);
        serde_json::to_vec(&changed).unwrap()
    };
    let another = std::fs::read(files.dir.parent().unwrap().join(older.id.as_str()).join("manifest.json")).unwrap();
    let (cx, component) = (Cx::background(), Depot::component());
    for (what, bytes, kind) in [
        ("empty", Vec::new(), ErrorKind::Corrupt),
        ("cut", good[..good.len() / 2].to_vec(), ErrorKind::Corrupt),
        ("another's", another, ErrorKind::Corrupt),
        ("newer", with(&|m| m["format"] = 2.into()), ErrorKind::Unsupported),
        ("no objects", with(&|m| drop(m.as_object_mut().unwrap().remove("objects"))), ErrorKind::Corrupt),
    ] {
        std::fs::write(&path, bytes).unwrap();
        let error = scene.depot.latest().await.unwrap_err();
        assert_eq!(error.kind(), kind, "{what}: {error:#?}");
        assert!(error.chain().contains("manifest.json"), "{what}: {}", error.chain());
        if kind == ErrorKind::Unsupported {
            assert!(error.help().is_some(), "{error:#?}");
        }
        let entries = scene.depot.repository.list(&cx, &component).await.unwrap();
        assert!(matches!(entries[1].state, BackupState::Broken(_)), "{what}: {entries:#?}");
        assert!(entries[0].manifest().is_some());
        scene.depot.repository.manifest(&cx, &component, &Selector::Id(older.id.clone())).await.unwrap();
    }
    // A broken manifest is somebody's backup: the next run neither sweeps nor replaces it.
    scene.backup().await;
    assert!(path.exists());
    std::fs::write(&path, good).unwrap();
    scene.assert_store_is_sound(3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_that_promises_something_else_does_not_restore() {
    let scene = Scene::with(Default::default(), 200).await;
    scene.backup().await;
    scene.move_on().await;
    let moved_on = scene.state().await;
    let files = Files::of(&scene).await;
    let path = files.dir.join("manifest.json");
    let good = std::fs::read_to_string(&path).unwrap();
    let detail = &files.manifest.details;
    let table = detail["tables"].as_array().unwrap().iter().position(|t| t["name"] == "account").unwrap();
    for (what, kinds) in [("rows", &[ErrorKind::Corrupt, ErrorKind::Mismatch][..]), ("digest", &[ErrorKind::Mismatch])]
    {
        let mut json: serde_json::Value = serde_json::from_str(&good).unwrap();
        let record = &mut json["details"]["tables"][table];
        match what {
            "rows" => record["rows"] = 21.into(),
            _ => {
                let digest = record["digest"].as_str().unwrap().to_owned();
                let last = digest.chars().next_back().unwrap();
                let other = if last == '0' { '1' } else { '0' };
                record["digest"] = format!("{}{other}", &digest[..digest.len() - 1]).into();
            }
        }
        std::fs::write(&path, json.to_string()).unwrap();
        let error = scene.depot.restore_in_place(&scene.config()).await.unwrap_err();
        assert!(kinds.contains(&error.kind()), "{what}: {error:#?}");
        assert!(error.chain().contains("public.account"), "{what}: {}", error.chain());
        moved_on.assert_same(&scene.state().await);
    }
    std::fs::write(&path, good).unwrap();
    scene.restore().await;
    assert_eq!(scene.leftovers().await, Vec::<String>::new());
}

/// A key pair made by the stock tool: recipient and identity.
fn key_pair() -> (String, SecretString) {
    let output = Command::new("age-keygen").output().expect("age-keygen: apt-get install age");
    let text = String::from_utf8(output.stdout).unwrap();
    let recipient = text.lines().find_map(|l| l.strip_prefix("# public key: ")).unwrap().to_owned();
    let identity = text.lines().find(|l| l.starts_with("AGE-SECRET-KEY-1")).unwrap().to_owned();
    (recipient, SecretString::from(identity))
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_right_key_nothing_is_proven_and_nothing_is_touched() {
    let (recipient, identity) = key_pair();
    let (_, wrong) = key_pair();
    let mut scene = Scene::with(Default::default(), 200).await;
    let sealed = Encryption::to_recipients(&[recipient]).unwrap();
    scene.depot = Depot::with(sealed.clone());
    scene.backup().await;
    let backed_up = scene.state().await;
    scene.move_on().await;
    let moved_on = scene.state().await;
    let cx = Cx::background();
    let store = DirectoryStore::open("local", scene.depot.path()).unwrap();
    let store: std::sync::Arc<dyn veza_dr_core::BackupStore> = std::sync::Arc::new(store);
    for (what, encryption) in [("no key", sealed.clone()), ("wrong key", sealed.clone().with_identity(wrong))] {
        scene.depot.repository = Repository::new(store.clone(), encryption);
        let manifest = scene.depot.latest().await.unwrap();
        let objects = verify_objects(&cx, &scene.depot.repository, &manifest).await.unwrap();
        // Without a key the stored bytes alone can be compared; with a wrong one, the key is what is wrong.
        let expected = if what == "no key" { Verdict::Equal } else { Verdict::Unverified };
        assert_eq!(objects.verdict(), expected, "{what}: {:#?}", objects.findings);
        let structure = verify_structure(&cx, &scene.depot.repository, &manifest).await.unwrap();
        assert_eq!(structure.verdict(), Verdict::Unverified, "{what}: {:#?}", structure.findings);
        let error: Error = scene.depot.restore_in_place(&scene.config()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Denied, "{what}: {error:#?}");
        assert!(error.help().is_some(), "{error:#?}");
        moved_on.assert_same(&scene.state().await);
        assert_eq!(scene.leftovers().await, Vec::<String>::new());
    }
    scene.depot.repository = Repository::new(store, sealed.with_identity(identity));
    scene.assert_store_is_sound(1).await;
    scene.restore().await;
    backed_up.assert_same(&scene.state().await);
}
