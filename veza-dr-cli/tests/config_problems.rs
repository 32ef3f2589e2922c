//! What is said about a configuration that is wrong: file, line, column, key, and what was probably meant.

#![cfg(all(feature = "postgres", feature = "redis", feature = "files", feature = "s3"))]

use veza_dr_cli::config::parse;

/// The problems of `text`, as the program tells them.
fn problems(text: &str) -> Vec<String> {
    let e = parse(text, "veza-dr.yml".as_ref()).expect_err("it is wrong");
    let source = std::error::Error::source(&e).expect("its problems");
    source.to_string().lines().map(str::to_owned).collect()
}

#[test]
fn an_unknown_key_is_named_with_its_place_and_the_nearest_name() {
    let text =
        "sources:\n  database:\n    postgres:\n      url: postgres://u@h/d\n      pasword_file: /run/secrets/pg\n";
    assert_eq!(
        problems(text),
        ["veza-dr.yml:5:7: sources.database.postgres: unknown key `pasword_file`; did you mean `password_file`?"]
    );
    assert_eq!(problems("sorces: {}\n"), ["veza-dr.yml:1:1: unknown key `sorces`; did you mean `sources`?"]);
    assert_eq!(
        problems("backup:\n  db:\n    compression: { codec: zstd, levl: 3 }\n"),
        ["veza-dr.yml:3:33: backup.db.compression: unknown key `levl`; did you mean `level`?"]
    );
}

#[test]
fn all_problems_are_told_at_once_in_the_order_of_the_file() {
    let text = "\
sources:
  database: { postgres: { urll: x } }
  cache: { redis: { url: 5 } }
stores:
  local: { directory: {} }
backup:
  database: { schedule: 0 25 * * *, retention: 0, compression: maybe }
";
    assert_eq!(
        problems(text),
        [
            "veza-dr.yml:2:27: sources.database.postgres: unknown key `urll`; did you mean `url`?",
            "veza-dr.yml:3:26: sources.cache.redis.url: must be text, it is a whole number; put it in quotes",
            "veza-dr.yml:5:23: stores.local.directory: `path` is missing",
            "veza-dr.yml:7:25: backup.database.schedule: `0 25 * * *` is not a schedule: hour 25 is not between 0 and 23; \
             write minute hour day month weekday, such as 0 */6 * * * for every six hours",
            "veza-dr.yml:7:48: backup.database.retention: 0 is not between 1 and 36500",
            "veza-dr.yml:7:64: backup.database.compression: must be true or false, or a map, it is text",
        ]
    );
}

#[test]
fn an_unknown_kind_of_source_or_store_is_an_error_with_the_known_ones() {
    assert_eq!(
        problems("sources:\n  db: { postgresql: { url: x } }\n"),
        ["veza-dr.yml:2:9: sources.db: unknown kind `postgresql`; did you mean `postgres`?"]
    );
    assert_eq!(
        problems("sources:\n  db: { mysql: { url: x } }\n"),
        ["veza-dr.yml:2:9: sources.db: unknown kind `mysql`; expected one of `postgres`, `redis`, `files`"]
    );
    assert_eq!(
        problems("stores:\n  a: { azure: {} }\n"),
        ["veza-dr.yml:2:8: stores.a: unknown key `azure`; expected one of `directory`, `s3`, `encryption`"]
    );
    assert_eq!(
        problems("stores:\n  a: { encryption: {} }\n  b: { directory: { path: x }, s3: { bucket: y } }\n"),
        [
            "veza-dr.yml:2:6: stores.a: needs exactly one of `directory`, `s3`",
            "veza-dr.yml:3:6: stores.b: needs exactly one of `directory`, `s3`",
        ]
    );
}

