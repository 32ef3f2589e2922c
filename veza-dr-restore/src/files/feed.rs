//! An object's plain bytes for code that runs on a thread of its own.

use std::sync::Arc;

use bytes::{Buf, Bytes};
use tokio::runtime::Handle;
use veza_dr_core::{ArtifactSource, Cx, Error, ErrorKind, Manifest, ObjectReader, Result};

/// Where objects come from, for a thread that may block.
#[derive(Clone)]
pub(crate) struct Source {
    pub(crate) cx: Cx,
    pub(crate) data: Arc<dyn ArtifactSource>,
    pub(crate) manifest: Arc<Manifest>,
    runtime: Handle,
}

impl Source {
    /// To be made inside the runtime.
    pub(crate) fn new(cx: &Cx, data: &Arc<dyn ArtifactSource>, manifest: &Manifest) -> Self {
        Self { cx: cx.clone(), data: data.clone(), manifest: Arc::new(manifest.clone()), runtime: Handle::current() }
    }

    /// Opens an object by its name without codec suffixes.
    pub(crate) fn open(&self, name: &str) -> Result<Feed> {
        self.cx.check(name)?;
        let missing = || Error::new(ErrorKind::Corrupt, format!("backup {} has no object {name}", self.manifest.id));
        let record = self.manifest.object(name).ok_or_else(missing)?;
        let reader = self.runtime.block_on(self.data.open(&self.cx, record))?;
        let name = record.name.clone();
        Ok(Feed {
            reader,
            runtime: self.runtime.clone(),
            cx: self.cx.clone(),
            name,
            current: Bytes::new(),
            ended: false,
        })
    }
}

/// One object being read.
pub(crate) struct Feed {
    reader: Box<dyn ObjectReader>,
    runtime: Handle,
    cx: Cx,
    pub(crate) name: String,
    current: Bytes,
    ended: bool,
}

impl Feed {
    /// Makes sure that there are bytes at hand; false at the end, once the digest was found right.
    pub(crate) fn refill(&mut self) -> Result<bool> {
        while self.current.is_empty() {
            if self.ended {
                return Ok(false);
            }
            self.cx.check(&self.name)?;
            match self.runtime.block_on(self.reader.next())? {
                Some(piece) => self.current = piece,
                None => self.ended = true,
            }
        }
        Ok(true)
    }

    pub(crate) fn at_hand(&self) -> &[u8] {
        &self.current
    }

    /// Up to `max` bytes; none at the end.
    pub(crate) fn take(&mut self, max: u64) -> Result<Bytes> {
        if max == 0 || !self.refill()? {
            return Ok(Bytes::new());
        }
        let n = self.current.len().min(usize::try_from(max).unwrap_or(usize::MAX));
        Ok(self.current.split_to(n))
    }

    pub(crate) fn skip(&mut self, n: usize) {
        self.current.advance(n);
    }

    /// Exactly `buffer.len()` bytes.
    pub(crate) fn exact(&mut self, buffer: &mut [u8]) -> Result<()> {
        let mut filled = 0;
        while filled < buffer.len() {
            let got = self.take((buffer.len() - filled) as u64)?;
            if got.is_empty() {
                return Err(Error::new(
                    ErrorKind::Corrupt,
                    format!("object {} ends in the middle of an entry", self.name),
                ));
            }
            buffer[filled..filled + got.len()].copy_from_slice(&got);
            filled += got.len();
        }
        Ok(())
    }
}
