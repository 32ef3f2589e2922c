//! Reports: one model in three forms and two languages, with names that would be markup, with everything unknown, and
//! from the journal of a run that took place.

#![allow(clippy::unwrap_used, reason = "in a test a failure is what it is for")]

mod markup;

use chrono::{DateTime, TimeDelta, Utc};
use markup::Page;
use serde_json::{Value, json};
use veza_dr_failover::{
    report::{
        Availability, AvailabilitySpan, CheckLine, CleanUp, CleanUpItem, Communication, Comparison, Criterion,
        Decision, Exclusion, Finding, FindingSeverity, Language, Link, Outcome, Person, RecoveryReport, RecoveryTime,
        ReportFolder, ReportKind, Retest, SignOff, TimelineStep, Version,
    },
    runbook::StepStatus,
};

const HOSTILE: &str = "</title><script>alert(1)</script>\"'`|]] <img src=x onerror=y> \u{202e}evil\n# head";

fn at(minute: i64) -> DateTime<Utc> {
    "2026-11-27T10:00:00Z".parse::<DateTime<Utc>>().unwrap() + TimeDelta::minutes(minute)
}

/// Every field filled, every name hostile.
fn full(name: &str) -> RecoveryReport {
    let mut r = RecoveryReport::new("drill-1", ReportKind::IsolatedDrill, at(0));
    (r.scenario, r.about, r.ended_at) = (Some(name.to_owned()), name.to_owned(), Some(at(90)));
    r.scope.components = vec![name.to_owned()];
    r.scope.exclusions = vec![Exclusion::new(name, name)];
    r.scope.third_parties = vec![name.to_owned()];
    (r.scope.place, r.scope.risk_reference) = (Some(name.to_owned()), Some(name.to_owned()));
    r.objectives = vec![name.to_owned()];
    r.preconditions = vec![Criterion::new(name, name, name).met(name)];
    r.criteria.fixed_at = Some(at(-60));
    r.criteria.list = vec![Criterion::new(name, name, name).missed(name)];
    (r.plan.name, r.plan.sha256, r.plan.left_out) = (name.to_owned(), Some("ab".repeat(32)), vec![name.to_owned()]);
    (r.run, r.journal_sha256, r.revises) = (Some(name.to_owned()), Some("cd".repeat(32)), Some("ef".repeat(32)));
    r.versions = vec![Version::new(name, name), Version::unknown("redis")];
    r.people = vec![Person::new(name, name, Some(at(0))).about(name)];
    let mut step = TimelineStep::new(name, StepStatus::Done)
        .between(at(1), at(30))
        .with_text(name, json!({ name: [name, "```", 1.5] }));
    (step.marks, step.attempts) = (Some("T6".to_owned()), 3);
    r.steps = vec![step, TimelineStep::new("late", StepStatus::TimedOut).between(at(31), at(80))];
    r.deviations = vec![name.to_owned()];
    r.skips = vec![Decision::new(name, name, name, Some(at(3)))];
    r.overrides = vec![Decision::new(name, name, name, None)];
    (r.clock.t0, r.clock.t3, r.clock.t4, r.clock.t6) = (Some(at(-10)), Some(at(0)), Some(at(1)), Some(at(30)));
    r.recovery_time = RecoveryTime::of(&r.clock, Some(14400.0));
    (r.recovery_point.target_seconds, r.recovery_point.actual_seconds) = (Some(3600.0), Some(5400.0));
    (r.recovery_point.records_lost, r.recovery_point.method) = (Some(12345), Some(name.to_owned()));
    let mut a = Availability::new(at(-30), at(90), 5000, 7200);
    a.vantage_points = vec![name.to_owned()];
    a.spans = (0..600)
        .map(|n| AvailabilitySpan {
            from: at(-30) + TimeDelta::seconds(n * 12),
            to: at(-30) + TimeDelta::seconds(n * 12 + 12),
            good: if n % 7 == 0 { 0 } else { 12 },
            total: if n < 10 { 0 } else { 12 },
        })
        .collect();
    r.availability = Some(a);
    let mut compared = Comparison::new(name, name, Outcome::Failed).counted(100, 98).digested("a", "b");
    (compared.missing, compared.text) = (Some(2), Some(name.to_owned()));
    r.consistency.compared = vec![compared, Comparison::new("redis", "0", Outcome::Unknown)];
    let mut check = CheckLine::new(name, Outcome::Unknown);
    (check.reason, check.tolerance, check.site) = (Some(name.to_owned()), Some(name.to_owned()), Some(name.to_owned()));
    r.validation = vec![check];
    r.communication = vec![Communication::new(name, Outcome::Failed, name)];
    let item = CleanUpItem::new(name, Outcome::Passed, name);
    let mut clean_up = CleanUp::default();
    (clean_up.removed, clean_up.production) = (vec![item.clone()], vec![item]);
    r.clean_up = Some(clean_up);
    r.findings = vec![
        Finding::new(name, FindingSeverity::High, name).owned(name, "2026-12-31".parse().unwrap()),
        Finding::new("f2", FindingSeverity::Low, "nobody's"),
    ];
    r.retests = vec![Retest::new(name, name, Outcome::Passed, name)];
    (r.lessons, r.plan_changes) = (vec![name.to_owned()], vec![name.to_owned()]);
    r.sign_off = vec![SignOff::new(name, name, at(120))];
    r.next_due = Some(at(60 * 24 * 90));
    r.chain = Some(Link { seq: 7, previous_sha256: Some("01".repeat(32)) });
    r.sha256 = Some("23".repeat(32));
    r.conclude();
    r
}

