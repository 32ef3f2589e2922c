//! Events on their way to whoever wants them: in order, and without holding the work up.

use std::{sync::Arc, time::Duration};

use tokio::{sync::mpsc, task::JoinSet};
use veza_dr_core::{Cx, Event, EventSink};

/// How long the last events may take once the scheduler ends.
const LAST_WORDS: Duration = Duration::from_secs(30);
/// How long one sink may take over one event.
const PATIENCE: Duration = Duration::from_secs(60);

/// Takes events from any task.
#[derive(Debug, Clone)]
pub(super) struct Teller(mpsc::UnboundedSender<Event>);

impl Teller {
    pub(super) fn tell(&self, event: Event) {
        // Only a scheduler that was dropped has nobody listening.
        let _ = self.0.send(event);
    }
}

/// Hands events to the sinks, each in the order in which it happened.
#[derive(Debug)]
pub(super) struct Telling {
    tasks: JoinSet<()>,
}

impl Telling {
    pub(super) fn start(sinks: Vec<Arc<dyn EventSink>>) -> (Teller, Self) {
        let (sender, mut receiver) = mpsc::unbounded_channel::<Event>();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            while let Some(event) = receiver.recv().await {
                for sink in &sinks {
                    let cx = Cx::background();
                    match tokio::time::timeout(PATIENCE, sink.tell(&cx, &event)).await {
                        Ok(Ok(())) => {}
                        Ok(Err(e)) => tracing::warn!(error = %e.chain(), "an event could not be told"),
                        Err(_) => tracing::warn!("an event could not be told in {} s", PATIENCE.as_secs()),
                    }
                }
            }
        });
        (Teller(sender), Self { tasks })
    }

    /// Waits until all was told, once no teller is left.
    pub(super) async fn end(mut self) {
        let all = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(LAST_WORDS, all).await.is_err() {
            tracing::warn!("the last events could not be told in {} s", LAST_WORDS.as_secs());
        }
    }
}
