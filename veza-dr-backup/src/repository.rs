//! The catalogue of one store: what backups it holds, and how to open one.

use std::sync::Arc;

use chrono::{DateTime, NaiveDateTime, Utc};
use futures::{StreamExt, TryStreamExt};
use serde::{Deserialize, Serialize};
use veza_dr_core::{
    BackupId, BackupStore, Clock, ComponentName, Condition, Cx, Error, ErrorKind, Manifest, ObjectKey, Result,
    SystemClock, Verdict, Verification,
};

use crate::{
    encryption::Encryption,
    source::{StoredBackup, read_all},
};

/// Marks a folder as that of a backup that is being deleted, or was: see `retention`.
pub(crate) const TOMBSTONE: &str = "deleting.json";
/// A manifest of a hundred thousand tables stays well below this.
const MANIFEST_LIMIT: usize = 1 << 30;
const PARALLEL_READS: usize = 16;

/// Which backup is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selector {
    /// The newest complete one.
    Latest,
    /// This one.
    Id(BackupId),
}

impl std::str::FromStr for Selector {
    type Err = Error;

    fn from_str(s: &str) -> Result<Self> {
        match s {
            "latest" => Ok(Self::Latest),
            id => id.parse().map(Self::Id).map_err(|e: veza_dr_core::IdError| {
                Error::from(e).with_help("give an id that `veza-dr list` prints, or `latest`")
            }),
        }
    }
}

/// How thoroughly a backup was proven.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Every stored object is there, whole and undamaged.
    Objects,
    /// Every object decodes; archives and row counts agree with the manifest.
    Structure,
    /// It was restored into a scratch place and compared with the manifest.
    Restore,
}

impl std::fmt::Display for Level {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Objects => "objects",
            Self::Structure => "structure",
            Self::Restore => "restore",
        })
    }
}

impl std::str::FromStr for Level {
    type Err = Error;

    fn from_str(s: &str) -> Result<Self> {
        match s {
            "objects" => Ok(Self::Objects),
            "structure" => Ok(Self::Structure),
            "restore" => Ok(Self::Restore),
            other => Err(Error::new(ErrorKind::Config, format!("`{other}` is not a verification level"))
                .with_help("use objects, structure or restore")),
        }
    }
}

/// A verification kept beside its backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proof {
    /// How thorough it was.
    pub level: Level,
    /// What it found.
    pub verdict: Verdict,
    /// When.
    pub at: DateTime<Utc>,
}

/// What a store holds under one backup id.
#[derive(Debug, Clone)]
pub enum BackupState {
    /// Published: it has a manifest.
    Complete(Box<Manifest>),
    /// No manifest: under way, or left by a run that died.
    Unfinished,
    /// A manifest that cannot be read, and why.
    Broken(String),
}

/// What a listing alone tells of one backup.
#[derive(Debug)]
pub(crate) struct Listed {
    pub(crate) id: BackupId,
    pub(crate) complete: bool,
    /// Oldest first.
    pub(crate) proofs: Vec<Proof>,
}

/// One line of the catalogue.
#[derive(Debug, Clone)]
pub struct CatalogEntry {
    /// The component.
    pub component: ComponentName,
    /// The backup.
    pub id: BackupId,
    /// The store's name.
    pub store: String,
    /// Complete or not.
    pub state: BackupState,
    /// Its verifications, oldest first.
    pub proofs: Vec<Proof>,
}

impl CatalogEntry {
    /// The manifest of a complete backup.
    #[must_use]
    pub fn manifest(&self) -> Option<&Manifest> {
        match &self.state {
            BackupState::Complete(manifest) => Some(manifest),
            _ => None,
        }
    }

    /// The most thorough verification that found it equal; `None` when none did, or when it is refuted.
    #[must_use]
    pub fn proven(&self) -> Option<Proof> {
        let best = self.proofs.iter().filter(|p| p.verdict == Verdict::Equal).max_by_key(|p| (p.level, p.at))?;
        self.refuted().is_none().then_some(*best)
    }

    /// A verification that found it different, and that no later one of the same or a higher level took back by finding
    /// it equal: that the objects are whole says nothing about a restore that differed.
    #[must_use]
    pub fn refuted(&self) -> Option<Proof> {
        refutation(&self.proofs)
    }
}

