//! Restores to a server that does not answer, through the container or process that runs it.

use std::{sync::Arc, time::Instant};

use veza_dr_core::{
    ArtifactSource, Clock, Cx, Effect, Error, ErrorKind, Manifest, Outcome, Report, RestoreReport, RestoreRequest,
    Result, SystemClock,
};

use super::{
    RedisRestore, by_file,
    instance::Instance,
    look::look,
    meet,
    options::{RedisWay, TtlPolicy},
    proof,
    run::Run,
    spool,
    state_dir::{Journal, Phase},
    target::{data_of, take},
};

impl RedisRestore {
    /// The instance to work on when the server itself does not answer.
    pub(super) fn cold(&self, request: &RestoreRequest, e: &Error) -> Option<&Arc<dyn Instance>> {
        let wanted = matches!(self.options.way, RedisWay::Auto | RedisWay::File);
        let whole = request.only.is_empty() && request.to.is_none() && self.options.ttl == TtlPolicy::Keep;
        self.options.instance.as_ref().filter(|_| wanted && whole && e.kind() == ErrorKind::Unavailable)
    }

    /// Replaces the files of a server that does not answer, and has it start with them.
    pub(super) async fn apply_cold(
        &self,
        cx: &Cx,
        instance: &dyn Instance,
        from: &Manifest,
        data: &Arc<dyn ArtifactSource>,
    ) -> Result<RestoreReport> {
        let endpoint = self.aim(&RestoreRequest::in_place())?.endpoint;
        let state = self.state(&self.info.location);
        let _held = take(&state)?;
        let mut report = Report::default();
        let since = Instant::now();
        let spooled = spool::fetch(cx, data, from, state.path()).await?;
        proof::require(&proof::against_manifest(&spooled.summary, from), "the backup is", "nothing was touched")?;
        report.push("fetch", Outcome::Ok, format!("{} keys", spooled.summary.keys()), since.elapsed());
        let since = Instant::now();
        let mut journal = Journal::new(&self.info.location, Some(&from.id), SystemClock.now());
        journal.phase = Phase::Placing;
        state.note(&journal)?;
        let [rdb] = spooled.files.as_slice() else {
            let text = "the backup is of a cluster's masters: it cannot be one server's file";
            return Err(Error::new(ErrorKind::Unsupported, text));
        };
        let stamp = &state.fresh(SystemClock.now());
        let files = &self.options.server_files;
        let replaced = by_file::replace(cx, instance, files, rdb, state.path(), stamp, &endpoint).await;
        let (control, aside) = match replaced {
            Ok(done) => done,
            Err(e) => {
                if e.effect() == Effect::None {
                    state.close()?;
                }
                return Err(e);
            }
        };
        let kept = (!aside.kept.is_empty()).then(|| aside.kept.join(", "));
        report.push("replace the files", Outcome::Ok, instance.describe(), since.elapsed());
        let data = data_of(&spooled, from);
        let applied = |e: Error| e.with_effect(Effect::Applied);
        let facts = look(cx, &control).await.map_err(applied)?;
        let meeting = meet::meeting(cx, &endpoint, &self.options, facts.tls_replication).await.map_err(applied)?;
        let location = self.info.location.as_str();
        let mut run = Run {
            cx,
            options: &self.options,
            config: &self.config,
            control,
            state: &state,
            location,
            facts,
            meeting,
            data: &data,
            journal,
            report,
        };
        let proven = run.prove(None).await.map_err(applied)?;
        let help = "they are live; the old files are beside the new ones";
        proof::require(&proven, "the restored data are", help).map_err(applied)?;
        state.close()?;
        let mut done = RestoreReport::new(from.id.clone(), run.report, proven, self.info.location.clone());
        done.replaced = kept;
        Ok(done)
    }
}
