//! Recovery measured, alarms raised and acknowledged, by the command line: what a run achieved is in the history, the guide's
//! alerts fire once, and `status` tells what is known and what is not.

mod common;

use common::Place;
use serde_json::Value;
use veza_dr_cli::Exit;

const PLAN: &str = "name: backend
scenario: backend
steps:
  - { id: first, do: wait, with: { for: 100ms } }
  - { id: serve, do: note, with: { text: users are served }, needs: [first], marks: T6 }
  - { id: gate, do: note, with: { text: and on }, needs: [serve], approval: true, marks: T7 }
";

/// A place whose `told` holds what the channel was told, a JSON document a line.
fn place(more: &str) -> Place {
    let place = Place::with(&format!(
        "state_dir: state
stores: {{ local: {{ directory: {{ path: store }} }} }}
failover: {{ runbooks: books }}
scenarios: {{ backend: {{ rto: 2h, rpo: 0s, needs: [] }} }}
notify:
  ops: {{ command: [sh, -c, 'cat >> \"$0\"; echo >> \"$0\"', {told}], severity: low }}
alerts:
  - {{ name: RecoveryTimeExceeded, condition: recovery_time > 3600, severity: critical }}
  - {{ name: DataLossDetected, condition: data_loss > 0, severity: high }}
{more}",
        told = PathText("told")
    ));
    let text = std::fs::read_to_string(place.config())
        .expect("the file")
        .replace("PLACE", &place.dir.path().display().to_string());
    std::fs::write(place.config(), text).expect("the file");
    std::fs::create_dir(place.path("books")).expect("a folder");
    std::fs::write(place.path("books/backend.yml"), PLAN).expect("a plan");
    place
}

struct PathText(&'static str);

impl std::fmt::Display for PathText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PLACE/{}", self.0)
    }
}

fn told(place: &Place) -> Vec<(String, String, String)> {
    let text = std::fs::read_to_string(place.path("told")).unwrap_or_default();
    let word = |v: &Value, key: &str| v[key].as_str().unwrap_or_default().to_owned();
    let documents = serde_json::Deserializer::from_str(&text).into_iter::<Value>();
    let each = documents.map(|v| v.expect("JSON"));
    each.map(|v| (word(&v, "name"), word(&v, "phase"), word(&v, "id"))).collect()
}

#[test]
fn a_run_is_measured_its_alerts_fire_once_and_are_acknowledged() {
    let place = place("");
    let run = ["--json", "failover", "run", "--scenario", "backend", "--yes"];
    let began = (chrono::Utc::now() - chrono::TimeDelta::minutes(70)).to_rfc3339();
    let mut late = run.to_vec();
    late.extend(["--outage-began", &began]);
    // It waits for approval after users are served: not ended, not in the history.
    let ran = place.run(&late);
    assert_eq!(ran.exit, Exit::NeedsHuman, "{}", ran.all());
    let id = ran.json()["run"].as_str().expect("a name").to_owned();
    assert!(!place.path(&format!("store/failover/history/{id}.json")).exists());
    // An hour was over before users were served.
    let names: Vec<String> = told(&place).into_iter().map(|(name, phase, _)| format!("{name} {phase}")).collect();
    assert!(names.contains(&"RecoveryTimeExceeded failed".to_owned()), "{names:?}");
    let before = names.len();

    let ran = place.run(&["--json", "failover", "resume", "--approve", "gate"]);
    assert_eq!(ran.exit, Exit::Ok, "{}", ran.all());
    let record = std::fs::read_to_string(place.path(&format!("store/failover/history/{id}.json"))).expect("a record");
    let record: Value = serde_json::from_str(&record).expect("JSON");
    assert_eq!((&record["kind"], &record["scenario"]), (&"recovery".into(), &"backend".into()));
    assert!(record["points"]["T6"].is_string() && record["points"]["T1"].is_null(), "{record:#}");
    assert_eq!((&record["rto_seconds"], &record["availability"]), (&7200.0.into(), &Value::Null));
    // What was lost is not known: told as such, and not as nothing.
    let after = told(&place);
    let new: Vec<String> = after[before..].iter().map(|(name, phase, _)| format!("{name} {phase}")).collect();
    assert_eq!(new, ["DataLossDetected missed"], "{after:?}");

    let status = place.run(&["--json", "failover", "status"]).json();
    assert_eq!(status["run"], id.as_str());
    let acknowledge = |id: &str| place.run(&["--json", "status", "--acknowledge", id, "--by", "ann"]);
    let late = after.iter().find(|(name, ..)| name == "RecoveryTimeExceeded").expect("it fired").2.clone();
    let done = acknowledge(&late);
    assert_eq!((done.exit, &done.json()["closed"]), (Exit::Ok, &true.into()), "{}", done.all());
    assert_eq!(acknowledge(&late).json()["was_over"], true);
    let unknown = acknowledge("alr-unknown");
    assert_eq!(unknown.exit, Exit::NotFound);
    assert!(unknown.all().contains("open are alr-"), "{}", unknown.all());

    // The next recovery meets everything that is known of it: the old one is superseded, nothing is told twice.
    let ran = place.run(&[&run[..], &["--approve", "gate"]].concat());
    assert_eq!(ran.exit, Exit::Ok, "{}", ran.all());
    let all = told(&place);
    let mut ids: Vec<&String> = all.iter().map(|(.., id)| id).collect();
    let count = ids.len();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), count, "told twice: {all:?}");
    let fired = all.iter().filter(|(name, phase, _)| name == "RecoveryTimeExceeded" && phase == "failed").count();
    assert_eq!(fired, 1);
}

#[test]
fn status_tells_the_forecast_and_says_unknown_before_there_is_one() {
    let place = place("sources:\n  files: { files: {} }\nbackup:\n  files: { include: [PLACE/books] }\n");
    let text = std::fs::read_to_string(place.config())
        .expect("the file")
        .replace("PLACE", &place.dir.path().display().to_string());
    std::fs::write(place.config(), text).expect("the file");
    let backend = |json: &Value| {
        let all = json["scenarios"].as_array().expect("scenarios").clone();
        all.into_iter().find(|s| s["scenario"] == "backend").expect("the scenario")
    };
    assert_eq!(place.run(&["backup"]).exit, Exit::Ok);
    let before = place.run(&["--json", "status"]).json();
    let one = backend(&before);
    assert_eq!((&one["predicted"], &one["last_recovery"]), (&Value::Null, &Value::Null), "{before:#}");
    assert_eq!(one["rto_seconds"], 7200.0);
    assert!(place.run(&["status"]).stdout.contains("unknown"));
    let ran = place.run(&["failover", "run", "--scenario", "backend", "--yes", "--approve", "gate"]);
    assert_eq!(ran.exit, Exit::Ok, "{}", ran.all());
    let after = place.run(&["--json", "status"]).json();
    let one = backend(&after);
    assert_eq!((&one["predicted"]["samples"], &one["unseen_steps"]), (&1.into(), &serde_json::json!([])), "{after:#}");
    assert!(one["predicted"]["p50_seconds"].as_f64().expect("a time") >= 0.1);
    assert_eq!(one["last_recovery"]["data_loss_records"], Value::Null);
    assert_eq!((&after["alarms"]["incident"], &after["history_unknown"]), (&Value::Null, &Value::Null));
}

#[test]
fn check_names_alerts_that_contradict_the_objectives() {
    let place = place("");
    let ran = place.run(&["check"]);
    assert!(ran.stdout.contains("a recovery from backend may take 7200 s"), "{}", ran.all());
}
