//! Fills a staging database: definitions, rows with indexes following close behind, the rest, and the proof.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use veza_dr_backup::postgres::{Connection, PostgresConfig, PostgresDetail, RowDigest};
use veza_dr_core::{
    ArtifactSource, Cx, Error, ErrorKind, Manifest, Outcome, Progress, Report, Result, Unit, Verification,
};

use super::{
    archive::Archive,
    load::{self, Loaded},
    post_data, proof,
    schedule::{Next, Schedule, Task},
    sequences,
    server::Server,
    staging::{self, Staging},
    statistics::{analyze, analyze_rest},
    tables,
    target::restore_how,
};

pub(crate) const LOAD: &str = "load";
pub(crate) const BUILD: &str = "build indexes";
pub(crate) const PROVE: &str = "prove";

/// One restore into one staging database.
pub(crate) struct Fill<'a> {
    pub(crate) config: &'a PostgresConfig,
    pub(crate) server: &'a Server,
    pub(crate) staging: &'a Staging,
    pub(crate) manifest: &'a Manifest,
    pub(crate) detail: &'a PostgresDetail,
    pub(crate) chosen: Vec<usize>,
    pub(crate) whole: bool,
    pub(crate) schema: Arc<Archive>,
    pub(crate) residual: &'a Archive,
    pub(crate) data: &'a Arc<dyn ArtifactSource>,
}

/// What all hands share.
struct Shared {
    schedule: Schedule,
    manifest: Manifest,
    detail: PostgresDetail,
    staging: veza_dr_backup::postgres::Endpoint,
    data: Arc<dyn ArtifactSource>,
    schema: Arc<Archive>,
    server: Server,
    /// Digest of each table as read back so far.
    found: Mutex<BTreeMap<usize, RowDigest>>,
    /// Partitioned tables with rows that went through the parent: their partitions are judged together.
    rerouted: Mutex<BTreeSet<String>>,
    /// Objects whose rows the server refused for now: table, chunk, why.
    later: Mutex<Vec<(usize, usize, Error)>>,
    /// Archive entries that are built.
    built: Mutex<Vec<u32>>,
    proof_nanos: AtomicU64,
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Fill<'_> {
    pub(crate) async fn run(&self, cx: &Cx, report: &mut Report) -> Result<Verification> {
        let selected = if self.whole { None } else { Some(self.selection(cx).await?) };
        let on = self.staging.endpoint.connect(cx, "restore").await?;
        if !self.staging.resumed {
            let started = Instant::now();
            let how = restore_how(self.server, Some("pre-data"), 1, 0);
            let keep = |e: &veza_dr_backup::postgres::TocEntry| {
                !post_data::is_acl(e) && selected.as_ref().is_none_or(|s| s.before.contains(&e.id))
            };
            self.schema.restore(cx, "restore the definitions", &self.staging.endpoint, &how, keep).await?;
            staging::definitions_done(cx, &on).await?;
            report.push("definitions", Outcome::Ok, String::new(), started.elapsed());
        }
        let started = Instant::now();
        let shared = self.prepare(cx, &selected).await?;
        self.work(cx, &shared).await?;
        let rows: u64 = self.chosen.iter().map(|t| self.detail.tables[*t].rows).sum();
        report.push("load, index, prove", Outcome::Ok, format!("{rows} rows"), started.elapsed());
        let started = Instant::now();
        staging::rows_done(cx, &on).await?;
        self.retry(cx, &on, &shared, false).await?;
        let mut verification = Verification::default();
        if let Some(selected) = selected.as_ref().filter(|s| !s.elsewhere.is_empty()) {
            let lines = self.schema.toc.iter().filter(|e| selected.elsewhere.contains(&e.id));
            let names: Vec<String> = lines.map(|e| format!("{} {}", e.kind.to_lowercase(), e.rest)).collect();
            let text = format!("needs a relation that was not chosen: {}", names.join("; "));
            report.push("left out", Outcome::Warning, text, Duration::ZERO);
        }
        self.finish(cx, &on, &shared, &selected).await?;
        report.push("keys, triggers, rights, statistics", Outcome::Ok, String::new(), started.elapsed());
        let started = Instant::now();
        self.judge(&shared, &mut verification);
        on.execute(cx, "drop the record", "DROP SCHEMA veza_dr CASCADE").await?;
        if self.whole {
            sequences::compare(cx, &on, self.residual, &mut verification).await?;
            proof::surroundings(cx, &on, self.detail, &mut verification).await?;
        }
        verification.took = started.elapsed() + Duration::from_nanos(shared.proof_nanos.load(Ordering::Relaxed));
        let detail = format!("{} comparisons, {} rows", verification.equal, verification.rows);
        report.push("compare", Outcome::Ok, detail, started.elapsed());
        Ok(verification)
    }

