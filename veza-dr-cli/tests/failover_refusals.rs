//! Bad input of a disaster: each told with file, line, value or what to do, with its exit code, and nothing was changed.
#![allow(clippy::unwrap_used, reason = "in a test a failure is what it is for")]
#![cfg(all(feature = "docker", feature = "postgres", feature = "route53"))]

mod common;

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    io::{Read, Write},
    net::TcpListener,
    path::{Path, PathBuf},
};

use common::Place;
use veza_dr_cli::Exit;
use veza_dr_tests::docker::Dockerd;

const NIGHT: &str = "name: night
steps:
  - { id: mark, do: command, with: { run: 'echo x >> DIR/world/marked', idempotent: true } }
";

const SITES: &str = "sites:
  primary: { role: primary, compose: { file: DIR/world/site.yml, project: a, docker_host: 'ENGINE' } }
  standby: { role: standby, jobs_dir: DIR/world/jobs, fence: { dir: DIR/world/fence }, compose: { file: DIR/world/site.yml, \
                     project: b, docker_host: 'ENGINE' } }
";

const UP: &str = "name: night
steps:
  - { id: up, do: up, with: { site: standby }, timeout: 60s }
  - { id: mark, do: command, with: { run: 'echo x >> DIR/world/marked', idempotent: true }, needs: [up] }
";

const DNS: &str = "dns:
  route53: { zone: ZONE, endpoint: 'ROUTE53', access_key_id: key, secret_access_key: canary-secret }
  records: { api: { name: api.example.test, type: A, primary: [192.0.2.10], standby: [192.0.2.20], ttl: 5 } }
";

/// Something wrong, and what is said of it.
struct Case {
    what: &'static str,
    /// Added to the configuration.
    config: &'static str,
    plan: &'static str,
    /// The Compose file of both sites.
    compose: &'static str,
    /// The zone that the configuration names.
    zone: &'static str,
    arguments: &'static [&'static str],
    exit: Exit,
    words: &'static [&'static str],
}

const NONE: Case =
    Case { what: "", config: "", plan: "", compose: "", zone: "", arguments: &[], exit: Exit::Ok, words: &[] };

const RUN: &[&str] =
    &["failover", "run", "--scenario", "night", "--yes", "--override", "one-writable-site", "--reason", "test"];

/// A plan with something wrong in it.
fn wrong_plan(what: &'static str, plan: &'static str, words: &'static [&'static str]) -> Case {
    Case { what, plan, config: SITES, arguments: RUN, exit: Exit::Usage, words, ..NONE }
}

/// A Compose file with something wrong in it, which is found when the site is to come up.
fn wrong_compose(what: &'static str, compose: &'static str, words: &'static [&'static str]) -> Case {
    Case { what, plan: UP, config: SITES, compose, arguments: RUN, exit: Exit::Partial, words, ..NONE }
}

/// A zone whose names cannot be led over.
fn wrong_zone(what: &'static str, zone: &'static str, exit: Exit, words: &'static [&'static str]) -> Case {
    Case { what, config: DNS, zone, arguments: &["dns", "switch", "--to", "standby", "--yes"], exit, words, ..NONE }
}

fn cases() -> Vec<Case> {
    vec![
        Case {
            what: "a count without sites",
            arguments: &["failover", "count", "--yes"],
            exit: Exit::Usage,
            words: &["count.yml (shipped)", "there is no site `primary`", "sites:"],
            ..NONE
        },
        Case {
            what: "a count where no site says where it keeps the database",
            config: SITES,
            arguments: &["failover", "count", "--yes"],
            exit: Exit::Usage,
            words: &["`count` knows no component of a site `database@primary`", "sites.primary.data.database"],
            ..NONE
        },
        Case {
            what: "a hash that is not the plan's",
            plan: NIGHT,
            arguments: &["failover", "run", "--scenario", "night", "--plan-sha", "0123456789abcdef"],
            exit: Exit::Conflict,
            words: &["approved was 0123456789abcdef", "nothing was touched", "veza-dr failover plan"],
            ..NONE
        },
        Case {
            what: "a scenario that nobody wrote",
            plan: NIGHT,
            arguments: &["failover", "run", "--scenario", "nihgt", "--yes"],
            exit: Exit::NotFound,
            words: &["nihgt", "there are database", "books has night"],
            ..NONE
        },
        wrong_plan(
            "a step that does something unheard of",
            "name: night\nsteps:\n  - { id: up, do: reboot, with: { site: standby } }\n",
            &["night.yml:3", "reboot"],
        ),
        wrong_plan(
            "a step that waits for one that is not there",
            "name: night\nsteps:\n  - { id: a, do: note, with: { text: x }, needs: [nowhere] }\n",
            &["known-steps", "step a", "`nowhere`"],
        ),
        wrong_plan(
            "a site that is not there",
            "name: night\nsteps:\n  - { id: up, do: up, with: { site: stanby } }\n",
            &["night.yml:3", "stanby"],
        ),
        Case {
            what: "a restore into a site that is not there",
            config: SITES,
            arguments: &["restore", "database", "--site", "stanby", "--plan"],
            exit: Exit::Usage,
            words: &["stanby"],
            ..NONE
        },
        Case {
            what: "a backup that is not there",
            arguments: &["restore", "database", "--plan"],
            exit: Exit::NotFound,
            words: &["database", "local"],
            ..NONE
        },
        wrong_compose(
            "a Compose file that is not YAML",
            "services:\n  api: { image: none\n  chat: [\n",
            &["step up", "site.yml:"],
        ),
        wrong_compose(
            "a Compose file without services",
            "servces:\n  api: { image: none }\n",
            &["step up", "site.yml", "services"],
        ),
        wrong_compose(
            "a Compose file with a service that needs another that is not there",
            "services:\n  api: { image: none, depends_on: [database] }\n",
            &["step up", "site.yml", "database"],
        ),
        Case {
            what: "a service that the site does not have",
            config: SITES,
            compose: "services:\n  api: { image: none }\n",
            arguments: &["recover", "apy", "--site", "standby", "--reason", "test"],
            exit: Exit::NotFound,
            words: &["apy", "api"],
            ..NONE
        },
        wrong_zone("a zone that may not be read", "ZDENIED", Exit::Denied, &["ZDENIED", "not authorized"]),
        wrong_zone("a zone that is not there", "ZNONE", Exit::NotFound, &["ZNONE"]),
        Case {
            what: "a site of records that has no such side",
            config: DNS,
            zone: "ZNONE",
            arguments: &["dns", "switch", "--to", "nowhere", "--yes"],
            exit: Exit::Usage,
            words: &["nowhere"],
            ..NONE
        },
    ]
}

