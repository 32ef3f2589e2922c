//! `veza-dr restore-rows`: shows the rows, asks, brings them back.

use veza_dr_core::Result;

use super::Session;
use crate::{Exit, args::RestoreRows};

#[cfg(not(feature = "postgres"))]
pub(crate) async fn restore_rows(session: &Session, args: &RestoreRows) -> Result<Exit> {
    let wiring = session.wiring()?;
    wiring.restore_target(&session.cx, &args.component).await.map(|_| Exit::Unsupported)
}

#[cfg(feature = "postgres")]
pub(crate) async fn restore_rows(session: &Session, args: &RestoreRows) -> Result<Exit> {
    use std::sync::Arc;

    use serde_json::json;
    use veza_dr_restore::postgres::{OnConflict, RowsRequest};

    use super::session::{Go, blocked, not_confirmed, plan_exit};
    use crate::{
        args::Policy,
        choose::{Chosen, choose},
        render::{many, rows_plan_text, rows_text},
        wiring::Access,
    };

    let (cx, out) = (&session.cx, &session.out);
    let wiring = session.wiring()?;
    let target = wiring.postgres_restore(cx, &args.component, None).await?;
    let opened = wiring.open(cx, Some(&args.component), session.store(), Access::Read).await?;
    let Chosen { repository, manifest } = choose(cx, opened, &args.component, &args.which.wanted()).await?;
    let request = RowsRequest::new(&args.table, &args.condition)
        .with_children(args.with_children)
        .with_parents(args.with_parents)
        .on_conflict(match args.on_conflict {
            Policy::Skip => OnConflict::Skip,
            Policy::Update => OnConflict::Update,
            Policy::Fail => OnConflict::Fail,
        });
    // All that is needed of the backup is read for the plan.
    let hold = session.hold(&repository, &manifest).await?;
    let planned = target.plan_rows(cx, &request, &manifest, Arc::new(repository.open(&manifest))).await;
    session.let_go(hold).await;
    let plan = planned?;
    let heading =
        format!("{} of backup {} of store {}", many(plan.rows(), "row", "rows"), manifest.id, repository.name());
    if args.consent.plan {
        out.result(|| json!({ "plan": plan, "applied": false }), |paint| rows_plan_text(&heading, &plan, paint));
        return Ok(plan_exit(&plan.blockers));
    }
    out.show(|paint| rows_plan_text(&heading, &plan, paint));
    blocked("bringing the rows back", &plan.blockers)?;
    let question = format!("Write them into the live database of {}?", args.component);
    if let Go::No(e) = session.consent(&args.consent, &question).await? {
        out.json_only(|| not_confirmed(&e, serde_json::to_value(&plan).unwrap_or_default()));
        return Ok(Exit::NotConfirmed);
    }
    let report = target.apply_rows(cx, &plan).await?;
    out.result(|| json!({ "plan": plan, "applied": true, "report": report }), |paint| rows_text(&report, paint));
    Ok(Exit::Ok)
}
