//! A server archives through `veza-dr wal push`, is lost, and comes back to an instant of choice through `wal fetch`.
#![cfg(feature = "postgres")]
#![allow(clippy::unwrap_used, reason = "in a test a failure is what it is for")]

mod common;

use std::{path::Path, time::Duration};

use common::Place;
use veza_dr_cli::Exit;
use veza_dr_tests::postgres_server::{PgOptions, PgServer};

/// What the server runs: the program and its configuration where the server's user can read them.
async fn archiving() -> (PgServer, String) {
    let options = PgOptions::default().with("wal_level", "replica").with("max_wal_senders", "4");
    let mut server = PgServer::start(options.with("archive_mode", "on")).await.unwrap();
    let home = server.scratch_dir("veza").unwrap();
    std::fs::copy(env!("CARGO_BIN_EXE_veza-dr"), home.join("veza-dr")).unwrap();
    let store = server.scratch_dir("store").unwrap();
    let config = format!(
        "sources:\n  database: {{ postgres: {{ url: \"{}\" }} }}\nstores:\n  local: {{ directory: {{ path: {} }} }}\n",
        server.url("postgres"),
        store.display()
    );
    std::fs::write(home.join("veza-dr.yml"), config).unwrap();
    let program = format!("{}/veza-dr --quiet --config {}/veza-dr.yml wal", home.display(), home.display());
    server.set("archive_command", format!("{program} push %p %f"));
    server.restart().await.unwrap();
    (server, program)
}

