//! Puts files of write-ahead log into stores, and gets them back.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use veza_dr_core::{
    ComponentName, Condition, Cx, Effect, Error, ErrorKind, ObjectKey, ObjectMeta, PutOptions, Result, manifest::Codec,
};

use super::{
    WalName,
    decode::{decode, local},
    header::{HEADER, check_segment},
    name::WalKind,
};
use crate::{Compression, Repository, codec::Compressor, encryption::AgeEncoder, source::read_all};

const PIECE: usize = 1 << 20;
/// Enough for the mark of the cluster.
const MARK_LIMIT: usize = 4096;

/// The suffixes that a stored file may have, by codec and encryption.
const FORMS: [&str; 6] = [".zst", ".gz", "", ".zst.age", ".gz.age", ".age"];

/// What pushing to one store did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum WalOutcome {
    /// It is there now.
    Stored,
    /// It was there already, with the same contents.
    AlreadyThere,
}

/// One file of log in one store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct WalPushed {
    /// The store's name.
    pub store: String,
    /// What was done.
    pub outcome: WalOutcome,
}

/// A file of log that was brought back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct WalFetched {
    /// The store it came from.
    pub store: String,
    /// Its plain bytes.
    pub bytes: u64,
}

/// Whose log a store keeps: the first push decides, so that two clusters never mix in one archive.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Mark {
    system_identifier: String,
    segment_bytes: u64,
}

/// The write-ahead log of one component, in each of its stores, below `<component>/wal/<timeline>/`.
#[derive(Debug, Clone)]
pub struct WalArchive {
    component: ComponentName,
    repositories: Vec<Repository>,
    compression: Compression,
}

impl WalArchive {
    /// The archive of `component` in these stores. zstd compresses what is pushed.
    #[must_use]
    pub fn new(component: ComponentName, repositories: Vec<Repository>) -> Self {
        Self { component, repositories, compression: Compression::default() }
    }

    /// Compresses what is pushed like this.
    #[must_use]
    pub fn with_compression(mut self, compression: Compression) -> Self {
        self.compression = compression;
        self
    }

    /// Stores the file at `path` under `name` in every store, durably. Storing the same contents again succeeds: a
    /// server repeats what it has no answer to. Cancelled, some stores may hold it already; nothing is ever replaced.
    ///
    /// # Errors
    /// `Corrupt` when it is not what its name says; `Conflict` when a store holds other contents under this name, or
    /// the log of another cluster; `Partial` when only some stores took it: the server keeps the file, and calls again.
    pub async fn push(&self, cx: &Cx, path: &Path, name: &WalName) -> Result<Vec<WalPushed>> {
        let header = self.look(path, name).await?;
        let mut pushed = Vec::new();
        let mut failed: Vec<(String, Error)> = Vec::new();
        for repository in &self.repositories {
            let one = async {
                if let Some(mark) = &header {
                    self.same_cluster(cx, repository, mark).await?;
                }
                self.push_to(cx, repository, path, name).await
            };
            match one.await {
                Ok(outcome) => pushed.push(WalPushed { store: repository.name().to_owned(), outcome }),
                Err(e) => failed.push((repository.name().to_owned(), e)),
            }
        }
        let Some((store, first)) = failed.into_iter().next() else { return Ok(pushed) };
        if pushed.is_empty() {
            return Err(first);
        }
        let text = format!("{name} is in {} of {} stores: {store} failed", pushed.len(), self.repositories.len());
        Err(Error::new(ErrorKind::Partial, text)
            .with_effect(Effect::Applied)
            .with_source(first)
            .with_help("the server keeps it and calls again; watch the room in pg_wal until the store is back"))
    }

