//! Commands that need no server: what they print, where, and how they end.

#![cfg(all(feature = "postgres", feature = "redis", feature = "files", feature = "s3"))]

mod common;

use std::os::unix::fs::PermissionsExt;

use clap::Parser as _;
use common::{Place, run_bare};
use serde_json::json;
use veza_dr_cli::{Exit, command, config};

const EMPTY_STORE: &str = "\
sources: { database: { postgres: { url: \"postgres://u@127.0.0.1:1/d\" } }, cache: { redis: { url: \"redis://h\" } } }
stores: { local: { directory: { path: store } } }
";

/// Clap needs a type to parse into; the definition is what is looked at here.
#[derive(Debug, clap::Parser)]
struct Nothing {}

#[test]
fn every_command_of_this_version_has_help_and_no_other_is_there() {
    assert!(Nothing::try_parse_from(["x"]).is_ok());
    let commands = [
        "init",
        "check",
        "backup",
        "list",
        "show",
        "verify",
        "restore",
        "restore-rows",
        "prune",
        "recover",
        "rollback",
        "release",
        "dns",
        "assess",
        "status",
        "serve",
        "wal",
        "failover",
        "validate",
        "drill",
        "report",
        "schema",
        "completions",
        "man",
    ];
    let mut program = command();
    program.build();
    let known: Vec<&str> = program.get_subcommands().map(clap::Command::get_name).filter(|n| *n != "help").collect();
    assert_eq!(known, commands);
    for name in commands {
        let ran = run_bare(&["veza-dr", name, "--help"], |io| io);
        assert_eq!(ran.exit, Exit::Ok, "{name}");
        assert!(ran.stdout.contains(&format!("Usage: veza-dr {name}")), "{}", ran.stdout);
        assert!(ran.stderr.is_empty());
        for option in program.find_subcommand(name).unwrap().get_arguments().filter(|a| !a.is_hide_set()) {
            assert!(option.get_help().is_some(), "{name} {}", option.get_id());
        }
    }
}

#[test]
fn usage_errors_end_with_2_and_are_json_where_that_was_asked_for() {
    let ran = run_bare(&["veza-dr", "bakup"], |io| io);
    assert_eq!((ran.exit, ran.stdout.as_str()), (Exit::Usage, ""));
    assert!(ran.stderr.contains("a similar subcommand exists: 'backup'"), "{}", ran.stderr);
    let ran = run_bare(&["veza-dr", "list", "--json", "--nope"], |io| io);
    assert_eq!(ran.exit, Exit::Usage);
    assert_eq!(ran.json()["error"]["kind"], "config");
    assert_eq!(ran.json()["error"]["exit_code"], 2);
    assert!(ran.json()["error"]["message"].as_str().unwrap().contains("--nope"));
    let ran = run_bare(&["veza-dr", "show", "yesterday"], |io| io);
    assert!(ran.stderr.contains("give an id that `veza-dr list` prints"), "{}", ran.stderr);
}

#[test]
fn init_writes_a_valid_private_file_with_its_schema_and_overwrites_nothing() {
    let place = Place::new();
    let file = place.config().display().to_string();
    let ran = run_bare(&["veza-dr", "init", &file], |io| io);
    assert_eq!(ran.exit, Exit::Ok, "{}", ran.all());
    assert!(ran.stdout.contains("next: edit the former, then veza-dr check"));
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.starts_with("# yaml-language-server: $schema=veza-dr.schema.json\n"));
    assert!(config::parse(&text, file.as_ref()).is_ok());
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let schema = std::fs::read_to_string(place.path("veza-dr.schema.json")).unwrap();
    assert_eq!(serde_json::from_str::<serde_json::Value>(&schema).unwrap(), config::json_schema());

    std::fs::write(&file, "# mine\n").unwrap();
    let ran = run_bare(&["veza-dr", "init", &file], |io| io);
    assert_eq!(ran.exit, Exit::Conflict);
    assert!(ran.stderr.contains("--force"), "{}", ran.stderr);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "# mine\n");
    assert_eq!(run_bare(&["veza-dr", "init", "--force", &file], |io| io).exit, Exit::Ok);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), config::template());
    assert_eq!(std::fs::read_dir(place.dir.path()).unwrap().count(), 2);
}

#[test]
fn init_then_check_tries_the_store_and_names_what_does_not_answer() {
    let place = Place::new();
    let file = place.config().display().to_string();
    assert_eq!(run_bare(&["veza-dr", "init", &file], |io| io).exit, Exit::Ok);
    let edited = config::template().replace("/opt/backups", "store").replace("localhost:5432", "127.0.0.1:1");
    std::fs::write(&file, edited).unwrap();
    let ran = place.run(&["check", "--json"]);
    assert_eq!(ran.exit, Exit::CheckFailed, "{}", ran.all());
    let told = ran.json();
    assert_eq!(told["ok"], false);
    let store = &told["checks"][0];
    assert_eq!((&store["what"], &store["name"], &store["ok"]), (&json!("store"), &json!("local"), &json!(true)));
    let steps: Vec<(&str, &str)> = store["steps"]
        .as_array()
        .unwrap()
        .iter()
        .map(|s| (s["name"].as_str().unwrap(), s["outcome"].as_str().unwrap()))
        .collect();
    let all = [
        ("open", "warning"),
        ("write", "ok"),
        ("read", "ok"),
        ("replace", "ok"),
        ("delete", "ok"),
        ("conditional writes", "ok"),
        ("free space", "ok"),
    ];
    assert_eq!(steps, all);
    assert_eq!((&told["checks"][1]["name"], &told["checks"][1]["ok"]), (&json!("database"), &json!(false)));
    // Nothing of the trial is left.
    let left = std::fs::read_dir(place.path("store").join("locks")).map_or(0, Iterator::count);
    assert_eq!(left, 0);
    let ran = place.run(&["check"]);
    assert!(ran.stdout.contains("store local") && ran.stdout.contains("FAILED"), "{}", ran.stdout);
    assert!(ran.stdout.contains("next: mend what FAILED"), "{}", ran.stdout);
}

