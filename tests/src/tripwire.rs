//! A TCP proxy in front of PostgreSQL that stops at a chosen SQL statement: just before the server gets it, or once the
//! server has carried it out and nobody has been told.
//!
//! It is how a test meets a program at an exact point of its work without a hook in the program: it waits for
//! [`Wire::tripped`] and then kills, terminates or cancels what it wants to. Connections must be without TLS.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use crate::Result;

/// No statement that a test waits for is longer than this up to its end.
const TAIL: usize = 512;
/// ReadyForQuery, whatever the transaction's state.
const READY: &[u8] = b"Z\0\0\0\x05";

/// On which side of a statement the wire is stretched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// The server does not get it.
    Before,
    /// The server has answered it; the client does not get the answer.
    After,
    /// Only counted.
    Never,
}

/// One statement that is waited for.
#[derive(Debug)]
pub struct Wire {
    needle: Vec<u8>,
    nth: usize,
    when: When,
    seen: AtomicUsize,
    tripped: watch::Sender<bool>,
    released: watch::Sender<bool>,
}

impl Wire {
    /// How often the text came by.
    pub fn seen(&self) -> usize {
        self.seen.load(Ordering::SeqCst)
    }

    /// Waits until the program is held at the statement; panics after a minute.
    pub async fn tripped(&self) {
        let text = String::from_utf8_lossy(&self.needle);
        let mut tripped = self.tripped.subscribe();
        tokio::time::timeout(Duration::from_secs(60), tripped.wait_for(|tripped| *tripped))
            .await
            .unwrap_or_else(|_| panic!("`{text}` came {} times, not {}", self.seen(), self.nth))
            .expect("the wire itself holds the sender");
    }

    /// Whether it has tripped.
    pub fn has_tripped(&self) -> bool {
        *self.tripped.borrow()
    }

    /// Lets what is held go on.
    pub fn release(&self) {
        self.released.send_replace(true);
    }
}

#[derive(Debug)]
struct Shared {
    upstream: String,
    wires: Mutex<Vec<Arc<Wire>>>,
    cuts: watch::Receiver<u64>,
}

/// A running proxy. Dropping it cuts its connections.
#[derive(Debug)]
pub struct TripwireProxy {
    port: u16,
    shared: Arc<Shared>,
    cuts: watch::Sender<u64>,
    task: JoinHandle<()>,
}

impl TripwireProxy {
    /// Listens on a free loopback port and passes on to `upstream_port` on 127.0.0.1.
    pub async fn start(upstream_port: u16) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let port = listener.local_addr()?.port();
        let (cuts, cuts_seen) = watch::channel(0);
        let upstream = format!("127.0.0.1:{upstream_port}");
        let shared = Arc::new(Shared { upstream, wires: Mutex::default(), cuts: cuts_seen });
        let task = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Ok(Self { port, shared, cuts, task })
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Stretches a wire at the `nth` statement (from 1, over all connections) that holds `text`.
    pub fn wire(&self, text: &str, nth: usize, when: When) -> Arc<Wire> {
        let wire = Arc::new(Wire {
            needle: text.as_bytes().to_vec(),
            nth,
            when,
            seen: AtomicUsize::new(0),
            tripped: watch::Sender::new(false),
            released: watch::Sender::new(false),
        });
        self.lock().push(Arc::clone(&wire));
        wire
    }

    /// Counts the statements that hold `text`.
    pub fn count(&self, text: &str) -> Arc<Wire> {
        self.wire(text, 0, When::Never)
    }

    /// Resets every connection there is. New ones are taken as before.
    pub fn cut(&self) {
        self.cuts.send_modify(|count| *count += 1);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Arc<Wire>>> {
        self.shared.wires.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for TripwireProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        connections.spawn(connection(client, Arc::clone(&shared)));
        while connections.try_join_next().is_some() {}
    }
}

async fn connection(client: TcpStream, shared: Arc<Shared>) {
    let mut cuts = shared.cuts.clone();
    cuts.mark_unchanged();
    let Ok(server) = TcpStream::connect(&shared.upstream).await else {
        return;
    };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (from_client, mut to_client) = client.into_split();
    let (from_server, mut to_server) = server.into_split();
    // The wire whose statement the server is working on.
    let awaited = Mutex::new(None);
    tokio::select! {
        _ = cuts.changed() => {
            let _ = (to_client.as_ref().set_zero_linger(), to_server.as_ref().set_zero_linger());
        }
        // The server's end is the connection's; the client's is passed on to the server, which answers with its own.
        _ = answers(from_server, &mut to_client, &awaited) => {}
        _ = async {
            // A client that was killed ends its connection; one that has only said its last word waits for the answer.
            if statements(from_client, &mut to_server, &shared, &awaited).await.is_ok() {
                std::future::pending::<()>().await;
            }
        } => {}
    }
}

async fn statements(
    mut from: OwnedReadHalf,
    to: &mut OwnedWriteHalf,
    shared: &Shared,
    awaited: &Mutex<Option<Arc<Wire>>>,
) -> std::io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    let mut window: Vec<u8> = Vec::new();
    loop {
        let length = from.read(&mut buffer).await?;
        if length == 0 {
            return to.shutdown().await;
        }
        let old = window.len();
        window.extend_from_slice(&buffer[..length]);
        let wires = shared.wires.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for wire in wires {
            let needle = wire.needle.len();
            let new = memchr::memmem::find_iter(&window, &wire.needle).filter(|at| at + needle > old).count();
            let before = wire.seen.fetch_add(new, Ordering::SeqCst);
            if wire.nth == 0 || before >= wire.nth || before + new < wire.nth {
                continue;
            }
            match wire.when {
                When::Before => hold(&wire).await,
                When::After => *awaited.lock().unwrap_or_else(PoisonError::into_inner) = Some(wire),
                When::Never => {}
            }
        }
        window.drain(..window.len().saturating_sub(TAIL));
        to.write_all(&buffer[..length]).await?;
    }
}

async fn answers(
    mut from: OwnedReadHalf,
    to: &mut OwnedWriteHalf,
    awaited: &Mutex<Option<Arc<Wire>>>,
) -> std::io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let length = from.read(&mut buffer).await?;
        if length == 0 {
            return to.shutdown().await;
        }
        let mut answer = buffer[..length].to_vec();
        let wire = awaited.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(wire) = wire {
            while memchr::memmem::find(&answer, READY).is_none() {
                let more = from.read(&mut buffer).await?;
                if more == 0 {
                    break;
                }
                answer.extend_from_slice(&buffer[..more]);
            }
            hold(&wire).await;
        }
        to.write_all(&answer).await?;
    }
}

async fn hold(wire: &Wire) {
    wire.tripped.send_replace(true);
    let mut released = wire.released.subscribe();
    let _ = released.wait_for(|released| *released).await;
}
