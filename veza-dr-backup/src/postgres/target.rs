//! The whole backup of one database, from locks to manifest.

use std::{collections::BTreeMap, pin::pin, sync::Arc, time::Instant};

use async_trait::async_trait;
use futures::future::join_all;
use veza_dr_core::{
    ArtifactSink, BackupCaps, BackupRequest, BackupTarget, ComponentName, Cx, Error, ErrorKind, Manifest, Progress,
    Report, Result, TargetInfo, Unit,
    manifest::{ConsistencyPoint, ContentRecord, Skipped, SourceIdentity},
};

use super::{
    ChunkRecord, ClientTools, CopyFormat, Endpoint, PostgresConfig, PostgresDetail, RowDigest, TableRecord, catalog,
    chunks,
    copy_out::{self, Work},
    coverage,
    dump::Dumps,
    snapshot::{self, Holder},
};

/// A PostgreSQL database as a thing that is protected.
///
/// ```no_run
/// # async fn f() -> veza_dr_core::Result<()> {
/// use veza_dr_backup::{BackupOptions, Encryption, Repository, back_up};
/// use veza_dr_backup::{postgres::{PostgresConfig, PostgresTarget}, store::DirectoryStore};
/// use veza_dr_core::Cx;
/// let config = PostgresConfig::new("postgres://veza_user@localhost:5432/veza_db");
/// let target = PostgresTarget::new("database".parse()?, config)?;
/// let store = DirectoryStore::open("local", "/opt/backups")?;
/// let repository = Repository::new(std::sync::Arc::new(store), Encryption::default());
/// let report = back_up(&Cx::background(), &target, &[repository], &BackupOptions::default()).await?;
/// println!("backup {} took {:?}", report.id, report.took);
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct PostgresTarget {
    info: TargetInfo,
    config: PostgresConfig,
}

impl PostgresTarget {
    /// The database that `config` names. No I/O.
    ///
    /// # Errors
    /// `Config` when the URL cannot be read.
    pub fn new(component: ComponentName, config: PostgresConfig) -> Result<Self> {
        let location = Endpoint::parse(&config)?.location();
        Ok(Self { info: TargetInfo { component, engine: "postgres".to_owned(), location }, config })
    }
}

#[async_trait]
impl BackupTarget for PostgresTarget {
    fn info(&self) -> &TargetInfo {
        &self.info
    }

    fn capabilities(&self) -> BackupCaps {
        BackupCaps::new(true, true)
    }

    async fn create(&self, cx: &Cx, request: BackupRequest, out: Arc<dyn ArtifactSink>) -> Result<Manifest> {
        let mut timings = Timings::default();
        let endpoint = Endpoint::parse(&self.config)?.pin(cx).await?;
        let holder = snapshot::hold(cx, &endpoint, &self.config).await?;
        // Rows, counts and digests are of the snapshot: what is written from here on changes none of them. Told while
        // the copying goes on already, since what was stopped may take long to start.
        let read = async {
            let tools = ClientTools::find(cx, self.config.bin_dir.as_deref(), holder.server.major()).await?;
            timings.mark("lock and snapshot");
            let work = cx.child();
            let run =
                Run { config: &self.config, endpoint: &endpoint, holder: &holder, tools: &tools, sink: out.clone() };
            let copied = run.all(&work, &mut timings).await;
            // Whatever still runs after a failure is of no use any more.
            work.cancel();
            let Parts { tables, skipped, globals } = copied?;
            Ok((run.detail(cx, tables, globals, timings).await?, skipped))
        };
        let ((), copied): ((), Result<_>) = tokio::join!(out.source_was_read(), read);
        let (detail, mut skipped) = copied?;
        holder.still_holds(cx).await?;
        holder.connection.execute(cx, "end the snapshot", "COMMIT").await?;
        skipped.extend(holder.skipped.clone());
        self.manifest(request, &holder, detail, skipped)
    }

    async fn check(&self, cx: &Cx) -> Result<Report> {
        super::check::check(cx, &self.config).await
    }

    fn recipe(&self, manifest: &Manifest) -> String {
        super::recipe::write(manifest)
    }
}

