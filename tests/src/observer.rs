//! Writes numbered rows to both of two sites all the time, and remembers what each acknowledged.

use std::{
    collections::BTreeSet,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use chrono::{DateTime, Utc};

/// One of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Site {
    /// The one that serves while nothing is wrong.
    Primary,
    /// The one that takes over.
    Standby,
}

impl Site {
    /// The one that a row was written to.
    pub fn of(id: u64) -> Self {
        if id.is_multiple_of(2) { Self::Primary } else { Self::Standby }
    }
}

/// A write and its answer.
#[derive(Debug, Clone, Copy)]
struct Written {
    id: u64,
    site: Site,
    sent: DateTime<Utc>,
    /// When the site said that it is there.
    acknowledged: Option<DateTime<Utc>>,
}

/// Writes one row; whether the site says that it is there.
pub type WriteRow = fn(SocketAddr, u64) -> std::io::Result<bool>;

/// Writes to both sites until it is dropped.
#[derive(Debug)]
pub struct Observer {
    log: Arc<Mutex<Vec<Written>>>,
    stop: Arc<AtomicBool>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

impl Observer {
    /// Begins to write to both.
    pub fn start(primary: SocketAddr, standby: SocketAddr, write: WriteRow) -> Self {
        let (log, stop) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let threads = [(Site::Primary, primary), (Site::Standby, standby)]
            .map(|(site, at)| {
                let (log, stop) = (Arc::clone(&log), Arc::clone(&stop));
                std::thread::spawn(move || {
                    let mut id = if site == Site::Primary { 2 } else { 1 };
                    while !stop.load(Ordering::SeqCst) {
                        let sent = Utc::now();
                        let acknowledged = write(at, id).is_ok_and(|ok| ok).then(Utc::now);
                        log.lock().unwrap().push(Written { id, site, sent, acknowledged });
                        id += 2;
                        std::thread::sleep(Duration::from_millis(50));
                    }
                })
            })
            .into();
        Self { log, stop, threads }
    }

    fn log(&self) -> Vec<Written> {
        self.log.lock().unwrap().clone()
    }

    /// Rows that a site acknowledged.
    pub fn acknowledged(&self, site: Site) -> BTreeSet<u64> {
        self.log().iter().filter(|w| w.site == site && w.acknowledged.is_some()).map(|w| w.id).collect()
    }

    /// Whether a row was sent before that.
    pub fn sent_before(&self, id: u64, at: DateTime<Utc>) -> bool {
        self.log().iter().any(|w| w.id == id && w.sent < at)
    }

    /// When a site acknowledged the last row that it did before that.
    pub fn last_before(&self, site: Site, at: DateTime<Utc>) -> DateTime<Utc> {
        let log = self.log();
        let all = log.iter().filter(|w| w.site == site).filter_map(|w| w.acknowledged);
        all.filter(|acknowledged| *acknowledged <= at).max().unwrap()
    }

    /// From an instant to the last row that a site acknowledged, in seconds.
    pub fn span_since(&self, site: Site, from: &str) -> f64 {
        let from: DateTime<Utc> = from.parse().unwrap();
        let last = self.log().iter().filter(|w| w.site == site).filter_map(|w| w.acknowledged).max().unwrap();
        (last - from).num_milliseconds() as f64 / 1000.0
    }

    /// The sites took writes one after the other, in this order and never at the same time: each took over once, after
    /// the last write of the one before it.
    pub fn took_turns(&self, expected: &[Site]) {
        let mut all: Vec<Written> = self.log().into_iter().filter(|w| w.acknowledged.is_some()).collect();
        all.sort_by_key(|w| w.acknowledged);
        let mut turns: Vec<Site> = Vec::new();
        for (at, written) in all.iter().enumerate() {
            if turns.last() == Some(&written.site) {
                continue;
            }
            if let Some(before) = at.checked_sub(1).map(|at| all[at]) {
                assert!(written.sent > before.acknowledged.unwrap(), "two at a time: {before:?}, {written:?}");
            }
            turns.push(written.site);
        }
        assert_eq!(turns, expected, "who took writes, in order");
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// A row of the database behind the demonstration service.
///
/// # Errors
/// Those of the connection.
pub fn write_by_http(at: SocketAddr, id: u64) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect_timeout(&at, Duration::from_secs(2))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.write_all(format!("POST /write?id={id} HTTP/1.0\r\n\r\n").as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer.contains(&format!("\"written\":{id}")))
}

/// A key of a Redis server.
///
/// # Errors
/// Those of the connection.
pub fn write_to_redis(at: SocketAddr, id: u64) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect_timeout(&at, Duration::from_secs(2))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.write_all(format!("SET event:{id} 1\r\n").as_bytes())?;
    let mut answer = [0; 5];
    stream.read_exact(&mut answer)?;
    Ok(&answer == b"+OK\r\n")
}
