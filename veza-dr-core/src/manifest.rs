//! The record of one backup, written last: what was stored, from which instant, and what it must contain.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::{BackupId, ComponentName, Error, ErrorKind, Result};

/// The newest format this build writes and reads.
pub const FORMAT_VERSION: u32 = 1;

/// One link of the chain from plain to stored bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Codec {
    /// Zstandard (RFC 8878).
    Zstd,
    /// gzip (RFC 1952).
    Gzip,
    /// Stored as it is.
    None,
    /// age v1, encrypted to public-key recipients.
    Age,
}

impl Codec {
    /// The file-name suffix with its dot; empty for [`Codec::None`].
    #[must_use]
    pub fn suffix(self) -> &'static str {
        match self {
            Self::Zstd => ".zst",
            Self::Gzip => ".gz",
            Self::None => "",
            Self::Age => ".age",
        }
    }
}

/// Which server the data came from.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SourceIdentity {
    /// The server's version, as it states it.
    pub server_version: String,
    /// What tells this server from every other, where it has such a thing.
    pub system_identifier: Option<String>,
    /// The database, or what corresponds to it.
    pub database: Option<String>,
    /// Where it was read, without credentials.
    pub location: String,
    /// More facts by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub facts: BTreeMap<String, String>,
}

/// The instant that the backup shows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConsistencyPoint {
    /// By the source's own clock.
    pub at: DateTime<Utc>,
    /// The write-ahead log position, for PostgreSQL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lsn: Option<String>,
    /// The exported snapshot's name, for PostgreSQL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<String>,
}

/// One stored object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectRecord {
    /// Its name below the backup, with codec suffixes.
    pub name: String,
    /// Plain size in bytes.
    pub bytes: u64,
    /// Stored size in bytes.
    pub stored_bytes: u64,
    /// SHA-256 of the plain bytes, hexadecimal.
    pub sha256: String,
    /// SHA-256 of the stored bytes, hexadecimal: what `sha256sum` prints for the file.
    pub stored_sha256: String,
    /// From plain to stored, in the order applied.
    pub codec: Vec<Codec>,
    /// The earlier backup of the same component that stores it; absent when it lies in this one's own folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stored_in: Option<BackupId>,
}

/// One component's part in a recovery point.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecoveryMember {
    /// The component.
    pub component: ComponentName,
    /// Its backup; absent when that failed.
    pub backup: Option<BackupId>,
    /// The instant that its backup shows.
    pub at: Option<DateTime<Utc>>,
}

/// Backups of several components that were taken together, to be restored together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecoveryPoint {
    /// The same in the manifest of every member.
    pub id: BackupId,
    /// All that took part, by name.
    pub members: Vec<RecoveryMember>,
    /// Between the earliest and the latest instant shown, in milliseconds.
    pub skew_ms: u64,
}

/// What one table (or key space, or file tree) must contain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContentRecord {
    /// Its name, qualified as the source qualifies it.
    pub name: String,
    /// Rows, keys or files.
    pub rows: u64,
    /// A digest that does not depend on their order, with its algorithm before the colon; `None` where none was taken.
    pub digest: Option<String>,
}

/// Something of the source that is not in the backup, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skipped {
    /// What.
    pub what: String,
    /// Why.
    pub why: String,
}

/// The program that made a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tool {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
}

/// The record of one backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Manifest {
    /// The format's version; a reader refuses a newer one.
    pub format: u32,
    /// The backup's identity.
    pub id: BackupId,
    /// The component it belongs to.
    pub component: ComponentName,
    /// The engine that made it and can restore it.
    pub engine: String,
    /// Who wrote it.
    pub tool: Tool,
    /// When it began, by the writer's clock.
    pub started_at: DateTime<Utc>,
    /// When its last object was stored.
    pub finished_at: DateTime<Utc>,
    /// Where the data came from.
    pub source: SourceIdentity,
    /// The instant that it shows.
    pub consistency: ConsistencyPoint,
    /// Every stored object.
    pub objects: Vec<ObjectRecord>,
    /// What each table must contain after a restore.
    pub contents: Vec<ContentRecord>,
    /// What is not in it, and why.
    #[serde(default)]
    pub skipped: Vec<Skipped>,
    /// For whom its objects are encrypted: `none`, or `sha256:` and the digest of the age recipients, sorted, one a line.
    /// Absent where it was not recorded. A backup uses the objects of another only where both say the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encrypted_for: Option<String>,
    /// The recovery point that it is part of, when several components were backed up together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovery_point: Option<RecoveryPoint>,
    /// The engine's own details.
    #[serde(default)]
    pub details: serde_json::Value,
}