impl PostgresTarget {
    fn manifest(
        &self,
        request: BackupRequest,
        holder: &Holder,
        detail: PostgresDetail,
        skipped: Vec<Skipped>,
    ) -> Result<Manifest> {
        let source = SourceIdentity {
            server_version: holder.server.version_text.clone(),
            system_identifier: holder.server.system_identifier.clone(),
            database: Some(detail.database.name.clone()),
            location: self.info.location.clone(),
            facts: BTreeMap::from([
                ("encoding".to_owned(), holder.server.encoding.clone()),
                ("standby".to_owned(), holder.server.standby.to_string()),
            ]),
        };
        let consistency =
            ConsistencyPoint { at: holder.at, lsn: holder.lsn.clone(), snapshot: Some(holder.snapshot.clone()) };
        let mut manifest = Manifest::new(request.id, self.info.component.clone(), "postgres", source, consistency);
        manifest.contents = detail
            .tables
            .iter()
            .map(|t| ContentRecord { name: t.qualified.clone(), rows: t.rows, digest: Some(t.digest.clone()) })
            .collect();
        manifest.skipped = skipped;
        manifest.details = serde_json::to_value(detail)
            .map_err(|e| Error::new(ErrorKind::Unexpected, "manifest details as JSON").with_source(e))?;
        Ok(manifest)
    }
}

struct Run<'a> {
    config: &'a PostgresConfig,
    endpoint: &'a Endpoint,
    holder: &'a Holder,
    tools: &'a ClientTools,
    sink: Arc<dyn ArtifactSink>,
}

struct Parts {
    tables: Vec<TableRecord>,
    skipped: Vec<Skipped>,
    globals: bool,
}