#[test]
fn an_empty_store_lists_as_nothing_and_a_missing_one_is_an_error() {
    let place = Place::with(EMPTY_STORE);
    let ran = place.run(&["list", "--json"]);
    assert_eq!(ran.exit, Exit::NotFound);
    assert!(ran.json()["error"]["help"].as_str().unwrap().contains("is its disk mounted?"));
    std::fs::create_dir(place.path("store")).unwrap();
    let ran = place.run(&["list", "--json"]);
    assert_eq!((ran.exit, ran.json(), ran.stderr.as_str()), (Exit::Ok, json!([]), ""));
    let ran = place.run(&["list"]);
    assert_eq!((ran.exit, ran.stdout.as_str()), (Exit::Ok, "No backups yet.\nnext: veza-dr backup\n"));
    for args in [
        &["show", "latest"][..],
        &["show", "20261123T104500Z-7f3a9c"],
        &["restore", "database"],
        &["verify", "database"],
    ] {
        assert_eq!(place.run(args).exit, Exit::NotFound, "{args:?}");
    }
}

#[test]
fn what_was_not_backed_up_is_named_and_never_skipped_in_silence() {
    let place = Place::with(EMPTY_STORE);
    let ran = place.run(&["backup", "cache"]);
    assert_eq!(ran.exit, Exit::Unavailable, "{}", ran.all());
    assert!(ran.stderr.contains("not completely backed up: cache"), "{}", ran.all());
    let ran = place.run(&["backup", "--json"]);
    assert_eq!(ran.exit, Exit::Unavailable, "{}", ran.all());
    let kinds: Vec<_> = ran.json()["results"].as_array().unwrap().iter().map(|r| r["error"]["kind"].clone()).collect();
    assert_eq!(kinds, [json!("unavailable"), json!("unavailable")]);
    assert_eq!(place.run(&["restore", "cache", "--yes"]).exit, Exit::NotFound);
}

#[test]
fn names_that_do_not_exist_are_told_with_those_that_do() {
    let place = Place::with(EMPTY_STORE);
    let ran = place.run(&["backup", "databse"]);
    assert_eq!(ran.exit, Exit::Usage);
    assert!(ran.stderr.contains("its sources are cache, database"), "{}", ran.stderr);
    let ran = place.run(&["list", "--store", "nowhere"]);
    assert_eq!(ran.exit, Exit::Usage);
    assert!(ran.stderr.contains("its stores are local"), "{}", ran.stderr);
    let ran = place.run(&["restore", "database", "--keys", "a*"]);
    assert_eq!(ran.exit, Exit::Usage);
    assert!(ran.stderr.contains("--keys cannot be used: database is a postgres component"), "{}", ran.stderr);
}

#[test]
fn the_problems_of_a_file_are_told_to_people_and_to_programs() {
    let place = Place::with("sources:\n  db: { postgres: { urll: x } }\nstors: {}\n");
    let ran = place.run(&["check", "--json"]);
    assert_eq!(ran.exit, Exit::Usage);
    let error = &ran.json()["error"];
    let lines: Vec<_> =
        error["problems"].as_array().unwrap().iter().map(|p| (p["line"].clone(), p["column"].clone())).collect();
    assert_eq!(lines, [(json!(2), json!(21)), (json!(3), json!(1))]);
    assert!(error["file"].as_str().unwrap().ends_with("veza-dr.yml"));
    let ran = place.run(&["check"]);
    assert!(ran.stdout.is_empty());
    assert!(
        ran.stderr.contains("veza-dr.yml:2:21: sources.db.postgres: unknown key `urll`; did you mean `url`?"),
        "{}",
        ran.stderr
    );
}

#[test]
fn the_program_describes_itself() {
    let ran = run_bare(&["veza-dr", "schema"], |io| io);
    assert_eq!(ran.json(), config::json_schema());
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let ran = run_bare(&["veza-dr", "completions", shell], |io| io);
        assert!(ran.exit == Exit::Ok && ran.stdout.contains("restore-rows"), "{shell}");
    }
    let ran = run_bare(&["veza-dr", "man"], |io| io);
    assert!(ran.stdout.contains(".TH veza-dr 1") && ran.stdout.contains("VEZA\\-DR RESTORE-ROWS"), "{}", ran.stdout);
    assert!(ran.stdout.contains("on\\-conflict"));
}
