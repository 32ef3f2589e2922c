//! Counts what a move to another site lost, on what the old site still has, while the other one serves.

use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;
use veza_dr_core::{Cx, Result};
use veza_dr_failover::{
    actions::Work,
    runbook::{Done, Effects, StepContext},
};

use super::Place;
use crate::wiring_site_data::Books;

/// A server is started, asked and stopped, and everything put back.
const LEAST: Duration = Duration::from_secs(300);

/// Compares the database of a site that is closed off with that of the site that took over.
#[derive(Debug)]
pub(crate) struct CountStep {
    pub(crate) place: Place,
    #[cfg_attr(
        not(all(feature = "postgres", feature = "docker")),
        expect(dead_code, reason = "read where databases are compared")
    )]
    pub(crate) books: Books,
}

#[async_trait]
impl Work for CountStep {
    fn commands(&self) -> Vec<String> {
        let site = self.place.site().unwrap_or_default();
        let (wiring, component) = (&self.place.wiring, &self.place.component);
        let project = wiring.loaded.config.sites.get(site).map(|s| &s.compose.project);
        let project = project.and_then(|p| wiring.text(&format!("sites.{site}.compose.project"), p).ok());
        let network = format!("{}_veza-dr-apart", project.unwrap_or_default());
        vec![
            format!("on {site}: see that it is fenced, and that nothing runs there"),
            format!("on {site}: docker network create --internal {network}"),
            format!("on {site}: the containers of {component} taken off their networks, put into {network}, started"),
            format!("# compare it with the {component} of the site that serves, row by row, through {network}"),
            format!("# every row that only {site} has: state_dir/failover/RUN.{component}.divergence.jsonl"),
            format!("on {site}: stop them, put them back into the networks that they were in"),
            format!("on {site}: docker network rm {network}"),
        ]
    }

    fn effects(&self) -> Effects {
        Effects::Idempotent
    }

    fn least_time(&self) -> Duration {
        LEAST
    }

    fn can_undo(&self) -> bool {
        cfg!(all(feature = "postgres", feature = "docker"))
    }

    /// What was started is stopped and put back.
    fn undo_when_begun(&self) -> bool {
        self.can_undo()
    }

    #[cfg(all(feature = "postgres", feature = "docker"))]
    async fn prepare(&self, cx: &Cx, step: &StepContext) -> Result<Value> {
        self.look(cx, step).await
    }

    #[cfg(all(feature = "postgres", feature = "docker"))]
    async fn run(&self, cx: &Cx, step: &StepContext, _: &Value) -> Result<Done> {
        self.count(cx, step).await
    }

    #[cfg(all(feature = "postgres", feature = "docker"))]
    async fn undo(&self, cx: &Cx, step: &StepContext, _: &Value) -> Result<Done> {
        self.put_back(cx, step).await
    }

    #[cfg(not(all(feature = "postgres", feature = "docker")))]
    async fn run(&self, _: &Cx, _: &StepContext, _: &Value) -> Result<Done> {
        let text = format!("{}: this build has no support for postgres or docker", self.place.named());
        Err(veza_dr_core::Error::new(veza_dr_core::ErrorKind::Unsupported, text))
    }
}

#[cfg(all(feature = "postgres", feature = "docker"))]
mod postgres {
    use std::{
        net::SocketAddr,
        time::{Instant, SystemTime},
    };

    use serde_json::json;
    use veza_dr_core::{Effect, Error, ErrorKind};
    use veza_dr_failover::{reach::PostgresAccess, site::ComposeSite};

    use super::super::differences::{tables, written};
    use super::*;

    /// What is left of a step's time to put everything back in.
    const PUT_BACK: Duration = Duration::from_secs(120);
    /// Within this time a server that was started listens, whatever it does before it lets anybody in.
    const LISTENS: Duration = Duration::from_secs(120);
    const TRY_AGAIN: Duration = Duration::from_millis(300);
    /// Where PostgreSQL listens if nothing says otherwise.
    const PORT: u16 = 5432;

