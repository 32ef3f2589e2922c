//! Restores by letting the target replicate from us, once.
//!
//! The target serves its old data until the new ones are there, is a read-only replica meanwhile, and becomes its own
//! master again at the end. Every way out passes through [`Exchange::abort`], or is a crash whose traces
//! [`super::repair`] clears away.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use rustls::ServerConfig;
use veza_dr_core::{Cx, Effect, Error, ErrorKind, Result, SecretString};

use super::{
    control::Control,
    info::Version,
    look::replica_of,
    master::{Master, News, Offer},
    pause::{self, Pause},
    settings,
    state_dir::{Journal, Phase, StateDir},
};

const USER: &str = "veza-dr";
const POLL: Duration = Duration::from_millis(20);
/// As long as cleaning up may take, whatever became of the operation's own time.
const ABORT: Duration = Duration::from_secs(120);
/// As long as the way back of the data themselves may take.
const GIVE_BACK: Duration = Duration::from_secs(6 * 3600);

/// For how long the target may be silent once it is connected to us: twice what it grants a master itself, by default.
const QUIET: Duration = Duration::from_secs(120);

/// A local RDB that is known to be whole.
#[derive(Debug, Clone)]
pub(crate) struct Spool {
    pub(crate) path: PathBuf,
    pub(crate) bytes: u64,
    pub(crate) keys: u64,
}

/// How the target reaches us.
#[derive(Debug, Clone)]
pub(crate) struct Meeting {
    /// What the target is told.
    pub(crate) host: String,
    /// Zero for the one that is listened on.
    pub(crate) port: u16,
    pub(crate) bind: SocketAddr,
    pub(crate) tls: Option<Arc<ServerConfig>>,
    pub(crate) peers: Option<Vec<IpAddr>>,
    pub(crate) connect_within: Duration,
}

/// One exchange of the target's data.
#[derive(Debug)]
pub(crate) struct Exchange<'a> {
    pub(crate) control: &'a Control,
    pub(crate) state: &'a StateDir,
    pub(crate) version: Version,
    pub(crate) swapdb: bool,
    pub(crate) meeting: &'a Meeting,
    /// What the target held, to be given back to it when it loses that.
    pub(crate) safety: Option<&'a Spool>,
    /// What holds writes back from the copy to the exchange.
    pub(crate) pause: Option<&'a Pause>,
}

/// Why there was no exchange.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The target never took a byte and is as it was: another way may be tried.
    Untouched(Error),
    /// It was begun; the error says what the target holds now.
    Begun(Error),
}

/// What a target holds whose exchange was given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Holds {
    /// What it held then: that was not looked at.
    Whatever,
    /// It was empty, and loaded its own data again to the last key.
    GivenBack,
}

pub(crate) const GIVEN_BACK: &str = "the target had lost its data and was given them back from the safety copy";

