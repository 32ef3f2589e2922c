//! Makes the exchanges of a journal: each is one rename, and can be told from the inodes to have been made or not.

use std::os::fd::OwnedFd;

use rustix::{
    fs::{AtFlags, CWD, Mode, OFlags, RenameFlags, openat, renameat_with, statat, syncfs},
    io::Errno,
};
use veza_dr_backup::files::{IndexLine, Root, Tree, unescape};
use veza_dr_core::{Cx, Effect, Error, ErrorKind, Result};

use super::{
    journal::{Exchange, Journal, Phase, Place, sync_folder},
    place::{self, Shortfalls, failed},
};

/// The name of what waits between two renames, where the file system cannot exchange.
const BETWEEN: &[u8] = b".between.veza-dr";

struct Sides {
    live: Tree,
    aside: Tree,
}

fn sides(journal: &Journal) -> Result<Vec<Sides>> {
    let open = |place: &Place| {
        let member = bytes(&place.member)?;
        let root = Root::of_member(member.clone());
        let live = Tree::of_root(&root).map_err(|e| failed("open the folder of", &member, e))?;
        let aside = Tree::at(&place.folder, b"tree", member.clone())
            .map_err(|e| failed("open what is aside of", &member, e))?;
        Ok(Sides { live, aside })
    };
    journal.places.iter().map(open).collect()
}

fn bytes(escaped: &str) -> Result<Vec<u8>> {
    unescape(escaped.as_bytes())
        .map(std::borrow::Cow::into_owned)
        .filter(|b| veza_dr_backup::files::stays_below(b))
        .ok_or_else(|| {
            Error::new(ErrorKind::Corrupt, format!("the journal of a swap names {escaped}, which is no path"))
        })
}

fn inode(dir: &OwnedFd, name: &[u8]) -> rustix::io::Result<Option<u64>> {
    match statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat.st_ino)),
        Err(Errno::NOENT) => Ok(None),
        Err(e) => Err(e),
    }
}

/// Carries a journal out, from wherever it stands, and marks it as done.
///
/// # Errors
/// `Conflict` when somebody else changed what is to be exchanged; what was exchanged before that stays, and the
/// journal with it.
pub(crate) fn carry_out(journal: &mut Journal) -> Result<()> {
    let sides = sides(journal)?;
    for exchange in &journal.exchanges {
        let sides = sides.get(exchange.root).ok_or_else(|| {
            Error::new(ErrorKind::Corrupt, "the journal of a swap names a root that it does not have")
        })?;
        one(exchange, sides)?;
    }
    let short = Shortfalls::default();
    for (place, sides) in journal.places.iter().zip(&sides) {
        let Some((incoming, outgoing)) = &place.top else { continue };
        for (text, tree) in [(incoming, &sides.live), (outgoing, &sides.aside)] {
            let entry = IndexLine::parse(text.as_bytes())?.entry()?;
            let fd = tree
                .open(&entry.path, OFlags::RDONLY | OFlags::DIRECTORY)
                .map_err(|e| failed("open", &entry.path, e))?;
            place::finish(&fd, &entry, &short)?;
        }
    }
    for place in &journal.places {
        let root = Root::of_member(bytes(&place.member)?);
        if let Some(parent) = root.path.parent() {
            sync_folder(parent)?;
        }
        // Both sides are on one file system, and renames may have been made anywhere in them.
        make_durable(place)?;
    }
    journal.sequence += 1;
    journal.phase = Phase::Kept;
    journal.write()
}

