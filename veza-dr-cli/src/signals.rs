//! SIGINT and SIGTERM: the first asks the work to stop cleanly, the second ends the program where it stands.

use std::sync::{
    Arc,
    atomic::{AtomicU8, Ordering},
};

use tokio::signal::unix::{SignalKind, signal};
use veza_dr_core::Cx;

use crate::{Exit, render::SharedWriter};

/// Which signal came first, if any.
#[derive(Debug, Clone, Default)]
pub(crate) struct Signals(Arc<AtomicU8>);

impl Signals {
    /// Begins to listen; must be called inside a runtime.
    pub(crate) fn listen(cx: &Cx, remarks: SharedWriter) -> Self {
        let heard = Self::default();
        for (kind, exit) in [(SignalKind::interrupt(), Exit::Interrupted), (SignalKind::terminate(), Exit::Terminated)]
        {
            let (heard, cx, remarks) = (heard.clone(), cx.clone(), remarks.clone());
            // Where signals cannot be heard, their default is in force, which ends the program too.
            let Ok(mut stream) = signal(kind) else { continue };
            tokio::spawn(async move {
                while stream.recv().await.is_some() {
                    if heard.0.compare_exchange(0, exit.code(), Ordering::SeqCst, Ordering::SeqCst).is_ok() {
                        remarks.line("Stopping: releasing leases and tidying up. Once more to stop at once.");
                        cx.cancel();
                    } else {
                        stop_now(exit);
                    }
                }
            });
        }
        heard
    }

    /// The exit code of the signal that came.
    pub(crate) fn exit(&self) -> Option<Exit> {
        match self.0.load(Ordering::SeqCst) {
            0 => None,
            code if code == Exit::Interrupted.code() => Some(Exit::Interrupted),
            _ => Some(Exit::Terminated),
        }
    }
}

#[expect(clippy::exit, reason = "a second signal asks for exactly this")]
fn stop_now(exit: Exit) -> ! {
    std::process::exit(exit.code().into())
}
