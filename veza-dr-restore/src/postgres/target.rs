//! A PostgreSQL database as a thing that can be brought back.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use veza_dr_backup::postgres::{ClientTools, Endpoint, PostgresConfig, PostgresDetail, quote_ident};
use veza_dr_core::{
    ArtifactSource, BackupId, ComponentName, Cx, Error, ErrorKind, Manifest, Outcome, Report, RestoreCaps, RestorePlan,
    RestoreReport, RestoreRequest, RestoreTarget, Result, SecretString, TargetInfo, Verdict, Verification,
};

use crate::guards;

use super::{
    archive::{Archive, RestoreHow},
    fill::Fill,
    kept::{self, Role},
    leftovers,
    plan::{self, Aim},
    preflight::Survey,
    proof, server,
    staging::{self, Staging},
    swap, tables,
};

/// A PostgreSQL database as a thing that can be brought back.
///
/// ```no_run
/// # async fn f() -> veza_dr_core::Result<()> {
/// use std::sync::Arc;
/// use veza_dr_backup::{Encryption, Repository, Selector, postgres::PostgresConfig, store::DirectoryStore};
/// use veza_dr_core::{Cx, RestoreRequest, RestoreTarget};
/// use veza_dr_restore::postgres::PostgresRestore;
/// let cx = Cx::background();
/// let repository = Repository::new(Arc::new(DirectoryStore::open("local", "/opt/backups")?), Encryption::default());
/// let manifest = repository.manifest(&cx, &"database".parse()?, &Selector::Latest).await?;
/// let config = PostgresConfig::new("postgres://veza_user@localhost:5432/veza_db");
/// let target = PostgresRestore::new("database".parse()?, config)?;
/// let plan = target.plan(&cx, &RestoreRequest::in_place(), &manifest).await?;
/// let report = target.apply(&cx, plan, &manifest, Arc::new(repository.open(&manifest))).await?;
/// println!("restored into {}", report.location);
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct PostgresRestore {
    pub(crate) info: TargetInfo,
    pub(crate) config: PostgresConfig,
    to_password: Option<SecretString>,
}

impl PostgresRestore {
    /// The database that `config` names. No I/O.
    ///
    /// # Errors
    /// `Config` when the URL cannot be read.
    pub fn new(component: ComponentName, config: PostgresConfig) -> Result<Self> {
        let location = Endpoint::parse(&config)?.location();
        Ok(Self { info: TargetInfo { component, engine: "postgres".to_owned(), location }, config, to_password: None })
    }

    /// The password for another server named by [`RestoreRequest::to`]; the component's own is never offered to it.
    #[must_use]
    pub fn with_target_password(mut self, password: SecretString) -> Self {
        self.to_password = Some(password);
        self
    }

    /// The database that the restore of this backup set aside, if one is kept: what the last such restore replaced.
    ///
    /// ```no_run
    /// # async fn f(cx: &veza_dr_core::Cx, target: veza_dr_restore::postgres::PostgresRestore,
    /// #     backup: veza_dr_core::BackupId) -> veza_dr_core::Result<()> {
    /// if let Some(kept) = target.kept_for(cx, &backup).await? {
    ///     println!("what it replaced is kept as {kept}");
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// When the server cannot be asked. Changes nothing.
    pub async fn kept_for(&self, cx: &Cx, backup: &BackupId) -> Result<Option<String>> {
        let aim = self.aim(cx, &RestoreRequest::in_place()).await?;
        let maintenance = server::maintenance(cx, &aim.live).await?;
        let found = kept::find(cx, &maintenance, &self.info.component, aim.live.database()).await?;
        let ours = |f: &kept::Found| f.mark.role == Role::Kept && f.mark.backup == *backup;
        Ok(found.into_iter().rev().find(ours).map(|f| f.name))
    }

    pub(crate) async fn aim(&self, cx: &Cx, request: &RestoreRequest) -> Result<Aim> {
        let aim = plan::aim(&self.config, self.to_password.as_ref(), request)?;
        Ok(Aim { live: aim.live.pin(cx).await?, ..aim })
    }

