//! A master for one replica, once: answers a target's handshake and hands it one RDB file.
//!
//! The target asks again, many times a second, when a load fails, and empties itself each time it is served. So it is
//! served once, and its second question is news of a failure.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::BytesMut;
use rustls::ServerConfig;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::JoinSet,
    time::timeout,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::task::AbortOnDropHandle;
use veza_dr_core::{Cx, Error, ErrorKind, ExposeSecret, Progress, Result, SecretString, Unit};

use super::frames::{Frames, silent};

/// What a stranger has to say something sensible.
const HANDSHAKE: Duration = Duration::from_secs(15);
const PIECE: usize = 256 * 1024;
/// Strangers that are listened to at one time.
const GUESTS: usize = 32;

/// What is served, and to whom.
#[derive(Debug, Clone)]
pub(crate) struct Offer {
    /// The user and secret that the target was given.
    pub(crate) user: String,
    pub(crate) secret: SecretString,
    /// The replication id and offset that the target has afterwards.
    pub(crate) replid: String,
    pub(crate) offset: u64,
    /// The file, known to be a whole RDB.
    pub(crate) rdb: PathBuf,
    pub(crate) bytes: u64,
    /// For how long the target may neither say a word nor take a byte. It shows that it is alive each second, while it
    /// receives, empties itself and loads.
    pub(crate) quiet: Duration,
    /// Addresses that may connect; `None` when they are not known and the secret alone decides.
    pub(crate) peers: Option<Vec<IpAddr>>,
}

/// What happens at the master.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum News {
    /// The target asked for the data and is being sent them.
    Asked,
    /// All was sent.
    Sent,
    /// The target acknowledged an offset: it has loaded.
    Loaded,
    /// The connection ended too early.
    Lost(String),
    /// The target asked a second time: its load failed.
    AskedAgain,
    /// Somebody without the secret, or from elsewhere, was sent away.
    Refused(String),
}

/// A listening master. Dropping it closes every socket.
#[derive(Debug)]
pub(crate) struct Master {
    address: SocketAddr,
    news: mpsc::Receiver<News>,
    served: Arc<AtomicBool>,
    _task: AbortOnDropHandle<()>,
}

impl Master {
    /// Listens on `bind` and serves `offer` to the first who knows the secret.
    pub(crate) async fn listen(
        cx: &Cx,
        bind: SocketAddr,
        tls: Option<Arc<ServerConfig>>,
        offer: Offer,
    ) -> Result<Self> {
        let cannot = |e: io::Error| {
            Error::new(ErrorKind::Unavailable, format!("cannot listen on {bind} for the target's connection"))
                .with_source(e)
                .with_help("choose another address for the target to connect to: advertise")
        };
        let listener = TcpListener::bind(bind).await.map_err(cannot)?;
        let address = listener.local_addr().map_err(cannot)?;
        let (tell, news) = mpsc::channel(64);
        let served = Arc::new(AtomicBool::new(false));
        let post = Post {
            cx: cx.clone(),
            offer: Arc::new(offer),
            served: served.clone(),
            tls: tls.map(TlsAcceptor::from),
            tell,
        };
        let task = AbortOnDropHandle::new(tokio::spawn(post.stand(listener)));
        Ok(Self { address, news, served, _task: task })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// True from before the first byte of the data is sent, and beyond this master's end.
    pub(crate) fn served(&self) -> Arc<AtomicBool> {
        self.served.clone()
    }

    /// What happens next.
    pub(crate) async fn news(&mut self) -> News {
        self.news.recv().await.unwrap_or_else(|| News::Lost("the master has ended".to_owned()))
    }
}

#[derive(Clone)]
struct Post {
    cx: Cx,
    offer: Arc<Offer>,
    served: Arc<AtomicBool>,
    tls: Option<TlsAcceptor>,
    tell: mpsc::Sender<News>,
}

impl Post {
    async fn stand(self, listener: TcpListener) {
        // Dropped with this task, and so are the connections.
        let mut guests = JoinSet::new();
        loop {
            tokio::select! {
                Some(_) = guests.join_next(), if !guests.is_empty() => {}
                arrived = listener.accept(), if guests.len() < GUESTS => match arrived {
                    Ok((stream, peer)) => { guests.spawn(self.clone().receive(stream, peer)); }
                    Err(e) => {
                        tracing::warn!(error = %e, "a connection to the master could not be taken");
                        tokio::time::sleep(Duration::from_millis(50)).await;
                    }
                },
            }
        }
    }

