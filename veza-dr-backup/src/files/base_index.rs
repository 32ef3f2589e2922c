//! The index of the backup that a new one builds on: from this host's own copy, or from the store.

use std::{
    fs::File,
    io::{BufRead, BufReader, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};
use veza_dr_core::{BaseBackup, ComponentName, Cx, Error, ErrorKind, Result, manifest::ObjectRecord};

use super::{
    detail::FilesDetail,
    entry::{Kind, Time},
    index_line::IndexLine,
    path::path_order,
};

/// The backup to build on, with its index at hand.
pub(crate) struct Base {
    pub(crate) detail: FilesDetail,
    file: File,
}

impl std::fmt::Debug for Base {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Base").field("index", &self.detail.index).finish_non_exhaustive()
    }
}

fn unusable(what: &str, e: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::new(ErrorKind::Unavailable, format!("the copy of the index: {what}")).with_source(e)
}

/// Where this host keeps its copy of an index.
pub(crate) fn copy_path(state_dir: &Path, component: &ComponentName, index: &str) -> PathBuf {
    state_dir.join(format!("{component}-{index}.zst"))
}

impl Base {
    /// Makes the base usable; `None`, with the reason logged, when it is not: then everything is read anew.
    ///
    /// # Errors
    /// Only `Cancelled`.
    pub(crate) async fn open(cx: &Cx, base: &BaseBackup, state_dir: Option<&Path>) -> Result<Option<Self>> {
        let opened = Self::try_open(cx, base, state_dir).await;
        match opened {
            Ok(base) => Ok(Some(base)),
            Err(e) => {
                cx.check("read the index of the backup to build on")?;
                tracing::warn!(base = %base.manifest.id, error = %e.chain(), "its index cannot be read: a full backup is made");
                Ok(None)
            }
        }
    }

    async fn try_open(cx: &Cx, base: &BaseBackup, state_dir: Option<&Path>) -> Result<Self> {
        let detail = FilesDetail::of(&base.manifest)?;
        let lacking = || Error::new(ErrorKind::Corrupt, format!("backup {} has no index", base.manifest.id));
        let record = base.manifest.object(&detail.index).ok_or_else(lacking)?;
        if let Some(dir) = state_dir {
            let path = copy_path(dir, &base.manifest.component, &detail.index);
            let wanted = record.sha256.clone();
            let copy = tokio::task::spawn_blocking(move || own_copy(&path, &wanted)).await;
            match copy.map_err(|e| unusable("reading", e))? {
                Ok(Some(file)) => return Ok(Self { detail, file }),
                Ok(None) => {}
                Err(e) => tracing::info!(error = %e.chain(), "read from the store instead"),
            }
        }
        let file = fetch(cx, base, record).await?;
        Ok(Self { detail, file })
    }

    /// Its lines, from the first.
    ///
    /// # Errors
    /// `Unavailable` when the copy cannot be read.
    pub(crate) fn lines(mut self) -> Result<BaseLines> {
        self.file.seek(SeekFrom::Start(0)).map_err(|e| unusable("rewinding", e))?;
        let decoder = zstd::stream::read::Decoder::new(self.file).map_err(|e| unusable("decoding", e))?;
        let reader: Box<dyn Read + Send> = Box::new(decoder);
        Ok(BaseLines { reader: BufReader::with_capacity(256 * 1024, reader), current: None, started: false, passed: 0 })
    }

    /// Keeps the copy for the next backup, where there is none yet.
    pub(crate) fn keep(&mut self, path: &Path) -> std::io::Result<()> {
        if path.exists() {
            return Ok(());
        }
        self.file.seek(SeekFrom::Start(0))?;
        let dir = path.parent().unwrap_or(Path::new("."));
        let mut copy = tempfile::NamedTempFile::new_in(dir)?;
        std::io::copy(&mut self.file, copy.as_file_mut())?;
        copy.persist(path)?;
        Ok(())
    }
}

