//! How much room a folder has.

use std::path::Path;

use veza_dr_core::{Error, ErrorKind, Result};

/// The bytes that an unprivileged process may still write below `path`.
///
/// ```
/// let place = tempfile::tempdir()?;
/// assert!(veza_dr_backup::store::free_bytes(place.path())? > 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// `Unavailable` when the file system cannot be asked.
pub fn free_bytes(path: &Path) -> Result<u64> {
    let room = rustix::fs::statvfs(path).map_err(|e| {
        Error::new(ErrorKind::Unavailable, format!("the room in {} cannot be told", path.display())).with_source(e)
    })?;
    Ok(room.f_bavail.saturating_mul(room.f_frsize))
}
