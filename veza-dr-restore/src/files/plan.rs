//! Says what a restore would do, and what stands in its way, by looking only.

use std::path::{Path, PathBuf};

use veza_dr_backup::files::{FilesDetail, Root, member_path};
use veza_dr_core::{Error, ErrorKind, Manifest, RestorePlan, RestoreRequest, Result};

use super::{
    aside,
    journal::Phase,
    place::is_root,
    selection,
    surroundings::{self, Way},
};

/// Where a restore goes to.
#[derive(Debug, Clone)]
pub(crate) enum Aim {
    /// Over the live trees.
    InPlace,
    /// To another folder, which is absent or empty.
    To(PathBuf),
    /// Nowhere that stays.
    Scratch(PathBuf),
}

impl Aim {
    pub(crate) fn of(request: &RestoreRequest, scratch_dir: Option<&Path>) -> Result<Self> {
        if request.scratch {
            return Ok(Self::Scratch(scratch_dir.map_or_else(std::env::temp_dir, Path::to_owned)));
        }
        let Some(to) = &request.to else { return Ok(Self::InPlace) };
        let absolute = std::path::absolute(to)
            .map_err(|e| Error::new(ErrorKind::Config, format!("restore to {to}")).with_source(e))?;
        let member = member_path(&absolute).filter(|m| m != b".").ok_or_else(|| {
            Error::new(ErrorKind::Config, format!("restore to {to}: give a folder of its own, without `..`"))
        })?;
        Ok(Self::To(Root::of_member(member).path))
    }

    /// A mark of what is there.
    pub(crate) fn fingerprint(&self, roots: &[Root]) -> Result<String> {
        let looked = match self {
            Self::InPlace => surroundings::fingerprint(roots),
            Self::To(path) => surroundings::fingerprint(&[Root::of_member(member_path(path).unwrap_or_default())]),
            Self::Scratch(_) => Ok("scratch".to_owned()),
        };
        looked.map_err(|e| Error::new(ErrorKind::Unavailable, "look at what is to be replaced").with_source(e))
    }
}

/// Why `to` cannot be restored to.
pub(crate) fn occupied(to: &Path) -> Option<String> {
    match std::fs::symlink_metadata(to) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => None,
        Err(e) => Some(format!("{} cannot be looked at: {e}", to.display())),
        Ok(meta) if !meta.is_dir() => Some(format!("{} exists and is no folder", to.display())),
        Ok(_) => match std::fs::read_dir(to) {
            Ok(mut entries) => {
                let used = entries
                    .any(|e| e.is_ok_and(|e| !veza_dr_backup::files::is_aside(e.file_name().as_encoded_bytes())));
                used.then(|| format!("{} is not empty: give a folder that is, or that does not exist", to.display()))
            }
            Err(e) => Some(format!("{} cannot be listed: {e}", to.display())),
        },
    }
}

