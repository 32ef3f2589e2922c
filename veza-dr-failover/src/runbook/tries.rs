//! The tries of one step: how long each may take, how long to rest before the next, when there is none.

use std::time::Duration;

use tokio::time::Instant;
use veza_dr_core::Cx;

use super::Step;

/// The longest pause between tries.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Counts the tries of a step, and its time from the first one on.
#[derive(Debug)]
pub(crate) struct Tries<'a> {
    step: &'a Step,
    began: Instant,
    pause: Duration,
    begun: u32,
}

impl<'a> Tries<'a> {
    pub(crate) fn of(step: &'a Step) -> Self {
        Self { step, began: Instant::now(), pause: step.retry.backoff, begun: 0 }
    }

    /// Begins a try; how long it may take.
    pub(crate) fn begin(&mut self) -> Duration {
        self.begun += 1;
        let left = self.step.total_timeout.map(|total| total.saturating_sub(self.began.elapsed()));
        left.map_or(self.step.timeout, |left| self.step.timeout.min(left))
    }

    /// How many were begun.
    pub(crate) fn begun(&self) -> u32 {
        self.begun
    }

    /// Whether there is no other one, whatever came of the last.
    pub(crate) fn are_over(&self) -> bool {
        let spent = self.step.total_timeout.is_some_and(|total| self.began.elapsed() + self.pause >= total);
        self.begun >= self.step.retry.max || spent
    }

    /// Waits before the next one; false when `cx` was cancelled meanwhile.
    pub(crate) async fn rest(&mut self, cx: &Cx) -> bool {
        let pause = self.pause;
        self.pause = (pause * 2).min(LONGEST_PAUSE);
        tokio::select! {
            () = cx.token().cancelled() => false,
            () = tokio::time::sleep(pause) => true,
        }
    }
}