/// See [`CatalogEntry::refuted`].
pub(crate) fn refutation(proofs: &[Proof]) -> Option<Proof> {
    let lifts = |p: &Proof, d: &Proof| p.verdict == Verdict::Equal && p.at > d.at && p.level >= d.level;
    let different = proofs.iter().filter(|p| p.verdict == Verdict::Different);
    different.filter(|d| !proofs.iter().any(|p| lifts(p, d))).max_by_key(|d| d.at).copied()
}

/// One store read as a repository of backups. Cheap to clone.
///
/// ```no_run
/// # async fn f() -> veza_dr_core::Result<()> {
/// use veza_dr_backup::{Encryption, Repository, Selector, store::DirectoryStore};
/// use veza_dr_core::Cx;
/// let store = DirectoryStore::open("local", "/opt/backups")?;
/// let repository = Repository::new(std::sync::Arc::new(store), Encryption::default());
/// let manifest = repository.manifest(&Cx::background(), &"database".parse()?, &Selector::Latest).await?;
/// println!("{} holds {} rows", manifest.id, manifest.rows());
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct Repository {
    store: Arc<dyn BackupStore>,
    encryption: Encryption,
}

impl Repository {
    /// Reads and writes backups in `store`, with these keys.
    #[must_use]
    pub fn new(store: Arc<dyn BackupStore>, encryption: Encryption) -> Self {
        Self { store, encryption }
    }