#[test]
fn bad_input_is_told_with_what_to_do_and_changes_nothing() {
    // The sites' engine is a real one, so that nothing but the input is wrong.
    let docker = Dockerd::start().unwrap();
    let route53 = refusing_route53();
    let mut wrong = String::new();
    for case in cases() {
        let place = Place::new();
        let dir = place.dir.path().display().to_string();
        let write = |name: &str, text: &str| {
            let file = place.path(name);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(
                file,
                text.replace("DIR", &dir)
                    .replace("ENGINE", &docker.host())
                    .replace("ROUTE53", &route53)
                    .replace("ZONE", case.zone),
            )
            .unwrap();
        };
        let base = "state_dir: state\nstores: { local: { directory: { path: DIR/world/store } } }\nfailover: { runbooks: books }\n\
                    sources: { database: { postgres: { url: 'postgres://nobody@127.0.0.1:1/veza?sslmode=disable' } } }\n";
        write("veza-dr.yml", &format!("{base}{}", case.config));
        write(
            "world/site.yml",
            if case.compose.is_empty() { "services: { api: { image: none } }\n" } else { case.compose },
        );
        std::fs::create_dir_all(place.path("world/store")).unwrap();
        if !case.plan.is_empty() {
            write("books/night.yml", case.plan);
        }
        let before = world(&place.path("world"));
        let mut arguments = vec!["--json"];
        arguments.extend(case.arguments);
        let ran = place.run(&arguments);
        let said = ran.all();
        if ran.exit != case.exit {
            writeln!(wrong, "{}: {:?} instead of {:?}: {said}", case.what, ran.exit, case.exit).unwrap();
        }
        for word in case.words.iter().filter(|w| !said.contains(**w)) {
            writeln!(wrong, "{}: {word} is not told: {said}", case.what).unwrap();
        }
        assert!(!said.contains("canary-secret"), "{}: {said}", case.what);
        let after = world(&place.path("world"));
        if before != after {
            writeln!(wrong, "{}: changed: {:?}", case.what, after.keys().collect::<Vec<_>>()).unwrap();
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
    assert_eq!(docker.run(&["ps", "-aq"]).unwrap().trim(), "", "no container was made");
}

/// A Route 53 that lets nobody read `ZDENIED`, and knows of no other zone.
fn refusing_route53() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            let mut head = [0; 4096];
            let Ok(read) = stream.read(&mut head) else { continue };
            let asked = String::from_utf8_lossy(&head[..read]).into_owned();
            let (status, code, message) = if asked.contains("ZDENIED") {
                ("403 Forbidden", "AccessDenied", "you are not authorized to read this zone")
            } else {
                ("404 Not Found", "NoSuchHostedZone", "there is no such zone")
            };
            let body = format!(
                "<?xml version=\"1.0\"?><ErrorResponse xmlns=\"https://route53.amazonaws.com/doc/2013-04-01/\"><Error>\
                 <Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error></ErrorResponse>"
            );
            let length = body.len();
            // One that hangs up early is told nothing.
            let _ = write!(
                stream,
                "HTTP/1.1 {status}\r\nContent-Type: text/xml\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
            );
        }
    });
    format!("http://{address}")
}

/// Every file of the world and what is in it, but the notes that runs keep about themselves in the store.
fn world(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let (mut all, mut folders) = (BTreeMap::new(), vec![dir.to_path_buf()]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if !path.starts_with(dir.join("store")) {
                all.insert(path.clone(), std::fs::read(path).unwrap());
            }
        }
    }
    all
}
