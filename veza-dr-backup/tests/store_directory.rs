//! The directory store held to the contract, and what only a directory does.
#![allow(clippy::unwrap_used, reason = "tests")]

mod contract {
    use std::sync::Arc;

    use tempfile::TempDir;
    use veza_dr_backup::store::DirectoryStore;
    use veza_dr_core::BackupStore;

    async fn fresh() -> (Arc<dyn BackupStore>, TempDir) {
        let place = tempfile::tempdir().unwrap();
        (Arc::new(DirectoryStore::open("local", place.path()).unwrap()), place)
    }

    veza_dr_core::store_contract!(fresh());
}

mod files {
    use std::{os::unix::fs::PermissionsExt, path::Path};

    use veza_dr_backup::store::DirectoryStore;
    use veza_dr_core::{BackupStore, Condition, Cx, ErrorKind, ObjectKey, PutOptions};

    fn key(text: &str) -> ObjectKey {
        text.parse().unwrap()
    }

    fn mode(path: &Path) -> u32 {
        path.metadata().unwrap().permissions().mode() & 0o7777
    }

    async fn write(store: &DirectoryStore, key: &ObjectKey, body: &'static [u8]) {
        let mut writer = store.create(&Cx::background(), key, PutOptions::default()).await.unwrap();
        writer.write(body.into()).await.unwrap();
        writer.finish().await.unwrap();
    }

    #[tokio::test]
    async fn objects_are_plain_files_that_only_their_owner_reads() {
        let place = tempfile::tempdir().unwrap();
        let root = place.path().join("made/by us");
        let store = DirectoryStore::open("local", &root).unwrap();
        write(&store, &key("database/run/data"), b"content").await;
        store.put(&Cx::background(), &key("locks/x.json"), "{}".into(), Condition::Absent).await.unwrap();
        assert_eq!(std::fs::read(root.join("database/run/data")).unwrap(), b"content");
        for dir in ["", "database", "database/run", "locks", ".tmp"] {
            assert_eq!(mode(&root.join(dir)), 0o700, "{dir}");
        }
        for file in ["database/run/data", "locks/x.json", ".tmp/lock"] {
            assert_eq!(mode(&root.join(file)), 0o600, "{file}");
        }
    }

    #[tokio::test]
    async fn no_temporary_file_outlives_its_writer() {
        let place = tempfile::tempdir().unwrap();
        let store = DirectoryStore::open("local", place.path()).unwrap();
        let cx = Cx::background();
        write(&store, &key("run/a"), b"x").await;
        let _ = store.put(&cx, &key("run/a"), "y".into(), Condition::Absent).await.unwrap_err();
        let mut aborted = store.create(&cx, &key("run/b"), PutOptions::default()).await.unwrap();
        aborted.write(vec![0; 3 << 20].into()).await.unwrap();
        aborted.abort().await.unwrap();
        let mut dropped = store.create(&cx, &key("run/c"), PutOptions::default()).await.unwrap();
        dropped.write(b"z"[..].into()).await.unwrap();
        drop(dropped);
        let left: Vec<_> =
            std::fs::read_dir(place.path().join(".tmp")).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(left, ["lock"]);
    }

    #[tokio::test]
    async fn foreign_files_links_and_temporary_files_are_not_objects() {
        let place = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        std::fs::write(outside.path().join("secret"), "s").unwrap();
        let store = DirectoryStore::open("local", place.path()).unwrap();
        write(&store, &key("run/a"), b"x").await;
        let root = place.path();
        std::fs::write(root.join("run/.hidden"), "").unwrap();
        std::fs::write(root.join("run/with space"), "").unwrap();
        std::fs::create_dir(root.join("lost+found")).unwrap();
        std::fs::create_dir(root.join("empty")).unwrap();
        std::os::unix::fs::symlink(outside.path(), root.join("link")).unwrap();
        std::os::unix::fs::symlink(outside.path().join("secret"), root.join("run/link")).unwrap();
        let cx = Cx::background();
        let keys: Vec<_> = store.list(&cx, "").await.unwrap().into_iter().map(|m| m.key.to_string()).collect();
        assert_eq!(keys, ["run/a"]);
        assert_eq!(store.list_groups(&cx, "").await.unwrap(), ["run"]);
        let e = store.get(&cx, &key("run/link"), 0).await.unwrap_err();
        assert_eq!(e.kind(), ErrorKind::NotFound);
        store.delete(&cx, &key("run/link")).await.unwrap();
        assert!(root.join("run/link").symlink_metadata().is_ok(), "what is not an object is not deleted");
    }

