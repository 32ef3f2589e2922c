//! Tells what the old primary had that the site that took over never got, once both lie on one server.

use async_trait::async_trait;
use serde_json::Value;
use veza_dr_core::{Cx, Result};
use veza_dr_failover::{
    actions::Work,
    runbook::{Done, Effects, StepContext},
};

use super::Place;
use crate::wiring_site_data::Books;

/// Compares what a restore of this run replaced with what it put there.
#[derive(Debug)]
pub(crate) struct CompareStep {
    pub(crate) place: Place,
    // Without PostgreSQL there is nothing to compare.
    #[cfg_attr(not(feature = "postgres"), expect(dead_code, reason = "read where databases are compared"))]
    pub(crate) books: Books,
}

#[async_trait]
impl Work for CompareStep {
    fn commands(&self) -> Vec<String> {
        let named = self.place.named();
        vec![
            format!("# compare what the restore of {named} replaced with what is there now, row by row"),
            "# every row that only the old one has: state_dir/failover/RUN.COMPONENT.divergence.jsonl".to_owned(),
        ]
    }

    fn effects(&self) -> Effects {
        Effects::Idempotent
    }

    #[cfg(feature = "postgres")]
    async fn run(&self, cx: &Cx, step: &StepContext, _: &Value) -> Result<Done> {
        self.compare(cx, step).await
    }

    #[cfg(not(feature = "postgres"))]
    async fn run(&self, _: &Cx, _: &StepContext, _: &Value) -> Result<Done> {
        let text = format!("{}: this build has no support for postgres", self.place.named());
        Err(veza_dr_core::Error::new(veza_dr_core::ErrorKind::Unsupported, text))
    }
}

#[cfg(feature = "postgres")]
mod postgres {
    use serde_json::json;
    use veza_dr_core::{Error, ErrorKind};
    use veza_dr_failover::runbook::Restored;

    use super::super::differences::{tables, written};
    use super::*;

    impl CompareStep {
        pub(super) async fn compare(&self, cx: &Cx, step: &StepContext) -> Result<Done> {
            let Place { wiring, component, .. } = &self.place;
            let named = self.place.named();
            let site = self.place.site().unwrap_or_default();
            let ours = |r: &Restored| r.component == component.as_str() && r.site == site;
            let restored = step.evidence.values().filter_map(Restored::of).find(ours).ok_or_else(|| {
                let text = format!("no step before this one restored {named}: there is nothing to compare");
                Error::new(ErrorKind::Config, text)
            })?;
            let Some(kept) = restored.replaced else {
                let text = format!("{site} had no {component} before: whether it held other rows is unknown");
                return Ok(Done::new(text, json!({ "component": component.as_str(), "only_old": null })));
            };
            let old = wiring.site_postgres_access(cx, component, site, Some(&kept)).await?;
            let new = wiring.site_postgres_access(cx, component, site, None).await?;
            let file = self.books.differences(&step.run, component);
            let report = written(cx, &file, &old, &new).await?;
            let (only_old, only_new, differing) = (report.only_a(), report.only_b(), report.differing());
            let engine = self.books.engine();
            let moved = engine.run_that_moved(component.as_str(), site, &step.run)?;
            if let Some(run) = &moved {
                engine.measured(run, component.as_str(), only_old, differing, &step.run).await?;
            }
            let text = format!(
                "{only_old} rows only in what {site} had, {only_new} only in what it has now, {differing} with other \
                 values; all are in {}; the old data is kept as {kept}",
                file.display()
            );
            Ok(Done::new(
                text,
                json!({
                    "component": component.as_str(), "kept": kept, "file": file.display().to_string(),
                    "only_old": only_old, "only_new": only_new, "differing": differing, "tables": tables(&report),
                    "schema": report.schema, "loss_of_run": moved,
                }),
            ))
        }
    }
}
