//! Everything before the exchange: the backup is restored and proven here, sent, and proven there. Nothing live is touched.

use std::{
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

use veza_dr_core::{
    ArtifactSource, Cx, Error, ErrorKind, Manifest, Outcome, Progress, Report, RestoreRequest, RestoreTarget, Result,
    Unit, Verdict, Verification,
};

use super::{
    inventory,
    journal::Journal,
    place::{Place, TreeRoot},
    scripts::{Desk, LONG, answers, cause},
    send::{self, Extras, PHASE},
};
use crate::{shell::quoted, site::machine::Machine};

/// A folder of this machine that a restore works in, gone with this value.
#[derive(Debug)]
pub(super) struct Scratch(PathBuf);

impl Scratch {
    /// Makes one, and removes what earlier ones left that were killed: only one restore of a site works at a time.
    pub(super) fn make(base: &Path, me: &str) -> Result<Self> {
        let cannot = |what: &str, path: &Path, e: std::io::Error| {
            let full = e.kind() == std::io::ErrorKind::StorageFull;
            let kind = if full { ErrorKind::Full } else { ErrorKind::Unavailable };
            Error::new(kind, format!("{what} {}", path.display())).with_source(e)
        };
        let mut builder = std::fs::DirBuilder::new();
        builder.recursive(true).mode(0o700);
        builder.create(base).map_err(|e| cannot("make", base, e))?;
        for entry in std::fs::read_dir(base).map_err(|e| cannot("list", base, e))? {
            let path = entry.map_err(|e| cannot("list", base, e))?.path();
            std::fs::remove_dir_all(&path).map_err(|e| cannot("remove what an earlier restore left in", &path, e))?;
        }
        let folder = base.join(me);
        builder.create(&folder).map_err(|e| cannot("make", &folder, e))?;
        Ok(Self(folder))
    }

    pub(super) fn tree(&self) -> PathBuf {
        self.0.join("tree")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(e) = std::fs::remove_dir_all(&self.0) {
            tracing::warn!(folder = %self.0.display(), error = %e, "the next restore removes it");
        }
    }
}

/// Restores a backup into a folder of this machine, where every entry is compared with what the backup says.
pub(super) async fn restore_here(
    cx: &Cx,
    here: &dyn RestoreTarget,
    scratch: &Scratch,
    from: &Manifest,
    data: Arc<dyn ArtifactSource>,
    report: &mut Report,
) -> Result<Verification> {
    let plan = here.plan(cx, &RestoreRequest::in_place().to(scratch.tree().display().to_string()), from).await?;
    if !plan.blockers.is_empty() {
        let text = "the backup cannot be restored on this machine, before it is sent";
        return Err(Error::new(ErrorKind::Conflict, text).with_source(plan.blockers.join("; ")));
    }
    let done = here.apply(cx, plan, from, data).await?;
    if done.verification.verdict() != Verdict::Equal {
        let text = format!("what was restored on this machine is not proven equal to backup {}", from.id);
        return Err(Error::new(ErrorKind::Unverified, text));
    }
    report.extend(done.report);
    Ok(done.verification)
}

/// What is to be sent of one tree.
#[derive(Debug)]
pub(super) struct Parcel {
    /// The folder here that it lies in.
    folder: PathBuf,
    /// What it is made of.
    inventory: PathBuf,
    extras: Extras,
}

/// Tells what each tree is made of.
pub(super) async fn pack(
    cx: &Cx,
    scratch: &Scratch,
    roots: &[TreeRoot],
    places: &[Place],
    owners: bool,
) -> Result<Vec<Parcel>> {
    let mut parcels = Vec::new();
    for (number, (root, place)) in roots.iter().zip(places).enumerate() {
        let at = scratch.tree().join(root.path.trim_start_matches('/'));
        let folder = at.parent().map_or_else(|| scratch.tree(), Path::to_owned);
        let inventory = scratch.0.join(format!("inventory-{number}"));
        let what = format!("tell what {} is made of", root.path);
        let (of, name, part) = (folder.clone(), place.name.clone(), inventory::part_of_attributes(&inventory));
        let told = tokio::task::spawn_blocking(move || {
            let (lines, extras) = inventory::attributes(&of, &name)?;
            std::fs::write(part, lines)?;
            Ok::<_, std::io::Error>(extras)
        });
        let told = told.await.map_err(|e| Error::new(ErrorKind::Unexpected, what.clone()).with_source(e))?;
        let extras = told.map_err(|e| Error::new(ErrorKind::Unavailable, what.clone()).with_source(e))?;
        let script = inventory::here(owners, &text(&folder)?, &place.name, &text(&inventory)?);
        let said = Machine::Here.sh(cx, &what, &script, LONG).await?;
        if said.code != 0 {
            let text = format!("{what}: it cannot be told on this machine; nothing was sent");
            return Err(Error::new(ErrorKind::Unavailable, text).with_source(cause(&said.stderr)));
        }
        parcels.push(Parcel { folder, inventory, extras });
    }
    Ok(parcels)
}

fn text(path: &Path) -> Result<String> {
    path.to_str().map(str::to_owned).ok_or_else(|| {
        Error::new(ErrorKind::Unsupported, format!("{} is not UTF-8", path.display()))
            .with_help("set another state_dir")
    })
}

/// Sends every tree, and proves there that what arrived is what was sent.
pub(super) async fn send_and_prove(
    cx: &Cx,
    desk: &Desk,
    journal: &Journal,
    parcels: &[Parcel],
    bytes: u64,
    report: &mut Report,
) -> Result<()> {
    let started = Instant::now();
    let generation = &journal.generation;
    desk.run(cx, "make room beside its files", &folders(journal), LONG).await?;
    cx.report(Progress::Begin { phase: PHASE, total: bytes, unit: Unit::Bytes });
    for (number, (tree, parcel)) in journal.trees.iter().zip(parcels).enumerate() {
        let to = format!("{}/new", tree.place.work(generation));
        send::tree(cx, desk, &parcel.folder, &tree.place.name, parcel.extras, &to).await?;
        send::file(cx, desk, &parcel.inventory, &journal.inventory(desk, number)).await?;
    }
    cx.report(Progress::End { phase: PHASE });
    let at = desk.machine.name();
    report.push("send", Outcome::Ok, format!("{} trees to {at}", parcels.len()), started.elapsed());
    let started = Instant::now();
    let (mut rows, mut unread) = (0, Vec::new());
    for (number, tree) in journal.trees.iter().enumerate() {
        let folder = format!("{}/new", tree.place.work(generation));
        let Differences { lines: differs, unread: no_attributes } =
            differences(cx, desk, journal, number, &folder).await?;
        if no_attributes {
            unread.push(tree.place.live.as_str());
        }
        if !differs.is_empty() {
            let text = desk.what(&format!("what arrived for {} on {at} is not what was sent", tree.place.live));
            return Err(Error::new(ErrorKind::Mismatch, text)
                .with_source(differs.join("; "))
                .with_help("nothing live was touched; try it again"));
        }
        rows += tree.rows;
    }
    report.push("verify there", Outcome::Ok, format!("{rows} entries are equal on {at}"), started.elapsed());
    if !unread.is_empty() {
        let text = format!(
            "attributes and access lists of {} were set on {at} without a complaint, but not compared: it has no getfattr \
             (package attr)",
            unread.join(", ")
        );
        report.push("attributes", Outcome::Warning, text, std::time::Duration::ZERO);
    }
    Ok(())
}

/// What a tree there was found to be.
#[derive(Debug)]
pub(super) struct Differences {
    /// The first lines that differ from what was told of it before it was sent.
    pub(super) lines: Vec<String>,
    /// It was sent with attributes, which cannot be read there.
    pub(super) unread: bool,
}

/// Compares a tree there with what was told of it before it was sent.
pub(super) async fn differences(
    cx: &Cx,
    desk: &Desk,
    journal: &Journal,
    number: usize,
    folder: &str,
) -> Result<Differences> {
    let name = &journal.trees[number].place.name;
    let script = inventory::compare(journal.owners, desk, folder, name, &journal.inventory(desk, number));
    let said = desk.ask(cx, "compare its files", &format!("{script}say done\n"), LONG).await?;
    let mut lines = answers(&said);
    if lines.pop().as_deref() != Some("done") {
        return Err(Error::new(ErrorKind::Unavailable, desk.what("its files could not be compared"))
            .with_source(cause(&said.stderr)));
    }
    let unread = lines.iter().any(|l| l == "unread");
    let differs = lines.iter().filter_map(|l| l.strip_prefix("differs ")).map(|l| l.trim().to_owned());
    Ok(Differences { lines: differs.collect(), unread })
}

/// Makes the work folders, for nobody's eyes but this user's: whoever may write to a live tree could otherwise plant one.
fn folders(journal: &Journal) -> String {
    let mut script = String::new();
    for tree in &journal.trees {
        let (aside, work) = (tree.place.aside(), tree.place.work(&journal.generation));
        script.push_str(&format!(
            "(umask 022; mkdir -p -- {parent}) || failed 'make the folder that a tree is to lie in'\n\
             a={aside}\n[ -d \"$a\" ] || mkdir -m 700 -- \"$a\" || failed \"make $a\"\n\
             [ -d \"$a\" ] && [ ! -L \"$a\" ] && [ -O \"$a\" ] || {{ say \"changed $a\"; exit 0; }}\n\
             chmod 700 -- \"$a\" || failed \"protect $a\"\n\
             mkdir -m 700 -- {work} {work}/new {work}/old || failed \"make a folder in $a\"\n",
            parent = quoted(&tree.place.parent),
            aside = quoted(&aside),
            work = quoted(&work),
        ));
    }
    script.push_str("say done\n");
    script
}

/// Removes what restores left that never came to their exchange, this one or earlier ones. What was live once is never
/// removed by this: it is on record, or somebody must look.
pub(super) async fn sweep(cx: &Cx, desk: &Desk, places: &[Place], known: &[Journal]) -> Result<Vec<String>> {
    let mut script = String::from(
        r#"alone
sweep() {
    a=$1; shift
    [ -d "$a" ] && [ ! -L "$a" ] && [ -O "$a" ] || return 0
    for w in "$a"/site-*; do
        [ -d "$w" ] && [ ! -L "$w" ] || continue
        for k in "$@"; do [ "$w" = "$k" ] && continue 2; done
        if [ -d "$w/old" ] && [ -n "$(ls -A -- "$w/old")" ]; then say "orphan $w"; continue; fi
        chmod -R u+rwX -- "$w" 2>/dev/null
        rm -rf --one-file-system -- "$w" || failed "remove $w"
        say "swept $w"
    done
    rmdir -- "$a" 2>/dev/null
}
files() {
    for f in "$s"/*; do
        [ -f "$f" ] || continue
        b=${f##*/}
        case $b in owner|lock|exchange|*.json|*.going) continue ;; esac
        for k in "$@"; do [ "${b%.*}" = "$k" ] && continue 2; done
        rm -f -- "$f" || failed "remove $f"
    done
}
"#,
    );
    for place in places {
        let known: Vec<String> = known.iter().map(|j| place.work(&j.generation)).collect();
        let aside = place.aside();
        let all = std::iter::once(&aside).chain(&known).map(String::as_str);
        script.push_str(&format!("sweep {}\n", super::place::words(all)));
    }
    let generations = known.iter().map(|j| j.generation.as_str());
    script.push_str(&format!("files {}\nsay done\n", super::place::words(generations)));
    let said = desk.run(cx, "remove what unfinished restores left", &script, LONG).await?;
    for orphan in said.iter().filter_map(|l| l.strip_prefix("orphan ")) {
        tracing::warn!(folder = %orphan, machine = %desk.machine.name(), "it holds what was live once and is on no record: look at it by hand");
    }
    Ok(said.into_iter().filter_map(|l| l.strip_prefix("swept ").map(str::to_owned)).collect())
}