/// This host's copy, if it is there and is what the manifest says.
fn own_copy(path: &Path, sha256: &str) -> Result<Option<File>> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(unusable("opening", e)),
    };
    let mut decoder = zstd::stream::read::Decoder::new(&mut file).map_err(|e| unusable("decoding", e))?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 256 * 1024];
    loop {
        match decoder.read(&mut buffer).map_err(|e| unusable("reading", e))? {
            0 => break,
            n => hash.update(&buffer[..n]),
        }
    }
    drop(decoder);
    if hex::encode(hash.finalize()) != sha256 {
        return Err(Error::new(ErrorKind::Corrupt, format!("{} is not the index it should be", path.display())));
    }
    Ok(Some(file))
}

/// Reads the whole index into an unnamed file, so that it is known to be undamaged before it is believed.
async fn fetch(cx: &Cx, base: &BaseBackup, record: &ObjectRecord) -> Result<File> {
    let mut reader = base.data.open(cx, record).await?;
    let file = tempfile::tempfile().map_err(|e| unusable("making", e))?;
    let mut encoder = zstd::stream::write::Encoder::new(file, 1).map_err(|e| unusable("encoding", e))?;
    while let Some(piece) = reader.next().await? {
        encoder.write_all(&piece).map_err(|e| unusable("writing", e))?;
    }
    encoder.finish().map_err(|e| unusable("writing", e))
}

/// One entry of the base.
#[derive(Debug, Clone)]
pub(crate) struct BaseLine {
    /// The line, without its line feed.
    pub(crate) text: Vec<u8>,
    pub(crate) path: Vec<u8>,
    pub(crate) kind: Kind,
    pub(crate) size: u64,
    pub(crate) mtime: Time,
    pub(crate) ino: u64,
    pub(crate) ctime: Time,
    pub(crate) link: Vec<u8>,
    pub(crate) segment: Option<String>,
}

/// The base's entries, in order.
pub(crate) struct BaseLines {
    reader: BufReader<Box<dyn Read + Send>>,
    current: Option<BaseLine>,
    started: bool,
    /// Entries that the source does not have any more.
    pub(crate) passed: u64,
}

impl BaseLines {
    /// The entry at `path`, if there is one; everything before it is passed over. Paths must be asked for in order.
    pub(crate) fn find(&mut self, path: &[u8]) -> Result<Option<BaseLine>> {
        if !self.started {
            self.started = true;
            self.advance()?;
        }
        while let Some(line) = &self.current {
            match path_order(&line.path, path) {
                std::cmp::Ordering::Less => {
                    self.passed += 1;
                    self.advance()?;
                }
                std::cmp::Ordering::Equal => {
                    let found = self.current.take();
                    self.advance()?;
                    return Ok(found);
                }
                std::cmp::Ordering::Greater => break,
            }
        }
        Ok(None)
    }

    /// Passes over the rest.
    pub(crate) fn finish(&mut self) -> Result<()> {
        if !self.started {
            self.started = true;
            self.advance()?;
        }
        while self.current.is_some() {
            self.passed += 1;
            self.advance()?;
        }
        Ok(())
    }

    fn advance(&mut self) -> Result<()> {
        let mut text = Vec::with_capacity(192);
        let n = self.reader.read_until(b'\n', &mut text).map_err(|e| unusable("reading", e))?;
        if n == 0 {
            self.current = None;
            return Ok(());
        }
        if text.last() == Some(&b'\n') {
            text.pop();
        }
        let line = IndexLine::parse(&text)?;
        let (mtime, ino, ctime) = line.marks()?;
        let (path, kind, size) = (line.path().to_vec(), line.kind()?, line.size()?);
        let link = if kind == Kind::Hardlink { line.link()?.into_owned() } else { Vec::new() };
        let segment = line.segment()?.map(|(name, _)| name.to_owned());
        self.current = Some(BaseLine { path, kind, size, mtime, ino, ctime, link, segment, text });
        Ok(())
    }
}
