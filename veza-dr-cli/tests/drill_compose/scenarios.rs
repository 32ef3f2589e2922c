//! The plan of each scenario, followed in a copy: what was carried out and what was left out, what was lost, how long it
//! took, what the checks found.

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use crate::world::World;

const FENCE: (&str, &str) = ("left_out", "fence");
const NAMES: (&str, &str) = ("left_out", "names");
const NOTIFY: (&str, &str) = ("left_out", "notify");
const BACKUP: (&str, &str) = ("left_out", "backup");
const PERSON: (&str, &str) = ("left_out", "person");
const DONE: (&str, &str) = ("carried_out", "");

/// The checks of the configuration, by name.
const CHECKS: [&str; 7] = ["api", "chat", "stream", "db.canary", "db.counts", "cache", "load"];

fn steps(record: &Value) -> Vec<(&str, (&str, &str))> {
    let all = record["plan"]["steps"].as_array().unwrap_or_else(|| panic!("{record:#}"));
    let text = |v: &Value| -> &'static str { String::leak(v.as_str().unwrap_or_default().to_owned()) };
    all.iter().map(|s| (text(&s["id"]), (text(&s["fate"]), text(&s["left_out"])))).collect()
}

fn part<'a>(record: &'a Value, name: &str) -> &'a Value {
    record["parts"].as_array().unwrap().iter().find(|p| p["component"] == name).unwrap()
}

fn at(record: &Value, point: &str) -> DateTime<Utc> {
    let all = record["clock"].as_array().unwrap();
    let found = all.iter().find(|c| c["point"] == point).unwrap_or_else(|| panic!("{point}: {record:#}"));
    found["at"].as_str().unwrap().parse().unwrap()
}

fn time(value: &Value) -> DateTime<Utc> {
    value.as_str().unwrap().parse().unwrap()
}

/// What holds of every drill that passed.
fn assert_passed(world: &World, record: &Value, scenario: &str, wanted: &[(&str, (&str, &str))]) {
    assert_eq!((&record["outcome"], &record["kind"]), (&json!("passed"), &json!("compose")), "{record:#}");
    assert_eq!(
        (&record["production"]["verdict"], &record["cleanup"]["state"]),
        (&json!("unchanged"), &json!("cleaned"))
    );
    assert_eq!(record["findings"], json!([]), "{record:#}");
    // The very plan that a failover would run.
    let plan = world.ends(0, &["failover", "plan", "--scenario", scenario]);
    assert_eq!(record["plan"]["sha256"], plan["sha256"]);
    assert_eq!(steps(record), wanted, "{record:#}");
    for step in record["plan"]["steps"].as_array().unwrap() {
        assert!(!step["text"].as_str().unwrap().is_empty(), "each step says what was done or why not: {step}");
        let measured = step["fate"] == "carried_out";
        assert_eq!((step["took_ms"].is_u64(), step["tries"] != 0), (measured, measured), "{step}");
    }
    // Recovery time is measured between the clock points of the record.
    let rta = record["rta_ms"].as_i64().unwrap();
    assert_eq!((at(record, "T6") - at(record, "T0")).num_milliseconds(), rta);
    let began: Vec<DateTime<Utc>> = ["T0", "T1", "T2", "T3", "T4", "T5", "T6"].map(|p| at(record, p)).to_vec();
    assert!(began.is_sorted() && rta > 0, "{record:#}");
    let validation = record["validation"].as_array().unwrap();
    assert_eq!(validation.len(), 1, "{record:#}");
    let checks = validation[0]["report"]["checks"].as_array().unwrap();
    let named: Vec<(&str, &str)> =
        checks.iter().map(|c| (c["name"].as_str().unwrap(), c["verdict"].as_str().unwrap())).collect();
    assert_eq!(named, CHECKS.map(|name| (name, "pass")), "{record:#}");
    let timeline = record["timeline"].as_array().unwrap();
    let served: Vec<&str> =
        timeline.iter().filter(|t| t["what"] == "services").map(|t| t["detail"].as_str().unwrap()).collect();
    assert_eq!(served, ["5 services healthy, 5 ports answered 3 times in a row"; 2]);
    let removed = record["cleanup"]["removed"].as_array().unwrap();
    for kind in ["container ", "network ", "volume "] {
        assert!(removed.iter().any(|r| r.as_str().unwrap().starts_with(kind)), "{removed:?}");
    }
}

/// A component that was lost and brought back: rows of its backup, records that production has more.
fn assert_recovered(world: &World, record: &Value, component: &str, rows: u64, lost: u64) {
    let part = part(record, component);
    for stage in ["baseline", "recovery"] {
        assert_eq!((&part[stage]["verdict"], &part[stage]["rows"]), (&json!("equal"), &json!(rows)), "{part:#}");
    }
    assert_eq!((&part["loss"]["records"], &part["standing"]), (&json!(lost), &Value::Null), "{part:#}");
    let now: u64 = match component {
        "database" => world.psql("veza", "SELECT count(*) FROM orders").parse().unwrap(),
        _ => world.redis(&["DBSIZE"]).parse().unwrap(),
    };
    assert_eq!(now, rows + lost, "a second tool counts the same");
}

