//! What was made for a test goes again, however the test ends.

use std::{
    sync::Arc,
    thread,
    time::{Duration, SystemTime},
};

use veza_dr_core::{Cx, Error, ErrorKind, Result};

use super::ScratchPlace;

const LIMIT: Duration = Duration::from_secs(60);

/// Removes a place: when asked, or when dropped without.
#[derive(Debug)]
pub(super) struct Cleaning {
    place: Option<Arc<dyn ScratchPlace>>,
    work: Cx,
}

impl Cleaning {
    /// `work` is cancelled before the place is removed, so that nothing goes on filling it.
    pub(super) fn new(place: Arc<dyn ScratchPlace>, work: Cx) -> Self {
        Self { place: Some(place), work }
    }

    pub(super) async fn clean(mut self) -> Result<()> {
        self.work.cancel();
        let Some(place) = self.place.clone() else { return Ok(()) };
        let removed = remove(place).await;
        // Only now: dropped while it waits, it is removed by `drop`.
        self.place = None;
        removed
    }
}

impl Drop for Cleaning {
    /// Blocks until it is done: the runtime of a test that was given up may never run anything again.
    fn drop(&mut self) {
        let Some(place) = self.place.take() else { return };
        self.work.cancel();
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime
                .map_err(|e| Error::new(ErrorKind::Unexpected, "a runtime to clean up on").with_source(e.to_string()));
            runtime?.block_on(remove(place))
        });
        match thread.join() {
            Ok(Ok(())) => {}
            Ok(Err(e)) => tracing::error!(error = %e.chain(), "a scratch place stays behind"),
            Err(_) => tracing::error!("a scratch place stays behind: its removal panicked"),
        }
    }
}

async fn remove(place: Arc<dyn ScratchPlace>) -> Result<()> {
    let cx = Cx::background().with_deadline(SystemTime::now() + LIMIT);
    cx.run("remove the scratch place", place.remove(&cx)).await
}