#[test]
fn hostile_names_stay_text_on_a_page_that_is_well_formed_and_complete_in_itself() {
    for language in [Language::English, Language::French] {
        for report in [full(HOSTILE), full("plain"), RecoveryReport::new("empty", ReportKind::Recovery, at(0))] {
            let text = report.html(language);
            let page = Page::parse(&text);
            page.is_accessible(language.code());
            assert_eq!(page.count("script"), 0);
            assert_eq!(page.count("img") + page.count("link") + page.count("iframe"), 0);
            for (_, attributes) in &page.elements {
                for (name, value) in attributes {
                    assert!(!name.starts_with("on") && name != "src" && name != "style", "{name}={value}");
                    assert!(name != "href" || value.starts_with('#'), "{value}");
                }
            }
            assert!(!text.contains('\u{202e}'), "a line that runs backwards would hide what it says");
            assert!(
                page.text.contains("</title><script>alert(1)</script>") || report.scenario.as_deref() != Some(HOSTILE)
            );
        }
    }
}

/// Without what stands in fences and between back-quotes, which is shown as it is.
fn without_code(text: &str) -> String {
    let mut out = String::new();
    let mut fence: Option<&str> = None;
    for line in text.lines() {
        match fence {
            Some(end) => fence = fence.filter(|_| line != end),
            None if line.starts_with("```") => fence = Some(line.trim_end_matches("json")),
            None => {
                let plain = line.replace("\\`", "");
                out.extend(plain.split('`').step_by(2));
                out.push('\n');
            }
        }
    }
    assert_eq!(fence, None, "every fence ends");
    out
}

#[test]
fn hostile_names_stay_text_in_markdown_and_tables_keep_their_shape() {
    let text = full(HOSTILE).markdown(Language::English);
    let text = without_code(&text);
    assert!(!text.replace("\\<", "").contains('<'), "{text}");
    assert!(!text.lines().any(|l| l.starts_with("# head")), "{text}");
    let mut columns = 0;
    let mut tables = 0;
    for line in text.lines() {
        let bars = line.replace("\\|", "").matches('|').count();
        if line.starts_with("|---") {
            tables += 1;
        }
        match (line.starts_with('|'), columns) {
            (true, 0) => columns = bars,
            (true, n) => assert_eq!(bars, n, "{line}"),
            (false, _) => columns = 0,
        }
    }
    assert!(tables >= 15, "{tables}");
}

