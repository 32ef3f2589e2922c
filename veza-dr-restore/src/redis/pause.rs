//! Holds the clients' writes back while the data are exchanged under them.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio_util::task::AbortOnDropHandle;
use veza_dr_core::{Cx, Error, ErrorKind, Result};

use super::{control::Control, info::Version};

/// A pause ends by itself when nobody renews it: so do our clients' waits if we are killed.
const LENGTH: Duration = Duration::from_secs(30);
const RENEWAL: Duration = Duration::from_secs(8);

/// Writes wait at the server until this is ended. Dropped without that, they go on after half a minute at most.
#[derive(Debug)]
pub(crate) struct Pause {
    control: Control,
    held: Held,
    _renewal: AbortOnDropHandle<()>,
}

/// Until when writes are held back for sure, counted from before each renewal was sent; `None` once that time passed
/// before the next one was acknowledged.
#[derive(Debug, Clone)]
struct Held(Arc<Mutex<Option<Instant>>>);

impl Held {
    fn since(asked: Instant) -> Self {
        Self(Arc::new(Mutex::new(Some(asked + LENGTH))))
    }

    fn renewed(&self, asked: Instant, acknowledged: Instant) {
        let mut until = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *until = until.filter(|until| acknowledged < *until).map(|_| asked + LENGTH);
    }

    fn holds(&self, now: Instant) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_some_and(|until| now < until)
    }
}

impl Pause {
    /// Fails when writes may have come through since it began: they would be in no copy.
    pub(crate) fn check(&self) -> Result<()> {
        if self.held.holds(Instant::now()) {
            return Ok(());
        }
        let text = format!("the pause of writes lapsed: it could not be renewed within {LENGTH:?}");
        Err(Error::new(ErrorKind::Conflict, text).with_help("nothing was replaced; restore again"))
    }

    /// Begins; `None` with the reason when the server cannot or may not.
    pub(crate) async fn begin(cx: &Cx, on: &Control, version: Version) -> Result<std::result::Result<Self, String>> {
        if version < Version(6, 2, 0) {
            return Ok(Err(format!("version {version} cannot hold back writes alone")));
        }
        let asked = Instant::now();
        match hold(cx, on).await {
            Ok(()) => {}
            Err(e) if matches!(e.kind(), ErrorKind::Denied | ErrorKind::Unsupported) => return Ok(Err(e.chain())),
            Err(e) => return Err(e),
        }
        let held = Held::since(asked);
        let (renewed, noted) = (on.clone(), held.clone());
        let task = tokio::spawn(async move {
            loop {
                tokio::time::sleep(RENEWAL).await;
                let asked = Instant::now();
                match hold(&Cx::background(), &renewed).await {
                    Ok(()) => noted.renewed(asked, Instant::now()),
                    Err(e) => tracing::warn!(error = %e.chain(), "the pause of writes could not be renewed"),
                }
            }
        });
        Ok(Ok(Self { control: on.clone(), held, _renewal: AbortOnDropHandle::new(task) }))
    }

    /// Lets the waiting writes go on.
    pub(crate) async fn end(self, cx: &Cx) -> Result<()> {
        let Self { control, held: _, _renewal } = self;
        drop(_renewal);
        end(cx, &control).await
    }
}

/// Ends whatever pause there is.
pub(crate) async fn end(cx: &Cx, on: &Control) -> Result<()> {
    on.command(cx, "let writes go on", &["CLIENT", "UNPAUSE"]).await.map(drop)
}

async fn hold(cx: &Cx, on: &Control) -> Result<()> {
    let length = LENGTH.as_millis().to_string();
    on.command(cx, "hold back writes", &["CLIENT", "PAUSE", &length, "WRITE"]).await.map(drop)
}

/// Writes are still held back, where they could be at all.
pub(crate) fn check(pause: Option<&Pause>) -> Result<()> {
    pause.map_or(Ok(()), Pause::check)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_longer_than_the_pause_is_not_mended_by_a_later_renewal() {
        let began = Instant::now();
        let held = Held::since(began);
        assert!(held.holds(began + LENGTH / 2));
        assert!(!held.holds(began + LENGTH));
        held.renewed(began + RENEWAL, began + RENEWAL * 2);
        assert!(held.holds(began + LENGTH) && !held.holds(began + LENGTH + RENEWAL));
        held.renewed(began + LENGTH, began + LENGTH + RENEWAL * 2);
        assert!(!held.holds(began + LENGTH));
        held.renewed(began + LENGTH * 2, began + LENGTH * 2);
        assert!(!held.holds(began + LENGTH * 2));
    }
}
