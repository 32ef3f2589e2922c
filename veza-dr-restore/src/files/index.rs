//! Reads a backup's index, line by line and in order.

use std::cmp::Ordering;

use veza_dr_backup::files::{ContentHash, FilesDetail, IndexLine, path_order};
use veza_dr_core::{Error, ErrorKind, Result};

use super::feed::{Feed, Source};

/// A line is never longer: paths, link targets and attributes have limits of their own.
const LONGEST: usize = 8 << 20;

/// The index as it is read.
pub(crate) struct Index {
    feed: Feed,
    hash: ContentHash,
    digest: String,
    line: Vec<u8>,
    last: Vec<u8>,
}

impl Index {
    /// Begins with the first line of a backup's index.
    pub(crate) fn open(source: &Source, detail: &FilesDetail) -> Result<Self> {
        let feed = source.open(&detail.index)?;
        let digest = detail.index_digest.clone();
        Ok(Self { feed, hash: ContentHash::default(), digest, line: Vec::new(), last: Vec::new() })
    }

    /// The next line, whose path comes after the one before.
    pub(crate) fn next(&mut self) -> Result<Option<IndexLine<'_>>> {
        let broken = |name: &str, why: &str| Error::new(ErrorKind::Corrupt, format!("object {name}: {why}"));
        self.line.clear();
        loop {
            if !self.feed.refill()? {
                if self.line.is_empty() {
                    if format!("{:032x}", self.hash.digest()) != self.digest {
                        return Err(broken(&self.feed.name, "it is not the index that the manifest describes"));
                    }
                    return Ok(None);
                }
                return Err(broken(&self.feed.name, "it ends in the middle of a line"));
            }
            let at_hand = self.feed.at_hand();
            let end = at_hand.iter().position(|b| *b == b'\n');
            let n = end.unwrap_or(at_hand.len());
            self.line.extend_from_slice(&at_hand[..n]);
            let taken = n + usize::from(end.is_some());
            self.hash.update(&at_hand[..taken]);
            self.feed.skip(taken);
            if end.is_some() {
                break;
            }
            if self.line.len() > LONGEST {
                return Err(broken(&self.feed.name, "a line without an end"));
            }
        }
        let line = IndexLine::parse(&self.line)?;
        if !self.last.is_empty() && path_order(&self.last, line.path()) != Ordering::Less {
            return Err(broken(&self.feed.name, "its lines are not in order"));
        }
        self.last.clear();
        self.last.extend_from_slice(line.path());
        Ok(Some(line))
    }
}