async fn archived(server: &PgServer, segment: &str) {
    for _ in 0..200 {
        let sql = format!("SELECT coalesce(last_archived_wal >= '{segment}', false) FROM pg_stat_archiver");
        if server.sql("postgres", &sql).await.unwrap() == "t" {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{segment} was not archived: {}", server.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_comes_back_to_the_instant_before_the_mistake() {
    let (server, program) = archiving().await;
    server.create_database("veza").await.unwrap();
    server.sql("veza", "CREATE TABLE users AS SELECT i AS id FROM generate_series(1, 100) i").await.unwrap();
    let copy = server.scratch_dir("copy").unwrap();
    let mut base = std::process::Command::new(server.bin("pg_basebackup"));
    base.args(["-h", "127.0.0.1", "-U", "postgres", "-X", "none", "-c", "fast", "-D"]).arg(&copy);
    base.args(["-p", &server.port().to_string()]).env("PGPASSWORD", server.password());
    let done = base.output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));

    server.sql("veza", "INSERT INTO users SELECT i FROM generate_series(101, 250) i").await.unwrap();
    let before = server.sql("veza", "SELECT clock_timestamp()").await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    server.sql("veza", "DELETE FROM users WHERE id > 7").await.unwrap();
    let last = server.sql("postgres", "SELECT pg_walfile_name(pg_switch_wal())").await.unwrap();
    archived(&server, &last).await;

    std::fs::write(copy.join("recovery.signal"), "").unwrap();
    let options = PgOptions::default()
        .with("restore_command", format!("{program} fetch %f %p"))
        .with("recovery_target_time", &before)
        .with("recovery_target_action", "promote");
    let back = PgServer::start_on(&copy, server.password(), options).await.unwrap();
    for _ in 0..200 {
        if back.sql("postgres", "SELECT pg_is_in_recovery()").await.unwrap() == "f" {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let sql = "SELECT count(*) || '/' || sum(id) FROM users";
    assert_eq!(back.sql("veza", sql).await.unwrap(), format!("250/{}", 250 * 251 / 2), "{}", back.log());
    assert_eq!(server.sql("veza", sql).await.unwrap(), "7/28");
}

/// A segment as a server of this cluster would write it: a header, and nothing in it.
fn segment(path: &Path, system: u64, number: u32) {
    let size: u32 = 1 << 20;
    let mut bytes = vec![0x10, 0xD1, 2, 0, 1, 0, 0, 0];
    bytes.extend((u64::from(number) * u64::from(size)).to_le_bytes());
    bytes.extend([0; 8]);
    bytes.extend(system.to_le_bytes());
    bytes.extend(size.to_le_bytes());
    bytes.resize(size as usize, u8::try_from(number).unwrap());
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn the_end_of_the_log_is_told_from_a_hole_and_from_trouble() {
    let place = Place::with(
        "sources:\n  database: { postgres: { url: \"postgres://veza@localhost/veza\" } }\nstores:\n  \
         here: { directory: { path: store } }\n  there: { directory: { path: other } }\n",
    );
    let name = |n: u32| format!("0000000100000000{n:08X}");
    let (source, target) = (place.path("segment"), place.path("back"));
    let push = |n: u32| place.run(&["wal", "push", source.to_str().unwrap(), &name(n)]);
    let fetch = |n: u32| place.run(&["wal", "fetch", &name(n), target.to_str().unwrap()]);

    // Nothing was ever kept: the stores are not there, which may be a disk that is not mounted.
    assert_eq!(fetch(1).exit, Exit::WalUnknown);
    for n in [1, 2, 4] {
        segment(&source, 42, n);
        let ran = push(n);
        assert_eq!(ran.exit, Exit::Ok, "{}", ran.all());
    }
    // Again, as a server does that had no answer; from both stores the same contents come back.
    assert_eq!(push(4).exit, Exit::Ok);
    let contents = std::fs::read(&source).unwrap();
    for store in ["here", "there"] {
        let ran = place.run(&["--store", store, "wal", "fetch", &name(4), target.to_str().unwrap()]);
        assert_eq!(ran.exit, Exit::Ok, "{}", ran.all());
        assert_eq!(std::fs::read(&target).unwrap(), contents);
        std::fs::remove_file(&target).unwrap();
    }

    let hole = fetch(3);
    assert!(hole.exit == Exit::WalUnknown && hole.stderr.contains("hole"), "{}", hole.all());
    assert_eq!(fetch(5).exit, Exit::NotFound);
    assert_eq!(place.run(&["wal", "fetch", "00000002.history", target.to_str().unwrap()]).exit, Exit::NotFound);
    assert!(!target.exists());

    // A mistake in restore_command must not look like the end of the log.
    assert_eq!(place.run(&["wal", "fetch", "--no-such-flag"]).exit, Exit::WalUnknown);
    assert_eq!(place.run(&["--store", "nowhere", "wal", "fetch", &name(1), "x"]).exit, Exit::WalUnknown);

    // Other contents under a known name, another cluster, a cut file: refused, and nothing is replaced.
    segment(&source, 42, 4);
    let mut changed = std::fs::read(&source).unwrap();
    *changed.last_mut().unwrap() ^= 1;
    std::fs::write(&source, &changed).unwrap();
    assert_eq!(push(4).exit, Exit::Conflict);
    segment(&source, 43, 6);
    let foreign = push(6);
    assert!(foreign.exit == Exit::Conflict && foreign.stderr.contains("cluster 43"), "{}", foreign.all());
    std::fs::write(&source, &contents[..contents.len() - 1]).unwrap();
    assert_eq!(push(4).exit, Exit::Corrupt);
    assert_eq!(fetch(4).exit, Exit::Ok);
    assert_eq!(std::fs::read(&target).unwrap(), contents);

    // One store damaged: the other answers. Both damaged: trouble, never the end.
    let stored = |store: &str| place.path(store).join(format!("database/wal/00000001/{}.zst", name(4)));
    std::fs::write(stored("store"), b"damaged").unwrap();
    assert_eq!(fetch(4).exit, Exit::Ok);
    std::fs::write(stored("other"), b"damaged").unwrap();
    assert_eq!(fetch(4).exit, Exit::WalUnknown);
    assert!(
        std::fs::read_dir(place.dir.path()).unwrap().all(|f| !f
            .unwrap()
            .file_name()
            .to_string_lossy()
            .contains(".plain"))
    );
}
