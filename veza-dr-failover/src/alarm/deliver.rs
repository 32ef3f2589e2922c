//! Messages on their way: each to all its receivers, by the first way that works, until it is known to have arrived.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use chrono::{DateTime, TimeDelta, Utc};
use futures::{StreamExt, future::BoxFuture, stream};
use veza_dr_core::{Action, Cx, Error, ErrorKind, Event, Phase, Result, Severity, retrying};

use super::{
    desk::Desk,
    record::{Entry, Message, Record, Route},
};

/// One try may take so long: a channel that hangs must not keep the next one from being tried.
const ATTEMPT: Duration = Duration::from_secs(30);
/// So many deliveries at a time.
const AT_A_TIME: usize = 16;
/// After so many failed tries of all ways, over about a day, a message is given up.
const TRIES: u32 = 60;
/// The pause after the first failed round; it doubles, up to half an hour.
const FIRST_PAUSE: TimeDelta = TimeDelta::seconds(15);
const LONGEST_PAUSE: TimeDelta = TimeDelta::minutes(30);

struct Due {
    message: Arc<Message>,
    number: usize,
    route: Route,
    failures: u32,
}

impl Desk {
    /// Delivers what is due, and says how many messages are still on their way. Another process that delivers from the
    /// same book does it alone: then nothing is done here.
    ///
    /// # Errors
    /// When the book cannot be read. A delivery that fails is no error: it is on record, and tried again.
    pub async fn deliver(&self, cx: &Cx) -> Result<usize> {
        let Some(_alone) = self.deliver_lock()? else { return self.change(|book, _| (Vec::new(), book.outbox.len())) };
        let due = self.change(|book, now| {
            let mut due = Vec::new();
            let mut waiting: Vec<_> = book.outbox.values().collect();
            waiting.sort_by_key(|one| one.number);
            for one in waiting {
                let message = Arc::new(one.message.clone());
                for (number, (route, state)) in one.message.routes.iter().zip(&one.routes).enumerate() {
                    let ways = u32::try_from(route.ways.len().max(1)).unwrap_or(1);
                    if !state.done && state.last.is_none_or(|last| now - last >= pause(state.failures / ways)) {
                        let (message, route, failures) = (message.clone(), route.clone(), state.failures);
                        due.push(Due { message, number, route, failures });
                    }
                }
            }
            (Vec::new(), due)
        })?;
        self.log(cx, &due).await;
        // What one receiver is told comes in the order in which it was raised; another one does not wait for that.
        let mut lanes: BTreeMap<(Option<&str>, &[String]), Vec<&Due>> = BTreeMap::new();
        for one in &due {
            lanes.entry((one.route.to.as_deref(), &one.route.ways)).or_default().push(one);
        }
        let mut sends: Vec<BoxFuture<'_, Result<()>>> = Vec::new();
        for lane in lanes.into_values() {
            sends.push(Box::pin(self.send_in_order(cx, lane)));
        }
        let sent: Vec<Result<()>> = stream::iter(sends).buffer_unordered(AT_A_TIME).collect().await;
        sent.into_iter().collect::<Result<()>>()?;
        self.change(|book, _| (Vec::new(), book.outbox.len()))
    }

    /// Delivers whenever there is something to deliver, until `cx` is cancelled.
    pub async fn keep_delivering(&self, cx: &Cx) {
        while !cx.is_cancelled() {
            if let Err(e) = self.deliver(cx).await
                && e.kind() != ErrorKind::Cancelled
            {
                tracing::error!(error = %e.chain(), "alarms cannot be delivered");
            }
            tokio::select! {
                () = cx.token().cancelled() => {}
                () = self.more.notified() => {}
                () = tokio::time::sleep(Duration::from_secs(5)) => {}
            }
        }
    }

    /// Calls every contact of every level by all their ways, as a rehearsal, and gives back what became of each call.
    ///
    /// # Errors
    /// `Cancelled`.
    pub async fn rehearse(&self, cx: &Cx, why: &str) -> Result<Vec<(Route, Result<()>)>> {
        let now = self.clock.now();
        let mut all = Vec::new();
        for number in 0..self.settings.policy.levels.len() {
            for route in self.settings.level_routes(number) {
                for way in &route.ways {
                    let one = Route::new(route.to.clone(), vec![way.clone()]);
                    if all.contains(&one) {
                        continue;
                    }
                    all.push(one);
                }
            }
        }
        let mut told = Vec::new();
        for route in all {
            cx.check("rehearse the calls")?;
            let to = route.to.clone().unwrap_or_default();
            let text = format!("rehearsal: {why}. {to} was reached; nothing is wrong and nothing is to be done");
            let event = Event::new(now, Action::Escalation, Phase::Started, text);
            let event = event.named("rehearsal").with_severity(Severity::Info);
            let (sent, _) = self.try_way(cx, &route.ways[0], &event).await;
            told.push((route, sent));
        }
        self.change(|_, at| (vec![Entry { at, record: Record::Rehearsed {}, message: None }], ()))?;
        Ok(told)
    }