    async fn selection(&self, cx: &Cx) -> Result<tables::Needed> {
        let chosen: Vec<_> = self.chosen.iter().map(|t| &self.detail.tables[*t]).collect();
        tables::needed(&self.schema.toc, &self.schema.dependencies(cx).await?, &chosen)
    }

    async fn prepare(&self, cx: &Cx, selected: &Option<tables::Needed>) -> Result<Arc<Shared>> {
        let mut early = post_data::early(&self.schema.toc, &self.schema.dependencies(cx).await?, self.detail);
        let shared = Arc::new(Shared {
            schedule: Schedule::default(),
            manifest: self.manifest.clone(),
            detail: self.detail.clone(),
            staging: self.staging.endpoint.clone(),
            data: self.data.clone(),
            schema: self.schema.clone(),
            server: self.server.clone(),
            found: Mutex::default(),
            rerouted: Mutex::new(self.staging.rerouted.clone()),
            later: Mutex::default(),
            built: Mutex::default(),
            proof_nanos: AtomicU64::new(0),
        });
        let mut bytes = 0;
        for at in &self.chosen {
            let table = &self.detail.tables[*at];
            if table.residual {
                continue;
            }
            let wanted =
                |(_, c): &(usize, &veza_dr_backup::postgres::ChunkRecord)| !self.staging.loaded.contains(&c.object);
            let chunks: Vec<usize> = table.chunks.iter().enumerate().filter(wanted).map(|(i, _)| i).collect();
            let size = |i: &usize| self.manifest.object(&table.chunks[*i].object).map_or(0, |o| o.bytes);
            bytes += chunks.iter().map(size).sum::<u64>();
            let mut builds = early.remove(at).unwrap_or_default();
            builds.retain(|b| selected.as_ref().is_none_or(|s| s.after.contains(&b.entry)));
            shared.schedule.add(*at, table.source_bytes, &chunks, builds);
        }
        shared.schedule.order();
        cx.report(Progress::Begin { phase: LOAD, total: bytes, unit: Unit::Bytes });
        Ok(shared)
    }

    async fn work(&self, cx: &Cx, shared: &Arc<Shared>) -> Result<()> {
        let on = self.staging.endpoint.connect(cx, "restore").await?;
        for table in shared.schedule.loaded_already() {
            let ranges = proof::ranges(cx, &on, &self.detail.tables[table]).await?;
            shared.schedule.prove(table, ranges);
        }
        let work = cx.child();
        let hands: Vec<_> =
            (0..self.config.effective_jobs()).map(|_| tokio::spawn(hand(work.clone(), shared.clone()))).collect();
        let mut first = None;
        for hand in hands {
            let outcome =
                hand.await.map_err(|e| Error::new(ErrorKind::Unexpected, "a restore stream died").with_source(e));
            if let Err(e) = outcome.and_then(|o| o) {
                shared.schedule.stop();
                work.cancel();
                // The failure that made the others stop, not their being stopped.
                if first.as_ref().is_none_or(|f: &Error| f.kind() == ErrorKind::Cancelled) {
                    first = Some(e);
                }
            }
        }
        cx.report(Progress::End { phase: LOAD });
        first.map_or(Ok(()), Err)
    }

