//! How much may wait between two stages, in bytes.

use std::{
    sync::{Condvar, Mutex, PoisonError},
    time::Duration,
};

use super::problems::Problems;

/// A count of bytes under way that blocks whoever would exceed it.
#[derive(Debug)]
pub(crate) struct Budget {
    used: Mutex<usize>,
    freed: Condvar,
    limit: usize,
}

impl Budget {
    pub(crate) fn new(limit: usize) -> Self {
        Self { used: Mutex::default(), freed: Condvar::new(), limit }
    }

    /// Takes `bytes` if there is room.
    pub(crate) fn try_take(&self, bytes: usize) -> bool {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = *used + bytes <= self.limit || *used == 0;
        if fits {
            *used += bytes;
        }
        fits
    }

    /// Waits for room. False when the backup was given up meanwhile.
    pub(crate) fn take(&self, bytes: usize, problems: &Problems) -> bool {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        while *used + bytes > self.limit && *used > 0 {
            if problems.stopped() {
                return false;
            }
            let wait = self.freed.wait_timeout(used, Duration::from_millis(100));
            used = wait.unwrap_or_else(PoisonError::into_inner).0;
        }
        *used += bytes;
        true
    }

    pub(crate) fn give_back(&self, bytes: usize) {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        *used = used.saturating_sub(bytes);
        self.freed.notify_all();
    }
}
