//! Looks at what users see, at a fixed rate, whatever comes back.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, SystemTime},
};

use chrono::{DateTime, TimeDelta, Utc};
use futures::{StreamExt, future::join_all, stream::FuturesUnordered};
use tokio::time::{Instant, sleep_until, timeout_at};
use veza_dr_core::{Clock, Cx, Error, ErrorKind, Health, Result, ServiceProbe, SystemClock};

use super::AvailabilityLog;

/// More probes than this do not wait for their answers at the same time.
const IN_FLIGHT: usize = 64;
/// A process that was held up for longer saw nothing meanwhile.
const ASLEEP: Duration = Duration::from_secs(2);

/// What became of one probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Good,
    Degraded,
    Bad,
    Missing,
    Unknown,
}

/// A place from which is looked: what it asks for, as users do, and what tells that it sees anything at all.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Vantage {
    /// Its name.
    pub name: String,
    /// What users need: all of it must be as it should be.
    pub service: Vec<Arc<dyn ServiceProbe>>,
    /// What it can reach as long as it is not cut off itself; asked only when the service gave no sign of life. Without
    /// any, silence is the service's fault.
    pub control: Vec<Arc<dyn ServiceProbe>>,
}

impl Vantage {
    /// Looks at these.
    #[must_use]
    pub fn new(name: impl Into<String>, service: Vec<Arc<dyn ServiceProbe>>) -> Self {
        Self { name: name.into(), service, control: Vec::new() }
    }

    /// Knows by these whether it is cut off.
    #[must_use]
    pub fn with_control(mut self, control: Vec<Arc<dyn ServiceProbe>>) -> Self {
        self.control = control;
        self
    }

    async fn look(&self, cx: &Cx, until: Instant) -> Outcome {
        let cx = cx.child().with_deadline(SystemTime::now() + until.saturating_duration_since(Instant::now()));
        let looked = async { join_all(self.service.iter().map(|probe| probe.observe(&cx))).await };
        let Ok(seen) = timeout_at(until, looked).await else {
            return if self.is_blind(&cx).await { Outcome::Unknown } else { Outcome::Bad };
        };
        let down = |o: &Result<veza_dr_core::Observation>| o.as_ref().is_ok_and(|o| o.health == Health::Down);
        if seen.iter().any(down) {
            let silent = seen.iter().all(|o| !o.as_ref().is_ok_and(|o| o.reached));
            return if silent && self.is_blind(&cx).await { Outcome::Unknown } else { Outcome::Bad };
        }
        if seen.iter().any(Result::is_err) {
            return Outcome::Unknown;
        }
        let degraded = seen.iter().any(|o| o.as_ref().is_ok_and(|o| o.health == Health::Degraded));
        if degraded { Outcome::Degraded } else { Outcome::Good }
    }

    async fn is_blind(&self, cx: &Cx) -> bool {
        if self.control.is_empty() {
            return false;
        }
        let cx = Cx::new(cx.token().clone()).with_deadline(SystemTime::now() + ASLEEP);
        let seen = join_all(self.control.iter().map(|probe| tokio::time::timeout(ASLEEP, probe.observe(&cx)))).await;
        !seen.iter().any(|o| matches!(o, Ok(Ok(o)) if o.reached))
    }
}

/// Looks from every vantage point at a fixed rate: the next look is due at its time, however long the last one takes
/// (open loop). At most 64 wait for their answers at a time; one that would be more is missing, which is bad.
///
/// ```no_run
/// # async fn f(cx: veza_dr_core::Cx) -> veza_dr_core::Result<()> {
/// use std::{sync::Arc, time::Duration};
/// use veza_dr_failover::{measure::{AvailabilityLog, Prober, Vantage}, probe::TcpProbe};
/// let log = Arc::new(AvailabilityLog::in_memory(Duration::from_secs(30 * 86_400)));
/// let service = Vantage::new("here", vec![Arc::new(TcpProbe::new("api.veza.com", 443))]);
/// let prober = Prober::new(vec![service], Duration::from_secs(1), log.clone())?;
/// prober.run(&cx).await;
/// let now = chrono::Utc::now();
/// println!("{:?} %", log.over(now - chrono::TimeDelta::days(30), now).percent());
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Prober {
    vantages: Vec<Vantage>,
    every: Duration,
    patience: Duration,
    log: Arc<AvailabilityLog>,
    clock: Arc<dyn Clock>,
}

