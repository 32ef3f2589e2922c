//! Looks at the included paths before the first backup: are they there, can they be read.

use std::time::Instant;

use rustix::fs::{AtFlags, OFlags, accessat};
use veza_dr_core::{Cx, Error, ErrorKind, Outcome, Report, Result};

use super::{
    FilesConfig,
    entry::Kind,
    problems::shown,
    roots::{Patterns, Root},
    walk::{Found, Seen, Tree, Walk},
};

pub(crate) async fn check(cx: &Cx, config: &FilesConfig, roots: &[Root], excludes: &Patterns) -> Result<Report> {
    cx.check("check files")?;
    let (cx, config) = (cx.clone(), config.clone());
    let (roots, excludes) = (roots.to_vec(), excludes.clone());
    let done = tokio::task::spawn_blocking(move || look(&cx, &config, &roots, &excludes));
    done.await.map_err(|e| Error::new(ErrorKind::Unexpected, "the check died").with_source(e))?
}

fn look(cx: &Cx, config: &FilesConfig, roots: &[Root], excludes: &Patterns) -> Result<Report> {
    let mut report = Report::default();
    let mut all = Counts::new(cx);
    for root in roots {
        let started = Instant::now();
        let mut counts = Counts::new(cx);
        let tree = match Tree::of_root(root) {
            Ok(tree) => tree,
            Err(e) => {
                let text = format!("{}: {e} (create it, or take it out of the include list)", root.path.display());
                report.push("include", Outcome::Failed, text, started.elapsed());
                continue;
            }
        };
        Walk::new(&tree).with(excludes, config.one_file_system).run(&mut counts)?;
        let name = root.path.display();
        match counts.top {
            Some(Kind::Symlink) => {
                let text = format!("{name} is a symbolic link (include what it points to)");
                report.push("include", Outcome::Failed, text, started.elapsed());
            }
            None => {
                let why = counts.unreadable.first().map_or("it is not there", |u| u.as_str());
                let text = format!("{name}: {why} (create it, or take it out of the include list)");
                report.push("include", Outcome::Failed, text, started.elapsed());
                continue;
            }
            Some(_) => {
                let text = format!("{name}: {} files, {} bytes", counts.files, counts.bytes);
                report.push("include", Outcome::Ok, text, started.elapsed());
            }
        }
        all.more += counts.more;
        all.unreadable.append(&mut counts.unreadable);
        all.mounts.append(&mut counts.mounts);
    }
    let denied = all.unreadable.len() as u64 + all.more;
    if denied > 0 {
        let outcome = if config.allow_unreadable { Outcome::Warning } else { Outcome::Failed };
        let shown = all.unreadable.iter().take(10).cloned().collect::<Vec<_>>().join("; ");
        let text = format!(
            "{denied} paths cannot be read: {shown} (run as a user that may read them, exclude them, or set allow_unreadable: true)"
        );
        report.push("read rights", outcome, text, std::time::Duration::ZERO);
    }
    if !all.mounts.is_empty() {
        let how = if config.one_file_system { "left out" } else { "backed up too" };
        let text = format!("{how}: {}", all.mounts.join(", "));
        report.push("mount points", Outcome::Warning, text, std::time::Duration::ZERO);
    }
    Ok(report)
}

/// How many are named.
const NAMED: usize = 100;

struct Counts<'a> {
    cx: &'a Cx,
    top: Option<Kind>,
    files: u64,
    bytes: u64,
    unreadable: Vec<String>,
    more: u64,
    mounts: Vec<String>,
}

impl<'a> Counts<'a> {
    fn new(cx: &'a Cx) -> Self {
        Self { cx, top: None, files: 0, bytes: 0, unreadable: Vec::new(), more: 0, mounts: Vec::new() }
    }

    fn note(&mut self, path: &[u8], why: &str) {
        if self.unreadable.len() < NAMED {
            self.unreadable.push(format!("{}: {why}", shown(path)));
        } else {
            self.more += 1;
        }
    }
}

impl Seen for Counts<'_> {
    fn found(&mut self, tree: &Tree, found: Found) -> Result<()> {
        self.cx.check("check files")?;
        self.top.get_or_insert(found.meta.kind);
        if found.meta.kind == Kind::File && found.first.is_none() {
            self.files += 1;
            self.bytes += found.meta.size;
            let may_read = tree.parent(&found.path).and_then(|(dir, name)| {
                accessat(&dir, &*name, rustix::fs::Access::READ_OK, AtFlags::EACCESS).map_err(Into::into)
            });
            if let Err(e) = may_read
                && e.kind() != std::io::ErrorKind::NotFound
                // A bare answer of no is checked by trying, where the kernel's shortcut does not know better.
                && let Err(e) = tree.open(&found.path, OFlags::RDONLY | OFlags::NONBLOCK)
            {
                self.note(&found.path, &e.to_string());
            }
        }
        Ok(())
    }

    fn unreadable(&mut self, path: &[u8], doing: &str, error: &std::io::Error) -> Result<()> {
        self.note(path, &format!("{doing}: {error}"));
        Ok(())
    }

    fn passed_over(&mut self, _path: &[u8], _why: &str) {}

    fn excluded(&mut self, _path: &[u8]) {}

    fn mount(&mut self, path: &[u8]) {
        self.mounts.push(shown(path));
    }
}