    #[tokio::test]
    async fn an_object_cannot_be_a_group_as_well() {
        let place = tempfile::tempdir().unwrap();
        let store = DirectoryStore::open("local", place.path()).unwrap();
        let cx = Cx::background();
        write(&store, &key("run/a"), b"x").await;
        for taken in ["run", "run/a/b"] {
            let e = store.put(&cx, &key(taken), "y".into(), Condition::Always).await.unwrap_err();
            assert_eq!(e.kind(), ErrorKind::Conflict, "{taken}: {e:?}");
        }
        assert_eq!(std::fs::read(place.path().join("run/a")).unwrap(), b"x");
    }

    #[tokio::test]
    async fn a_file_cut_short_under_a_reader_is_corrupt() {
        let place = tempfile::tempdir().unwrap();
        let store = DirectoryStore::open("local", place.path()).unwrap();
        let big = vec![7_u8; 8 << 20].leak();
        write(&store, &key("run/a"), big).await;
        let mut reader = store.get(&Cx::background(), &key("run/a"), 0).await.unwrap();
        reader.next().await.unwrap();
        std::fs::OpenOptions::new().write(true).open(place.path().join("run/a")).unwrap().set_len(4 << 20).unwrap();
        let e = loop {
            match reader.next().await {
                Ok(Some(_)) => {}
                Ok(None) => panic!("it seemed to end"),
                Err(e) => break e,
            }
        };
        assert_eq!(e.kind(), ErrorKind::Corrupt);
    }

    #[test]
    fn a_file_is_not_a_store() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let e = DirectoryStore::open("local", file.path()).unwrap_err();
        assert_eq!(e.kind(), ErrorKind::Config);
        assert!(e.help().is_some());
    }

    #[tokio::test]
    async fn a_root_that_went_away_is_not_an_empty_store() {
        let place = tempfile::tempdir().unwrap();
        let store = DirectoryStore::open("local", place.path().join("disk")).unwrap();
        std::fs::remove_dir(place.path().join("disk")).unwrap();
        assert!(store.list(&Cx::background(), "").await.is_err());
        assert!(store.list(&Cx::background(), "database").await.is_err());
    }
}

/// Processes are this test binary itself, started again with a role.
mod processes {
    use std::{
        path::Path,
        process::{Child, Command, Stdio},
        time::{Duration, Instant},
    };

    use veza_dr_backup::store::DirectoryStore;
    use veza_dr_core::{BackupStore, Condition, Cx, ErrorKind, ObjectKey, PutOptions};

    const PLACE: &str = "VEZA_DR_TEST_PLACE";
    const EACH: u64 = 25;

    fn start(role: &str, place: &Path) -> Child {
        let role = format!("processes::{role}");
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", &role, "--ignored", "--nocapture"])
            .env(PLACE, place)
            .stdout(Stdio::null())
            .spawn()
            .unwrap()
    }

    /// `None` when nobody started this process for its role.
    fn shared() -> Option<DirectoryStore> {
        Some(DirectoryStore::open("local", std::env::var_os(PLACE)?).unwrap())
    }

    fn counter() -> ObjectKey {
        "locks/count".parse().unwrap()
    }

    async fn count(store: &DirectoryStore) -> u64 {
        let mut reader = store.get(&Cx::background(), &counter(), 0).await.unwrap();
        let bytes = reader.next().await.unwrap().unwrap();
        std::str::from_utf8(&bytes).unwrap().parse().unwrap()
    }

    #[tokio::test]
    #[ignore = "a role that another test starts in a process of its own"]
    async fn counting() {
        let Some(store) = shared() else { return };
        let mut left = EACH;
        while left > 0 {
            let tag = store.head(&Cx::background(), &counter()).await.unwrap().unwrap().tag;
            let next = (count(&store).await + 1).to_string();
            match store.put(&Cx::background(), &counter(), next.into(), Condition::Matches(tag)).await {
                Ok(_) => left -= 1,
                Err(e) => assert_eq!(e.kind(), ErrorKind::Conflict),
            }
        }
    }

