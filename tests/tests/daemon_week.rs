//! A week of the daemon by a simulated clock: a failing source, a crash in the middle of a backup, a store that is away
//! for a day, clocks that go back, a planned restart, a day's downtime, a second daemon. What is left, and what was
//! told, is compared with a model that shares no code with the product.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Timelike, Utc};
use veza_dr_backup::{Level, RetentionPolicy, Selector, verify_objects};
use veza_dr_core::{Action, Clock, ComponentName, Cx, Phase, testing::SimulatedClock};
use veza_dr_tests::daemon_site::{Site, Spec};

type Time = DateTime<Utc>;

const NAMES: [&str; 3] = ["database", "files", "redis"];
const ON_TIME: Duration = Duration::ZERO;

fn at(text: &str) -> Time {
    format!("2026-10-{text}Z").replace(' ', "T").parse().unwrap()
}

fn minutes(n: u64) -> Duration {
    Duration::from_secs(n * 60)
}

fn takes(name: &str) -> TimeDelta {
    TimeDelta::minutes(match name {
        "database" => 10,
        "files" => 3,
        _ => 1,
    })
}

/// In Paris clocks go back on 25 October 2026 at 01:00 UTC.
fn paris(t: Time) -> Time {
    t + TimeDelta::hours(if t < at("25 01:00:00") { 2 } else { 1 })
}

/// The runs that the schedules ask for, minute by minute, by the clocks on the wall.
fn due(name: &str, from: Time, until: Time) -> Vec<Time> {
    let mut wall_seen = BTreeSet::new();
    let mut t = from.with_second(0).unwrap();
    let mut runs = Vec::new();
    while t < until {
        let wall = paris(t);
        let hit = match name {
            "database" => wall.hour().is_multiple_of(6) && wall.minute() == 0,
            "redis" => wall.hour().is_multiple_of(2) && wall.minute() == 0,
            // Named by its hour: the second 02:30 of a night is none.
            _ => wall.hour() == 2 && wall.minute() == 30 && wall_seen.insert(wall),
        };
        if hit && t >= from {
            runs.push(t);
        }
        t += TimeDelta::minutes(1);
    }
    runs
}

