//! Works out what changes places with what: whole roots, what is in them, or the chosen parts.

use std::{collections::BTreeSet, io, path::PathBuf};

use rustix::fs::{AtFlags, OFlags, fstat, statat};
use veza_dr_backup::files::{
    Found, IndexLine, Kind, Meta, Root, Seen, Tree, Walk, described, escape, is_aside, xattrs_of,
};
use veza_dr_core::{Error, ErrorKind, Result};

use super::{
    apply::Job,
    journal::{Exchange, Place},
    place::failed,
    selection::{Want, Wanted},
    stage::Stage,
    surroundings::Way,
};

fn text(member: &[u8]) -> String {
    let mut out = Vec::new();
    escape(member, &mut out);
    String::from_utf8_lossy(&out).into_owned()
}

/// What is at a member's path in a tree.
fn look(tree: &Tree, member: &[u8]) -> Result<Option<Meta>> {
    let (dir, name) = match tree.parent(member) {
        Ok(parent) => parent,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(failed("open the folder of", member, e)),
    };
    match statat(&dir, &*name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(Meta::of(&stat))),
        Err(rustix::io::Errno::NOENT) => Ok(None),
        Err(e) => Err(failed("look at", member, e)),
    }
}

fn exchange(root: usize, live: &Tree, staged: &Tree, member: &[u8]) -> Result<Exchange> {
    Ok(Exchange {
        root,
        member: text(member),
        incoming: look(staged, member)?.map(|m| m.ino),
        outgoing: look(live, member)?.map(|m| m.ino),
    })
}

/// Everything that is to be exchanged.
pub(crate) fn all(
    job: &Job,
    stage: &Stage,
    ways: &[Way],
    folders: &[PathBuf],
    tops: &[Option<String>],
) -> Result<(Vec<Place>, Vec<Exchange>)> {
    let (mut places, mut exchanges) = (Vec::new(), Vec::new());
    let mut wanted = Wanted::new(&job.only, &job.detail, &job.source)?;
    for (i, (root, staged)) in stage.trees.iter().enumerate() {
        let live = Tree::of_root(root).map_err(|e| failed("open the folder of", &root.member, e))?;
        let mut place = Place { member: text(&root.member), folder: folders[i].clone(), top: None };
        let units = if wanted.everything() {
            vec![root.member.clone()]
        } else {
            let mut units = Units { live: &live, wanted: &mut wanted, found: Vec::new() };
            Walk::new(staged).run(&mut units)?;
            units.found
        };
        for unit in units {
            if unit == root.member && matches!(ways[i], Way::Inside(_)) {
                for member in children(root, &live, staged)? {
                    exchanges.push(exchange(i, &live, staged, &member)?);
                }
                let incoming = description(staged, &unit)?;
                place.top = tops[i].clone().map(|was| (incoming, was));
            } else {
                exchanges.push(exchange(i, &live, staged, &unit)?);
            }
        }
        places.push(place);
    }
    Ok((places, exchanges))
}

/// What is in a root now, or is to be.
fn children(root: &Root, live: &Tree, staged: &Tree) -> Result<BTreeSet<Vec<u8>>> {
    let mut names = BTreeSet::new();
    for tree in [live, staged] {
        let dir =
            tree.open(&root.member, OFlags::RDONLY | OFlags::DIRECTORY).map_err(|e| failed("open", &root.member, e))?;
        for entry in rustix::fs::Dir::new(dir).map_err(|e| failed("list", &root.member, e))? {
            let entry = entry.map_err(|e| failed("list", &root.member, e))?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." && !is_aside(name) {
                names.insert(if root.member == b"." {
                    name.to_vec()
                } else {
                    [&root.member, &b"/"[..], name].concat()
                });
            }
        }
    }
    Ok(names)
}

/// A folder's own mode, owner, time and attributes, as a line of an index.
pub(crate) fn description(tree: &Tree, member: &[u8]) -> Result<String> {
    let fd = tree.open(member, OFlags::RDONLY | OFlags::DIRECTORY).map_err(|e| failed("open", member, e))?;
    let meta = Meta::of(&fstat(&fd).map_err(|e| failed("look at", member, e))?);
    let mut entry = described(member, &meta, Kind::Dir);
    entry.xattrs = xattrs_of(&fd).map_err(|e| failed("read the attributes of", member, e))?;
    let mut line = Vec::new();
    IndexLine::write(&entry, &mut line);
    line.pop();
    Ok(String::from_utf8_lossy(&line).into_owned())
}

/// Finds the topmost paths that are replaced: those that were asked for, and folders on the way that are not there.
struct Units<'a> {
    live: &'a Tree,
    wanted: &'a mut Wanted,
    found: Vec<Vec<u8>>,
}

impl Seen for Units<'_> {
    fn found(&mut self, _tree: &Tree, found: Found) -> Result<()> {
        let want = self.wanted.want(&found.path);
        let within = self.found.last().is_some_and(|unit| {
            found.path.strip_prefix(unit.as_slice()).is_some_and(|rest| rest.first() == Some(&b'/'))
        });
        if within {
            return Ok(());
        }
        if want == Want::Yes {
            self.found.push(found.path);
            return Ok(());
        }
        if found.meta.kind != Kind::Dir {
            return Ok(());
        }
        match look(self.live, &found.path)? {
            None => self.found.push(found.path),
            Some(meta) if meta.kind == Kind::Dir => {}
            Some(meta) => {
                let text =
                    format!("/{} is a {} now, in the backup it is a folder", text(&found.path), meta.kind.as_str());
                return Err(
                    Error::new(ErrorKind::Conflict, text).with_help("restore that folder as a whole, or move it away")
                );
            }
        }
        Ok(())
    }

    fn unreadable(&mut self, path: &[u8], doing: &str, error: &io::Error) -> Result<()> {
        // A root of which nothing was chosen was not built.
        if error.kind() == io::ErrorKind::NotFound {
            return Ok(());
        }
        Err(failed(doing, path, io::Error::new(error.kind(), error.to_string())))
    }

    fn passed_over(&mut self, _path: &[u8], _why: &str) {}

    fn excluded(&mut self, _path: &[u8]) {}

    fn mount(&mut self, _path: &[u8]) {}
}