impl Run<'_> {
    /// Archives and rows at the same time: `pg_dump` mostly waits for the server, the streams mostly for the CPU.
    async fn all(&self, cx: &Cx, timings: &mut Timings) -> Result<Parts> {
        let holder = self.holder;
        let unreadable: Vec<Skipped> = holder.skipped.iter().filter(|s| is_unreadable(s)).cloned().collect();
        let sizes = catalog::sizes(cx, &holder.connection).await?;
        let limit = self.config.chunk_bytes.unwrap_or(chunks::DEFAULT_CHUNK);
        let jobs = self.config.effective_jobs();
        let cut = chunks::cut(&holder.tables, &sizes, jobs, limit, holder.server.major());
        let total = cut.iter().map(|c| c.weight).sum();
        cx.report(Progress::Begin { phase: copy_out::PHASE, total, unit: Unit::Bytes });
        let streams = jobs.min(cut.len());
        let work = Arc::new(Work::new(holder.tables.clone(), holder.server.encoding.clone(), self.sink.clone(), cut));
        let dumps = Dumps {
            tools: self.tools,
            endpoint: self.endpoint,
            snapshot: &holder.snapshot,
            encoding: &holder.server.encoding,
            sink: self.sink.clone(),
        };
        let schema = dumps.schema(cx, &unreadable);
        let residual = dumps.residual(cx, &holder.tables, &unreadable);
        let rows = async {
            let done = join_all((0..streams).map(|_| self.spawn_stream(cx, &work))).await;
            let died = |e| Err(Error::new(ErrorKind::Unexpected, "a copy stream died").with_source(e));
            let failed = done.into_iter().filter_map(|d| d.unwrap_or_else(died).err());
            cause(failed).map_or(Ok(()), Err)?;
            copy_out::finish_on_holder(cx, &holder.connection, &work).await
        };
        // A part that fails stops the others; all are waited for, so that nothing is stored after this returns.
        let parts = async {
            tokio::join!(
                stopping(cx, schema),
                stopping(cx, residual),
                stopping(cx, rows),
                stopping(cx, dumps.globals(cx, holder.server.superuser)),
            )
        };
        let mut parts = pin!(parts);
        let (schema, residual, rows, globals) = tokio::select! {
            parts = &mut parts => parts,
            // Its end frees every lock: what is copied from then on could miss rows.
            () = holder.connection.closed().cancelled() => {
                cx.cancel();
                let _ = parts.await;
                return Err(Error::new(ErrorKind::Unavailable, "the session that holds the snapshot was lost")
                    .with_help("did the server restart, or end idle sessions? run the backup again"));
            }
        };
        let (schema, residual, globals) = match (schema, residual, rows, globals) {
            (Ok(schema), Ok(residual), Ok(()), Ok(globals)) => (schema, residual, globals),
            (schema, residual, rows, globals) => {
                let failed = [schema.err(), residual.err(), rows.err(), globals.err()].into_iter().flatten();
                return Err(cause(failed).unwrap_or_else(|| Error::new(ErrorKind::Unexpected, "nothing failed")));
            }
        };
        cx.report(Progress::End { phase: copy_out::PHASE });
        timings.mark("copy");
        let tables = assemble(&work, &sizes)?;
        self.prove_coverage(cx, &schema, &residual, &unreadable).await?;
        let known = globals.as_ref().is_none_or(|s| s.what == "role passwords");
        Ok(Parts { tables, skipped: globals.into_iter().collect(), globals: known })
    }

    fn spawn_stream(&self, cx: &Cx, work: &Arc<Work>) -> tokio::task::JoinHandle<Result<()>> {
        let (cx, work) = (cx.clone(), work.clone());
        let (endpoint, snapshot, server) =
            (self.endpoint.clone(), self.holder.snapshot.clone(), self.holder.server.clone());
        tokio::spawn(async move {
            let stream = async {
                let connection = snapshot::join(&cx, &endpoint, &snapshot, &server, "backup stream").await?;
                copy_out::stream(&cx, &connection, &work).await
            };
            let outcome = stream.await;
            if outcome.is_err() {
                // The other streams' work is lost in any case.
                cx.cancel();
            }
            outcome
        })
    }

    async fn prove_coverage(
        &self,
        cx: &Cx,
        schema: &[super::TocEntry],
        residual: &[super::TocEntry],
        unreadable: &[Skipped],
    ) -> Result<()> {
        let names = |residual: bool| -> Vec<(String, String)> {
            let tables = self.holder.tables.iter().filter(|t| t.residual == residual);
            tables.map(|t| (t.schema.clone(), t.name.clone())).collect()
        };
        // Partitioned parents have no rows of their own; the rows of unlogged tables on a standby are named as skipped.
        let sql = "SELECT n.nspname::text, c.relname::text FROM pg_catalog.pg_class c \
             JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
             WHERE c.relkind = 'p' OR pg_catalog.format('%I.%I', n.nspname, c.relname) = ANY ($1) \
                OR (c.relkind = 'r' AND c.relpersistence = 'u' AND $2)";
        let skipped: Vec<&str> = unreadable.iter().map(|s| s.what.as_str()).collect();
        let rows = self
            .holder
            .connection
            .query(cx, "list the partitioned tables", sql, &[&skipped, &self.holder.server.standby])
            .await?;
        let without: Vec<(String, String)> = rows.iter().map(|r| (r.get(0), r.get(1))).collect();
        coverage::prove(schema, residual, &names(false), &names(true), &without)
    }

    async fn detail(
        &self,
        cx: &Cx,
        tables: Vec<TableRecord>,
        globals: bool,
        mut timings: Timings,
    ) -> Result<PostgresDetail> {
        let on = &self.holder.connection;
        let (large_objects, large_objects_digest) = large_objects(cx, on).await?;
        let left_out: Vec<&str> =
            self.holder.skipped.iter().filter(|s| is_unreadable(s)).map(|s| s.what.as_str()).collect();
        let detail = PostgresDetail {
            server_version_num: self.holder.server.version,
            client_major: self.tools.major(),
            encoding: self.holder.server.encoding.clone(),
            database: catalog::database(cx, on, self.holder.server.major()).await?,
            tables,
            foreign_keys: catalog::foreign_keys(cx, on).await?,
            matviews: catalog::matviews(cx, on).await?,
            indexes: catalog::indexes(cx, on).await?,
            object_counts: catalog::object_counts(cx, on, &left_out).await?,
            extensions: catalog::extensions(cx, on).await?,
            roles: catalog::roles(cx, on).await?,
            owners: catalog::owners(cx, on).await?,
            tablespaces: catalog::tablespaces(cx, on).await?,
            large_objects,
            large_objects_digest,
            globals,
            timings_ms: BTreeMap::new(),
        };
        timings.mark("catalogue");
        Ok(PostgresDetail { timings_ms: timings.marks, ..detail })
    }
}

/// Runs one part; its failure stops the others.
async fn stopping<T>(cx: &Cx, part: impl Future<Output = Result<T>>) -> Result<T> {
    let outcome = part.await;
    if outcome.is_err() {
        cx.cancel();
    }
    outcome
}