/// One that the disaster left where it was.
fn assert_standing(record: &Value, component: &str, rows: u64) {
    let part = part(record, component);
    assert_eq!((&part["standing"], &part["recovery"]["verdict"]), (&json!(true), &json!("equal")), "{part:#}");
    assert_eq!((&part["recovery"]["rows"], &part["loss"]["records"]), (&json!(rows), &json!(0)), "{part:#}");
    assert_eq!(part["rpa_ms"], 0);
}

/// The recovery point actual is what lies between what the backup shows and the disaster.
fn assert_age(record: &Value, disaster: DateTime<Utc>) {
    let parts = record["parts"].as_array().unwrap();
    let ages =
        parts.iter().filter(|p| p["standing"] != true).map(|p| (disaster - time(&p["shows"])).num_milliseconds());
    assert_eq!(record["rpa_ms"].as_i64(), ages.max(), "{record:#}");
}

pub(crate) fn database(world: &World) {
    let record = world.ends(0, &["drill", "run", "--scenario", "database", "--compose", "production"]);
    let wanted = [
        ("tell", NOTIFY),
        ("verify-copy", DONE),
        ("restore-database", DONE),
        ("validate-primary", DONE),
        ("backup-again", BACKUP),
    ];
    assert_passed(world, &record, "database", &wanted);
    assert_eq!(record["plan"]["lost"], json!({ "data": ["database"] }));
    let told = record["exclusions"].as_array().unwrap();
    for wanted in [
        // What lies on the sites' machine was looked at there.
        format!("service veza-stream-server: writing to {}", world.own("conf")),
        "redis: replication from this host, which the copy on 10.77.0.2 cannot reach: it is restored key by key"
            .to_owned(),
    ] {
        assert!(told.iter().any(|t| *t == wanted), "{wanted}: {told:?}");
    }
    assert_recovered(world, &record, "database", 3007, 2);
    assert_standing(&record, "redis", 3);
    assert_age(&record, at(&record, "T0"));

    // The report tells every step of the plan, in both languages.
    let sha = record["plan"]["sha256"].as_str().unwrap();
    let told = |language: &str, form: &str| {
        let args = ["drill", "report", "latest", "--format", form, "--language", language];
        String::from_utf8(world.run(&args).stdout).unwrap()
    };
    for (language, words) in [
        ("en", ["left out", "a backup of the copy would lie among production's", "2 left out"]),
        ("fr", ["omise", "une sauvegarde de la copie se mêlerait à celles de la production", "2 omises"]),
    ] {
        for form in ["md", "html"] {
            let text = told(language, form).replace("&#39;", "'");
            for word in words.iter().chain(&[sha, "restore-database", "backup-again", "db.counts"]) {
                assert!(text.contains(word), "{language} {form}: {word}: {text}");
            }
        }
    }
    assert_eq!(veza_dr_tests::french::english_in(&told("fr", "md")), [""; 0]);
}

/// A plan of the operator's own, in place of the one that ships.
pub(crate) fn backend(world: &World) {
    let own = world.path("books/backend.yml");
    let command = format!("touch {}", world.path("commanded").display());
    std::fs::write(
        &own,
        format!(
            "name: our-backend\nscenario: backend\nsteps:\n  \
             - {{ id: close, do: fence, with: {{ site: primary }} }}\n  \
             - {{ id: prepare, do: command, with: {{ run: '{command}', idempotent: true }}, needs: [close] }}\n  \
             - {{ id: admit, do: unfence, with: {{ site: standby }}, needs: [prepare] }}\n  \
             - {{ id: go, do: up, with: {{ site: standby }}, needs: [admit], approval: true }}\n  \
             - {{ id: warm, do: wait_healthy, with: {{ site: standby }}, needs: [go], tags: [production] }}\n  \
             - {{ id: pause, do: wait, with: {{ for: 1h }}, needs: [warm], timeout: 2h }}\n  \
             - {{ id: check, do: validate, with: {{ site: standby }}, needs: [pause], retry: {{ max: 5, backoff: 1s }}, marks: T5 }}\n  \
             - {{ id: lead, do: dns, with: {{ to: standby }}, needs: [check], marks: T6 }}\n"
        ),
    )
    .unwrap();
    let record = world.ends(0, &["drill", "run", "--scenario", "backend", "--compose", "production"]);
    std::fs::remove_file(own).unwrap();
    let steps = steps(&record);
    let wanted = [
        ("close", FENCE),
        ("prepare", ("left_out", "command")),
        ("admit", FENCE),
        ("go", DONE),
        ("warm", ("left_out", "tagged")),
        ("pause", ("left_out", "pause")),
        ("check", DONE),
        ("lead", NAMES),
    ];
    assert_eq!(steps, wanted, "{record:#}");
    assert_eq!((&record["outcome"], &record["plan"]["name"]), (&json!("passed"), &json!("our-backend")), "{record:#}");
    assert_eq!((&record["plan"]["recovers"], &record["plan"]["lost"]), (&json!("standby"), &json!("services")));
    assert_eq!(record["plan"]["steps"][3]["approval"], true);
    // Nothing was lost: that is shown by what was compared afterwards.
    assert_standing(&record, "database", 3007);
    assert_standing(&record, "redis", 3);
    assert_eq!((&record["rpa_ms"], &record["validation"][0]["step"]), (&json!(0), &json!("check")));
    assert_eq!((at(&record, "T6") - at(&record, "T0")).num_milliseconds(), record["rta_ms"].as_i64().unwrap());
}

