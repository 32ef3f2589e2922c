//! `veza-dr recover` with a real Docker engine: the plan, the recovery, and the refusal once the budget is spent.

#![cfg(feature = "docker")]

use serde_json::Value;
use veza_dr_cli::{Exit, Io, run};
use veza_dr_tests::compose_site::{DEMO, demo_image};
use veza_dr_tests::docker::Dockerd;

#[test]
fn one_service_is_recovered_until_its_budget_is_spent() {
    let docker = Dockerd::start().unwrap();
    demo_image(&docker).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let compose = format!(
        "services:\n  veza-backend-api: {{ image: {DEMO}, network_mode: none, stop_grace_period: 1s }}\n  \
         veza-chat-server: {{ image: {DEMO}, network_mode: none, depends_on: [veza-backend-api] }}\n"
    );
    std::fs::write(dir.path().join("site.yml"), compose).unwrap();
    let config = format!(
        "state_dir: state\nsites:\n  home:\n    role: primary\n    compose: {{ file: site.yml, project: home, docker_host: '{}' }}\n    \
         jobs_dir: jobs\n    fence: {{ dir: fence }}\n",
        docker.host()
    );
    let file = dir.path().join("veza-dr.yml");
    std::fs::write(&file, config).unwrap();
    let go = |arguments: &[&str]| -> (Exit, Value) {
        let (io, output) = Io::captured();
        let file = file.display().to_string();
        let mut all = vec!["veza-dr", "--json", "--config", &file, "recover"];
        all.extend(arguments);
        let exit = run(all, io);
        (exit, serde_json::from_str(&output.stdout()).expect("one JSON document"))
    };

    let (exit, told) = go(&["mail"]);
    assert_eq!(exit, Exit::NotFound);
    assert_eq!(told["error"]["help"], "its services are veza-backend-api, veza-chat-server");

    let (exit, told) = go(&["api", "--plan"]);
    assert_eq!((exit, &told["applied"]), (Exit::Ok, &false.into()));
    let names: Vec<&Value> = told["plan"]["restart"].as_array().unwrap().iter().map(|r| &r["service"]).collect();
    assert_eq!(names, ["veza-backend-api", "veza-chat-server"]);
    assert_eq!(docker.run(&["ps", "-aq"]).unwrap(), "");

    // There were no containers at all: they are made.
    let (exit, told) = go(&["api", "--grace", "1s", "--reason", "gone", "--budget", "2"]);
    assert_eq!(
        (exit, &told["outcome"], &told["next"]),
        (Exit::Ok, &"recovered".into(), &"veza-dr assess".into()),
        "{told}"
    );
    assert_eq!(docker.run(&["ps", "-q"]).unwrap().lines().count(), 2);
    // Crashed, and brought back as the same container.
    let container = docker.run(&["ps", "-q", "--filter", "label=com.docker.compose.service=veza-backend-api"]).unwrap();
    docker.run(&["kill", &container]).unwrap();
    let (exit, told) = go(&["api", "--grace", "1s", "--budget", "2"]);
    assert_eq!(exit, Exit::Ok, "{told}");
    assert_eq!(docker.state(&container).unwrap(), "running");

    let (exit, told) = go(&["api", "--budget", "2"]);
    assert_eq!((exit, &told["outcome"]), (Exit::NeedsHuman, &"escalate".into()));
    assert_eq!(told["next"], "veza-dr failover plan --scenario backend");
    assert!(told["kept_in"].as_str().unwrap().starts_with(&dir.path().join("state").display().to_string()));
}