impl Exchange<'_> {
    /// Replaces the target's data by those of `spool`. On success the target is a master with them, its settings as
    /// they were.
    pub(crate) async fn run(&self, cx: &Cx, journal: &mut Journal, spool: &Spool) -> std::result::Result<(), Failure> {
        let before = async {
            let settings = settings::read(cx, self.control).await?;
            let (offer, secret) = self.offer(cx, spool).await?;
            let master = Master::listen(cx, self.meeting.bind, self.meeting.tls.clone(), offer).await?;
            Ok((settings, secret, master))
        };
        let (settings, secret, mut master) = before.await.map_err(Failure::Untouched)?;
        let port = if self.meeting.port == 0 { master.address().port() } else { self.meeting.port };
        journal.settings = settings;
        journal.set_master(&self.meeting.host, port);
        journal.phase = Phase::Replicating;
        self.state.note(journal).map_err(Failure::Untouched)?;
        // News that nobody has read yet, when the operation is cancelled, count as well.
        let served = master.served();
        let done = async {
            settings::set(cx, self.control, USER, &secret, self.swapdb).await?;
            pause::check(self.pause)?;
            let words = ["REPLICAOF", self.meeting.host.as_str(), &port.to_string()];
            self.control.command(cx, "have the target replicate from us", &words).await?;
            Box::pin(self.deliver(cx, &mut master, spool)).await
        };
        if let Err(e) = done.await {
            drop(master);
            let repaired = Box::pin(self.abort(journal)).await;
            return Err(match (repaired, served.load(Ordering::SeqCst)) {
                (Ok(Holds::GivenBack), _) => Failure::Begun(e.with_effect(Effect::None).with_help(GIVEN_BACK)),
                (Ok(Holds::Whatever), false) => Failure::Untouched(e),
                // A load that failed half way can leave a part of the new data.
                (Ok(Holds::Whatever), true) => Failure::Begun(e.with_effect(Effect::Unknown).with_help(
                    "it is its own master again and may hold part of the new data; what it held is kept: \
                     veza-dr rollback COMPONENT",
                )),
                (Err(repair), _) => Failure::Begun(not_repaired(e, &repair)),
            });
        }
        let after = async {
            journal.phase = Phase::Loaded;
            self.state.note(journal)?;
            // From here on a cancellation has come too late: the data are there, and only tidying is left.
            let cx = &Cx::background().with_deadline(std::time::SystemTime::now() + ABORT);
            self.promote(cx).await?;
            journal.phase = Phase::Promoted;
            self.state.note(journal)?;
            settings::put_back(cx, self.control, &journal.settings).await
        };
        after.await.map_err(|e| {
            Failure::Begun(e.with_effect(Effect::Applied).with_help(
                "the restored data are on the server; the next restore, rollback or release of it finishes the job",
            ))
        })
    }

    /// What is offered, and the secret for it. A target that is offered its own replication id goes on answering
    /// reads while it loads. The offset is far beyond its own, or its replicas would believe that they had the new data.
    async fn offer(&self, cx: &Cx, spool: &Spool) -> Result<(Offer, SecretString)> {
        let info = self.control.info(cx, "replication").await?;
        let own = info.text("master_replid").filter(|id| id.len() == 40);
        let replid = match own {
            Some(own) if self.swapdb => own.to_owned(),
            _ => super::random_hex(),
        };
        let secret = SecretString::from(format!("{}{}", super::random_hex(), super::random_hex()));
        let offer = Offer {
            user: USER.to_owned(),
            secret: secret.clone(),
            replid,
            offset: info.number("master_repl_offset").unwrap_or(0).saturating_add(1 << 40),
            rdb: spool.path.clone(),
            bytes: spool.bytes,
            quiet: QUIET,
            peers: self.meeting.peers.clone(),
        };
        Ok((offer, secret))
    }

    /// Until the target has loaded everything.
    async fn deliver(&self, cx: &Cx, master: &mut Master, spool: &Spool) -> Result<()> {
        let began = Instant::now();
        let mut taken = false;
        let mut turned_away = String::new();
        loop {
            let news = cx.run("send the data to the target", async { Ok(master.news().await) });
            let news = if taken {
                news.await?
            } else {
                let left = self.meeting.connect_within.saturating_sub(began.elapsed());
                match tokio::time::timeout(left, news).await {
                    Ok(news) => news?,
                    Err(_) => return Err(self.nobody_came(&turned_away)),
                }
            };
            match news {
                News::Asked => taken = true,
                News::Sent => {}
                News::Loaded => return self.settle(cx, spool).await,
                News::Refused(why) => turned_away = format!(" (turned away: {why})"),
                News::Lost(why) => {
                    let text = format!("the target let go of the connection before it had loaded: {why}");
                    return Err(Error::new(ErrorKind::Unavailable, text).with_retry(veza_dr_core::Retry::Never));
                }
                News::AskedAgain => {
                    let text = "the target asked for the data a second time: it could not load them";
                    return Err(Error::new(ErrorKind::Unexpected, text).with_help("its log says why"));
                }
            }
        }
    }

    fn nobody_came(&self, turned_away: &str) -> Error {
        let Meeting { host, connect_within, .. } = self.meeting;
        let text = format!("the target did not connect to {host} within {connect_within:?}{turned_away}");
        Error::new(ErrorKind::Unavailable, text)
            .with_retry(veza_dr_core::Retry::Never)
            .with_help("name an address that it can reach: advertise; or restore by keys")
    }

    /// The acknowledgement has come: everything else must say the same.
    async fn settle(&self, cx: &Cx, spool: &Spool) -> Result<()> {
        let began = Instant::now();
        loop {
            let info = self.control.info(cx, "everything").await?;
            let up = info.text("master_link_status") == Some("up");
            if up && !info.is_set("loading") && !info.is_set("async_loading") {
                let counted = info.number("rdb_last_load_keys_loaded");
                return match counted {
                    Some(keys) if keys != spool.keys => {
                        let text = format!("the target loaded {keys} keys of {}", spool.keys);
                        Err(Error::new(ErrorKind::Mismatch, text))
                    }
                    None if self.version >= Version(7, 0, 0) => {
                        Err(Error::new(ErrorKind::Unverified, "the target does not say how many keys it loaded"))
                    }
                    _ => Ok(()),
                };
            }
            if began.elapsed() > ABORT {
                let text = "the target acknowledged the data, but its link to us did not come up";
                return Err(Error::new(ErrorKind::Unexpected, text));
            }
            tokio::time::sleep(POLL).await;
        }
    }

    async fn promote(&self, cx: &Cx) -> Result<()> {
        self.control.command(cx, "make the target a master again", &["REPLICAOF", "NO", "ONE"]).await?;
        let role = self.control.info(cx, "replication").await?;
        if role.text("role") == Some("master") {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Unexpected, "the target did not become a master again"))
    }

    /// Makes the target a master with its own settings again: our sockets are closed by now.
    ///
    /// An empty target is given its data back before it becomes a master again: a master with an append-only file
    /// would write the emptiness into it.
    pub(crate) async fn abort(&self, journal: &mut Journal) -> Result<Holds> {
        let began = Instant::now();
        loop {
            match Box::pin(self.put_back(journal)).await {
                // One that waits for bytes of ours answers nobody until it gives that up, or somebody starts it again.
                Err(e) if e.kind() == ErrorKind::Unavailable && began.elapsed() < ABORT => {
                    tokio::time::sleep(POLL * 10).await;
                }
                done => return done,
            }
        }
    }

    async fn put_back(&self, journal: &mut Journal) -> Result<Holds> {
        let cx = &Cx::background().with_deadline(std::time::SystemTime::now() + ABORT);
        let control = self.control.again(cx).await?;
        let this = &Exchange { control: &control, ..*self };
        let keys = this.wait_out_loading(cx).await?;
        let mut holds = Holds::Whatever;
        let master = replica_of(&control.info(cx, "replication").await?);
        // Somebody else's replica is neither filled nor made a master by us.
        if let Some((host, port)) = master.as_ref().filter(|(host, port)| !journal.is_ours(host, *port)) {
            let text = format!("the server replicates from {host}:{port} by now, not from a restore of ours");
            return Err(Error::new(ErrorKind::Conflict, text).with_help("REPLICAOF NO ONE, if it is to be a master"));
        }
        let replica = master.is_some();
        if let Some(safety) = self.safety.filter(|s| keys == 0 && s.keys > 0) {
            if replica {
                Box::pin(this.give_back(journal, safety)).await?;
                holds = Holds::GivenBack;
            } else {
                let text = "the target has lost its data; they are in the safety copy";
                return Err(Error::new(ErrorKind::Partial, text).with_help("veza-dr rollback brings them back"));
            }
        }
        if replica {
            this.promote(cx).await?;
        }
        journal.phase = Phase::Promoted;
        this.state.note(journal)?;
        settings::put_back(cx, &control, &journal.settings).await?;
        Ok(holds)
    }

    /// Serves the safety copy to a target that is a replica already.
    async fn give_back(&self, journal: &mut Journal, safety: &Spool) -> Result<()> {
        let cx = &Cx::background().with_deadline(std::time::SystemTime::now() + GIVE_BACK);
        let this = &Exchange { swapdb: false, ..*self };
        let (offer, secret) = this.offer(cx, safety).await?;
        let mut master = Master::listen(cx, self.meeting.bind, self.meeting.tls.clone(), offer).await?;
        let port = if self.meeting.port == 0 { master.address().port() } else { self.meeting.port };
        journal.set_master(&self.meeting.host, port);
        self.state.note(journal)?;
        settings::set(cx, self.control, USER, &secret, false).await?;
        let words = ["REPLICAOF", self.meeting.host.as_str(), &port.to_string()];
        self.control.command(cx, "have the target replicate from us", &words).await?;
        Box::pin(this.deliver(cx, &mut master, safety)).await
    }

    /// Keys on the target, once it is not loading.
    async fn wait_out_loading(&self, cx: &Cx) -> Result<u64> {
        loop {
            let info = self.control.info(cx, "everything").await?;
            if !info.is_set("loading") && !info.is_set("async_loading") {
                return Ok(info.keyspace().values().sum());
            }
            cx.check("wait until the target has loaded")?;
            tokio::time::sleep(POLL).await;
        }
    }
}

fn not_repaired(e: Error, repair: &Error) -> Error {
    let text = format!("{}; and the target could not be put back: {}", e.chain(), repair.chain());
    Error::new(ErrorKind::Partial, text).with_effect(Effect::Unknown).with_help(
        "what it held is in the safety copy; see that the server runs, then restore or roll back: that puts it back first",
    )
}
