//! `veza-dr restore`: plan, ask, apply.

use std::sync::Arc;

use serde_json::json;
use veza_dr_core::{Error, ErrorKind, RestoreRequest, Result};

use super::{
    Session,
    session::{Go, blocked, not_confirmed, plan_exit},
};
use crate::{
    Exit,
    args::Restore,
    choose::{Chosen, choose},
    config::Source,
    render::{age_of, restore_plan_text, restore_text},
    wiring::Access,
};

pub(crate) async fn restore(session: &Session, args: &Restore) -> Result<Exit> {
    let (cx, out) = (&session.cx, &session.out);
    let wiring = session.wiring()?;
    let parts = parts(wiring.source(&args.component)?, args)?;
    let target = wiring.restore_target_at(cx, &args.component, args.site.as_deref()).await?;
    let opened = wiring.open(cx, Some(&args.component), session.store(), Access::Read).await?;
    let Chosen { repository, manifest } = choose(cx, opened, &args.component, &args.which.wanted()).await?;
    let mut request = RestoreRequest::in_place().only(parts);
    if let Some(place) = &args.to {
        request = request.to(place);
    }
    let plan = target.plan(cx, &request, &manifest).await?;
    let heading = format!(
        "Restore {} from backup {} of store {}, {}",
        args.component,
        manifest.id,
        repository.name(),
        age_of(manifest.consistency.at, chrono::Utc::now())
    );
    if args.consent.plan {
        out.result(|| json!({ "plan": plan, "applied": false }), |paint| restore_plan_text(&heading, &plan, paint));
        return Ok(plan_exit(&plan.blockers));
    }
    out.show(|paint| restore_plan_text(&heading, &plan, paint));
    blocked("the restore", &plan.blockers)?;
    if let Go::No(e) = session.consent(&args.consent, "Go ahead?").await? {
        out.json_only(|| not_confirmed(&e, serde_json::to_value(&plan).unwrap_or_default()));
        return Ok(Exit::NotConfirmed);
    }
    let shown = plan.clone();
    let data = Arc::new(repository.open(&manifest));
    let hold = session.hold(&repository, &manifest).await?;
    let applied = target.apply(cx, plan, &manifest, data).await;
    session.let_go(hold).await;
    let mut report = applied?;
    if let Some(site) = &args.site {
        let words =
            |verb: &str| (format!("{verb} {}", args.component), format!("{verb} {} --site {site}", args.component));
        for next in &mut report.next {
            for (own, there) in [words("rollback"), words("release")] {
                *next = next.replace(&own, &there);
            }
        }
    }
    let verdict = report.verification.verdict();
    out.result(
        || json!({ "plan": shown, "applied": true, "verdict": verdict, "report": report }),
        |paint| restore_text(&manifest.engine, &report, paint),
    );
    Ok(Exit::of_verdict(verdict))
}

/// The parts that the flags name; each kind of source has a flag of its own.
fn parts(source: &Source, args: &Restore) -> Result<Vec<String>> {
    let flags =
        [("postgres", "--table", &args.tables), ("redis", "--keys", &args.keys), ("files", "--path", &args.paths)];
    let own = flags.iter().find(|(engine, ..)| *engine == source.engine());
    if let Some((_, flag, _)) = flags.iter().find(|(engine, _, given)| *engine != source.engine() && !given.is_empty())
    {
        let text = format!("{flag} cannot be used: {} is a {} component", args.component, source.engine());
        let help = own.map_or("leave it out".to_owned(), |(_, flag, _)| format!("choose parts of it with {flag}"));
        return Err(Error::new(ErrorKind::Config, text).with_help(help));
    }
    Ok(own.map(|(_, _, given)| (*given).clone()).unwrap_or_default())
}
