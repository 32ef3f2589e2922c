//! Filter, queue and retries before a channel.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use tokio::{sync::mpsc, task::JoinHandle};
use veza_dr_core::{Clock, Cx, Error, ErrorKind, Event, EventSink, Result, RetryPolicy, SystemClock, retrying};

use super::{
    delivery::{Delivery, DeliveryRecord},
    filter::{Filter, Sieve},
};

/// One try at a delivery may take so long.
const ATTEMPT: Duration = Duration::from_secs(60);

/// As many may wait for a channel; more than that says nothing new.
const WAITING: usize = 256;

/// A channel with a filter, a bounded queue and retries: [`EventSink::tell`] returns at once, whatever the channel does.
///
/// Events are delivered in order by a task of its own. One that cannot be delivered is tried again as the policy says
/// and then given up; either way each [`DeliveryRecord`] is told.
#[derive(Debug)]
pub struct Queued {
    name: String,
    sieve: Arc<Mutex<Sieve>>,
    queue: Mutex<Option<mpsc::Sender<Event>>>,
    worker: Mutex<Option<JoinHandle<()>>>,
    records: Vec<Arc<dyn DeliveryRecord>>,
    cx: Cx,
}

impl Queued {
    /// Starts the channel's task. Must be called inside a tokio runtime.
    pub fn start(
        name: impl Into<String>,
        sink: Arc<dyn EventSink>,
        filter: Filter,
        policy: RetryPolicy,
        records: Vec<Arc<dyn DeliveryRecord>>,
    ) -> Self {
        let name = name.into();
        let (sender, mut receiver) = mpsc::channel::<Event>(WAITING);
        let cx = Cx::background();
        let (worker_cx, worker_name, worker_records) = (cx.clone(), name.clone(), records.clone());
        let sieve = Arc::new(Mutex::new(Sieve::new(filter)));
        let worker_sieve = sieve.clone();
        let worker = tokio::spawn(async move {
            while let Some(event) = receiver.recv().await {
                let attempts = AtomicU32::new(0);
                let result = retrying(&worker_cx, policy, || {
                    attempts.fetch_add(1, Ordering::Relaxed);
                    let told = sink.tell(&worker_cx, &event);
                    async {
                        // A receiver that takes the call and never answers would hold up all that follows.
                        tokio::time::timeout(ATTEMPT, told).await.unwrap_or_else(|_| {
                            let text = format!("no answer within {} s", ATTEMPT.as_secs());
                            Err(Error::new(ErrorKind::Unavailable, text))
                        })
                    }
                })
                .await;
                let attempts = attempts.into_inner();
                if result.is_err() {
                    worker_sieve.lock().unwrap_or_else(PoisonError::into_inner).undo(&event);
                }
                ended(&worker_name, &worker_records, event, attempts, result.err());
            }
        });
        let (queue, worker) = (Mutex::new(Some(sender)), Mutex::new(Some(worker)));
        Self { name, sieve, queue, worker, records, cx }
    }

    /// The channel's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Takes no more events and waits until those that wait are delivered, or given up after `within`.
    pub async fn close(&self, within: Duration) {
        drop(self.queue.lock().unwrap_or_else(PoisonError::into_inner).take());
        let worker = self.worker.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut worker) = worker else { return };
        if tokio::time::timeout(within, &mut worker).await.is_err() {
            // What is left fails as cancelled, one after another, and is recorded as such.
            self.cx.cancel();
            let _ = tokio::time::timeout(Duration::from_secs(1), worker).await;
        }
    }
}

fn ended(channel: &str, records: &[Arc<dyn DeliveryRecord>], event: Event, attempts: u32, error: Option<Error>) {
    if let Some(e) = &error {
        tracing::warn!(%channel, attempts, error = %e.chain(), "a notification was not delivered");
    }
    let (channel, error) = (channel.to_owned(), error.map(|e| e.chain()));
    let delivery = Delivery { channel, event, at: SystemClock.now(), attempts, error };
    for record in records {
        record.record(&delivery);
    }
}

