//! What all ways share: holding writes back, the copy of what is replaced, the comparison afterwards.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use veza_dr_backup::redis::{
    ReadMode, RedisConfig,
    rdb::{Key, Summary},
};
use veza_dr_core::{
    BackupId, Clock, Cx, Error, ErrorKind, Outcome, Report, Result, SystemClock, Verdict, Verification,
};

use super::{
    choose::{BackupFacts, TargetFacts},
    cluster,
    control::{self, Control},
    copy::{self, Copied},
    durable::Loaded,
    keys::{Known, Lane, Pick},
    merge,
    options::RedisRestoreOptions,
    pause::Pause,
    proof,
    replicate::{Meeting, Spool},
    state_dir::{Journal, Kept, StateDir},
};

/// Data to restore: local, whole, proven.
#[derive(Debug)]
pub(crate) struct Data {
    pub(crate) files: Vec<PathBuf>,
    pub(crate) summary: Summary,
    /// The backup they are of; none for a kept copy.
    pub(crate) backup: Option<BackupId>,
    /// When they were current, in milliseconds since 1970.
    pub(crate) at: u64,
}

/// One restore under way.
pub(crate) struct Run<'a> {
    pub(crate) cx: &'a Cx,
    pub(crate) options: &'a RedisRestoreOptions,
    /// How the target is reached.
    pub(crate) config: &'a RedisConfig,
    pub(crate) control: Control,
    pub(crate) state: &'a StateDir,
    /// Where the target is, without credentials.
    pub(crate) location: &'a str,
    pub(crate) facts: TargetFacts,
    pub(crate) meeting: Meeting,
    pub(crate) data: &'a Data,
    pub(crate) journal: Journal,
    pub(crate) report: Report,
}

