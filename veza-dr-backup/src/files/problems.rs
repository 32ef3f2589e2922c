//! What could not be stored, or not as it is: collected while the rest goes on, judged at the end.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use rustix::io::Errno;
use veza_dr_core::{Error, ErrorKind, Result, manifest::Skipped};

use super::{FilesConfig, path::escape};

/// How many are named one by one.
const NAMED: usize = 10_000;

/// Why something is not in the backup as it is in the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Why {
    /// It could not be read.
    Unreadable,
    /// It changed meanwhile.
    Changed,
    /// Left out by intent, or by nature.
    ByDesign,
}

#[derive(Debug, Default)]
struct State {
    named: Vec<(Why, Skipped)>,
    more: u64,
    denied: u64,
    changed: u64,
}

/// Shared by all who read.
#[derive(Debug, Default)]
pub(crate) struct Problems {
    state: Mutex<State>,
    stop: AtomicBool,
}

/// A member path as people write it.
pub(crate) fn shown(member: &[u8]) -> String {
    let mut text = b"/".to_vec();
    if member != b"." {
        escape(member, &mut text);
    }
    String::from_utf8_lossy(&text).into_owned()
}

impl Problems {
    pub(crate) fn add(&self, why: Why, member: &[u8], text: impl Into<String>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match why {
            Why::Unreadable => state.denied += 1,
            Why::Changed => state.changed += 1,
            Why::ByDesign => {}
        }
        if state.named.len() < NAMED {
            state.named.push((why, Skipped { what: shown(member), why: text.into() }));
        } else {
            state.more += 1;
        }
    }

    /// A failed system call on a member: what is gone has changed, all else could not be read.
    pub(crate) fn add_io(&self, member: &[u8], doing: &str, e: &std::io::Error) {
        match e.kind() {
            std::io::ErrorKind::NotFound => self.add(Why::Changed, member, "vanished while it was backed up"),
            // It was a file, or its folder one, when it was looked at.
            _ if matches!(e.raw_os_error().map(Errno::from_raw_os_error), Some(Errno::LOOP | Errno::NOTDIR)) => {
                self.add(Why::Changed, member, "became something else while it was backed up");
            }
            _ => self.add(Why::Unreadable, member, format!("{doing}: {e}")),
        }
    }

    /// Tells everyone to stop: the backup has failed elsewhere.
    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    pub(crate) fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// What the manifest names, sorted; an error when some of it is not allowed.
    pub(crate) fn judge(&self, config: &FilesConfig) -> Result<Vec<Skipped>> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.named.sort_by(|a, b| (&a.1.what, &a.1.why).cmp(&(&b.1.what, &b.1.why)));
        let bad = |why: &Why| match why {
            Why::Unreadable => !config.allow_unreadable,
            Why::Changed => !config.allow_changed,
            Why::ByDesign => false,
        };
        let (denied, changed) = (state.denied, state.changed);
        let refused = if config.allow_unreadable { 0 } else { denied } + if config.allow_changed { 0 } else { changed };
        if refused > 0 {
            let lines: Vec<String> =
                state.named.iter().filter(|(why, _)| bad(why)).map(|(_, s)| format!("{}: {}", s.what, s.why)).collect();
            let shown = lines.len().min(10);
            let mut text = format!("{refused} files cannot be backed up as they are: {}", lines[..shown].join("; "));
            if refused > shown as u64 {
                text.push_str(&format!("; and {} more", refused - shown as u64));
            }
            let (kind, help) = if denied > 0 && !config.allow_unreadable {
                (
                    ErrorKind::Denied,
                    "run as a user that may read them, exclude them, or set allow_unreadable: true to leave them out and name them",
                )
            } else {
                (
                    ErrorKind::Conflict,
                    "stop what writes to them meanwhile, exclude them, or set allow_changed: true to store them as they were when opened",
                )
            };
            return Err(Error::new(kind, text).with_help(help));
        }
        let mut skipped: Vec<Skipped> = state.named.drain(..).map(|(_, s)| s).collect();
        if state.more > 0 {
            skipped.push(Skipped { what: format!("{} more", state.more), why: "as those above".to_owned() });
        }
        Ok(skipped)
    }
}
