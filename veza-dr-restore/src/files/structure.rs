//! The `structure` level: every archive opens, and holds exactly what the index says.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use veza_dr_backup::{
    Repository,
    files::{ContentHash, FilesDetail, IndexLine, Kind, TreeDigest},
};
use veza_dr_core::{ArtifactSource, Cx, Error, ErrorKind, Manifest, Progress, Result, Unit, Verification};

use super::{
    feed::Source,
    index::Index,
    members::{Member, Members},
    selection::{self, Bits, Needed, need, no_members},
};

const PHASE: &str = "verify structure";
const PARALLEL: usize = 2;
const PIECE: u64 = 1 << 20;

/// Reads the index and every archive of a backup, and compares them with each other and with the manifest.
///
/// # Errors
/// When the comparison could not be begun; what is damaged or differs is a finding.
pub async fn verify_structure(cx: &Cx, repository: &Repository, manifest: &Manifest) -> Result<Verification> {
    let started = Instant::now();
    let detail = FilesDetail::of(manifest)?;
    let data: Arc<dyn ArtifactSource> = Arc::new(repository.open(manifest));
    let source = Source::new(cx, &data, manifest);
    cx.report(Progress::Begin { phase: PHASE, total: manifest.bytes(), unit: Unit::Bytes });
    let checked = tokio::task::spawn_blocking(move || check(&source, &detail));
    let mut out = checked.await.map_err(|e| Error::new(ErrorKind::Unexpected, "the check died").with_source(e))??;
    cx.report(Progress::End { phase: PHASE });
    out.took = started.elapsed();
    Ok(out)
}

/// What the index says of each archive.
struct Expected {
    needed: Needed,
    segments: BTreeMap<String, TreeDigest>,
    tree: TreeDigest,
    roots: Vec<TreeDigest>,
}

fn check(source: &Source, detail: &FilesDetail) -> Result<Verification> {
    let mut out = Verification::default();
    let expected = match read_index(source, detail) {
        Ok(expected) => expected,
        Err(e) if e.kind() == ErrorKind::Cancelled => return Err(e),
        Err(e) => {
            judge(&mut out, &detail.index, &e);
            return Ok(out);
        }
    };
    for (content, found) in source.manifest.contents.iter().zip(&expected.roots) {
        if found.entries == content.rows && content.digest.as_deref() == Some(&found.to_text()) {
            out.pass(content.rows);
        } else {
            out.differs(&content.name, "the index has other entries than the manifest says");
        }
    }
    let mut archives: Vec<(String, Option<&Bits>, TreeDigest)> = detail
        .segments
        .iter()
        .map(|s| {
            (s.object(), expected.needed.get(&s.name), expected.segments.get(&s.name).copied().unwrap_or_default())
        })
        .collect();
    archives.push((detail.tree.clone(), None, expected.tree));
    let queue = Mutex::new(archives);
    let results = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..PARALLEL {
            scope.spawn(|| {
                loop {
                    let next = queue.lock().unwrap_or_else(PoisonError::into_inner).pop();
                    let Some((name, needed, expected)) = next else { return };
                    let found = archive(source, &name, needed);
                    results.lock().unwrap_or_else(PoisonError::into_inner).push((name, found, expected));
                }
            });
        }
    });
    for (name, found, expected) in results.into_inner().unwrap_or_else(PoisonError::into_inner) {
        match found {
            Ok(found) if found == expected => out.pass(0),
            Ok(found) => out.differs(
                &name,
                format!(
                    "its {} members are others than the {} that the index has there",
                    found.entries, expected.entries
                ),
            ),
            Err(e) if e.kind() == ErrorKind::Cancelled => return Err(e),
            Err(e) => judge(&mut out, &name, &e),
        }
    }
    out.findings.sort_by(|a, b| a.what.cmp(&b.what));
    Ok(out)
}

fn judge(out: &mut Verification, what: &str, error: &Error) {
    // A key that is not at hand says nothing about the backup; anything else about its bytes does.
    match error.kind() {
        ErrorKind::Denied | ErrorKind::Unavailable | ErrorKind::Throttled | ErrorKind::NotFound => {
            out.unverified(what, error.chain());
        }
        _ => out.differs(what, error.chain()),
    }
}

fn read_index(source: &Source, detail: &FilesDetail) -> Result<Expected> {
    let roots = selection::roots(detail)?;
    let mut expected = Expected {
        needed: no_members(detail)?,
        segments: BTreeMap::new(),
        tree: TreeDigest::default(),
        roots: vec![TreeDigest::default(); roots.len()],
    };
    let mut index = Index::open(source, detail)?;
    while let Some(line) = index.next()? {
        // Read in full: an entry that no restore could use is found here.
        line.entry()?;
        let root = roots.iter().position(|r| r.below(line.path()).is_some());
        let root = root.ok_or_else(|| Error::new(ErrorKind::Corrupt, "the index has a path outside of its roots"))?;
        expected.roots[root].add(&line);
        need(&mut expected.needed, &line)?;
        match line.segment()? {
            Some((segment, _)) => expected.segments.entry(segment.to_owned()).or_default().add(&line),
            None => expected.tree.add(&line),
        }
    }
    Ok(expected)
}

/// The digest of an archive's members, as far as they are needed.
fn archive(source: &Source, name: &str, needed: Option<&Bits>) -> Result<TreeDigest> {
    let mut members = Members::new(source.open(name)?);
    let mut digest = TreeDigest::default();
    let mut n = 0u32;
    let mut text = Vec::new();
    while let Some(member) = members.next()? {
        if needed.is_none_or(|bits| bits.get(n)) {
            let entry = whole(member, &mut members, source)?;
            text.clear();
            IndexLine::write(&entry, &mut text);
            text.pop();
            digest.add(&IndexLine::parse(&text)?);
        }
        n = n.saturating_add(1);
    }
    Ok(digest)
}

/// A member with the digest of its content.
fn whole(member: Member, members: &mut Members, source: &Source) -> Result<veza_dr_backup::files::Entry> {
    let mut entry = member.entry;
    if entry.kind != Kind::File {
        return Ok(entry);
    }
    let mut hash = ContentHash::default();
    for (at, len) in member.pieces {
        hash.zeros_until(at);
        let mut left = len;
        while left > 0 {
            let data = members.data(left.min(PIECE))?;
            hash.update(&data);
            left -= data.len() as u64;
            source.cx.report(Progress::Advance { phase: PHASE, by: data.len() as u64 });
        }
    }
    hash.zeros_until(entry.size);
    entry.digest = hash.digest();
    Ok(entry)
}
