//! A local file between a server that must not wait and a store that may: written at one end, read at the other.

use std::{fs::File, os::unix::fs::FileExt, path::Path, sync::Arc};

use bytes::Bytes;
use tokio::sync::watch;
use veza_dr_core::{Error, ErrorKind, Result};

const PIECE: usize = 256 * 1024;
/// Room that is left for others on the file system: a share, but no more than this.
const RESERVE: u64 = 256 * 1024 * 1024;
/// How often the room that is left is looked at.
const LOOK: u64 = 64 * 1024 * 1024;

/// How far the writer is.
#[derive(Debug, Clone, Copy)]
struct State {
    written: u64,
    ended: bool,
}

/// The end that is written. Dropped before [`SpoolWriter::finish`], the reader gets an error.
#[derive(Debug)]
pub(super) struct SpoolWriter {
    file: Arc<File>,
    state: watch::Sender<State>,
    looked: u64,
    dir: std::path::PathBuf,
}

/// The end that is read.
#[derive(Debug)]
pub(super) struct SpoolReader {
    file: Arc<File>,
    state: watch::Receiver<State>,
    read: u64,
}

/// Fails unless `expected` bytes have room in `dir`.
pub(super) fn must_fit(dir: &Path, expected: u64) -> Result<()> {
    let room = room(dir)?;
    if expected > room {
        let text = format!(
            "{} has room for {} MiB, the data may need {} MiB on its way to the store",
            dir.display(),
            room >> 20,
            expected >> 20
        );
        return Err(Error::new(ErrorKind::Full, text)
            .with_help("free space there, set spool_dir to another place, or mode: disk where the server has disk"));
    }
    Ok(())
}

/// Makes a spool in `dir`: a file without a name, gone with this process. `expected` bytes must have room.
pub(super) fn spool(dir: &Path, expected: u64) -> Result<(SpoolWriter, SpoolReader)> {
    must_fit(dir, expected)?;
    let file = Arc::new(tempfile::tempfile_in(dir).map_err(|e| cannot(dir, e))?);
    let (sender, receiver) = watch::channel(State { written: 0, ended: false });
    let writer = SpoolWriter { file: file.clone(), state: sender, looked: 0, dir: dir.to_owned() };
    Ok((writer, SpoolReader { file, state: receiver, read: 0 }))
}

/// Bytes that may be taken in a folder, with a reserve left for others.
pub(super) fn room(dir: &Path) -> Result<u64> {
    let stat = rustix::fs::statvfs(dir).map_err(|e| cannot(dir, e.into()))?;
    let (free, all) = (stat.f_bavail.saturating_mul(stat.f_frsize), stat.f_blocks.saturating_mul(stat.f_frsize));
    Ok(free.saturating_sub(RESERVE.min(all / 20)))
}

impl SpoolWriter {
    pub(super) async fn write(&mut self, piece: Bytes) -> Result<()> {
        let at = self.state.borrow().written;
        if at >= self.looked {
            self.looked = at + LOOK;
            if room(&self.dir)? < LOOK {
                let text = format!("{} is nearly full, with {} MiB of the data in it", self.dir.display(), at >> 20);
                return Err(
                    Error::new(ErrorKind::Full, text).with_help("free space there, or set spool_dir to another place")
                );
            }
        }
        let file = self.file.clone();
        let n = piece.len() as u64;
        let write = tokio::task::spawn_blocking(move || file.write_all_at(&piece, at)).await;
        write.map_err(died)?.map_err(|e| cannot(&self.dir, e))?;
        self.state.send_modify(|s| s.written += n);
        Ok(())
    }

    /// All was written.
    pub(super) fn finish(self) {
        self.state.send_modify(|s| s.ended = true);
    }
}

impl SpoolReader {
    /// The next bytes, once they are there; `None` after the last.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>> {
        let read = self.read;
        let state = match self.state.wait_for(|s| s.ended || s.written > read).await {
            Ok(state) => *state,
            Err(_) => return Err(Error::new(ErrorKind::Unavailable, "receiving the data ended before its end")),
        };
        if state.written == read {
            return Ok(None);
        }
        let n = usize::try_from(state.written - read).unwrap_or(usize::MAX).min(PIECE);
        let file = self.file.clone();
        let load = tokio::task::spawn_blocking(move || {
            let mut piece = vec![0; n];
            file.read_exact_at(&mut piece, read).map(|()| piece)
        });
        let piece = load.await.map_err(died)?;
        let piece = piece.map_err(|e| Error::new(ErrorKind::Unavailable, "the spool cannot be read").with_source(e))?;
        self.read += n as u64;
        Ok(Some(piece.into()))
    }
}

fn died(e: tokio::task::JoinError) -> Error {
    Error::new(ErrorKind::Unexpected, "work on the spool died").with_source(e)
}

fn cannot(dir: &Path, e: std::io::Error) -> Error {
    let full = matches!(e.kind(), std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded);
    let kind = if full { ErrorKind::Full } else { ErrorKind::Unavailable };
    Error::new(kind, format!("the spool in {} cannot be written", dir.display()))
        .with_source(e)
        .with_help("free space there, or set spool_dir to another place")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_written_is_read_at_once_and_to_its_end() {
        let dir = tempfile::tempdir().unwrap();
        let (mut writer, mut reader) = spool(dir.path(), 1000).unwrap();
        writer.write(Bytes::from_static(b"one ")).await.unwrap();
        assert_eq!(reader.next().await.unwrap().unwrap(), "one ");
        let rest = tokio::spawn(async move { (reader.next().await.unwrap(), reader.next().await.unwrap()) });
        writer.write(Bytes::from(vec![7; 1000])).await.unwrap();
        writer.finish();
        let (piece, end) = rest.await.unwrap();
        assert_eq!((piece.unwrap().len(), end), (1000, None));
        let (writer, mut reader) = spool(dir.path(), 0).unwrap();
        drop(writer);
        assert!(reader.next().await.is_err(), "half of it is not all");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        assert_eq!(spool(dir.path(), u64::MAX).unwrap_err().kind(), ErrorKind::Full);
    }
}
