//! Writes the index, the archive of everything without content, and the counts, in the order of the walk.

use std::{
    collections::{BTreeMap, HashSet},
    fs::File,
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use veza_dr_core::{ArtifactSink, Cx, Error, ErrorKind, ObjectHandle, Result, manifest::ContentRecord};

use super::{
    budget::Budget,
    content::ContentHash,
    detail::{KindCounts, RootRecord, SegmentRecord},
    digest::TreeDigest,
    entry::Kind,
    index_line::IndexLine,
    join::Item,
    path::escape,
    problems::{Problems, Why},
    roots::Root,
    segment::Done,
    tar_header,
};

const PIECE: usize = 256 * 1024;

/// A segment whose lines are still coming.
struct Waiting {
    coming: Option<oneshot::Receiver<Done>>,
    done: Done,
    taken: usize,
}

/// What was collected.
#[derive(Debug, Default)]
pub(crate) struct Collected {
    pub(crate) roots: Vec<RootRecord>,
    pub(crate) contents: Vec<ContentRecord>,
    pub(crate) kinds: KindCounts,
    pub(crate) segments: Vec<SegmentRecord>,
    pub(crate) index_digest: String,
}

/// An object that is being written, in pieces.
struct Writing {
    handle: Box<dyn ObjectHandle>,
    buffer: Vec<u8>,
}

impl Writing {
    async fn begin(cx: &Cx, sink: &dyn ArtifactSink, name: &str) -> Result<Self> {
        Ok(Self { handle: sink.create(cx, name, None, None).await?, buffer: Vec::with_capacity(PIECE + 4096) })
    }

    async fn flush_if_full(&mut self) -> Result<()> {
        if self.buffer.len() < PIECE {
            return Ok(());
        }
        self.flush().await
    }

    async fn flush(&mut self) -> Result<()> {
        let full = std::mem::replace(&mut self.buffer, Vec::with_capacity(PIECE + 4096));
        self.handle.write(Bytes::from(full)).await
    }
}

/// This host's own copy of the index while it is written.
struct Copying {
    encoder: zstd::stream::write::Encoder<'static, File>,
    path: tempfile::TempPath,
}

impl Copying {
    fn begin(dir: &Path) -> std::io::Result<Self> {
        let (file, path) = tempfile::NamedTempFile::new_in(dir)?.into_parts();
        Ok(Self { encoder: zstd::stream::write::Encoder::new(file, 1)?, path })
    }
}

pub(crate) struct Collector<'a> {
    cx: &'a Cx,
    problems: &'a Problems,
    roots: &'a [Root],
    index: Writing,
    tree: Writing,
    copy: Option<Copying>,
    out: Collected,
    digest: TreeDigest,
    hash: ContentHash,
    waiting: BTreeMap<usize, Waiting>,
    begun: usize,
    /// Files with several names that could not be stored.
    lost: HashSet<Vec<u8>>,
    line: Vec<u8>,
}

impl<'a> Collector<'a> {
    pub(crate) async fn begin(
        cx: &'a Cx,
        sink: &Arc<dyn ArtifactSink>,
        problems: &'a Problems,
        roots: &'a [Root],
        names: (&str, &str),
        state_dir: Option<&Path>,
    ) -> Result<Self> {
        let index = Writing::begin(cx, sink.as_ref(), names.0).await?;
        let tree = match Writing::begin(cx, sink.as_ref(), names.1).await {
            Ok(tree) => tree,
            Err(e) => {
                index.handle.abort().await;
                return Err(e);
            }
        };
        // A copy that cannot be kept costs the next run time, not this one its success.
        let copy = state_dir.and_then(|dir| {
            std::fs::create_dir_all(dir)
                .and_then(|()| Copying::begin(dir))
                .inspect_err(|e| tracing::warn!(dir = %dir.display(), error = %e, "no copy of the index is kept"))
                .ok()
        });
        Ok(Self {
            cx,
            problems,
            roots,
            index,
            tree,
            copy,
            out: Collected::default(),
            digest: TreeDigest::default(),
            hash: ContentHash::default(),
            waiting: BTreeMap::new(),
            begun: 0,
            lost: HashSet::new(),
            line: Vec::new(),
        })
    }

    /// Takes everything that the joiner sends.
    pub(crate) async fn run(&mut self, mut items: mpsc::UnboundedReceiver<Vec<Item>>, budget: &Budget) -> Result<()> {
        let cx = self.cx.clone();
        while let Some(lot) = cx.run("write the index", async { Ok(items.recv().await) }).await? {
            let mut freed = 0;
            for item in lot {
                freed += item.cost();
                // Given back before a wait, so that the joiner is not kept waiting by what is not here any more.
                if matches!(item, Item::File { .. }) {
                    budget.give_back(std::mem::take(&mut freed));
                }
                self.take(item).await?;
            }
            budget.give_back(freed);
        }
        self.end_root();
        self.out.index_digest = format!("{:032x}", self.hash.digest());
        Ok(())
    }