impl Run<'_> {
    /// Notes a step that is done.
    pub(crate) fn done(&mut self, name: &str, detail: impl Into<String>, since: Instant) {
        self.report.push(name, Outcome::Ok, detail, since.elapsed());
    }

    /// Notes what the journal says now, on disk.
    pub(crate) fn note(&self) -> Result<()> {
        self.state.note(&self.journal)
    }

    /// Holds writes back, as far as the server allows.
    pub(crate) async fn pause(&mut self) -> Result<Option<Pause>> {
        let since = Instant::now();
        match Pause::begin(self.cx, &self.control, self.facts.version).await? {
            Ok(pause) => {
                self.done("hold back writes", "", since);
                Ok(Some(pause))
            }
            Err(why) => {
                let text = format!("{why}: writes made from here on are lost");
                self.report.push("hold back writes", Outcome::Warning, text, since.elapsed());
                Ok(None)
            }
        }
    }

    /// The masters of a cluster, or the one server.
    pub(crate) async fn lanes(&self) -> Result<Vec<Lane>> {
        if self.facts.cluster {
            return cluster::lanes(self.cx, &self.control).await;
        }
        Ok(vec![Lane { control: self.control.clone(), slots: Vec::new() }])
    }

    /// A copy of everything that is live, in temporary files.
    pub(crate) async fn copy(&self) -> Result<Copied> {
        self.copy_as(self.config.mode).await
    }

    async fn copy_as(&self, mode: ReadMode) -> Result<Copied> {
        let config = self.config.clone().with_mode(mode);
        Box::pin(copy::copy(self.cx, &config, self.state.path())).await
    }

    /// Takes and keeps a copy of what is live. `without` are databases of ours in it.
    pub(crate) async fn safety(&mut self, without: &[u64]) -> Result<(Spool, Copied)> {
        let since = Instant::now();
        let copied = self.copy().await.map_err(|e| {
            let help = "nothing was changed; without a copy of what a restore replaces there is no restore";
            if e.help().is_some() { e } else { e.with_help(help) }
        })?;
        let name = self.state.fresh(SystemClock.now());
        let temporary = self.state.temporary(&name);
        let mut summary = copied.summary.clone();
        let files = copied.paths();
        if let ([file], []) = (files.as_slice(), without) {
            std::fs::hard_link(file, &temporary).map_err(|e| {
                Error::new(ErrorKind::Denied, format!("a copy cannot be kept as {}", temporary.display()))
                    .with_source(e)
            })?;
        } else {
            merge::merge(self.cx, &files, without, &temporary).await?;
            summary = proof::read(self.cx, std::slice::from_ref(&temporary), |_| true).await?;
        }
        let keys = summary.keys();
        let bytes = std::fs::metadata(&temporary).map_or(0, |m| m.len());
        let kept = Kept {
            target: self.location.to_owned(),
            since: SystemClock.now(),
            replaced_by: self.data.backup.clone(),
            keys,
            bytes,
            contents: summary.contents(),
        };
        self.state.keep(&name, &temporary, &kept)?;
        self.journal.safety = Some(name.clone());
        self.note()?;
        let path = self.state.rdb(&name);
        self.done("copy what is live", format!("{keys} keys, {bytes} bytes, kept as {}", path.display()), since);
        Ok((Spool { path, bytes, keys }, copied))
    }

    /// The server reads the data's version: seen from the version that it writes itself.
    pub(crate) fn readable_by(&self, own: &Summary) -> Result<()> {
        let (theirs, ours) = (own.version, self.data.summary.version);
        if ours <= theirs || own.bytes == 0 {
            return Ok(());
        }
        let text = format!("the backup is RDB version {ours}, the server writes {theirs} and reads no newer one");
        Err(Error::new(ErrorKind::Unsupported, text).with_help("restore to a server of at least the backup's version"))
    }

    /// Compares what is live with the data, without what has expired by now.
    pub(crate) async fn prove(&mut self, picked: Option<(&Pick, &Known)>) -> Result<Verification> {
        let since = Instant::now();
        let copied = self.copy().await;
        self.judge(copied, picked, since).await
    }

    /// The same, before the data are to be made to last: the server writes what is compared to its own RDB first, where
    /// it keeps that, and need not write it once more.
    pub(crate) async fn prove_saved(
        &mut self,
        picked: Option<(&Pick, &Known)>,
    ) -> Result<(Verification, Option<Loaded>)> {
        let loaded = match Loaded::now(self.cx, &self.control).await {
            Ok(loaded) => Some(loaded),
            Err(e) if control::is_refusal(&e) => None,
            Err(e) => return Err(e),
        };
        let since = Instant::now();
        let lasts = match loaded {
            Some(loaded) if !self.facts.cluster => loaded.lasts_by_sending(self.cx, &self.control).await,
            _ => false,
        };
        let copied = if lasts {
            match self.copy_as(ReadMode::Disk).await {
                // A server that cannot write has its data compared all the same; that they do not last is told after.
                Err(e) if e.kind() != ErrorKind::Cancelled => {
                    tracing::debug!(error = %e.chain(), "no copy by way of the server's disk");
                    self.copy().await
                }
                copied => copied,
            }
        } else {
            self.copy().await
        };
        Ok((self.judge(copied, picked, since).await?, loaded))
    }

    async fn judge(
        &mut self,
        copied: Result<Copied>,
        picked: Option<(&Pick, &Known)>,
        since: Instant,
    ) -> Result<Verification> {
        let copied = match copied {
            Ok(copied) => copied,
            Err(e) if control::is_refusal(&e) => {
                let mut verification = Verification::default();
                verification.unverified("the server's data", format!("they may not be read back: {}", e.chain()));
                return Ok(verification);
            }
            Err(e) => return Err(e),
        };
        let cut = self.control.now(self.cx).await?;
        // Both were read to their ends a moment ago; they are only read again for what must be left out of them.
        let (given, found) = (&self.data.summary, &copied.summary);
        let all = picked.is_none_or(|(pick, known)| {
            pick.as_they_are() && known.len() == given.keys() && found.keys() == given.keys()
        });
        let whole = (all && given.outlives(cut) && found.outlives(cut)).then(|| {
            let functions = picked.is_none_or(|(pick, _)| pick.only.is_empty());
            proof::against_given(given, found, &BTreeMap::new(), functions)
        });
        let verification = match whole {
            // As many keys as were picked can still be others, and a difference is to be named among those picked alone.
            Some(whole) if picked.is_none() || whole.verdict() == Verdict::Equal => whole,
            _ => compare(self.cx, self.data, &copied.paths(), cut, picked, None).await?,
        };
        self.done("compare", format!("{} keys read back", verification.rows), since);
        Ok(verification)
    }

    /// Gives the copy up again: nothing was replaced.
    pub(crate) fn forget_safety(&mut self) -> Result<()> {
        match self.journal.safety.take() {
            Some(name) => self.state.forget(&name),
            None => Ok(()),
        }
    }
}

