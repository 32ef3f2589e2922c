//! The renames of an exchange, finished from wherever they stand, in either direction; and the removal of what was kept.

use veza_dr_core::{Cx, Effect, Error, ErrorKind, Result};

use super::{
    journal::{Exchanged, Journal, Way},
    place::words,
    scripts::{Desk, LONG},
};
use crate::shell::quoted;

/// `exchange_in LIVE WORK NAME HAD` and `exchange_back` make what is still to be made of one tree. Where the two steps of
/// one were cut apart, nothing is live and both lie aside: each way goes on from there.
const RENAMES: &str = r#"
moved() { mv -T -- "$1" "$2" || failed "rename $1 to $2"; }
exchange_in() {
    n=$2/new/$3 o=$2/old/$3
    there "$n" || return 0
    if there "$1"; then
        [ "$4" = yes ] && ! there "$o" || { say "changed $1"; exit 0; }
        moved "$1" "$o"
    elif [ "$4" = yes ] && ! there "$o"; then
        say "changed $1"; exit 0
    fi
    moved "$n" "$1"
}
exchange_back() {
    n=$2/new/$3 o=$2/old/$3
    if there "$o"; then
        if there "$1"; then
            there "$n" && { say "changed $1"; exit 0; }
            moved "$1" "$n"
        fi
        moved "$o" "$1"
    elif [ "$4" = no ] && there "$1" && ! there "$n"; then
        moved "$1" "$n"
    fi
}
"#;

/// What must be live after these exchanges, oldest first: what the newest that was not taken back put there, or what was
/// there before them all.
pub(super) fn to_be_live(journals: &[Journal]) -> Vec<&str> {
    let mut all: Vec<(&str, bool)> = Vec::new();
    for journal in journals {
        for tree in &journal.trees {
            let live = tree.place.live.as_str();
            match (all.iter_mut().find(|(known, _)| *known == live), journal.way) {
                (Some((_, is)), Way::In) => *is = true,
                (Some(_), Way::Back) => {}
                (None, way) => all.push((live, way == Way::In || tree.had)),
            }
        }
    }
    all.into_iter().filter(|(_, is)| *is).map(|(live, _)| live).collect()
}

fn arguments(tree: &Exchanged, generation: &str) -> String {
    let had = if tree.had { "yes" } else { "no" };
    words([&*tree.place.live, &*tree.place.work(generation), &*tree.place.name, had])
}

/// Carries an exchange out, from wherever it stands, and marks it as done. For the first time only where everything is
/// as it was when it was planned: else nothing is begun.
pub(super) async fn carry_out(cx: &Cx, desk: &Desk, journal: &Journal, first: bool) -> Result<Journal> {
    let mut done = journal.clone();
    done.done = true;
    let (file, generation) = (quoted(&Journal::file(&journal.generation)), &journal.generation);
    let mut script = format!("{RENAMES}alone\n");
    for tree in journal.trees.iter().filter(|_| first) {
        let (live, work, name) = (&tree.place.live, tree.place.work(generation), &tree.place.name);
        let (new, old) = (quoted(&format!("{work}/new/{name}")), quoted(&format!("{work}/old/{name}")));
        let live = quoted(live);
        let as_planned = if tree.had { format!("there {live}") } else { format!("! there {live}") };
        script.push_str(&format!(
            "{{ {as_planned} && there {new} && ! there {old}; }} || {{ say changed {live}; exit 0; }}\n"
        ));
    }
    script.push_str(&format!("keep {file} {}\n", quoted(&journal.to_line()?)));
    let exchange = if journal.way == Way::In { "exchange_in" } else { "exchange_back" };
    for tree in &journal.trees {
        script.push_str(&format!("{exchange} {}\n", arguments(tree, generation)));
    }
    for tree in &journal.trees {
        script.push_str(&format!("durable {}\n", quoted(&tree.place.parent)));
    }
    script.push_str(&format!("keep {file} {}\nsay done\n", quoted(&done.to_line()?)));
    let said = desk.run(cx, "exchange its files", &script, LONG).await;
    said.map(|_| done).map_err(|e| e.with_effect(Effect::Unknown))
}

