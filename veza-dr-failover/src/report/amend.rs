//! What people add to a sealed report: who mends a finding and by when, what was seen of it later, a signature.
//!
//! A sealed report is never changed: each addition seals a new one that takes its place and names it.

use std::collections::BTreeMap;

use chrono::{DateTime, NaiveDate, Utc};
use serde::{Deserialize, Serialize};
use veza_dr_core::{Error, ErrorKind, Result};

use super::{Finding, Outcome, RecoveryReport, ReportFolder, ReportSummary, Retest, SignOff};

/// Something that a person adds.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Addition {
    /// Something to be mended that no tool saw.
    Finding(Finding),
    /// Who mends a finding of the report, and by when.
    Owner {
        /// The finding's name.
        finding: String,
        /// Who.
        owner: String,
        /// By this day.
        due: NaiveDate,
    },
    /// A finding of this report or of an earlier one, looked at again.
    Retest(Retest),
    /// What was learnt.
    Lesson(String),
    /// What changes in the plan.
    PlanChange(String),
    /// Somebody stands behind the report as it is now: its hash is noted with the signature.
    SignOff(SignOff),
}

/// A finding that nobody has shown to be mended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct OpenFinding {
    /// The newest revision of the report that tells of it.
    pub report: String,
    /// The disaster that the report is about.
    pub scenario: Option<String>,
    /// When what the report tells of began.
    pub found_at: DateTime<Utc>,
    /// What was found, who mends it, by when.
    pub finding: Finding,
}

impl OpenFinding {
    /// Whether the day by which it was to be mended has passed. Without a day it is not overdue: nobody set one.
    #[must_use]
    pub fn is_overdue(&self, today: NaiveDate) -> bool {
        self.finding.due.is_some_and(|due| due < today)
    }
}

impl ReportFolder {
    /// The newest revision of a report, named by the name of any revision of it or by its run; `latest` is that of the
    /// newest report.
    ///
    /// # Errors
    /// As [`ReportFolder::read`].
    pub fn newest(&self, id: &str) -> Result<RecoveryReport> {
        let all = self.list()?;
        let named = |s: &&ReportSummary| s.id == id || s.run.as_deref() == Some(id);
        let found = if id == "latest" { all.last() } else { all.iter().find(named) };
        let Some(found) = found else { return self.read(id) };
        self.read(&newest_of(&all, found).id)
    }

    /// Seals a revision of the newest revision of a report that has one thing more; gives what was written. Two people
    /// at once come one after the other, and neither's addition is lost.
    ///
    /// ```
    /// use veza_dr_failover::report::{Addition, Finding, FindingSeverity, RecoveryReport, ReportFolder, ReportKind};
    /// # let dir = tempfile::tempdir().unwrap();
    /// let folder = ReportFolder::new(dir.path().join("reports"));
    /// let mut report = RecoveryReport::new("drill-1", ReportKind::IsolatedDrill, chrono::Utc::now());
    /// report.findings.push(Finding::new("f1", FindingSeverity::High, "the standby's disk is too small"));
    /// folder.append(report)?;
    /// let due = chrono::NaiveDate::from_ymd_opt(2027, 1, 31).unwrap();
    /// let owner = Addition::Owner { finding: "f1".to_owned(), owner: "ann".to_owned(), due };
    /// let revised = folder.amend("drill-1", owner)?;
    /// assert_eq!((revised.id.as_str(), revised.findings[0].owner.as_deref()), ("drill-1-rev2", Some("ann")));
    /// assert_eq!(folder.open_findings()?.len(), 1);
    /// # Ok::<(), veza_dr_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// `NotFound` for a report or a finding that is not there, `Conflict` for a finding whose name is taken, `Config` for
    /// an empty name or text; else as [`ReportFolder::append`]. Nothing was changed then.
    pub fn amend(&self, id: &str, addition: Addition) -> Result<RecoveryReport> {
        let lock = self.lock()?;
        let mut report = self.newest(id)?;
        let retested = match &addition {
            Addition::Retest(retest) => Some(self.newest(&retest.report)?),
            _ => None,
        };
        add(&mut report, retested.as_ref(), addition)?;
        report.revises = report.sha256.take();
        report.chain = None;
        self.revision(&lock, report)
    }

