//! What the reader of a status must know of each component: objective, schedule, stores.

use std::time::Duration;

use chrono::{DateTime, Utc};
use veza_dr_backup::{RetentionPolicy, Timetable, Zone, status::ComponentQuery, store::Holder};
use veza_dr_core::{ComponentName, Cx, Result, Rpo};

use crate::wiring::{Access, Wiring};

/// A run, a retry and some jitter fit into this.
const GRACE: Duration = Duration::from_secs(600);

impl Wiring {
    /// When a component is backed up; `None` without a schedule.
    pub(crate) fn timetable(&self, component: &ComponentName) -> Option<Timetable> {
        let policy = self.loaded.config.backup.get(component.as_str());
        let machine = Holder::this_process("").host;
        policy.and_then(|p| p.schedule.as_ref()).map(|schedule| schedule.timetable(&machine))
    }

    /// For how long its backups are kept; `None`: for ever.
    pub(crate) fn retention(&self, component: &ComponentName) -> Option<RetentionPolicy> {
        let policy = self.loaded.config.backup.get(component.as_str())?;
        let zone = policy.schedule.as_ref().map_or(Zone::Local, |schedule| schedule.zone());
        Some(policy.retention?.policy(zone))
    }

    /// The strictest recovery point objective of the scenarios that need a component. One of nothing lost is left out:
    /// no backup meets it, however young.
    pub(crate) fn rpo(&self, component: &ComponentName) -> Option<Rpo> {
        let spans = self.scenarios().into_iter().filter(|s| s.needs.contains(component)).map(|s| s.rpo.0);
        spans.filter(|rpo| !rpo.is_zero()).min().map(Rpo)
    }

    /// How late a backup may be.
    pub(crate) fn grace(&self) -> Duration {
        self.loaded.config.serve.grace.map_or(GRACE, |g| g.0)
    }

    /// What to ask about one component. Stores are only looked at: one whose folder is missing is unknown.
    pub(crate) async fn status_query(
        &self,
        cx: &Cx,
        component: &ComponentName,
        only: Option<&str>,
        now: DateTime<Utc>,
    ) -> Result<ComponentQuery> {
        let mut query = ComponentQuery::new(component.clone(), self.source(component)?.engine());
        let opened = self.open(cx, Some(component), only, Access::Read).await?;
        (query.repositories, query.unopened) = (opened.repositories, opened.failed);
        query.rpo = self.rpo(component);
        query.grace = self.grace();
        if let Some(table) = self.timetable(component) {
            let worst = table.schedule.worst_gap(now);
            query.expected_interval = worst.map(|w| w.gap.saturating_add(table.jitter));
            query.next_run = table.schedule.next_after(now).map(|due| table.begins(due));
        }
        Ok(query)
    }
}
