//! Where the trees of a backup lie on a machine, and where what belongs to their exchange does.

use serde::{Deserialize, Serialize};
use veza_dr_core::{Error, ErrorKind, Result};

use crate::shell::quoted;

/// The same as beside trees that are restored on their own machine: backups pass over such folders.
const ASIDE: &str = ".veza-dr";

/// One tree of a backup: a folder or a file with the path that it was backed up from.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TreeRoot {
    /// Its absolute path.
    pub path: String,
    /// Bytes of its files.
    pub bytes: u64,
    /// How many entries it has, itself included.
    pub entries: u64,
}

impl TreeRoot {
    /// A tree.
    #[must_use]
    pub fn new(path: impl Into<String>, bytes: u64, entries: u64) -> Self {
        Self { path: path.into(), bytes, entries }
    }
}

/// One tree's place on the machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Place {
    /// What is live.
    pub(super) live: String,
    /// The folder that this is in.
    pub(super) parent: String,
    /// Its name in there.
    pub(super) name: String,
}

impl Place {
    /// Where a tree goes: to its own path, or to the same below `below`.
    pub(super) fn of(root: &TreeRoot, below: Option<&str>) -> Result<Self> {
        let live = format!("{}{}", below.unwrap_or_default().trim_end_matches('/'), root.path);
        let (parent, name) = live.rsplit_once('/').unwrap_or_default();
        let climbs = live.split('/').any(|part| part == ".." || part == ".");
        // Scripts and their answers are lines.
        if !root.path.starts_with('/') || name.is_empty() || climbs || live.contains(|c: char| c.is_control()) {
            let text = format!("{:?} cannot be exchanged on another machine", root.path);
            return Err(Error::new(ErrorKind::Unsupported, text)
                .with_help("back up folders and files by their names, not `/` as a whole"));
        }
        let parent = if parent.is_empty() { "/" } else { parent };
        Ok(Self { parent: parent.to_owned(), name: name.to_owned(), live: live.clone() })
    }

    /// The folder beside it that holds what restores work on and keep.
    pub(super) fn aside(&self) -> String {
        format!("{}/.{}{ASIDE}", self.parent.trim_end_matches('/'), self.name)
    }

    /// The folder of one exchange in there.
    pub(super) fn work(&self, generation: &str) -> String {
        format!("{}/{}", self.aside(), work_name(generation))
    }

    /// What was live before an exchange.
    pub(super) fn old(&self, generation: &str) -> String {
        format!("{}/old/{}", self.work(generation), self.name)
    }
}

/// The name of an exchange's folder; a restore on the machine itself knows none such and leaves it alone.
pub(super) fn work_name(generation: &str) -> String {
    format!("site-{generation}")
}

/// Several words of a shell.
pub(super) fn words<'a>(all: impl IntoIterator<Item = &'a str>) -> String {
    all.into_iter().map(quoted).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_has_its_place_and_what_has_none_is_refused() {
        let root = TreeRoot::new("/etc/veza", 1, 1);
        let own = Place::of(&root, None).unwrap();
        assert_eq!((own.live.as_str(), own.parent.as_str(), own.name.as_str()), ("/etc/veza", "/etc", "veza"));
        assert_eq!(own.old("g"), "/etc/.veza.veza-dr/site-g/old/veza");
        let below = Place::of(&root, Some("/srv/standby/")).unwrap();
        assert_eq!((below.live.as_str(), below.parent.as_str()), ("/srv/standby/etc/veza", "/srv/standby/etc"));
        let top = Place::of(&TreeRoot::new("/veza", 1, 1), None).unwrap();
        assert_eq!((top.parent.as_str(), top.aside().as_str()), ("/", "/.veza.veza-dr"));
        for path in ["/", "etc", "/etc/../x", "/a\nb", "/etc/"] {
            let e = Place::of(&TreeRoot::new(path, 1, 1), None).unwrap_err();
            assert_eq!(e.kind(), ErrorKind::Unsupported, "{path:?}");
        }
    }
}
