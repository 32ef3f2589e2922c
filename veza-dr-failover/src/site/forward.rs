//! Addresses that only the site's own machine can reach, those of containers, as ports of this one: each leads there
//! through an `ssh` of ours.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, copy_bidirectional},
    net::{TcpListener, TcpStream, UnixStream},
    task::{JoinHandle, JoinSet},
};
use veza_dr_core::{Cx, Error, ErrorKind, Result};

use super::{compose_site::ComposeSite, machine::Machine, settings::Ssh, tunnel::Tunnel};

/// An address that does not take a connection within this time does not answer.
const CONNECT_LIMIT: Duration = Duration::from_secs(2);
const ASK_LIMIT: Duration = Duration::from_secs(20);
/// The machine has nothing to try a connection with.
const NO_TOOL: i32 = 98;

/// A port of this machine, on 127.0.0.1, that leads to an address of another one for as long as this value is there. It
/// takes every connection: one that leads nowhere is closed at once.
#[derive(Debug)]
pub(super) struct Forward {
    local: SocketAddr,
    way: Arc<Mutex<Tunnel>>,
    // Ends with its connections.
    task: JoinHandle<()>,
}

impl Drop for Forward {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Forward {
    async fn open(cx: &Cx, ssh: &Ssh, to: SocketAddr) -> Result<Self> {
        let way = Arc::new(Mutex::new(Tunnel::open(cx, ssh, &to.to_string()).await?));
        let listen = async {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
            Ok((listener.local_addr()?, listener))
        };
        let (local, listener) = listen.await.map_err(|e: std::io::Error| {
            Error::new(ErrorKind::Unavailable, "there is no free port on 127.0.0.1").with_source(e)
        })?;
        let task = tokio::spawn(serve(listener, way.clone()));
        Ok(Self { local, way, task })
    }

    fn is_open(&self) -> bool {
        self.way.lock().unwrap_or_else(PoisonError::into_inner).is_open()
    }

    /// The same port, by a new connection.
    async fn mend(&self, cx: &Cx, ssh: &Ssh, to: SocketAddr) -> Result<()> {
        let fresh = Tunnel::open(cx, ssh, &to.to_string()).await?;
        *self.way.lock().unwrap_or_else(PoisonError::into_inner) = fresh;
        Ok(())
    }

    /// What `ssh` complained of.
    fn complaint(&self) -> String {
        self.way.lock().unwrap_or_else(PoisonError::into_inner).complaint()
    }
}

async fn serve(listener: TcpListener, way: Arc<Mutex<Tunnel>>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            taken = listener.accept() => match taken {
                Ok((stream, _)) => {
                    let socket = way.lock().unwrap_or_else(PoisonError::into_inner).socket();
                    connections.spawn(lead(stream, socket));
                }
                Err(e) => {
                    tracing::warn!(error = %e, "a connection through ssh cannot be taken");
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
            },
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
        }
    }
}

/// Whoever connected sees the connection closed where there is no way on.
async fn lead(mut stream: TcpStream, socket: PathBuf) {
    let _ = stream.set_nodelay(true);
    if let Ok(mut there) = UnixStream::connect(socket).await {
        let _ = copy_bidirectional(&mut stream, &mut there).await;
    }
}

impl ComposeSite {
    /// Where an address that the site's machine can reach, that of a container for instance, can be reached from here: the
    /// address itself for a site of this machine, else a port on 127.0.0.1 that leads there through SSH.
    ///
    /// The port is the same for as long as this value is there, and is closed with it; other users of this machine can
    /// connect to it as well. It takes connections also where nothing answers at the other end, and closes them at once:
    /// see [`answer`](Self::answer).
    ///
    /// ```no_run
    /// # async fn doc(standby: &veza_dr_failover::site::ComposeSite) -> veza_dr_core::Result<()> {
    /// use veza_dr_core::Cx;
    /// let here = standby.reach(&Cx::background(), "172.18.0.3:5432".parse().unwrap()).await?;
    /// println!("psql -h {} -p {}", here.ip(), here.port());
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// `Unavailable` or `Denied` when the machine cannot be reached. Nothing was changed.
    pub async fn reach(&self, cx: &Cx, to: SocketAddr) -> Result<SocketAddr> {
        let Machine::There(ssh) = &self.machine else { return Ok(to) };
        let mut kept = self.forwards.lock().await;
        let opened = match kept.get(&to) {
            Some(forward) if forward.is_open() => return Ok(forward.local),
            Some(forward) => forward.mend(cx, ssh, to).await.map(|()| forward.local),
            None => match Forward::open(cx, ssh, to).await {
                Ok(forward) => Ok(kept.entry(to).or_insert(forward).local),
                Err(e) => Err(e),
            },
        };
        opened.map_err(|e| {
            let told = Error::new(e.kind(), format!("site {}: {to} cannot be reached", self.project.name));
            match e.help().map(str::to_owned) {
                Some(help) => told.with_help(help).with_source(e),
                None => told.with_source(e),
            }
        })
    }