    /// The run whose loss is counted, and the site that it moved to.
    struct Moved {
        run: String,
        to: String,
    }

    impl CountStep {
        /// What can be seen before anything is changed.
        pub(super) async fn look(&self, cx: &Cx, step: &StepContext) -> Result<Value> {
            let Moved { run, to } = self.moved(step)?;
            let site = self.compose()?;
            site.can_be_set_apart(cx, &self.services()?).await.map_err(|e| match e.kind() {
                ErrorKind::Unavailable | ErrorKind::Denied => {
                    let text = format!("what run {run} lost stays unknown: {} cannot be read", self.place.named());
                    let help = format!(
                        "once its machine can be reached: veza-dr failover resume {0}; or give it up: veza-dr failover \
                         resume {0} --abandon --reason TEXT",
                        step.run
                    );
                    Error::new(e.kind(), text).with_source(e.chain()).with_help(help)
                }
                _ => e,
            })?;
            Ok(json!({ "loss_of_run": run, "serves": to }))
        }

        pub(super) async fn count(&self, cx: &Cx, step: &StepContext) -> Result<Done> {
            let (moved, site) = (self.moved(step)?, self.compose()?);
            let limited = match cx.deadline() {
                Some(end) => cx.child().with_deadline(end - PUT_BACK),
                None => cx.child(),
            };
            let counted = limited.run("count what was lost", self.counted(&limited, &site, &moved, step)).await;
            // Whatever became of it, also when somebody asked to stop.
            let own = Cx::background().with_deadline(SystemTime::now() + PUT_BACK);
            match (counted, site.put_back(&own).await) {
                (Ok(done), Ok(_)) => Ok(done),
                // As before: nothing of what was begun is left.
                (Err(e), Ok(_)) => Err(e),
                (Ok(done), Err(left)) => Err(self.left(&left, step, &done.text)),
                (Err(e), Err(left)) => Err(self.left(&left, step, &e.chain())),
            }
        }

        pub(super) async fn put_back(&self, cx: &Cx, step: &StepContext) -> Result<Done> {
            let back = self.compose()?.put_back(cx).await.map_err(|left| self.left(&left, step, ""))?;
            let text = match back.as_slice() {
                [] => "nothing was left apart".to_owned(),
                names => format!("{} stopped and back in their networks", names.join(", ")),
            };
            Ok(Done::new(text, json!({ "put_back": back })))
        }

        async fn counted(&self, cx: &Cx, site: &ComposeSite, moved: &Moved, step: &StepContext) -> Result<Done> {
            let Place { wiring, component, .. } = &self.place;
            let name = self.place.site().unwrap_or_default();
            let (old, services) = (wiring.site_postgres_access(cx, component, name, None).await?, self.services()?);
            if old.port().is_none() {
                let text = format!("{} is reached by a socket in a folder", self.place.named());
                return Err(Error::new(ErrorKind::Config, text)
                    .with_help("give it an address with a host: only so it can be reached in another network"));
            }
            site.set_apart(cx, &services, &format!("run {}", step.run)).await?;
            site.apart_healthy(cx, &services).await?;
            let there = site.apart_address(cx, &services, old.port(), PORT).await?;
            let old = old.at_address(site.reach(cx, there).await?);
            answers(cx, &old, site, there).await?;
            let new = wiring.site_postgres_access(cx, component, &moved.to, None).await?;
            let file = self.books.differences(&step.run, component);
            let report = written(cx, &file, &old, &new).await?;
            let (only_old, only_new, differing) = (report.only_a(), report.only_b(), report.differing());
            let engine = self.books.engine();
            engine.measured(&moved.run, component.as_str(), only_old, differing, &step.run).await?;
            let Moved { run, to } = moved;
            let text = format!(
                "run {run} lost {only_old} rows of {component}: only {name} has them; {differing} have other values on \
                 {to}, {only_new} are only there; all are in {}; {name} is closed off as before",
                file.display()
            );
            Ok(Done::new(
                text,
                json!({
                    "component": component.as_str(), "site": name, "serves": to, "file": file.display().to_string(),
                    "only_old": only_old, "only_new": only_new, "differing": differing, "tables": tables(&report),
                    "schema": report.schema, "loss_of_run": run,
                }),
            ))
        }

