//! The record of a run: one JSON document a line, each durable before anything follows from it.
//!
//! A line is `{"sum":"…","seq":…,"at":"…","record":{…}}`. The sum is the SHA-256 of the previous line's sum and of the
//! rest of the line, so that a line that was changed, lost or moved is found. A last line without its end is what a
//! crash leaves; nothing was done because of it, and it is dropped.

use std::{
    fs::{File, OpenOptions},
    io::{Read, Write},
    path::{Path, PathBuf},
};

use chrono::{DateTime, SubsecRound, Utc};
use sha2::{Digest, Sha256};
use veza_dr_core::{Effect, Error, ErrorKind, Result};

use super::{Entry, Record};

const START: &str = "{\"sum\":\"";
const SUM: usize = 64;

/// An open journal.
#[derive(Debug)]
pub(super) struct Journal {
    file: File,
    path: PathBuf,
    seq: u64,
    sum: String,
    /// A write failed half-way: nothing may follow it.
    broken: bool,
}

impl Journal {
    /// A new journal; the name must be free.
    pub(super) fn create(path: &Path) -> Result<Self> {
        let folder = path.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(folder).map_err(|e| cannot("made", folder, e))?;
        let file = OpenOptions::new().create_new(true).append(true).open(path).map_err(|e| cannot("made", path, e))?;
        // The name itself must survive a crash of the machine.
        let synced = File::open(folder).and_then(|f| f.sync_all());
        synced.map_err(|e| cannot("made durable", folder, e))?;
        Ok(Self { file, path: path.to_owned(), seq: 0, sum: String::new(), broken: false })
    }

    /// An existing journal with what it holds, ready for more; a torn last line is cut off.
    pub(super) fn open(path: &Path) -> Result<(Self, Vec<Entry>)> {
        let (entries, whole, sum) = parse(&read_bytes(path)?, path)?;
        let file = OpenOptions::new().append(true).open(path).map_err(|e| cannot("opened", path, e))?;
        let cut = file.set_len(whole).and_then(|()| file.sync_all());
        cut.map_err(|e| cannot("shortened to its last whole line", path, e))?;
        let seq = entries.last().map_or(0, |e| e.seq);
        Ok((Self { file, path: path.to_owned(), seq, sum, broken: false }, entries))
    }

    /// Adds a record; it is durable when this returns.
    pub(super) fn append(&mut self, at: DateTime<Utc>, record: Record) -> Result<Entry> {
        if self.broken {
            let text = format!("the journal {} cannot be written to since an earlier failure", self.path.display());
            return Err(Error::new(ErrorKind::Unavailable, text).with_help("go on with: veza-dr failover resume"));
        }
        let entry = Entry { seq: self.seq + 1, at: at.trunc_subsecs(6), record };
        let json = serde_json::to_string(&entry)
            .map_err(|e| Error::new(ErrorKind::Unexpected, "a journal record cannot be written").with_source(e))?;
        let rest = format!("\",{}\n", &json[1..]);
        let sum = checksum(&self.sum, rest.trim_end());
        let line = format!("{START}{sum}{rest}");
        self.broken = true;
        self.file
            .write_all(line.as_bytes())
            .and_then(|()| self.file.sync_data())
            .map_err(|e| cannot("written to", &self.path, e).with_effect(Effect::Unknown))?;
        (self.broken, self.seq, self.sum) = (false, entry.seq, sum);
        Ok(entry)
    }
}

/// What a journal holds. A torn last line does not count.
///
/// # Errors
/// `NotFound` without such a journal; `Corrupt` naming the first line that is damaged.
pub fn read_journal(path: &Path) -> Result<Vec<Entry>> {
    Ok(parse(&read_bytes(path)?, path)?.0)
}

fn read_bytes(path: &Path) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    match File::open(path).and_then(|mut f| f.read_to_end(&mut bytes)) {
        Ok(_) => Ok(bytes),
        Err(e) => Err(cannot("read", path, e)),
    }
}

