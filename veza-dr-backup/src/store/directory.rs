//! A store in a directory: objects are plain files, published whole by an atomic rename.

mod io_errors;
mod publish;
mod stream;
mod temp_file;
mod walk;

use std::{
    collections::VecDeque,
    io::{Seek, SeekFrom},
    path::{Path, PathBuf},
    sync::Arc,
};

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use veza_dr_core::{
    BackupStore, Condition, Cx, Effect, Error, ErrorKind, ObjectKey, ObjectMeta, ObjectReader, ObjectWriter,
    PutOptions, Result, StoreCaps, StoreInfo, VersionTag,
};

use self::{
    io_errors::io_error,
    publish::{Replace, StoreLock, publish, remove},
    stream::{DirectoryReader, DirectoryWriter, off_thread, unknown_if_cancelled, write_all},
    temp_file::TempFile,
    walk::{describe, open_object},
};

/// Keeps objects as files below one directory, each readable with any tool.
///
/// Files have mode 0600 and folders 0700. Temporary files live under `.tmp`, locked while their writer lives; an object
/// appears by a rename that refuses to replace, after an fsync of the file and before one of every folder above it.
/// Conditional writes exclude each other between threads and processes of one machine. Links inside the directory are
/// neither listed nor read.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// use veza_dr_backup::store::DirectoryStore;
/// use veza_dr_core::{BackupStore, Condition, Cx};
///
/// let place = tempfile::tempdir()?;
/// let store = DirectoryStore::open("local", place.path())?;
/// let key = "database/note.json".parse()?;
/// store.put(&Cx::background(), &key, "{}".into(), Condition::Absent).await?;
/// assert_eq!(std::fs::read_to_string(place.path().join("database/note.json"))?, "{}");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[derive(Debug, Clone)]
pub struct DirectoryStore {
    info: StoreInfo,
    root: Arc<PathBuf>,
}

impl DirectoryStore {
    /// Opens the store at `path`, making the directory when it is missing. An existing one may be read-only until
    /// something is written.
    ///
    /// # Errors
    /// `Config` when the path is not a directory, `Denied` when it may not be made or looked at.
    pub fn open(name: impl Into<String>, path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let what = || format!("open directory store {}", path.display());
        let root = std::path::absolute(path).map_err(|e| io_error(e, what()))?;
        publish::make_root(&root).map_err(|e| io_error(e, what()))?;
        // The real path, so that a later change of a link above it does not move the store.
        let root = root.canonicalize().map_err(|e| io_error(e, what()))?;
        if !root.is_dir() {
            let text = format!("{}: it is not a directory", what());
            return Err(Error::new(ErrorKind::Config, text).with_help("name a directory as the store's `path`"));
        }
        let info = StoreInfo { name: name.into(), kind: "directory", location: root.display().to_string() };
        Ok(Self { info, root: Arc::new(root) })
    }

    fn path(&self, key: &ObjectKey) -> PathBuf {
        self.root.join(key.as_str())
    }
}

/// What stands under a key now, for a condition to be held against.
fn current_tag(key: &ObjectKey, path: &Path) -> Result<Option<VersionTag>> {
    let found = open_object(path).and_then(|found| match found {
        Some((file, meta)) => describe(key.clone(), &file, &meta).map(|m| Some(m.tag)),
        None => Ok(None),
    });
    found.map_err(|e| io_error(e, format!("look at {}", path.display())))
}

fn check_condition(condition: &Condition, found: Option<&VersionTag>, path: &Path) -> Result<()> {
    let conflict = |why: &str| Err(Error::new(ErrorKind::Conflict, format!("{} {why}", path.display())));
    match (condition, found) {
        (Condition::Absent, Some(_)) => conflict("exists already"),
        (Condition::Matches(_), None) => conflict("is no longer there"),
        (Condition::Matches(wanted), Some(found)) if wanted != found => conflict("was changed meanwhile"),
        _ => Ok(()),
    }
}

/// A prefix that cannot be part of a key would name a place outside the store.
fn check_prefix(prefix: &str) -> Result<()> {
    if !prefix.is_empty() {
        prefix.parse::<ObjectKey>()?;
    }
    Ok(())
}

#[async_trait]
impl BackupStore for DirectoryStore {
    fn info(&self) -> &StoreInfo {
        &self.info
    }

    fn capabilities(&self) -> StoreCaps {
        StoreCaps::new(true, true)
    }