    async fn log(&self, cx: &Cx, due: &[Due]) {
        let new: BTreeMap<&str, &Event> = due
            .iter()
            .filter(|d| d.failures == 0 && d.number == 0)
            .map(|d| (d.message.id.as_str(), &d.message.event))
            .collect();
        for event in new.into_values() {
            for log in &self.logs {
                if let Err(e) = log.tell(cx, event).await {
                    tracing::warn!(error = %e.chain(), "an alarm is not in the log");
                }
            }
        }
    }

    async fn send_in_order(&self, cx: &Cx, lane: Vec<&Due>) -> Result<()> {
        for due in lane {
            self.send(cx, due).await?;
        }
        Ok(())
    }

    async fn send(&self, cx: &Cx, due: &Due) -> Result<()> {
        let mut event = due.message.event.clone();
        if let (Some(link), Some(help)) = (self.link(&due.message, due.route.to.as_deref()), &mut event.help) {
            help.push_str(&format!(", or open {link}"));
        }
        let mut failures = due.failures;
        if due.route.ways.is_empty() {
            let error = Some("there is no way to reach them".to_owned());
            return self.record(due, "none", 0, error, true);
        }
        for way in &due.route.ways {
            let (sent, attempts) = self.try_way(cx, way, &event).await;
            match sent {
                Ok(()) => return self.record(due, way, attempts, None, true),
                // Nobody was told, and nobody is to blame: the next start goes on.
                Err(e) if e.kind() == ErrorKind::Cancelled && cx.is_cancelled() => return Ok(()),
                Err(e) => {
                    failures += 1;
                    tracing::warn!(message = %due.message.id, %way, error = %e.chain(), "an alarm was not delivered");
                    self.record(due, way, attempts, Some(e.chain()), failures >= TRIES)?;
                }
            }
        }
        Ok(())
    }

    async fn try_way(&self, cx: &Cx, way: &str, event: &Event) -> (Result<()>, u32) {
        let Some(sink) = self.ways.get(way) else {
            let text = format!("the configuration has no channel `{way}`");
            return (Err(Error::new(ErrorKind::Config, text)), 0);
        };
        let attempts = AtomicU32::new(0);
        let sent = retrying(cx, self.patience, || {
            attempts.fetch_add(1, Ordering::Relaxed);
            let told = sink.tell(cx, event);
            async {
                tokio::time::timeout(ATTEMPT, told).await.unwrap_or_else(|_| {
                    let text = format!("no answer within {} s", ATTEMPT.as_secs());
                    Err(Error::new(ErrorKind::Unavailable, text))
                })
            }
        });
        (sent.await, attempts.into_inner())
    }

    fn record(&self, due: &Due, way: &str, attempts: u32, error: Option<String>, last: bool) -> Result<()> {
        let (message, way) = (due.message.id.clone(), way.to_owned());
        let record = Record::Delivery { message, route: due.number, way, attempts, error, last };
        self.change(|book, at| {
            let entry = Entry { at, record, message: None };
            book.add(&entry);
            (vec![entry], ())
        })
    }

    /// What a contact can open to acknowledge.
    fn link(&self, message: &Message, to: Option<&str>) -> Option<String> {
        let links = self.links.as_ref()?;
        if message.event.phase == Phase::Succeeded {
            return None;
        }
        let id = message.id.split('.').next()?;
        let who = to.unwrap_or("link");
        let until: DateTime<Utc> = self.clock.now() + TimeDelta::from_std(links.hold).ok()?;
        let token = links.key.token(id, who, until);
        Some(format!("{}/acknowledge/{id}?by={}&token={token}", links.base, encoded(who)))
    }
}

fn pause(rounds: u32) -> TimeDelta {
    let doubled = FIRST_PAUSE * 2i32.pow(rounds.saturating_sub(1).min(10));
    doubled.min(LONGEST_PAUSE)
}

/// As a part of a URL's query.
fn encoded(text: &str) -> String {
    let safe = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'~');
    text.bytes().map(|b| if safe(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}