    async fn receive(self, stream: TcpStream, peer: SocketAddr) {
        let ip = peer.ip().to_canonical();
        if self.offer.peers.as_ref().is_some_and(|known| !known.iter().any(|k| k.to_canonical() == ip)) {
            return self.tell(News::Refused(format!("{ip} is not the target's address"))).await;
        }
        let _ = stream.set_nodelay(true);
        match self.tls.clone() {
            None => self.serve(stream, ip).await,
            Some(tls) => match timeout(HANDSHAKE, tls.accept(stream)).await {
                Ok(Ok(stream)) => self.serve(stream, ip).await,
                Ok(Err(e)) => self.tell(News::Refused(format!("TLS with {ip} failed: {e}"))).await,
                Err(_) => self.tell(News::Refused(format!("TLS with {ip} took too long"))).await,
            },
        }
    }

    async fn serve(&self, mut stream: impl AsyncRead + AsyncWrite + Unpin, peer: IpAddr) {
        let mut frames = Frames::default();
        match timeout(HANDSHAKE, self.greet(&mut stream, &mut frames)).await {
            Ok(Ok(true)) => {}
            Ok(Ok(false)) => return,
            Ok(Err(e)) => return self.tell(News::Refused(format!("{peer}: {e}"))).await,
            Err(_) => return self.tell(News::Refused(format!("{peer} said nothing"))).await,
        }
        if self.served.swap(true, Ordering::SeqCst) {
            return self.tell(News::AskedAgain).await;
        }
        self.tell(News::Asked).await;
        if let Err(e) = self.send(&mut stream).await {
            return self.tell(News::Lost(e.to_string())).await;
        }
        self.tell(News::Sent).await;
        loop {
            match frames.next(&mut stream, self.offer.quiet).await {
                Ok(Some(frame)) if word(&frame, 0) == b"REPLCONF" && word(&frame, 1) == b"ACK" => {
                    self.tell(News::Loaded).await;
                }
                Ok(Some(_)) => {}
                Ok(None) => return self.tell(News::Lost("the target closed the connection".to_owned())).await,
                Err(e) => return self.tell(News::Lost(e.to_string())).await,
            }
        }
    }

    /// The dialogue up to `PSYNC`; false when the other side left before that.
    async fn greet(&self, stream: &mut (impl AsyncRead + AsyncWrite + Unpin), frames: &mut Frames) -> io::Result<bool> {
        let mut known = false;
        while let Some(frame) = frames.next(stream, HANDSHAKE).await? {
            let answer: &[u8] = match word(&frame, 0).as_slice() {
                b"PING" if known => b"+PONG\r\n",
                b"PING" => b"-NOAUTH Authentication required.\r\n",
                b"AUTH" if self.knows(&frame) => {
                    known = true;
                    b"+OK\r\n"
                }
                b"AUTH" => {
                    stream.write_all(b"-WRONGPASS invalid username-password pair or user is disabled.\r\n").await?;
                    return Err(io::Error::new(io::ErrorKind::PermissionDenied, "the wrong secret"));
                }
                _ if !known => {
                    stream.write_all(b"-NOAUTH Authentication required.\r\n").await?;
                    return Err(io::Error::new(io::ErrorKind::PermissionDenied, "no secret"));
                }
                b"REPLCONF" => b"+OK\r\n",
                b"PSYNC" | b"SYNC" => return Ok(true),
                _ => b"-ERR unknown command\r\n",
            };
            stream.write_all(answer).await?;
        }
        Ok(false)
    }