/// The whole file system that a place is on survives a crash of the machine as it is now.
fn make_durable(place: &Place) -> Result<()> {
    let fd = openat(CWD, &place.folder, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
    fd.and_then(syncfs).map_err(|e| failed("make durable", place.member.as_bytes(), e))
}

fn one(exchange: &Exchange, sides: &Sides) -> Result<()> {
    let member = bytes(&exchange.member)?;
    let at = |e: rustix::io::Errno| failed("swap", &member, e);
    let (live_dir, live_name) = sides.live.parent(&member).map_err(|e| failed("open the folder of", &member, e))?;
    let (aside_dir, aside_name) =
        sides.aside.parent(&member).map_err(|e| failed("open what is aside of", &member, e))?;
    let (incoming, outgoing) = (exchange.incoming, exchange.outgoing);
    let mut live = inode(&live_dir, &live_name).map_err(at)?;
    let mut aside = inode(&aside_dir, &aside_name).map_err(at)?;
    if (live, aside) == (incoming, outgoing) {
        return Ok(());
    }
    let rename = |from: (&OwnedFd, &[u8]), to: (&OwnedFd, &[u8]), flags: RenameFlags| {
        renameat_with(from.0, from.1, to.0, to.1, flags)
    };
    let between = inode(&aside_dir, BETWEEN).map_err(at)?;
    if (live, aside) == (outgoing, incoming) {
        let done = match (incoming, outgoing) {
            (None, None) => Ok(()),
            (Some(_), None) => rename((&aside_dir, &aside_name), (&live_dir, &live_name), RenameFlags::NOREPLACE),
            (None, Some(_)) => rename((&live_dir, &live_name), (&aside_dir, &aside_name), RenameFlags::NOREPLACE),
            (Some(_), Some(_)) => rename((&aside_dir, &aside_name), (&live_dir, &live_name), RenameFlags::EXCHANGE),
        };
        match done {
            Ok(()) => return Ok(()),
            // The file system cannot: two renames, with an instant between them in which nothing is live.
            Err(Errno::INVAL | Errno::NOSYS) if incoming.is_some() && outgoing.is_some() => {
                rename((&live_dir, &live_name), (&aside_dir, BETWEEN), RenameFlags::empty()).map_err(at)?;
                live = None;
            }
            Err(Errno::INVAL | Errno::NOSYS) => {
                let (from, to) = if incoming.is_some() {
                    ((&aside_dir, &*aside_name), (&live_dir, &*live_name))
                } else {
                    ((&live_dir, &*live_name), (&aside_dir, &*aside_name))
                };
                return rename(from, to, RenameFlags::empty()).map_err(at);
            }
            Err(e) => return Err(at(e)),
        }
    } else if between.is_some() && between == incoming {
        // The way back from between two renames: what waits is what was live before.
        if live == outgoing && live.is_some() && aside.is_none() {
            rename((&live_dir, &live_name), (&aside_dir, &aside_name), RenameFlags::empty()).map_err(at)?;
            (live, aside) = (None, outgoing);
        }
        if live.is_none() && aside == outgoing {
            return rename((&aside_dir, BETWEEN), (&live_dir, &live_name), RenameFlags::empty()).map_err(at);
        }
        return Err(changed(&member));
    } else if between.is_none() || between != outgoing {
        return Err(changed(&member));
    }
    if live.is_none() && aside == incoming {
        rename((&aside_dir, &aside_name), (&live_dir, &live_name), RenameFlags::empty()).map_err(at)?;
        aside = None;
    }
    if aside.is_none() {
        rename((&aside_dir, BETWEEN), (&aside_dir, &aside_name), RenameFlags::empty()).map_err(at)?;
    }
    Ok(())
}

fn changed(member: &[u8]) -> Error {
    failed("swap", member, Errno::EXIST)
        .with_help("somebody else changed it meanwhile: move that away, then run the restore or the rollback again")
}

/// Makes a swap for the first time: what was built becomes durable, the journal is written, then the exchanges are
/// made. One that fails is undone.
pub(crate) fn swap(cx: &Cx, journal: &mut Journal) -> Result<()> {
    journal.places.iter().try_for_each(make_durable)?;
    cx.check("swap")?;
    if let Err(e) = journal.write() {
        // No rename was made yet: copies that were written would have the next run make them.
        journal.remove()?;
        return Err(e.with_effect(Effect::None));
    }
    let Err(e) = carry_out(journal) else { return Ok(()) };
    let mut back = journal.reversed();
    match carry_out_undone(&mut back) {
        Ok(()) => Err(e.with_effect(Effect::None)),
        Err(undoing) => {
            tracing::warn!(error = %undoing.chain(), "a swap that failed could not be undone either");
            Err(e.with_effect(Effect::Unknown).with_help(
                "the swap is half made: clear what stands in its way and run the restore or the rollback again; both finish it first",
            ))
        }
    }
}

/// Takes back what was made of a swap. Nothing is kept then: both journals are gone.
fn carry_out_undone(back: &mut Journal) -> Result<()> {
    back.write()?;
    carry_out(back)?;
    back.remove()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Both half states of a swap by two renames lead to either end.
    #[test]
    fn between_two_renames_both_ways_are_open() {
        use std::os::unix::fs::MetadataExt;
        for half in 1..3 {
            for forward in [true, false] {
                let dir = tempfile::tempdir().unwrap();
                let at = |name: &str| dir.path().join(name);
                std::fs::create_dir(at("aside")).unwrap();
                std::fs::write(at("live"), "old").unwrap();
                std::fs::write(at("aside/tree"), "new").unwrap();
                let ino = |name: &str| std::fs::metadata(at(name)).unwrap().ino();
                let (old, new) = (Some(ino("live")), Some(ino("aside/tree")));
                std::fs::rename(at("live"), at("aside/.between.veza-dr")).unwrap();
                if half == 2 {
                    std::fs::rename(at("aside/tree"), at("live")).unwrap();
                }
                let sides = Sides {
                    live: Tree::at(dir.path(), b"live", b"live".to_vec()).unwrap(),
                    aside: Tree::at(&at("aside"), b"tree", b"live".to_vec()).unwrap(),
                };
                let (incoming, outgoing) = if forward { (new, old) } else { (old, new) };
                one(&Exchange { root: 0, member: "live".into(), incoming, outgoing }, &sides).unwrap();
                assert_eq!((Some(ino("live")), Some(ino("aside/tree"))), (incoming, outgoing), "{half} {forward}");
                assert!(!at("aside/.between.veza-dr").exists());
            }
        }
    }
}
