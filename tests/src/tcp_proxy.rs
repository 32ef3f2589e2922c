//! A TCP proxy whose connections can be cut, refused or silenced: the network between a client and PostgreSQL.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use crate::Result;

/// How the network is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Network {
    /// Bytes pass.
    Up,
    /// Nothing listens: new connections are refused. Those there are stay.
    Refusing,
    /// Connections are taken and stay open, but no byte passes either way.
    Blackhole,
}

#[derive(Debug)]
struct Shared {
    upstream: String,
    network: watch::Receiver<Network>,
    /// Changes when all connections are to be cut.
    cuts: watch::Receiver<u64>,
    open: AtomicUsize,
    accepted: AtomicUsize,
    from_server: AtomicU64,
    cut_at: AtomicU64,
}

/// A running proxy. Dropping it cuts its connections.
#[derive(Debug)]
pub struct TcpProxy {
    port: u16,
    network: watch::Sender<Network>,
    cuts: watch::Sender<u64>,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

impl TcpProxy {
    /// Listens on a free loopback port and passes on to `upstream`, a host and port.
    pub async fn start(upstream: &str) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let port = listener.local_addr()?.port();
        let (network, network_seen) = watch::channel(Network::Up);
        let (cuts, cuts_seen) = watch::channel(0);
        let shared = Arc::new(Shared {
            upstream: upstream.to_owned(),
            network: network_seen,
            cuts: cuts_seen,
            open: AtomicUsize::new(0),
            accepted: AtomicUsize::new(0),
            from_server: AtomicU64::new(0),
            cut_at: AtomicU64::new(u64::MAX),
        });
        let task = tokio::spawn(accept(listener, port, Arc::clone(&shared)));
        Ok(Self { port, network, cuts, shared, task })
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Host and port.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Resets every connection there is. New ones are taken as before.
    pub fn cut(&self) {
        self.cuts.send_modify(|count| *count += 1);
    }

    /// Resets every connection once so many more bytes have come from the server: in the middle of a long answer.
    pub fn cut_after(&self, bytes: u64) {
        let seen = self.shared.from_server.load(Ordering::SeqCst);
        self.shared.cut_at.store(seen.saturating_add(bytes), Ordering::SeqCst);
    }

    /// Refuses new connections, as when no server runs. Returns when that holds.
    pub async fn refuse(&self) {
        self.network.send_replace(Network::Refusing);
        self.settle(false).await;
    }

    /// Lets no byte pass on old and new connections, which stay open: a failed router, a dropped route.
    pub fn blackhole(&self) {
        self.network.send_replace(Network::Blackhole);
    }

    /// Ends [`refuse`](Self::refuse) and [`blackhole`](Self::blackhole). What was held back passes.
    pub async fn heal(&self) {
        self.network.send_replace(Network::Up);
        self.settle(true).await;
    }

    /// How many connections are open.
    pub fn open(&self) -> usize {
        self.shared.open.load(Ordering::SeqCst)
    }

    /// How many connections were ever taken.
    pub fn accepted(&self) -> usize {
        self.shared.accepted.load(Ordering::SeqCst)
    }

    /// How many bytes came from the server.
    pub fn bytes_from_server(&self) -> u64 {
        self.shared.from_server.load(Ordering::SeqCst)
    }

    /// Waits until something listens, or no longer does, without leaving a trace in the counts.
    async fn settle(&self, listening: bool) {
        for _ in 0..500 {
            if std::net::TcpListener::bind(("127.0.0.1", self.port)).is_err() == listening {
                return;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

impl Drop for TcpProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, port: u16, shared: Arc<Shared>) {
    let mut listener = Some(listener);
    let mut network = shared.network.clone();
    let mut connections = JoinSet::new();
    loop {
        if *network.borrow_and_update() == Network::Refusing {
            listener = None;
            if network.changed().await.is_err() {
                return;
            }
            continue;
        }
        let Some(open) = &listener else {
            listener = TcpListener::bind(("127.0.0.1", port)).await.ok();
            if listener.is_none() {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            continue;
        };
        tokio::select! {
            taken = open.accept() => {
                if let Ok((client, _)) = taken {
                    shared.accepted.fetch_add(1, Ordering::SeqCst);
                    connections.spawn(connection(client, Arc::clone(&shared)));
                }
            }
            changed = network.changed() => {
                if changed.is_err() {
                    return;
                }
            }
        }
        while connections.try_join_next().is_some() {}
    }
}

async fn connection(client: TcpStream, shared: Arc<Shared>) {
    shared.open.fetch_add(1, Ordering::SeqCst);
    let _ = pass_both_ways(client, &shared).await;
    shared.open.fetch_sub(1, Ordering::SeqCst);
}

async fn pass_both_ways(client: TcpStream, shared: &Shared) -> std::io::Result<()> {
    let mut cuts = shared.cuts.clone();
    cuts.mark_unchanged();
    let server = TcpStream::connect(&shared.upstream).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (from_client, mut to_client) = client.into_split();
    let (from_server, mut to_server) = server.into_split();
    let cut = tokio::select! {
        _ = cuts.changed() => true,
        ended = async {
            tokio::try_join!(
                pass(from_client, &mut to_server, shared, false),
                pass(from_server, &mut to_client, shared, true),
            )
        } => ended.is_err(),
    };
    if cut {
        to_client.as_ref().set_zero_linger()?;
        to_server.as_ref().set_zero_linger()?;
    }
    Ok(())
}

/// The connection is to be cut.
struct Cut;

/// Passes bytes one way until their end.
async fn pass(mut from: OwnedReadHalf, to: &mut OwnedWriteHalf, shared: &Shared, downstream: bool) -> Result<(), Cut> {
    let mut network = shared.network.clone();
    let mut buffer = vec![0; 32 * 1024];
    loop {
        let length = from.read(&mut buffer).await.map_err(|_| Cut)?;
        network.wait_for(|network| *network != Network::Blackhole).await.map_err(|_| Cut)?;
        if length == 0 {
            let _ = to.shutdown().await;
            return Ok(());
        }
        let mut bytes = &buffer[..length];
        if downstream {
            let before = shared.from_server.fetch_add(length as u64, Ordering::SeqCst);
            let left = shared.cut_at.load(Ordering::SeqCst).saturating_sub(before);
            if left < length as u64 {
                bytes = &bytes[..left as usize];
                shared.cut_at.store(u64::MAX, Ordering::SeqCst);
                to.write_all(bytes).await.map_err(|_| Cut)?;
                return Err(Cut);
            }
        }
        to.write_all(bytes).await.map_err(|_| Cut)?;
    }
}