    async fn create(&self, cx: &Cx, key: &ObjectKey, _: PutOptions) -> Result<Box<dyn ObjectWriter>> {
        let (root, path) = (Arc::clone(&self.root), self.path(key));
        let what = format!("create {}", path.display());
        let temp = off_thread(cx, what, move |what| {
            // Told now rather than after hours of writing; `finish` is what decides.
            if path.symlink_metadata().is_ok() {
                return Err(Error::new(ErrorKind::Conflict, format!("{} exists already", path.display())));
            }
            TempFile::create(&root).map_err(|e| io_error(e, what))
        });
        Ok(Box::new(DirectoryWriter::new(cx.clone(), Arc::clone(&self.root), key.clone(), temp.await?)))
    }

    async fn put(&self, cx: &Cx, key: &ObjectKey, body: Bytes, condition: Condition) -> Result<VersionTag> {
        let (root, path, inner, key) = (Arc::clone(&self.root), self.path(key), cx.clone(), key.clone());
        let what = format!("put {}", path.display());
        let done = off_thread(cx, what, move |what| {
            let temp = TempFile::create(&root).map_err(|e| io_error(e, what))?;
            write_all(temp.file(), VecDeque::from([body])).map_err(|e| io_error(e, what))?;
            // Synced before the lock is taken: others need not wait for the disk.
            temp.file().sync_all().map_err(|e| io_error(e, what))?;
            let lock = StoreLock::acquire(&inner, &root)?;
            check_condition(&condition, current_tag(&key, &path)?.as_ref(), &path)?;
            let replace = if condition == Condition::Absent { Replace::No } else { Replace::Yes(&lock) };
            let file = publish(&inner, &root, temp, &path, &replace)?;
            drop(lock);
            let described = file.metadata().and_then(|meta| describe(key, &file, &meta));
            described.map(|m| m.tag).map_err(|e| io_error(e, what).with_effect(Effect::Applied))
        });
        done.await.map_err(unknown_if_cancelled)
    }

    async fn get(&self, cx: &Cx, key: &ObjectKey, offset: u64) -> Result<Box<dyn ObjectReader>> {
        let path = self.path(key);
        let what = format!("read {}", path.display());
        let opened = off_thread(cx, what, {
            let path = path.clone();
            move |what| {
                let Some((mut file, meta)) = open_object(&path).map_err(|e| io_error(e, what))? else {
                    return Err(Error::new(ErrorKind::NotFound, format!("{} is not there", path.display())));
                };
                file.seek(SeekFrom::Start(offset)).map_err(|e| io_error(e, what))?;
                Ok((file, meta.len().saturating_sub(offset)))
            }
        });
        let (file, left) = opened.await?;
        Ok(Box::new(DirectoryReader::new(cx.clone(), &path, file, left)))
    }

    async fn head(&self, cx: &Cx, key: &ObjectKey) -> Result<Option<ObjectMeta>> {
        let (path, key) = (self.path(key), key.clone());
        let what = format!("look at {}", path.display());
        off_thread(cx, what, move |what| {
            let found =
                open_object(&path).and_then(|found| found.map(|(file, meta)| describe(key, &file, &meta)).transpose());
            found.map_err(|e| io_error(e, what))
        })
        .await
    }

    async fn list(&self, cx: &Cx, prefix: &str) -> Result<Vec<ObjectMeta>> {
        check_prefix(prefix)?;
        let (root, prefix, inner) = (Arc::clone(&self.root), prefix.to_owned(), cx.clone());
        off_thread(cx, format!("list {}", self.info.location), move |_| walk::list(&inner, &root, &prefix)).await
    }

    async fn list_groups(&self, cx: &Cx, prefix: &str) -> Result<Vec<String>> {
        check_prefix(prefix)?;
        let (root, prefix, inner) = (Arc::clone(&self.root), prefix.to_owned(), cx.clone());
        off_thread(cx, format!("list {}", self.info.location), move |_| walk::list_groups(&inner, &root, &prefix)).await
    }

    async fn delete(&self, cx: &Cx, key: &ObjectKey) -> Result<()> {
        let (root, path, inner) = (Arc::clone(&self.root), self.path(key), cx.clone());
        let what = format!("delete {}", path.display());
        let done = off_thread(cx, what, move |what| {
            // Nothing there needs no lock, nor a directory that can be written to.
            match path.symlink_metadata() {
                Err(e) if io_errors::is_absent(&e) => return Ok(()),
                _ => {}
            }
            // Under the lock, so that no conditional write finds its object gone between look and rename.
            let _lock = StoreLock::acquire(&inner, &root)?;
            remove(&root, &path).map(|_| ()).map_err(|e| io_error(e, what))
        });
        done.await.map_err(unknown_if_cancelled)
    }

    async fn sweep(&self, cx: &Cx, before: DateTime<Utc>) -> Result<u64> {
        let root = Arc::clone(&self.root);
        let what = format!("sweep {}", root.display());
        off_thread(cx, what, move |what| temp_file::sweep(&root, before).map_err(|e| io_error(e, what))).await
    }
}
