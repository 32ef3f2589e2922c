//! Restores key by key: slices of the RDB sent to the server, or to each master of a cluster, with `RESTORE`.

use std::{
    collections::{BTreeMap, HashSet},
    hash::{BuildHasher, RandomState},
    path::PathBuf,
    sync::Arc,
};

use bytes::{BufMut, Bytes, BytesMut};
use tokio::sync::mpsc;
use veza_dr_backup::redis::rdb::{Item as Part, Key, RawValue, Reader};
use veza_dr_core::{Cx, Error, ErrorKind, Progress, Result, Unit};

use super::{
    control::Control,
    glob,
    options::TtlPolicy,
    proof,
    send::{self, How, Item, Room, Tally},
    slots,
};

/// The server's own limit on one argument, unless it was changed.
const VALUE: u64 = (512 << 20) - 64;
const QUEUE: usize = 256;

/// Which keys, and as what.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pick {
    /// Patterns of which one must match; empty for all keys.
    pub(crate) only: Vec<String>,
    pub(crate) ttl: Ttl,
    /// Keys whose time has passed by then are left out, in milliseconds since 1970.
    pub(crate) now: u64,
    /// For each database the one to send its keys to, when it is not the same.
    pub(crate) beside: BTreeMap<u64, u64>,
}

/// What becomes of expiries.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Ttl {
    #[default]
    Keep,
    /// Later by so many milliseconds.
    Shift(u64),
    Strip,
}

impl Ttl {
    pub(crate) fn of(policy: TtlPolicy, backup_at: u64, now: u64) -> Self {
        match policy {
            TtlPolicy::Keep => Self::Keep,
            TtlPolicy::Shift => Self::Shift(now.saturating_sub(backup_at)),
            TtlPolicy::Strip => Self::Strip,
        }
    }

    fn apply(self, expires_at: Option<u64>) -> Option<u64> {
        match self {
            Self::Keep => expires_at,
            Self::Shift(by) => expires_at.map(|at| at.saturating_add(by)),
            Self::Strip => None,
        }
    }
}

impl Pick {
    /// Whether the name is one of those asked for.
    pub(crate) fn names(&self, key: &[u8]) -> bool {
        self.only.is_empty() || self.only.iter().any(|pattern| glob::matches(pattern.as_bytes(), key))
    }

    /// Whether the keys that are taken are left in their databases and with their expiries.
    pub(crate) fn as_they_are(&self) -> bool {
        self.ttl == Ttl::Keep && self.beside.is_empty()
    }

    /// Gives the key the expiry that it is to have; false when it is not to be restored.
    pub(crate) fn take(&self, key: &mut Key) -> bool {
        if !self.names(&key.name) {
            return false;
        }
        key.expires_at = self.ttl.apply(key.expires_at);
        key.expires_at.is_none_or(|at| at > self.now)
    }
}

/// Knows keys again without holding their names.
#[derive(Debug, Clone, Default)]
pub(crate) struct Known {
    keys: HashSet<u128>,
    one: RandomState,
    two: RandomState,
}

impl Known {
    pub(crate) fn add(&mut self, db: u64, key: &[u8]) {
        self.keys.insert(self.mark(db, key));
    }

    pub(crate) fn remove(&mut self, db: u64, key: &[u8]) {
        self.keys.remove(&self.mark(db, key));
    }

    pub(crate) fn has(&self, db: u64, key: &[u8]) -> bool {
        self.keys.contains(&self.mark(db, key))
    }

    pub(crate) fn len(&self) -> u64 {
        self.keys.len() as u64
    }

    fn mark(&self, db: u64, key: &[u8]) -> u128 {
        u128::from(self.one.hash_one((db, key))) << 64 | u128::from(self.two.hash_one((db, key)))
    }
}

/// One connection that keys are sent over, and the slots that are its own.
#[derive(Debug, Clone)]
pub(crate) struct Lane {
    pub(crate) control: Control,
    /// First and last slot of each range; none outside a cluster, where everything is this lane's.
    pub(crate) slots: Vec<(u16, u16)>,
}

/// What was sent.
#[derive(Debug, Default)]
pub(crate) struct Sent {
    pub(crate) restored: u64,
    pub(crate) skipped: Vec<(u64, Bytes)>,
    /// The keys of the backup that were asked for and not expired.
    pub(crate) known: Known,
    /// The code of each function library.
    pub(crate) functions: Vec<Vec<u8>>,
}