/// The failure that made the others stop, not their being stopped.
fn cause(failed: impl IntoIterator<Item = Error>) -> Option<Error> {
    let mut failed = failed.into_iter();
    let first = failed.next()?;
    if first.kind() != ErrorKind::Cancelled {
        return Some(first);
    }
    Some(failed.find(|e| e.kind() != ErrorKind::Cancelled).unwrap_or(first))
}

fn is_unreadable(skipped: &Skipped) -> bool {
    skipped.why.contains("this role")
}

/// Counts the large objects and digests identity, length and SHA-256 of each. One that is too large for the server to
/// hash in one piece leaves the digest out: the count is still compared.
///
/// # Errors
/// Those of the connection. Must run inside a transaction.
pub async fn large_objects(cx: &Cx, on: &super::Connection) -> Result<(u64, Option<String>)> {
    let sql = "SELECT count(*) FROM pg_catalog.pg_largeobject_metadata";
    let count: i64 = on.query_one(cx, "count the large objects", sql, &[]).await?.get(0);
    if count == 0 {
        return Ok((0, Some(RowDigest::default().to_text(super::TEXT_DIGEST))));
    }
    let sql = "SELECT oid::text || ' ' || pg_catalog.length(b) || ' ' || pg_catalog.encode(pg_catalog.sha256(b), 'hex') \
         FROM (SELECT oid, pg_catalog.lo_get(oid) AS b FROM pg_catalog.pg_largeobject_metadata) AS o";
    on.execute(cx, "mark", "SAVEPOINT lo").await?;
    let digest = match on.query(cx, "digest the large objects", sql, &[]).await {
        Ok(rows) => {
            let mut digest = RowDigest::default();
            rows.iter().for_each(|r| digest.row(r.get::<_, String>(0).as_bytes()));
            Some(digest.to_text(super::TEXT_DIGEST))
        }
        Err(e) if e.kind() == ErrorKind::Cancelled || e.kind() == ErrorKind::Unavailable => return Err(e),
        Err(e) => {
            tracing::warn!(error = %e.chain(), "large objects are counted, not digested");
            on.execute(cx, "roll back", "ROLLBACK TO lo").await?;
            None
        }
    };
    Ok((u64::try_from(count).unwrap_or(0), digest))
}

fn assemble(work: &Work, sizes: &BTreeMap<u32, (u64, u64, u32)>) -> Result<Vec<TableRecord>> {
    let mut done = work.take_done();
    done.sort_by_key(|c| (c.table, c.index));
    let mut records: Vec<TableRecord> = Vec::with_capacity(work.tables.len());
    for (index, table) in work.tables.iter().enumerate() {
        let mut digest = RowDigest::default();
        let mut chunks = Vec::new();
        let mut format = CopyFormat::Text;
        let start = done.partition_point(|c| c.table < index);
        let mine: Vec<_> = done[start..].iter().take_while(|c| c.table == index).collect();
        if mine.is_empty() || mine.iter().enumerate().any(|(at, c)| c.index != at) {
            let text = format!("the rows of {} were not all copied", table.qualified);
            return Err(Error::new(ErrorKind::Unexpected, text));
        }
        for copied in mine {
            digest.add(copied.digest);
            format = copied.format;
            chunks.extend(copied.object.clone().map(|object| ChunkRecord { object, rows: copied.digest.rows }));
        }
        let (heap, toast, _) = sizes.get(&table.oid).copied().unwrap_or_default();
        records.push(TableRecord {
            schema: table.schema.clone(),
            name: table.name.clone(),
            qualified: table.qualified.clone(),
            columns: table.columns.clone(),
            root: table.root.clone(),
            load_via_root: table.load_via_root,
            rows: digest.rows,
            digest: digest.to_text(copy_out::algorithm(format)),
            format,
            chunks,
            residual: table.residual,
            source_bytes: heap + toast,
        });
    }
    Ok(records)
}

/// How long each phase took.
struct Timings {
    last: Instant,
    marks: BTreeMap<String, u64>,
}

impl Default for Timings {
    fn default() -> Self {
        Self { last: Instant::now(), marks: BTreeMap::new() }
    }
}

impl Timings {
    fn mark(&mut self, phase: &str) {
        let took = u64::try_from(self.last.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.marks.insert(phase.to_owned(), took);
        self.last = Instant::now();
    }
}
