//! Offers the load: as many workers as connections, each of which takes the request that is due next.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use hdrhistogram::Histogram;
use http_body_util::BodyExt;
use hyper::header::{HeaderName, HeaderValue};
use tokio::{task::JoinSet, time::Instant};
use veza_dr_core::{Cx, Error, ErrorKind, Result};

use super::{
    LoadCheck, LoadFigures, LoadShape,
    http::bearer,
    load::percent,
    load_figures::{at, histogram, record},
};
use crate::reach::HttpConnection;

/// Over how many of the last requests the share of errors is taken that ends a run.
const WINDOW: usize = 50;

pub(super) async fn run(cx: &Cx, check: &LoadCheck) -> Result<LoadFigures> {
    let schedule = Schedule::of(check.shape)?;
    let headers = bearer(check.token.as_ref())?;
    // An address that cannot be asked at all leaves the question open; one that does not answer is an answer.
    match cx.run("load", async { Ok(tokio::time::timeout(check.limits.timeout, check.address.open()).await) }).await? {
        Ok(Err(e)) if e.kind() != ErrorKind::Unavailable => return Err(e),
        _ => {}
    }
    let shared = Arc::new(Shared {
        warm_up: AtomicU64::new(0),
        next: AtomicU64::new(0),
        open: AtomicU32::new(0),
        most_open: AtomicU32::new(0),
        stopped: AtomicBool::new(false),
        warm: tokio::sync::Barrier::new(schedule.workers as usize),
        start: Mutex::new(None),
        seen: Mutex::new(Seen {
            corrected: histogram()?,
            uncorrected: histogram()?,
            answered: 0,
            errors: BTreeMap::new(),
            last: VecDeque::with_capacity(WINDOW),
            end: None,
            stopped: None,
        }),
    });
    let mut workers = JoinSet::new();
    for _ in 0..schedule.workers {
        let worker = Worker {
            check: check.clone(),
            headers: headers.clone(),
            schedule,
            shared: shared.clone(),
            connection: None,
        };
        workers.spawn(worker.work());
    }
    let all = async {
        while let Some(ended) = workers.join_next().await {
            ended.map_err(|e| Error::new(ErrorKind::Unexpected, "a worker of the load broke").with_source(e))?;
        }
        Ok(())
    };
    cx.run("load", all).await?;
    Ok(shared.figures(schedule))
}

/// When each request is due.
#[derive(Debug, Clone, Copy)]
struct Schedule {
    workers: u32,
    requests: u64,
    /// Between two requests; `None`: as soon as a worker is free.
    interval: Option<Duration>,
    lasting: Option<Duration>,
}

impl Schedule {
    fn of(shape: LoadShape) -> Result<Self> {
        let nothing = |what: &str| Error::new(ErrorKind::Config, format!("the load asks for {what}"));
        let (workers, requests, interval, lasting) = match shape {
            LoadShape::Count { requests, concurrency } => (concurrency, requests, None, None),
            LoadShape::Rate { per_second, lasting, concurrency } => {
                if !per_second.is_finite() || per_second <= 0.0 || per_second > 1e6 {
                    return Err(nothing(&format!("{per_second} requests a second")));
                }
                #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "positive, saturating")]
                let requests = (per_second * lasting.as_secs_f64()).round() as u64;
                (concurrency, requests, Some(Duration::from_secs_f64(1.0 / per_second)), Some(lasting))
            }
        };
        if requests == 0 || workers == 0 {
            return Err(nothing("no request, or for no connection"));
        }
        let workers = u32::try_from(requests.min(workers.into())).unwrap_or(workers);
        Ok(Self { workers, requests, interval, lasting })
    }

    fn due(&self, start: Instant, number: u64) -> Option<Instant> {
        Some(start + Duration::from_secs_f64(self.interval?.as_secs_f64() * number as f64))
    }
}

struct Shared {
    warm_up: AtomicU64,
    next: AtomicU64,
    open: AtomicU32,
    most_open: AtomicU32,
    stopped: AtomicBool,
    warm: tokio::sync::Barrier,
    start: Mutex<Option<Instant>>,
    seen: Mutex<Seen>,
}

struct Seen {
    corrected: Histogram<u64>,
    uncorrected: Histogram<u64>,
    answered: u64,
    errors: BTreeMap<String, u64>,
    last: VecDeque<bool>,
    end: Option<Instant>,
    stopped: Option<String>,
}

impl Shared {
    fn start(&self) -> Instant {
        *self.start.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(Instant::now)
    }

