//! A file of lines that processes share: each line is durable before anything follows from it.

use std::{
    fs::{File, OpenOptions},
    io::{Read, Seek, SeekFrom, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use veza_dr_core::{Error, ErrorKind, Result};

use super::record::Entry;
use crate::files::cannot;

/// What another process, or this one before, added.
#[derive(Debug)]
pub(super) struct News {
    /// The file is another than before: what was known is void.
    pub(super) anew: bool,
    pub(super) entries: Vec<Entry>,
}

/// The file. Every method but `open` is called under the lock.
#[derive(Debug)]
pub(super) struct Ledger {
    path: PathBuf,
    inode: u64,
    offset: u64,
    lines: usize,
}

impl Ledger {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, inode: 0, offset: 0, lines: 0 }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn size(&self) -> u64 {
        self.offset
    }

    /// What was added since the last call. A torn last line is what a crash leaves: nothing was told because of it, and
    /// it is cut off.
    pub(super) fn news(&mut self) -> Result<News> {
        let mut file = match OpenOptions::new().read(true).write(true).open(&self.path) {
            Ok(file) => file,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                let anew = self.offset > 0;
                (self.inode, self.offset, self.lines) = (0, 0, 0);
                return Ok(News { anew, entries: Vec::new() });
            }
            Err(e) => return Err(cannot("read", &self.path, e)),
        };
        let meta = file.metadata().map_err(|e| cannot("read", &self.path, e))?;
        let anew = meta.ino() != self.inode || meta.len() < self.offset;
        if anew {
            (self.inode, self.offset, self.lines) = (meta.ino(), 0, 0);
        }
        if meta.len() == self.offset {
            return Ok(News { anew, entries: Vec::new() });
        }
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(self.offset))
            .and_then(|_| file.read_to_end(&mut bytes))
            .map_err(|e| cannot("read", &self.path, e))?;
        let whole = bytes.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
        let mut entries = Vec::new();
        for line in bytes[..whole].split(|b| *b == b'\n').filter(|line| !line.is_empty()) {
            self.lines += 1;
            entries.push(serde_json::from_slice(line).map_err(|e| {
                let text = format!("{}:{}: the book of alarms is damaged", self.path.display(), self.lines);
                Error::new(ErrorKind::Corrupt, text)
                    .with_source(e)
                    .with_help("move it away: what is wrong now is then told anew")
            })?);
        }
        if whole < bytes.len() {
            let end = self.offset + whole as u64;
            file.set_len(end).and_then(|()| file.sync_all()).map_err(|e| cannot("shortened", &self.path, e))?;
        }
        self.offset += whole as u64;
        Ok(News { anew, entries })
    }

    /// Adds lines; they are durable when this returns. On failure none of them is there.
    pub(super) fn append(&mut self, entries: &[Entry]) -> Result<()> {
        let text = lines(entries)?;
        let new = !self.path.exists();
        let file = OpenOptions::new().append(true).create(true).mode(0o600).open(&self.path);
        let mut file = file.map_err(|e| cannot("written", &self.path, e))?;
        if let Err(e) = file.write_all(&text).and_then(|()| file.sync_data()) {
            // Half a line must not stand before the next one.
            let _ = file.set_len(self.offset);
            return Err(cannot("written", &self.path, e));
        }
        if new {
            sync_folder(&self.path)?;
        }
        let meta = file.metadata().map_err(|e| cannot("read", &self.path, e))?;
        (self.inode, self.offset) = (meta.ino(), meta.len());
        self.lines += entries.len();
        Ok(())
    }

    /// Puts a shorter file in the place of this one, whole or not at all.
    pub(super) fn replace(&mut self, entries: &[Entry]) -> Result<()> {
        let beside = self.path.with_extension("new");
        let text = lines(entries)?;
        let written = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside).and_then(
            |mut file| {
                file.write_all(&text)?;
                file.sync_all()?;
                file.metadata()
            },
        );
        let meta = written.map_err(|e| cannot("written", &beside, e))?;
        std::fs::rename(&beside, &self.path).map_err(|e| cannot("replaced", &self.path, e))?;
        sync_folder(&self.path)?;
        (self.inode, self.offset, self.lines) = (meta.ino(), meta.len(), entries.len());
        Ok(())
    }
}

fn lines(entries: &[Entry]) -> Result<Vec<u8>> {
    let mut text = Vec::new();
    for entry in entries {
        serde_json::to_writer(&mut text, entry)
            .map_err(|e| Error::new(ErrorKind::Unexpected, "a line of the book of alarms").with_source(e))?;
        text.push(b'\n');
    }
    Ok(text)
}

fn sync_folder(path: &Path) -> Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    File::open(folder).and_then(|f| f.sync_all()).map_err(|e| cannot("made durable", folder, e))
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, TimeDelta};

    use super::*;
    use crate::{alarm::record::Record, files::Lock};

    fn entry(n: i64) -> Entry {
        let why = format!("line\n{n}");
        let at = DateTime::UNIX_EPOCH + TimeDelta::seconds(n);
        Entry { at, record: Record::Closed { incident: "i".to_owned(), why }, message: None }
    }

    #[test]
    fn any_cut_leaves_whole_lines_and_the_next_one_follows_them() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("book");
        let mut ledger = Ledger::new(path.clone());
        ledger.append(&[entry(1), entry(2)]).unwrap();
        ledger.append(&[entry(3)]).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        for cut in 0..=bytes.len() {
            std::fs::write(&path, &bytes[..cut]).unwrap();
            let mut again = Ledger::new(path.clone());
            let whole = bytes[..cut].iter().filter(|b| **b == b'\n').count();
            assert_eq!(again.news().unwrap().entries.len(), whole, "cut at {cut}");
            again.append(&[entry(9)]).unwrap();
            let all = Ledger::new(path.clone()).news().unwrap().entries;
            assert_eq!((all.len(), all.last().unwrap().at.timestamp()), (whole + 1, 9));
        }
        let mut damaged = bytes;
        damaged[2] = b'#';
        std::fs::write(&path, damaged).unwrap();
        let e = Ledger::new(path).news().unwrap_err();
        assert!(e.kind() == ErrorKind::Corrupt && e.to_string().contains("book:1:"), "{e}");
    }

    #[test]
    fn what_another_adds_or_replaces_is_noticed() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("book");
        let (mut one, mut two) = (Ledger::new(path.clone()), Ledger::new(path.clone()));
        one.append(&[entry(1)]).unwrap();
        assert_eq!(two.news().unwrap().entries.len(), 1);
        assert!(one.news().unwrap().entries.is_empty(), "its own lines are no news");
        two.append(&[entry(2)]).unwrap();
        let news = one.news().unwrap();
        assert_eq!((news.anew, news.entries.len()), (false, 1));
        two.replace(&[entry(5)]).unwrap();
        let news = one.news().unwrap();
        assert_eq!((news.anew, news.entries), (true, vec![entry(5)]));
        let lock = place.path().join("lock");
        let held = Lock::wait(&lock).unwrap();
        assert!(Lock::attempt(&lock).unwrap().is_none());
        drop(held);
        assert!(Lock::attempt(&lock).unwrap().is_some());
    }
}