/// Sends the keys that `pick` takes to the lanes.
///
/// # Errors
/// With the first key that was not restored, which it names. Those before it are.
pub(crate) async fn send(cx: &Cx, lanes: &[Lane], files: &[PathBuf], pick: &Pick, how: How, keys: u64) -> Result<Sent> {
    let route = Arc::new(route(lanes)?);
    let (queues, mut sending) = (Vec::with_capacity(lanes.len()), tokio::task::JoinSet::new());
    let mut queues: Vec<mpsc::Sender<Item>> = queues;
    for lane in lanes {
        let (queue, items) = mpsc::channel(QUEUE);
        let stream = lane.control.stream(cx).await?;
        queues.push(queue);
        sending.spawn(send::send(stream, items, how));
    }
    cx.report(Progress::Begin { phase: "restore keys", total: keys, unit: Unit::Items });
    let feed = Feed { cx: cx.clone(), files: files.to_vec(), pick: pick.clone(), route, queues };
    let feeding = tokio::task::spawn_blocking(move || feed.run());
    let work = async {
        let mut all = Tally::default();
        while let Some(done) = sending.join_next().await {
            let tally = done.map_err(|e| Error::new(ErrorKind::Unexpected, "a connection died").with_source(e))??;
            all.restored += tally.restored;
            all.skipped.extend(tally.skipped);
        }
        let (known, functions) = feeding
            .await
            .map_err(|e| Error::new(ErrorKind::Unexpected, "the data could not be read").with_source(e))??;
        Ok(Sent { restored: all.restored, skipped: all.skipped, known, functions })
    };
    let sent = cx.run("restore keys", work).await?;
    cx.report(Progress::End { phase: "restore keys" });
    Ok(sent)
}

/// Reads the files on a thread of its own.
struct Feed {
    cx: Cx,
    files: Vec<PathBuf>,
    pick: Pick,
    route: Arc<Vec<u16>>,
    queues: Vec<mpsc::Sender<Item>>,
}

impl Feed {
    fn run(self) -> Result<(Known, Vec<Vec<u8>>)> {
        let (room, runtime) = (Room::new(), tokio::runtime::Handle::current());
        let (mut known, mut functions) = (Known::default(), Vec::new());
        let mut since = 0;
        for path in &self.files {
            let mut reader = Reader::new(proof::open(path)?)?;
            while let Some(part) = reader.next()? {
                let mut key = match part {
                    Part::Function(code) => {
                        functions.push(code);
                        continue;
                    }
                    Part::Key(key) => key,
                    _ => continue,
                };
                self.cx.check("restore keys")?;
                since += 1;
                if since == 1000 {
                    self.cx.report(Progress::Advance { phase: "restore keys", by: since });
                    since = 0;
                }
                if !self.pick.take(&mut key) {
                    continue;
                }
                known.add(key.db, &key.name);
                let value = match reader.value(VALUE)? {
                    RawValue::Whole(value) => value,
                    RawValue::Large(at) => return Err(too_large(&key, at.end - at.start)),
                };
                let mut payload = BytesMut::with_capacity(value.len() + 1);
                payload.put_u8(key.kind.byte());
                payload.put_slice(&value);
                drop(value);
                let db = self.pick.beside.get(&key.db).copied().unwrap_or(key.db);
                let lane = match self.route.as_slice() {
                    [] => 0,
                    route => usize::from(route[usize::from(slots::slot(&key.name))]),
                };
                let mut item = runtime.block_on(room.item(db, key.name.into(), payload.freeze()))?;
                item.expires = key.expires_at.unwrap_or(0);
                (item.idle, item.freq) = (key.idle, key.freq);
                // A lane that ended says why itself.
                if self.queues[lane].blocking_send(item).is_err() {
                    return Ok((known, functions));
                }
            }
        }
        self.cx.report(Progress::Advance { phase: "restore keys", by: since });
        Ok((known, functions))
    }
}

fn too_large(key: &Key, bytes: u64) -> Error {
    let name = String::from_utf8_lossy(&key.name).into_owned();
    let text = format!("key {name} of database {} has {bytes} bytes, more than RESTORE takes", key.db);
    Error::new(ErrorKind::Unsupported, text).with_help("restore by replication, which knows no such limit")
}

/// For each slot its lane; empty outside a cluster.
fn route(lanes: &[Lane]) -> Result<Vec<u16>> {
    if let [lane] = lanes
        && lane.slots.is_empty()
    {
        return Ok(Vec::new());
    }
    let mut route = vec![u16::MAX; usize::from(slots::SLOTS)];
    for (n, lane) in lanes.iter().enumerate() {
        for (first, last) in &lane.slots {
            for slot in *first..=*last {
                if let Some(place) = route.get_mut(usize::from(slot)) {
                    *place = u16::try_from(n).unwrap_or(u16::MAX);
                }
            }
        }
    }
    if let Some(slot) = route.iter().position(|lane| *lane == u16::MAX) {
        return Err(Error::new(ErrorKind::Conflict, format!("no master of the cluster serves slot {slot}"))
            .with_help("see CLUSTER SLOTS; a cluster must be whole to be restored to"));
    }
    Ok(route)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expiries_are_kept_shifted_or_taken_away() {
        assert_eq!(Ttl::of(TtlPolicy::Keep, 5, 100).apply(Some(50)), Some(50));
        assert_eq!(Ttl::of(TtlPolicy::Shift, 5, 100).apply(Some(50)), Some(145));
        assert_eq!(Ttl::of(TtlPolicy::Shift, 5, 100).apply(None), None);
        assert_eq!(Ttl::of(TtlPolicy::Strip, 5, 100).apply(Some(50)), None);
    }

    #[test]
    fn keys_are_known_again_per_database() {
        let mut known = Known::default();
        known.add(0, b"a");
        assert!(known.has(0, b"a") && !known.has(1, b"a") && !known.has(0, b"b"));
        known.remove(0, b"a");
        assert!(!known.has(0, b"a"));
    }
}
