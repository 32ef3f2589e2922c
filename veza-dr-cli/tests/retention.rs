//! `prune` and what `check` says of schedules: what is printed, what is deleted, and how they end.

#![cfg(all(feature = "postgres", feature = "redis", feature = "files", feature = "s3"))]

mod common;

use std::sync::Arc;

use chrono::{TimeDelta, Utc};
use common::Place;
use serde_json::json;
use veza_dr_backup::{BackupOptions, Encryption, Repository, back_up, store::DirectoryStore};
use veza_dr_cli::Exit;
use veza_dr_core::{
    Cx,
    testing::{ManualClock, MemoryBackupTarget, MemoryDatabase},
};

fn config(backup: &str) -> String {
    format!(
        "sources: {{ database: {{ postgres: {{ url: \"postgres://u@127.0.0.1:1/d\" }} }} }}
stores: {{ local: {{ directory: {{ path: store }} }} }}
backup: {{ database: {backup} }}
"
    )
}

/// So many backups, one a day, the newest of today.
fn filled(place: &Place, count: i64) -> Vec<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a step of the scene");
    let store = DirectoryStore::open("local", place.path("store")).expect("a step of the scene");
    let repository = Repository::new(Arc::new(store), Encryption::default());
    let target = MemoryBackupTarget::new("database", MemoryDatabase::with_keys(5)).expect("a step of the scene");
    let made = (0..count).map(|n| {
        let clock = ManualClock::at(Utc::now() - TimeDelta::days(count - 1 - n));
        let options = BackupOptions::default().with_clock(Arc::new(clock));
        let cx = Cx::background();
        let run = back_up(&cx, &target, std::slice::from_ref(&repository), &options);
        runtime.block_on(run).expect("a step of the scene").id.to_string()
    });
    made.collect()
}

#[test]
fn a_prune_is_shown_asked_for_and_carried_out() {
    let place =
        Place::with(&config("{ schedule: { cron: \"0 3 * * *\", time_zone: UTC }, retention: { keep_last: 3 } }"));
    let ids = filled(&place, 5);
    let ran = place.run(&["prune", "--plan", "--json"]);
    assert_eq!(ran.exit, Exit::Ok, "{}", ran.all());
    let told = ran.json();
    let actions: Vec<_> =
        told[0]["backups"].as_array().unwrap().iter().map(|b| (b["id"].clone(), b["action"].clone())).collect();
    let expected: Vec<_> =
        ids.iter().zip(["delete", "delete", "keep", "keep", "keep"]).map(|(id, a)| (json!(id), json!(a))).collect();
    assert_eq!(actions, expected);
    assert_eq!((&told[0]["applied"], &told[0]["deleted"]), (&json!(false), &json!([])));
    // Nobody is there to agree.
    assert_eq!(place.run(&["prune"]).exit, Exit::NotConfirmed);
    let ran = place.run(&["prune", "--simulate-days", "30"]);
    assert!(ran.exit == Exit::Ok && ran.stdout.contains("if backups stopped now:"), "{}", ran.all());
    assert!(ran.stdout.contains(&format!("3 left, the newest {}", ids[4])), "{}", ran.stdout);
    assert_eq!(place.run(&["list", "--json"]).json().as_array().unwrap().len(), 5);

    let ran = place.run(&["prune", "database", "--yes", "--json"]);
    assert_eq!((ran.exit, &ran.json()[0]["deleted"]), (Exit::Ok, &json!(ids[..2])), "{}", ran.all());
    assert_eq!(place.run(&["list", "--json"]).json().as_array().unwrap().len(), 3);
    let ran = place.run(&["prune"]);
    assert!(ran.exit == Exit::Ok && ran.stdout.contains("Nothing is to be deleted."), "{}", ran.all());
    assert!(ran.stdout.contains("newest complete backup"), "{}", ran.stdout);
}

#[test]
fn without_a_rule_everything_stays_and_that_is_said() {
    let place = Place::with(&config("{}"));
    filled(&place, 2);
    let ran = place.run(&["prune", "--yes"]);
    assert!(ran.exit == Exit::Ok && ran.stdout.contains("no retention is configured"), "{}", ran.all());
}

#[test]
fn the_guides_schedule_cannot_meet_the_guides_objective_and_check_says_what_would() {
    let place = Place::with(&config("{ schedule: \"0 */6 * * *\", retention: 7 }"));
    filled(&place, 1);
    let ran = place.run(&["check", "--json"]);
    assert_eq!(ran.exit, Exit::CheckFailed, "{}", ran.all());
    let steps = ran.json()["checks"][1]["steps"].clone();
    let step = |name: &str| {
        let found = steps.as_array().unwrap().iter().find(|s| s["name"] == name);
        found.unwrap_or_else(|| panic!("{name} in {steps}")).clone()
    };
    let hour = step("rpo database");
    assert_eq!(hour["outcome"], "failed");
    let detail = hour["detail"].as_str().unwrap();
    assert!(detail.contains("RPO 1 h is not met by \"0 */6 * * *\""), "{detail}");
    assert!(detail.contains("this schedule would do: \"*/30 * * * *\""), "{detail}");
    assert_eq!(step("rpo security")["outcome"], "ok");
    assert!(ran.stderr.contains("an RPO of 0 cannot be met by periodic backups"), "{}", ran.stderr);
}

#[test]
fn a_schedule_that_never_runs_and_rules_that_mean_nothing_are_placed() {
    let problems = |backup: &str| {
        let ran = Place::with(&config(backup)).run(&["check"]);
        assert_eq!(ran.exit, Exit::Usage, "{}", ran.all());
        ran.stderr
    };
    let never = problems("{ schedule: \"0 0 30 2 *\" }");
    assert!(never.contains("veza-dr.yml:3:") && never.contains("`0 0 30 2 *` never runs"), "{never}");
    let zone = problems("{ schedule: { cron: \"0 3 * * *\", time_zone: Paris } }");
    assert!(zone.contains("`Paris` is not a time zone"), "{zone}");
    let none = problems("{ retention: { max_delete_percent: 10 } }");
    assert!(none.contains("backup.database.retention: keeps nothing in particular"), "{none}");
    let typo = problems("{ retention: { keep_lats: 3 } }");
    assert!(typo.contains("unknown key `keep_lats`; did you mean `keep_last`?"), "{typo}");
}