    /// The store.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn BackupStore> {
        &self.store
    }

    /// The keys.
    #[must_use]
    pub fn encryption(&self) -> &Encryption {
        &self.encryption
    }

    /// The store's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.store.info().name
    }

    /// The components that have anything stored.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn components(&self, cx: &Cx) -> Result<Vec<ComponentName>> {
        let names = self.store.list_groups(cx, "").await?;
        // What is not a component of ours is none of our business: a prefix may be shared.
        Ok(names.iter().filter_map(|n| n.parse().ok()).collect())
    }

    /// What a listing alone tells of `component`, oldest first: no manifest is read.
    pub(crate) async fn listed(&self, cx: &Cx, component: &ComponentName) -> Result<Vec<Listed>> {
        let objects = self.store.list(cx, component.as_str()).await?;
        let mut found: std::collections::BTreeMap<BackupId, (bool, Vec<Proof>)> = std::collections::BTreeMap::new();
        let mut deleting = Vec::new();
        for object in &objects {
            let mut parts = object.key.as_str().splitn(3, '/').skip(1);
            let Some(Ok(id)) = parts.next().map(str::parse::<BackupId>) else { continue };
            let entry = found.entry(id).or_default();
            match parts.next() {
                Some("manifest.json") => entry.0 = true,
                Some(TOMBSTONE) => deleting.push(object.key.as_str().split('/').nth(1)),
                Some(rest) => entry.1.extend(rest.strip_prefix("verified/").and_then(parse_proof_name)),
                None => {}
            }
        }
        found.retain(|id, (complete, _)| *complete || !deleting.contains(&Some(id.as_str())));
        let sorted = |(id, (complete, mut proofs)): (BackupId, (bool, Vec<Proof>))| {
            proofs.sort_by_key(|p| p.at);
            Listed { id, complete, proofs }
        };
        Ok(found.into_iter().map(sorted).collect())
    }

    /// The verifications kept beside one backup, oldest first.
    pub(crate) async fn proofs(&self, cx: &Cx, component: &ComponentName, id: &BackupId) -> Result<Vec<Proof>> {
        let folder = backup_key(component, id)?.join("verified")?;
        let kept = self.store.list(cx, folder.as_str()).await?;
        let name = |key: &ObjectKey| key.as_str().rsplit('/').next().and_then(parse_proof_name);
        let mut proofs: Vec<Proof> = kept.iter().filter_map(|object| name(&object.key)).collect();
        proofs.sort_by_key(|p| p.at);
        Ok(proofs)
    }

    /// Everything stored for `component`, oldest first, without what is being deleted.
    ///
    /// # Errors
    /// Those of the store; a manifest that cannot be read is an entry, not an error.
    pub async fn list(&self, cx: &Cx, component: &ComponentName) -> Result<Vec<CatalogEntry>> {
        let listed = self.listed(cx, component).await?;
        let entries = futures::stream::iter(listed.into_iter().map(|Listed { id, complete, proofs }| async move {
            let state = if complete {
                match self.read_manifest(cx, component, &id).await {
                    Ok(manifest) => BackupState::Complete(Box::new(manifest)),
                    Err(e) if matches!(e.kind(), ErrorKind::Corrupt | ErrorKind::Unsupported) => {
                        BackupState::Broken(e.chain())
                    }
                    Err(e) => return Err(e),
                }
            } else {
                BackupState::Unfinished
            };
            let store = self.name().to_owned();
            Ok(CatalogEntry { component: component.clone(), id, store, state, proofs })
        }));
        entries.buffered(PARALLEL_READS).try_collect().await
    }

    /// The newest complete backup of `component`; no manifest is read.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn newest(&self, cx: &Cx, component: &ComponentName) -> Result<Option<BackupId>> {
        let names = self.store.list_groups(cx, component.as_str()).await?;
        let mut ids: Vec<BackupId> = names.iter().filter_map(|name| name.parse().ok()).collect();
        ids.sort();
        for id in ids.into_iter().rev() {
            if self.store.head(cx, &manifest_key(component, &id)?).await?.is_some() {
                return Ok(Some(id));
            }
        }
        Ok(None)
    }

    /// The manifest of the chosen backup.
    ///
    /// # Errors
    /// `NotFound` when there is no such complete backup.
    pub async fn manifest(&self, cx: &Cx, component: &ComponentName, which: &Selector) -> Result<Manifest> {
        if let Selector::Id(id) = which {
            return self.read_manifest(cx, component, id).await;
        }
        let mut ids: Vec<BackupId> =
            self.store.list_groups(cx, component.as_str()).await?.iter().filter_map(|name| name.parse().ok()).collect();
        ids.sort();
        for id in ids.iter().rev() {
            match self.read_manifest(cx, component, id).await {
                // An unfinished run is no candidate. A damaged manifest is: falling back to an older backup in
                // silence would restore data that the operator did not ask for.
                Err(e) if e.kind() == ErrorKind::NotFound => {}
                other => return other,
            }
        }
        let text = format!("store {} holds no complete backup of {component}", self.name());
        Err(Error::new(ErrorKind::NotFound, text).with_help(format!("make one: veza-dr backup {component}")))
    }

    pub(crate) async fn read_manifest(&self, cx: &Cx, component: &ComponentName, id: &BackupId) -> Result<Manifest> {
        let key = manifest_key(component, id)?;
        let mut reader = self.store.get(cx, &key, 0).await.map_err(|e| {
            if e.kind() == ErrorKind::NotFound {
                let text = format!("store {} holds no complete backup {id} of {component}", self.name());
                return Error::new(ErrorKind::NotFound, text)
                    .with_source(e)
                    .with_help("see what is there: veza-dr list");
            }
            e
        })?;
        let json = read_all(reader.as_mut(), MANIFEST_LIMIT, key.as_str()).await?;
        let manifest = Manifest::from_json(&json, key.as_str())?;
        if manifest.id != *id || manifest.component != *component {
            let text = format!("{key} is the manifest of {}/{}", manifest.component, manifest.id);
            return Err(Error::new(ErrorKind::Corrupt, text));
        }
        Ok(manifest)
    }

    /// The objects of a backup, to read, wherever among the component's backups they lie.
    #[must_use]
    pub fn open(&self, manifest: &Manifest) -> StoredBackup {
        StoredBackup::new(self.store.clone(), manifest, self.encryption.clone())
    }

    /// Compares what the store lists with what a manifest says is stored, by name and size; reads no content.
    ///
    /// # Errors
    /// `Corrupt` naming the first object that is missing or has another size; those of the store.
    pub async fn check_listed(&self, cx: &Cx, manifest: &Manifest) -> Result<()> {
        let mut owners: Vec<&BackupId> = manifest.objects.iter().map(|o| manifest.owner(o)).collect();
        owners.sort();
        owners.dedup();
        for owner in owners {
            let base = backup_key(&manifest.component, owner)?;
            let listed = self.store.list(cx, base.as_str()).await?;
            for object in manifest.objects.iter().filter(|o| manifest.owner(o) == owner) {
                let key = base.join(&object.name)?;
                let found = listed.binary_search_by(|m| m.key.cmp(&key)).ok().map(|at| listed[at].bytes);
                if found != Some(object.stored_bytes) {
                    let there = found.map_or("nothing".to_owned(), |n| format!("{n} bytes"));
                    let text = format!("{key} was stored with {} bytes, the store lists {there}", object.stored_bytes);
                    return Err(Error::new(ErrorKind::Corrupt, text));
                }
            }
        }
        Ok(())
    }

    /// Keeps a verification beside the backup it is about.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn record_proof(
        &self,
        cx: &Cx,
        manifest: &Manifest,
        level: Level,
        verification: &Verification,
    ) -> Result<Proof> {
        let proof = Proof { level, verdict: verification.verdict(), at: SystemClock.now() };
        let name = format!(
            "verified/{}-{level}-{}.json",
            proof.at.format(PROOF_STAMP),
            match proof.verdict {
                Verdict::Equal => "equal",
                Verdict::Different => "different",
                Verdict::Unverified => "unverified",
            }
        );
        let key = backup_key(&manifest.component, &manifest.id)?.join(&name)?;
        #[derive(Serialize)]
        struct Kept<'a> {
            proof: &'a Proof,
            verification: &'a Verification,
        }
        let json = serde_json::to_vec_pretty(&Kept { proof: &proof, verification })
            .map_err(|e| Error::new(ErrorKind::Unexpected, "verification as JSON").with_source(e))?;
        self.store.put(cx, &key, json.into(), Condition::Absent).await?;
        Ok(proof)
    }
}

