//! `veza-dr prune`: what retention keeps and deletes, and why; then, if agreed, the deletion.

use std::sync::Arc;

use veza_dr_backup::{PruneReport, Repository, RetentionPolicy, SimulatedDay, plan_prune, prune as apply, simulate};
use veza_dr_core::{Clock, ComponentName, Error, ErrorKind, Result, SystemClock};

use super::{
    Session,
    session::{Go, not_confirmed},
};
use crate::{
    Exit,
    args::Prune,
    render::{prune_json, prune_text},
    wiring::{Access, Wiring},
};

/// One component in one store.
#[derive(Debug)]
pub(crate) struct Pruned {
    pub(crate) component: ComponentName,
    pub(crate) store: String,
    /// `None`: no retention is configured for it.
    pub(crate) policy: Option<RetentionPolicy>,
    pub(crate) result: Result<PruneReport>,
    pub(crate) days: Vec<SimulatedDay>,
    repository: Option<Repository>,
}

pub(crate) async fn prune(session: &Session, args: &Prune) -> Result<Exit> {
    let wiring = session.wiring()?;
    if let Some(component) = &args.component {
        wiring.source(component)?;
    }
    let components = args.component.clone().map_or_else(|| wiring.components(), |one| vec![one]);
    let mut all = Vec::new();
    for component in components {
        all.extend(plans(session, &wiring, component, args.simulate_days).await?);
    }
    let deletes = |p: &Pruned| p.result.as_ref().is_ok_and(|r| r.decisions.iter().any(|d| d.deletes()));
    let looking = args.consent.plan || args.simulate_days.is_some();
    if looking || !all.iter().any(deletes) {
        session.out.result(|| prune_json(&all, false), |paint| prune_text(&all, false, paint));
        return Ok(exit(&all));
    }
    session.out.show(|paint| prune_text(&all, false, paint));
    if let Go::No(e) = session.consent(&args.consent, "Delete them?").await? {
        session.out.json_only(|| not_confirmed(&e, prune_json(&all, false)));
        return Ok(Exit::NotConfirmed);
    }
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    for one in all.iter_mut().filter(|p| deletes(p)) {
        if let (Some(repository), Some(policy)) = (&one.repository, &one.policy) {
            one.result = apply(&session.cx, repository, &one.component, policy, &clock).await;
        }
    }
    session.out.result(|| prune_json(&all, true), |paint| prune_text(&all, true, paint));
    Ok(exit(&all))
}

fn exit(all: &[Pruned]) -> Exit {
    let one = |p: &Pruned| match &p.result {
        Ok(report) if report.refused.is_empty() => Exit::Ok,
        Ok(_) => Exit::Partial,
        Err(e) => Exit::from(e),
    };
    Exit::of_many(&all.iter().map(one).collect::<Vec<_>>())
}

/// What would be done in each store of a component.
async fn plans(
    session: &Session,
    wiring: &Wiring,
    component: ComponentName,
    simulate_days: Option<u32>,
) -> Result<Vec<Pruned>> {
    let cx = &session.cx;
    let policy = wiring.retention(&component);
    let opened = wiring.open(cx, Some(&component), session.store(), Access::Read).await?;
    let now = SystemClock.now();
    let mut all = Vec::new();
    for repository in opened.repositories {
        // Without a rule everything stays, which is shown as such.
        let rules = policy.clone().unwrap_or_default();
        let result = plan_prune(cx, &repository, &component, &rules, now).await;
        if result.as_ref().is_err_and(|e| e.kind() == ErrorKind::Cancelled) {
            result?;
            continue;
        }
        let days = match (&result, simulate_days) {
            (Ok(report), Some(days)) => simulate(&report.candidates, &rules, now, days),
            _ => Vec::new(),
        };
        let (component, store, policy) = (component.clone(), repository.name().to_owned(), policy.clone());
        all.push(Pruned { component, store, policy, result, days, repository: Some(repository) });
    }
    for (store, e) in opened.failed {
        let (component, policy) = (component.clone(), policy.clone());
        all.push(Pruned { component, store, policy, result: Err(e), days: Vec::new(), repository: None });
    }
    if all.is_empty() {
        return Err(Error::new(ErrorKind::Config, format!("{component} has no store")));
    }
    Ok(all)
}
