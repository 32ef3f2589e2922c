//! What closes a site when its daemon is gone: a shell job on its machine.

use std::{path::Path, time::Duration};

use super::duty::OWN;
use crate::shell::quoted;

/// How much later than the daemon the watchdog closes the site.
const LATER: Duration = Duration::from_millis(500);

/// A shell job on the site's machine that outlives the daemon, and closes the site when nobody renews the lease.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Watchdog {
    /// The shell commands that stop all services of the site, at once. `$m` is the file of the mark.
    pub stop: String,
    /// The file of the fence mark.
    pub mark: String,
}

impl Watchdog {
    /// Stops by this command, then puts up this mark.
    #[must_use]
    pub fn new(stop: impl Into<String>, mark: impl Into<String>) -> Self {
        Self { stop: stop.into(), mark: mark.into() }
    }

    pub(super) fn script(&self, beat: &Path, ttl: Duration, me: &str) -> String {
        let beat = quoted(&beat.display().to_string());
        format!(
            "set -u\nb={beat} m={} me={}\necho \"$me\" > \"$b.watch\" || exit 91\n\
             while :; do\n\
             \x20   [ -e \"$b.end\" ] && exit 0\n\
             \x20   [ \"$(cat \"$b.watch\" 2>/dev/null)\" = \"$me\" ] || exit 0\n\
             \x20   at=$(cat \"$b\" 2>/dev/null)\n\
             \x20   case $at in ''|*[!0-9]*) at=0 ;; esac\n\
             \x20   now=$(cut -d ' ' -f 1 /proc/uptime | tr -d .)\n\
             \x20   # A duty that was ended while we looked has taken its beat away.\n\
             \x20   if [ $((now - at)) -ge {} ]; then [ -e \"$b.end\" ] && exit 0; break; fi\n\
             \x20   sleep 0.5 2>/dev/null || sleep 1\n\
             done\n\
             mkdir -p \"${{m%/*}}\"\n\
             [ -e \"$m\" ] || printf '%s\\nsince: %s\\nreason: the lease was not renewed\\n' {OWN} \
             \"$(date -u +%Y-%m-%dT%H:%M:%SZ)\" > \"$m\"\n\
             {{\n{}\n}} || exit 92\nexit 90\n",
            quoted(&self.mark),
            quoted(me),
            // The daemon itself comes first.
            hundredths(ttl + LATER),
            self.stop
        )
    }
}

/// Times of the watchdog are told so: as precisely as the machine tells for how long it has been up.
pub(super) fn hundredths(span: Duration) -> u64 {
    u64::try_from(span.as_millis() / 10).unwrap_or(u64::MAX)
}
