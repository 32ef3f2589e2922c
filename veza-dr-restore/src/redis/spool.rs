//! The backup's data on local disk, whole and proven before anything is touched.

use std::{
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use tokio::io::AsyncWriteExt;
use veza_dr_backup::redis::rdb::{Scanner, Summary};
use veza_dr_core::{
    ArtifactSource, Cx, Error, ErrorKind, Manifest, ObjectReader, Progress, Result, Unit, manifest::ObjectRecord,
};

/// Local files; deleted when dropped.
#[derive(Debug)]
pub(crate) struct Spooled {
    pub(crate) files: Vec<PathBuf>,
    pub(crate) summary: Summary,
    _temporary: Vec<tempfile::TempPath>,
}

/// Fetches every RDB of a backup into `folder`.
///
/// # Errors
/// `Corrupt` when one is damaged; nothing stays behind.
pub(crate) async fn fetch(
    cx: &Cx,
    data: &Arc<dyn ArtifactSource>,
    manifest: &Manifest,
    folder: &Path,
) -> Result<Spooled> {
    let objects: Vec<&ObjectRecord> = manifest.objects.iter().filter(|o| o.name.contains(".rdb")).collect();
    if objects.is_empty() {
        return Err(Error::new(ErrorKind::Corrupt, format!("backup {} names no RDB", manifest.id)));
    }
    cx.report(Progress::Begin { phase: "fetch", total: objects.iter().map(|o| o.bytes).sum(), unit: Unit::Bytes });
    let (mut files, mut whole, mut temporary) = (Vec::new(), None::<Summary>, Vec::new());
    for object in objects {
        let path = temporary_file(folder)?;
        let summary = copy(cx, data, object, &path).await?;
        match &mut whole {
            None => whole = Some(summary),
            Some(whole) => whole.merge(&summary),
        }
        files.push(path.to_path_buf());
        temporary.push(path);
    }
    cx.report(Progress::End { phase: "fetch" });
    Ok(Spooled { files, summary: whole.unwrap_or_default(), _temporary: temporary })
}

/// A file for data that nobody else may read.
pub(crate) fn temporary_file(folder: &Path) -> Result<tempfile::TempPath> {
    let file = tempfile::Builder::new().prefix("data-").suffix(".partial").tempfile_in(folder);
    file.map(tempfile::NamedTempFile::into_temp_path).map_err(|e| unwritable(folder, e))
}

async fn copy(cx: &Cx, data: &Arc<dyn ArtifactSource>, object: &ObjectRecord, to: &Path) -> Result<Summary> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).truncate(true).mode(0o600);
    let file = options.open(to).map_err(|e| unwritable(to, e))?;
    let mut file = tokio::fs::File::from_std(file);
    let mut scanner = Scanner::start();
    let what = format!("fetch {}", object.name);
    let mut reader = cx.run(&what, data.open(cx, object)).await?;
    while let Some(piece) = cx.run(&what, reader.next()).await? {
        file.write_all(&piece).await.map_err(|e| unwritable(to, e))?;
        cx.report(Progress::Advance { phase: "fetch", by: piece.len() as u64 });
        if let Err(e) = cx.run(&what, scanner.push(piece)).await {
            return Err(at_the_end(cx, &what, reader.as_mut(), e).await);
        }
    }
    file.sync_all().await.map_err(|e| unwritable(to, e))?;
    cx.run(&what, scanner.finish()).await
}

/// What is wrong with data that could not be read on from `e`. Damage can read as anything, also as data of a newer server:
/// whether it is damage is told at the end.
pub(super) async fn at_the_end(cx: &Cx, what: &str, reader: &mut dyn ObjectReader, e: Error) -> Error {
    while e.kind() != ErrorKind::Cancelled {
        match cx.run(what, reader.next()).await {
            Ok(Some(_)) => {}
            Ok(None) => break,
            Err(damage) => return damage,
        }
    }
    e
}

fn unwritable(place: &Path, e: std::io::Error) -> Error {
    let full = matches!(e.kind(), std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded);
    let kind = if full { ErrorKind::Full } else { ErrorKind::Denied };
    Error::new(kind, format!("the data cannot be written to {}", place.display()))
        .with_source(e)
        .with_help("a restore needs room for the backup and for a copy of the server's data: state_dir")
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;
    use bytes::Bytes;

    use super::*;

    /// A value of an unknown type, some zeros, and at the end whether it is damaged.
    #[derive(Debug, Clone, Copy)]
    struct Unknown {
        left: u32,
        damaged: bool,
    }

    #[async_trait]
    impl ArtifactSource for Unknown {
        async fn open(&self, _: &Cx, _: &ObjectRecord) -> Result<Box<dyn ObjectReader>> {
            Ok(Box::new(*self))
        }
    }

    #[async_trait]
    impl ObjectReader for Unknown {
        async fn next(&mut self) -> Result<Option<Bytes>> {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
            match self.left.checked_sub(1) {
                None if self.damaged => Err(Error::new(ErrorKind::Corrupt, "it is damaged")),
                None => Ok(None),
                Some(left) => {
                    let first = self.left == 200;
                    self.left = left;
                    Ok(Some(if first { Bytes::from_static(b"REDIS0010\x38") } else { Bytes::from_static(&[0; 64]) }))
                }
            }
        }
    }

    #[tokio::test]
    async fn what_is_damaged_is_told_as_damaged_whatever_it_reads_as() {
        let folder = tempfile::tempdir().unwrap();
        let object = serde_json::json!({
            "name": "dump.rdb", "bytes": 0, "stored_bytes": 0, "sha256": "", "stored_sha256": "", "codec": []
        });
        let object: ObjectRecord = serde_json::from_value(object).unwrap();
        for (damaged, kind) in [(true, ErrorKind::Corrupt), (false, ErrorKind::Unsupported)] {
            let data: Arc<dyn ArtifactSource> = Arc::new(Unknown { left: 200, damaged });
            let to = temporary_file(folder.path()).unwrap();
            let e = copy(&Cx::background(), &data, &object, &to).await.unwrap_err();
            assert_eq!(e.kind(), kind, "{e}");
        }
    }
}
