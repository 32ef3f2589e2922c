//! What is in the directory, seen as objects: no temporary files, no hidden names, no links.

use std::{
    fs::{File, Metadata, OpenOptions},
    io::{self, Read},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::Path,
};

use chrono::{DateTime, Utc};
use rustix::fs::OFlags;
use sha2::{Digest, Sha256};
use veza_dr_core::{Cx, ObjectKey, ObjectMeta, Result, VersionTag};

use super::io_errors::{io_error, is_absent};

/// Objects up to this size are marked by their content; larger ones, which are never replaced, by inode and time.
const HASHED_UP_TO: u64 = 16 * 1024;

/// Opens an object for reading; `None` when there is none.
pub(super) fn open_object(path: &Path) -> io::Result<Option<(File, Metadata)>> {
    // A link could lead out of the store; a FIFO would block the open.
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits();
    let opened = OpenOptions::new().read(true).custom_flags(flags.cast_signed()).open(path);
    let file = match opened {
        Ok(file) => file,
        Err(e) if is_absent(&e) || rustix::io::Errno::from_io_error(&e) == Some(rustix::io::Errno::LOOP) => {
            return Ok(None);
        }
        Err(e) => return Err(e),
    };
    let meta = file.metadata()?;
    Ok(meta.is_file().then_some((file, meta)))
}

/// Describes an open object.
pub(super) fn describe(key: ObjectKey, file: &File, meta: &Metadata) -> io::Result<ObjectMeta> {
    Ok(ObjectMeta { key, bytes: meta.len(), modified: DateTime::<Utc>::from(meta.modified()?), tag: tag(file, meta)? })
}

fn tag(file: &File, meta: &Metadata) -> io::Result<VersionTag> {
    if meta.len() > HASHED_UP_TO {
        return Ok(VersionTag(format!(
            "file-{:x}-{:x}.{:09}-{:x}",
            meta.len(),
            meta.mtime(),
            meta.mtime_nsec(),
            meta.ino()
        )));
    }
    let mut content = Vec::with_capacity(HASHED_UP_TO as usize);
    let mut from_start = PositionedReader { file, at: 0 };
    from_start.read_to_end(&mut content)?;
    Ok(content_tag(&content))
}

/// The mark of a small object with this content.
pub(super) fn content_tag(content: &[u8]) -> VersionTag {
    VersionTag(format!("sha256-{}", hex::encode(Sha256::digest(content))))
}

/// Reads from the beginning wherever the file's own position is.
struct PositionedReader<'a> {
    file: &'a File,
    at: u64,
}

impl Read for PositionedReader<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = std::os::unix::fs::FileExt::read_at(self.file, buf, self.at)?;
        self.at += n as u64;
        Ok(n)
    }
}

/// All objects at or below the folder `prefix`, sorted by key.
pub(super) fn list(cx: &Cx, root: &Path, prefix: &str) -> Result<Vec<ObjectMeta>> {
    let mut found = Vec::new();
    visit(cx, root, prefix, &mut |key, path| {
        // An object deleted since the folder was read is not there.
        if let Some((file, meta)) = open_object(path)? {
            found.push(describe(key, &file, &meta)?);
        }
        Ok(true)
    })?;
    found.sort_by(|a, b| a.key.cmp(&b.key));
    Ok(found)
}

/// The folders directly below `prefix` that hold an object at any depth, sorted.
pub(super) fn list_groups(cx: &Cx, root: &Path, prefix: &str) -> Result<Vec<String>> {
    let mut groups = Vec::new();
    for (name, is_dir) in entries(root, prefix)? {
        let below = join(prefix, &name);
        if !is_dir || below.parse::<ObjectKey>().is_err() {
            continue;
        }
        let mut any = false;
        visit(cx, root, &below, &mut |_, _| {
            any = true;
            Ok(false)
        })?;
        if any {
            groups.push(name);
        }
    }
    groups.sort();
    Ok(groups)
}

type Visitor<'a> = dyn FnMut(ObjectKey, &Path) -> io::Result<bool> + 'a;

/// Calls `each` for every object below `prefix` until it says `false`; returns whether it never did.
fn visit(cx: &Cx, root: &Path, prefix: &str, each: &mut Visitor<'_>) -> Result<bool> {
    cx.check(&format!("list {}", root.display()))?;
    for (name, is_dir) in entries(root, prefix)? {
        let below = join(prefix, &name);
        // A name that cannot be a key was not put there by us.
        let Ok(key) = below.parse::<ObjectKey>() else { continue };
        let path = root.join(&below);
        let go_on = if is_dir {
            visit(cx, root, &below, each)?
        } else {
            each(key, &path).map_err(|e| io_error(e, format!("look at {}", path.display())))?
        };
        if !go_on {
            return Ok(false);
        }
    }
    Ok(true)
}

fn join(prefix: &str, name: &str) -> String {
    if prefix.is_empty() { name.to_owned() } else { format!("{prefix}/{name}") }
}

/// Names of files and folders in one folder, with whether it is a folder.
fn entries(root: &Path, prefix: &str) -> Result<Vec<(String, bool)>> {
    let dir = root.join(prefix);
    let failed = |e: io::Error| io_error(e, format!("list {}", dir.display()));
    let read = match std::fs::read_dir(&dir) {
        Ok(read) => read,
        // An unknown prefix holds nothing; but a root that went away is not an empty store.
        Err(e) if is_absent(&e) && !prefix.is_empty() && root.is_dir() => return Ok(Vec::new()),
        Err(e) => return Err(failed(e)),
    };
    let mut names = Vec::new();
    for entry in read {
        let entry = entry.map_err(failed)?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        // Only root may look into ext4's own folder.
        if name.starts_with('.') || (prefix.is_empty() && name == "lost+found") {
            continue;
        }
        let kind = entry.file_type().map_err(failed)?;
        if kind.is_dir() || kind.is_file() {
            names.push((name, kind.is_dir()));
        }
    }
    Ok(names)
}
