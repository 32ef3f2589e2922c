//! The whole backup of one server or cluster, from the first question to the manifest.

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use futures::future::try_join_all;
use tokio::sync::mpsc;
use veza_dr_core::{
    ArtifactSink, BackupCaps, BackupRequest, BackupTarget, ComponentName, Cx, Error, ErrorKind, Manifest, Progress,
    Report, Result, TargetInfo, Unit,
    manifest::{ConsistencyPoint, ObjectRecord, Skipped, SourceIdentity},
};

use super::{
    Consistency, Endpoint, PartRecord, ReadMode, RedisConfig, RedisDetail, Way, cluster,
    probe::Probe,
    rdb::Summary,
    scan, spool,
    sync::{Asked, Sync},
    transfer::{self, Filler, PHASE, Source},
};

/// The object of a server that is no cluster's.
pub(super) const OBJECT: &str = "dump.rdb";

/// A Redis server, or cluster, as a thing that is protected.
///
/// ```no_run
/// # async fn f() -> veza_dr_core::Result<()> {
/// use veza_dr_backup::{BackupOptions, Encryption, Repository, back_up};
/// use veza_dr_backup::{redis::{RedisConfig, RedisTarget}, store::DirectoryStore};
/// use veza_dr_core::Cx;
/// let target = RedisTarget::new("redis".parse()?, RedisConfig::new("redis://localhost:6379"))?;
/// let store = DirectoryStore::open("local", "/opt/backups")?;
/// let repository = Repository::new(std::sync::Arc::new(store), Encryption::default());
/// let report = back_up(&Cx::background(), &target, &[repository], &BackupOptions::default()).await?;
/// println!("backup {} took {:?}", report.id, report.took);
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct RedisTarget {
    info: TargetInfo,
    config: RedisConfig,
    endpoint: Endpoint,
}

impl RedisTarget {
    /// The server that `config` names. No I/O.
    ///
    /// # Errors
    /// `Config` when the URL cannot be read.
    pub fn new(component: ComponentName, config: RedisConfig) -> Result<Self> {
        let endpoint = Endpoint::parse(&config)?;
        let info = TargetInfo { component, engine: "redis".to_owned(), location: endpoint.location() };
        Ok(Self { info, config, endpoint })
    }
}

#[async_trait]
impl BackupTarget for RedisTarget {
    fn info(&self) -> &TargetInfo {
        &self.info
    }

    fn capabilities(&self) -> BackupCaps {
        // Key by key there is no single instant: only the manifest can tell whether that was needed.
        BackupCaps::new(self.config.mode != ReadMode::Scan, true)
    }

    async fn create(&self, cx: &Cx, request: BackupRequest, out: Arc<dyn ArtifactSink>) -> Result<Manifest> {
        let started = Instant::now();
        let probe = Probe::ask(cx, &self.endpoint).await?;
        cx.report(Progress::Begin { phase: PHASE, total: probe.expected_bytes(), unit: Unit::Bytes });
        let mut timings = BTreeMap::from([("probe".to_owned(), elapsed(started))]);
        let reading = Instant::now();
        let (parts, cluster) = match &probe.cluster {
            None => {
                let part = Part { endpoint: self.endpoint.clone(), object: OBJECT.to_owned(), slots: Vec::new() };
                (vec![part.read(cx, &self.config, &probe, out.as_ref()).await?], false)
            }
            Some(masters) => (self.masters(cx, masters, out.as_ref()).await?, true),
        };
        cx.report(Progress::End { phase: PHASE });
        timings.insert("read".to_owned(), elapsed(reading));
        let (parts, objects) = parts.into_iter().unzip();
        let mut manifest = self.manifest(request, &probe, parts, cluster, timings)?;
        manifest.objects = objects;
        Ok(manifest)
    }

    async fn check(&self, cx: &Cx) -> Result<Report> {
        super::check::check(cx, &self.config, &self.endpoint).await
    }