    fn knows(&self, frame: &[Vec<u8>]) -> bool {
        let [_, user, secret] = frame else { return false };
        let expected = self.offer.secret.expose_secret().as_bytes();
        // The time it takes tells nothing of how much was right.
        let differs = secret.iter().zip(expected).fold(0, |all, (a, b)| all | (a ^ b));
        user == self.offer.user.as_bytes() && secret.len() == expected.len() && differs == 0
    }

    async fn send(&self, stream: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
        let mark = super::random_hex();
        let offer = &self.offer;
        let mut rdb = tokio::fs::File::open(&offer.rdb).await?.take(offer.bytes);
        let head = format!("+FULLRESYNC {} {}\r\n$EOF:{mark}\r\n", offer.replid, offer.offset);
        let quiet = offer.quiet;
        write(stream, head.as_bytes(), quiet).await?;
        self.cx.report(Progress::Begin { phase: "send", total: offer.bytes, unit: Unit::Bytes });
        let (mut sent, mut piece) = (0, BytesMut::with_capacity(PIECE));
        while rdb.read_buf(&mut piece).await? > 0 {
            write(stream, &piece, quiet).await?;
            sent += piece.len() as u64;
            self.cx.report(Progress::Advance { phase: "send", by: piece.len() as u64 });
            piece.clear();
        }
        if sent != offer.bytes {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the local copy of the data became shorter"));
        }
        write(stream, mark.as_bytes(), quiet).await?;
        timeout(quiet, stream.flush()).await.unwrap_or_else(|_| Err(silent(quiet)))?;
        self.cx.report(Progress::End { phase: "send" });
        Ok(())
    }

    async fn tell(&self, news: News) {
        if let News::Refused(why) = &news {
            tracing::warn!(%why, "a connection to the master was refused");
        }
        let _ = self.tell.send(news).await;
    }
}

/// Writes all. Each part that the other side takes begins the time that it may be `quiet` again.
async fn write(stream: &mut (impl AsyncWrite + Unpin), mut bytes: &[u8], quiet: Duration) -> io::Result<()> {
    while !bytes.is_empty() {
        let taken = timeout(quiet, stream.write(bytes)).await.unwrap_or_else(|_| Err(silent(quiet)))?;
        if taken == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        bytes = &bytes[taken..];
    }
    Ok(())
}

fn word(frame: &[Vec<u8>], at: usize) -> Vec<u8> {
    frame.get(at).map(|w| w.to_ascii_uppercase()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn master(peers: Option<Vec<IpAddr>>) -> (Master, tempfile::NamedTempFile) {
        patient(peers, b"REDIS0010 and so on", Duration::from_secs(60)).await
    }

    async fn patient(peers: Option<Vec<IpAddr>>, data: &[u8], quiet: Duration) -> (Master, tempfile::NamedTempFile) {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), data).unwrap();
        let offer = Offer {
            user: "veza-dr".into(),
            secret: SecretString::from("the-secret".to_owned()),
            replid: "a".repeat(40),
            offset: 7,
            rdb: file.path().to_owned(),
            bytes: data.len() as u64,
            quiet,
            peers,
        };
        (Master::listen(&Cx::background(), "127.0.0.1:0".parse().unwrap(), None, offer).await.unwrap(), file)
    }

    async fn say(address: SocketAddr, words: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let _ = stream.write_all(words.as_bytes()).await;
        let _ = stream.shutdown().await;
        let mut heard = Vec::new();
        let _ = stream.read_to_end(&mut heard).await;
        String::from_utf8(heard).unwrap()
    }

    const KNOWN: &str = "PING\r\nAUTH veza-dr the-secret\r\nREPLCONF capa eof\r\nPSYNC ? -1\r\n";

