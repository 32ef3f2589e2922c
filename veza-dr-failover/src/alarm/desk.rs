//! The desk: settings, the book, and the lock before it.

use std::{
    collections::{BTreeMap, VecDeque},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use chrono::{DateTime, Utc};
use tokio::sync::Notify;
use veza_dr_core::{Clock, Error, ErrorKind, EventSink, Result, RetryPolicy, Severity, SystemClock};

use super::{
    book::Book,
    evaluate::Look,
    facts::Facts,
    ledger::Ledger,
    record::{Entry, Message, Route},
};
use crate::{
    alerts::{AlertRule, MetricInfo, Scope},
    escalation::{AckKey, EscalationPolicy},
    files::{Lock, cannot},
};

/// A file that grew beyond this is shortened to what is still needed.
const LARGE: u64 = 4 << 20;
/// What could not be written is kept in memory, so much of it.
const UNSAVED: usize = 10_000;

/// Where links that acknowledge lead, and what they are signed with.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Links {
    /// The address of the page as receivers reach it: `https://dr.example.org`.
    pub base: String,
    /// What they are signed with.
    pub key: AckKey,
    /// How long they hold.
    pub hold: std::time::Duration,
}

impl Links {
    /// Links to this page that hold for a day.
    #[must_use]
    pub fn new(base: impl Into<String>, key: AckKey) -> Self {
        let base = base.into().trim_end_matches('/').to_owned();
        Self { base, key, hold: std::time::Duration::from_secs(86_400) }
    }
}

/// A channel that alerts go to.
#[derive(Debug, Clone)]
pub(super) struct Audience {
    channel: String,
    severity: Severity,
    recovery: bool,
}

#[derive(Debug)]
pub(super) struct Settings {
    pub(super) rules: Vec<(AlertRule, Scope)>,
    pub(super) policy: EscalationPolicy,
    audience: Vec<Audience>,
}

impl Settings {
    /// Each channel by itself; the only one has the others behind it, should it fail.
    pub(super) fn alert_routes(&self, chosen: Option<&[String]>, severity: Severity, over: bool) -> Vec<Route> {
        let fits = |a: &&Audience| match chosen {
            Some(chosen) => chosen.contains(&a.channel),
            None => severity >= a.severity,
        };
        let told: Vec<&Audience> = self.audience.iter().filter(fits).filter(|a| !over || a.recovery).collect();
        let mut routes: Vec<Route> = told.iter().map(|a| Route::new(None, vec![a.channel.clone()])).collect();
        if let [only] = routes.as_mut_slice() {
            let others = self.audience.iter().map(|a| a.channel.clone()).filter(|c| *c != only.ways[0]);
            let others: Vec<String> = others.collect();
            only.ways.extend(others);
        }
        routes
    }

    /// The contacts of a level; whoever is told of what is critical where it has none.
    pub(super) fn level_routes(&self, level: usize) -> Vec<Route> {
        let contacts = self.policy.levels.get(level).map(|l| l.contacts.as_slice()).unwrap_or_default();
        if contacts.is_empty() {
            return self.alert_routes(None, Severity::Critical, false);
        }
        contacts.iter().map(|c| Route::new(Some(c.name.clone()), c.ways.clone())).collect()
    }
}

#[derive(Debug)]
struct Inner {
    ledger: Ledger,
    book: Book,
    loaded: bool,
    /// Lines that the disk did not take; tried again each time.
    unsaved: VecDeque<Entry>,
    complained: bool,
}

/// Raises alarms, calls people, remembers. See the [module](super).
#[derive(Debug)]
pub struct Desk {
    folder: PathBuf,
    inner: Mutex<Inner>,
    pub(super) settings: Settings,
    pub(super) ways: BTreeMap<String, Arc<dyn EventSink>>,
    pub(super) logs: Vec<Arc<dyn EventSink>>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) links: Option<Links>,
    pub(super) patience: RetryPolicy,
    pub(super) more: Notify,
}

impl Desk {
    /// Keeps its book in `STATE_DIR/alarms`. Nobody is told yet: there are no rules and no channels.
    ///
    /// # Errors
    /// When the folder cannot be made or the book cannot be read; `Corrupt` naming its damaged line.
    pub fn open(state_dir: &Path) -> Result<Self> {
        let folder = state_dir.join("alarms");
        std::fs::create_dir_all(&folder).map_err(|e| cannot("made", &folder, e))?;
        let inner = Inner {
            ledger: Ledger::new(folder.join("book.jsonl")),
            book: Book::default(),
            loaded: false,
            unsaved: VecDeque::new(),
            complained: false,
        };
        let settings = Settings { rules: Vec::new(), policy: EscalationPolicy::new(Vec::new()), audience: Vec::new() };
        let desk = Self {
            folder,
            inner: Mutex::new(inner),
            settings,
            ways: BTreeMap::new(),
            logs: Vec::new(),
            clock: Arc::new(SystemClock),
            links: None,
            patience: RetryPolicy::default().with_attempts(3).with_first(std::time::Duration::from_secs(1)),
            more: Notify::new(),
        };
        desk.change(|_, _| (Vec::new(), ()))?;
        Ok(desk)
    }

    /// Judges by these rules.
    ///
    /// # Errors
    /// `Config` for a condition that makes no sense of the metrics that there are.
    pub fn with_rules(mut self, rules: Vec<AlertRule>, metrics: &[MetricInfo]) -> Result<Self> {
        for rule in rules {
            let scope = rule.condition.check(metrics)?;
            self.settings.rules.push((rule, scope));
        }
        Ok(self)
    }