    fn recipe(&self, manifest: &Manifest) -> String {
        super::recipe::write(manifest)
    }
}

impl RedisTarget {
    /// All masters at once, so that the instants that they show are near each other.
    async fn masters(
        &self,
        cx: &Cx,
        masters: &[cluster::Master],
        out: &dyn ArtifactSink,
    ) -> Result<Vec<(PartRecord, ObjectRecord)>> {
        let work = cx.child();
        let parts = masters.iter().map(|master| async {
            let endpoint = self.endpoint.at(&master.host, master.port);
            let probe = Probe::ask(&work, &endpoint).await?;
            let first = master.slots.first().map_or(0, |s| s.0);
            let part = Part { endpoint, object: format!("slots-{first:05}.rdb"), slots: master.slots.clone() };
            part.read(&work, &self.config, &probe, out).await
        });
        let parts = try_join_all(parts).await?;
        // A slot that moved meanwhile may be in two parts, or in none.
        let control = self.endpoint.control(cx).await?;
        if cluster::masters(cx, &control, &self.endpoint).await?.as_deref() != Some(masters) {
            return Err(Error::new(ErrorKind::Conflict, "the cluster moved slots while it was read")
                .with_help("run the backup again when the cluster is at rest"));
        }
        Ok(parts)
    }

    fn manifest(
        &self,
        request: BackupRequest,
        probe: &Probe,
        parts: Vec<PartRecord>,
        cluster: bool,
        timings_ms: BTreeMap<String, u64>,
    ) -> Result<Manifest> {
        let mut total = parts.first().map(|p| p.rdb.clone()).unwrap_or_default();
        parts.iter().skip(1).for_each(|p| total.merge(&p.rdb));
        let fuzzy = parts.iter().any(|p| p.way == Way::Scan);
        let consistency = match (fuzzy, cluster) {
            (true, _) => Consistency::Fuzzy,
            (false, true) => Consistency::SnapshotPerMaster,
            (false, false) => Consistency::Snapshot,
        };
        let source = SourceIdentity {
            server_version: server_version(probe, &total),
            system_identifier: parts.first().and_then(|p| p.replid.clone()),
            database: None,
            location: self.info.location.clone(),
            facts: BTreeMap::from([("role".to_owned(), probe.fact("role")), ("rdb".to_owned(), total.magic.clone())]),
        };
        let at = parts.iter().filter_map(|p| instant(&p.rdb)).min().unwrap_or_else(|| request.id.started_at());
        let point = ConsistencyPoint { at, lsn: None, snapshot: None };
        let mut manifest = Manifest::new(request.id, self.info.component.clone(), "redis", source, point);
        manifest.contents = total.contents();
        manifest.skipped = skipped(probe, &total);
        let detail = RedisDetail { consistency, cluster, parts, total, timings_ms };
        manifest.details = serde_json::to_value(detail)
            .map_err(|e| Error::new(ErrorKind::Unexpected, "manifest details as JSON").with_source(e))?;
        Ok(manifest)
    }
}

/// One server's data on its way to one object.
struct Part {
    endpoint: Endpoint,
    object: String,
    slots: Vec<(u16, u16)>,
}