    /// Writes the file `name` to `path`, whole and durable or not at all, from the first store that holds it.
    ///
    /// # Errors
    /// `NotFound` only when every store answered that it has neither this file nor a later segment of its timeline:
    /// to a server that recovers this means the end of the log. `Corrupt` when a later segment is there: the log has a
    /// hole. Anything else when it cannot be told.
    pub async fn fetch(&self, cx: &Cx, name: &WalName, path: &Path) -> Result<WalFetched> {
        let mut trouble = None;
        let mut later = None;
        for repository in &self.repositories {
            match self.find(cx, repository, name).await {
                Ok(Some(found)) => match self.bring(cx, repository, &found, name, path).await {
                    Ok(bytes) => return Ok(WalFetched { store: repository.name().to_owned(), bytes }),
                    Err(e) => trouble = trouble.or(Some(e)),
                },
                Ok(None) => match self.later(cx, repository, name).await {
                    Ok(newer) => later = later.or(newer.map(|n| (n, repository.name()))),
                    Err(e) => trouble = trouble.or(Some(e)),
                },
                Err(e) => trouble = trouble.or(Some(e)),
            }
        }
        match trouble {
            // A bucket that is not there says nothing about the log.
            Some(e) if e.kind() == ErrorKind::NotFound => {
                let text = format!("whether {name} is there cannot be told");
                return Err(Error::new(ErrorKind::Unverified, text).with_source(e));
            }
            Some(e) => return Err(e),
            None => {}
        }
        if let Some((newer, store)) = later {
            let text = format!("{name} is missing, but store {store} holds {newer}: the log has a hole");
            return Err(Error::new(ErrorKind::Corrupt, text)
                .with_help("recover to a time before the hole, or from a base backup after it"));
        }
        Err(Error::new(ErrorKind::NotFound, format!("{name} is in no store of {}", self.component)))
    }

    /// Sees that the file is what its name says, before anything is stored.
    async fn look(&self, path: &Path, name: &WalName) -> Result<Option<Mark>> {
        if self.repositories.is_empty() {
            return Err(Error::new(ErrorKind::Config, format!("{} has no store to keep its log in", self.component)));
        }
        let mut file = tokio::fs::File::open(path).await.map_err(|e| local(path, e))?;
        let bytes = file.metadata().await.map_err(|e| local(path, e))?.len();
        if !matches!(name.kind(), WalKind::Segment { .. }) {
            return match bytes {
                0 => Err(Error::new(ErrorKind::Corrupt, format!("{} is empty", path.display()))),
                _ => Ok(None),
            };
        }
        let mut head = Vec::with_capacity(HEADER);
        (&mut file).take(HEADER as u64).read_to_end(&mut head).await.map_err(|e| local(path, e))?;
        let header = check_segment(name, &head, bytes)?;
        Ok(Some(Mark { system_identifier: header.system.to_string(), segment_bytes: header.segment_bytes }))
    }

    async fn same_cluster(&self, cx: &Cx, repository: &Repository, mark: &Mark) -> Result<()> {
        let key = self.key("cluster.json")?;
        let body = serde_json::to_vec_pretty(mark)
            .map_err(|e| Error::new(ErrorKind::Unexpected, "the mark cannot be written").with_source(e))?;
        let store = repository.store();
        let known = match store.get(cx, &key, 0).await {
            Ok(mut reader) => read_all(reader.as_mut(), MARK_LIMIT, "the archive's mark").await?,
            Err(e) if e.kind() == ErrorKind::NotFound => {
                match store.put(cx, &key, Bytes::from(body), Condition::Absent).await {
                    Ok(_) => return Ok(()),
                    // Somebody was quicker.
                    Err(e) if e.kind() == ErrorKind::Conflict => {
                        let mut reader = store.get(cx, &key, 0).await?;
                        read_all(reader.as_mut(), MARK_LIMIT, "the archive's mark").await?
                    }
                    Err(e) => return Err(e),
                }
            }
            Err(e) => return Err(e),
        };
        let known: Mark = serde_json::from_slice(&known)
            .map_err(|e| Error::new(ErrorKind::Corrupt, format!("{key} cannot be read")).with_source(e))?;
        if known == *mark {
            return Ok(());
        }
        let text = format!(
            "store {} keeps the log of cluster {} under {}, this file is of cluster {}",
            repository.name(),
            known.system_identifier,
            self.component,
            mark.system_identifier
        );
        Err(Error::new(ErrorKind::Conflict, text).with_help(
            "give the other cluster a source, or a store prefix, of its own: mixed logs cannot be recovered",
        ))
    }