#[test]
fn names_that_refer_to_nothing_are_named_with_both_ends() {
    let text = "\
sources: { database: { postgres: { url: postgres://u@h/d } } }
stores: { local: { directory: { path: /b } } }
backup:
  databse: { retention: 7 }
  redis: {}
  database: { stores: [locla], include: [/etc] }
scenarios: { database: { rto: 4h, rpo: 1h, needs: [databaes] } }
alerts: [ { name: A, condition: recovery_tim > 5, severity: critical } ]
";
    assert_eq!(
        problems(text),
        [
            "veza-dr.yml:4:3: backup.databse: there is no source `databse` under `sources`; did you mean `database`?",
            "veza-dr.yml:5:3: backup.redis: there is no source `redis` under `sources`; say how to reach it: \
             sources: { redis: { postgres: { url: … } } }",
            "veza-dr.yml:6:24: backup.database.stores[0]: there is no store `locla` under `stores`; did you mean `local`?",
            "veza-dr.yml:6:32: backup.database.include: `database` is a postgres source: only files have it",
            "veza-dr.yml:7:52: scenarios.database.needs[0]: there is no source `databaes` under `sources`",
            "veza-dr.yml:8:22: alerts[0].condition: there is no metric `recovery_tim`; did you mean `recovery_time`?",
        ]
    );
}

#[test]
fn choices_that_exclude_each_other_are_refused() {
    let text = "\
sources: { d: { postgres: { url: x, password: a, password_file: b } } }
stores: { s: { s3: { bucket: b, access_key_id: x }, encryption: { recipients: [age1nope] } } }
backup: { d: { compression: { codec: gzip, level: 12 } } }
";
    let found = problems(text);
    assert_eq!(found.len(), 4, "{found:#?}");
    assert!(found[0].ends_with("sources.d.postgres: has password and password_file: only one of them can count"));
    assert!(found[1].contains("access_key_id and secret_access_key come together"));
    assert!(found[2].contains("stores.s.encryption.recipients[0]: `age1nope` is not an age recipient"));
    assert!(found[3].contains("compression level 12 is out of range for gzip; use 1 to 9"));
}

#[test]
fn what_is_no_yaml_or_says_a_thing_twice_is_placed() {
    assert_eq!(problems("a: {}\n\tb: {}\n").len(), 1);
    let twice = problems("sources:\n  a: { files: {} }\n  a: { files: {} }\n");
    assert_eq!(twice, ["veza-dr.yml:3:3: duplicate mapping key: a"]);
    assert_eq!(problems("- a\n"), ["veza-dr.yml:1:1: must be a map, it is a list"]);
    assert!(parse("# nothing yet\n", "x".as_ref()).is_ok());
}

#[test]
fn variables_are_checked_for_form_when_the_file_is_read() {
    let text = "stores: { l: { directory: { path: \"/b/${env:HOME\" } } }\n";
    assert_eq!(
        problems(text),
        ["veza-dr.yml:1:35: stores.l.directory.path: `${env:` is never closed by `}`; write it as ${env:NAME}"]
    );
    assert!(parse("stores: { l: { directory: { path: \"/b/$HOME/${env:X}\" } } }\n", "x".as_ref()).is_ok());
}

#[test]
fn yaml_words_for_true_are_not_guessed() {
    let text = "sources: { d: { postgres: { url: x, allow_unreadable: yes } } }\n";
    assert_eq!(
        problems(text),
        ["veza-dr.yml:1:55: sources.d.postgres.allow_unreadable: must be true or false, it is text"]
    );
}

#[test]
fn nothing_in_a_file_makes_the_reader_panic() {
    for text in [
        "",
        "{",
        "&a [*a]",
        "a: *nope",
        "? [x]\n: y",
        "sources: &s { a: { files: {} } }\nstores: *s\n",
        "\u{0}",
        "sources: [1, {}]",
    ] {
        let _ = parse(text, "x".as_ref());
    }
}

