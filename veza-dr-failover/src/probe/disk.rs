//! Room on a file system of this machine.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use async_trait::async_trait;
use veza_dr_core::{Cx, Error, ErrorKind, Observation, Result, ServiceProbe};

use super::{
    PATIENCE,
    look::{Contact, Seen, Stop, look},
};

/// How much must be free.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Room {
    /// So many of a hundred parts.
    Percent(f64),
    /// So many bytes, or inodes.
    Units(u64),
}

impl Room {
    fn is_met(self, free: u64, total: u64) -> bool {
        match self {
            Self::Percent(least) => share(free, total) >= least,
            Self::Units(least) => free >= least,
        }
    }
}

/// Compares the free bytes and inodes of a file system with thresholds. Below one is degraded, none left is down. Only
/// this machine's file systems can be looked at.
#[derive(Debug, Clone)]
pub struct DiskProbe {
    name: String,
    path: PathBuf,
    free: Room,
    inodes: Room,
    patience: Duration,
}

impl DiskProbe {
    /// The file system that holds `path`; a tenth of its bytes and a twentieth of its inodes must be free.
    ///
    /// ```
    /// use veza_dr_failover::probe::{DiskProbe, Room};
    /// let probe = DiskProbe::new("/").with_free(Room::Units(10 << 30)).with_inodes(Room::Percent(1.0));
    /// ```
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        let name = format!("disk {}", path.display());
        Self { name, path, free: Room::Percent(10.0), inodes: Room::Percent(5.0), patience: PATIENCE }
    }

    /// How many bytes must be free.
    #[must_use]
    pub fn with_free(mut self, free: Room) -> Self {
        self.free = free;
        self
    }

    /// How many inodes must be free; not asked where the file system makes them as it needs them.
    #[must_use]
    pub fn with_inodes(mut self, inodes: Room) -> Self {
        self.inodes = inodes;
        self
    }

    /// How long it waits; 5 s by default. A network file system may hang for ever.
    #[must_use]
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }
}

#[async_trait]
impl ServiceProbe for DiskProbe {
    fn name(&self) -> &str {
        &self.name
    }

    async fn observe(&self, cx: &Cx) -> Result<Observation> {
        let contact = Contact::default();
        contact.made();
        let work = async {
            let path = self.path.clone();
            let asked = tokio::task::spawn_blocking(move || rustix::fs::statvfs(&path)).await;
            let stat = match asked {
                Ok(Ok(stat)) => stat,
                Ok(Err(e)) => return Err(cannot(&self.path, e).into()),
                Err(e) => {
                    return Err(Error::new(ErrorKind::Unexpected, "the look at a disk broke").with_source(e).into());
                }
            };
            // `f_bavail`, not `f_bfree`: what is kept for root is no use to the services.
            let (free, total) =
                (stat.f_bavail.saturating_mul(stat.f_frsize), stat.f_blocks.saturating_mul(stat.f_frsize));
            Ok::<_, Stop>(self.judge((free, total), (stat.f_favail, stat.f_files)))
        };
        look(cx, &self.name, self.patience, &contact, work).await
    }
}

impl DiskProbe {
    fn judge(&self, bytes: (u64, u64), inodes: (u64, u64)) -> Seen {
        let mut text = format!("{:.1} % of {} MiB free", share(bytes.0, bytes.1), bytes.1 >> 20);
        let counted = inodes.1 > 0;
        if counted {
            text.push_str(&format!(", {:.1} % of the inodes", share(inodes.0, inodes.1)));
        }
        if bytes.0 == 0 || counted && inodes.0 == 0 {
            return Seen::down(format!("full: {text}"));
        }
        if !self.free.is_met(bytes.0, bytes.1) || counted && !self.inodes.is_met(inodes.0, inodes.1) {
            return Seen::degraded(format!("less than wanted: {text}"));
        }
        Seen::healthy(text)
    }
}

#[expect(clippy::cast_precision_loss, reason = "one digit after the point is shown")]
fn share(free: u64, total: u64) -> f64 {
    if total == 0 { 0.0 } else { free as f64 * 100.0 / total as f64 }
}

fn cannot(path: &Path, e: rustix::io::Errno) -> Error {
    let kind = match e {
        rustix::io::Errno::NOENT => ErrorKind::NotFound,
        rustix::io::Errno::ACCESS => ErrorKind::Denied,
        _ => ErrorKind::Unavailable,
    };
    Error::new(kind, format!("the file system of {} could not be looked at", path.display())).with_source(e)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_of_bytes_and_inodes_each_count() {
        let health = |probe: &DiskProbe, bytes, inodes| format!("{:?}", probe.judge(bytes, inodes));
        let probe = DiskProbe::new("/");
        assert!(health(&probe, (100, 1000), (50, 1000)).contains("Healthy"));
        assert!(health(&probe, (99, 1000), (50, 1000)).contains("Degraded"));
        assert!(health(&probe, (100, 1000), (49, 1000)).contains("Degraded"));
        assert!(health(&probe, (100, 1000), (0, 1000)).contains("Down"));
        assert!(health(&probe, (0, 1000), (50, 1000)).contains("Down"));
        // A file system without a fixed number of inodes.
        assert!(health(&probe, (100, 1000), (0, 0)).contains("Healthy"));
        let units = probe.with_free(Room::Units(101));
        assert!(health(&units, (100, 1000), (50, 1000)).contains("Degraded"));
    }
}
