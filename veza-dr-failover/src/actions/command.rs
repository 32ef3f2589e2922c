//! Steps that run a command, here or on a site.

use std::{process::Stdio, sync::Arc};

use async_trait::async_trait;
use serde_json::{Value, json};
use tokio::process::Command;
use veza_dr_core::{Cx, Effect, Error, ErrorKind, OperationId, Result};

use super::{
    parameters::{CommandSays, PromoteSays},
    site_actions::succeeded,
};
use crate::{
    runbook::{Applied, Done, Effects, Safety, StepAction, StepContext},
    site::{Job, JobResult, SiteControl},
};

#[derive(Debug)]
pub(super) struct CommandStep {
    pub(super) site: Option<Arc<dyn SiteControl>>,
    pub(super) says: CommandSays,
}

impl CommandStep {
    /// `SELECT pg_promote()`, looked up by `pg_is_in_recovery()`.
    pub(super) fn promote(site: Arc<dyn SiteControl>, says: PromoteSays) -> Self {
        let PromoteSays { site: name, psql } = says;
        let run = format!("test \"$({psql} 'select pg_promote(true, 60)')\" = t");
        // 0: promoted; 1: still in recovery; 2: it does not say.
        let probe =
            format!("case \"$({psql} 'select pg_is_in_recovery()')\" in f) exit 0;; t) exit 1;; *) exit 2;; esac");
        let says = CommandSays {
            run,
            site: Some(name),
            probe: Some(probe),
            undo: None,
            idempotent: false,
            at_most_once: false,
            writes: true,
            destructive: false,
        };
        Self { site: Some(site), says }
    }

    async fn call(&self, cx: &Cx, step: &StepContext, what: &str, command: &str) -> Result<JobResult> {
        let Some(site) = &self.site else { return run_here(cx, command, step).await };
        // A question is asked anew each time; the deed itself is found again by its name.
        let unique = if what == "probe" { format!("-{}", OperationId::random()) } else { String::new() };
        let job = Job(format!("{}-{}-{}-{what}{unique}", step.run, step.step, step.attempt));
        site.run(cx, &job, command).await
    }
}

/// Runs a shell command on this machine; it is ended when the context is.
pub(super) async fn run_here(cx: &Cx, command: &str, step: &StepContext) -> Result<JobResult> {
    let mut shell = Command::new("/bin/sh");
    shell.arg("-c").arg(command).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    shell.env("VEZA_DR_RUN", &step.run).env("VEZA_DR_STEP", &step.step).env("VEZA_DR_EPOCH", step.epoch.to_string());
    shell.env("VEZA_DR_KEY", &step.idempotency_key);
    let child =
        shell.spawn().map_err(|e| Error::new(ErrorKind::Unavailable, "/bin/sh cannot be run").with_source(e))?;
    let ended = async {
        child
            .wait_with_output()
            .await
            .map_err(|e| Error::new(ErrorKind::Unavailable, "a command was lost").with_source(e))
    };
    let output = cx.run("run a command", ended).await.map_err(|e| e.with_effect(Effect::Unknown))?;
    let text = |bytes: &[u8]| {
        let from = bytes.len().saturating_sub(4096);
        String::from_utf8_lossy(&bytes[from..]).into_owned()
    };
    // A command that a signal ended has no code: as shells count.
    let code = output.status.code().unwrap_or(128 + 9);
    Ok(JobResult::new(code, format!("{}{}", text(&output.stdout), text(&output.stderr))))
}

#[async_trait]
impl StepAction for CommandStep {
    fn commands(&self) -> Vec<String> {
        let place = self.site.as_ref().map_or_else(String::new, |s| format!("on {}: ", s.name()));
        let mut all = vec![format!("{place}{}", self.says.run)];
        all.extend(self.says.probe.as_ref().map(|c| format!("{place}to find out: {c}")));
        all.extend(self.says.undo.as_ref().map(|c| format!("{place}to undo: {c}")));
        all
    }

    fn effects(&self) -> Effects {
        match (&self.says.probe, self.says.idempotent, self.says.at_most_once) {
            (Some(_), _, _) => Effects::Probeable,
            (None, true, false) => Effects::Idempotent,
            (None, false, true) => Effects::AtMostOnce,
            // Both at once is a contradiction, none says nothing.
            _ => Effects::Undeclared,
        }
    }

    fn safety(&self) -> Vec<Safety> {
        let mut all = vec![Safety::Production];
        all.extend(self.says.writes.then_some(Safety::Writes));
        all.extend(self.says.destructive.then_some(Safety::Destructive));
        all
    }

    fn site(&self) -> Option<&str> {
        self.site.as_ref().map(|s| s.name())
    }

    async fn act(&self, cx: &Cx, step: &StepContext, _: &Value) -> Result<Done> {
        let result = self.call(cx, step, "run", &self.says.run).await?;
        // What a failed command did before it failed only its probe can tell.
        succeeded("the command", &result).map_err(|e| e.with_effect(Effect::Unknown))?;
        let last = result.output.lines().rev().find(|l| !l.trim().is_empty()).unwrap_or("no output").to_owned();
        Ok(Done::new(last, json!({ "code": result.code, "output": result.output })))
    }

    async fn probe(&self, cx: &Cx, step: &StepContext, _: &Value) -> Result<Applied> {
        let Some(probe) = &self.says.probe else { return Ok(Applied::Unclear("it has no probe".to_owned())) };
        let result = self.call(cx, step, "probe", probe).await?;
        Ok(match result.code {
            0 => Applied::Yes(json!({ "output": result.output })),
            1 => Applied::No,
            code => Applied::Unclear(format!("its probe ended with {code}: {}", result.output.trim())),
        })
    }

    fn can_undo(&self) -> bool {
        self.says.undo.is_some()
    }

    async fn undo(&self, cx: &Cx, step: &StepContext, _: &Value) -> Result<Done> {
        let Some(undo) = &self.says.undo else {
            return Err(Error::new(ErrorKind::Unsupported, format!("step {} has no way back", step.step)));
        };
        let result = self.call(cx, step, "undo", undo).await?;
        succeeded("the command that undoes it", &result)?;
        Ok(Done::new("undone", json!({ "output": result.output })))
    }
}
