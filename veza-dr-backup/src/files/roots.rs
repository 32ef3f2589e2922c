//! The included paths, checked, and the patterns of what is left out.

use std::{
    ffi::OsStr,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use veza_dr_core::{Error, ErrorKind, Result};

use super::{FilesConfig, path::member_path};

/// The folder beside (or in) a restored tree that holds what a restore works on and keeps.
pub const ASIDE: &str = ".veza-dr";

/// One included path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root {
    /// Absolute, without a trailing `/`.
    pub path: PathBuf,
    /// The same as a member path.
    pub member: Vec<u8>,
}

impl Root {
    /// The included paths of a configuration, sorted; one that lies in another is part of that one.
    ///
    /// # Errors
    /// `Config` when there is none, or one is relative or climbs.
    pub fn all(config: &FilesConfig) -> Result<Vec<Self>> {
        let mut roots = Vec::new();
        for path in &config.include {
            let member = member_path(path).ok_or_else(|| {
                Error::new(ErrorKind::Config, format!("included path {} is not absolute, or climbs", path.display()))
                    .with_help("write it out, such as /etc/veza")
            })?;
            roots.push(Self::of_member(member));
        }
        roots.sort_by(|a, b| super::path_order(&a.member, &b.member));
        roots.dedup_by(|later, earlier| later.path.starts_with(&earlier.path));
        if roots.is_empty() {
            return Err(Error::new(ErrorKind::Config, "no paths to back up are named")
                .with_help("list them in the component's backup settings: include: [/etc/veza]"));
        }
        Ok(roots)
    }

    /// The root with this member path.
    #[must_use]
    pub fn of_member(member: Vec<u8>) -> Self {
        let path = if member == b"." { PathBuf::from("/") } else { Path::new("/").join(OsStr::from_bytes(&member)) };
        Self { path, member }
    }

    /// Whether `member` is this root or below it, and its path below it (empty for the root itself).
    #[must_use]
    pub fn below<'a>(&self, member: &'a [u8]) -> Option<&'a [u8]> {
        if self.member == b"." {
            return Some(if member == b"." { b"" } else { member });
        }
        match member.strip_prefix(self.member.as_slice())? {
            [] => Some(b""),
            [b'/', rest @ ..] => Some(rest),
            _ => None,
        }
    }
}

/// Globs over member paths: with a `/` they match whole absolute paths, without one names anywhere.
#[derive(Debug, Clone)]
pub struct Patterns {
    paths: GlobSet,
    names: GlobSet,
}

impl Patterns {
    /// Reads the globs.
    ///
    /// # Errors
    /// `Config` naming the one that cannot be read.
    pub fn new(globs: &[String]) -> Result<Self> {
        let (mut paths, mut names) = (GlobSetBuilder::new(), GlobSetBuilder::new());
        for glob in globs {
            let text = glob.strip_suffix('/').unwrap_or(glob);
            let built = GlobBuilder::new(text).literal_separator(true).build().map_err(|e| {
                Error::new(ErrorKind::Config, format!("pattern `{glob}` cannot be read")).with_source(e)
            })?;
            if text.contains('/') {
                paths.add(built)
            } else {
                names.add(built)
            };
        }
        let done = |set: GlobSetBuilder| {
            set.build().map_err(|e| Error::new(ErrorKind::Config, "patterns cannot be read").with_source(e))
        };
        Ok(Self { paths: done(paths)?, names: done(names)? })
    }

    /// Whether one of them matches this very path.
    #[must_use]
    pub fn matches(&self, member: &[u8]) -> bool {
        if self.paths.is_empty() && self.names.is_empty() {
            return false;
        }
        let name = member.rsplit(|b| *b == b'/').next().unwrap_or(member);
        if !self.names.is_empty() && self.names.is_match(OsStr::from_bytes(name)) {
            return true;
        }
        !self.paths.is_empty() && self.paths.is_match(Path::new("/").join(OsStr::from_bytes(member)))
    }
}

/// Whether a name is one of a restore's own folders.
#[must_use]
pub fn is_aside(name: &[u8]) -> bool {
    name.starts_with(b".") && name.ends_with(ASIDE.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roots_are_checked_and_nested_ones_joined() {
        let of = |paths: &[&str]| Root::all(&FilesConfig::new(paths.iter().copied()));
        let roots = of(&["/opt/veza/config", "/etc/veza/", "/opt/veza", "/opt/veza-2", "/etc/veza"]).unwrap();
        let paths: Vec<_> = roots.iter().map(|r| r.path.to_str().unwrap()).collect();
        assert_eq!(paths, ["/etc/veza", "/opt/veza", "/opt/veza-2"]);
        assert!(of(&["etc"]).is_err() && of(&[]).is_err() && of(&["/a/../b"]).is_err());
        assert_eq!(roots[1].below(b"opt/veza/x").unwrap(), b"x");
        assert_eq!(roots[1].below(b"opt/veza").unwrap(), b"");
        assert!(roots[1].below(b"opt/veza-2").is_none());
    }

    #[test]
    fn patterns_match_names_or_whole_paths() {
        let e = Patterns::new(&["*.tmp".into(), "/etc/veza/cache/".into(), "**/node_modules/x".into()]).unwrap();
        for out in ["a/b.tmp", "etc/veza/cache", "srv/node_modules/x"] {
            assert!(e.matches(out.as_bytes()), "{out}");
        }
        for kept in ["a/b.tmp2", "etc/veza/cache2", "srv/etc/veza/cache", "node_modules/y"] {
            assert!(!e.matches(kept.as_bytes()), "{kept}");
        }
        assert!(Patterns::new(&["[".into()]).is_err());
    }
}