/// Makes an exchange for the first time. One that fails is undone, and nothing of it is on record then.
pub(super) async fn exchange(cx: &Cx, desk: &Desk, journal: &Journal) -> Result<Journal> {
    let failed = match carry_out(cx, desk, journal, true).await {
        Ok(done) => return Ok(done),
        Err(e) => e,
    };
    // A way back of its own: what was cancelled is undone as well.
    let cx = Cx::background();
    let back = Journal { way: Way::Back, done: false, ..journal.clone() };
    let known = desk.run(&cx, "look what was begun", &on_record(journal), LONG).await;
    let undone = match known {
        Ok(said) if said.is_empty() => Ok(()),
        Ok(_) => match carry_out(&cx, desk, &back, false).await {
            Ok(_) => forget(&cx, desk, journal).await,
            Err(e) => Err(e),
        },
        Err(e) => Err(e),
    };
    match undone {
        Ok(()) => Err(failed.with_effect(Effect::None)),
        Err(e) => {
            tracing::warn!(error = %e.chain(), "an exchange of files that failed could not be undone either");
            Err(failed
                .with_effect(Effect::Unknown)
                .with_help("the exchange may be half made: run the restore or a rollback again; both finish it first"))
        }
    }
}

fn on_record(journal: &Journal) -> String {
    format!("[ -e \"$s\"/{} ] && say begun\nsay done\n", quoted(&Journal::file(&journal.generation)))
}

async fn forget(cx: &Cx, desk: &Desk, journal: &Journal) -> Result<()> {
    let file = quoted(&Journal::file(&journal.generation));
    let script = format!("rm -f -- \"$s\"/{file} || failed 'forget an exchange'\ndurable \"$s\"\nsay done\n");
    desk.run(cx, "forget an exchange", &script, LONG).await.map(drop)
}

/// Removes what an exchange set aside, for good, or goes on with that. The record is no longer one to go back by before
/// anything is removed: nothing takes what is half removed for something to be put back.
/// Refuses while one of `live` is not there: what is kept may be the only copy then.
pub(super) async fn remove(cx: &Cx, desk: &Desk, journal: &Journal, live: &[&str]) -> Result<()> {
    let generation = &journal.generation;
    let (record, going) = (quoted(&Journal::file(generation)), quoted(&Journal::going(generation)));
    let mut script = format!("alone\nif [ -e \"$s\"/{record} ]; then\n:\n");
    for live in live.iter().map(|live| quoted(live)) {
        script.push_str(&format!("there {live} || {{ say missing {live}; say done; exit 0; }}\n"));
    }
    script.push_str(&format!(
        "mv -f -- \"$s\"/{record} \"$s\"/{going} && durable \"$s\" || failed 'begin to remove what is aside'\nfi\n"
    ));
    script.push_str(&removal(journal.trees.iter().map(|t| (t.place.work(generation), t.place.aside()))));
    script.push_str(&format!("rm -f -- \"$s\"/{}.* || failed 'forget an exchange'\nsay done", quoted(generation)));
    let said = desk.run(cx, "remove what was kept", &script, LONG).await?;
    match said.iter().find_map(|line| line.strip_prefix("missing ")) {
        None => Ok(()),
        Some(live) => {
            let at = desk.machine.name();
            let text = desk.what(&format!("{live} is not there on {at}: what is kept may be the only copy there"));
            Err(Error::new(ErrorKind::Conflict, text)
                .with_help("put it back first: veza-dr rollback COMPONENT --site NAME"))
        }
    }
}

/// Removes work folders, and the folders that they are in once these are empty. Never what is mounted in them.
pub(super) fn removal(folders: impl Iterator<Item = (String, String)>) -> String {
    folders
        .map(|(work, aside)| {
            let work = quoted(&work);
            format!(
                "chmod -R u+rwX -- {work} 2>/dev/null\nrm -rf --one-file-system -- {work} || failed 'remove what is aside'\n\
                 rmdir -- {} 2>/dev/null\n",
                quoted(&aside)
            )
        })
        .collect()
}
