//! What the manifest of a Redis backup holds beside what every manifest does.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use veza_dr_core::{Error, ErrorKind, Manifest, Result};

use super::rdb::Summary;

/// How the data was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Way {
    /// As a replica, by way of the server's disk.
    Disk,
    /// As a replica, straight from a forked server's memory.
    Diskless,
    /// Key by key.
    Scan,
}

/// What instant the backup shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Consistency {
    /// One, for all of it.
    Snapshot,
    /// One for each master of a cluster.
    SnapshotPerMaster,
    /// None: keys were read one after the other while others changed.
    Fuzzy,
}

/// One object: the data of one server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PartRecord {
    /// The object's name, without codec suffixes.
    pub object: String,
    /// The server, without credentials.
    pub location: String,
    /// Its role when the backup began; empty when it could not be asked.
    pub role: String,
    /// The cluster slots that it held, first and last; empty outside a cluster.
    pub slots: Vec<(u16, u16)>,
    /// How it was read.
    pub way: Way,
    /// The lineage of the data, and the place in it; absent when read key by key.
    pub replid: Option<String>,
    /// See `replid`.
    pub offset: Option<u64>,
    /// Whether the server kept no output for us meanwhile: no buffer limit of its could have ended the transfer.
    pub rdb_only: bool,
    /// Bytes of memory that the data took, by the RDB's own word or the server's.
    pub used_memory: u64,
    /// What is in it.
    pub rdb: Summary,
}

/// The details of a Redis backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RedisDetail {
    /// What instant it shows.
    pub consistency: Consistency,
    /// Whether the source was a cluster.
    pub cluster: bool,
    /// One for each object.
    pub parts: Vec<PartRecord>,
    /// All parts together.
    pub total: Summary,
    /// How long each phase took, in milliseconds.
    pub timings_ms: BTreeMap<String, u64>,
}

impl RedisDetail {
    /// Reads the details of a manifest.
    ///
    /// # Errors
    /// `Corrupt` when it has none, or they cannot be read.
    pub fn of(manifest: &Manifest) -> Result<Self> {
        serde_json::from_value(manifest.details.clone()).map_err(|e| {
            let text = format!("the manifest of backup {} has no readable Redis details", manifest.id);
            Error::new(ErrorKind::Corrupt, text).with_source(e)
        })
    }
}