    /// Loads again what the server refused. The second time is after the indexes, which such rows may name.
    async fn retry(&self, cx: &Cx, on: &Connection, shared: &Shared, last: bool) -> Result<()> {
        let left = std::mem::take(&mut *locked(&shared.later));
        on.execute(cx, "settings", "SET synchronous_commit = off").await?;
        for (table, chunk, _) in left {
            match load::load(cx, on, self.data, self.manifest, destination(self.detail, table, chunk)).await? {
                Loaded::Done { via_root } => note_route(shared, self.detail, table, via_root),
                Loaded::Later(e) if last => {
                    return Err(Error::new(ErrorKind::Unsupported, "rows cannot be loaded even after all others")
                        .with_source(e)
                        .with_help("docs/postgres.md, traps T12 and T13; restore the other tables with --table"));
                }
                Loaded::Later(e) => locked(&shared.later).push((table, chunk, e)),
            }
        }
        Ok(())
    }

    /// Large objects and sequences, rights, then all that is built on rows, then statistics.
    async fn finish(
        &self,
        cx: &Cx,
        on: &Connection,
        shared: &Arc<Shared>,
        selected: &Option<tables::Needed>,
    ) -> Result<()> {
        let into = &self.staging.endpoint;
        let jobs = self.config.effective_jobs();
        cx.report(Progress::Begin { phase: BUILD, total: 0, unit: Unit::Items });
        if self.whole {
            let how = restore_how(self.server, None, 1, 0);
            self.residual.restore(cx, "restore large objects and sequences", into, &how, |_| true).await?;
        } else if let Some(selected) = selected {
            let how = restore_how(self.server, None, 1, 0);
            let values = tables::sequences(&self.schema.toc, &selected.before);
            let keep = |e: &veza_dr_backup::postgres::TocEntry| tables::is_value_of(e, &values);
            self.residual.restore(cx, "restore the sequences' values", into, &how, keep).await?;
        }
        let acl = restore_how(self.server, None, 1, 0);
        let selected_has = |id| selected.as_ref().is_none_or(|s| s.before.contains(&id) || s.after.contains(&id));
        let rights = |e: &veza_dr_backup::postgres::TocEntry| {
            post_data::is_acl(e) && e.kind != "DATABASE ACL" && selected_has(e.id)
        };
        let built = locked(&shared.built).clone();
        let how = restore_how(self.server, Some("post-data"), jobs, 2);
        let rest = |e: &veza_dr_backup::postgres::TocEntry| {
            !built.contains(&e.id) && !post_data::is_acl(e) && selected.as_ref().is_none_or(|s| s.after.contains(&e.id))
        };
        let waiting = !locked(&shared.later).is_empty();
        if waiting {
            self.schema
                .restore(cx, "build the indexes", into, &how, |e| rest(e) && post_data::is_index_like(e))
                .await?;
            self.retry(cx, on, shared, true).await?;
        }
        self.schema.restore(cx, "restore the rights", into, &acl, rights).await?;
        self.schema
            .restore(cx, "build keys, triggers and the rest", into, &how, |e| {
                rest(e) && !(waiting && post_data::is_index_like(e))
            })
            .await?;
        // What was loaded late is read back late.
        let missing: Vec<usize> = {
            let mut found = locked(&shared.found);
            // A row of one partition may have come into another after that was read back.
            let rerouted = locked(&shared.rerouted).clone();
            found.retain(|t, _| self.detail.tables[*t].root.as_ref().is_none_or(|r| !rerouted.contains(r)));
            self.chosen.iter().copied().filter(|t| !found.contains_key(t)).collect()
        };
        for table in missing {
            let digest = proof::digest(cx, on, &self.detail.tables[table], "", &self.detail.encoding).await?;
            locked(&shared.found).insert(table, digest);
        }
        analyze_rest(cx, on).await?;
        cx.report(Progress::End { phase: BUILD });
        Ok(())
    }

    fn judge(&self, shared: &Shared, out: &mut Verification) {
        let (found, rerouted) = (locked(&shared.found), locked(&shared.rerouted));
        let mut families: BTreeMap<&str, Vec<(&veza_dr_backup::postgres::TableRecord, RowDigest)>> = BTreeMap::new();
        for at in &self.chosen {
            let table = &self.detail.tables[*at];
            let Some(digest) = found.get(at).copied() else {
                out.unverified(&table.qualified, "was not read back");
                continue;
            };
            match &table.root {
                Some(root) if rerouted.contains(root) => families.entry(root).or_default().push((table, digest)),
                _ => proof::judge(table, digest, out),
            }
        }
        for (root, members) in families {
            proof::judge_together(root, &members, out);
        }
    }
}

