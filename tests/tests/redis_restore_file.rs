//! Restores by replacing a server's files: what a plain copy over `dump.rdb` gets wrong, and a server that is down.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use veza_dr_core::{Cx, Effect, Error, ErrorKind, RestoreRequest, RestoreTarget, Result, Verdict};
use veza_dr_restore::redis::{Instance, RedisWay, ServerFiles};
use veza_dr_tests::redis_data;
use veza_dr_tests::redis_recovery::{Recovery, assert_usable, config, state};
use veza_dr_tests::redis_server::{RedisOptions, RedisServer};

/// A server process whose files are those of the host.
#[derive(Debug, Clone)]
struct Process {
    server: Arc<tokio::sync::Mutex<RedisServer>>,
    calls: Arc<Mutex<Vec<String>>>,
}

#[async_trait]
impl Instance for Process {
    fn describe(&self) -> String {
        "the test's process".to_owned()
    }

    async fn stop(&self, _: &Cx) -> Result<()> {
        self.calls.lock().unwrap().push("stop".into());
        let server = self.server.clone();
        // As `docker stop` does: a server with save points writes its data once more.
        tokio::task::spawn_blocking(move || server.blocking_lock().stop()).await.unwrap();
        Ok(())
    }

    async fn start(&self, _: &Cx) -> Result<()> {
        self.calls.lock().unwrap().push("start".into());
        let mut server = self.server.lock().await;
        server.restart().await.map_err(|e| Error::new(ErrorKind::Unavailable, e.to_string()))
    }

    async fn fetch(&self, _: &Cx, path: &str, to: &Path) -> Result<bool> {
        if !Path::new(path).exists() {
            return Ok(false);
        }
        std::fs::copy(path, to).map_err(|e| Error::new(ErrorKind::Unexpected, e.to_string()))?;
        Ok(true)
    }