impl Part {
    async fn read(
        self,
        cx: &Cx,
        config: &RedisConfig,
        probe: &Probe,
        out: &dyn ArtifactSink,
    ) -> Result<(PartRecord, ObjectRecord)> {
        let (way, sync) = self.begin(cx, config, probe).await?;
        let (mut replid, mut offset, mut rdb_only, mut size) = (None, None, false, None);
        let from = match (sync, way) {
            (Some(sync), _) => {
                (replid, offset) = (Some(sync.replid.clone()), Some(sync.offset));
                (rdb_only, size) = (sync.rdb_only, sync.length);
                // With the length told beforehand, the data lies on the server's disk and can wait there.
                match size {
                    Some(_) => Source::Server(sync),
                    None => Source::spooled(*sync, config, probe.expected_bytes())?,
                }
            }
            (None, _) => {
                let control = self.endpoint.control(cx).await?;
                let (pieces, made) = mpsc::channel(4);
                Source::Made(made, Filler::start(scan::read(cx.clone(), control, pieces)))
            }
        };
        let (rdb, stored) = transfer::store(cx, from, &self.object, size, config.total(), out).await?;
        let told = rdb.aux.get("used-mem").and_then(|m| m.parse().ok());
        let record = PartRecord {
            location: self.endpoint.location(),
            object: self.object,
            role: probe.fact("role"),
            slots: self.slots,
            way,
            replid,
            offset,
            rdb_only,
            used_memory: told.unwrap_or(0),
            rdb,
        };
        Ok((record, stored))
    }

    /// As a replica if that is allowed; key by key where it is not, and nobody asked for more.
    async fn begin(&self, cx: &Cx, config: &RedisConfig, probe: &Probe) -> Result<(Way, Option<Box<Sync>>)> {
        let choice = probe.choose(config.mode);
        if choice == ReadMode::Scan {
            return Ok((Way::Scan, None));
        }
        if choice == ReadMode::Diskless {
            // Before the server forks for nothing.
            spool::must_fit(&config.spool(), probe.expected_bytes())?;
        }
        let asked = async { Sync::ask(cx, &self.endpoint, config, choice == ReadMode::Diskless).await };
        let limited = tokio::time::timeout(config.total(), asked).await;
        let late = || Error::new(ErrorKind::Unavailable, format!("no snapshot within {:?}", config.total()));
        match limited.map_err(|_| late())?? {
            // A server may send by way of its disk although we could do without.
            Asked::Begun(sync) if sync.length.is_some() => Ok((Way::Disk, Some(sync))),
            Asked::Begun(sync) => Ok((Way::Diskless, Some(sync))),
            Asked::Forbidden(e) if config.mode == ReadMode::Auto => {
                tracing::warn!(error = %e.chain(), "replication is forbidden: the keys are read one by one");
                Ok((Way::Scan, None))
            }
            Asked::Forbidden(e) => Err(e),
        }
    }
}

fn skipped(probe: &Probe, total: &Summary) -> Vec<Skipped> {
    let mut skipped = Vec::new();
    let undigested: u64 = total.databases.values().map(|d| d.undigested).sum();
    if undigested > 0 {
        let modules = total.modules.iter().cloned().collect::<Vec<_>>().join(", ");
        skipped.push(Skipped {
            what: format!("content digest of {undigested} keys of modules ({modules})"),
            why: "only the module can read their values; they are backed up, and compared by name and expiry"
                .to_owned(),
        });
    }
    if probe.cluster_unknown {
        skipped.push(Skipped {
            what: "other masters, should this server be part of a cluster".to_owned(),
            why: "the user may run neither INFO nor CLUSTER: allow +info".to_owned(),
        });
    }
    skipped
}

/// How the version of a Valkey server ends.
pub(super) const VALKEY: &str = " (Valkey)";

/// Whether a backup is one of a Valkey server, whose own programs read it.
#[must_use]
pub fn is_valkey(manifest: &Manifest) -> bool {
    manifest.source.server_version.ends_with(VALKEY)
}

/// What the server says, else what its data says.
fn server_version(probe: &Probe, total: &Summary) -> String {
    let told = probe.fact("valkey_version");
    if !told.is_empty() {
        return format!("{told}{VALKEY}");
    }
    let told = probe.fact("redis_version");
    let version = if told.is_empty() { total.aux.get("redis-ver").cloned().unwrap_or_default() } else { told };
    if version.is_empty() { "unknown".to_owned() } else { version }
}

/// When the snapshot was taken, to the second, by the server's clock.
fn instant(rdb: &Summary) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp(rdb.aux.get("ctime")?.parse().ok()?, 0)
}

fn elapsed(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}
