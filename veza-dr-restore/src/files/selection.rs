//! Which entries of the index are to be restored, and where their content is.

use std::collections::{HashMap, HashSet};

use veza_dr_backup::files::{FilesDetail, IndexLine, Kind, Patterns, Root, unescape};
use veza_dr_core::{Error, ErrorKind, Result};

use super::{feed::Source, index::Index};

/// One bit for each member of a segment.
#[derive(Debug)]
pub(crate) struct Bits(Vec<u64>);

impl Bits {
    pub(crate) fn set(&mut self, i: u32) -> bool {
        match self.0.get_mut(i as usize / 64) {
            Some(word) => {
                *word |= 1 << (i % 64);
                true
            }
            None => false,
        }
    }

    pub(crate) fn any(&self) -> bool {
        self.0.iter().any(|word| *word != 0)
    }

    pub(crate) fn get(&self, i: u32) -> bool {
        self.0.get(i as usize / 64).is_some_and(|word| word >> (i % 64) & 1 == 1)
    }
}

/// The members that are needed, by segment.
pub(crate) type Needed = HashMap<String, Bits>;

/// An empty set for each segment of a backup.
pub(crate) fn no_members(detail: &FilesDetail) -> Result<Needed> {
    let bits = |members: u64| {
        // A member takes up half a kilobyte at least; nobody has a segment of 64 TB.
        let words = usize::try_from(members.min(1 << 37).div_ceil(64)).unwrap_or(0);
        Bits(vec![0; words])
    };
    Ok(detail.segments.iter().map(|s| (s.name.clone(), bits(s.members))).collect())
}

/// Notes that a file's content is needed.
pub(crate) fn need(needed: &mut Needed, line: &IndexLine<'_>) -> Result<()> {
    let Some((segment, n)) = line.segment()? else { return Ok(()) };
    let known = needed.get_mut(segment).is_some_and(|bits| bits.set(n));
    if known {
        return Ok(());
    }
    let text = format!("the index names member {n} of segment {segment}, which the manifest does not have");
    Err(Error::new(ErrorKind::Corrupt, text))
}

/// The roots of a backup.
pub(crate) fn roots(detail: &FilesDetail) -> Result<Vec<Root>> {
    let root = |member: &String| {
        let bytes = unescape(member.as_bytes()).map(std::borrow::Cow::into_owned);
        let fine = bytes.filter(|b| b == b"." || b.split(|b| *b == b'/').all(|p| !matches!(p, b"" | b"." | b"..")));
        fine.map(Root::of_member).ok_or_else(|| {
            Error::new(ErrorKind::Corrupt, format!("the manifest names {member} as a root, which is none"))
        })
    };
    detail.roots.iter().map(|r| root(&r.member)).collect()
}

/// What was asked for: everything, or what some patterns match with all that is below.
#[derive(Debug)]
pub(crate) struct Wanted {
    patterns: Option<Patterns>,
    /// The folder below which everything is wanted.
    below: Vec<u8>,
    /// Files that a wanted hard link shares its content with.
    partners: HashSet<Vec<u8>>,
}

/// How an entry is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Want {
    No,
    /// Asked for.
    Yes,
    /// Only because a hard link needs it.
    Partner,
}

impl Wanted {
    /// Reads the patterns, and the index where hard links may reach beyond them.
    pub(crate) fn new(only: &[String], detail: &FilesDetail, source: &Source) -> Result<Self> {
        if only.is_empty() {
            return Ok(Self { patterns: None, below: Vec::new(), partners: HashSet::new() });
        }
        let mut wanted = Self { patterns: Some(Patterns::new(only)?), below: Vec::new(), partners: HashSet::new() };
        if detail.kinds.hardlinks > 0 {
            let mut partners = HashSet::new();
            let mut index = Index::open(source, detail)?;
            while let Some(line) = index.next()? {
                if wanted.want(line.path()) == Want::Yes && line.kind()? == Kind::Hardlink {
                    partners.insert(line.link()?.into_owned());
                }
            }
            wanted.partners = partners;
            wanted.below.clear();
        }
        Ok(wanted)
    }

    pub(crate) fn everything(&self) -> bool {
        self.patterns.is_none()
    }

    /// Whether an entry is wanted. To be asked in the order of the index, from the first.
    pub(crate) fn want(&mut self, path: &[u8]) -> Want {
        let Some(patterns) = &self.patterns else { return Want::Yes };
        let inside = !self.below.is_empty()
            && (self.below == b"." || path.strip_prefix(&*self.below).is_some_and(|rest| rest.first() == Some(&b'/')));
        if inside {
            return Want::Yes;
        }
        if patterns.matches(path) {
            self.below = path.to_vec();
            return Want::Yes;
        }
        if self.partners.contains(path) { Want::Partner } else { Want::No }
    }
}
