//! What every script on the machine begins with, how it is run, and how its answers are read.

use std::time::Duration;

use veza_dr_core::{Cx, Effect, Error, ErrorKind, Result};

use crate::{
    shell::quoted,
    site::machine::{Machine, Said},
};

/// Reading and removing whole trees takes as long as it takes; a machine that is gone shows in the connection, and the
/// step has a time of its own.
pub(super) const LONG: Duration = Duration::from_secs(12 * 3600);
/// For what only looks.
pub(super) const SHORT: Duration = Duration::from_secs(60);

/// Words of the answer: `done`, `taken` (somebody else has begun to work here), `changed WHAT`, `failed WHAT`.
const LIB: &str = r#"set -u
export LC_ALL=C
umask 077
say() { printf '%s\n' "veza-dr-files $*"; }
failed() { say "failed $*"; exit 0; }
there() { [ -e "$1" ] || [ -L "$1" ]; }
mine() { [ "$(cat "$s/owner" 2>/dev/null)" = "$me" ] || { say taken; exit 0; }; }
# What an earlier connection began and left to itself ends first.
alone() { exec 8>"$s/exchange" && flock -w 120 8 || failed 'wait for an exchange that is under way'; }
durable() { sync "$1" 2>/dev/null || sync; }
keep() {
    printf '%s\n' "$2" > "$s/$1.new" && durable "$s/$1.new" && mv -f -- "$s/$1.new" "$s/$1" && durable "$s" \
        || failed "write $s/$1"
}
"#;

/// A machine, and the folder on it that holds what is known of the exchanges of one component.
#[derive(Debug, Clone)]
pub(super) struct Desk {
    pub(super) machine: Machine,
    /// The site, for messages.
    pub(super) site: String,
    pub(super) folder: String,
    /// Tells this restore from every other.
    pub(super) me: String,
}

impl Desk {
    /// What a failure is about.
    pub(super) fn what(&self, what: &str) -> String {
        format!("site {}: {what}", self.site)
    }

    /// A script with all that it may use. One that comes only in part, because the connection was cut, does nothing.
    pub(super) fn script(&self, body: &str) -> String {
        format!("s={} me={}\n{LIB}main() {{\n{body}\n}}\nmain\n", quoted(&self.folder), quoted(&self.me))
    }

    /// Runs a script that changes something, which must end with `say done`; what else it said.
    pub(super) async fn run(&self, cx: &Cx, what: &str, body: &str, limit: Duration) -> Result<Vec<String>> {
        let said = self.ask(cx, what, &format!("mine\n{body}"), limit).await?;
        let mut lines = answers(&said);
        match lines.pop().as_deref() {
            Some("done") => Ok(lines),
            _ => Err(self.unexpected(what, &said)),
        }
    }

    /// Runs a script; an answer that is a refusal or a failure is an error.
    pub(super) async fn ask(&self, cx: &Cx, what: &str, body: &str, limit: Duration) -> Result<Said> {
        let what = self.what(what);
        let said = self.machine.sh(cx, &what, &self.script(body), limit).await?;
        let at = self.machine.name();
        for line in answers(&said) {
            let (word, rest) = line.split_once(' ').unwrap_or((&line, ""));
            match word {
                "taken" => {
                    let text = format!("{what}: another restore has begun to work there");
                    return Err(Error::new(ErrorKind::Conflict, text).with_help("wait for it to end"));
                }
                "changed" => {
                    let text = format!("{what}: {rest} on {at} is no longer as it was");
                    return Err(Error::new(ErrorKind::Conflict, text)
                        .with_help("something else works there: stop it, look what is there, then run it again"));
                }
                "failed" => return Err(self.failure(&what, &format!("cannot {rest}"), &said.stderr)),
                _ => {}
            }
        }
        Ok(said)
    }

    /// The error behind the complaint of a tool on the machine.
    pub(super) fn failure(&self, what: &str, text: &str, complaint: &str) -> Error {
        let at = self.machine.name();
        let kind = if complaint.contains("No space left on device") || complaint.contains("quota exceeded") {
            ErrorKind::Full
        } else if ["Permission denied", "Operation not permitted", "Read-only file system"]
            .iter()
            .any(|word| complaint.contains(word))
        {
            ErrorKind::Denied
        } else {
            ErrorKind::Unavailable
        };
        let e = Error::new(kind, format!("{what}: {text} on {at}")).with_source(cause(complaint));
        match kind {
            ErrorKind::Full => e.with_help(format!("make room on {at}")),
            ErrorKind::Denied => e.with_help(format!("let the user that veza-dr is on {at} write there")),
            _ => e,
        }
    }

    fn unexpected(&self, what: &str, said: &Said) -> Error {
        let text = self.what(&format!("{what}: the script on {} ended with {}", self.machine.name(), said.code));
        Error::new(ErrorKind::Unavailable, text).with_source(cause(&said.stderr)).with_effect(Effect::Unknown)
    }
}

/// The first lines of what was complained of.
pub(super) fn cause(complaint: &str) -> String {
    complaint.lines().take(5).collect::<Vec<_>>().join("; ")
}

/// What a script said to us.
pub(super) fn answers(said: &Said) -> Vec<String> {
    said.stdout.lines().filter_map(|l| l.strip_prefix("veza-dr-files ")).map(str::to_owned).collect()
}