    fn count(&self, due: Instant, sent: Instant, error: Option<String>, stop_at: f64) {
        let now = Instant::now();
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        record(&mut seen.corrected, now - due.min(now));
        record(&mut seen.uncorrected, now - sent);
        seen.end = Some(now);
        if seen.last.len() == WINDOW {
            seen.last.pop_front();
        }
        seen.last.push_back(error.is_some());
        match error {
            None => seen.answered += 1,
            Some(kind) => *seen.errors.entry(kind).or_default() += 1,
        }
        let share = seen.last.iter().filter(|failed| **failed).count() as f64 / WINDOW as f64;
        if seen.last.len() == WINDOW && share >= stop_at && !self.stopped.swap(true, Ordering::Relaxed) {
            seen.stopped = Some(format!("ended early: {} of the last {WINDOW} requests failed", percent(share)));
        }
    }

    fn figures(&self, schedule: Schedule) -> LoadFigures {
        let start = self.start();
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let sent = seen.corrected.len();
        LoadFigures {
            sent,
            answered: seen.answered,
            errors: seen.errors.clone(),
            not_sent: schedule.requests.saturating_sub(sent),
            took: seen.end.map(|end| end - start).unwrap_or_default(),
            p50: at(&seen.corrected, 50.0),
            p95: at(&seen.corrected, 95.0),
            p99: at(&seen.corrected, 99.0),
            max: at(&seen.corrected, 100.0),
            p99_uncorrected: at(&seen.uncorrected, 99.0),
            connections: self.most_open.load(Ordering::Relaxed),
            stopped: seen.stopped.clone(),
        }
    }
}

/// One connection's worth of load.
struct Worker {
    check: LoadCheck,
    headers: Vec<(HeaderName, HeaderValue)>,
    schedule: Schedule,
    shared: Arc<Shared>,
    connection: Option<HttpConnection>,
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.close();
    }
}

impl Worker {
    async fn work(mut self) {
        while self.shared.warm_up.fetch_add(1, Ordering::Relaxed) < self.check.warm_up {
            // What a cold service says does not count.
            let _ = self.one().await;
        }
        self.shared.warm.wait().await;
        let start = self.shared.start();
        while !self.shared.stopped.load(Ordering::Relaxed) {
            let number = self.shared.next.fetch_add(1, Ordering::Relaxed);
            if number >= self.schedule.requests {
                break;
            }
            let due = self.schedule.due(start, number);
            if let Some(due) = due {
                tokio::time::sleep_until(due).await;
            }
            let sent = Instant::now();
            // Once the time is up by more than one answer may take, the rest is told as not sent.
            if self.schedule.lasting.is_some_and(|lasting| sent > start + lasting + self.check.limits.timeout) {
                break;
            }
            let error = self.one().await.err();
            self.shared.count(due.unwrap_or(sent), sent, error, self.check.limits.stop_at_errors);
        }
    }

    async fn one(&mut self) -> std::result::Result<(), String> {
        match tokio::time::timeout(self.check.limits.timeout, self.ask()).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(kind)) => Err(kind),
            Err(_) => {
                self.close();
                Err("no answer in time".to_owned())
            }
        }
    }

    async fn ask(&mut self) -> std::result::Result<(), String> {
        let ready = match &mut self.connection {
            Some(connection) => connection.is_ready().await,
            None => false,
        };
        if !ready {
            self.close();
            let connection = self.check.address.connect().await.map_err(|e| e.to_string())?;
            let open = self.shared.open.fetch_add(1, Ordering::Relaxed) + 1;
            self.shared.most_open.fetch_max(open, Ordering::Relaxed);
            self.connection = Some(connection);
        }
        let Some(connection) = &mut self.connection else { return Err("not connected".to_owned()) };
        let asked = async {
            let mut answer = connection.get(&self.headers).await.map_err(|e| e.to_string())?;
            while let Some(frame) = answer.frame().await {
                frame.map_err(|e| format!("the answer broke off: {e}"))?;
            }
            Ok(answer.status())
        };
        let answered: std::result::Result<_, String> = asked.await;
        match answered {
            Ok(status) if status.as_u16() < 400 => Ok(()),
            Ok(status) => Err(format!("status {}", status.as_u16())),
            Err(e) => {
                self.close();
                Err(e)
            }
        }
    }

    fn close(&mut self) {
        if self.connection.take().is_some() {
            self.shared.open.fetch_sub(1, Ordering::Relaxed);
        }
    }
}
