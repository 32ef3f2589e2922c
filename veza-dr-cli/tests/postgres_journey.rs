//! The command line on a real PostgreSQL: back up, lose everything, bring it back, go back again; and being stopped.

#![cfg(feature = "postgres")]

mod common;

use std::{
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

use common::Place;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use veza_dr_cli::{Environment, Exit};
use veza_dr_tests::{
    fixtures::fixture,
    postgres_server::{PgOptions, PgServer},
};

/// A server with the Veza-like data and a configuration for it; two components so that "all" means something.
async fn scene(scale: &str) -> (PgServer, Place) {
    let server = PgServer::start(PgOptions::default()).await.expect("a step of the scene");
    server.create_database("veza_db").await.expect("a step of the scene");
    server.psql_file("veza_db", &fixture("veza.sql"), &[("scale", scale)]).await.expect("a step of the scene");
    let place = Place::new();
    std::fs::write(place.path("pw"), server.password()).expect("a step of the scene");
    let (url, bin) = (server.url("veza_db"), server.bin("").display().to_string());
    let config = format!(
        "sources:
  database: {{ postgres: {{ url: \"{url}\", password_file: pw, bin_dir: \"{bin}\", jobs: 2, chunk_bytes: 1MiB }} }}
  cache: {{ redis: {{ url: \"redis://127.0.0.1:1\" }} }}
stores:
  local: {{ directory: {{ path: store }} }}
  second: {{ directory: {{ path: second }} }}
backup:
  database: {{ schedule: \"0 */6 * * *\", retention: 7, compression: true }}
"
    );
    std::fs::write(place.config(), config).expect("a step of the scene");
    (server, place)
}

/// The program blocks, and the server's client of these tests needs its runtime meanwhile.
fn run(place: &Place, args: &[&str]) -> common::Ran {
    tokio::task::block_in_place(|| {
        std::thread::scope(|s| s.spawn(|| place.run(args)).join().expect("a step of the scene"))
    })
}

async fn count(server: &PgServer, table: &str) -> String {
    server
        .psql("veza_db", &["-Atc", &format!("SELECT count(*) FROM {table}")], None)
        .await
        .expect("a step of the scene")
        .trim()
        .to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn backed_up_lost_restored_rolled_back_and_released() {
    let (server, place) = scene("1").await;
    let messages = count(&server, "messages").await;
    let rows: u64 = messages.parse().unwrap();

    let ran = run(&place, &["check", "--store", "local"]);
    assert!(ran.stdout.contains("read rights") && ran.exit == Exit::CheckFailed, "{}", ran.all());

    let ran = run(&place, &["backup", "--json"]);
    assert_eq!(ran.exit, Exit::Partial, "{}", ran.all());
    let results = ran.json()["results"].clone();
    assert_eq!((&results[0]["component"], &results[0]["error"]["kind"]), (&json!("cache"), &json!("unavailable")));
    let made = &results[1];
    assert_eq!((&made["ok"], made["stores"].as_array().unwrap().len()), (&json!(true), 2));
    let id = made["id"].as_str().unwrap().to_owned();
    assert!(ran.stderr.contains("not completely backed up: cache"), "{}", ran.stderr);

    let listed = run(&place, &["list", "database", "--json"]).json();
    assert_eq!(listed.as_array().unwrap().len(), 2);
    for (entry, store) in listed.as_array().unwrap().iter().zip(["local", "second"]) {
        assert_eq!((&entry["id"], &entry["store"], &entry["state"]), (&json!(id), &json!(store), &json!("complete")));
        assert_eq!((&entry["component"], &entry["verified"]), (&json!("database"), &json!(false)));
        assert_eq!(entry["bytes"], made["stores"][0]["bytes"]);
        assert!(entry["stored_bytes"].as_u64().unwrap() < entry["bytes"].as_u64().unwrap());
        assert!(entry["started_at"].as_str().unwrap().ends_with('Z'));
    }
    let shown = run(&place, &["show", &id, "--json"]).json();
    assert_eq!((&shown["id"], &shown["store"], &shown["rows"]), (&json!(id), &json!("local"), &Value::Null));
    assert!(shown["contents"].as_array().unwrap().iter().any(|c| c["rows"] == json!(rows)));

    let ran = run(&place, &["verify", "database", "--level", "restore", "--store", "local", "--json"]);
    assert_eq!(ran.exit, Exit::Ok, "{}", ran.all());
    assert_eq!(ran.json()["results"][0]["verdict"], "equal");
    let listed = run(&place, &["list", "--json", "--store", "local"]).json();
    assert_eq!((&listed[0]["verified"], &listed[0]["verified_level"]), (&json!(true), &json!("restore")));

    server.sql("veza_db", "DROP SCHEMA public CASCADE; CREATE SCHEMA public").await.unwrap();
    let plan = run(&place, &["restore", "database", "--plan", "--json"]);
    assert_eq!((plan.exit, &plan.json()["applied"]), (Exit::Ok, &json!(false)), "{}", plan.all());
    let refused = run(&place, &["restore", "database", "--json"]);
    assert_eq!((refused.exit, &refused.json()["error"]["kind"]), (Exit::NotConfirmed, &json!("not_confirmed")));
    assert!(server.psql("veza_db", &["-Atc", "SELECT 1 FROM messages"], None).await.is_err(), "nothing was written");
    let ran = run(&place, &["restore", "database", "--yes", "--json"]);
    assert_eq!((ran.exit, &ran.json()["verdict"]), (Exit::Ok, &json!("equal")), "{}", ran.all());
    assert_eq!(count(&server, "messages").await, messages);

    assert_eq!(run(&place, &["rollback", "database"]).exit, Exit::Ok);
    assert!(server.psql("veza_db", &["-Atc", "SELECT 1 FROM messages"], None).await.is_err(), "the empty one is back");
    assert_eq!(run(&place, &["rollback", "database"]).exit, Exit::Ok);
    assert_eq!(count(&server, "messages").await, messages);
    assert_eq!(run(&place, &["release", "database"]).exit, Exit::Ok);
    assert_eq!(run(&place, &["rollback", "database"]).exit, Exit::NotFound);

    rows_come_back(&server, &place).await;
    the_newest_backup_counts_wherever_it_is(&place, &id);
}

async fn rows_come_back(server: &PgServer, place: &Place) {
    let tracks = count(server, "tracks").await;
    server.sql("veza_db", "DELETE FROM tracks WHERE artist_id = md5('u2')::uuid").await.expect("a step of the scene");
    let lacking = count(server, "tracks").await;
    assert_ne!(tracks, lacking);
    let ask = ["restore-rows", "database", "--table", "tracks", "--where", "artist_id = md5('u2')::uuid"];
    let plan = run(place, &[&ask[..], &["--plan"]].concat());
    assert_eq!(plan.exit, Exit::Ok);
    assert!(plan.stdout.contains("public.tracks (asked for)"), "{}", plan.all());
    assert_eq!(count(server, "tracks").await, lacking);
    // The operator reads the plan and says no, then yes.
    let typing = |answer: &'static str| {
        let work = || place.run_with(&ask, |io| io.typing(answer));
        tokio::task::block_in_place(|| std::thread::scope(|s| s.spawn(work).join().expect("a step of the scene")))
    };
    let no = typing("n\n");
    assert_eq!(no.exit, Exit::NotConfirmed);
    assert!(no.stderr.contains("missing 1") && no.stderr.contains("[y/N]"), "{}", no.all());
    assert_eq!(count(server, "tracks").await, lacking);
    assert_eq!(typing("yes\n").exit, Exit::Ok);
    assert_eq!(count(server, "tracks").await, tracks);
}

fn the_newest_backup_counts_wherever_it_is(place: &Place, first: &str) {
    assert_eq!(run(place, &["backup", "database", "--store", "second"]).exit, Exit::Ok);
    let plan = run(place, &["restore", "database", "--plan", "--json"]).json();
    let newest = plan["plan"]["backup"].as_str().expect("a step of the scene").to_owned();
    assert_ne!(newest, first);
    // A time between the two.
    let at =
        run(place, &["show", first, "--json"]).json()["finished_at"].as_str().expect("a step of the scene").to_owned();
    let plan = run(place, &["restore", "database", "--plan", "--json", "--at", &at]).json();
    assert_eq!(plan["plan"]["backup"], json!(first));
    assert_eq!(run(place, &["restore", "database", "--plan", "--at", "2001-01-01"]).exit, Exit::NotFound);
    // A store that is gone might have a newer one: that is for the operator to decide, not for us.
    std::fs::rename(place.path("second"), place.path("away")).expect("a step of the scene");
    let ran = run(place, &["restore", "database", "--plan"]);
    assert_eq!(ran.exit, Exit::NotFound, "{}", ran.all());
    assert!(ran.stderr.contains("--store local"), "{}", ran.stderr);
    assert_eq!(run(place, &["restore", "database", "--plan", "--store", "local"]).exit, Exit::Ok);
    assert_eq!(run(place, &["restore", "database", "--plan", "--backup", first]).exit, Exit::Ok);
    let listed = run(place, &["list", "--json"]);
    assert_eq!((listed.exit, listed.json().as_array().expect("a step of the scene").len()), (Exit::Partial, 1));
    // A damaged copy is found, and its number says so.
    let object = std::fs::read_dir(place.path("store").join("database").join(first)).expect("a step of the scene");
    let victim = object
        .map(|e| e.expect("a step of the scene").path())
        .find(|p| p.to_string_lossy().contains("dump"))
        .or_else(|| {
            let data = place.path("store").join("database").join(first).join("data");
            std::fs::read_dir(data).ok()?.next()?.ok().map(|e| e.path())
        });
    let victim = victim.expect("a stored object");
    let mut bytes = std::fs::read(&victim).expect("a step of the scene");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    let mut mode = std::fs::metadata(&victim).expect("a step of the scene").permissions();
    std::os::unix::fs::PermissionsExt::set_mode(&mut mode, 0o600);
    std::fs::set_permissions(&victim, mode).expect("a step of the scene");
    std::fs::write(&victim, bytes).expect("a step of the scene");
    let ran = run(place, &["verify", "database", "--store", "local", "--json"]);
    assert_eq!(
        (ran.exit, &ran.json()["results"][0]["verdict"]),
        (Exit::Mismatch, &json!("different")),
        "{}",
        ran.all()
    );
    let listed = run(place, &["list", "--json", "--store", "local"]).json();
    assert_eq!(listed[0]["verified"], false);
}

fn stopped_by(place: &Place, signal: Signal) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_veza-dr"))
        .args(["backup", "database", "--store", "local", "--config"])
        .arg(place.config())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("a step of the scene");
    // Once objects lie in the store, the work is in its middle.
    let began = Instant::now();
    while runs_in(place).is_empty() {
        assert!(began.elapsed() < Duration::from_secs(60), "the backup never began");
        std::thread::sleep(Duration::from_millis(2));
    }
    kill_process(Pid::from_child(&child), signal).expect("a step of the scene");
    let began = Instant::now();
    while child.try_wait().expect("a step of the scene").is_none() {
        assert!(began.elapsed() < Duration::from_secs(30), "it does not stop");
        std::thread::sleep(Duration::from_millis(10));
    }
    child.wait_with_output().expect("a step of the scene")
}

/// The folders of backups, finished or not; beside them lies the record of the last attempt.
fn runs_in(place: &Place) -> Vec<String> {
    let entries = std::fs::read_dir(place.path("store").join("database")).into_iter().flatten().flatten();
    let folders = entries.filter(|e| e.path().is_dir());
    folders.map(|e| e.file_name().to_string_lossy().into_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_stops_it_cleanly() {
    let (server, place) = scene("2").await;
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let output = tokio::task::block_in_place(|| stopped_by(&place, signal));
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{told}");
        assert!(told.contains("Stopping: releasing leases"), "{told}");
        assert_eq!(runs_in(&place), [""; 0], "nothing of the run is left");
        let listed = place_list(&place);
        assert_eq!(listed, json!([]));
    }
    // The lease is free at once, not only when it runs out.
    let ran = run(&place, &["backup", "database", "--store", "local"]);
    assert_eq!(ran.exit, Exit::Ok, "{}", ran.all());
    drop(server);
}

fn place_list(place: &Place) -> Value {
    run(place, &["list", "--json", "--store", "local"]).json()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_denied_and_another_server_gets_none_of_ours() {
    let (_server, place) = scene("1").await;
    std::fs::write(place.path("pw"), "canary-wrong").unwrap();
    let ran = run(&place, &["backup", "database", "--json"]);
    assert_eq!(ran.exit, Exit::Denied, "{}", ran.all());
    assert!(!ran.all().contains("canary-wrong"));
    let to = ["restore", "database", "--plan", "--to", "postgres://u:canary-to@127.0.0.1:1/d"];
    let work = || place.run_with(&to, |io| io.with_env(Environment::of([("VEZA_DR_TO_PASSWORD", "canary-env")])));
    let ran = tokio::task::block_in_place(|| std::thread::scope(|s| s.spawn(work).join().unwrap()));
    assert_ne!(ran.exit, Exit::Ok);
    assert!(!ran.all().contains("canary"), "{}", ran.all());
}
