//! Tells people through channels. A recovery does not wait for a channel that is broken, and says that it is.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use futures::future::join_all;
use serde_json::{Value, json};
use veza_dr_core::{Action, Clock, Cx, Error, ErrorKind, Event, EventSink, Phase, Result, RetryPolicy, retrying};

use crate::runbook::{Done, Effects, Safety, StepAction, StepContext};

/// What one channel may take, all its tries together.
const PATIENCE: Duration = Duration::from_secs(30);

/// One channel.
#[derive(Debug, Clone)]
pub(super) struct Channel {
    pub(super) name: String,
    pub(super) sink: Arc<dyn EventSink>,
}

/// Tells channels, each up to three times, all at once. After a crash it is done again: the message names the run and
/// the step, so that whoever hears it twice knows it for the same.
#[derive(Debug)]
pub(super) struct Notify {
    pub(super) text: String,
    pub(super) channels: Vec<Channel>,
    pub(super) clock: Arc<dyn Clock>,
}

impl Notify {
    async fn told(&self, cx: &Cx, channel: &Channel, event: &Event) -> Result<()> {
        let policy = RetryPolicy::default().with_attempts(3).with_first(Duration::from_secs(1));
        let limited = cx.child().with_deadline(std::time::SystemTime::now() + PATIENCE);
        let telling = retrying(&limited, policy, || channel.sink.tell(&limited, event));
        // A channel that takes the call and never answers must not take the others' time.
        tokio::time::timeout(PATIENCE, telling).await.unwrap_or_else(|_| {
            Err(Error::new(ErrorKind::Unavailable, format!("no answer within {} s", PATIENCE.as_secs())))
        })
    }
}

#[async_trait]
impl StepAction for Notify {
    fn commands(&self) -> Vec<String> {
        let names: Vec<&str> = self.channels.iter().map(|c| c.name.as_str()).collect();
        vec![format!("tell {}: {}", names.join(", "), self.text)]
    }

    fn effects(&self) -> Effects {
        Effects::Idempotent
    }

    fn safety(&self) -> Vec<Safety> {
        vec![Safety::Production]
    }

    fn site(&self) -> Option<&str> {
        None
    }

    async fn act(&self, cx: &Cx, step: &StepContext, _: &Value) -> Result<Done> {
        let again = if step.attempt > 1 { ", told once more" } else { "" };
        let text = format!("{} (run {}, step {}{again})", self.text, step.run, step.step);
        let event = Event::new(self.clock.now(), Action::Failover, Phase::Started, text);
        let each = self.channels.iter().map(|c| async { (c.name.as_str(), self.told(cx, c, &event).await) });
        let results = join_all(each).await;
        // Whoever asked the run to stop asked for this too; nobody is blamed for it.
        cx.check("tell the channels")?;
        let (mut told, mut warnings, mut deliveries) = (Vec::new(), Vec::new(), Vec::new());
        for (channel, result) in results {
            let error = result.err().map(|e| e.chain());
            deliveries.push(json!({ "channel": channel, "delivered": error.is_none(), "error": error }));
            match error {
                None => told.push(channel),
                Some(why) => warnings.push(format!("channel {channel} was not told: {why}")),
            }
        }
        let text = match (told.as_slice(), warnings.len()) {
            ([], _) => "nobody could be told".to_owned(),
            (told, 0) => format!("told {}", told.join(", ")),
            (told, failed) => format!("told {}; {failed} could not be told", told.join(", ")),
        };
        Ok(warnings.into_iter().fold(Done::new(text, json!({ "deliveries": deliveries })), Done::with_warning))
    }
}
