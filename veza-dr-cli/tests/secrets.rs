//! A secret goes in by every way there is, and comes out by none.

#![cfg(all(feature = "postgres", feature = "redis", feature = "files", feature = "s3"))]

mod common;

use common::Place;
use veza_dr_cli::{Exit, config::parse};

const CANARY: &str = "canary-5d0c";

#[test]
fn no_debug_form_shows_an_inline_secret() {
    let text = format!(
        "sources:
  a: {{ postgres: {{ url: \"postgres://u:{CANARY}@h/d\", password: {CANARY} }} }}
  b: {{ redis: {{ url: \"redis://:{CANARY}@h\", password: {CANARY} }} }}
stores:
  s: {{ s3: {{ bucket: b, access_key_id: {CANARY}, secret_access_key: {CANARY}, session_token: {CANARY} }} }}
"
    );
    let loaded = parse(&text, "veza-dr.yml".as_ref()).unwrap();
    assert!(!format!("{loaded:?} {:#?}", loaded.config).contains(CANARY));
}

#[test]
fn no_problem_of_the_file_repeats_a_secret_beside_it() {
    for text in [
        format!("sources: {{ a: {{ postgres: {{ url: x, password: {CANARY} }}\n"),
        format!("sources: {{ a: {{ postgres: {{ url: x, password: [{CANARY}] }} }} }}\n"),
        format!("sources: {{ a: {{ postgres: {{ url: x, password: {{ {CANARY}: x, b: c }} }} }} }}\n"),
        format!("sources: {{ a: {{ postgres: {{ url: x, password: \"{CANARY}${{env:X\" }} }} }}\n"),
        format!("sources:\n  a:\n    postgres:\n      password: {CANARY}\n      nope: {CANARY}\n"),
        format!("sources:\n  a:\n    postgres:\n      password: \"{CANARY}\n"),
    ] {
        let e = parse(&text, "veza-dr.yml".as_ref()).unwrap_err();
        let told = format!("{} {e:?} {:?}", e.chain(), e.help());
        assert!(!told.contains(CANARY), "{text}\n{told}");
    }
}

#[test]
fn no_command_repeats_a_secret_that_does_not_work() {
    // Port 1 answers nobody: every way to give the password is read, and fails at the connection.
    let url = format!("postgres://u:{CANARY}@127.0.0.1:1/d");
    let place = Place::new();
    std::fs::write(place.path("pw"), format!("{CANARY}\n")).unwrap();
    for password in [
        format!("password: {CANARY}"),
        "password: \"${env:PW}\"".to_owned(),
        "password_file: pw".to_owned(),
        format!("password_command: [printf, {CANARY}]"),
    ] {
        let text = format!(
            "sources: {{ database: {{ postgres: {{ url: \"{url}\", {password} }} }} }}\nstores: {{ l: {{ directory: {{ path: store }} }} }}\n"
        );
        std::fs::write(place.config(), text).unwrap();
        for args in [&["check"][..], &["backup"], &["backup", "--json", "-v"], &["check", "--json"]] {
            let ran = place.run_env(args, &[("PW", CANARY)]);
            assert_ne!(ran.exit, Exit::Ok);
            assert!(!ran.all().contains(CANARY), "{args:?} {password}\n{}", ran.all());
            assert!(ran.all().contains("127.0.0.1:1"), "{args:?} {password}\n{}", ran.all());
        }
    }
}

#[test]
fn a_secret_that_cannot_be_read_is_told_by_its_place() {
    let place = Place::new();
    std::fs::write(place.path("empty"), "\n").unwrap();
    for (password, told) in [
        ("password: \"${env:PW}\"", "sources.database.postgres.password: the environment variable PW is not set"),
        ("password_file: missing", "missing cannot be read: No such file or directory"),
        ("password_file: empty", "empty is empty"),
        ("password_command: [no-such-program-here]", "no-such-program-here cannot be run"),
        ("password_command: [sh, -c, \"exit 3\"]", "sh failed: exit status: 3"),
    ] {
        let text = format!(
            "sources:\n  database: {{ postgres: {{ url: \"postgres://u@127.0.0.1:1/d\", {password} }} }}\nstores: {{ l: {{ directory: {{ path: store }} }} }}\n"
        );
        std::fs::write(place.config(), text).unwrap();
        let ran = place.run(&["backup"]);
        assert!(ran.stdout.contains(told), "{password}\n{}", ran.all());
        assert!(ran.stdout.contains("veza-dr.yml:2:"), "{}", ran.all());
    }
}
