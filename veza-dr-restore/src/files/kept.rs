//! What a restore replaced: put back, or let go of.

use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, CWD, statat};
use veza_dr_backup::files::{Root, unescape};
use veza_dr_core::{Cx, Error, ErrorKind, Outcome, Report, Result};

use super::{
    aside::{self, Lock},
    journal::{Journal, Phase},
    swap,
};

/// Finishes what a crash left half made. Returns what was finished.
pub(crate) fn repair(roots: &[Root]) -> Result<Vec<String>> {
    let mut repaired = Vec::new();
    for mut journal in aside::journals(roots)? {
        if journal.phase == Phase::Swapping {
            swap::carry_out(&mut journal)?;
            repaired.push(format!("the swap of backup {}, begun {}", journal.backup, journal.since));
        }
    }
    Ok(repaired)
}

fn newest(roots: &[Root], what: &str) -> Result<Journal> {
    aside::journals(roots)?.pop().ok_or_else(|| {
        Error::new(ErrorKind::NotFound, format!("nothing that a restore replaced is kept beside {what}"))
            .with_help("a restore in place keeps one version until it is released")
    })
}

/// Puts back what the last restore replaced.
pub(crate) fn rollback(cx: &Cx, roots: &[Root], what: &str) -> Result<Report> {
    cx.check("rollback")?;
    let started = Instant::now();
    newest(roots, what)?;
    let _lock = lock(roots)?;
    let mut report = Report::default();
    for done in repair(roots)? {
        report.push("finish", Outcome::Ok, done, Duration::ZERO);
    }
    let mut back = newest(roots, what)?.reversed();
    cx.check("rollback")?;
    back.write()?;
    swap::carry_out(&mut back)?;
    let since = back.since.format("%Y-%m-%d %H:%M:%S UTC");
    report.push("swap back", Outcome::Ok, format!("what the restore of {since} replaced is live"), started.elapsed());
    let folders: Vec<String> = back.places.iter().map(|p| p.folder.join("tree").display().to_string()).collect();
    report.push("keep", Outcome::Ok, format!("what it replaced is kept in {}", folders.join(", ")), Duration::ZERO);
    Ok(report)
}

/// What a restore in place that is live replaced, and what tells it from later ones.
pub(crate) fn last(roots: &[Root]) -> Result<Option<Journal>> {
    Ok(aside::journals(roots)?.pop())
}

/// Puts back what was live after the exchange of that time, or before there was any: every later one that is live is taken
/// back. Repeating it changes nothing.
pub(crate) fn back_to(cx: &Cx, roots: &[Root], since: Option<chrono::DateTime<chrono::Utc>>) -> Result<Report> {
    cx.check("rollback")?;
    let mut report = Report::default();
    let _lock = lock(roots)?;
    for done in repair(roots)? {
        report.push("finish", Outcome::Ok, done, Duration::ZERO);
    }
    let mut journals = aside::journals(roots)?;
    while let Some(journal) = journals.pop().filter(|j| since.is_none_or(|since| j.since > since)) {
        if !journal.is_in() {
            continue;
        }
        let started = Instant::now();
        let mut back = journal.reversed();
        cx.check("rollback")?;
        back.write()?;
        swap::carry_out(&mut back)?;
        let text = format!("what the restore of backup {} replaced is live", back.backup);
        report.push("swap back", Outcome::Ok, text, started.elapsed());
    }
    Ok(report)
}

/// Removes everything that restores and rollbacks set aside.
pub(crate) fn release(cx: &Cx, roots: &[Root], what: &str) -> Result<Report> {
    cx.check("release")?;
    // Also what a release that was cut off left behind, without its journal.
    if aside::generations(roots)?.is_empty() {
        newest(roots, what)?;
    }
    let _lock = lock(roots)?;
    let journals = aside::journals(roots)?;
    for journal in &journals {
        may_go(journal)?;
    }
    let mut report = Report::default();
    for journal in &journals {
        cx.check("release")?;
        // Without its journal nothing takes what is half removed for something to be put back.
        journal.remove()?;
        for place in &journal.places {
            let started = Instant::now();
            aside::remove(&place.folder)?;
            report.push("remove", Outcome::Ok, place.folder.display().to_string(), started.elapsed());
        }
    }
    for folder in aside::sweep(roots)? {
        report.push("remove", Outcome::Ok, folder.display().to_string(), Duration::ZERO);
    }
    for folder in roots.iter().flat_map(super::surroundings::asides) {
        // Those that are not there, or not empty, stay as they are.
        let _ = std::fs::remove_dir(folder);
    }
    Ok(report)
}

/// Refuses to remove what may be the only copy, or not ours.
fn may_go(journal: &Journal) -> Result<()> {
    if journal.phase == Phase::Swapping {
        let text = format!("the swap of backup {}, begun {}, was interrupted", journal.backup, journal.since);
        return Err(Error::new(ErrorKind::Conflict, text).with_help(
            "run the restore again, or veza-dr rollback, first: both finish it; then look at what is live",
        ));
    }
    for exchange in &journal.exchanges {
        let member = unescape(exchange.member.as_bytes()).unwrap_or_default().into_owned();
        let live = Root::of_member(member).path;
        if exchange.incoming.is_some() && statat(CWD, &live, AtFlags::SYMLINK_NOFOLLOW).is_err() {
            let text = format!("{} is not there: what is kept may be the only copy on this machine", live.display());
            return Err(Error::new(ErrorKind::Conflict, text).with_help("put it back first: veza-dr rollback"));
        }
    }
    journal.places.iter().try_for_each(|place| aside::without_mounts(&place.folder))
}

/// One restore, rollback or release of these roots at a time.
pub(crate) fn lock(roots: &[Root]) -> Result<Vec<Lock>> {
    let there = roots.iter().flat_map(super::surroundings::asides).filter(|folder| folder.is_dir());
    there.map(|folder| Lock::take(&folder)).collect()
}