fn note_route(shared: &Shared, detail: &PostgresDetail, table: usize, via_root: bool) {
    if let (true, Some(root)) = (via_root, &detail.tables[table].root) {
        locked(&shared.rerouted).insert(root.clone());
    }
}

pub(crate) fn destination(detail: &PostgresDetail, table: usize, chunk: usize) -> load::Into<'_> {
    let record = &detail.tables[table];
    load::Into {
        table: record,
        chunk: &record.chunks[chunk],
        encoding: &detail.encoding,
        whole: record.chunks.len() == 1 && record.root.is_none(),
    }
}

/// One pair of hands: a session of its own, taking tasks until none is left.
async fn hand(cx: Cx, shared: Arc<Shared>) -> Result<()> {
    let outcome = hand_work(&cx, &shared).await;
    if outcome.is_err() {
        shared.schedule.stop();
        cx.cancel();
    }
    outcome
}

async fn hand_work(cx: &Cx, shared: &Shared) -> Result<()> {
    let on = shared.staging.connect(cx, "restore stream").await?;
    on.execute(cx, "settings", "SET synchronous_commit = off").await?;
    loop {
        cx.check("restore")?;
        let task = match shared.schedule.next() {
            Next::Do(task) => task,
            Next::Wait => {
                shared.schedule.wait().await;
                continue;
            }
            Next::Finished => return Ok(()),
        };
        let success = perform(cx, &on, shared, &task).await?;
        if shared.schedule.done(&task, success)
            && let Task::Load { table, .. } = task
        {
            let ranges = proof::ranges(cx, &on, &shared.detail.tables[table]).await?;
            shared.schedule.prove(table, ranges);
        }
    }
}

async fn perform(cx: &Cx, on: &Connection, shared: &Shared, task: &Task) -> Result<bool> {
    match task {
        Task::Load { table, chunk } => {
            let into = destination(&shared.detail, *table, *chunk);
            let bytes = shared.manifest.object(&into.chunk.object).map_or(0, |o| o.bytes);
            let outcome = load::load(cx, on, &shared.data, &shared.manifest, into).await?;
            cx.report(Progress::Advance { phase: LOAD, by: bytes });
            Ok(match outcome {
                Loaded::Done { via_root } => {
                    note_route(shared, &shared.detail, *table, via_root);
                    true
                }
                Loaded::Later(e) => {
                    tracing::info!(table = %into.table.qualified, why = %e, "rows refused for now");
                    locked(&shared.later).push((*table, *chunk, e));
                    false
                }
            })
        }
        Task::Build { entry, .. } => {
            cx.report(Progress::Note { phase: BUILD, text: entry.to_string() });
            let how = restore_how(&shared.server, None, 1, 1);
            match shared.schema.restore(cx, "build an index", &shared.staging, &how, |e| e.id == *entry).await {
                Ok(_) => locked(&shared.built).push(*entry),
                Err(e) if matches!(e.kind(), ErrorKind::Cancelled | ErrorKind::Unavailable | ErrorKind::Full) => {
                    return Err(e);
                }
                // It may need what is not there yet: pg_restore builds it at the end, in its own order, or says why not.
                Err(e) => tracing::info!(entry, why = %e.chain(), "an index is left to the end"),
            }
            Ok(true)
        }
        Task::Prove { table, condition } => {
            let started = Instant::now();
            let record = &shared.detail.tables[*table];
            let digest = proof::digest(cx, on, record, condition, &shared.detail.encoding).await?;
            locked(&shared.found).entry(*table).or_default().add(digest);
            let nanos = u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX);
            shared.proof_nanos.fetch_add(nanos, Ordering::Relaxed);
            cx.report(Progress::Note { phase: PROVE, text: record.qualified.clone() });
            Ok(true)
        }
        Task::Analyze { table } => {
            let name = &shared.detail.tables[*table].qualified;
            analyze(cx, on, name).await?;
            Ok(true)
        }
    }
}