    async fn push_to(&self, cx: &Cx, repository: &Repository, path: &Path, name: &WalName) -> Result<WalOutcome> {
        // Whatever its codec: the same name must not be stored twice in two forms.
        if let Some(found) = self.find(cx, repository, name).await? {
            return self.same_contents(cx, repository, &found, path, name).await;
        }
        let mut suffix = self.compression.codec.suffix().to_owned();
        if self.compression.codec == Codec::None {
            suffix.clear();
        }
        if repository.encryption().is_on() {
            suffix.push_str(Codec::Age.suffix());
        }
        let key = self.key(&format!("{}/{name}{suffix}", name.timeline()))?;
        match self.write(cx, repository, path, &key).await {
            Ok(()) => Ok(WalOutcome::Stored),
            Err(e) if e.kind() == ErrorKind::Conflict => self.same_contents(cx, repository, &key, path, name).await,
            Err(e) => Err(e),
        }
    }

    async fn write(&self, cx: &Cx, repository: &Repository, path: &Path, key: &ObjectKey) -> Result<()> {
        let broken =
            |e: std::io::Error| Error::new(ErrorKind::Unexpected, format!("{key} cannot be encoded")).with_source(e);
        let mut file = tokio::fs::File::open(path).await.map_err(|e| local(path, e))?;
        let bytes = file.metadata().await.map_err(|e| local(path, e))?.len();
        let mut writer = repository.store().create(cx, key, PutOptions::default().with_size_hint(bytes)).await?;
        let mut age: Option<AgeEncoder> = match repository.encryption().is_on() {
            true => Some(repository.encryption().encryptor()?),
            false => None,
        };
        let mut compressor = Compressor::new(self.compression).map_err(broken)?;
        let done = async {
            let mut piece = vec![0; PIECE];
            loop {
                cx.check("push the log")?;
                let n = file.read(&mut piece).await.map_err(|e| local(path, e))?;
                if n == 0 {
                    break;
                }
                compressor.push(&piece[..n]).map_err(broken)?;
                if let Some(out) = compressor.take(PIECE) {
                    let out = age.as_mut().map_or(Ok(out.clone()), |age| age.push(&out)).map_err(broken)?;
                    writer.write(out.into()).await?;
                }
            }
            let mut out = compressor.finish().map_err(broken)?;
            if let Some(mut age) = age {
                out = age.push(&out).map_err(broken)?;
                out.extend(age.finish().map_err(broken)?);
            }
            writer.write(out.into()).await
        };
        match done.await {
            Ok(()) => writer.finish().await.map(|_| ()),
            Err(e) => {
                // What is left of it is swept later if even this fails; the cause is what counts.
                let _ = writer.abort().await;
                Err(e)
            }
        }
    }

    /// The stored object of this name, in whatever form it was stored.
    async fn find(&self, cx: &Cx, repository: &Repository, name: &WalName) -> Result<Option<ObjectKey>> {
        // Asked for one by one, side by side: listing an archive of a year for every segment would take a page a day.
        let forms = FORMS.map(|suffix| self.key(&format!("{}/{name}{suffix}", name.timeline())));
        let asked = forms.into_iter().map(|key| async {
            let key = key?;
            Ok::<_, Error>(repository.store().head(cx, &key).await?.map(|_| key))
        });
        Ok(futures::future::try_join_all(asked).await?.into_iter().flatten().next())
    }

    /// A later segment of the same timeline, if there is one: without the one asked for, the log has a hole.
    async fn later(&self, cx: &Cx, repository: &Repository, name: &WalName) -> Result<Option<String>> {
        if !matches!(name.kind(), WalKind::Segment { .. }) {
            return Ok(None);
        }
        let folder = self.key(name.timeline())?;
        let listed = repository.store().list(cx, folder.as_str()).await?;
        let later = |meta: &ObjectMeta| {
            let file = meta.key.file_name();
            let segment = file.get(..24)?;
            (!matches!(file[24..].split('.').nth(1), Some("partial"))
                && !file.contains(".backup")
                && segment > name.as_str())
            .then(|| segment.to_owned())
        };
        Ok(listed.iter().find_map(later))
    }