/// A look whose answers are not all there yet.
struct Open {
    number: u64,
    at: DateTime<Utc>,
    outcomes: Vec<Option<Outcome>>,
}

impl Prober {
    /// Looks every so often: from 50 ms to 10 s.
    ///
    /// # Errors
    /// `Config` for another rate, or when there is nothing to look at.
    pub fn new(vantages: Vec<Vantage>, every: Duration, log: Arc<AvailabilityLog>) -> Result<Self> {
        if !(Duration::from_millis(50)..=Duration::from_secs(10)).contains(&every) {
            return Err(Error::new(ErrorKind::Config, "probes are made every 50 ms to 10 s"));
        }
        if vantages.is_empty() || vantages.iter().any(|v| v.service.is_empty()) {
            return Err(Error::new(ErrorKind::Config, "there is nothing to probe"));
        }
        Ok(Self { vantages, every, patience: Duration::from_secs(5), log, clock: Arc::new(SystemClock) })
    }

    /// An answer that comes later than this after its look was due is bad; 5 s by default.
    #[must_use]
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Goes by this clock.
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Until `cx` is cancelled.
    pub async fn run(&self, cx: &Cx) {
        let began = Instant::now();
        let mut number = 0u64;
        let mut flying = FuturesUnordered::new();
        let mut open: VecDeque<Open> = VecDeque::new();
        let due = |n: u64| began + self.every.saturating_mul(u32::try_from(n).unwrap_or(u32::MAX));
        loop {
            tokio::select! {
                () = cx.token().cancelled() => break,
                Some((of, vantage, outcome)) = flying.next(), if !flying.is_empty() => {
                    if let Some(open) = open.iter_mut().find(|o: &&mut Open| o.number == of) {
                        open.outcomes[vantage] = Some(outcome);
                    }
                    self.close(&mut open);
                }
                () = sleep_until(due(number)) => {
                    let (now, wall) = (Instant::now(), self.clock.now());
                    let at = |n: u64| wall - TimeDelta::from_std(now - due(n)).unwrap_or_default();
                    // Held up for so long that nothing could be seen: a stopped process, a sleeping machine.
                    while now.saturating_duration_since(due(number)) > ASLEEP.max(self.every) {
                        let outcomes = vec![Some(Outcome::Unknown); self.vantages.len()];
                        open.push_back(Open { number, at: at(number), outcomes });
                        number += 1;
                    }
                    let mut outcomes = vec![None; self.vantages.len()];
                    for (n, vantage) in self.vantages.iter().enumerate() {
                        if flying.len() >= IN_FLIGHT {
                            outcomes[n] = Some(Outcome::Missing);
                            continue;
                        }
                        let (of, until) = (number, due(number) + self.patience);
                        flying.push(async move { (of, n, vantage.look(cx, until).await) });
                    }
                    open.push_back(Open { number, at: at(number), outcomes });
                    number += 1;
                    self.close(&mut open);
                }
            }
        }
        // What has no answer yet is not known.
        for one in open {
            let outcomes: Vec<Outcome> = one.outcomes.iter().map(|o| o.unwrap_or(Outcome::Unknown)).collect();
            self.log.add(one.at, self.every, &outcomes);
        }
        self.log.flush();
    }

    /// Hands over the looks that are complete, in their order.
    fn close(&self, open: &mut VecDeque<Open>) {
        while let Some(front) = open.front() {
            let Some(outcomes) = front.outcomes.iter().copied().collect::<Option<Vec<_>>>() else { return };
            self.log.add(front.at, self.every, &outcomes);
            open.pop_front();
        }
    }
}
