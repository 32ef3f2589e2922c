//! Progress as lines of text, for logs: one when a phase begins, one when it ends, and one every ten seconds between.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use veza_dr_core::{Progress, ProgressSink, Unit};

use super::{
    SharedWriter,
    words::{bytes, count, took},
};

const EVERY: Duration = Duration::from_secs(10);

/// Writes lines to standard error.
#[derive(Debug)]
pub(crate) struct PlainProgress {
    out: SharedWriter,
    phases: Mutex<HashMap<&'static str, Phase>>,
}

#[derive(Debug)]
struct Phase {
    total: u64,
    unit: Unit,
    done: u64,
    began: Instant,
    told: Instant,
}

impl PlainProgress {
    pub(crate) fn new(out: SharedWriter) -> Self {
        Self { out, phases: Mutex::new(HashMap::new()) }
    }
}

impl Phase {
    fn amount(&self, n: u64) -> String {
        match self.unit {
            Unit::Bytes => bytes(n),
            _ => count(n),
        }
    }

    fn line(&self, now: Instant) -> String {
        let spent = now.duration_since(self.began);
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "an estimate"
        )]
        let rate = (self.done as f64 / spent.as_secs_f64().max(0.001)) as u64;
        let mut text = self.amount(self.done);
        if self.total > 0 {
            text.push_str(&format!(" of {}", self.amount(self.total)));
        }
        text.push_str(&format!(", {}/s", self.amount(rate)));
        if rate > 0 && self.total > self.done {
            text.push_str(&format!(", about {} left", took(Duration::from_secs((self.total - self.done) / rate))));
        }
        text
    }
}

impl ProgressSink for PlainProgress {
    fn report(&self, progress: Progress) {
        let now = Instant::now();
        let mut phases = self.phases.lock().unwrap_or_else(PoisonError::into_inner);
        match progress {
            Progress::Begin { phase, total, unit } => {
                let entry = Phase { total, unit, done: 0, began: now, told: now };
                let amount = if total > 0 { format!(": {}", entry.amount(total)) } else { String::new() };
                self.out.line(&format!("{phase}{amount}"));
                phases.insert(phase, entry);
            }
            Progress::Advance { phase, by } => {
                if let Some(entry) = phases.get_mut(phase) {
                    entry.done += by;
                    if now.duration_since(entry.told) >= EVERY {
                        entry.told = now;
                        self.out.line(&format!("{phase}: {}", entry.line(now)));
                    }
                }
            }
            Progress::End { phase } => {
                if let Some(entry) = phases.remove(phase) {
                    let spent = took(now.duration_since(entry.began));
                    self.out.line(&format!("{phase}: done, {} in {spent}", entry.amount(entry.done)));
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Io;

    #[test]
    fn a_phase_is_told_at_its_ends_and_not_at_every_step() {
        let (io, kept) = Io::captured();
        let sink = PlainProgress::new(SharedWriter::new(io.stderr));
        sink.report(Progress::Begin { phase: "copy out", total: 4096, unit: Unit::Bytes });
        for _ in 0..4 {
            sink.report(Progress::Advance { phase: "copy out", by: 1024 });
        }
        sink.report(Progress::End { phase: "copy out" });
        assert_eq!(kept.stderr(), "copy out: 4.0 KiB\ncopy out: done, 4.0 KiB in 0.0 s\n");
    }

    #[test]
    fn a_line_in_between_has_rate_and_remaining_time() {
        let began = Instant::now();
        let phase = Phase { total: 4 << 20, unit: Unit::Bytes, done: 1 << 20, began, told: began };
        let line = phase.line(began + Duration::from_secs(10));
        assert_eq!(line, "1.0 MiB of 4.0 MiB, 102.4 KiB/s, about 30.0 s left");
    }
}