pub(crate) fn infrastructure(world: &World) {
    let record = world.ends(0, &["drill", "run", "--scenario", "infrastructure", "--compose", "production"]);
    let wanted = [
        ("tell", NOTIFY),
        ("verify-copy", DONE),
        ("verify-redis", DONE),
        ("fence-primary", FENCE),
        ("admit-standby", FENCE),
        ("start-standby-data", DONE),
        ("standby-data-healthy", DONE),
        ("restore-database", DONE),
        ("restore-redis", DONE),
        ("start-standby", DONE),
        ("standby-healthy", DONE),
        ("validate-standby", DONE),
        ("switch-dns", NAMES),
        ("backup-from-standby", BACKUP),
        ("backup-redis-from-standby", BACKUP),
    ];
    assert_passed(world, &record, "infrastructure", &wanted);
    assert_eq!(record["plan"]["lost"], "site");
    assert_recovered(world, &record, "database", 3007, 2);
    assert_recovered(world, &record, "redis", 3, 1);
    assert_age(&record, at(&record, "T0"));
    let other = "the project of site standby: plan infrastructure recovers it, the copy is of production";
    assert!(record["exclusions"].as_array().unwrap().iter().any(|e| e == other), "{record:#}");
}

/// Back to the last sound backup, in a copy of the site that takes over.
pub(crate) fn security(world: &World) {
    let sound = world.sound.to_rfc3339();
    let record = world.ends(0, &["drill", "run", "--scenario", "security", "--compose", "standby", "--at", &sound]);
    let wanted = [
        ("tell", NOTIFY),
        ("close-off-primary", FENCE),
        ("choose-clean-point", PERSON),
        ("verify-copy", DONE),
        ("verify-redis", DONE),
        ("admit-standby", FENCE),
        ("start-standby-data", DONE),
        ("standby-data-healthy", DONE),
        ("restore-database", DONE),
        ("restore-redis", DONE),
        ("rotate-keys", PERSON),
        ("start-standby", DONE),
        ("standby-healthy", DONE),
        ("validate-standby", DONE),
        ("switch-dns", NAMES),
    ];
    assert_passed(world, &record, "security", &wanted);
    assert_eq!((&record["plan"]["copy_of"], &record["plan"]["lost"]), (&json!("standby"), &json!("site")));
    assert_recovered(world, &record, "database", 3000, 9);
    assert_recovered(world, &record, "redis", 2, 2);
    assert_age(&record, world.sound);
}

/// A plan of the operator's own that ends at a check which fails.
pub(crate) fn a_check_that_fails_fails_the_drill_and_one_that_cannot_be_led_to_the_copy_is_no_pass(world: &World) {
    let path = world.path("books/database.yml");
    let once = "name: ours\nsteps:\n  - { id: whole, do: verify_backup, with: { component: database } }\n  \
                - { id: bring, do: restore, with: { component: database }, needs: [whole] }\n  \
                - { id: check, do: validate, with: { site: primary }, needs: [bring] }\n  \
                - { id: late, do: wait_healthy, with: { site: primary }, needs: [check] }\n";
    std::fs::write(&path, once).unwrap();
    let api = world.scene.ports.api;
    let more = format!(
        "  - {{ name: elsewhere, http: {{ port: 9, path: / }} }}\n  \
         - {{ name: wrong, http: {{ port: {api}, path: /nowhere }} }}\n"
    );
    world.config(&more);
    let record = world.ends(24, &["drill", "run", "--scenario", "database", "--compose", "production"]);
    std::fs::remove_file(path).unwrap();
    world.config("");
    let wanted = [("whole", DONE), ("bring", DONE), ("check", ("failed", "")), ("late", ("not_reached", ""))];
    assert_eq!((&record["outcome"], steps(&record)), (&json!("failed"), wanted.to_vec()), "{record:#}");
    assert_eq!((&record["rta_ms"], &record["cleanup"]["state"]), (&Value::Null, &json!("cleaned")));
    let checks = record["validation"][0]["report"]["checks"].as_array().unwrap();
    let unled = checks.iter().find(|c| c["name"] == "elsewhere").unwrap();
    assert_eq!(unled["verdict"], "error");
    assert!(unled["reason"].as_str().unwrap().starts_with("no service of site production publishes port 9"), "{unled}");
    let findings = record["findings"].to_string();
    for told in ["check wrong failed on the copy", "check elsewhere could not tell", "step check failed in the copy"] {
        assert!(findings.contains(told), "{told}: {findings}");
    }
}
