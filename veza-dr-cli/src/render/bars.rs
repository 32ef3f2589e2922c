//! Progress bars with rate and remaining time, for a terminal.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use veza_dr_core::{Progress, ProgressSink, Unit};

/// Draws one bar per phase on standard error.
#[derive(Debug)]
pub(crate) struct Bars {
    multi: MultiProgress,
    bars: Mutex<HashMap<&'static str, ProgressBar>>,
}

impl Bars {
    pub(crate) fn new(multi: MultiProgress) -> Self {
        Self { multi, bars: Mutex::new(HashMap::new()) }
    }
}

fn style(total: u64, unit: Unit) -> ProgressStyle {
    let template = match (unit, total) {
        (Unit::Bytes, 0) => "{spinner} {prefix:16} {binary_bytes} {binary_bytes_per_sec} {wide_msg}",
        (Unit::Bytes, _) => {
            "{spinner} {prefix:16} [{bar:28}] {binary_bytes} of {binary_total_bytes} {binary_bytes_per_sec}, {eta} left {wide_msg}"
        }
        (_, 0) => "{spinner} {prefix:16} {human_pos} {wide_msg}",
        _ => "{spinner} {prefix:16} [{bar:28}] {human_pos} of {human_len}, {eta} left {wide_msg}",
    };
    // The templates are ours: one that does not parse is caught by the test below.
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> ")
}

impl ProgressSink for Bars {
    fn report(&self, progress: Progress) {
        let mut bars = self.bars.lock().unwrap_or_else(PoisonError::into_inner);
        match progress {
            Progress::Begin { phase, total, unit } => {
                let bar = self.multi.add(if total == 0 { ProgressBar::no_length() } else { ProgressBar::new(total) });
                bar.set_style(style(total, unit));
                bar.set_prefix(phase);
                bar.enable_steady_tick(Duration::from_millis(200));
                if let Some(old) = bars.insert(phase, bar) {
                    old.finish_and_clear();
                }
            }
            Progress::Advance { phase, by } => {
                if let Some(bar) = bars.get(phase) {
                    bar.inc(by);
                }
            }
            Progress::Note { phase, text } => {
                if let Some(bar) = bars.get(phase) {
                    bar.set_message(text);
                }
            }
            Progress::End { phase } => {
                if let Some(bar) = bars.remove(phase) {
                    bar.finish_and_clear();
                }
            }
            _ => {}
        }
    }
}

impl Drop for Bars {
    fn drop(&mut self) {
        // A phase that failed never ends: its bar must not stay on the screen above the error.
        for bar in self.bars.lock().unwrap_or_else(PoisonError::into_inner).values() {
            bar.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_template_parses() {
        for (total, unit) in [(0, Unit::Bytes), (1, Unit::Bytes), (0, Unit::Items), (1, Unit::Items)] {
            let bar = ProgressBar::hidden();
            bar.set_style(style(total, unit));
            bar.inc(1);
        }
    }
}