    /// Which of these addresses take a connection, in their order. That of a site on another machine must do so over there,
    /// and stay open through SSH.
    ///
    /// # Errors
    /// When the machine cannot be asked: nothing is known then. `Denied` when its `sshd` leads no connections on.
    pub async fn answer(&self, cx: &Cx, addresses: &[SocketAddr]) -> Result<Vec<bool>> {
        self.answer_often(cx, addresses, 1).await
    }

    /// The same, of connections that are taken so often in a row.
    pub(crate) async fn answer_often(&self, cx: &Cx, addresses: &[SocketAddr], times: u32) -> Result<Vec<bool>> {
        if let Machine::Here = self.machine {
            return self.take_connections(cx, addresses, times).await;
        }
        // Opened before the machine is asked, and looked at afterwards: that takes several ways there and back, in
        // which a connection that leads nowhere is closed.
        let mut streams = Vec::new();
        for to in addresses {
            streams.push(connect(self.reach(cx, *to).await?).await);
        }
        let there = self.connects_there(cx, addresses, times).await?;
        let mut answers = Vec::new();
        for ((to, stream), there) in addresses.iter().zip(streams).zip(there) {
            let open = match stream {
                Some(stream) => is_open(stream).await,
                None => false,
            };
            if there && !open {
                self.explain(*to).await?;
            }
            answers.push(there && open);
        }
        Ok(answers)
    }

    /// Which of these addresses take connections of their own machine, so often in a row.
    pub(crate) async fn take_connections(&self, cx: &Cx, addresses: &[SocketAddr], times: u32) -> Result<Vec<bool>> {
        if let Machine::There(_) = self.machine {
            return self.connects_there(cx, addresses, times).await;
        }
        let often = |to: SocketAddr| async move {
            for _ in 0..times {
                if connect(to).await.is_none() {
                    return false;
                }
            }
            true
        };
        let all = async { Ok(futures::future::join_all(addresses.iter().map(|to| often(*to))).await) };
        cx.run("connect", all).await
    }

    /// Closes every port that [`reach`](Self::reach) gave: what they led to is gone.
    pub(crate) async fn reach_no_more(&self) {
        self.forwards.lock().await.clear();
    }

    /// The address that one which [`reach`](Self::reach) gave leads to; `None` when it leads nowhere any more.
    pub(crate) async fn behind(&self, here: SocketAddr) -> Option<SocketAddr> {
        if let Machine::Here = self.machine {
            return Some(here);
        }
        self.forwards.lock().await.iter().find(|(_, forward)| forward.local == here).map(|(there, _)| *there)
    }

    /// Which of them the machine itself can connect to.
    async fn connects_there(&self, cx: &Cx, addresses: &[SocketAddr], times: u32) -> Result<Vec<bool>> {
        let limit = CONNECT_LIMIT.as_secs();
        let mut script = format!(
            "if command -v bash > /dev/null 2>&1; then\n\
             t() {{ timeout {limit} bash -c 'exec 3<> \"/dev/tcp/$0/$1\"' \"$1\" \"$2\"; }}\n\
             elif command -v nc > /dev/null 2>&1; then t() {{ nc -z -w {limit} \"$1\" \"$2\"; }}\n\
             else exit {NO_TOOL}; fi\n"
        );
        for (n, to) in addresses.iter().enumerate() {
            let often = vec![format!("t {} {}", to.ip(), to.port()); times as usize].join(" && ");
            script.push_str(&format!("({often} && echo {n}) < /dev/null 2> /dev/null &\n"));
        }
        script.push_str("wait\n");
        let (name, at) = (&self.project.name, self.machine.name());
        let said = self.machine.sh(cx, &format!("site {name}: connect"), &script, ASK_LIMIT).await?;
        if said.code == NO_TOOL {
            let text = format!("site {name}: it cannot be told what answers on {at}: it has neither bash nor nc");
            return Err(Error::new(ErrorKind::Unsupported, text).with_help("install one of them there"));
        }
        Ok((0..addresses.len()).map(|n| said.stdout.lines().any(|l| l.trim() == n.to_string())).collect())
    }

    /// Why a connection that the machine can make was closed on the way; nothing where that is not known.
    async fn explain(&self, to: SocketAddr) -> Result<()> {
        let said = self.forwards.lock().await.get(&to).map(Forward::complaint).unwrap_or_default();
        if !said.contains("administratively prohibited") {
            return Ok(());
        }
        let (name, at) = (&self.project.name, self.machine.name());
        let text = format!("site {name}: the sshd of {at} leads no connection on to {to}");
        Err(Error::new(ErrorKind::Denied, text)
            .with_source(said.trim().to_owned())
            .with_help("allow it in its sshd_config: AllowTcpForwarding yes (or local), and no PermitOpen"))
    }
}

async fn connect(to: SocketAddr) -> Option<TcpStream> {
    tokio::time::timeout(CONNECT_LIMIT, TcpStream::connect(to)).await.ok()?.ok()
}

/// Whether the other end has not closed it.
async fn is_open(mut stream: TcpStream) -> bool {
    let mut first = [0u8; 1];
    // One that speaks first is as good as one that waits.
    match tokio::time::timeout(Duration::from_millis(20), stream.read(&mut first)).await {
        Ok(read) => matches!(read, Ok(n) if n > 0),
        Err(_) => true,
    }
}