    #[tokio::test]
    async fn serves_once_and_reports_the_second_question() {
        let (mut master, _file) = master(None).await;
        let heard = say(master.address(), KNOWN).await;
        let (head, rest) = heard.split_once("$EOF:").unwrap();
        assert_eq!(
            head,
            format!("-NOAUTH Authentication required.\r\n+OK\r\n+OK\r\n+FULLRESYNC {} 7\r\n", "a".repeat(40))
        );
        let (mark, rest) = rest.split_once("\r\n").unwrap();
        assert_eq!(mark.len(), 40);
        assert_eq!(rest, format!("REDIS0010 and so on{mark}"));
        assert_eq!(master.news().await, News::Asked);
        assert_eq!(master.news().await, News::Sent);
        assert!(matches!(master.news().await, News::Lost(_)));
        let heard = say(master.address(), KNOWN).await;
        assert!(!heard.contains("FULLRESYNC"), "{heard}");
        assert_eq!(master.news().await, News::AskedAgain);
    }

    #[tokio::test]
    async fn strangers_get_nothing_and_are_no_news_of_the_target() {
        let (mut master, _file) = master(None).await;
        for words in [
            "PSYNC ? -1\r\n",
            "REPLCONF capa eof\r\nPSYNC ? -1\r\n",
            "AUTH veza-dr the-secre\r\nPSYNC ? -1\r\n",
            "AUTH somebody the-secret\r\nPSYNC ? -1\r\n",
            "AUTH the-secret\r\nPSYNC ? -1\r\n",
        ] {
            let heard = say(master.address(), words).await;
            assert!(!heard.contains("REDIS") && heard.starts_with('-'), "{words}: {heard}");
            assert!(matches!(master.news().await, News::Refused(_)), "{words}");
        }
        assert!(say(master.address(), KNOWN).await.contains("REDIS0010"));
        assert_eq!(master.news().await, News::Asked);
    }

    #[tokio::test]
    async fn a_target_that_falls_silent_is_lost_and_one_that_loads_is_not() {
        let quiet = Duration::from_millis(300);
        // After the data, with a sign of life now and then: more of them than the limit is long.
        let (mut master, _file) = patient(None, b"REDIS0010 and so on", quiet).await;
        let mut stream = TcpStream::connect(master.address()).await.unwrap();
        stream.write_all(KNOWN.as_bytes()).await.unwrap();
        assert_eq!((master.news().await, master.news().await), (News::Asked, News::Sent));
        for _ in 0..20 {
            tokio::time::sleep(quiet / 10).await;
            stream.write_all(b"\n").await.unwrap();
        }
        stream.write_all(b"REPLCONF ACK 0\r\n").await.unwrap();
        assert_eq!(master.news().await, News::Loaded);
        let lost = timeout(quiet * 20, master.news()).await.expect("news of the silence");
        assert!(matches!(&lost, News::Lost(why) if why.contains("no sign of life")), "{lost:?}");
    }

    #[tokio::test]
    async fn a_target_that_takes_no_more_bytes_is_lost() {
        let quiet = Duration::from_millis(300);
        // More than the sockets hold.
        let (mut master, _file) = patient(None, &vec![b'x'; 64 << 20], quiet).await;
        let mut stream = TcpStream::connect(master.address()).await.unwrap();
        stream.write_all(KNOWN.as_bytes()).await.unwrap();
        assert_eq!(master.news().await, News::Asked);
        let lost = timeout(quiet * 50, master.news()).await.expect("news of the standstill");
        assert!(matches!(&lost, News::Lost(why) if why.contains("no sign of life")), "{lost:?}");
        drop(stream);
    }

    #[tokio::test]
    async fn other_addresses_are_refused_before_they_speak() {
        let (mut master, _file) = master(Some(vec!["192.0.2.1".parse().unwrap()])).await;
        assert_eq!(say(master.address(), KNOWN).await, "");
        assert!(matches!(master.news().await, News::Refused(_)));
    }
}
