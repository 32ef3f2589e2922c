//! What the manifest of a files backup says beyond what every manifest does.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use veza_dr_core::{BackupId, Error, ErrorKind, Manifest, Result};

/// How many of each kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct KindCounts {
    /// Regular files.
    pub files: u64,
    /// Folders.
    pub folders: u64,
    /// Symbolic links.
    pub symlinks: u64,
    /// Further names of files.
    pub hardlinks: u64,
    /// Named pipes.
    pub pipes: u64,
    /// Character and block devices, which only root can make.
    pub devices: u64,
}

/// One included path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootRecord {
    /// Its path in the index, escaped as there; the name of its content record is this with a `/` in front.
    pub member: String,
    /// Entries, the path itself included.
    pub entries: u64,
    /// Bytes of regular files, holes included.
    pub bytes: u64,
}

/// One segment that this backup's files are in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SegmentRecord {
    /// Its short name, as in the index: the object is `segment-<name>.tar`.
    pub name: String,
    /// Members, those included that are not part of this backup any more.
    pub members: u64,
    /// Bytes of the members' content.
    pub bytes: u64,
    /// Members that are part of this backup.
    pub live: u64,
    /// Bytes of those.
    pub live_bytes: u64,
}

impl SegmentRecord {
    /// The object's name without codec suffixes.
    #[must_use]
    pub fn object(&self) -> String {
        segment_object(&self.name)
    }
}

pub(crate) fn segment_object(short: &str) -> String {
    format!("segment-{short}.tar")
}

/// The engine's part of the manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilesDetail {
    /// The object that lists every entry.
    pub index: String,
    /// XXH3-128 of the index, hexadecimal.
    pub index_digest: String,
    /// The archive of everything that has no content: folders, links, pipes, devices.
    pub tree: String,
    /// The included paths.
    pub roots: Vec<RootRecord>,
    /// Where the files' contents are.
    pub segments: Vec<SegmentRecord>,
    /// How many of each kind.
    pub kinds: KindCounts,
    /// Patterns of what was left out.
    pub exclude: Vec<String>,
    /// How many paths they matched, each with whatever is below it.
    pub excluded: u64,
    /// Mount points that were met.
    pub mounts: Vec<String>,
    /// Files that were read for this backup.
    pub read: u64,
    /// The backup that this chain of backups began with: itself, for a full one.
    pub full: BackupId,
    /// How many backups lie between it and that one, itself included.
    pub increments: u32,
    /// When the last file was read; the consistency point says when the first was.
    pub read_until: DateTime<Utc>,
}

impl FilesDetail {
    /// Reads it from a manifest.
    ///
    /// # Errors
    /// `Unsupported` when the manifest is another engine's; `Corrupt` when it is not what this engine writes.
    pub fn of(manifest: &Manifest) -> Result<Self> {
        if manifest.engine != "files" {
            let text = format!("backup {} is one of engine {}, not of files", manifest.id, manifest.engine);
            return Err(Error::new(ErrorKind::Unsupported, text));
        }
        let detail: Self = serde_json::from_value(manifest.details.clone()).map_err(|e| {
            Error::new(ErrorKind::Corrupt, format!("backup {}: its details cannot be read", manifest.id)).with_source(e)
        })?;
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if !detail.segments.iter().all(|s| s.name.chars().all(plain)) {
            return Err(Error::new(ErrorKind::Corrupt, format!("backup {}: a segment's name is none", manifest.id)));
        }
        Ok(detail)
    }

    /// Bytes of all regular files.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.roots.iter().map(|r| r.bytes).sum()
    }
}