    async fn take(&mut self, item: Item) -> Result<()> {
        let mut line = std::mem::take(&mut self.line);
        line.clear();
        match item {
            Item::Root => {
                self.end_root();
                let root = &self.roots[self.out.roots.len()];
                let mut member = Vec::new();
                escape(&root.member, &mut member);
                let member = String::from_utf8_lossy(&member).into_owned();
                self.out.roots.push(RootRecord { member, entries: 0, bytes: 0 });
            }
            Item::Segment(coming) => {
                self.begun += 1;
                self.waiting.insert(self.begun, Waiting { coming: Some(coming), done: Done::default(), taken: 0 });
            }
            Item::Same(text) => {
                line = text;
                line.push(b'\n');
            }
            Item::New(text) => line = text,
            Item::Link(text, first) => {
                if self.lost.contains(&first) {
                    let path = IndexLine::parse(text.trim_ascii_end())?.path().to_vec();
                    self.problems.add(Why::Changed, &path, "another name of a file that could not be stored");
                } else {
                    line = text;
                }
            }
            Item::File { segment, index, path, links } => {
                line.extend_from_slice(self.file_line(segment, index).await?);
                self.forget(segment);
                if line.is_empty() && links {
                    self.lost.insert(path);
                }
            }
        }
        if !line.is_empty() {
            self.entry(&line).await?;
        }
        self.line = line;
        Ok(())
    }

    async fn file_line(&mut self, segment: usize, index: usize) -> Result<&[u8]> {
        let gone = || Error::new(ErrorKind::Cancelled, "reading files: given up");
        let waiting = self.waiting.get_mut(&segment).ok_or_else(gone)?;
        if let Some(coming) = waiting.coming.take() {
            let received = self.cx.run("read files", async { coming.await.map_err(|_| gone()) });
            waiting.done = received.await?;
        }
        waiting.taken = index + 1;
        Ok(waiting.done.line(index))
    }

    /// Lets a segment's lines go once all are taken.
    fn forget(&mut self, segment: usize) {
        if self.waiting.get(&segment).is_some_and(|w| w.taken == w.done.len())
            && let Some(waiting) = self.waiting.remove(&segment)
        {
            self.out.segments.extend(waiting.done.record);
        }
    }

    async fn entry(&mut self, text: &[u8]) -> Result<()> {
        let line = IndexLine::parse(text.strip_suffix(b"\n").unwrap_or(text))?;
        self.digest.add(&line);
        let kinds = &mut self.out.kinds;
        let kind = line.kind()?;
        *match kind {
            Kind::File => &mut kinds.files,
            Kind::Dir => &mut kinds.folders,
            Kind::Symlink => &mut kinds.symlinks,
            Kind::Hardlink => &mut kinds.hardlinks,
            Kind::Fifo | Kind::Socket => &mut kinds.pipes,
            Kind::CharDevice | Kind::BlockDevice => &mut kinds.devices,
        } += 1;
        if kind == Kind::File {
            if let Some(root) = self.out.roots.last_mut() {
                root.bytes += line.size()?;
            }
        } else {
            tar_header::write(&line.entry()?, 0, false, &mut self.tree.buffer);
            self.tree.flush_if_full().await?;
        }
        if let Some(copy) = &mut self.copy
            && let Err(e) = std::io::Write::write_all(&mut copy.encoder, text)
        {
            tracing::warn!(error = %e, "no copy of the index is kept");
            self.copy = None;
        }
        self.hash.update(text);
        self.index.buffer.extend_from_slice(text);
        self.index.flush_if_full().await
    }

    fn end_root(&mut self) {
        let digest = std::mem::take(&mut self.digest);
        if let Some(root) = self.out.roots.last_mut() {
            root.entries = digest.entries;
            let name = self.roots[self.out.contents.len()].path.display().to_string();
            let content = ContentRecord { name, rows: digest.entries, digest: Some(digest.to_text()) };
            self.out.contents.push(content);
        }
    }

    /// Gives both objects up: the base's are as good, or the backup failed.
    pub(crate) async fn abort(self) -> Collected {
        self.index.handle.abort().await;
        self.tree.handle.abort().await;
        self.out
    }

    /// Stores both objects, and keeps the copy of the index at `copy_to`.
    pub(crate) async fn finish(mut self, copy_to: Option<PathBuf>) -> Result<Collected> {
        self.index.flush().await?;
        self.tree.buffer.extend_from_slice(&tar_header::END);
        self.tree.flush().await?;
        self.index.handle.finish().await?;
        self.tree.handle.finish().await?;
        if let (Some(copy), Some(to)) = (self.copy, copy_to) {
            let kept = copy.encoder.finish().and_then(|_| copy.path.persist(&to).map_err(Into::into));
            if let Err(e) = kept {
                tracing::warn!(path = %to.display(), error = %e, "no copy of the index is kept");
            }
        }
        Ok(self.out)
    }
}
