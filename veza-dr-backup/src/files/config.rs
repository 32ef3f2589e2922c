//! Which files to back up, and how: plain data.

use std::{path::PathBuf, time::Duration};

/// Files to back up, shared by backup and restore.
///
/// ```
/// use veza_dr_backup::files::FilesConfig;
/// let config = FilesConfig::new(["/etc/veza/", "/var/log/veza/"]).excluding(["*.tmp", "/etc/veza/cache"]);
/// assert_eq!(config.include.len(), 2);
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct FilesConfig {
    /// Absolute paths of folders and files.
    pub include: Vec<PathBuf>,
    /// Globs of what is left out, with everything below it: with a `/` they match whole absolute paths (`**` spans
    /// folders), without one they match names anywhere.
    pub exclude: Vec<String>,
    /// Back up what can be read and name the rest in the manifest, instead of failing.
    pub allow_unreadable: bool,
    /// Accept files that change while they are read: of one that grows, the bytes it had when it was opened are
    /// stored; one that vanishes or keeps shrinking is left out. Each is named in the manifest.
    pub allow_changed: bool,
    /// Stay on the file system of each included path; mount points below are named in the manifest.
    pub one_file_system: bool,
    /// How many segments are read and written at once; the machine's cores when `None`.
    pub jobs: Option<usize>,
    /// About how many bytes of files one segment holds; 64 MiB when `None`.
    pub segment_bytes: Option<u64>,
    /// After how many backups that build on another one a full one is made; 30 when `None`, 0 for always.
    pub full_every: Option<u32>,
    /// How old the last full backup may be when another one builds on it; 30 days when `None`.
    pub full_after: Option<Duration>,
    /// A folder for copies of the index, so that a host that cannot decrypt its own backups can build on them.
    pub state_dir: Option<PathBuf>,
}

impl FilesConfig {
    /// These paths, with everything else at its default.
    #[must_use]
    pub fn new<P: Into<PathBuf>>(include: impl IntoIterator<Item = P>) -> Self {
        Self {
            include: include.into_iter().map(Into::into).collect(),
            exclude: Vec::new(),
            allow_unreadable: false,
            allow_changed: false,
            one_file_system: false,
            jobs: None,
            segment_bytes: None,
            full_every: None,
            full_after: None,
            state_dir: None,
        }
    }

    /// Leaving these globs out.
    #[must_use]
    pub fn excluding<S: Into<String>>(mut self, globs: impl IntoIterator<Item = S>) -> Self {
        self.exclude = globs.into_iter().map(Into::into).collect();
        self
    }

    /// Skipping, and naming, what cannot be read.
    #[must_use]
    pub fn allowing_unreadable(mut self, allow: bool) -> Self {
        self.allow_unreadable = allow;
        self
    }

    /// Accepting, and naming, what changes while it is read.
    #[must_use]
    pub fn allowing_changed(mut self, allow: bool) -> Self {
        self.allow_changed = allow;
        self
    }

    /// Staying on one file system.
    #[must_use]
    pub fn with_one_file_system(mut self, stay: bool) -> Self {
        self.one_file_system = stay;
        self
    }

    /// With this many segments at once.
    #[must_use]
    pub fn with_jobs(mut self, jobs: usize) -> Self {
        self.jobs = Some(jobs.max(1));
        self
    }

    /// With segments of about this many bytes.
    #[must_use]
    pub fn with_segment_bytes(mut self, bytes: u64) -> Self {
        self.segment_bytes = Some(bytes.max(4096));
        self
    }

    /// With a full backup after this many others.
    #[must_use]
    pub fn with_full_every(mut self, backups: u32) -> Self {
        self.full_every = Some(backups);
        self
    }

    /// With a full backup when the last one is older than this.
    #[must_use]
    pub fn with_full_after(mut self, age: Duration) -> Self {
        self.full_after = Some(age);
        self
    }

    /// With copies of the index in this folder.
    #[must_use]
    pub fn with_state_dir(mut self, path: impl Into<PathBuf>) -> Self {
        self.state_dir = Some(path.into());
        self
    }

    /// The number of segments at once in force.
    #[must_use]
    pub fn effective_jobs(&self) -> usize {
        self.jobs.unwrap_or_else(|| std::thread::available_parallelism().map_or(2, usize::from)).clamp(1, 16)
    }

    pub(crate) fn effective_segment_bytes(&self) -> u64 {
        self.segment_bytes.unwrap_or(64 << 20)
    }

    pub(crate) fn effective_full_every(&self) -> u32 {
        self.full_every.unwrap_or(30)
    }

    pub(crate) fn effective_full_after(&self) -> Duration {
        self.full_after.unwrap_or(Duration::from_secs(30 * 24 * 3600))
    }
}
