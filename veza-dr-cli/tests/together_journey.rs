//! The command line on all three engines at once: one recovery point, each restored, parts alone, back again.

#![cfg(all(feature = "postgres", feature = "redis", feature = "files"))]

mod common;

use common::{Place, Ran};
use serde_json::{Value, json};
use veza_dr_cli::Exit;
use veza_dr_tests::{
    postgres_server::{PgOptions, PgServer},
    redis_data, redis_oracle,
    redis_server::{RedisOptions, RedisServer},
};

fn run(place: &Place, args: &[&str]) -> Ran {
    tokio::task::block_in_place(|| std::thread::scope(|s| s.spawn(|| place.run(args)).join().expect("a run")))
}

fn done(place: &Place, args: &[&str]) -> Value {
    let ran = run(place, args);
    assert_eq!(ran.exit, Exit::Ok, "{args:?}: {}", ran.all());
    ran.json()
}

struct Scene {
    postgres: PgServer,
    redis: RedisServer,
    place: Place,
}

async fn scene() -> Scene {
    let postgres = PgServer::start(PgOptions::default()).await.expect("a step of the scene");
    postgres.create_database("source").await.expect("a step of the scene");
    postgres.sql("source", "CREATE TABLE t AS SELECT generate_series(1, 500) AS i").await.expect("a step of the scene");
    let redis = RedisServer::start(RedisOptions::default()).await.expect("a step of the scene");
    redis_data::fill(&redis).await.expect("a step of the scene");
    redis_data::many(&redis, "session:", 300).await.expect("a step of the scene");
    let place = Place::new();
    std::fs::create_dir_all(place.path("etc/veza")).expect("a step of the scene");
    std::fs::write(place.path("etc/veza/a.conf"), "a = 1\n").expect("a step of the scene");
    std::fs::write(place.path("etc/veza/b.conf"), "b = 1\n").expect("a step of the scene");
    std::fs::write(place.path("pg"), postgres.password()).expect("a step of the scene");
    std::fs::write(place.path("redis"), redis.password()).expect("a step of the scene");
    let config = format!(
        "sources:
  database: {{ postgres: {{ url: \"{}\", password_file: pg, bin_dir: \"{}\" }} }}
  redis: {{ redis: {{ url: \"{}\", password_file: redis }} }}
  files: {{ files: {{}} }}
stores: {{ local: {{ directory: {{ path: store }} }} }}
state_dir: state
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
    std::fs::write(place.config(), config).expect("a step of the scene");
    Scene { postgres, redis, place }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_recovery_point_brings_all_three_back() {
    let Scene { postgres, redis, place } = scene().await;
    let before = redis_oracle::state(&redis).await.unwrap();
    let made = done(&place, &["backup", "--json"])["results"].clone();
    let points: Vec<Value> = made.as_array().unwrap().iter().map(|r| r["recovery_point"].clone()).collect();
    assert_eq!(points.len(), 3);
    assert!(points[0]["id"].is_string() && points.iter().all(|p| *p == points[0]), "{made}");
    let members: Vec<&Value> = points[0]["members"].as_array().unwrap().iter().map(|m| &m["component"]).collect();
    assert_eq!(members, [&json!("database"), &json!("files"), &json!("redis")]);
    assert!(points[0]["skew_ms"].as_u64().is_some_and(|skew| skew < 60_000), "{}", points[0]);
    let proven = done(&place, &["verify", "--level", "restore", "--json"])["results"].clone();
    let verdicts: Vec<&Value> = proven.as_array().unwrap().iter().map(|v| &v["verdict"]).collect();
    assert_eq!(verdicts, [&json!("equal"); 3], "{proven}");

    postgres.sql("source", "DROP TABLE t").await.unwrap();
    redis.say("FLUSHALL").await.unwrap();
    std::fs::remove_file(place.path("etc/veza/a.conf")).unwrap();
    std::fs::write(place.path("etc/veza/b.conf"), "damaged").unwrap();
    for component in ["database", "redis", "files"] {
        let restored = done(&place, &["restore", component, "--yes", "--json"]);
        assert_eq!(restored["verdict"], "equal", "{component}: {restored}");
    }
    assert_eq!(postgres.sql("source", "SELECT count(*), sum(i) FROM t").await.unwrap(), "500|125250");
    before.assert_same(&redis_oracle::state(&redis).await.unwrap());
    assert_eq!(std::fs::read_to_string(place.path("etc/veza/a.conf")).unwrap(), "a = 1\n");
    assert_eq!(std::fs::read_to_string(place.path("etc/veza/b.conf")).unwrap(), "b = 1\n");

    // There and back again.
    for component in ["redis", "files"] {
        done(&place, &["rollback", component, "--json"]);
    }
    assert_eq!(redis.info("keyspace").await.unwrap().matches("keys=").count(), 0, "the flushed server is back");
    assert_eq!(std::fs::read_to_string(place.path("etc/veza/b.conf")).unwrap(), "damaged");
    for component in ["redis", "files"] {
        done(&place, &["rollback", component, "--json"]);
        done(&place, &["release", component, "--yes", "--json"]);
    }
    before.assert_same(&redis_oracle::state(&redis).await.unwrap());
    let left: Vec<_> = std::fs::read_dir(place.path("etc")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left, ["veza"], "nothing is left beside it");
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_come_back_alone() {
    let Scene { redis, place, .. } = scene().await;
    done(&place, &["backup", "redis", "files", "--json"]);
    let mut client = redis.client().await.unwrap();
    let all = client.say("DBSIZE").await.unwrap().int();
    let names: Vec<String> = client.say("KEYS session:*").await.unwrap().items().iter().map(|k| k.text()).collect();
    let (one, two) = (&names[0], &names[1]);
    client.run(&["DEL", one, two]).await.unwrap();
    client.say("SET other untouched").await.unwrap();
    done(&place, &["restore", "redis", "--keys", "session:*", "--yes", "--json"]);
    assert_eq!(client.say("DBSIZE").await.unwrap().int(), all + 1);
    assert_eq!(client.run(&["EXISTS", one, two]).await.unwrap().int(), 2);
    assert_eq!(client.say("GET other").await.unwrap().text(), "untouched");

    let elsewhere = place.path("look").display().to_string();
    done(&place, &["restore", "files", "--path", "a.conf", "--to", &elsewhere, "--yes", "--json"]);
    let found = std::process::Command::new("find").arg(&elsewhere).args(["-type", "f", "-printf", "%f\n"]).output();
    assert_eq!(String::from_utf8(found.unwrap().stdout).unwrap(), "a.conf\n");
    let wrong = run(&place, &["restore", "files", "--keys", "a", "--json"]);
    assert_eq!(wrong.exit, Exit::Usage, "{}", wrong.all());
    assert!(wrong.all().contains("choose parts of it with --path"), "{}", wrong.all());
}