const PROOF_STAMP: &str = "%Y%m%dT%H%M%S%3fZ";

pub(crate) fn parse_proof_name(name: &str) -> Option<Proof> {
    let mut parts = name.strip_suffix(".json")?.splitn(3, '-');
    let at = NaiveDateTime::parse_from_str(parts.next()?, PROOF_STAMP).ok()?.and_utc();
    let level = parts.next()?.parse().ok()?;
    let verdict = match parts.next()? {
        "equal" => Verdict::Equal,
        "different" => Verdict::Different,
        "unverified" => Verdict::Unverified,
        _ => return None,
    };
    Some(Proof { level, verdict, at })
}

/// `<component>/<id>`.
pub(crate) fn backup_key(component: &ComponentName, id: &BackupId) -> Result<ObjectKey> {
    Ok(format!("{component}/{id}").parse()?)
}

pub(crate) fn manifest_key(component: &ComponentName, id: &BackupId) -> Result<ObjectKey> {
    Ok(backup_key(component, id)?.join("manifest.json")?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_is_lifted_by_an_equal_of_the_same_or_a_higher_level_alone() {
        use Verdict::{Different, Equal, Unverified};
        let refuted = |found: &[(Level, Verdict)]| {
            let at = |i: usize| DateTime::from_timestamp(i64::try_from(i).unwrap(), 0).unwrap();
            let proofs = found.iter().enumerate().map(|(i, (level, verdict))| Proof {
                level: *level,
                verdict: *verdict,
                at: at(i),
            });
            refutation(&proofs.collect::<Vec<_>>()).is_some()
        };
        use Level::{Objects, Restore, Structure};
        assert!(refuted(&[(Restore, Different), (Objects, Equal)]));
        assert!(refuted(&[(Restore, Different), (Structure, Equal), (Restore, Unverified)]));
        assert!(refuted(&[(Restore, Equal), (Objects, Different)]));
        assert!(!refuted(&[(Restore, Different), (Objects, Equal), (Restore, Equal)]));
        assert!(!refuted(&[(Objects, Different), (Restore, Equal)]));
        assert!(!refuted(&[(Restore, Unverified)]) && !refuted(&[]));
    }

    #[test]
    fn proof_names_come_back() {
        let at = Utc::now();
        let name = format!("{}-restore-equal.json", at.format(PROOF_STAMP));
        let proof = parse_proof_name(&name).unwrap();
        assert_eq!((proof.level, proof.verdict), (Level::Restore, Verdict::Equal));
        assert!((proof.at - at).num_milliseconds().abs() <= 1);
        assert!(parse_proof_name("x-restore-equal.json").is_none());
    }
}
