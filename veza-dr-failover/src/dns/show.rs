//! What is there now: at the provider, at each server of the zone, at some resolvers.

use chrono::Utc;
use futures::future::join_all;
use serde::Serialize;
use veza_dr_core::{Cx, Result};

use super::{
    Agreement, RecordReport, SavedSwitch, Side, SiteRecord, Switch, SwitchedRecord,
    answers::{Expected, ask_resolvers},
    ttl::Remembered,
    wording::shown,
};

/// One configured record as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct RecordView {
    /// What the operator calls it.
    pub label: String,
    /// What the provider holds; one line for each of its sets.
    pub held: Vec<String>,
    /// The side that users are led to, where it is one.
    pub side: Option<Side>,
    /// The TTL of normal times, while it is lowered.
    pub normal_ttl: Option<u32>,
    /// What the servers and resolvers answer, against what the provider holds.
    pub answers: Option<RecordReport>,
    /// Why the provider could not be read: it is not known what it holds.
    pub problem: Option<String>,
}

/// All of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ZoneView {
    /// The provider.
    pub provider: String,
    /// Each configured record.
    pub records: Vec<RecordView>,
    /// The last switch of this host.
    pub last: Option<SavedSwitch>,
    /// Whether that was to be taken back, as nobody confirmed it, and was not.
    pub overdue: bool,
    /// Each server that answers something else than what the provider holds, and all that could not be found out.
    pub differences: Vec<String>,
}

impl Switch {
    /// Looks at everything once. Changes nothing.
    ///
    /// # Errors
    /// `Cancelled`, or when this host's own files cannot be read. What cannot be reached is in the view.
    pub async fn show(&self, cx: &Cx) -> Result<ZoneView> {
        cx.check("look at the records")?;
        let remembered = Remembered::load(&self.folder)?;
        let last = self.folder.load()?;
        let records = join_all(self.settings.records.iter().map(|r| self.view(cx, r, &remembered))).await;
        cx.check("look at the records")?;
        let overdue = last.as_ref().is_some_and(|s| s.is_overdue(Utc::now()));
        let differences = records.iter().flat_map(differences).collect();
        Ok(ZoneView { provider: self.provider.name().to_owned(), records, last, overdue, differences })
    }

    async fn view(&self, cx: &Cx, record: &SiteRecord, remembered: &Remembered) -> RecordView {
        let mut view = RecordView {
            label: record.label.clone(),
            held: Vec::new(),
            side: None,
            normal_ttl: None,
            answers: None,
            problem: None,
        };
        let mut sets = Vec::new();
        for (key, side) in record.keys() {
            match self.provider.read(cx, &key).await {
                Ok(held) => {
                    view.held.push(format!("{key}: {}", shown(held.as_ref())));
                    view.normal_ttl = view.normal_ttl.or(remembered.of(&key));
                    sets.push((side, SwitchedRecord::new(&record.label, key, held.clone(), held)));
                }
                Err(e) => view.problem = Some(e.chain()),
            }
        }
        if view.problem.is_none() {
            view.side = side(record, &sets);
            let records: Vec<SwitchedRecord> = sets.into_iter().map(|(_, set)| set).collect();
            if let Some(expected) = Expected::of(&records).first() {
                let (asked, resolvers) =
                    futures::join!(self.asked(cx, expected), ask_resolvers(cx, &self.settings.resolvers, expected));
                view.answers = asked.ok().map(|report| RecordReport { resolvers, ..report });
            }
        }
        view
    }
}

/// Where all users are led: by values, or by the only weighted set that has a weight.
fn side(record: &SiteRecord, sets: &[(Option<Side>, SwitchedRecord)]) -> Option<Side> {
    let mut sides = [Side::Primary, Side::Standby].into_iter().filter(|side| {
        let leads = |(of, set): &(Option<Side>, SwitchedRecord)| {
            set.before.as_ref().is_some_and(|held| match of {
                None => record.leads_to(*side, &held.values),
                Some(of) => of == side && held.weight != Some(0),
            })
        };
        sets.iter().any(leads)
    });
    let first = sides.next();
    if sides.next().is_some() { None } else { first }
}

fn differences(view: &RecordView) -> Vec<String> {
    let mut all: Vec<String> = view.problem.iter().cloned().collect();
    let Some(answers) = &view.answers else { return all };
    all.extend(answers.problem.iter().cloned());
    for (server, of_zone) in
        answers.servers.iter().map(|s| (s, true)).chain(answers.resolvers.iter().map(|s| (s, false)))
    {
        match (server.agreement, &server.answer, &server.problem) {
            (Agreement::Before | Agreement::Other, Some(answer), _) => {
                let until = match (of_zone, answer.ttl) {
                    (false, Some(ttl)) => format!(" for {ttl} s more"),
                    (_, Some(ttl)) => format!(" (TTL {ttl} s)"),
                    _ => String::new(),
                };
                let values = if answer.values.is_empty() { "no record".to_owned() } else { answer.values.join(", ") };
                all.push(format!("{} answers {} with {values}{until}", server.server, answers.record));
            }
            (Agreement::NoAnswer, _, Some(problem)) => all.push(problem.clone()),
            _ => {}
        }
    }
    all
}
