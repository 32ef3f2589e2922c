//! What there is on the machine, by looking only.

use veza_dr_core::{Cx, Error, ErrorKind, Result};

use super::{
    journal::Journal,
    place::{Place, TreeRoot},
    scripts::{Desk, SHORT, answers},
};
use crate::shell::quoted;

/// What is at the place of a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seen {
    /// Whether the folder that it is in is there.
    pub(super) has_parent: bool,
    /// Whether that, or the nearest one above it, may be written to.
    pub(super) writable: bool,
    /// `none`, `dir`, `link`, `other`.
    pub(super) kind: String,
    /// Bytes free there; unknown where the machine does not say.
    pub(super) free: Option<u64>,
    /// What tells it from another one in its place.
    pub(super) mark: String,
    /// What is mounted at it or in it.
    pub(super) mounts: Vec<String>,
}

/// What a machine says of itself.
#[derive(Debug, Clone, Default)]
pub(super) struct Looked {
    pub(super) root: bool,
    /// Tools that are not there, or not what is needed.
    pub(super) lacking: Vec<String>,
    /// Whether the folder that all trees go below is there.
    pub(super) has_below: bool,
    pub(super) places: Vec<Seen>,
    /// Oldest first.
    pub(super) journals: Vec<Journal>,
    /// Those whose removal was begun.
    pub(super) going: Vec<Journal>,
}

const LOOK: &str = r#"
for tool in tar find xargs sort comm awk sha256sum stat df mv flock head cut; do
    command -v "$tool" > /dev/null 2>&1 || say "lacks $tool"