#[async_trait]
impl EventSink for Queued {
    /// Puts the event in the queue, if the filter lets it through. Never waits.
    ///
    /// # Errors
    /// `Full` when too many wait already, `Cancelled` after [`Queued::close`]; recorded as a failed delivery too.
    async fn tell(&self, _: &Cx, event: &Event) -> Result<()> {
        if !self.sieve.lock().unwrap_or_else(PoisonError::into_inner).passes(event) {
            return Ok(());
        }
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let refused = match queue.as_ref().map(|q| q.try_send(event.clone()).is_ok()) {
            Some(true) => return Ok(()),
            Some(false) => Error::new(ErrorKind::Full, format!("channel {}: {WAITING} events wait already", self.name)),
            None => Error::new(ErrorKind::Cancelled, format!("channel {} is closed", self.name)),
        };
        drop(queue);
        self.sieve.lock().unwrap_or_else(PoisonError::into_inner).undo(event);
        let again = Error::new(refused.kind(), refused.to_string());
        ended(&self.name, &self.records, event.clone(), 0, Some(again));
        Err(refused)
    }
}

#[cfg(test)]
mod tests {
    use chrono::Utc;
    use veza_dr_core::{Action, Phase};

    use super::*;

    /// Fails so many times, then delivers.
    #[derive(Debug, Default)]
    struct Fickle {
        failures: AtomicU32,
        heard: Mutex<Vec<String>>,
        hang: bool,
    }

    #[async_trait]
    impl EventSink for Fickle {
        async fn tell(&self, _: &Cx, event: &Event) -> Result<()> {
            if self.hang {
                std::future::pending::<()>().await;
            }
            if self.failures.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)).is_ok() {
                return Err(Error::new(ErrorKind::Unavailable, "no answer"));
            }
            self.heard.lock().unwrap().push(event.text.clone());
            Ok(())
        }
    }

    #[derive(Debug, Default)]
    struct Kept(Mutex<Vec<(u32, Option<String>)>>);

    impl DeliveryRecord for Kept {
        fn record(&self, d: &Delivery) {
            self.0.lock().unwrap().push((d.attempts, d.error.clone()));
        }
    }

    fn failed(text: &str) -> Event {
        Event::new(Utc::now(), Action::Backup, Phase::Failed, text)
    }

    fn policy() -> RetryPolicy {
        RetryPolicy::default().with_attempts(3).with_first(Duration::from_millis(1))
    }

    #[tokio::test]
    async fn what_fails_is_tried_again_and_then_given_up_on_record() {
        let (sink, kept) = (Arc::new(Fickle { failures: 5.into(), ..Default::default() }), Arc::new(Kept::default()));
        let filter = Filter::default().with_repeat(Duration::ZERO);
        let queued = Queued::start("x", sink.clone(), filter, policy(), vec![kept.clone()]);
        for text in ["one", "two"] {
            queued.tell(&Cx::background(), &failed(text)).await.unwrap();
        }
        queued.close(Duration::from_secs(5)).await;
        assert_eq!(*sink.heard.lock().unwrap(), ["two"]);
        assert_eq!(*kept.0.lock().unwrap(), [(3, Some("no answer".to_owned())), (3, None)]);
        let e = queued.tell(&Cx::background(), &failed("late")).await.unwrap_err();
        assert_eq!(e.kind(), ErrorKind::Cancelled);
    }

    #[tokio::test]
    async fn a_failure_that_was_not_delivered_is_told_when_it_happens_again() {
        let (sink, kept) = (Arc::new(Fickle { failures: 3.into(), ..Default::default() }), Arc::new(Kept::default()));
        let queued = Queued::start("x", sink.clone(), Filter::default(), policy(), vec![kept.clone()]);
        for text in ["lost", "told", "the same again"] {
            queued.tell(&Cx::background(), &failed(text)).await.unwrap();
            let known = kept.0.lock().unwrap().len();
            for _ in 0..200 {
                if text == "the same again" || kept.0.lock().unwrap().len() > known {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
        queued.close(Duration::from_secs(5)).await;
        assert_eq!(*sink.heard.lock().unwrap(), ["told"], "the four hours begin with what was delivered");
    }

    #[tokio::test]
    async fn a_channel_that_hangs_holds_nobody_up() {
        let (sink, kept) = (Arc::new(Fickle { hang: true, ..Default::default() }), Arc::new(Kept::default()));
        let filter = Filter::default().with_repeat(Duration::ZERO);
        let queued = Queued::start("x", sink, filter, policy(), vec![kept.clone()]);
        let cx = Cx::background();
        let mut refused = 0;
        for n in 0..WAITING + 10 {
            tokio::task::yield_now().await;
            refused += u32::from(queued.tell(&cx, &failed(&n.to_string())).await.is_err());
        }
        assert_eq!(refused, 9, "one is being delivered, the queue is full");
        queued.close(Duration::from_millis(10)).await;
        let kept = kept.0.lock().unwrap();
        assert_eq!(kept.len(), WAITING + 10, "every one is accounted for");
        assert!(kept.iter().all(|(_, e)| e.is_some()));
    }
}
