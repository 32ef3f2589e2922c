//! What a switch achieved, as the servers of the zone and some resolvers tell it.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use veza_dr_core::{ChangeId, Effect, Error, ErrorKind, Result};

use super::{Agreement, Goal, ServerAnswer};

/// One record as it is answered now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RecordReport {
    /// What the operator calls it.
    pub label: String,
    /// Name and type.
    pub record: String,
    /// What it is to answer.
    pub wanted: String,
    /// What each server of the zone answers.
    pub servers: Vec<ServerAnswer>,
    /// What users of some resolvers get, with the seconds that they will go on getting it.
    pub resolvers: Vec<ServerAnswer>,
    /// Why the servers of the zone could not be asked, where they could not be found.
    pub problem: Option<String>,
}

/// The outcome of a switch or of its rollback.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SwitchReport {
    /// The name of the switch in this host's files; none where nothing had to be changed.
    pub id: Option<String>,
    /// What it was for.
    pub goal: Goal,
    /// Whether it was taken back.
    pub rolled_back: bool,
    /// Whether anything had to be changed.
    pub changed: bool,
    /// What the provider calls the change.
    pub change: Option<ChangeId>,
    /// When all servers of the provider had it.
    pub in_sync_at: Option<DateTime<Utc>>,
    /// When the last cached copy of the old answer has run out, in caches that keep to TTLs. `None` where nothing was
    /// changed, or where there was no record: "no such record" is kept for as long as the zone's SOA says.
    pub caches_clear_at: Option<DateTime<Utc>>,
    /// Each record.
    pub records: Vec<RecordReport>,
    /// When it is taken back unless somebody confirms it.
    pub confirm_by: Option<DateTime<Utc>>,
}

impl SwitchReport {
    pub(super) fn of(goal: Goal, records: Vec<RecordReport>) -> Self {
        Self {
            id: None,
            goal,
            rolled_back: false,
            changed: true,
            change: None,
            in_sync_at: None,
            caches_clear_at: None,
            records,
            confirm_by: None,
        }
    }

    /// The servers of the zone whose answer is `such`.
    fn servers(&self, such: impl Fn(Agreement) -> bool) -> Vec<String> {
        let of = |r: &RecordReport| {
            let matching: Vec<String> = r
                .servers
                .iter()
                .filter(|s| such(s.agreement))
                .map(|s| match (&s.answer, &s.problem) {
                    (Some(answer), _) if answer.values.is_empty() => format!("{} answers no {}", s.server, r.record),
                    (Some(answer), _) => {
                        let ttl = answer.ttl.unwrap_or_default();
                        format!("{} answers {} {} (TTL {ttl} s)", s.server, r.record, answer.values.join(", "))
                    }
                    (None, Some(problem)) => problem.clone(),
                    (None, None) => s.server.clone(),
                })
                .collect();
            matching
        };
        self.records.iter().flat_map(of).collect()
    }

    /// The servers of the zone that answer something else than what is wanted, and with what.
    #[must_use]
    pub fn stale(&self) -> Vec<String> {
        self.servers(|a| matches!(a, Agreement::Before | Agreement::Other))
    }

    /// The servers of the zone that gave no answer, and why.
    #[must_use]
    pub fn silent(&self) -> Vec<String> {
        let mut silent = self.servers(|a| a == Agreement::NoAnswer);
        silent.extend(self.records.iter().filter_map(|r| r.problem.clone()));
        silent
    }

    /// Fails unless every server of the zone answers what is wanted.
    ///
    /// # Errors
    /// `Mismatch` naming each server that answers something else, `Unverified` naming each that does not answer; with
    /// [`Effect::Applied`] where something was changed, as the change stands.
    pub fn ensure_everywhere(&self) -> Result<()> {
        let (stale, silent) = (self.stale(), self.silent());
        let (kind, text) = match (stale.is_empty(), silent.is_empty()) {
            (true, true) => return Ok(()),
            (false, _) => (ErrorKind::Mismatch, format!("not every name server has the records: {}", stale.join("; "))),
            (true, false) => {
                (ErrorKind::Unverified, format!("not every name server could be asked: {}", silent.join("; ")))
            }
        };
        let effect = if self.changed { Effect::Applied } else { Effect::None };
        Err(Error::new(kind, text)
            .with_effect(effect)
            .with_help("look again: veza-dr dns show; take it back: veza-dr dns rollback"))
    }
}