fn cannot(what: &str, path: &Path, e: std::io::Error) -> Error {
    let kind = match e.kind() {
        std::io::ErrorKind::NotFound => ErrorKind::NotFound,
        std::io::ErrorKind::PermissionDenied => ErrorKind::Denied,
        std::io::ErrorKind::AlreadyExists => ErrorKind::Conflict,
        std::io::ErrorKind::StorageFull => ErrorKind::Full,
        _ => ErrorKind::Unavailable,
    };
    Error::new(kind, format!("{} cannot be {what}", path.display())).with_source(e)
}

fn checksum(previous: &str, rest: &str) -> String {
    let mut digest = Sha256::new();
    digest.update(previous.as_bytes());
    digest.update(rest.as_bytes());
    hex::encode(digest.finalize())
}

/// The entries, the length of what is whole, and the last sum.
fn parse(bytes: &[u8], path: &Path) -> Result<(Vec<Entry>, u64, String)> {
    // What follows the last line end is torn.
    let whole = bytes.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
    let mut entries: Vec<Entry> = Vec::new();
    let mut sum = String::new();
    for (at, line) in bytes[..whole].split(|b| *b == b'\n').enumerate().filter(|(_, l)| !l.is_empty()) {
        let number = at + 1;
        let damaged = |why: &str| {
            Error::new(ErrorKind::Corrupt, format!("{}:{number}: the journal is damaged: {why}", path.display()))
                .with_help("compare it with the copy in the store, under failover/; nothing was changed")
        };
        let text = std::str::from_utf8(line).map_err(|_| damaged("it is no text"))?;
        let after = text.strip_prefix(START).ok_or_else(|| damaged("it does not begin with a checksum"))?;
        let (told, rest) = after.split_at_checked(SUM).ok_or_else(|| damaged("it is too short"))?;
        if checksum(&sum, rest) != told {
            return Err(damaged("its checksum is not that of its text and of the lines before it"));
        }
        let entry: Entry =
            serde_json::from_str(text).map_err(|e| damaged("this build cannot read it").with_source(e))?;
        if entry.seq != entries.last().map_or(1, |e| e.seq + 1) {
            return Err(damaged("its number does not follow the line before it"));
        }
        told.clone_into(&mut sum);
        entries.push(entry);
    }
    Ok((entries, u64::try_from(whole).unwrap_or(u64::MAX), sum))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn warning(text: &str) -> Record {
        Record::Warning { text: text.to_owned() }
    }

    #[test]
    fn any_cut_is_a_torn_line_and_any_change_before_it_is_found() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("a.journal");
        let mut journal = Journal::create(&path).unwrap();
        for text in ["one", "two", "three"] {
            journal.append(Utc::now(), warning(text)).unwrap();
        }
        let bytes = std::fs::read(&path).unwrap();
        for cut in 0..=bytes.len() {
            let lines = bytes[..cut].iter().filter(|b| **b == b'\n').count();
            assert_eq!(parse(&bytes[..cut], &path).unwrap().0.len(), lines);
        }
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            // The last line's end is what makes it one; without it the line is torn.
            if at + 1 == bytes.len() {
                assert_eq!(parse(&changed, &path).unwrap().0.len(), 2);
                continue;
            }
            let e = parse(&changed, &path).unwrap_err();
            assert_eq!(e.kind(), ErrorKind::Corrupt, "byte {at}");
        }
        let second = bytes.split_inclusive(|b| *b == b'\n').skip(1).flatten().copied().collect::<Vec<u8>>();
        assert!(parse(&second, &path).unwrap_err().to_string().contains("a.journal:1:"));
    }

    #[test]
    fn a_torn_line_is_cut_off_and_the_next_follows_the_last_whole_one() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("a.journal");
        let mut journal = Journal::create(&path).unwrap();
        journal.append(Utc::now(), warning("one")).unwrap();
        drop(journal);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes.extend_from_slice(b"{\"sum\":\"12");
        std::fs::write(&path, bytes).unwrap();
        let (mut journal, entries) = Journal::open(&path).unwrap();
        assert_eq!(entries.len(), 1);
        assert_eq!(journal.append(Utc::now(), warning("two")).unwrap().seq, 2);
        assert_eq!(read_journal(&path).unwrap().len(), 2);
        assert_eq!(Journal::create(&path).unwrap_err().kind(), ErrorKind::Conflict);
    }
}