    /// Calls people by this policy.
    #[must_use]
    pub fn with_policy(mut self, policy: EscalationPolicy) -> Self {
        self.settings.policy = policy;
        self
    }

    /// A channel that contacts name as one of their ways.
    #[must_use]
    pub fn with_way(mut self, name: impl Into<String>, sink: Arc<dyn EventSink>) -> Self {
        self.ways.insert(name.into(), sink);
        self
    }

    /// A channel that is told of alerts from this severity on, and, if `recovery`, of their end.
    #[must_use]
    pub fn with_channel(
        mut self,
        name: impl Into<String>,
        sink: Arc<dyn EventSink>,
        severity: Severity,
        recovery: bool,
    ) -> Self {
        let channel = name.into();
        self.settings.audience.push(Audience { channel: channel.clone(), severity, recovery });
        self.with_way(channel, sink)
    }

    /// Writes down, too, whatever is told.
    #[must_use]
    pub fn with_log(mut self, log: Arc<dyn EventSink>) -> Self {
        self.logs.push(log);
        self
    }

    /// Adds a link that acknowledges to what contacts are told.
    #[must_use]
    pub fn with_links(mut self, links: Links) -> Self {
        self.links = Some(links);
        self
    }

    /// Goes by this clock.
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// How patiently one way is tried before the next one.
    #[must_use]
    pub fn with_patience(mut self, patience: RetryPolicy) -> Self {
        self.patience = patience;
        self
    }

    /// The time by the desk's clock.
    #[must_use]
    pub fn now(&self) -> DateTime<Utc> {
        self.clock.now()
    }

    /// Where the key of its links belongs.
    #[must_use]
    pub fn key_file(state_dir: &Path) -> PathBuf {
        state_dir.join("alarms").join("acknowledge.key")
    }

    /// Judges what is known now. What is raised is durable when this returns, and waits for [`Desk::deliver`]; the new
    /// messages are given back. When the disk takes nothing any more, alarms are raised all the same: they are told
    /// again after a restart.
    ///
    /// # Errors
    /// When the book could never be read.
    pub fn evaluate(&self, facts: &Facts) -> Result<Vec<Message>> {
        let entries = self.change(|book, _| {
            let mut look = Look { settings: &self.settings, book, facts, entries: Vec::new() };
            look.incident();
            look.alerts();
            let entries = look.entries;
            (entries.clone(), entries)
        })?;
        let new: Vec<Message> = entries.into_iter().filter_map(|e| e.message).collect();
        if !new.is_empty() {
            self.more.notify_one();
        }
        Ok(new)
    }

    /// Reads what others added, lets `work` change the book, and makes its lines durable.
    pub(super) fn change<T>(&self, work: impl FnOnce(&mut Book, DateTime<Utc>) -> (Vec<Entry>, T)) -> Result<T> {
        let lock = Lock::wait(&self.folder.join("book.lock"));
        let mut inner = self.lock();
        let ready = lock.and_then(|lock| inner.catch_up().map(|()| lock));
        let lock = match ready {
            Ok(lock) => Some(lock),
            Err(e) if !inner.loaded || e.kind() == ErrorKind::Corrupt => return Err(e),
            Err(e) => {
                inner.complain(&e);
                None
            }
        };
        let now = self.clock.now();
        let (entries, out) = work(&mut inner.book, now);
        inner.unsaved.extend(entries);
        while inner.unsaved.len() > UNSAVED {
            inner.unsaved.pop_front();
        }
        if lock.is_some() {
            inner.save(now);
        }
        Ok(out)
    }

    /// Whether all that was raised is on disk.
    #[must_use]
    pub fn is_durable(&self) -> bool {
        self.lock().unsaved.is_empty()
    }

    pub(super) fn deliver_lock(&self) -> Result<Option<Lock>> {
        Lock::attempt(&self.folder.join("deliver.lock"))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn catch_up(&mut self) -> Result<()> {
        let news = self.ledger.news()?;
        if news.anew {
            self.book = Book::default();
        }
        for entry in &news.entries {
            self.book.add(entry);
        }
        if news.anew {
            for entry in &self.unsaved {
                self.book.add(entry);
            }
        }
        self.loaded = true;
        Ok(())
    }

    fn save(&mut self, now: DateTime<Utc>) {
        if !self.unsaved.is_empty() {
            let entries: Vec<Entry> = self.unsaved.iter().cloned().collect();
            match self.ledger.append(&entries) {
                Ok(()) => {
                    self.unsaved.clear();
                    self.complained = false;
                }
                Err(e) => return self.complain(&e),
            }
        }
        if self.ledger.size() > LARGE
            && let Err(e) = self.shorten(now)
        {
            self.complain(&e);
        }
    }

    fn shorten(&mut self, now: DateTime<Utc>) -> Result<()> {
        let mut whole = Ledger::new(self.ledger.path().to_owned());
        let entries = whole.news()?.entries;
        let short = Book::shortened(&entries, now);
        // Thirty very busy days: shortening again and again would help nobody.
        if short.len() * 2 < entries.len() {
            self.ledger.replace(&short)?;
        }
        Ok(())
    }

    fn complain(&mut self, e: &Error) {
        if !std::mem::replace(&mut self.complained, true) {
            tracing::error!(error = %e.chain(), "alarms are raised, but a crash would have them told again");
        }
    }
}