    /// Findings of the newest revisions of all reports that no later look has shown to be mended, those that are due
    /// first in front, those without a day last.
    ///
    /// # Errors
    /// As [`ReportFolder::read`]: what cannot be read could hold one.
    pub fn open_findings(&self) -> Result<Vec<OpenFinding>> {
        let all = self.list()?;
        let mut open = BTreeMap::new();
        let mut mended = BTreeMap::new();
        for summary in &ReportSummary::newest_of_each(&all) {
            let report = self.read(&summary.id)?;
            for retest in &report.retests {
                let Some(first) = all.iter().find(|s| s.id == retest.report).map(|s| first_of(&all, s)) else {
                    continue;
                };
                // Of several looks the last one counts: reports are in the order in which they were sealed.
                mended.insert((first.id.clone(), retest.finding.clone()), retest.outcome == Outcome::Passed);
            }
            let first = first_of(&all, summary).id.clone();
            for finding in report.findings {
                let found = OpenFinding {
                    report: report.id.clone(),
                    scenario: report.scenario.clone(),
                    found_at: report.started_at,
                    finding,
                };
                open.insert((first.clone(), found.finding.id.clone()), found);
            }
        }
        let mut open: Vec<OpenFinding> =
            open.into_iter().filter(|(key, _)| mended.get(key) != Some(&true)).map(|(_, found)| found).collect();
        open.sort_by_key(|f| {
            (f.finding.due.is_none(), f.finding.due, std::cmp::Reverse(f.finding.severity), f.found_at)
        });
        Ok(open)
    }
}

impl ReportSummary {
    /// Of each report the newest revision alone, in the order in which what they tell of began: a drill whose report was
    /// signed later is neither a second drill nor a later one.
    #[must_use]
    pub fn newest_of_each(all: &[Self]) -> Vec<Self> {
        let mut newest: Vec<Self> = all.iter().filter(|s| newest_of(all, s).id == s.id).cloned().collect();
        newest.sort_by_key(|s| s.started_at);
        newest
    }
}

fn add(report: &mut RecoveryReport, retested: Option<&RecoveryReport>, addition: Addition) -> Result<()> {
    match addition {
        Addition::Finding(finding) => {
            given("the finding's name", &finding.id)?;
            given("the finding's text", &finding.text)?;
            if report.findings.iter().any(|f| f.id == finding.id) {
                let text = format!("report {} has a finding {} already", report.id, finding.id);
                return Err(Error::new(ErrorKind::Conflict, text).with_help("give it another name"));
            }
            report.findings.push(finding);
        }
        Addition::Owner { finding, owner, due } => {
            given("the owner", &owner)?;
            let at = position(report, &finding)?;
            let found = &mut report.findings[at];
            (found.owner, found.due) = (Some(owner), Some(due));
        }
        Addition::Retest(mut retest) => {
            given("what was seen", &retest.text)?;
            if let Some(earlier) = retested {
                position(earlier, &retest.finding)?;
                retest.report.clone_from(&earlier.id);
            }
            report.retests.push(retest);
        }
        Addition::Lesson(text) => {
            given("the lesson", &text)?;
            report.lessons.push(text);
        }
        Addition::PlanChange(text) => {
            given("the change", &text)?;
            report.plan_changes.push(text);
        }
        Addition::SignOff(mut signature) => {
            given("the name", &signature.name)?;
            given("the role", &signature.role)?;
            signature.sha256.clone_from(&report.sha256);
            report.sign_off.push(signature);
        }
    }
    Ok(())
}

fn position(report: &RecoveryReport, finding: &str) -> Result<usize> {
    report.findings.iter().position(|f| f.id == finding).ok_or_else(|| {
        let known: Vec<&str> = report.findings.iter().map(|f| f.id.as_str()).collect();
        let known = if known.is_empty() { "it has none".to_owned() } else { format!("it has {}", known.join(", ")) };
        Error::new(ErrorKind::NotFound, format!("report {} has no finding {finding}", report.id)).with_help(known)
    })
}

fn given(what: &str, text: &str) -> Result<()> {
    if !text.trim().is_empty() {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Config, format!("{what} is empty")).with_help("say it in a few words"))
}

/// The last of those that took its place, one after the other; itself when none did.
fn newest_of<'a>(all: &'a [ReportSummary], mut of: &'a ReportSummary) -> &'a ReportSummary {
    // Each step goes to one that was sealed later, so it ends.
    while let Some(next) = of.sha256.as_ref().and_then(|hash| all.iter().rfind(|s| s.revises.as_ref() == Some(hash))) {
        of = next;
    }
    of
}

