//! What only a whole process shows: its exit status, the search for its configuration, closed pipes.

use std::process::{Command, Stdio};

fn veza_dr() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_veza-dr"));
    command.stdin(Stdio::null()).env_remove("VEZA_DR_CONFIG");
    command
}

#[test]
fn the_exit_code_is_the_status_of_the_process() {
    let dir = tempfile::tempdir().unwrap();
    let status = |args: &[&str]| veza_dr().args(args).current_dir(dir.path()).output().unwrap().status.code();
    assert_eq!(status(&["--version"]), Some(0));
    assert_eq!(status(&["backup", "--nope"]), Some(2));
    assert_eq!(status(&["init"]), Some(0));
    assert_eq!(status(&["init"]), Some(5));
}

#[test]
fn the_configuration_is_looked_for_where_the_message_says() {
    let dir = tempfile::tempdir().unwrap();
    let run = || veza_dr().args(["list", "--json"]).current_dir(dir.path()).output().unwrap();
    let none = run();
    if !std::path::Path::new("/etc/veza-dr/veza-dr.yml").exists() {
        assert_eq!(none.status.code(), Some(2));
        let told = String::from_utf8(none.stderr).unwrap();
        assert!(told.contains("looked for ./veza-dr.yml and /etc/veza-dr/veza-dr.yml"), "{told}");
        assert!(told.contains("veza-dr init"), "{told}");
    }
    std::fs::create_dir(dir.path().join("store")).unwrap();
    std::fs::write(dir.path().join("veza-dr.yml"), "stores: { l: { directory: { path: store } } }\n").unwrap();
    assert_eq!(String::from_utf8(run().stdout).unwrap(), "[]\n");
    // Named by the environment, from anywhere.
    let elsewhere = tempfile::tempdir().unwrap();
    let file = dir.path().join("veza-dr.yml");
    let named = veza_dr().args(["list"]).env("VEZA_DR_CONFIG", file).current_dir(elsewhere.path()).output().unwrap();
    assert_eq!(named.status.code(), Some(0));
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let mut child = veza_dr().arg("schema").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn nothing_is_coloured_where_no_terminal_is() {
    let output = veza_dr().args(["list", "--config", "/nonexistent/veza-dr.yml"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(!output.stderr.contains(&0x1b), "{}", String::from_utf8_lossy(&output.stderr));
}