    #[tokio::test]
    async fn counting_in_several_processes_loses_nothing() {
        let place = tempfile::tempdir().unwrap();
        let store = DirectoryStore::open("local", place.path()).unwrap();
        store.put(&Cx::background(), &counter(), "0".into(), Condition::Absent).await.unwrap();
        let children: Vec<_> = (0..4).map(|_| start("counting", place.path())).collect();
        for mut child in children {
            assert!(child.wait().unwrap().success());
        }
        assert_eq!(count(&store).await, 4 * EACH);
    }

    #[tokio::test]
    #[ignore = "a role that another test starts in a process of its own"]
    async fn writing_for_ever() {
        let Some(store) = shared() else { return };
        let cx = Cx::background();
        let mut writer = store.create(&cx, &"run/data".parse().unwrap(), PutOptions::default()).await.unwrap();
        for _ in 0..16 {
            writer.write(vec![1; 1 << 20].into()).await.unwrap();
        }
        std::fs::write(Path::new(&store.info().location).join(".ready"), "").unwrap();
        tokio::time::sleep(Duration::from_secs(60)).await;
    }

    #[tokio::test]
    async fn what_a_killed_process_left_is_swept_and_never_seen() {
        let place = tempfile::tempdir().unwrap();
        let store = DirectoryStore::open("local", place.path()).unwrap();
        let (cx, later) = (Cx::background(), chrono::Utc::now() + chrono::TimeDelta::hours(1));
        let mut child = start("writing_for_ever", place.path());
        let began = Instant::now();
        while !place.path().join(".ready").exists() {
            assert!(began.elapsed() < Duration::from_secs(30), "the child never got going");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(store.sweep(&cx, later).await.unwrap(), 0, "its writer lives");
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(store.list(&cx, "").await.unwrap(), []);
        assert_eq!(store.sweep(&cx, chrono::Utc::now() - chrono::TimeDelta::hours(1)).await.unwrap(), 0, "too young");
        assert_eq!(store.sweep(&cx, later).await.unwrap(), 1);
        assert_eq!(store.sweep(&cx, later).await.unwrap(), 0);
        let writer = store.create(&cx, &"run/data".parse().unwrap(), PutOptions::default()).await.unwrap();
        writer.finish().await.unwrap();
    }
}

/// Needs a file system that can be filled.
mod full {
    use std::{path::PathBuf, process::Command};

    use veza_dr_backup::store::DirectoryStore;
    use veza_dr_core::{BackupStore, Condition, Cx, ErrorKind, PutOptions};

    /// A mounted tmpfs of 4 MiB; unmounted when dropped.
    struct Small(tempfile::TempDir);

    impl Small {
        fn mount() -> Self {
            let place = tempfile::tempdir().unwrap();
            let path = place.path().to_owned();
            let mount =
                Command::new("mount").args(["-t", "tmpfs", "-o", "size=4m", "tmpfs"]).arg(&path).status().unwrap();
            assert!(mount.success(), "a tmpfs could not be mounted");
            Self(place)
        }

        fn path(&self) -> PathBuf {
            self.0.path().join("store")
        }
    }

    impl Drop for Small {
        fn drop(&mut self) {
            let _ = Command::new("umount").arg("--lazy").arg(self.0.path()).status();
        }
    }

    #[tokio::test]
    #[ignore = "needs root, to mount a small tmpfs"]
    async fn a_full_disk_is_named_and_leaves_nothing() {
        let disk = Small::mount();
        let store = DirectoryStore::open("small", disk.path()).unwrap();
        let cx = Cx::background();
        let mut writer = store.create(&cx, &"run/data".parse().unwrap(), PutOptions::default()).await.unwrap();
        let mut failed = None;
        for _ in 0..16 {
            if let Err(e) = writer.write(vec![1; 1 << 20].into()).await {
                failed = Some(e);
                break;
            }
        }
        let e = failed.expect("more was written than there is room for");
        assert_eq!(e.kind(), ErrorKind::Full, "{e:?}");
        assert!(e.help().is_some());
        assert!(writer.finish().await.is_err(), "what is not whole must not be published");
        assert_eq!(store.list(&cx, "").await.unwrap(), []);
        // The room is free again.
        let body = vec![2; 3 << 20];
        store.put(&cx, &"run/other".parse().unwrap(), body.into(), Condition::Absent).await.unwrap();
    }
}
