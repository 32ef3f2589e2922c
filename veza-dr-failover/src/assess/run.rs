//! Carries an assessment out: every probe at once.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use chrono::Utc;
use futures::future::join_all;
use tokio::time::{Instant, timeout};
use veza_dr_core::{Cx, ErrorKind, Health, Observation, Result, ServiceProbe};

use super::{Assess, Assessment, Condition, Finding, judge};

/// A probe that ends by its own deadline knows better what it saw than we do: it gets this much longer.
const GRACE: Duration = Duration::from_millis(250);

impl Assess {
    /// Looks at everything at once, and ends a quarter of a second after the deadline at the latest. What a probe could
    /// not tell is unknown in the result, and so is everything when the context is cancelled.
    pub async fn run(&self, cx: &Cx) -> Assessment {
        let (at, began) = (Utc::now(), Instant::now());
        let sites = join_all(self.sites.iter().map(|site| async move {
            let services = join_all(
                site.services.iter().map(|service| async move { (service, self.look_all(cx, &service.probes).await) }),
            );
            (site, services.await)
        }));
        let (sites, network, disks, backups) = tokio::join!(
            sites,
            self.look_all(cx, &self.network),
            self.look_all(cx, &self.disks),
            self.look_all(cx, &self.backups),
        );
        let cut_off = judge::is_cut_off(&network);
        let sites = sites.into_iter().map(|(site, services)| judge::site(site, services, cut_off)).collect();
        let mut found = Assessment {
            at,
            took: began.elapsed(),
            condition: Condition::Unknown,
            reasons: Vec::new(),
            suggestion: None,
            sites,
            network,
            disks,
            backups,
            next: Vec::new(),
        };
        judge::overall(&mut found, cut_off);
        found.suggest(self.compromised, cut_off);
        found.advise(self.ttl);
        found
    }

    async fn look_all(&self, cx: &Cx, probes: &[Arc<dyn ServiceProbe>]) -> Vec<Finding> {
        join_all(probes.iter().map(|probe| self.look(cx, probe.as_ref()))).await
    }

    async fn look(&self, cx: &Cx, probe: &dyn ServiceProbe) -> Finding {
        let began = Instant::now();
        let end = SystemTime::now() + self.deadline;
        let within = cx.clone().with_deadline(cx.deadline().map_or(end, |given| given.min(end)));
        let seen = timeout(self.deadline + GRACE, probe.observe(&within)).await;
        finding(probe.name(), began.elapsed(), seen.ok())
    }
}

fn finding(probe: &str, took: Duration, seen: Option<Result<Observation>>) -> Finding {
    let (condition, detail, reached) = match seen {
        Some(Ok(seen)) => {
            let condition = match seen.health {
                Health::Healthy => Condition::Healthy,
                Health::Degraded => Condition::Degraded,
                Health::Down => Condition::Down,
            };
            (condition, seen.detail, Some(seen.reached))
        }
        Some(Err(e)) => {
            let condition = if e.kind() == ErrorKind::NotFound { Condition::Absent } else { Condition::Unknown };
            let help = e.help().map(|help| format!(" ({help})")).unwrap_or_default();
            (condition, format!("{}{help}", e.chain()), None)
        }
        None => (Condition::Unknown, format!("the probe did not end within {:.1} s", took.as_secs_f64()), None),
    };
    Finding { probe: probe.to_owned(), condition, detail, took, reached }
}
