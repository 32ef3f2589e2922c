//! What probes saw, kept on this host: a file a day, and the window in memory.

use std::{
    collections::VecDeque,
    fs::{File, OpenOptions},
    io::{BufRead, BufReader, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use veza_dr_core::Result;

use super::{
    Availability, Outage,
    bucket::{Bucket, Class, LENGTH, Sum},
    outage::Tracker,
    prober::Outcome,
};
use crate::files::{Lock, cannot};

/// What probes saw within a window, in 32 bytes for each ten seconds: 8 MiB for thirty days. Each finished ten seconds
/// go to a file of the day, so that a restart does not forget them; time in which nobody looked stays unknown.
#[derive(Debug)]
pub struct AvailabilityLog {
    folder: Option<PathBuf>,
    keep: Duration,
    inner: Mutex<Inner>,
}

/// The right to write into a folder of an [`AvailabilityLog`].
#[derive(Debug)]
pub struct ProbingLock(#[expect(dead_code, reason = "held, not read")] Lock);

#[derive(Debug)]
struct Inner {
    done: VecDeque<Bucket>,
    open: Option<Bucket>,
    tracker: Tracker,
    vantage_points: Vec<String>,
    last: Option<DateTime<Utc>>,
    /// A file that could not be written is complained of once.
    complained: bool,
}

impl AvailabilityLog {
    /// Keeps a window of this length in memory alone.
    #[must_use]
    pub fn in_memory(keep: Duration) -> Self {
        let inner = Inner {
            done: VecDeque::new(),
            open: None,
            tracker: Tracker::default(),
            vantage_points: Vec::new(),
            last: None,
            complained: false,
        };
        Self { folder: None, keep, inner: Mutex::new(inner) }
    }

    /// Keeps a window of this length, and what is older than it no longer, in a folder.
    ///
    /// # Errors
    /// `Denied` or `Unavailable` when the folder cannot be made or read. A damaged line is passed over: it is unknown.
    pub fn open(folder: &Path, keep: Duration, now: DateTime<Utc>) -> Result<Self> {
        std::fs::create_dir_all(folder).map_err(|e| cannot("made", folder, e))?;
        let log = Self { folder: Some(folder.to_owned()), ..Self::in_memory(keep) };
        let from = now - TimeDelta::from_std(keep).unwrap_or(TimeDelta::MAX);
        let buckets = read(folder, from, now)?;
        log.lock().done = buckets.into();
        Ok(log)
    }

    /// The right to write into a folder; `None` while another process has it. It ends with the process at the latest.
    ///
    /// # Errors
    /// When the folder cannot be made or written.
    pub fn lock_folder(folder: &Path) -> Result<Option<ProbingLock>> {
        std::fs::create_dir_all(folder).map_err(|e| cannot("made", folder, e))?;
        Ok(Lock::attempt(&folder.join("lock"))?.map(ProbingLock))
    }

    /// Takes up what another process put into the folder meanwhile.
    ///
    /// # Errors
    /// As [`AvailabilityLog::open`].
    pub fn reload(&self, now: DateTime<Utc>) -> Result<()> {
        let Some(folder) = &self.folder else { return Ok(()) };
        let from = now - TimeDelta::from_std(self.keep).unwrap_or(TimeDelta::MAX);
        let buckets = read(folder, from, now)?;
        let mut inner = self.lock();
        (inner.done, inner.open) = (buckets.into(), None);
        Ok(())
    }

    /// An outage begins with the first of bad probes that last so long, and ends with the first of so many good ones in a
    /// row.
    #[must_use]
    pub fn with_outages(self, after: Duration, good_in_a_row: u32) -> Self {
        self.lock().tracker = Tracker::new(after, good_in_a_row);
        self
    }

    /// Says who looks.
    #[must_use]
    pub fn with_vantage_points(self, names: Vec<String>) -> Self {
        self.lock().vantage_points = names;
        self
    }

    /// Takes what the vantage points saw at one instant. `every` is the time between two of them.
    pub(super) fn add(&self, at: DateTime<Utc>, every: Duration, outcomes: &[Outcome]) {
        let every = u16::try_from(every.as_millis()).unwrap_or(u16::MAX);
        let mut inner = self.lock();
        inner.tracker.see(at, Class::of(outcomes));
        inner.last = Some(at);
        let fits = |b: &Bucket| b.start() <= at && at < b.end() && b.every == every;
        if !inner.open.as_ref().is_some_and(fits) {
            self.finish(&mut inner);
            inner.open = Some(Bucket::at(at, every));
        }
        if let Some(open) = inner.open.as_mut() {
            open.add(outcomes);
        }
    }

    /// Puts what is known in the file; at the end.
    pub fn flush(&self) {
        let mut inner = self.lock();
        self.finish(&mut inner);
    }

    fn finish(&self, inner: &mut Inner) {
        let Some(bucket) = inner.open.take() else { return };
        if let Some(folder) = &self.folder
            && let Err(e) = append(folder, &bucket, self.keep)
            && !std::mem::replace(&mut inner.complained, true)
        {
            tracing::warn!(error = %e, folder = %folder.display(), "availability is not kept across a restart");
        }
        // A clock that was set back must not leave the list out of order.
        while inner.done.back().is_some_and(|last| last.at > bucket.at) {
            inner.done.pop_back();
        }
        inner.done.push_back(bucket);
        let room = usize::try_from(self.keep.as_secs() / LENGTH.unsigned_abs() + 1).unwrap_or(usize::MAX);
        while inner.done.len() > room {
            inner.done.pop_front();
        }
    }

    /// What was seen in a window, to the ten seconds.
    #[must_use]
    pub fn over(&self, from: DateTime<Utc>, to: DateTime<Utc>) -> Availability {
        let inner = self.lock();
        let mut sum = Sum::over(from, to);
        let begin = inner.done.partition_point(|b| b.end() <= from);
        let within = inner.done.iter().skip(begin).chain(&inner.open);
        for bucket in within.take_while(|b| b.start() < to) {
            sum.add(bucket);
        }
        sum.end(inner.vantage_points.clone())
    }

    /// What was seen in a window, by the files that another process writes.
    ///
    /// # Errors
    /// `Denied` or `Unavailable` when the folder is there and cannot be read.
    pub fn read(folder: &Path, from: DateTime<Utc>, to: DateTime<Utc>) -> Result<Availability> {
        let mut sum = Sum::over(from, to);
        for bucket in read(folder, from, to)? {
            sum.add(&bucket);
        }
        Ok(sum.end(Vec::new()))
    }

    /// Whether this process looked within the last minute, be it that nobody could see anything.
    #[must_use]
    pub fn is_looking(&self, now: DateTime<Utc>) -> bool {
        self.lock().last.is_some_and(|last| now - last <= TimeDelta::seconds(60))
    }

    /// The outage that goes on, if one does; `None` too while nothing is known yet: see [`Self::is_served`].
    #[must_use]
    pub fn outage(&self) -> Option<Outage> {
        self.lock().tracker.current()
    }

    /// Whether users are served, by what was seen last; `None` when that is not known, or was longer than a minute ago.
    #[must_use]
    pub fn is_served(&self, now: DateTime<Utc>) -> Option<bool> {
        self.lock().tracker.is_served(now)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn file_of(folder: &Path, day: NaiveDate) -> PathBuf {
    folder.join(format!("{day}.jsonl"))
}

fn append(folder: &Path, bucket: &Bucket, keep: Duration) -> std::io::Result<()> {
    let day = bucket.start().date_naive();
    let path = file_of(folder, day);
    let new = !path.exists();
    let mut file = OpenOptions::new().append(true).create(true).mode(0o644).open(&path)?;
    let line = serde_json::to_string(bucket)?;
    file.write_all(format!("{line}\n").as_bytes())?;
    if new {
        let days = TimeDelta::from_std(keep).unwrap_or(TimeDelta::MAX).num_days() + 1;
        let oldest = day.checked_sub_days(chrono::Days::new(days.unsigned_abs()));
        for (old, path) in days_of(folder)? {
            if oldest.is_some_and(|oldest| old < oldest) {
                std::fs::remove_file(path)?;
            }
        }
    }
    Ok(())
}

fn days_of(folder: &Path) -> std::io::Result<Vec<(NaiveDate, PathBuf)>> {
    let mut days = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let day = path.file_name().and_then(|n| n.to_str()?.strip_suffix(".jsonl")?.parse().ok());
        days.extend(day.map(|day| (day, path)));
    }
    days.sort();
    Ok(days)
}

fn read(folder: &Path, from: DateTime<Utc>, to: DateTime<Utc>) -> Result<Vec<Bucket>> {
    let days = match days_of(folder) {
        Ok(days) => days,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(cannot("read", folder, e)),
    };
    let mut buckets: Vec<Bucket> = Vec::new();
    for (_, path) in days.into_iter().filter(|(day, _)| (from.date_naive()..=to.date_naive()).contains(day)) {
        let file = File::open(&path).map_err(|e| cannot("read", &path, e))?;
        for line in BufReader::new(file).split(b'\n') {
            let line = line.map_err(|e| cannot("read", &path, e))?;
            let Ok(bucket) = serde_json::from_slice::<Bucket>(&line) else { continue };
            let within = bucket.end() > from && bucket.start() < to;
            if within && buckets.last().is_none_or(|last| last.at < bucket.at) {
                buckets.push(bucket);
            }
        }
    }
    Ok(buckets)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    #[test]
    fn a_restart_remembers_and_the_time_in_between_is_unknown() {
        let place = tempfile::tempdir().unwrap();
        let start = DateTime::UNIX_EPOCH + TimeDelta::days(300);
        let second = |n: i64| start + TimeDelta::seconds(n);
        let log = AvailabilityLog::open(place.path(), DAY, start).unwrap();
        for n in 0..60 {
            log.add(second(n), Duration::from_secs(1), &[if n < 45 { Outcome::Good } else { Outcome::Bad }]);
        }
        log.flush();
        let again = AvailabilityLog::open(place.path(), DAY, second(100)).unwrap();
        // What a crash tore off is passed over.
        let file = std::fs::read_dir(place.path()).unwrap().next().unwrap().unwrap().path();
        OpenOptions::new().append(true).open(file).unwrap().write_all(b"[19,2").unwrap();
        for seen in [again.over(start, second(100)), AvailabilityLog::read(place.path(), start, second(100)).unwrap()] {
            assert_eq!((seen.good, seen.bad, seen.outage_seconds, seen.longest_gap_seconds), (45, 15, 15.0, 15.0));
            assert_eq!((seen.unknown_seconds, seen.percent()), (40.0, Some(75.0)));
        }
        assert_eq!(again.over(second(20), second(40)).good, 20);
        assert_eq!(AvailabilityLog::read(&place.path().join("none"), start, second(1)).unwrap().counted(), 0);
    }

    #[test]
    fn memory_and_files_stay_bounded() {
        let place = tempfile::tempdir().unwrap();
        let start = DateTime::UNIX_EPOCH + TimeDelta::days(300);
        let log = AvailabilityLog::open(place.path(), DAY, start).unwrap();
        for n in 0..10 * 8640 {
            log.add(start + TimeDelta::seconds(n * 10), Duration::from_secs(10), &[Outcome::Good]);
        }
        assert_eq!(log.lock().done.len(), 8641);
        assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 3);
    }
}