        fn moved(&self, step: &StepContext) -> Result<Moved> {
            let (component, site) = (self.place.component.as_str(), self.place.site().unwrap_or_default());
            let engine = self.books.engine();
            let unknown = || {
                let text = format!("no run on record moved {component} from {site} to another site");
                Error::new(ErrorKind::NotFound, text).with_help(
                    "runs are on record where they were run, in state_dir/failover: count there, or copy the journal of \
                     that run from the store",
                )
            };
            let run = engine.run_that_moved(component, site, &step.run)?.ok_or_else(unknown)?;
            let to = engine.report(&run)?.data_loss.get(component).map(|l| l.site.clone()).ok_or_else(unknown)?;
            Ok(Moved { run, to })
        }

        fn compose(&self) -> Result<ComposeSite> {
            let (wiring, name) = (&self.place.wiring, self.place.site().unwrap_or_default());
            let (at, settings) = (format!("sites.{name}"), &wiring.loaded.config.sites[name]);
            ComposeSite::new(wiring.compose_project(name, &at, settings)?).map_err(|e| wiring.at(&at, e))
        }

        fn services(&self) -> Result<Vec<String>> {
            let Place { wiring, component, .. } = &self.place;
            let name = self.place.site().unwrap_or_default();
            let at = format!("sites.{name}.data.{component}.services");
            wiring.site_data(name, component)?.services.iter().map(|s| wiring.text(&at, s)).collect()
        }

        /// What is left to be done, by which command, and what came of it before.
        fn left(&self, left: &Error, step: &StepContext, before: &str) -> Error {
            let (site, run) = (self.place.site().unwrap_or_default(), &step.run);
            let text = format!(
                "{site} is fenced, and not yet as it was before; veza-dr failover resume {run} counts again and puts \
                 everything back, with --rollback it only puts it back"
            );
            let sep = if before.is_empty() { "" } else { "; before that: " };
            Error::new(left.kind(), text)
                .with_effect(Effect::Applied)
                .with_source(format!("{}{sep}{before}", left.chain()))
        }
    }

    /// Waits until a server that was just started lets us in: it listens soon, and may have a crash to recover from then.
    async fn answers(cx: &Cx, access: &PostgresAccess, site: &ComposeSite, there: SocketAddr) -> Result<()> {
        let mut listened = Instant::now();
        loop {
            let e = match access.connect(cx).await {
                Ok(_) => return Ok(()),
                Err(e) if e.kind() == ErrorKind::Unavailable => e,
                Err(e) => return Err(e),
            };
            tracing::debug!(error = %e.chain(), "the old database does not answer yet");
            match site.answer(cx, &[there]).await {
                Ok(open) if open == [true] => listened = Instant::now(),
                // One that will never be let through says so.
                Err(e) if matches!(e.kind(), ErrorKind::Denied | ErrorKind::Cancelled) => return Err(e),
                _ => {}
            }
            if listened.elapsed() > LISTENS {
                let text = format!("nothing answers at {there}, the address of the old database in its network");
                return Err(Error::new(ErrorKind::Unavailable, text).with_source(e.chain()).with_help(
                    "it must listen there (listen_addresses), and the site's machine reach its containers' addresses",
                ));
            }
            let pause = async {
                tokio::time::sleep(TRY_AGAIN).await;
                Ok(())
            };
            cx.run("wait for the old database", pause).await?;
        }
    }
}