done
tar --version 2>/dev/null | head -n 1 | grep -q 'GNU tar' || say "lacks GNU tar"
find / -maxdepth 0 -printf '' > /dev/null 2>&1 || say "lacks GNU find"
say "user $(id -u)"
place() {
    l=$1 d=$2 m=$3
    while [ ! -d "$d" ]; do d=${d%/*}; d=${d:-/}; done
    p=no; [ -d "$2" ] && p=yes
    w=no; [ -w "$d" ] && [ -x "$d" ] && w=yes
    k=none
    if [ -L "$l" ]; then k=link; elif [ -d "$l" ]; then k=dir; elif [ -e "$l" ]; then k=other; fi
    i=none; [ "$k" = none ] || i=$(stat -c '%d.%i.%f' -- "$l") || i=unknown
    f=$(df -Pk -- "$d" 2>/dev/null | awk 'NR == 2 { print $4 }')
    say "place $p $w $k $i ${f:-unknown}"
    while read -r a a a a at a; do
        case $at in "$m"|"$m"/*) say "mount $at" ;; esac
    done < /proc/self/mountinfo || say "mount unknown"
}
if [ -d "$s" ]; then
    [ -r "$s" ] && [ -x "$s" ] || failed "read $s"
    for j in "$s"/*.json "$s"/*.going; do
        [ -e "$j" ] || continue
        text=$(cat -- "$j") || failed "read $j"
        case $j in *.json) say "journal $text" ;; *) say "going $text" ;; esac
    done
fi
"#;

/// Looks. Trees go below `below` where that is given.
pub(super) async fn look(cx: &Cx, desk: &Desk, below: Option<&str>, places: &[Place]) -> Result<Looked> {
    let mut script = LOOK.to_owned();
    if let Some(below) = below {
        script.push_str(&format!("[ -d {0} ] && say below\n", quoted(below)));
    }
    for place in places {
        script.push_str(&format!(
            "place {} {} {}\n",
            quoted(&place.live),
            quoted(&place.parent),
            quoted(&as_mounted(&place.live))
        ));
    }
    script.push_str("say done\n");
    let said = desk.ask(cx, "look at its files", &script, SHORT).await?;
    let mut looked = Looked { has_below: below.is_none(), ..Looked::default() };
    let mut ended = false;
    for line in answers(&said) {
        let (word, rest) = line.split_once(' ').unwrap_or((&line, ""));
        match word {
            "lacks" => looked.lacking.push(rest.to_owned()),
            "user" => looked.root = rest == "0",
            "below" => looked.has_below = true,
            "place" => looked.places.push(seen(rest).ok_or_else(|| strange(desk, &line))?),
            "mount" => looked.places.last_mut().ok_or_else(|| strange(desk, &line))?.mounts.push(rest.to_owned()),
            "going" => looked.going.push(Journal::of_line(desk, rest)?),
            "journal" => looked.journals.push(Journal::of_line(desk, rest)?),
            "done" => ended = true,
            _ => {}
        }
    }
    if !ended || looked.places.len() != places.len() {
        return Err(strange(desk, said.stderr.trim()));
    }
    looked.journals.sort_by(|a, b| a.generation.cmp(&b.generation));
    Ok(looked)
}

fn seen(line: &str) -> Option<Seen> {
    let mut words = line.split(' ');
    let mut next = || words.next().map(str::to_owned);
    let (parent, writable, kind, mark, free) = (next()?, next()?, next()?, next()?, next()?);
    let free = free.parse::<u64>().ok().map(|k| k.saturating_mul(1024));
    Some(Seen { has_parent: parent == "yes", writable: writable == "yes", kind, free, mark, mounts: Vec::new() })
}

fn strange(desk: &Desk, said: &str) -> Error {
    let text = desk.what(&format!("what {} says of its files makes no sense", desk.machine.name()));
    Error::new(ErrorKind::Unexpected, text).with_source(said.to_owned())
}

/// A path as the kernel's table of mounts writes it.
fn as_mounted(path: &str) -> String {
    path.replace('\\', "\\134").replace(' ', "\\040").replace('\t', "\\011")
}

impl Looked {
    /// Why trees cannot be exchanged there as things stand.
    pub(super) fn blockers(
        &self,
        desk: &Desk,
        below: Option<&str>,
        places: &[Place],
        roots: &[TreeRoot],
    ) -> Vec<String> {
        let at = desk.machine.name();
        let mut found = Vec::new();
        if !self.lacking.is_empty() {
            found.push(format!("{at} lacks {}: install what has it", self.lacking.join(", ")));
        }
        if let Some(below) = below.filter(|_| !self.has_below) {
            found.push(format!("the folder {below} does not exist on {at}: make it, or is its disk not mounted?"));
            return found;
        }
        let mut needed: Vec<(u64, u64, &str)> = Vec::new();
        for ((place, seen), root) in places.iter().zip(&self.places).zip(roots) {
            let (live, parent) = (&place.live, &place.parent);
            if !seen.has_parent && below.is_none() {
                found.push(format!("the folder {parent} does not exist on {at}: make it"));
            } else if !seen.writable {
                found.push(format!("{parent} on {at} may not be written to by the user that veza-dr is there"));
            }
            if seen.kind == "link" {
                found.push(format!("{live} on {at} is a symbolic link: back up what it points to"));
            }
            if seen.mark == "unknown" {
                found.push(format!("{live} on {at} cannot be looked at"));
            }
            if !seen.mounts.is_empty() {
                let mounts = seen.mounts.join(", ");
                found.push(format!("{live} on {at} cannot be renamed: file systems are mounted there: {mounts}"));
            }
            if let Some(free) = seen.free {
                // Places that show the same room are taken for one file system.
                match needed.iter_mut().find(|(room, ..)| *room == free) {
                    Some((_, bytes, _)) => *bytes += root.bytes,
                    None => needed.push((free, root.bytes, parent)),
                }
            }
        }
        let full = needed.iter().filter(|(free, bytes, _)| bytes > free);
        found.extend(full.map(|(free, bytes, parent)| {
            format!("{bytes} bytes are needed in {parent} on {at}, {free} are free: make room there")
        }));
        found
    }

    /// A mark of what is there.
    pub(super) fn fingerprint(&self) -> String {
        let places = self.places.iter().map(|s| format!("{} {}", s.kind, s.mark));
        let journals = self.journals.iter().map(|j| format!("{} {:?} {}", j.generation, j.way, j.done));
        places.chain(journals).collect::<Vec<_>>().join("; ")
    }
}
