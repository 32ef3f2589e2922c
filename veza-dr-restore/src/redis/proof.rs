//! Compares what is there with what must be there: keys, types and content digests per database, and functions.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    path::{Path, PathBuf},
};

use veza_dr_backup::redis::rdb::{DbSummary, FUNCTIONS, Key, Reader, Summary};
use veza_dr_core::{Cx, Error, ErrorKind, Manifest, Result, Verdict, Verification, manifest::ContentRecord};

/// Reads local RDB files as one whole, taking into account those keys alone that `wanted` picks.
pub(crate) async fn read(
    cx: &Cx,
    files: &[PathBuf],
    wanted: impl FnMut(&mut Key) -> bool + Send + 'static,
) -> Result<Summary> {
    let files = files.to_vec();
    let cancelled = cx.clone();
    let work = tokio::task::spawn_blocking(move || {
        let mut wanted = wanted;
        let mut whole: Option<Summary> = None;
        for path in &files {
            let mut reader = Reader::new(open(path)?)?;
            let part = Summary::of_keys(&mut reader, |key| !cancelled.is_cancelled() && wanted(key))?;
            match &mut whole {
                None => whole = Some(part),
                Some(whole) => whole.merge(&part),
            }
        }
        cancelled.check("read the data")?;
        Ok(whole.unwrap_or_default())
    });
    work.await.map_err(|e| Error::new(ErrorKind::Unexpected, "the data could not be read").with_source(e))?
}

/// Opens a local RDB.
pub(crate) fn open(path: &Path) -> Result<File> {
    File::open(path).map_err(|e| {
        Error::new(ErrorKind::Unexpected, format!("the local copy {} cannot be opened", path.display())).with_source(e)
    })
}

/// Compares data with what their manifest says of them.
pub(crate) fn against_manifest(found: &Summary, manifest: &Manifest) -> Verification {
    against_records(&found.contents(), &manifest.contents)
}

/// Compares records by name.
pub(crate) fn against_records(found: &[ContentRecord], expected: &[ContentRecord]) -> Verification {
    let mut verification = Verification::default();
    if expected.is_empty() {
        verification.unverified("contents", "the manifest does not say what they must be");
        return verification;
    }
    let by_name = |records: &[ContentRecord]| -> BTreeMap<String, ContentRecord> {
        records.iter().map(|r| (r.name.clone(), r.clone())).collect()
    };
    let (found, expected) = (by_name(found), by_name(expected));
    let names: BTreeSet<&String> = found.keys().chain(expected.keys()).collect();
    for name in names {
        let unit = if name == FUNCTIONS { "libraries" } else { "keys" };
        match (expected.get(name), found.get(name)) {
            (Some(e), Some(f)) if e.rows != f.rows => {
                verification.differs(name, format!("{} {unit} expected, {} are there", e.rows, f.rows));
            }
            (Some(e), Some(f)) if e.digest.is_none() || f.digest.is_none() => {
                verification.unverified(name, format!("{} {unit}, without a digest of them", e.rows));
            }
            (Some(e), Some(f)) if e.digest != f.digest => {
                verification.differs(name, format!("{} {unit}, but their content is not what it was", e.rows));
            }
            (Some(e), Some(_)) => verification.pass(e.rows),
            (Some(e), None) if e.rows > 0 => {
                verification.differs(name, format!("{} {unit} expected, none is there", e.rows))
            }
            (None, Some(f)) if f.rows > 0 => {
                verification.differs(name, format!("{} {unit}, none was expected", f.rows))
            }
            _ => verification.pass(0),
        }
    }
    verification
}

/// Compares the data of a server with those it was given, both without the keys that had expired by then. `gone` are
/// those of the given ones, per database: they are named. Without `functions`, these are no part of it.
pub(crate) fn against_given(
    given: &Summary,
    found: &Summary,
    gone: &BTreeMap<u64, u64>,
    functions: bool,
) -> Verification {
    let records = |of: &Summary| -> Vec<ContentRecord> {
        of.contents().into_iter().filter(|r| functions || r.name != FUNCTIONS).collect()
    };
    let mut verification = match records(given) {
        // No key is left to be compared: that none is there is what was to be shown.
        given if given.is_empty() => {
            let mut verification = Verification::default();
            verification.pass(0);
            verification
        }
        given => against_records(&records(found), &given),
    };
    let equal = verification.verdict() == Verdict::Equal;
    let none = DbSummary::default();
    for (number, given) in &given.databases {
        let found = found.databases.get(number).unwrap_or(&none);
        if given.keys > 0 && given.types != found.types {
            verification.differs(
                format!("db{number}"),
                format!("types {:?} expected, {:?} are there", given.types, found.types),
            );
        }
        if equal && given.undigested > 0 {
            let text = format!("{} keys hold data that only a module can read", given.undigested);
            verification.unverified(format!("db{number}"), text);
        }
    }
    for (number, keys) in gone.iter().filter(|(_, keys)| **keys > 0) {
        verification.note(format!("db{number}"), format!("{keys} keys have expired since the backup"));
    }
    verification
}

/// Fails unless all is equal. `where_to_look` helps.
pub(crate) fn require(verification: &Verification, what: &str, help: &str) -> Result<()> {
    let verdict = verification.verdict();
    if verdict == Verdict::Equal {
        return Ok(());
    }
    let findings = verification.findings.iter().filter(|f| f.verdict != Verdict::Equal);
    let mut texts: Vec<String> = findings.map(|f| format!("{}: {}", f.what, f.why)).collect();
    let more = texts.len().saturating_sub(10);
    texts.truncate(10);
    if more > 0 {
        texts.push(format!("and {more} more"));
    }
    let kind = if verdict == Verdict::Different { ErrorKind::Mismatch } else { ErrorKind::Unverified };
    Err(Error::new(kind, format!("{what} not proven equal to the backup: {}", texts.join("; "))).with_help(help))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(name: &str, rows: u64, digest: Option<&str>) -> ContentRecord {
        ContentRecord { name: name.into(), rows, digest: digest.map(str::to_owned) }
    }

    #[test]
    fn every_difference_is_one_and_nothing_expected_is_no_pass() {
        let expected = [record("db0", 3, Some("x:1")), record("functions", 0, Some("x:0"))];
        let verdict = |found: &[ContentRecord]| against_records(found, &expected).verdict();
        assert_eq!(verdict(&expected), Verdict::Equal);
        assert_eq!(against_records(&expected, &expected).rows, 3);
        assert_eq!(verdict(&[record("db0", 2, Some("x:1"))]), Verdict::Different);
        assert_eq!(verdict(&[record("db0", 3, Some("x:2"))]), Verdict::Different);
        assert_eq!(verdict(&[record("db0", 3, None)]), Verdict::Unverified);
        assert_eq!(verdict(&[]), Verdict::Different);
        assert_eq!(verdict(&[expected[0].clone(), record("db4", 1, Some("x:1"))]), Verdict::Different);
        assert_eq!(against_records(&expected, &[]).verdict(), Verdict::Unverified);
    }
}
