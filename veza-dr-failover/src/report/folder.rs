//! Sealed reports in a folder: one file each, only ever added to.

use std::{
    collections::BTreeSet,
    fs::{File, OpenOptions},
    io::{self, ErrorKind as IoKind, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use veza_dr_core::{Error, ErrorKind, Result};

use super::{ChainCheck, Link, Outcome, RecoveryReport, ReportKind, VERSION, canonical, chain, verify_chain};

const LOCK: &str = ".lock";

/// Held while something is added.
pub(super) struct Lock(#[expect(dead_code, reason = "open until it is dropped")] File);

/// The folder in which reports are kept as a chain: `000001-<id>.json`, …
#[derive(Debug, Clone)]
pub struct ReportFolder(PathBuf);

/// A report in short.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ReportSummary {
    /// Its name.
    pub id: String,
    /// What was done.
    pub kind: ReportKind,
    /// The disaster that it was about.
    pub scenario: Option<String>,
    /// When it began.
    pub started_at: DateTime<Utc>,
    /// When it ended.
    pub ended_at: Option<DateTime<Utc>>,
    /// The verdict.
    pub outcome: Outcome,
    /// The recovery time objective, in seconds.
    pub rto_target_seconds: Option<f64>,
    /// What it took from the beginning of the outage, in seconds.
    pub rto_actual_seconds: Option<f64>,
    /// The recovery point objective, in seconds.
    pub rpo_target_seconds: Option<f64>,
    /// The time span whose data was lost, in seconds.
    pub rpo_actual_seconds: Option<f64>,
    /// Rows, keys and files that were lost.
    pub records_lost: Option<u64>,
    /// When the next one is due.
    pub next_due: Option<DateTime<Utc>>,
    /// The run that it tells of.
    pub run: Option<String>,
    /// The report that it takes the place of.
    pub revises: Option<String>,
    /// Its hash.
    pub sha256: Option<String>,
}

impl From<&RecoveryReport> for ReportSummary {
    fn from(report: &RecoveryReport) -> Self {
        Self {
            id: report.id.clone(),
            kind: report.kind,
            scenario: report.scenario.clone(),
            started_at: report.started_at,
            ended_at: report.ended_at,
            outcome: report.outcome,
            rto_target_seconds: report.recovery_time.target_seconds,
            rto_actual_seconds: report.recovery_time.actual_seconds,
            rpo_target_seconds: report.recovery_point.target_seconds,
            rpo_actual_seconds: report.recovery_point.actual_seconds,
            records_lost: report.recovery_point.records_lost,
            next_due: report.next_due,
            run: report.run.clone(),
            revises: report.revises.clone(),
            sha256: report.sha256.clone(),
        }
    }
}

impl ReportFolder {
    /// The reports in this folder; it is made when the first one is added.
    #[must_use]
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self(folder.into())
    }

    /// Where they are.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Seals a report as the next of the chain and writes it durably; gives what was written. Either the whole report is
    /// there or none of it, also after a crash. Two callers at once come one after the other.
    ///
    /// # Errors
    /// `Config` for a name that is none; `Conflict` when the name is taken; `Corrupt` when the last report there is
    /// damaged: nothing is added to a broken chain; `Full`, `Denied`, `Unavailable` when it cannot be written. Nothing
    /// was changed then.
    pub fn append(&self, report: RecoveryReport) -> Result<RecoveryReport> {
        check_id(&report.id)?;
        self.add(&self.lock()?, report)
    }

    /// Keeps everybody else from adding until it is dropped.
    pub(super) fn lock(&self) -> Result<Lock> {
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.0);
        made.map_err(|e| cannot("made", &self.0, e))?;
        let path = self.0.join(LOCK);
        let lock = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path);
        let lock = lock.map_err(|e| cannot("locked", &path, e))?;
        lock.lock().map_err(|e| cannot("locked", &path, e))?;
        Ok(Lock(lock))
    }

    fn add(&self, _: &Lock, report: RecoveryReport) -> Result<RecoveryReport> {
        let files = self.files()?;
        if let Some(taken) = files.iter().find(|f| f.id == report.id) {
            let text = format!("there is a report {} already: {}", report.id, self.0.join(&taken.name).display());
            return Err(
                Error::new(ErrorKind::Conflict, text).with_help("reports are only ever added: take another name")
            );
        }
        let link = match files.last() {
            None => Link { seq: 1, previous_sha256: None },
            Some(last) => {
                let document = self.document(&last.name)?;
                let told = document[canonical::HASH].as_str().map(ToOwned::to_owned);
                let whole = document.as_object().is_some_and(|map| told.as_ref() == Some(&canonical::hash(map)));
                if !whole || document["chain"]["seq"].as_u64() != Some(last.seq) {
                    let text = format!(
                        "{} was changed: its hash is not that of its content",
                        self.0.join(&last.name).display()
                    );
                    return Err(Error::new(ErrorKind::Corrupt, text)
                        .with_help("put the file back as it was, or move the folder aside: a new chain begins then"));
                }
                Link { seq: last.seq + 1, previous_sha256: told }
            }
        };
        let (sealed, text) = chain::seal(&report, link.clone())?;
        self.write(&format!("{:06}-{}.json", link.seq, report.id), &text)?;
        Ok(sealed)
    }

    /// All reports in short and whether their chain is whole, with each file read once.
    ///
    /// # Errors
    /// As [`ReportFolder::verify`].
    pub fn survey(&self) -> Result<(Vec<ReportSummary>, ChainCheck)> {
        let files = self.files()?;
        let documents: Vec<_> = files.iter().map(|f| self.document(&f.name)).collect();
        let readable = files
            .iter()
            .zip(&documents)
            .filter_map(|(file, document)| parse(document.as_ref().ok()?.clone(), &self.0.join(&file.name)).ok());
        let summaries = readable.map(|report| ReportSummary::from(&report)).collect();
        Ok((summaries, check(&files, documents)))
    }

    /// All reports in short, the oldest first. One that cannot be read is passed over: [`ReportFolder::verify`] names it.
    ///
    /// # Errors
    /// When the folder cannot be read; that there is none yet is no error.
    pub fn list(&self) -> Result<Vec<ReportSummary>> {
        let mut summaries = Vec::new();
        for file in self.files()? {
            match self.document(&file.name).and_then(|d| parse(d, &self.0.join(&file.name))) {
                Ok(report) => summaries.push(ReportSummary::from(&report)),
                Err(e) => tracing::warn!(error = %e.chain(), "a report is passed over"),
            }
        }
        Ok(summaries)
    }

    /// The report of that name, or with `latest` the newest.
    ///
    /// # Errors
    /// `NotFound` without it; `Corrupt` when its file is damaged; `Unsupported` when a later version wrote it.
    pub fn read(&self, id: &str) -> Result<RecoveryReport> {
        let files = self.files()?;
        let found = if id == "latest" { files.last() } else { files.iter().find(|f| f.id == id) };
        let found = found.ok_or_else(|| {
            let known: Vec<&str> = files.iter().rev().take(5).map(|f| f.id.as_str()).collect();
            let text = format!("there is no report `{id}` in {}", self.0.display());
            let help = if known.is_empty() {
                "none was made yet".to_owned()
            } else {
                format!("the newest are {}", known.join(", "))
            };
            Error::new(ErrorKind::NotFound, text).with_help(help)
        })?;
        let path = self.0.join(&found.name);
        let document = self.document(&found.name)?;
        let told = document[canonical::HASH].as_str().map(ToOwned::to_owned);
        if document.as_object().is_none_or(|map| told != Some(canonical::hash(map))) {
            let text = format!("{} was changed: its hash is not that of its content", path.display());
            return Err(Error::new(ErrorKind::Corrupt, text).with_help("put the file back as it was"));
        }
        parse(document, &path)
    }

    /// The newest report of a run.
    ///
    /// # Errors
    /// As [`ReportFolder::list`] and [`ReportFolder::read`]; that there is none is no error.
    pub fn of_run(&self, run: &str) -> Result<Option<RecoveryReport>> {
        let newest = self.list()?.into_iter().rev().find(|s| s.run.as_deref() == Some(run));
        newest.map(|s| self.read(&s.id)).transpose()
    }

    /// Looks whether the chain is whole: [`verify_chain`], and that every file is named after what it holds.
    ///
    /// # Errors
    /// When the folder cannot be read; what is wrong with a file is part of the answer.
    pub fn verify(&self) -> Result<ChainCheck> {
        let files = self.files()?;
        let documents = files.iter().map(|f| self.document(&f.name)).collect();
        Ok(check(&files, documents))
    }

    /// Keeps the report of a run: gives the newest one there is when it tells of the very same journal, else seals this
    /// one, as its next revision where there is one.
    ///
    /// # Errors
    /// As [`ReportFolder::append`].
    pub fn keep(&self, mut report: RecoveryReport) -> Result<RecoveryReport> {
        check_id(&report.id)?;
        let lock = self.lock()?;
        let Some(run) = report.run.clone() else { return self.add(&lock, report) };
        if let Some(newest) = self.of_run(&run)? {
            if newest.journal_sha256.is_some() && newest.journal_sha256 == report.journal_sha256 {
                return Ok(newest);
            }
            report.revises = newest.sha256;
        }
        self.revision(&lock, report)
    }

    /// Adds it under its name, or under the next free one of its revisions.
    pub(super) fn revision(&self, lock: &Lock, mut report: RecoveryReport) -> Result<RecoveryReport> {
        let taken: BTreeSet<String> = self.files()?.into_iter().map(|f| f.id).collect();
        let name = match report.id.rsplit_once("-rev") {
            Some((name, number)) if number.parse::<u32>().is_ok() => name.to_owned(),
            _ => report.id.clone(),
        };
        let mut revision = 2u32;
        while taken.contains(&report.id) {
            report.id = format!("{name}-rev{revision}");
            revision += 1;
        }
        check_id(&report.id)?;
        self.add(lock, report)
    }

    /// The names of the files, in the order of the chain.
    pub(super) fn names(&self) -> Result<Vec<String>> {
        Ok(self.files()?.into_iter().map(|f| f.name).collect())
    }

    /// What one of them holds.
    pub(super) fn bytes(&self, name: &str) -> Result<Vec<u8>> {
        let path = self.0.join(name);
        std::fs::read(&path).map_err(|e| cannot("read", &path, e))
    }

    fn files(&self) -> Result<Vec<Named>> {
        let entries = match std::fs::read_dir(&self.0) {
            Ok(entries) => entries,
            Err(e) if e.kind() == IoKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(cannot("read", &self.0, e)),
        };
        let mut files = Vec::new();
        for entry in entries {
            let name = entry.map_err(|e| cannot("read", &self.0, e))?.file_name();
            files.extend(name.to_str().and_then(Named::of));
        }
        files.sort_by(|a, b| (a.seq, &a.id).cmp(&(b.seq, &b.id)));
        Ok(files)
    }

    fn document(&self, name: &str) -> Result<Value> {
        serde_json::from_slice(&self.bytes(name)?).map_err(|e| {
            Error::new(ErrorKind::Corrupt, format!("{} is no JSON document", self.0.join(name).display()))
                .with_source(e)
        })
    }

    fn write(&self, name: &str, text: &str) -> Result<()> {
        let (path, half) = (self.0.join(name), self.0.join(".half"));
        let written = || -> io::Result<()> {
            // What a crash left of an earlier try is of no use; the lock is held.
            let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&half)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            std::fs::rename(&half, &path)?;
            File::open(&self.0)?.sync_all()
        };
        written().map_err(|e| {
            let _ = std::fs::remove_file(&half);
            cannot("written", &path, e)
        })
    }
}