/// `(when, what, phase, component, store)`
type Told = (Time, Action, &'static str, String, Option<String>);

/// What the model expects to be there and to have been told.
#[derive(Default)]
struct Model {
    /// By store and component, when each backup began.
    there: BTreeMap<(&'static str, &'static str), BTreeSet<Time>>,
    proven: BTreeSet<(&'static str, &'static str, Time)>,
    told: Vec<Told>,
}

impl Model {
    fn tell(&mut self, at: Time, phase: &'static str, name: &str) {
        self.told.push((at, Action::Backup, phase, name.into(), None));
    }

    /// Components that begin together end together, when the slowest was read.
    fn together(&mut self, begins: Time, names: &[&'static str], outage: bool) {
        let ends = begins + names.iter().map(|n| takes(n)).max().unwrap();
        for name in names {
            self.tell(begins, "started", name);
            self.made(begins, ends, name, outage);
        }
    }

    fn made(&mut self, begins: Time, ends: Time, name: &'static str, outage: bool) {
        self.tell(ends, if outage { "failed" } else { "succeeded" }, name);
        for store in if outage { &["local"][..] } else { &["local", "offsite"] } {
            self.there.entry((store, name)).or_default().insert(begins);
            self.retain(ends, store, name);
        }
    }

    fn retain(&mut self, now: Time, store: &'static str, name: &'static str) {
        let there = self.there.get_mut(&(store, name)).unwrap();
        let newest = *there.last().unwrap();
        let mut stays: BTreeSet<Time> = match name {
            "database" => there.iter().filter(|t| newest - **t <= TimeDelta::hours(48)).copied().collect(),
            "redis" => there.iter().filter(|t| newest - **t <= TimeDelta::hours(24)).copied().collect(),
            _ => there.iter().rev().take(4).copied().collect(),
        };
        if name == "database" {
            // The last of each of the last six days.
            let days: BTreeMap<_, Time> = there.iter().map(|t| (paris(*t).date_naive(), *t)).collect();
            stays.extend(days.values().rev().take(6));
        }
        stays.extend(self.proven.iter().filter(|(s, n, _)| (*s, *n) == (store, name)).map(|(.., t)| *t));
        let most = (there.len() / 2).max(1);
        let goes: Vec<Time> = there.difference(&stays).take(most).copied().collect();
        if !goes.is_empty() {
            self.told.push((now, Action::Prune, "succeeded", name.into(), Some(store.into())));
        }
        there.retain(|t| !goes.contains(t));
    }

    /// All runs that are due while a daemon is up.
    fn up(&mut self, from: Time, until: Time, outage: &std::ops::Range<Time>) {
        let mut begins: BTreeMap<Time, Vec<&'static str>> = BTreeMap::new();
        for name in NAMES {
            for run in due(name, from, until) {
                begins.entry(run).or_default().push(name);
            }
        }
        for (run, names) in begins {
            self.together(run, &names, outage.contains(&run));
        }
    }
}

fn specs() -> Vec<Spec> {
    let spec = |name, cron, takes, retention| Spec { name, cron, takes, fails_at: None, retention };
    let mut specs = vec![
        spec("database", "0 */6 * * *", minutes(10), RetentionPolicy::days(2).with_daily(6)),
        spec("redis", "0 */2 * * *", minutes(1), RetentionPolicy::days(1)),
        spec("files", "30 2 * * *", minutes(3), RetentionPolicy::default().with_keep_last(4)),
    ];
    specs[0].fails_at = Some(at("22 10:00:00"));
    specs
}

#[test]
fn a_week_with_all_that_goes_wrong_ends_with_exactly_what_policy_demands() {
    let (start, end) = (at("21 22:07:00"), at("29 22:30:00"));
    let outage = at("23 23:30:00")..at("24 23:30:00");
    let began = std::time::Instant::now();
    let mut model = Model::default();
    let (site, proven) = SimulatedClock::run(start, |clock| week(clock, outage.clone(), end));

    // Nothing was ever backed up: all three at once.
    model.together(start, &["database", "files", "redis"], false);
    model.up(start, at("22 10:00:00"), &outage);
    // At noon in Paris the database refuses; told when redis, begun with it, is done, and tried again a minute later.
    model.together(at("22 10:00:00"), &["redis"], false);
    model.tell(at("22 10:00:00"), "started", "database");
    model.tell(at("22 10:01:00"), "retrying", "database");
    model.tell(at("22 10:02:00"), "started", "database");
    model.made(at("22 10:02:00"), at("22 10:12:00"), "database", false);
    model.up(at("22 10:01:00"), at("23 07:00:00"), &outage);
    // A proof of the newest redis backup, which then never goes.
    assert_eq!(proven, at("23 06:00:00"));
    model.proven.insert(("local", "redis", proven));
    model.up(at("23 07:00:00"), at("23 10:00:00"), &outage);
    // The crash, three minutes into a backup of two: neither is published, and each is made up for once.
    for name in ["database", "redis"] {
        model.tell(at("23 10:00:00"), "started", name);
        model.tell(at("23 13:20:00"), "missed", name);
    }
    model.together(at("23 13:20:00"), &["database", "redis"], false);
    model.up(at("23 13:20:00"), at("26 23:45:00"), &outage);
    // A day without a daemon, made up for once.
    NAMES.iter().for_each(|name| model.tell(at("27 22:10:00"), "missed", name));
    model.together(at("27 22:10:00"), &NAMES, false);
    model.up(at("27 22:10:00"), end, &outage);

    let mut told: Vec<Told> = Vec::new();
    for event in site.recorder.0.lock().unwrap().iter() {
        let phase = match event.phase {
            Phase::Started => "started",
            Phase::Succeeded => "succeeded",
            Phase::Retrying => "retrying",
            Phase::Failed => "failed",
            Phase::Missed => "missed",
            _ => "unknown",
        };
        let component = event.component.as_ref().unwrap().to_string();
        told.push((event.at.with_nanosecond(0).unwrap(), event.action, phase, component, event.store.clone()));
    }
    told.sort();
    model.told.sort();
    for (n, (told, expected)) in told.iter().zip(&model.told).enumerate() {
        assert_eq!(told, expected, "event {n}");
    }
    assert_eq!(told.len(), model.told.len(), "{:?}", told.last());
    let texts: Vec<String> = site.recorder.0.lock().unwrap().iter().map(|e| e.text.clone()).collect();
    assert!(texts.contains(&"11 runs were missed while no daemon ran, made up for now".to_owned()), "{texts:#?}");
    assert!(texts.iter().any(|t| t.contains("missing in 1 of 2 stores: offsite: offsite: no route to host")));

    let mut compared = 0;
    for ((store, name), expected) in &model.there {
        let there = folders(&site.folder(store).join(name));
        let began: BTreeSet<Time> = there.iter().map(|id| stamp(id)).collect();
        assert_eq!(began, *expected, "{name} in {store}");
        assert_eq!(there.len(), expected.len());
        for id in &there {
            let manifest = site.folder(store).join(name).join(id).join("manifest.json");
            assert!(manifest.exists(), "{} is unfinished", manifest.display());
            compared += 1;
        }
    }
    assert!(compared > 50, "only {compared} backups are left");
    // The outage shows, and the proof outlived its day.
    assert_ne!(model.there[&("local", "database")], model.there[&("offsite", "database")]);
    assert!(model.there[&("local", "redis")].contains(&proven));
    assert!(!model.there[&("offsite", "redis")].contains(&proven));
    assert!(began.elapsed() < Duration::from_secs(120), "{:?}", began.elapsed());
}

async fn week(clock: SimulatedClock, outage: std::ops::Range<Time>, end: Time) -> (Site, Time) {
    let site = Site::new(clock, outage, specs());
    site.run_until(at("23 07:00:00"), ON_TIME, false).await;
    let proven = prove(&site).await;
    site.run_until(at("23 10:03:00"), ON_TIME, true).await;
    clock.sleep_until(at("23 13:20:00")).await;
    // A planned restart between two runs changes nothing.
    site.run_until(at("26 08:00:00") - TimeDelta::minutes(50), ON_TIME, false).await;
    site.run_until(at("26 23:45:00"), ON_TIME, true).await;
    clock.sleep_until(at("27 22:10:00")).await;
    site.run_until(at("28 06:30:00"), ON_TIME, false).await;
    // For a day, two daemons protect the same: each run is made once.
    let first = site.run_until(end, ON_TIME, false);
    futures::future::join(first, site.run_until(at("29 06:30:00"), minutes(2), false)).await;
    (site, proven)
}

/// Proves the newest redis backup of the local store; says when it began.
async fn prove(site: &Site) -> Time {
    let (cx, repository, redis) =
        (Cx::background(), site.repository("local"), "redis".parse::<ComponentName>().unwrap());
    let manifest = repository.manifest(&cx, &redis, &Selector::Latest).await.unwrap();
    let found = verify_objects(&cx, &repository, &manifest).await.unwrap();
    repository.record_proof(&cx, &manifest, Level::Objects, &found).await.unwrap();
    manifest.id.started_at()
}

fn folders(of: &std::path::Path) -> Vec<String> {
    let entries = std::fs::read_dir(of).unwrap().map(|e| e.unwrap());
    entries.filter(|e| e.path().is_dir()).map(|e| e.file_name().into_string().unwrap()).collect()
}

fn stamp(id: &str) -> Time {
    chrono::NaiveDateTime::parse_from_str(&id[..16], "%Y%m%dT%H%M%SZ").unwrap().and_utc()
}
