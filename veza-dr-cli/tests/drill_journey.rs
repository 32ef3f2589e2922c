//! Drills as an operator runs them: real servers in production, private ones for the drill, nothing left of it.

#![cfg(all(feature = "postgres", feature = "redis", feature = "files"))]
#![expect(clippy::unwrap_used, reason = "helpers of tests; what is not there fails the test")]

mod common;

use std::{
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use common::Place;
use serde_json::{Value, json};
use veza_dr_tests::{
    oracle::Oracle,
    postgres_server::{PgOptions, PgServer},
    redis_data, redis_oracle,
    redis_server::{RedisOptions, RedisServer},
};

struct Scene {
    postgres: PgServer,
    redis: RedisServer,
    place: Place,
}

impl Scene {
    /// Production: a database with a role, a table and a sequence of its own, Redis, two files; all backed up once.
    async fn new() -> Self {
        let postgres = PgServer::start(PgOptions::default()).await.unwrap();
        postgres.create_database("source").await.unwrap();
        let sql = "CREATE ROLE shop LOGIN PASSWORD 'production'; CREATE TABLE t AS SELECT generate_series(1, 500) AS i; \
                   ALTER TABLE t OWNER TO shop; CREATE TABLE \"Odd name\" (id serial PRIMARY KEY, v text); \
                   INSERT INTO \"Odd name\" (v) SELECT md5(g::text) FROM generate_series(1, 20) g";
        postgres.sql("source", sql).await.unwrap();
        let redis = RedisServer::start(RedisOptions::default()).await.unwrap();
        redis_data::fill(&redis).await.unwrap();
        redis_data::many(&redis, "session:", 300).await.unwrap();
        let place = Place::new();
        for dir in ["etc/veza", "scratch"] {
            std::fs::create_dir_all(place.path(dir)).unwrap();
        }
        std::fs::write(place.path("etc/veza/a.conf"), "a = 1\n").unwrap();
        std::fs::write(place.path("etc/veza/b.conf"), "b = 1\n").unwrap();
        std::fs::write(place.path("pg"), postgres.password()).unwrap();
        std::fs::write(place.path("redis"), redis.password()).unwrap();
        // A server of another user works below the scratch folder.
        let open = |path: PathBuf| std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o755));
        open(place.dir.path().to_owned()).unwrap();
        let scene = Self { postgres, redis, place };
        scene.write("veza-dr.yml", "scratch", "state");
        scene.done(&["backup", "--json"]);
        scene
    }

    fn write(&self, file: &str, scratch: &str, state: &str) {
        let Self { postgres, redis, place } = self;
        let config = format!(
            "sources:
  database: {{ postgres: {{ url: \"{}\", password_file: pg, bin_dir: \"{}\" }} }}
  redis: {{ redis: {{ url: \"{}\", password_file: redis }} }}
  files: {{ files: {{}} }}
stores: {{ local: {{ directory: {{ path: store }} }} }}
state_dir: {state}
drills: {{ scratch_dir: {scratch} }}
backup:
  database: {{ schedule: \"0 */6 * * *\", retention: 7, compression: true }}
  redis: {{ schedule: \"0 */2 * * *\", retention: 3 }}
  files: {{ schedule: \"0 0 * * *\", retention: 30, include: [\"{}\"] }}
",
            postgres.url("source"),
            postgres.bin("").display(),
            redis.url(),
            place.path("etc/veza").display(),
        );
        std::fs::write(place.path(file), config).unwrap();
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_veza-dr"));
        command.arg("--config").arg(self.place.config()).args(args).stdin(Stdio::null());
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    fn done(&self, args: &[&str]) -> Value {
        let ran = self.run(args);
        assert_eq!(ran.status.code(), Some(0), "{args:?}: {}", said(&ran));
        document(&ran)
    }

    fn begin(&self, args: &[&str]) -> Child {
        self.command(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    fn scratch(&self) -> PathBuf {
        self.place.path("scratch")
    }

    /// Waits until the drill that runs is about to do this; returns its id.
    fn wait_phase(&self, child: &mut Child, phase: &str) -> String {
        let until = Instant::now() + Duration::from_secs(120);
        let wanted = format!("{{\"phase\":{{\"name\":\"{phase}\"");
        loop {
            for entry in std::fs::read_dir(self.place.path("state/drills")).into_iter().flatten().flatten() {
                let ledger = std::fs::read_to_string(entry.path().join("ledger.jsonl")).unwrap_or_default();
                if ledger.contains(&wanted) {
                    return entry.file_name().into_string().unwrap();
                }
            }
            assert!(child.try_wait().unwrap().is_none(), "it ended before {phase}");
            assert!(Instant::now() < until, "it never came to {phase}");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// No process of a drill, no folder, no ledger.
    fn assert_nothing_left(&self) {
        let left: Vec<_> = std::fs::read_dir(self.scratch()).unwrap().map(|e| e.unwrap().path()).collect();
        assert!(left.is_empty(), "{left:?}");
        assert_eq!(working_in(&self.scratch()), Vec::<String>::new());
        let ledgers: Vec<_> = std::fs::read_dir(self.place.path("state/drills")).unwrap().flatten().collect();
        assert!(ledgers.iter().all(|e| e.file_name() == "lock"), "{ledgers:?}");
        let locks = std::fs::read_to_string(self.place.path("store/locks/drills.json")).unwrap();
        let lock: Value = serde_json::from_str(&locks).unwrap();
        assert!(lock["released"] == true || !alive(lock["holder"]["pid"].as_u64().unwrap()), "{lock}");
    }
}

/// Everything of production, by other tools than ours.
async fn production(scene: &Scene) -> impl PartialEq + std::fmt::Debug + use<> {
    let rows = scene.postgres.sql("source", "SELECT count(*), sum(i) FROM t").await.unwrap();
    let databases = scene.postgres.sql("postgres", "SELECT string_agg(datname, ',' ORDER BY 1) FROM pg_database").await;
    let keys = scene.redis.info("keyspace").await.unwrap();
    let run = scene.redis.info_value("server", "run_id").await.unwrap();
    let files: Vec<String> = ["a", "b"]
        .iter()
        .map(|f| std::fs::read_to_string(scene.place.path(&format!("etc/veza/{f}.conf"))).unwrap())
        .collect();
    // Expiries make the averages move.
    let keys: Vec<String> = keys.lines().filter_map(|l| l.split(",expires").next().map(str::to_owned)).collect();
    (rows, databases.unwrap(), keys, run, files)
}

fn said(output: &Output) -> String {
    let text = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
    format!("{:?}\n{}\n{}", output.status, text(&output.stdout), text(&output.stderr))
}

fn document(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {}", said(output)))
}

fn alive(pid: u64) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

/// Command lines of processes that name the folder or work in it.
fn working_in(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let line =
            String::from_utf8_lossy(&std::fs::read(entry.path().join("cmdline")).unwrap_or_default()).into_owned();
        let cwd = std::fs::read_link(entry.path().join("cwd")).unwrap_or_default();
        if cwd.starts_with(folder) || line.contains(folder.to_str().unwrap()) {
            found.push(line.replace('\0', " "));
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drill_brings_everything_back_counts_what_would_be_lost_and_leaves_nothing() {
    let scene = Scene::new().await;
    let backed_up = Oracle::of(&scene.postgres).read("source").await.unwrap();
    let keys_backed_up = redis_oracle::state(&scene.redis).await.unwrap();
    // What a disaster now would lose.
    scene.postgres.sql("source", "INSERT INTO t SELECT generate_series(501, 507)").await.unwrap();
    for key in ["new:1", "new:2", "new:3"] {
        scene.redis.say(&format!("SET {key} x")).await.unwrap();
    }
    let before = production(&scene).await;
    let mut record = scene.done(&["drill", "run", "--scenario", "infrastructure", "--negative-control", "--json"]);
    assert_eq!(before, production(&scene).await);
    scene.assert_nothing_left();
    let page = record.as_object_mut().unwrap().remove("report").unwrap();
    let page = std::fs::read_to_string(page.as_str().unwrap()).unwrap();
    assert!(page.contains("<html lang=\"en\"") && page.contains("private servers") && page.contains("<svg"), "{page}");

    assert_eq!(record["outcome"], "passed", "{record:#}");
    let part = |name: &str| {
        record["parts"].as_array().unwrap().iter().find(|p| p["component"] == name).unwrap_or_else(|| panic!("{name}"))
    };
    for (name, rows) in [("database", 520), ("files", 3)] {
        for stage in ["baseline", "recovery"] {
            let stage = &part(name)[stage];
            assert_eq!((&stage["verdict"], &stage["error"]), (&json!("equal"), &Value::Null), "{name}: {stage}");
            assert!(stage["rows"].as_u64().unwrap() >= rows - 1, "{name}: {stage}");
        }
    }
    assert_eq!(part("database")["recovery"]["rows"], 520);
    assert_eq!(part("redis")["recovery"]["verdict"], "equal");
    // Psql says 507, and the backup has 500.
    let count = scene.postgres.sql("source", "SELECT count(*) FROM t").await.unwrap();
    let lost = &part("database")["loss"];
    assert_eq!(lost["records"], 7, "{lost}");
    assert_eq!(lost["tables"], json!([{ "name": "public.t", "live": count.parse::<u64>().unwrap(), "restored": 500 }]));
    assert_eq!(part("redis")["loss"]["records"], 3, "{}", part("redis")["loss"]);
    assert_eq!(part("files")["loss"]["records"], Value::Null, "unknown is not 0");

    let points = record["clock"].as_array().unwrap();
    let names: Vec<&str> = points.iter().map(|p| p["point"].as_str().unwrap()).collect();
    assert_eq!(names, ["T0", "T1", "T2", "T3", "T4", "T5", "T6"]);
    assert!(points.windows(2).all(|w| w[0]["at"].as_str() <= w[1]["at"].as_str()), "{points:?}");
    let (rta, rpa) = (record["rta_ms"].as_u64().unwrap(), record["rpa_ms"].as_u64().unwrap());
    assert!(rta > 100 && rta < 600_000 && rpa > 100 && rpa < 600_000, "{rta} {rpa}");
    assert_eq!(record["control"]["verdict"], "caught", "{}", record["control"]);
    assert_eq!(record["control"]["parts"].as_array().unwrap().len(), 3);
    let proof = &record["production"];
    assert_eq!(proof["verdict"], "unchanged", "{proof:#}");
    assert!(proof["facts"].as_u64().unwrap() >= 10 && proof["digest_before"] == proof["digest_after"], "{proof}");
    assert_eq!(record["cleanup"]["state"], "cleaned");

    // Kept in the store, once, and told from there.
    let id = record["id"].as_str().unwrap();
    let kept = std::fs::read(scene.place.path(&format!("store/drills/{id}/record.json"))).unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&kept).unwrap(), record);
    // Its measures are in the history that metrics and alerts are told from.
    let measured = std::fs::read(scene.place.path(&format!("store/failover/history/{id}.json"))).unwrap();
    let measured: Value = serde_json::from_slice(&measured).unwrap();
    assert_eq!((&measured["kind"], &measured["scenario"]), (&json!("drill"), &json!("infrastructure")), "{measured:#}");
    let lost = measured["data_loss"]["parts"].as_array().unwrap().iter().find(|p| p["component"] == "database");
    assert_eq!(lost.unwrap()["records"], 7, "{measured:#}");
    assert_eq!(measured["points"]["T6"], record["clock"][6]["at"], "{measured:#}");
    assert_eq!(scene.done(&["drill", "report", "latest", "--json"]), record);
    assert_eq!(scene.done(&["drill", "report", id, "--json"]), record);
    let listed = scene.done(&["drill", "list", "--json"]);
    assert_eq!(listed["drills"].as_array().unwrap().len(), 1);
    assert_eq!(listed["drills"][0]["outcome"], "passed");
    // What is beside the components is none of them.
    assert_eq!(scene.done(&["list", "--json"]).as_array().unwrap().len(), 3);
    let sealed = scene.done(&["drill", "report", "latest", "--format", "json"]);
    assert_eq!((&sealed["kind"], &sealed["outcome"]), (&json!("process_drill"), &json!("passed")), "{sealed:#}");
    assert_eq!(sealed["recovery_time"]["target_seconds"], 21600.0);
    assert!(sealed["sha256"].is_string() && sealed["chain"]["seq"] == 1, "{sealed:#}");
    let french = scene.run(&["drill", "report", "latest", "--format", "md", "--language", "fr"]);
    let french = String::from_utf8(french.stdout).unwrap();
    assert!(french.contains("# Exercice") && french.contains("toute copie endommagée a été refusée"), "{french}");
    // What a library said of a damaged copy stays as it is.
    let french = french.replace("Restored data doesn't match checksum", "");
    assert_eq!(veza_dr_tests::french::english_in(&french), [""; 0]);
    people_add_to_a_report(&scene, id, &sealed);
    let text = scene.run(&["drill", "report", "latest"]);
    let text = String::from_utf8_lossy(&text.stdout).into_owned();
    assert!(text.contains("7 rows would be lost") && text.contains("passed"), "{text}");
    assert_eq!(scene.run(&["drill", "report", "20200101T000000Z-abcdef"]).status.code(), Some(4));

    // A cold start: an empty folder, the store, and the recipes followed with stock tools.
    let cold = scene.done(&["drill", "run", "--scenario", "infrastructure", "--cold-start", "--json"]);
    assert_eq!((&cold["outcome"], &cold["kind"]), (&json!("passed"), &json!("cold_start")), "{cold:#}");
    for part in cold["parts"].as_array().unwrap() {
        assert_eq!((&part["recovery"]["verdict"], &part["baseline"]), (&json!("equal"), &Value::Null), "{part}");
    }
    let french = scene.run(&["drill", "report", "latest", "--format", "md", "--language", "fr"]);
    assert_eq!(veza_dr_tests::french::english_in(&String::from_utf8_lossy(&french.stdout)), [""; 0]);
    assert_eq!(before, production(&scene).await);
    scene.assert_nothing_left();
    let status = document(&scene.run(&["status", "--json"]));
    for component in status["components"].as_array().unwrap() {
        let store = &component["stores"][0];
        assert!(store["last_proven_restore"]["at"].is_string(), "a drill proves its backups: {store:#}");
    }
    let of = |kind: &str| status["drills"].as_array().unwrap().iter().find(|d| d["scenario"] == kind).unwrap().clone();
    assert_eq!(of("infrastructure")["last_passed"]["id"], cold["id"], "{status}");
    assert_eq!(of("database")["last_passed"], Value::Null);

    // The backups themselves are what they were: a restore of them is what the oracle saw.
    scene.done(&["restore", "database", "--yes", "--json"]);
    scene.done(&["restore", "redis", "--yes", "--json"]);
    backed_up.assert_same(&Oracle::of(&scene.postgres).read("source").await.unwrap());
    keys_backed_up.assert_same(&redis_oracle::state(&scene.redis).await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drill_that_is_killed_or_stopped_leaves_nothing_after_the_next_start() {
    let scene = Scene::new().await;
    let before = production(&scene).await;
    let run = ["drill", "run", "--scenario", "infrastructure", "--json"];
    for phase in ["control", "baseline", "disaster", "recovery"] {
        let mut args = run.to_vec();
        args.extend((phase == "control").then_some("--negative-control"));
        let mut child = scene.begin(&args);
        let id = scene.wait_phase(&mut child, phase);
        if phase == "baseline" {
            // A second drill is refused: by the host's lock, and by the store's lease from another host.
            let second = scene.run(&run);
            assert_eq!(second.status.code(), Some(5), "{}", said(&second));
            scene.write("other.yml", "scratch", "state-of-another");
            let other = scene.place.path("other.yml");
            let mut args = vec!["--config", other.to_str().unwrap()];
            args.extend(run);
            let second = Command::new(env!("CARGO_BIN_EXE_veza-dr")).args(args).output().unwrap();
            assert_eq!(second.status.code(), Some(5), "{}", said(&second));
            assert!(document(&second)["error"]["message"].as_str().unwrap().contains("locks/drills.json"));
            // Wait for servers: a kill before there are any proves little.
            let until = Instant::now() + Duration::from_secs(60);
            while !working_in(&scene.scratch()).iter().any(|l| l.contains("postgres")) && Instant::now() < until {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        child.kill().unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(9));
        let cleaned = scene.done(&["drill", "clean", "--json"]);
        let drills = cleaned["drills"].as_array().unwrap();
        assert_eq!(drills.len(), 1, "{phase}: {cleaned}");
        assert_eq!((&drills[0]["id"], &drills[0]["cleanup"]["state"]), (&json!(id), &json!("cleaned")), "{phase}");
        scene.assert_nothing_left();
        let record = document(&scene.run(&["drill", "report", &id, "--json"]));
        assert_eq!(record["outcome"], "interrupted", "{phase}: {record}");
        assert_eq!(record["production"]["verdict"], "unknown");
        assert_eq!(scene.done(&["drill", "clean", "--json"])["drills"], json!([]));
    }
    // Ctrl-C: it removes everything itself.
    let mut child = scene.begin(&run);
    scene.wait_phase(&mut child, "recovery");
    let pid = child.id().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    let ended = child.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(130), "{}", said(&ended));
    let record = document(&ended);
    assert_eq!((&record["outcome"], &record["cleanup"]["state"]), (&json!("interrupted"), &json!("cleaned")));
    assert_eq!(record["production"]["verdict"], "unchanged");
    scene.assert_nothing_left();
    assert_eq!(before, production(&scene).await);
    assert_eq!(scene.done(&["drill", "list", "--json"])["drills"].as_array().unwrap().len(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_that_is_damaged_a_full_disk_and_production_out_of_sight_are_no_pass() {
    let mut scene = Scene::new().await;
    let before = production(&scene).await;
    let run = ["drill", "run", "--scenario", "infrastructure", "--json"];

    // No room at all: nothing is made. Full half-way: it fails, and nothing is left.
    let small = scene.place.path("small");
    std::fs::create_dir(&small).unwrap();
    let sized = |size: &str| {
        let done = Command::new("mount").args(["-t", "tmpfs", "-o", size, "tmpfs"]).arg(&small).status().unwrap();
        assert!(done.success(), "this test mounts a tmpfs and needs root");
        Mounted(small.clone())
    };
    scene.write("veza-dr.yml", "small", "state");
    {
        let _mounted = sized("size=20m");
        let full = scene.run(&run);
        assert_eq!(full.status.code(), Some(12), "{}", said(&full));
        assert_eq!(std::fs::read_dir(&small).unwrap().count(), 0);
    }
    {
        let _mounted = sized("size=230m");
        let mut child = scene.begin(&run);
        scene.wait_phase(&mut child, "baseline");
        let filler = Command::new("fallocate").args(["-l", "225M"]).arg(small.join("filler")).status();
        // Whatever of it fits is taken.
        let _ = filler.unwrap();
        let _ = Command::new("dd")
            .args(["if=/dev/zero", "bs=1M"])
            .arg(format!("of={}", small.join("rest").display()))
            .stderr(Stdio::null())
            .status();
        let ended = child.wait_with_output().unwrap();
        assert_eq!(ended.status.code(), Some(24), "{}", said(&ended));
        let record = document(&ended);
        assert_eq!(record["cleanup"]["state"], "cleaned", "{record}");
        assert!(record["findings"].to_string().to_lowercase().contains("no space"), "{}", record["findings"]);
        let left: Vec<_> = std::fs::read_dir(&small).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert!(left.iter().all(|n| n == "filler" || n == "rest"), "{left:?}");
    }
    scene.write("veza-dr.yml", "scratch", "state");

    // Production is down, as in a disaster: all comes back, and that nothing changed is not claimed.
    scene.postgres.stop();
    let unseen = scene.run(&run);
    assert_eq!(unseen.status.code(), Some(10), "{}", said(&unseen));
    let record = document(&unseen);
    assert_eq!((&record["outcome"], &record["production"]["verdict"]), (&json!("unproven"), &json!("unknown")));
    let database = record["parts"].as_array().unwrap().iter().find(|p| p["component"] == "database").unwrap();
    assert_eq!(database["recovery"]["verdict"], "equal");
    assert_eq!(database["loss"]["records"], Value::Null);
    assert_eq!(record["production"]["unknown"][0]["what"], "source database");
    scene.postgres.restart().await.unwrap();

    // Somebody else changes production meanwhile: that is told, too.
    let mut child = scene.begin(&run);
    scene.wait_phase(&mut child, "recovery");
    scene.postgres.sql("source", "CREATE TABLE meanwhile (i int)").await.unwrap();
    let changed = child.wait_with_output().unwrap();
    assert_eq!(changed.status.code(), Some(26), "{}", said(&changed));
    let proof = document(&changed)["production"].clone();
    assert_eq!(proof["changed"][0]["what"], "source database: catalogue", "{proof}");
    assert_ne!(proof["digest_before"], proof["digest_after"]);
    scene.postgres.sql("source", "DROP TABLE meanwhile").await.unwrap();

    // One bit of the backup is another one.
    let mut largest: Option<(u64, PathBuf)> = None;
    for backup in std::fs::read_dir(scene.place.path("store/database")).unwrap().flatten() {
        for object in std::fs::read_dir(backup.path()).into_iter().flatten().flatten() {
            let size = object.metadata().unwrap().len();
            let name = object.file_name().into_string().unwrap();
            if name.contains("dump") && largest.as_ref().is_none_or(|(s, _)| *s < size) {
                largest = Some((size, object.path()));
            }
        }
    }
    let (_, path) = largest.unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let failed = scene.run(&run);
    assert_eq!(failed.status.code(), Some(24), "{}", said(&failed));
    let record = document(&failed);
    assert_eq!(record["outcome"], "failed");
    assert!(record["findings"][0]["text"].as_str().unwrap().contains("of database was not brought back"), "{record}");
    assert_eq!(record["rta_ms"], Value::Null);
    scene.assert_nothing_left();
    let after = production(&scene).await;
    assert_eq!(before, after);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_daemon_rehearses_when_it_is_due_and_removes_what_its_own_death_left() {
    let scene = Scene::new().await;
    let before = production(&scene).await;
    let port = veza_dr_tests::ports::free_port().unwrap();
    let config = std::fs::read_to_string(scene.place.config()).unwrap();
    let config = config.replace(
        "drills: { scratch_dir: scratch }",
        "drills: { scratch_dir: scratch, schedule: { database: \"* * * * * *\" } }",
    );
    std::fs::write(scene.place.config(), format!("{config}serve: {{ listen: \"127.0.0.1:{port}\" }}\n")).unwrap();
    let serve = || scene.command(&["serve"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let mut daemon = serve();
    let id = scene.wait_phase(&mut daemon, "recovery");
    daemon.kill().unwrap();
    daemon.wait().unwrap();
    let mut daemon = serve();
    let until = Instant::now() + Duration::from_secs(120);
    let records = || {
        let folders = std::fs::read_dir(scene.place.path("store/drills")).into_iter().flatten().flatten();
        let read = |e: std::fs::DirEntry| std::fs::read(e.path().join("record.json")).ok();
        folders.filter_map(read).map(|j| serde_json::from_slice::<Value>(&j).unwrap()).collect::<Vec<_>>()
    };
    let passed = loop {
        let found = records();
        if let Some(passed) = found.iter().find(|r| r["outcome"] == "passed") {
            assert!(found.iter().any(|r| r["id"] == id.as_str() && r["outcome"] == "interrupted"), "{found:#?}");
            break passed.clone();
        }
        assert!(Instant::now() < until, "{found:#?}");
        std::thread::sleep(Duration::from_millis(50));
    };
    assert_eq!((&passed["by"], &passed["scenario"]), (&json!("schedule"), &json!("database")));
    let at = format!("127.0.0.1:{port}");
    let told = veza_dr_tests::http::request(&at, "GET", "/metrics", &[], b"").await.unwrap();
    let told = String::from_utf8_lossy(&told.body).into_owned();
    assert!(told.lines().any(|l| l.contains("runs_total") && l.contains("action=\"drill\"")), "{told}");
    assert!(Command::new("kill").args(["-TERM", &daemon.id().to_string()]).status().unwrap().success());
    let ended = daemon.wait().unwrap();
    assert!(ended.success(), "{ended:?}");
    scene.done(&["drill", "clean", "--json"]);
    scene.assert_nothing_left();
    assert_eq!(before, production(&scene).await);
}

struct Mounted(PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// Something to be mended, who does it, a second look, a signature: each is a revision, and what was sealed stays.
fn people_add_to_a_report(scene: &Scene, id: &str, sealed: &Value) {
    let report = |args: &[&str]| scene.done(&[&["report", "--json"], args].concat());
    assert_eq!(report(&["findings"]), json!([]));
    let text = ["--text", "the standby's disk is too slow"];
    let found = report(&[&["find", id, "--finding", "disk", "--severity", "high"], &text[..]].concat());
    assert_eq!((&found["report"], &found["revises"]), (&json!(format!("{id}-rev2")), &sealed["sha256"]));
    let assigned = report(&["assign", "latest", "--finding", "disk", "--owner", "ann", "--due", "2020-01-31"]);
    let open = report(&["findings"]);
    assert_eq!((open.as_array().unwrap().len(), &open[0]["overdue"]), (1, &json!(true)), "{open}");
    assert_eq!((&open[0]["finding"]["owner"], &open[0]["report"]), (&json!("ann"), &assigned["report"]));
    let shown = scene.run(&["report", "findings"]);
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.contains("2020-01-31 OVERDUE") && shown.contains("1 finding open, 1 overdue"), "{shown}");
    let status = scene.run(&["status"]);
    let status = String::from_utf8_lossy(&status.stdout).into_owned();
    assert!(status.contains("1 finding of drills and recoveries to be mended, 1 overdue"), "{status}");
    report(&["retest", id, "--finding", "disk", "--outcome", "passed", "--text", "replaced, 12 s now"]);
    assert_eq!(report(&["findings"]), json!([]));
    let signed = report(&["sign", id, "--name", "bob", "--role", "CTO", "--statement", "as planned"]);
    let newest = scene.done(&["drill", "report", id, "--format", "json"]);
    assert_eq!((&newest["sha256"], &newest["sign_off"][0]["name"]), (&signed["sha256"], &json!("bob")));
    assert_eq!(newest["sign_off"][0]["sha256"], newest["revises"], "what was signed");
    assert_eq!(newest["steps"], sealed["steps"], "all else is as it was");
    assert_eq!(report(&["show", "latest", "--format", "json"]), newest);
    let list = report(&["list"]);
    let names: Vec<&str> = list.as_array().unwrap().iter().map(|r| r["id"].as_str().unwrap()).collect();
    let revisions = [2, 3, 4, 5].map(|n| format!("{id}-rev{n}"));
    assert_eq!(names, [&[id.to_owned()], &revisions[..]].concat());
    let nobody = ["report", "assign", id, "--finding", "nope", "--owner", "ann", "--due", "2027-01-31"];
    assert_eq!(scene.run(&nobody).status.code(), Some(4));
    let verified = report(&["verify"]);
    assert_eq!((&verified["reports"], &verified["head"]), (&json!(5), &signed["sha256"]));
}