    async fn place(&self, _: &Cx, path: &str, from: &Path) -> Result<()> {
        let path = PathBuf::from(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::copy(from, &path).map(drop).map_err(|e| Error::new(ErrorKind::Unexpected, e.to_string()))
    }
}

async fn process(options: RedisOptions) -> Process {
    let server = RedisServer::start(options).await.unwrap();
    redis_data::fill(&server).await.unwrap();
    Process { server: Arc::new(tokio::sync::Mutex::new(server)), calls: Arc::default() }
}

async fn by_file(options: RedisOptions) {
    let process = process(options).await;
    let recovery = Recovery::new();
    let (expected, damaged);
    {
        let server = process.server.lock().await;
        recovery.backup(&server).await;
        expected = state(&server).await;
        server.say("SET damage 1").await.unwrap();
        server.say("DEL string:0").await.unwrap();
        damaged = state(&server).await;
    }
    let options = recovery.options().with_way(RedisWay::File).with_instance(Arc::new(process.clone()));
    let target = {
        let server = process.server.lock().await;
        recovery.target(&server, options)
    };
    let done = recovery.restore(&target, &RestoreRequest::in_place()).await.unwrap_or_else(|e| panic!("{e:#?}"));
    assert_eq!(done.verification.verdict(), Verdict::Equal, "{done:#?}");
    assert_eq!(*process.calls.lock().unwrap(), ["stop", "start"]);
    let mut server = process.server.lock().await;
    expected.assert_same(&state(&server).await);
    server.kill9();
    server.restart().await.unwrap();
    expected.assert_same(&state(&server).await);
    server.say("SET written:later 1").await.unwrap();
    server.restart().await.unwrap();
    drop(server);
    target.rollback(&Cx::background()).await.unwrap();
    let server = process.server.lock().await;
    damaged.assert_same(&state(&server).await);
    assert_usable(&server).await;
}

#[tokio::test]
async fn a_last_save_at_the_stop_does_not_win() {
    by_file(RedisOptions::default().with_save_points()).await;
}

#[tokio::test]
async fn an_append_only_file_does_not_win_and_is_not_lost() {
    by_file(RedisOptions::default().with_aof()).await;
}

#[tokio::test]
async fn a_server_that_is_down_and_cannot_start_is_brought_back() {
    let process = process(RedisOptions::default().with_aof()).await;
    let recovery = Recovery::new();
    let (expected, dir, base, target);
    {
        let mut server = process.server.lock().await;
        recovery.backup(&server).await;
        expected = state(&server).await;
        server.kill9();
        dir = server.data_dir();
        let folder = dir.join("appendonlydir");
        base = std::fs::read_dir(&folder)
            .unwrap()
            .flatten()
            .map(|e| e.path())
            .find(|p| p.to_string_lossy().ends_with("base.rdb"));
        std::fs::write(base.as_ref().unwrap(), b"REDIS0010 and then nothing that makes sense").unwrap();
        assert!(server.restart().await.is_err(), "the disaster: it does not start");
        let options = recovery
            .options()
            .with_instance(Arc::new(process.clone()))
            .with_server_files(ServerFiles::in_dir(dir.to_string_lossy()));
        target = veza_dr_restore::redis::RedisRestore::new(Recovery::component(), config(&server), options).unwrap();
    }
    let plan = recovery.plan(&target).await.unwrap();
    assert!(plan.steps[0].what.contains("does not answer"), "{plan:#?}");
    let done = recovery.restore(&target, &RestoreRequest::in_place()).await.unwrap_or_else(|e| panic!("{e:#?}"));
    let first = done.replaced.expect("the names of what was there");
    assert!(first.contains("veza-dr-old"), "{first}");
    // The same again: what was put aside the first time stays as it is.
    let aside = |names: &str| {
        let read = |n: &str| std::fs::read(n).unwrap_or_else(|e| panic!("{n}: {e}"));
        names.split(", ").map(read).collect::<Vec<_>>()
    };
    let kept = aside(&first);
    process.server.lock().await.kill9();
    let list = dir.join("appendonlydir/appendonly.aof.manifest");
    std::fs::write(list, b"file nothing.rdb seq 9 type b\n").unwrap();
    assert!(process.server.lock().await.restart().await.is_err(), "the second disaster");
    let done = recovery.restore(&target, &RestoreRequest::in_place()).await.unwrap_or_else(|e| panic!("{e:#?}"));
    let second = done.replaced.expect("the names of what was there");
    assert!(second.split(", ").all(|name| !first.contains(name)), "{first} and {second}");
    assert_eq!(aside(&first), kept);
    let server = process.server.lock().await;
    expected.assert_same(&state(&server).await);
    assert!(base.unwrap().exists(), "the old parts are still there");
    assert_usable(&server).await;
}

#[tokio::test]
async fn files_that_the_server_does_not_start_with_are_taken_back() {
    taken_back(RedisOptions::default().with_save_points(), true).await;
}

#[tokio::test]
async fn a_server_that_had_no_files_loses_nothing_but_to_the_copy() {
    taken_back(RedisOptions::default(), false).await;
}

/// `saves`: the server finds its data again after a stop.
async fn taken_back(options: RedisOptions, saves: bool) {
    #[derive(Debug)]
    struct Spoiling(Process);
    #[async_trait]
    impl Instance for Spoiling {
        fn describe(&self) -> String {
            self.0.describe()
        }
        async fn stop(&self, cx: &Cx) -> Result<()> {
            self.0.stop(cx).await
        }
        async fn start(&self, cx: &Cx) -> Result<()> {
            self.0.start(cx).await
        }
        async fn fetch(&self, cx: &Cx, path: &str, to: &Path) -> Result<bool> {
            self.0.fetch(cx, path, to).await
        }
        async fn place(&self, cx: &Cx, path: &str, from: &Path) -> Result<()> {
            self.0.place(cx, path, from).await?;
            // What is put there first is cut short on its way.
            if path.ends_with("dump.rdb") && !self.0.calls.lock().unwrap().contains(&"spoilt".into()) {
                self.0.calls.lock().unwrap().push("spoilt".into());
                std::fs::write(path, b"REDIS0010 cut").unwrap();
            }
            Ok(())
        }
    }
    let process = process(options).await;
    let recovery = Recovery::new();
    let (before, target);
    {
        let server = process.server.lock().await;
        recovery.backup(&server).await;
        server.say("SET damage 1").await.unwrap();
        before = state(&server).await;
        let options = recovery.options().with_way(RedisWay::File).with_instance(Arc::new(Spoiling(process.clone())));
        target = recovery.target(&server, options);
    }
    let e = recovery.restore(&target, &RestoreRequest::in_place()).await.unwrap_err();
    assert!(e.chain().contains("runs with its old ones again"), "{e:#?}");
    assert_eq!(e.effect(), Effect::Unknown, "{e:#?}");
    {
        let server = process.server.lock().await;
        if saves {
            before.assert_same(&state(&server).await);
        } else {
            assert_eq!(server.say("DBSIZE").await.unwrap().int(), 0);
        }
    }
    target.rollback(&Cx::background()).await.unwrap_or_else(|e| panic!("{e:#?}"));
    let server = process.server.lock().await;
    before.assert_same(&state(&server).await);
    assert_usable(&server).await;
}

#[tokio::test]
async fn a_server_whose_stop_fails_is_started_again_and_its_copy_stays() {
    #[derive(Debug)]
    struct Reluctant(Process);
    #[async_trait]
    impl Instance for Reluctant {
        fn describe(&self) -> String {
            self.0.describe()
        }
        async fn stop(&self, cx: &Cx) -> Result<()> {
            let first = self.0.calls.lock().unwrap().is_empty();
            self.0.stop(cx).await?;
            if first { Err(Error::new(ErrorKind::Cancelled, "nobody waited for it")) } else { Ok(()) }
        }
        async fn start(&self, cx: &Cx) -> Result<()> {
            self.0.start(cx).await
        }
        async fn fetch(&self, cx: &Cx, path: &str, to: &Path) -> Result<bool> {
            self.0.fetch(cx, path, to).await
        }
        async fn place(&self, cx: &Cx, path: &str, from: &Path) -> Result<()> {
            self.0.place(cx, path, from).await
        }
    }
    // It saves nothing: what it held is in the copy alone.
    let process = process(RedisOptions::default()).await;
    let recovery = Recovery::new();
    let (before, target);
    {
        let server = process.server.lock().await;
        recovery.backup(&server).await;
        server.say("SET damage 1").await.unwrap();
        before = state(&server).await;
        let options = recovery.options().with_way(RedisWay::File).with_instance(Arc::new(Reluctant(process.clone())));
        target = recovery.target(&server, options);
    }
    let e = recovery.restore(&target, &RestoreRequest::in_place()).await.unwrap_err();
    assert_eq!((e.kind(), e.effect()), (ErrorKind::Cancelled, Effect::Unknown), "{e:#?}");
    assert_eq!(*process.calls.lock().unwrap(), ["stop", "stop", "start"]);
    target.rollback(&Cx::background()).await.unwrap_or_else(|e| panic!("{e:#?}"));
    let server = process.server.lock().await;
    before.assert_same(&state(&server).await);
}