/// Compares copies of a server with what it was given. `beside` says where its databases are for now; nothing else is
/// looked at then, also when there are none.
pub(crate) async fn compare(
    cx: &Cx,
    data: &Data,
    copies: &[PathBuf],
    cut: u64,
    picked: Option<(&Pick, &Known)>,
    beside: Option<&BTreeMap<u64, u64>>,
) -> Result<Verification> {
    let alive = move |key: &Key| key.expires_at.is_none_or(|at| at > cut);
    let gone = Arc::new(Mutex::new(BTreeMap::<u64, u64>::new()));
    let counted = gone.clone();
    let count = move |db: u64| {
        *counted.lock().unwrap_or_else(PoisonError::into_inner).entry(db).or_default() += 1;
    };
    let given = async {
        let picked = picked.map(|(pick, known)| (pick.clone(), known.clone()));
        proof::read(cx, &data.files, move |key| {
            if let Some((pick, known)) = &picked {
                if !pick.names(&key.name) {
                    return false;
                }
                if !pick.take(key) {
                    count(key.db);
                    return false;
                }
                if !known.has(key.db, &key.name) {
                    return false;
                }
            }
            let alive = alive(key);
            if !alive {
                count(key.db);
            }
            alive
        })
        .await
    };
    let places = beside.map(|b| b.iter().map(|(to, from)| (*from, *to)).collect::<BTreeMap<u64, u64>>());
    // Where everything was asked for, nothing else may be there.
    let known = picked.filter(|(pick, _)| !pick.only.is_empty()).map(|(_, known)| known.clone());
    let found = async {
        proof::read(cx, copies, move |key| {
            if let Some(places) = &places {
                let Some(place) = places.get(&key.db) else { return false };
                key.db = *place;
            }
            alive(key) && known.as_ref().is_none_or(|k| k.has(key.db, &key.name))
        })
        .await
    };
    let (given, found) = tokio::try_join!(given, found)?;
    let functions = picked.is_none_or(|(pick, _)| pick.only.is_empty()) && beside.is_none();
    let gone = gone.lock().unwrap_or_else(PoisonError::into_inner).clone();
    Ok(proof::against_given(&given, &found, &gone, functions))
}

/// What decides over ways, from the data themselves.
pub(crate) fn facts(summary: &Summary) -> BackupFacts {
    let digits = summary.magic.trim_start_matches(|c: char| c.is_ascii_alphabetic()).len();
    BackupFacts {
        magic: summary.magic[..summary.magic.len() - digits].to_owned(),
        rdb_version: summary.version,
        databases: summary.databases.iter().filter(|(_, d)| d.keys > 0).map(|(n, d)| (*n, d.keys)).collect(),
        modules: summary.modules.iter().cloned().collect(),
        used_memory: summary.aux.get("used-mem").and_then(|m| m.parse().ok()),
        functions: summary.functions,
    }
}