/// The report that it takes the place of in the end; itself when of none.
fn first_of<'a>(all: &'a [ReportSummary], mut of: &'a ReportSummary) -> &'a ReportSummary {
    while let Some(earlier) = of.revises.as_ref().and_then(|hash| all.iter().find(|s| s.sha256.as_ref() == Some(hash)))
    {
        of = earlier;
    }
    of
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{FindingSeverity, ReportKind};

    fn day(day: u32) -> NaiveDate {
        NaiveDate::from_ymd_opt(2027, 1, day).unwrap()
    }

    fn folder() -> (tempfile::TempDir, ReportFolder) {
        let dir = tempfile::tempdir().unwrap();
        let folder = ReportFolder::new(dir.path().join("reports"));
        for id in ["first", "second"] {
            let mut report = RecoveryReport::new(id, ReportKind::IsolatedDrill, Utc::now());
            report.findings.push(Finding::new("f1", FindingSeverity::High, format!("{id}: too slow")));
            folder.append(report).unwrap();
        }
        (dir, folder)
    }

    fn owner(name: &str, due: NaiveDate) -> Addition {
        Addition::Owner { finding: "f1".into(), owner: name.into(), due }
    }

    #[test]
    fn each_addition_is_a_revision_and_the_chain_stays_whole() {
        let (_dir, folder) = folder();
        let sealed = folder.read("first").unwrap();
        let owned = folder.amend("first", owner("ann", day(9))).unwrap();
        assert_eq!((owned.id.as_str(), &owned.revises), ("first-rev2", &sealed.sha256));
        let signed = folder.amend("first", Addition::SignOff(SignOff::new("bob", "CTO", Utc::now()))).unwrap();
        assert_eq!((signed.id.as_str(), &signed.revises), ("first-rev3", &owned.sha256));
        assert_eq!(signed.sign_off[0].sha256, owned.sha256, "what was signed");
        assert_eq!(signed.findings[0].owner.as_deref(), Some("ann"), "nothing of the one before is lost");
        assert_eq!(folder.read("first").unwrap(), sealed, "what was sealed stays as it was");
        for name in ["first", "first-rev2", "first-rev3"] {
            assert_eq!(folder.newest(name).unwrap(), signed);
        }
        assert_eq!(folder.newest("second").unwrap().id, "second");
        assert_eq!(folder.newest("latest").unwrap().id, "first-rev3");
        let check = folder.verify().unwrap();
        assert_eq!((check.reports, check.is_whole()), (4, true), "{check:?}");
    }

    #[test]
    fn a_revision_is_neither_another_report_nor_a_later_one() {
        let (_dir, folder) = folder();
        folder.amend("first", Addition::Lesson("more room".into())).unwrap();
        let names = |reports: Vec<ReportSummary>| reports.into_iter().map(|s| s.id).collect::<Vec<_>>();
        let all = folder.list().unwrap();
        assert_eq!(names(ReportSummary::newest_of_each(&all)), ["first-rev2", "second"]);
        assert_eq!(names(all), ["first", "second", "first-rev2"]);
    }

    #[test]
    fn a_finding_is_open_until_the_last_look_shows_it_mended() {
        let (_dir, folder) = folder();
        let open = || -> Vec<(String, Option<String>)> {
            let open = folder.open_findings().unwrap();
            open.into_iter().map(|f| (f.report, f.finding.owner)).collect()
        };
        folder.amend("second", owner("ann", day(9))).unwrap();
        let ann = ("second-rev2".to_owned(), Some("ann".to_owned()));
        assert_eq!(open(), [ann.clone(), ("first".to_owned(), None)], "the one with a day first");
        let overdue = folder.open_findings().unwrap();
        assert!(!overdue[0].is_overdue(day(9)) && overdue[0].is_overdue(day(10)) && !overdue[1].is_overdue(day(31)));
        let look = |outcome| Addition::Retest(Retest::new("first", "f1", outcome, "looked at again"));
        folder.amend("second", look(Outcome::Unknown)).unwrap();
        assert_eq!(open().len(), 2, "what could not be told is not mended");
        folder.amend("second", look(Outcome::Passed)).unwrap();
        assert_eq!(open(), [("second-rev4".to_owned(), ann.1)]);
        folder.amend("second", look(Outcome::Failed)).unwrap();
        assert_eq!(open().len(), 2, "it is back");
    }

    #[test]
    fn what_is_not_there_or_says_nothing_changes_nothing() {
        let (_dir, folder) = folder();
        let finding = |id: &str, text: &str| Addition::Finding(Finding::new(id, FindingSeverity::Low, text));
        for (id, addition, kind) in [
            ("third", owner("ann", day(1)), ErrorKind::NotFound),
            ("first", owner(" ", day(1)), ErrorKind::Config),
            ("first", Addition::Owner { finding: "f7".into(), owner: "ann".into(), due: day(1) }, ErrorKind::NotFound),
            ("first", Addition::Retest(Retest::new("third", "f1", Outcome::Passed, "seen")), ErrorKind::NotFound),
            ("first", Addition::Retest(Retest::new("second", "f7", Outcome::Passed, "seen")), ErrorKind::NotFound),
            ("first", Addition::SignOff(SignOff::new("", "CTO", Utc::now())), ErrorKind::Config),
            ("first", Addition::Lesson(String::new()), ErrorKind::Config),
            ("first", finding("f1", "again"), ErrorKind::Conflict),
            ("first", finding("f2", ""), ErrorKind::Config),
        ] {
            let told = folder.amend(id, addition.clone()).unwrap_err();
            assert_eq!(told.kind(), kind, "{addition:?}: {told}");
        }
        assert_eq!(folder.verify().unwrap().reports, 2);
    }

    #[test]
    fn two_people_at_once_both_stay() {
        let (_dir, folder) = folder();
        std::thread::scope(|scope| {
            for at in 0..6 {
                let folder = &folder;
                scope.spawn(move || folder.amend("first", Addition::Lesson(format!("lesson {at}"))).unwrap());
            }
        });
        let newest = folder.newest("first").unwrap();
        assert_eq!((newest.lessons.len(), newest.id.as_str()), (6, "first-rev7"));
    }
}