    /// Fills a staging or scratch database and proves it; leaves it for the caller to swap or drop.
    async fn fill(
        &self,
        cx: &Cx,
        aim: &Aim,
        plan: &RestorePlan,
        manifest: &Manifest,
        data: &Arc<dyn ArtifactSource>,
        report: &mut Report,
    ) -> Result<(Staging, Verification)> {
        let detail = PostgresDetail::of(manifest)?;
        let maintenance = server::maintenance(cx, &aim.live).await?;
        let (endpoint, mark) = plan::staging_of(&self.info.component, aim, &plan.request, manifest);
        let server = server::Server::ask(cx, &maintenance).await?;
        let tools =
            ClientTools::find(cx, self.config.bin_dir.as_deref(), detail.client_major.max(server.major())).await?;
        let started = Instant::now();
        let schema = Archive::fetch(cx, data, manifest, "schema.dump", &tools).await?;
        let residual = Archive::fetch(cx, data, manifest, "residual.dump", &tools).await?;
        let staging = staging::open(cx, &maintenance, &endpoint, &mark, &detail.database).await?;
        let note = if staging.resumed {
            format!("{}: going on after {} objects", staging.endpoint.database(), staging.loaded.len())
        } else {
            staging.endpoint.database().to_owned()
        };
        report.push("prepare", Outcome::Ok, note, started.elapsed());
        let fill = Fill {
            config: &self.config,
            server: &server,
            staging: &staging,
            manifest,
            detail: &detail,
            chosen: tables::choose(&detail, &plan.request.only)?,
            whole: plan.request.only.is_empty(),
            schema: Arc::new(schema),
            residual: &residual,
            data,
        };
        match fill.run(cx, report).await {
            Ok(verification) => Ok((staging, verification)),
            Err(e) => {
                if plan.request.scratch {
                    drop_scratch(&aim.live, &staging).await;
                }
                Err(e)
            }
        }
    }

    /// The database's own settings, last: one of them might make every session read-only.
    async fn finish_settings(&self, cx: &Cx, aim: &Aim, staging: &Staging, detail: &PostgresDetail) -> Result<()> {
        let on = server::maintenance(cx, &aim.live).await?;
        let name = quote_ident(staging.endpoint.database());
        let db = &detail.database;
        let mut statements = vec![format!("ALTER DATABASE %DB% OWNER TO {}", quote_ident(&db.owner))];
        statements.extend(db.grants.iter().chain(&db.settings).cloned());
        if db.connection_limit != -1 {
            statements.push(format!("ALTER DATABASE %DB% CONNECTION LIMIT {}", db.connection_limit));
        }
        for statement in statements {
            on.execute(cx, "apply the database's settings", &statement.replacen("%DB%", &name, 1)).await?;
        }
        Ok(())
    }
}

/// Drops a scratch database in any event, also when the operation was cancelled.
pub(crate) async fn drop_scratch(live: &Endpoint, staging: &Staging) {
    let cx = Cx::background().with_deadline(std::time::SystemTime::now() + Duration::from_secs(20));
    let dropped = async {
        let on = server::maintenance(&cx, live).await?;
        server::drop_database(&cx, live, &on, staging.endpoint.database()).await
    };
    if let Err(e) = dropped.await {
        tracing::warn!(database = staging.endpoint.database(), error = %e.chain(), "a scratch database stays behind");
    }
}

#[async_trait]
impl RestoreTarget for PostgresRestore {
    fn info(&self) -> &TargetInfo {
        &self.info
    }

    fn capabilities(&self) -> RestoreCaps {
        RestoreCaps::new(true, true, true)
    }

    async fn plan(&self, cx: &Cx, request: &RestoreRequest, from: &Manifest) -> Result<RestorePlan> {
        let aim = self.aim(cx, request).await?;
        let maintenance = server::maintenance(cx, &aim.live).await?;
        plan::make(cx, &self.info.component, &self.config, &maintenance, &aim, request, from).await
    }

    async fn apply(
        &self,
        cx: &Cx,
        plan: RestorePlan,
        from: &Manifest,
        data: Arc<dyn ArtifactSource>,
    ) -> Result<RestoreReport> {
        guards::ready(&plan, from)?;
        let aim = self.aim(cx, &plan.request).await?;
        let maintenance = server::maintenance(cx, &aim.live).await?;
        let now = Survey::make(cx, &maintenance, &aim.live).await?.fingerprint(&aim.live);
        guards::unchanged(&plan, &now)?;
        let _only_one = one_at_a_time(cx, &maintenance, aim.live.database()).await?;
        let mut report = Report::default();
        let detail = PostgresDetail::of(from)?;
        if !plan.request.only.is_empty() && aim.in_place && !plan.request.scratch {
            let tools = ClientTools::find(cx, self.config.bin_dir.as_deref(), detail.client_major).await?;
            let schema = Archive::fetch(cx, &data, from, "schema.dump", &tools).await?;
            let residual = Archive::fetch(cx, &data, from, "residual.dump", &tools).await?;
            let chosen = tables::choose(&detail, &plan.request.only)?;
            let (report, verification) =
                tables::apply_in_place(cx, &aim.live, from, &detail, &chosen, (&schema, &residual), &data).await?;
            return Ok(RestoreReport::new(from.id.clone(), report, verification, aim.live.location()));
        }
        let (staging, verification) = self.fill(cx, &aim, &plan, from, &data, &mut report).await?;
        if plan.request.scratch {
            drop_scratch(&aim.live, &staging).await;
            return Ok(RestoreReport::new(from.id.clone(), report, verification, String::new()));
        }
        if verification.verdict() != Verdict::Equal {
            return Err(not_proven(&verification, staging.endpoint.database()));
        }
        self.finish_settings(cx, &aim, &staging, &detail).await?;
        let started = Instant::now();
        let (_, mark) = plan::staging_of(&self.info.component, &aim, &plan.request, from);
        let order = swap::Swap {
            live: aim.live.database(),
            incoming: staging.endpoint.database(),
            comment: detail.database.comment.clone(),
            mark,
        };
        let replaced = swap::swap(cx, &aim.live, &maintenance, &order).await?;
        report.push("swap", Outcome::Ok, format!("{} is live", aim.live.location()), started.elapsed());
        let started = Instant::now();
        // The restore is done: what could not be tidied up is no failure of it.
        match leftovers::tidy(cx, &maintenance, &aim.live, &self.info.component).await {
            Ok(dropped) if dropped.is_empty() => {}
            Ok(dropped) => {
                report.push("drop unfinished restores", Outcome::Ok, dropped.join(", "), started.elapsed());
            }
            Err(e) => tracing::warn!(error = %e.chain(), "unfinished restores could not be looked for"),
        }
        let mut done = RestoreReport::new(from.id.clone(), report, verification, aim.live.location());
        if replaced.is_some() && aim.in_place {
            done.next.push(format!("veza-dr rollback {}   # back to what it replaced", self.info.component));
            done.next
                .push(format!("veza-dr release {}    # when all is well: drop what it replaced", self.info.component));
        }
        done.replaced = replaced;
        Ok(done)
    }