    async fn same_contents(
        &self,
        cx: &Cx,
        repository: &Repository,
        key: &ObjectKey,
        path: &Path,
        name: &WalName,
    ) -> Result<WalOutcome> {
        let scratch = tempfile::tempdir().map_err(|e| local(&std::env::temp_dir(), e))?;
        let copy = scratch.path().join("stored");
        self.bring(cx, repository, key, name, &copy).await?;
        let (a, b) = (path.to_owned(), copy);
        let same = tokio::task::spawn_blocking(move || equal(&a, &b))
            .await
            .map_err(|e| Error::new(ErrorKind::Unexpected, "the comparison died").with_source(e))?
            .map_err(|e| local(path, e))?;
        if same {
            return Ok(WalOutcome::AlreadyThere);
        }
        let text = format!("store {} holds {key} with other contents than {}", repository.name(), path.display());
        Err(Error::new(ErrorKind::Conflict, text).with_help(
            "nothing was replaced. Two servers archive under one name: was a copy of this one started? Give it a source of its own",
        ))
    }

    /// Writes a stored file to `path`, by way of two files beside it.
    async fn bring(
        &self,
        cx: &Cx,
        repository: &Repository,
        key: &ObjectKey,
        name: &WalName,
        path: &Path,
    ) -> Result<u64> {
        let beside = |suffix: &str| {
            let mut text = path.as_os_str().to_owned();
            text.push(format!(".{}{suffix}", std::process::id()));
            PathBuf::from(text)
        };
        let (stored, plain) = (beside(".stored"), beside(".plain"));
        let result = self.bring_by(cx, repository, key, name, (&stored, &plain), path).await;
        let _ = tokio::fs::remove_file(&stored).await;
        if result.is_err() {
            let _ = tokio::fs::remove_file(&plain).await;
        }
        result
    }

    async fn bring_by(
        &self,
        cx: &Cx,
        repository: &Repository,
        key: &ObjectKey,
        name: &WalName,
        (stored, plain): (&Path, &Path),
        path: &Path,
    ) -> Result<u64> {
        let identities =
            if key.as_str().ends_with(".age") { repository.encryption().identities()? } else { Vec::new() };
        let mut reader = repository.store().get(cx, key, 0).await?;
        let mut file = tokio::fs::File::create(stored).await.map_err(|e| local(stored, e))?;
        while let Some(piece) = cx.run("fetch the log", reader.next()).await? {
            file.write_all(&piece).await.map_err(|e| local(stored, e))?;
        }
        file.flush().await.map_err(|e| local(stored, e))?;
        let (from, to, text) = (stored.to_owned(), plain.to_owned(), key.to_string());
        let bytes = tokio::task::spawn_blocking(move || decode(&from, &text, &identities, &to))
            .await
            .map_err(|e| Error::new(ErrorKind::Unexpected, "the decoder died").with_source(e))??;
        if matches!(name.kind(), WalKind::Segment { .. }) {
            let mut head = Vec::with_capacity(HEADER);
            let file = tokio::fs::File::open(plain).await.map_err(|e| local(plain, e))?;
            file.take(HEADER as u64).read_to_end(&mut head).await.map_err(|e| local(plain, e))?;
            check_segment(name, &head, bytes)?;
        }
        tokio::fs::rename(plain, path).await.map_err(|e| local(path, e))?;
        Ok(bytes)
    }

    fn key(&self, name: &str) -> Result<ObjectKey> {
        Ok(format!("{}/wal/{name}", self.component).parse()?)
    }
}

fn equal(a: &Path, b: &Path) -> std::io::Result<bool> {
    use std::io::Read;
    let (mut a, mut b) = (std::fs::File::open(a)?, std::fs::File::open(b)?);
    if a.metadata()?.len() != b.metadata()?.len() {
        return Ok(false);
    }
    let (mut left, mut right) = (vec![0; 256 * 1024], vec![0; 256 * 1024]);
    loop {
        let n = a.read(&mut left)?;
        if n == 0 {
            return Ok(true);
        }
        b.read_exact(&mut right[..n])?;
        if left[..n] != right[..n] {
            return Ok(false);
        }
    }
}