/// Whether the chain is whole, and every file holds what its name says.
fn check(files: &[Named], found: Vec<Result<Value>>) -> ChainCheck {
    let mut documents = Vec::new();
    let mut problems = Vec::new();
    for ((at, file), document) in (1u64..).zip(files).zip(found) {
        let document = document.unwrap_or_else(|e| {
            problems.push((at, file, e.chain()));
            Value::Null
        });
        let named = document["id"].as_str() == Some(&file.id) && document["chain"]["seq"].as_u64() == Some(file.seq);
        if !named && !document.is_null() {
            problems.push((at, file, format!("file {} holds another report than its name says", file.name)));
        }
        documents.push(document);
    }
    let mut check = verify_chain(&documents);
    for (at, file, text) in problems {
        check.add(at, &file.id, text);
    }
    check
}

/// A file's name, taken apart.
struct Named {
    seq: u64,
    id: String,
    name: String,
}

impl Named {
    fn of(name: &str) -> Option<Self> {
        let (seq, id) = name.strip_suffix(".json")?.split_once('-')?;
        Some(Self { seq: seq.parse().ok()?, id: id.to_owned(), name: name.to_owned() })
    }
}

fn parse(document: Value, path: &Path) -> Result<RecoveryReport> {
    match document["version"].as_u64() {
        Some(version) if version <= u64::from(VERSION) => {}
        Some(version) => {
            let text = format!("{} is of version {version}, this build reads up to {VERSION}", path.display());
            return Err(Error::new(ErrorKind::Unsupported, text).with_help("read it with a newer veza-dr"));
        }
        None => return Err(Error::new(ErrorKind::Corrupt, format!("{} is no report", path.display()))),
    }
    serde_json::from_value(document).map_err(|e| {
        Error::new(ErrorKind::Corrupt, format!("{} cannot be read as a report", path.display())).with_source(e)
    })
}

