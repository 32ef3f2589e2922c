//! Runs checks: group by group, those of a group at the same time, each to its own deadline.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use chrono::Utc;
use tokio::{sync::Semaphore, task::JoinSet, time::Instant};
use veza_dr_core::{Cx, Error, ErrorKind, Result};

use super::{Check, CheckResult, Finding, Group, PlannedCheck, ValidationReport, Verdict, check::told};

/// How many checks of a group run at once.
const AT_ONCE: usize = 16;

/// Checks that are run together.
#[derive(Debug, Clone, Default)]
pub struct Suite {
    checks: Vec<Arc<dyn Check>>,
}

impl Suite {
    /// These checks.
    ///
    /// # Errors
    /// `Config` when two have the same name.
    pub fn new(checks: Vec<Arc<dyn Check>>) -> Result<Self> {
        for (at, check) in checks.iter().enumerate() {
            if checks[..at].iter().any(|c| c.name() == check.name()) {
                return Err(Error::new(ErrorKind::Config, format!("two checks are called `{}`", check.name()))
                    .with_help("give each check a name of its own"));
            }
        }
        Ok(Self { checks })
    }

    /// Only the checks with these names; all when none is named.
    ///
    /// # Errors
    /// `NotFound` for a name that no check has.
    pub fn only(mut self, names: &[String]) -> Result<Self> {
        if names.is_empty() {
            return Ok(self);
        }
        let known: Vec<&str> = self.checks.iter().map(|c| c.name()).collect();
        if let Some(unknown) = names.iter().find(|n| !known.contains(&n.as_str())) {
            return Err(Error::new(ErrorKind::NotFound, format!("there is no check `{unknown}`"))
                .with_help(format!("the checks are {}", known.join(", "))));
        }
        self.checks.retain(|c| names.iter().any(|n| n == c.name()));
        Ok(self)
    }

    /// Whether there is nothing to run.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.checks.is_empty()
    }

    /// What would run, in the order in which it would. Asks nobody.
    #[must_use]
    pub fn plan(&self) -> Vec<PlannedCheck> {
        let mut plan: Vec<PlannedCheck> = self
            .checks
            .iter()
            .map(|c| PlannedCheck {
                name: c.name().to_owned(),
                group: c.group(),
                tolerance: c.tolerance(),
                deadline_seconds: c.deadline().as_secs_f64(),
            })
            .collect();
        plan.sort_by_key(|c| c.group);
        plan
    }

    /// Runs every check and tells what each found. When the context is cancelled, the checks that have not ended are
    /// errors. Dropping the future ends them; what they had written is removed all the same.
    pub async fn run(&self, cx: &Cx) -> ValidationReport {
        let (started_at, started) = (Utc::now(), Instant::now());
        let mut groups: BTreeMap<Group, Vec<usize>> = BTreeMap::new();
        for (at, check) in self.checks.iter().enumerate() {
            groups.entry(check.group()).or_default().push(at);
        }
        let mut results: Vec<Option<CheckResult>> = vec![None; self.checks.len()];
        for (group, members) in groups {
            let before = results.iter().flatten().find(|r| r.verdict != Verdict::Pass).map(|r| r.name.clone());
            if let (Group::Load, Some(before)) = (group, before) {
                for at in members {
                    let reason = format!("check `{before}` did not pass: load would tell nothing");
                    results[at] = Some(result(&*self.checks[at], Verdict::Skipped, None, Some(reason)));
                }
                continue;
            }
            // Two load checks at once would measure each other.
            let permits = Arc::new(Semaphore::new(if group == Group::Load { 1 } else { AT_ONCE }));
            let mut running = JoinSet::new();
            let mut ids = BTreeMap::new();
            for at in members {
                let (check, cx, permits) = (self.checks[at].clone(), cx.child(), permits.clone());
                let handle = running.spawn(async move {
                    let _permit = permits.acquire_owned().await;
                    run_one(&*check, &cx).await
                });
                ids.insert(handle.id(), at);
            }
            while let Some(ended) = running.join_next_with_id().await {
                let id = ended.as_ref().map_or_else(tokio::task::JoinError::id, |(id, _)| *id);
                let Some(&at) = ids.get(&id) else { continue };
                results[at] = Some(ended.map(|(_, found)| found).unwrap_or_else(|e| {
                    // A check of someone else's may be wrong; the others still count.
                    result(&*self.checks[at], Verdict::Error, None, Some(format!("the check itself broke: {e}")))
                }));
            }
        }
        ValidationReport::new(started_at, started.elapsed(), results.into_iter().flatten().collect())
    }
}

fn result(check: &dyn Check, verdict: Verdict, measured: Option<String>, reason: Option<String>) -> CheckResult {
    CheckResult {
        name: check.name().to_owned(),
        group: check.group(),
        verdict,
        tolerance: check.tolerance(),
        measured,
        reason,
        took_seconds: 0.0,
        evidence: serde_json::Value::Null,
    }
}

async fn run_one(check: &dyn Check, cx: &Cx) -> CheckResult {
    let (started, limit) = (Instant::now(), check.deadline());
    let found = tokio::time::timeout(limit, cx.run(check.name(), check.run(cx))).await;
    let mut result = match found {
        Ok(Ok(Finding { passed, measured, reason, evidence })) => {
            let verdict = if passed { Verdict::Pass } else { Verdict::Fail };
            CheckResult { evidence, ..result(check, verdict, Some(measured), reason) }
        }
        Ok(Err(e)) => result(check, Verdict::Error, None, Some(told(&e))),
        Err(_) => {
            cx.cancel();
            result(check, Verdict::Error, None, Some(format!("it did not end within {}", seconds(limit))))
        }
    };
    result.took_seconds = started.elapsed().as_secs_f64();
    result
}

/// A duration for people.
pub(super) fn seconds(d: Duration) -> String {
    if d < Duration::from_secs(1) { format!("{} ms", d.as_millis()) } else { format!("{:.3} s", d.as_secs_f64()) }
        .replace(".000 s", " s")
}
