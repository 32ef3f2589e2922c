//! The daemon as its user runs it, on a real PostgreSQL: backups appear every second, metrics and health tell the truth
//! while a store goes away and comes back, SIGTERM ends it cleanly, and SIGKILL costs nothing that the next start does
//! not put right.

#![cfg(feature = "postgres")]

mod common;

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use common::Place;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use veza_dr_tests::postgres_server::{PgOptions, PgServer};

/// A run that loses its store midway cannot give its lease back: it ends by itself after 80 s.
const PATIENCE: Duration = Duration::from_secs(150);

async fn server() -> PgServer {
    let server = PgServer::start(PgOptions::default()).await.expect("a server");
    server.create_database("veza_db").await.expect("a database");
    server
        .sql("veza_db", "CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t SELECT generate_series(1, 100)")
        .await
        .expect("a step of the scene");
    server
}

fn place(server: &PgServer, more: &str, policy: &str) -> Place {
    let place = Place::new();
    std::fs::write(place.path("pw"), server.password()).expect("a step of the scene");
    let (url, bin) = (server.url("veza_db"), server.bin("").display().to_string());
    let config = format!(
        "sources:
  database: {{ postgres: {{ url: \"{url}\", password_file: pw, bin_dir: \"{bin}\", jobs: 1 }} }}
stores:
  local: {{ directory: {{ path: store }} }}
backup:
  database: {{ schedule: \"* * * * * *\"{policy} }}
state_dir: state
scenarios:
  database: {{ rto: 4h, rpo: 1h }}
{more}"
    );
    std::fs::write(place.config(), config).expect("a step of the scene");
    place
}

/// The running daemon; killed when the test ends.
struct Daemon {
    child: Child,
    at: SocketAddr,
    log: Arc<Mutex<String>>,
}

impl Daemon {
    fn start(place: &Place) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_veza-dr"))
            .args(["serve", "--config"])
            .arg(place.config())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("a step of the scene");
        let log = Arc::new(Mutex::new(String::new()));
        let (lines, kept) = (BufReader::new(child.stderr.take().expect("a step of the scene")).lines(), log.clone());
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                kept.lock().expect("a step of the scene").push_str(&(line + "\n"));
            }
        });
        let mut daemon = Self { child, at: ([127, 0, 0, 1], 0).into(), log };
        let at = daemon.until("it listens", |d| {
            let log = d.log.lock().expect("a step of the scene");
            let from = log.find("listening on http://")? + "listening on http://".len();
            log[from..].lines().next()?.trim().parse().ok()
        });
        daemon.at = at;
        daemon
    }

    fn until<T>(&mut self, what: &str, mut look: impl FnMut(&Self) -> Option<T>) -> T {
        let began = Instant::now();
        loop {
            if let Some(found) = look(self) {
                return found;
            }
            let ended = self.child.try_wait().expect("a step of the scene");
            let log = || self.log.lock().expect("a step of the scene").clone();
            assert!(ended.is_none(), "the daemon ended before {what}: {ended:?}\n{}", log());
            assert!(began.elapsed() < PATIENCE, "{what} never came about\n{}", log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn get(&self, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.at).expect("a step of the scene");
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").expect("a step of the scene");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("a step of the scene");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a step of the scene");
        (head.split(' ').nth(1).expect("a step of the scene").parse().expect("a step of the scene"), body.to_owned())
    }

    /// Sends a signal and gives the exit code.
    fn end(&mut self, signal: Signal) -> Option<i32> {
        kill_process(Pid::from_child(&self.child), signal).expect("a step of the scene");
        let began = Instant::now();
        while began.elapsed() < PATIENCE {
            if let Some(status) = self.child.try_wait().expect("a step of the scene") {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("it does not end: {}", self.log.lock().expect("a step of the scene"));
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The ids that have a manifest.
fn complete(place: &Place) -> Vec<String> {
    let entries = std::fs::read_dir(place.path("store/database")).into_iter().flatten().flatten();
    let complete = entries.filter(|e| e.path().join("manifest.json").exists());
    let mut ids: Vec<String> = complete.map(|e| e.file_name().to_string_lossy().into_owned()).collect();
    ids.sort();
    ids
}

fn lease_is_free(store: &Path) -> bool {
    let lease = std::fs::read(store.join("locks/database.json")).expect("a step of the scene");
    serde_json::from_slice::<Value>(&lease).expect("a step of the scene")["released"] == true
}

/// Answers every request with 200 and keeps their first lines.
fn watcher() -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a step of the scene");
    let (at, heard) = (listener.local_addr().expect("a step of the scene"), Arc::new(Mutex::new(Vec::new())));
    let kept = heard.clone();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let mut reader = BufReader::new(stream.try_clone().expect("a step of the scene"));
            let (mut first, mut line, mut length) = (String::new(), String::new(), 0);
            let _ = reader.read_line(&mut first);
            while reader.read_line(&mut line).is_ok_and(|n| n > 2) {
                if let Some(n) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                    length = n.trim().parse().expect("a step of the scene");
                }
                line.clear();
            }
            let mut body = vec![0; length];
            let _ = reader.read_exact(&mut body);
            kept.lock().expect("a step of the scene").push(first.split(' ').nth(1).unwrap_or_default().to_owned());
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        }
    });
    (at, heard)
}

#[tokio::test(flavor = "multi_thread")]
async fn backups_keep_coming_and_the_page_tells_the_truth() {
    let server = server().await;
    let (watcher, pings) = watcher();
    let more = format!(
        "serve: {{ listen: \"127.0.0.1:0\", refresh: 500ms, grace: 8s }}
notify:
  mine: {{ command: [sh, -c, \"cat >> {0}; echo >> {0}\"], recovery: true }}
",
        "told.jsonl"
    );
    let place = place(&server, &more, &format!(", ping: {{ url: \"http://{watcher}/uuid\" }}"));
    // Commands run where the daemon was started; the file is named in full.
    let told = place.path("told.jsonl");
    let config = std::fs::read_to_string(place.config()).unwrap().replace("told.jsonl", &told.display().to_string());
    std::fs::write(place.config(), config).unwrap();

    tokio::task::block_in_place(|| {
        let mut daemon = Daemon::start(&place);
        daemon.until("the third backup", |_| (complete(&place).len() >= 3).then_some(()));
        daemon.until("health", |d| (d.get("/healthz").0 == 200).then_some(()));
        let (code, text) = daemon.get("/metrics");
        assert_eq!(code, 200);
        for start in [
            "veza_dr_last_success_timestamp_seconds{action=\"backup\",component=\"database\",store=\"local\"} 1",
            "veza_dr_last_attempt_ok{action=\"backup\",component=\"database\",store=\"local\"} 1.0",
            "veza_dr_expected_interval_seconds{component=\"database\"} 1.0",
            "veza_dr_rpo_target_seconds{component=\"database\"} 3600.0",
            "veza_dr_runs_total{action=\"backup\",component=\"database\",outcome=\"succeeded\"} ",
            "veza_dr_notifications_total{channel=\"ping-database\",outcome=\"delivered\"} ",
        ] {
            assert!(text.lines().any(|l| l.starts_with(start)), "{start} in\n{text}");
        }
        assert!(!text.contains("last_proven_restore"), "nothing was proven yet");
        assert_eq!(daemon.get("/nope").0, 404);
        assert!(!told.exists(), "nobody is told of what goes well");
        let status = place.run(&["status", "--json"]);
        let local = &status.json()["components"][0]["stores"][0].clone();
        assert_eq!((&local["last_attempt"]["ok"], &local["unknown"]), (&true.into(), &Value::Null), "{}", status.all());
        assert_eq!(status.exit.name(), "weak", "no restore was proven: {}", status.all());

        // The store goes away: a file where its folder was.
        std::fs::rename(place.path("store"), place.path("away")).unwrap();
        std::fs::write(place.path("store"), "not a folder").unwrap();
        daemon.until("ill health", |d| (d.get("/healthz").0 == 503).then_some(()));
        let text = daemon.get("/metrics").1;
        assert!(text.contains("veza_dr_store_reachable{component=\"database\",store=\"local\"} 0.0"), "{text}");
        assert!(!text.contains("veza_dr_backups{"), "unknown is not zero: {text}");
        daemon.until("a failure is told", |_| std::fs::read_to_string(&told).ok().filter(|t| t.ends_with('\n')));
        assert_eq!(place.run(&["status"]).exit.name(), "unverified");
        let event: Value =
            serde_json::from_str(std::fs::read_to_string(&told).unwrap().lines().next().unwrap()).unwrap();
        assert_eq!((&event["action"], &event["phase"]), (&"backup".into(), &"failed".into()));
        daemon.until("the watcher hears of it", |_| {
            pings.lock().unwrap().contains(&"/uuid/fail".to_owned()).then_some(())
        });

        // And comes back, with all it had.
        std::fs::remove_file(place.path("store")).unwrap();
        std::fs::rename(place.path("away"), place.path("store")).unwrap();
        let before = complete(&place).len();
        daemon.until("new backups", |_| (complete(&place).len() > before + 1).then_some(()));
        daemon.until("health again", |d| (d.get("/healthz").0 == 200).then_some(()));
        daemon.until("the end of the failure is told", |_| {
            std::fs::read_to_string(&told).unwrap().lines().any(|l| l.contains("\"succeeded\"")).then_some(())
        });
        let failures = std::fs::read_to_string(&told).unwrap().matches("\"phase\":\"failed\"").count();
        assert_eq!(failures, 1, "the same failure is told once in four hours");

        assert_eq!(daemon.end(Signal::TERM), Some(0), "{}", daemon.log.lock().unwrap());
        assert!(lease_is_free(&place.path("store")), "no lease is left");
        let pings = pings.lock().unwrap();
        assert!(pings.contains(&"/uuid/start".to_owned()) && pings.contains(&"/uuid".to_owned()), "{pings:?}");
        let log = daemon.log.lock().unwrap();
        assert!(log.contains("backup of database succeeded") && !log.contains("/uuid"), "{log}");
        let events = std::fs::read_to_string(place.path("state/events.jsonl")).unwrap();
        assert!(events.lines().any(|l| l.contains("\"kind\":\"delivery\"") && l.contains("\"mine\"")), "{events}");
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_daemon_is_followed_by_one_that_goes_on() {
    let server = server().await;
    let place = place(&server, "serve: { listen: \"127.0.0.1:0\", refresh: 500ms }\n", "");
    tokio::task::block_in_place(|| {
        for round in 0..4u64 {
            let before = complete(&place).len();
            let mut daemon = Daemon::start(&place);
            daemon.until("a backup", |_| (complete(&place).len() > before).then_some(()));
            std::thread::sleep(Duration::from_millis(150 * round));
            assert_eq!(daemon.end(Signal::KILL), None);
        }
        let ran = place.run(&["backup"]);
        assert_eq!(ran.exit.name(), "ok", "{}", ran.all());
        let ids = complete(&place);
        let all = std::fs::read_dir(place.path("store/database")).unwrap().flatten();
        let folders = all.filter(|e| e.path().is_dir()).count();
        assert_eq!(folders, ids.len(), "what the killed ones left unfinished was swept");
        assert_eq!(place.run(&["verify", "database"]).exit.name(), "ok");
        assert!(lease_is_free(&place.path("store")));
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn hooks_of_a_killed_run_are_put_back_by_the_next_one() {
    let server = server().await;
    // `mkdir` fails on what was not put back, so that a backup succeeds only after a repair.
    let hooks = ", quiesce: { steps: [ { command: { before: [sh, -c, 'mkdir FLAG; sleep 0.2'], \
                 after: [sh, -c, 'test ! -d FLAG || rmdir FLAG'] } }, \
                 { command: { before: [sh, -c, 'mkdir FLAG/in'], after: [sh, -c, 'rm -rf FLAG/in'] } } ] }";
    let place = place(&server, "", hooks);
    let flag = place.path("flag");
    let config = std::fs::read_to_string(place.config()).unwrap().replace("FLAG", &flag.display().to_string());
    std::fs::write(place.config(), config).unwrap();
    tokio::task::block_in_place(|| {
        let (mut cut_short, mut repaired) = (0, 0);
        for step in 0..14u64 {
            let mut child = Command::new(env!("CARGO_BIN_EXE_veza-dr"))
                .args(["backup", "--quiet", "--config"])
                .arg(place.config())
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            std::thread::sleep(Duration::from_millis(60 * step));
            child.kill().unwrap();
            child.wait().unwrap();
            let rests = flag.exists();
            cut_short += u32::from(rests);
            let ran = place.run(&["backup"]);
            assert_eq!(ran.exit.name(), "ok", "killed after {} ms: {}", 60 * step, ran.all());
            assert!(!flag.exists(), "put back after the read");
            repaired += u32::from(ran.stderr.contains("put back after a backup that was killed: run sh"));
            let left: Vec<_> = std::fs::read_dir(place.path("state/quiesce")).unwrap().flatten().collect();
            assert!(left.is_empty(), "{left:?}");
        }
        assert!(cut_short >= 2, "the kills did not meet the time of rest: {cut_short}");
        assert!(repaired >= cut_short, "{repaired} of {cut_short}");
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_hook_fails_the_backup_or_not_as_it_is_told_and_is_undone() {
    let server = server().await;
    let hooks = ", quiesce: { on_error: MODE, steps: [ { command: { before: [mkdir, FLAG], after: [rmdir, FLAG] } }, \
                 { command: { before: [sh, -c, 'echo no such service >&2; exit 4'] } } ] }";
    for (mode, exit, backups) in [("fail", "unavailable", 0), ("continue", "ok", 1)] {
        let place = place(&server, "", &hooks.replace("MODE", mode));
        let flag = place.path("flag");
        let config = std::fs::read_to_string(place.config()).unwrap().replace("FLAG", &flag.display().to_string());
        std::fs::write(place.config(), config).unwrap();
        let ran = tokio::task::block_in_place(|| place.run(&["backup"]));
        assert_eq!(ran.exit.name(), exit, "{}", ran.all());
        assert_eq!(complete(&place).len(), backups);
        assert!(!flag.exists());
        if backups == 0 {
            assert!(ran.stdout.contains("sh failed: exit status: 4: no such service"), "{}", ran.all());
            let status = tokio::task::block_in_place(|| place.run(&["status", "--json"])).json();
            let attempt = &status["components"][0]["stores"][0]["last_attempt"];
            assert!(attempt["error"].as_str().unwrap().contains("no such service"), "on record: {attempt}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_is_ended_or_killed_while_services_rest_has_them_put_back() {
    let server = server().await;
    let hooks =
        ", quiesce: { steps: [ { command: { before: [sh, -c, 'mkdir FLAG; sleep 3'], after: [rmdir, FLAG] } } ] }";
    let place = place(&server, "serve: { listen: \"127.0.0.1:0\" }\n", hooks);
    let flag = place.path("flag");
    let config = std::fs::read_to_string(place.config()).unwrap().replace("FLAG", &flag.display().to_string());
    std::fs::write(place.config(), config).unwrap();
    tokio::task::block_in_place(|| {
        let mut daemon = Daemon::start(&place);
        daemon.until("rest", |_| flag.exists().then_some(()));
        assert_eq!(daemon.end(Signal::TERM), Some(0));
        assert!(!flag.exists(), "put back before the end: {}", daemon.log.lock().unwrap());
        assert!(lease_is_free(&place.path("store")));

        let mut daemon = Daemon::start(&place);
        daemon.until("rest", |_| flag.exists().then_some(()));
        assert_eq!(daemon.end(Signal::KILL), None);
        assert!(flag.exists());
        // At rest again, which `mkdir` allows only once the first rest was ended.
        let mut daemon = Daemon::start(&place);
        daemon.until("a repair on record", |_| {
            let events = std::fs::read_to_string(place.path("state/events.jsonl")).unwrap_or_default();
            let repair = |l: &str| l.contains("\"quiesce\"") && l.contains("put back after a backup that was killed");
            events.lines().any(repair).then_some(())
        });
        daemon.until("a backup", |_| (!complete(&place).is_empty()).then_some(()));
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn check_tells_of_channels_and_hooks_without_using_them() {
    let server = server().await;
    let hooks = ", quiesce: { steps: [ { command: { before: [mkdir, FLAG], after: [rmdir, FLAG] } } ] }";
    let more = "notify:\n  mine: { slack: { url_file: nowhere } }\n  hook: { webhook: { url: \"https://x.example/canary\" } }\n";
    let place = place(&server, more, hooks);
    let ran = tokio::task::block_in_place(|| place.run(&["check", "--json"]));
    assert_eq!(ran.exit.name(), "check_failed", "{}", ran.all());
    let checks = ran.json()["checks"].clone();
    let found = |what: &str, name: &str| {
        let all = checks.as_array().expect("a list").iter();
        all.clone().find(|c| c["what"] == what && c["name"] == name).cloned().expect("it was checked")
    };
    assert_eq!(found("channel", "hook")["ok"], true);
    assert!(found("channel", "mine")["steps"][0]["detail"].as_str().unwrap().contains("nowhere"));
    assert_eq!(found("hooks", "database")["steps"][0]["detail"], "run mkdir before and rmdir after");
    assert!(!ran.all().contains("canary"));
}