fn check_id(id: &str) -> Result<()> {
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if !id.is_empty() && id.len() <= 120 && id != "latest" && !id.starts_with('.') && id.chars().all(good) {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Config, format!("`{id}` cannot be the name of a report"))
        .with_help("use up to 120 letters, digits, `.`, `_` and `-`"))
}

fn cannot(what: &str, path: &Path, e: io::Error) -> Error {
    let kind = match e.kind() {
        IoKind::NotFound => ErrorKind::NotFound,
        IoKind::PermissionDenied => ErrorKind::Denied,
        IoKind::StorageFull | IoKind::QuotaExceeded => ErrorKind::Full,
        _ => ErrorKind::Unavailable,
    };
    Error::new(kind, format!("{} cannot be {what}", path.display())).with_source(e)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(id: &str) -> RecoveryReport {
        let mut report = RecoveryReport::new(id, ReportKind::Recovery, Utc::now());
        report.recovery_time.actual_seconds = Some(61.123_456_7);
        report.about = "naïve \u{7f} \"quoted\" <b>".to_owned();
        report
    }

    fn chain_of(n: usize) -> (tempfile::TempDir, ReportFolder) {
        let dir = tempfile::tempdir().unwrap();
        let folder = ReportFolder::new(dir.path().join("reports"));
        for at in 0..n {
            folder.append(report(&format!("r{at}"))).unwrap();
        }
        (dir, folder)
    }

    #[test]
    fn what_is_written_is_what_is_read_and_the_chain_is_whole() {
        let (_dir, folder) = chain_of(3);
        let check = folder.verify().unwrap();
        assert_eq!((check.reports, check.is_whole()), (3, true), "{check:?}");
        let last = folder.read("latest").unwrap();
        assert_eq!((last.id.as_str(), last.sha256.as_ref()), ("r2", check.head.as_ref()));
        assert_eq!(last.recovery_time.actual_seconds, Some(61.1235));
        assert_eq!(last.recovery_point.records_lost, None, "unknown stays unknown");
        let first = folder.read("r0").unwrap();
        assert_eq!(first.chain, Some(Link { seq: 1, previous_sha256: None }));
        assert_eq!(folder.append(report("r1")).unwrap_err().kind(), ErrorKind::Conflict);
        for bad in ["", "latest", "../x", "a/b", ".hidden", "a b", "é"] {
            assert_eq!(folder.append(report(bad)).unwrap_err().kind(), ErrorKind::Config, "{bad}");
        }
        assert_eq!(folder.read("nope").unwrap_err().kind(), ErrorKind::NotFound);
    }

    #[test]
    fn every_changed_byte_is_found() {
        let (_dir, folder) = chain_of(2);
        let path = folder.path().join("000001-r0.json");
        let whole = std::fs::read(&path).unwrap();
        let before: Value = serde_json::from_slice(&whole).unwrap();
        for at in 0..whole.len() {
            let mut changed = whole.clone();
            changed[at] ^= 1;
            let same = serde_json::from_slice::<Value>(&changed).is_ok_and(|v| v == before);
            std::fs::write(&path, &changed).unwrap();
            assert_eq!(folder.verify().unwrap().is_whole(), same, "byte {at}");
        }
    }

    #[test]
    fn a_report_that_is_missing_exchanged_or_moved_is_found() {
        let (_dir, folder) = chain_of(4);
        let path = |n: u32| folder.path().join(format!("00000{}-r{}.json", n + 1, n));
        let kept = std::fs::read(path(1)).unwrap();
        std::fs::remove_file(path(1)).unwrap();
        assert!(!folder.verify().unwrap().is_whole());
        std::fs::write(path(1), std::fs::read(path(2)).unwrap()).unwrap();
        let found = folder.verify().unwrap();
        assert!(found.problems.iter().any(|p| p.text.contains("another report than its name")), "{found:?}");
        std::fs::write(path(1), kept).unwrap();
        assert!(folder.verify().unwrap().is_whole());
        // Taking off the end can only be seen by a head that was kept elsewhere.
        let head = folder.verify().unwrap().head;
        std::fs::remove_file(path(3)).unwrap();
        let shorter = folder.verify().unwrap();
        assert!(shorter.is_whole() && shorter.head != head);
    }

    #[test]
    fn nothing_is_added_to_a_broken_chain_and_a_half_report_is_none() {
        let (_dir, folder) = chain_of(1);
        std::fs::write(folder.path().join(".half"), b"{\"id\":").unwrap();
        folder.append(report("next")).unwrap();
        assert!(folder.verify().unwrap().is_whole());
        let path = folder.path().join("000002-next.json");
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, text.replace("\"recovery\"", "\"table_top\"")).unwrap();
        let e = folder.append(report("after")).unwrap_err();
        assert!(e.kind() == ErrorKind::Corrupt && e.to_string().contains("000002-next"), "{e}");
        assert_eq!(folder.read("next").unwrap_err().kind(), ErrorKind::Corrupt);
        let later = text.replace("\"version\": 1", "\"version\": 2");
        let mut later: Value = serde_json::from_str(&later).unwrap();
        let sum = canonical::hash(later.as_object().unwrap());
        later["sha256"] = sum.into();
        std::fs::write(&path, later.to_string()).unwrap();
        assert_eq!(folder.read("next").unwrap_err().kind(), ErrorKind::Unsupported);
    }

    #[test]
    fn callers_at_once_come_one_after_the_other() {
        let (_dir, folder) = chain_of(0);
        std::thread::scope(|scope| {
            for at in 0..8 {
                let folder = &folder;
                scope.spawn(move || folder.append(report(&format!("t{at}"))).unwrap());
            }
        });
        let check = folder.verify().unwrap();
        assert_eq!((check.reports, check.is_whole()), (8, true), "{check:?}");
    }
}