impl Manifest {
    /// A manifest with nothing in it yet.
    #[must_use]
    pub fn new(
        id: BackupId,
        component: ComponentName,
        engine: impl Into<String>,
        source: SourceIdentity,
        consistency: ConsistencyPoint,
    ) -> Self {
        Self {
            format: FORMAT_VERSION,
            started_at: id.started_at(),
            finished_at: id.started_at(),
            id,
            component,
            engine: engine.into(),
            tool: Tool { name: "veza-dr".to_owned(), version: env!("CARGO_PKG_VERSION").to_owned() },
            source,
            consistency,
            objects: Vec::new(),
            contents: Vec::new(),
            skipped: Vec::new(),
            encrypted_for: None,
            recovery_point: None,
            details: serde_json::Value::Null,
        }
    }

    /// Plain bytes of all objects.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.objects.iter().map(|o| o.bytes).sum()
    }

    /// Stored bytes of all objects, those that lie in earlier backups included.
    #[must_use]
    pub fn stored_bytes(&self) -> u64 {
        self.objects.iter().map(|o| o.stored_bytes).sum()
    }

    /// Stored bytes that this backup added to the store.
    #[must_use]
    pub fn added_bytes(&self) -> u64 {
        self.objects.iter().filter(|o| o.stored_in.is_none()).map(|o| o.stored_bytes).sum()
    }

    /// The earlier backups that store objects of this one, each as often as it does.
    pub fn lenders(&self) -> impl Iterator<Item = &BackupId> {
        self.objects.iter().filter_map(|o| o.stored_in.as_ref())
    }

    /// The backup in whose folder an object of this manifest lies.
    #[must_use]
    pub fn owner<'a>(&'a self, object: &'a ObjectRecord) -> &'a BackupId {
        object.stored_in.as_ref().unwrap_or(&self.id)
    }

    /// Rows of all contents.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.contents.iter().map(|c| c.rows).sum()
    }

    /// The object with this name, with or without its codec suffixes.
    #[must_use]
    pub fn object(&self, name: &str) -> Option<&ObjectRecord> {
        self.objects.iter().find(|o| {
            o.name == name
                || o.name
                    .strip_prefix(name)
                    .is_some_and(|rest| rest == o.codec.iter().map(|c| c.suffix()).collect::<String>())
        })
    }

    /// As indented JSON, ending in a newline.
    ///
    /// # Errors
    /// `Unexpected` when the details cannot be written as JSON.
    pub fn to_json(&self) -> Result<Vec<u8>> {
        let mut text = serde_json::to_vec_pretty(self)
            .map_err(|e| Error::new(ErrorKind::Unexpected, "manifest cannot be written as JSON").with_source(e))?;
        text.push(b'\n');
        Ok(text)
    }

    /// Reads a manifest; `origin` names the file in errors.
    ///
    /// # Errors
    /// `Unsupported` for a newer format; `Corrupt` for anything that is not a manifest.
    pub fn from_json(json: &[u8], origin: &str) -> Result<Self> {
        #[derive(Deserialize)]
        struct Versioned {
            format: u32,
        }
        let broken = |e: serde_json::Error| {
            Error::new(ErrorKind::Corrupt, format!("{origin} is not a readable manifest")).with_source(e)
        };
        let version: Versioned = serde_json::from_slice(json).map_err(broken)?;
        if version.format == 0 || version.format > FORMAT_VERSION {
            let text = format!("{origin} has format {}, this build reads up to {FORMAT_VERSION}", version.format);
            return Err(Error::new(ErrorKind::Unsupported, text).with_help("use a newer veza-dr for this backup"));
        }
        serde_json::from_slice(json).map_err(broken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SystemClock;

    fn sample() -> Manifest {
        let at = Utc::now();
        let source = SourceIdentity::default();
        let consistency = ConsistencyPoint { at, lsn: None, snapshot: None };
        let mut m =
            Manifest::new(BackupId::new(&SystemClock), "database".parse().unwrap(), "postgres", source, consistency);
        m.objects.push(ObjectRecord {
            name: "schema.dump.zst.age".into(),
            bytes: 10,
            stored_bytes: 5,
            sha256: "00".into(),
            stored_sha256: "11".into(),
            codec: vec![Codec::Zstd, Codec::Age],
            stored_in: None,
        });
        m
    }

    #[test]
    fn comes_back_as_written() {
        let m = sample();
        assert_eq!(Manifest::from_json(&m.to_json().unwrap(), "x").unwrap(), m);
    }

    #[test]
    fn a_newer_format_is_named_before_anything_else_is_read() {
        let e = Manifest::from_json(br#"{"format": 2, "shape": "unknown"}"#, "a/manifest.json").unwrap_err();
        assert_eq!(e.kind(), ErrorKind::Unsupported);
        assert_eq!(e.to_string(), "a/manifest.json has format 2, this build reads up to 1");
    }

    #[test]
    fn objects_are_found_without_their_suffixes() {
        let m = sample();
        assert!(m.object("schema.dump").is_some());
        assert!(m.object("schema.dump.zst.age").is_some());
        assert!(m.object("schema.dump.zst").is_none());
        assert!(m.object("schema").is_none());
    }
}