#[test]
fn what_is_unknown_is_null_and_said_to_be_unknown_and_a_measured_zero_is_zero() {
    let empty = RecoveryReport::new("empty", ReportKind::Recovery, at(0));
    let document: Value = serde_json::from_str(&empty.json().unwrap()).unwrap();
    for pointer in [
        "/recovery_time/actual_seconds",
        "/recovery_point/actual_seconds",
        "/recovery_point/records_lost",
        "/availability",
        "/clock/T0",
        "/clean_up",
        "/sha256",
        "/chain",
        "/criteria/fixed_at",
        "/next_due",
    ] {
        assert_eq!(document.pointer(pointer), Some(&Value::Null), "{pointer}");
    }
    let page = Page::parse(&empty.html(Language::English)).text;
    for told in [
        "Data loss, in records unknown",
        "Nothing was compared: unknown.",
        "No check was run: unknown.",
        "Not measured: unknown.",
    ] {
        assert!(page.contains(told), "{told} in {page}");
    }
    assert!(Page::parse(&empty.html(Language::French)).text.contains("Perte de données, en enregistrements inconnu"));
    let mut none_lost = empty;
    none_lost.recovery_point.records_lost = Some(0);
    none_lost.recovery_point.actual_seconds = Some(0.0);
    let page = Page::parse(&none_lost.html(Language::English)).text;
    assert!(page.contains("Data loss, in records 0 ") && page.contains("Data loss (RPA) 0 s"), "{page}");
    // Probes that nobody sent make no percentage.
    assert_eq!(Availability::new(at(0), at(1), 0, 0).percent, None);
}

#[test]
fn the_verdict_and_the_numbers_are_told_in_both_languages() {
    let report = full("plain");
    assert_eq!(report.outcome, Outcome::Failed);
    let english = Page::parse(&report.html(Language::English)).text;
    for told in [
        "Verdict: failed",
        "40 min",
        "within the objective (4 h)",
        "1 h 30 min",
        "beyond the objective (1 h)",
        "12,345",
        "27 November 2026, 10:00:00 UTC",
        "69.4%",
        "31 December 2026",
        "not set yet",
        "2 lost",
    ] {
        let told = if told == "2 lost" { "98 2" } else { told };
        assert!(english.contains(told), "{told} in {english}");
    }
    let french = Page::parse(&report.html(Language::French)).text;
    for told in [
        "Verdict\u{a0}: échoué",
        "dans l'objectif (4 h)",
        "hors objectif (1 h)",
        "12\u{202f}345",
        "27 novembre 2026 à 10:00:00 UTC",
        "69,4\u{a0}%",
        "Constats",
        "à définir",
    ] {
        assert!(french.contains(told), "{told} in {french}");
    }
    let markdown = report.markdown(Language::French);
    assert!(markdown.contains("**Verdict\u{a0}: ÉCHOUÉ**") && markdown.contains("12\u{202f}345"));
}

#[test]
fn all_forms_come_from_what_was_sealed() {
    let dir = tempfile::tempdir().unwrap();
    let folder = ReportFolder::new(dir.path());
    let sealed = folder.append(full(HOSTILE)).unwrap();
    assert_eq!(sealed.about, HOSTILE);
    let read = folder.read("drill-1").unwrap();
    assert_eq!(read, sealed);
    assert_eq!(read.html(Language::English), sealed.html(Language::English));
    assert!(read.html(Language::English).contains(read.sha256.as_ref().unwrap()));
    let document: Value = serde_json::from_str(&read.json().unwrap()).unwrap();
    assert!(veza_dr_failover::report::verify_chain(&[document]).is_whole(), "the JSON form is the sealed document");
}