/// Makes the plan.
pub(crate) fn make(aim: &Aim, configured: &[Root], request: &RestoreRequest, from: &Manifest) -> Result<RestorePlan> {
    let detail = FilesDetail::of(from)?;
    let roots = selection::roots(&detail)?;
    let mut plan = RestorePlan::new(from.id.clone(), request.clone(), aim.fingerprint(&roots)?);
    let what = if request.only.is_empty() {
        format!("{} entries, {} bytes", from.rows(), detail.bytes())
    } else {
        format!("what matches {}", request.only.join(", "))
    };
    if !request.only.is_empty() {
        veza_dr_backup::files::Patterns::new(&request.only)?;
    }
    match aim {
        Aim::InPlace => in_place(&mut plan, configured, &detail, &roots, &what)?,
        Aim::To(to) => {
            plan.step(format!("build {what} beside {}", to.display()), false);
            plan.step("compare every entry with the index", false);
            plan.step(format!("rename it to {}", to.display()), false);
            plan.blockers.extend(occupied(to));
            room(&mut plan, to, detail.bytes());
            if !to.parent().is_some_and(Path::is_dir) {
                plan.blockers.push(format!("the folder that {} is to lie in does not exist: create it", to.display()));
            }
        }
        Aim::Scratch(dir) => {
            plan.step(format!("build {what} in {}", dir.display()), false);
            plan.step("compare every entry with the index", false);
            plan.step("remove it again", false);
            room(&mut plan, dir, detail.bytes());
        }
    }
    if !is_root() {
        if detail.kinds.devices > 0 && request.only.is_empty() {
            let n = detail.kinds.devices;
            plan.blockers.push(format!(
                "the backup has {n} devices, which only root can make: restore as root, or choose paths with --path"
            ));
        }
        plan.warnings.push("not root: files of other owners will belong to this user".to_owned());
    }
    if matches!(aim, Aim::InPlace) && request.only.is_empty() && (detail.excluded > 0 || !from.skipped.is_empty()) {
        let mut what = Vec::new();
        if detail.excluded > 0 {
            what.push(format!("{} paths excluded by {}", detail.excluded, detail.exclude.join(", ")));
        }
        if !from.skipped.is_empty() {
            what.push(format!("{} that were skipped, named below", from.skipped.len()));
        }
        plan.warnings.push(format!(
            "live files that the backup does not hold go aside with the rest, and are gone from there once released: {}; \
             copy back what is still needed, or choose paths with --path",
            what.join("; ")
        ));
    }
    for skipped in from.skipped.iter().take(20) {
        plan.warnings.push(format!("not in the backup as it was: {}: {}", skipped.what, skipped.why));
    }
    Ok(plan)
}

fn in_place(
    plan: &mut RestorePlan,
    configured: &[Root],
    detail: &FilesDetail,
    roots: &[Root],
    what: &str,
) -> Result<()> {
    for journal in aside::journals(configured)?.iter().filter(|j| j.phase == Phase::Swapping) {
        plan.step(format!("finish the interrupted swap of backup {}", journal.backup), true);
        plan.warnings.push("an earlier swap was interrupted: the live trees are partly those of its backup".to_owned());
    }
    plan.step(format!("build {what} beside the live trees"), false);
    plan.step("compare every entry with the index", false);
    for (root, record) in roots.iter().zip(&detail.roots) {
        let path = root.path.display();
        if !configured.iter().any(|c| c.below(&root.member).is_some()) {
            plan.blockers.push(format!(
                "the backup holds {path}, which is not in this component's include list: add it, or use --to"
            ));
            continue;
        }
        let way = surroundings::way(root);
        if let Way::Beside(aside) | Way::Inside(aside) = &way
            && !configured.iter().flat_map(surroundings::asides).any(|known| known == *aside)
        {
            plan.blockers.push(format!(
                "{path} lies inside a folder of this component's include list: what is replaced in it would not be \
                 found again by rollback and release: include {path} itself, or use --to"
            ));
            continue;
        }
        match way {
            Way::Blocked(why) => plan.blockers.push(why),
            Way::Beside(aside) => {
                let parts = if plan.request.only.is_empty() { "" } else { "the matching parts of " };
                plan.step(format!("swap {parts}{path}; what was there is kept in {}", aside.display()), true);
                room(plan, &aside, record.bytes);
            }
            Way::Inside(aside) => {
                plan.step(
                    format!("swap what is in {path}, entry by entry; what was there is kept in {}", aside.display()),
                    true,
                );
                plan.warnings.push(format!(
                    "{path} cannot be renamed: while its entries are swapped, some are old and some new"
                ));
                room(plan, &aside, record.bytes);
            }
        }
    }
    for extra in configured
        .iter()
        .filter(|c| !roots.iter().any(|r| r.below(&c.member).is_some() || c.below(&r.member).is_some()))
    {
        plan.warnings.push(format!("{} is not in this backup and stays as it is", extra.path.display()));
    }
    Ok(())
}

/// Refuses what cannot fit. Parts are not measured beforehand.
fn room(plan: &mut RestorePlan, at: &Path, bytes: u64) {
    if !plan.request.only.is_empty() {
        return;
    }
    match surroundings::free_bytes(at) {
        Ok(free) if free < bytes => {
            plan.blockers.push(format!("{bytes} bytes are needed at {}, {free} are free", at.display()));
        }
        Ok(_) => {}
        Err(e) => plan.warnings.push(format!("free space at {} is not known: {e}", at.display())),
    }
}