#[test]
fn the_daemon_s_settings_are_checked_too() {
    let text = "sources:
  database: { postgres: { url: x } }
stores: { l: { directory: { path: x } } }
backup:
  database:
    ping: {}
    quiesce: { steps: [ { stop: {} }, { command: {} }, { halt: { name: x } } ] }
serve: { listen: 0.0.0.0:9464, tokn: x }
notify:
  a: { slack: { url: https://x/canary, url_file: y }, components: [databse] }
  b: { smtp: { host: h, from: f, to: [t], username: u }, severity: hihg }
  c: { webhook: { url: https://x }, slack: { url: https://x } }
  D: { command: [] }
";
    let told = |text: &str| veza_dr_cli::config::parse(text, "veza-dr.yml".as_ref()).unwrap_err().chain();
    let shape = told(text);
    for part in [
        "unknown kind `halt`",
        "unknown key `tokn`; did you mean `token`?",
        "`hihg` is not one of",
        "notify.c: needs exactly one of `webhook`, `slack`, `smtp`, `command`",
    ] {
        assert!(shape.contains(part), "{part} in {shape}");
    }
    let mended = text.replace(", { halt: { name: x } }", "").replace(", tokn: x", "").replace("hihg", "high");
    let mended = mended.replace("  c: { webhook: { url: https://x }, slack: { url: https://x } }\n", "");
    let meaning = told(&mended);
    for part in [
        "7:27: backup.database.quiesce.steps[0].stop: names no container",
        "steps[1].command: names neither a command before nor one after",
        "backup.database.ping: `url` or `url_file` is missing",
        "8:10: serve.listen: 0.0.0.0:9464 can be reached from other machines and has no token; add `token_file`",
        "notify.a.slack: has url and url_file: only one of them can count",
        "notify.a.components[0]: there is no source `databse` under `sources`; did you mean `database`?",
        "notify.b.smtp: a user name and a password come together",
        "notify.D: channel name `D` may hold only",
        "notify.D.command: names no program",
    ] {
        assert!(meaning.contains(part), "{part} in {meaning}");
    }
    assert!(!shape.contains("canary") && !meaning.contains("canary"), "an address is a secret");
}

#[cfg(feature = "docker")]
#[test]
fn sites_that_cannot_be_meant_are_told() {
    let text = "\
sites:
  paris: { role: primary, compose: { file: site.yml, project: Veza } }
  lyon:
    role: primary
    compose: { file: site.yml, project: veza, docker_host: 'tcp://lyon:2375' }
    ssh: { host: lyon, usr: x }
";
    assert_eq!(problems(text), ["veza-dr.yml:6:24: sites.lyon.ssh: unknown key `usr`; did you mean `user`?"]);
    let told = problems(&text.replace("usr: x", "port: 22"));
    let places: Vec<&str> = told.iter().map(|t| t.split(": ").nth(1).unwrap()).collect();
    let expected = [
        "sites.paris.role",
        "sites.paris.compose.project",
        "sites.lyon.compose.file",
        "sites.lyon.compose.docker_host",
    ];
    assert_eq!((places.len(), expected.iter().all(|e| places.contains(e))), (4, true), "{told:?}");
}

#[test]
fn conditions_levels_and_probes_are_checked_with_their_places() {
    let text = "\
notify: { chat: { command: [logger] } }
alerts:
  - { name: A, condition: recovery_time > 10%, severity: critical }
  - { name: A, condition: data_loss > 0, severity: high, channels: [chatt] }
availability: { every: 1ms, probes: [ { http: { url: \"ftp://x/\" } } ] }
escalation:
  contacts: { ann: { mail: a@b.c, channels: [chat] } }
  levels:
    - { name: one, contacts: [anne] }
";
    let told = problems(text).join("\n");
    for (place, says) in [
        ("veza-dr.yml:3:16: alerts[0].condition", "recovery_time counts seconds, 10% counts percent"),
        ("alerts[1].name", "another alert is called `A`"),
        ("alerts[1].channels[0]", "there is no channel `chatt` under `notify`; did you mean `chat`?"),
        ("availability.every", "is not between 50ms and 10s"),
        ("availability.probes[0].http.url", "http://host:port/path"),
        ("escalation.contacts.ann.mail", "none of the channels sends mail"),
        ("escalation.levels[0]", "never begins"),
        ("escalation.levels[0].contacts[0]", "did you mean `ann`?"),
    ] {
        assert!(told.lines().any(|l| l.contains(place) && l.contains(says)), "{place}: {says}\n{told}");
    }
    let told = problems("alerts: [ { name: A, condition: recovery_time > , severity: critical } ]").join("\n");
    assert!(told.contains("letter 16: expected a number"), "{told}");
}

#[cfg(feature = "docker")]
#[test]
fn places_of_data_that_cannot_be_meant_are_told() {
    let text = "\
sources:
  database: { postgres: { url: postgres://u@h/d } }
  redis: { redis: { url: redis://h } }
  files: { files: {} }
backup: { files: { include: [/etc/veza] } }
sites:
  paris:
    role: primary
    compose: { file: a.yml, project: veza }
    data: { database: { services: [pg] }, redis: { services: [redis], postgres: { url: postgres://u@h/d } } }
    fence: { hook_undo: open }
  lyon:
    role: standby
    compose: { file: a.yml, project: veza }
    data:
      database: { services: [pg] }
      databse: { services: [pg] }
      files: { services: [pg] }
      redis: { services: [redis], redis: { url: redis://s, password: a, password_file: b } }
";
    assert_eq!(
        problems(text),
        [
            "veza-dr.yml:10:71: sites.paris.data.redis.postgres: `redis` is a redis source",
            "veza-dr.yml:11:14: sites.paris.fence.hook_undo: there is no `hook` that it undoes",
            "veza-dr.yml:16:7: sites.lyon.data.database: does not say where the standby keeps `database`; add \
             `postgres: { url: … }`: only the primary's place is the source's own",
            "veza-dr.yml:17:7: sites.lyon.data.databse: there is no source `databse` under `sources`; did you mean \
             `database`?",
            "veza-dr.yml:18:7: sites.lyon.data.files: does not say where the standby keeps `files`; add `files: {}`: only \
             the primary's place is the source's own",
            "veza-dr.yml:18:16: sites.lyon.data.files.services: no service holds `files`: they are files; leave it out: \
             nothing runs while files are exchanged",
            "veza-dr.yml:19:35: sites.lyon.data.redis.redis: has password and password_file: only one of them can count",
        ]
    );
    let none = "sources:\n  redis: { redis: { url: redis://h } }\nsites:\n  paris:\n    role: primary\n    \
                compose: { file: a.yml, project: veza }\n    data: { redis: { services: [] } }\n";
    assert_eq!(problems(none)[0], "veza-dr.yml:7:32: sites.paris.data.redis.services: is empty");
    let text = "\
sources: { redis: { redis: { url: redis://h } }, files: { files: {} } }
backup: { files: { include: [/etc/veza] } }
sites:
  paris:
    role: primary
    compose: { file: a.yml, project: veza }
    data: { redis: { redis: { url: redis://h } }, files: { files: {} } }
  lyon:
    role: standby
    compose: { file: a.yml, project: veza }
    data: { files: { files: {} } }
  nice:
    role: standby
    compose: { file: a.yml, project: veza }
    data: { files: { files: { root: srv } } }
";
    assert_eq!(
        problems(text),
        [
            "veza-dr.yml:7:13: sites.paris.data.redis: does not say which services hold `redis`; name them: services: \
             [postgres]",
            "veza-dr.yml:11:22: sites.lyon.data.files.files: site `paris` is on this machine, too: its files lie at the \
             same paths; give them a folder of their own: files: { root: /srv/standby }",
            "veza-dr.yml:15:31: sites.nice.data.files.files.root: `srv` is not an absolute path; write it out: root: \
             /srv/standby",
        ]
    );
}

#[cfg(feature = "docker")]
#[test]
fn drills_in_copies_of_sites_that_cannot_be_copied_are_told() {
    let text = "\
sources: { database: { postgres: { url: postgres://u@h/d } } }
sites:
  paris: { role: primary, compose: { file: a.yml, project: veza }, data: { database: { services: [pg] } } }
  lyon: { role: standby, compose: { file: a.yml, project: veza } }
  lille: { role: standby, compose: { file: /a.yml, project: veza }, ssh: { host: lille }, data: { database: { services: [pg], postgres: { url: postgres://u@lille/d } } } }
drills:
  schedule:
    database: { cron: '0 3 1 */3 *', time_zone: Europe/Paris, compose: paris }
    backend: { cron: '0 3 1 */3 *', compose: pari }
    infrastructure: { cron: '0 4 2 1 *', compose: lille }
    security: { cron: '0 4 2 1 *', compose: lyon }
";
    assert_eq!(
        problems(text),
        [
            "veza-dr.yml:9:37: drills.schedule.backend.compose: there is no site `pari`; did you mean `paris`?",
            "veza-dr.yml:11:36: drills.schedule.security.compose: site `lyon` does not say which services keep data; \
             add it: sites.lyon.data.database: { services: [postgres] }",
        ]
    );
    let odd = problems("drills: { schedule: { database: { cron: '0 3 * * *', compse: a } } }").join("\n");
    assert!(odd.contains("compse") && odd.contains("compose"), "{odd}");
}
