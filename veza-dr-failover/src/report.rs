//! Reports of recoveries and drills: one model, from which JSON, Markdown and a page are made.
//!
//! A [`RecoveryReport`] is filled by whoever ran something ([`RecoveryReport::of_run`] does it for a runbook), its verdict
//! is drawn by [`RecoveryReport::conclude`], and [`ReportFolder::append`] seals it: each sealed report holds the SHA-256
//! of the one before and of itself, so that [`verify_chain`] finds any that was changed, lost or put in between.
//! **What is not known is `null`, shown as "unknown", never 0.** docs/reports.md has the fields, docs/compliance.md which
//! rule asks for which of them.
//!
//! ```
//! use veza_dr_failover::report::{Criterion, Language, Outcome, RecoveryReport, ReportFolder, ReportKind};
//! let dir = tempfile::tempdir().unwrap();
//! let now = chrono::Utc::now();
//! let mut report = RecoveryReport::new("drill-1", ReportKind::IsolatedDrill, now);
//! report.criteria.fixed_at = Some(now);
//! report.criteria.list.push(Criterion::new("rows", "every row is back", "0 rows lost").met("0 rows lost"));
//! report.conclude();
//! let folder = ReportFolder::new(dir.path().join("reports"));
//! let sealed = folder.append(report).unwrap();
//! assert_eq!(sealed.outcome, Outcome::Passed);
//! assert!(folder.verify().unwrap().is_whole());
//! assert!(sealed.html(Language::French).contains("lang=\"fr\""));
//! ```

mod amend;
mod archive;
mod canonical;
mod chain;
mod conclude;
mod document;
mod document_evidence;
mod document_parts;
mod escape;
mod folder;
mod from_run;
mod html;
mod html_style;
mod language;
mod markdown;
mod measured;
mod model;
mod people;
mod phrases;
mod phrases_french;
mod timeline;
mod words;

pub use amend::{Addition, OpenFinding};
pub use archive::ReportArchive;
pub use canonical::canonical;
pub use chain::{ChainCheck, ChainProblem, verify_chain};
#[cfg(feature = "http")]
pub(crate) use escape::html as escape_html;
pub use folder::{ReportFolder, ReportSummary};
pub use from_run::RunFacts;
#[cfg(feature = "http")]
pub(crate) use html_style::{STYLE, source as style_source};
pub use language::Language;
pub use measured::{Availability, AvailabilitySpan, ClockPoints, Comparison, Consistency, RecoveryPoint, RecoveryTime};
pub use model::{
    CheckLine, CleanUp, CleanUpItem, Criteria, Criterion, Link, Outcome, PlanLine, RecoveryReport, ReportKind, Scope,
    TimelineStep, VERSION, Version,
};
pub use people::{Communication, Decision, Exclusion, Finding, FindingSeverity, Person, Retest, SignOff};