    async fn verify(&self, cx: &Cx, against: &Manifest) -> Result<Verification> {
        let aim = self.aim(cx, &RestoreRequest::in_place()).await?;
        proof::whole(cx, &aim.live, against).await
    }

    async fn rollback(&self, cx: &Cx) -> Result<Report> {
        let aim = self.aim(cx, &RestoreRequest::in_place()).await?;
        let maintenance = server::maintenance(cx, &aim.live).await?;
        let _only_one = one_at_a_time(cx, &maintenance, aim.live.database()).await?;
        let found = kept::find(cx, &maintenance, &self.info.component, aim.live.database()).await?;
        swap::rollback(cx, &aim.live, &maintenance, aim.live.database(), &found).await
    }

    async fn release(&self, cx: &Cx) -> Result<Report> {
        let aim = self.aim(cx, &RestoreRequest::in_place()).await?;
        let maintenance = server::maintenance(cx, &aim.live).await?;
        let _only_one = one_at_a_time(cx, &maintenance, aim.live.database()).await?;
        let found = kept::find(cx, &maintenance, &self.info.component, aim.live.database()).await?;
        debug_assert!(found.iter().all(|f| f.mark.role != Role::Kept || kept::kept_since(&f.name).is_some()));
        swap::release(cx, &aim.live, &maintenance, aim.live.database(), &found).await
    }
}

fn not_proven(verification: &Verification, kept_in: &str) -> Error {
    let mut findings: Vec<String> = verification.findings.iter().map(|f| format!("{}: {}", f.what, f.why)).collect();
    let more = findings.len().saturating_sub(10);
    findings.truncate(10);
    if more > 0 {
        findings.push(format!("and {more} more"));
    }
    let kind = if verification.verdict() == Verdict::Different { ErrorKind::Mismatch } else { ErrorKind::Unverified };
    Error::new(kind, format!("the restored data is not proven equal to the backup: {}", findings.join("; "))).with_help(
        format!("the live database is untouched; what was restored is in {kept_in}, to look at; try another backup: veza-dr list"),
    )
}

/// A session lock that makes a second restore, rollback or release of the same database fail at once. It ends with the
/// connection, so with the process.
async fn one_at_a_time<'a>(
    cx: &Cx,
    on: &'a veza_dr_backup::postgres::Connection,
    live: &str,
) -> Result<&'a veza_dr_backup::postgres::Connection> {
    let sql = "SELECT pg_catalog.pg_try_advisory_lock(pg_catalog.hashtextextended('veza-dr restore ' || $1::text, 0))";
    if on.query_one(cx, "take the restore lock", sql, &[&live]).await?.get(0) {
        return Ok(on);
    }
    let text = format!("another restore, rollback or release of {live} is under way");
    Err(Error::new(ErrorKind::Conflict, text)
        .with_help("wait for it, or find its session in pg_stat_activity: veza-dr restore"))
}

/// The way `pg_restore` is run throughout.
pub(crate) fn restore_how(
    server: &server::Server,
    section: Option<&'static str>,
    jobs: usize,
    parallel: usize,
) -> RestoreHow {
    RestoreHow { section, jobs, one_transaction: false, no_owner: false, options: server.build_options(parallel) }
}
