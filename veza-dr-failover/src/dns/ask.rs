//! One question to one DNS server, UDP first, TCP where the answer did not fit or did not come.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    str::FromStr,
    time::Duration,
};

use hickory_resolver::proto::{
    op::{Message, MessageType, OpCode, Query, ResponseCode},
    rr::{Name, RData, RecordType as WireType},
};
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UdpSocket},
    time::timeout,
};
use veza_dr_core::{Cx, Error, ErrorKind, RecordType, Result};

use super::names::{absolute, plain};

/// How long one server may take over UDP; TCP is given twice as long.
const PATIENCE: Duration = Duration::from_millis(1500);

/// A DNS server: an address, with a port where it is not 53.
///
/// ```
/// use veza_dr_failover::dns::DnsServer;
/// let server: DnsServer = "1.1.1.1".parse().unwrap();
/// assert_eq!(server.to_string(), "1.1.1.1");
/// assert!("one.one".parse::<DnsServer>().is_err());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DnsServer {
    address: SocketAddr,
    name: Option<String>,
}

impl DnsServer {
    /// A server that is also known by a name.
    #[must_use]
    pub fn named(address: SocketAddr, name: impl Into<String>) -> Self {
        Self { address, name: Some(name.into()) }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl From<([u8; 4], u16)> for DnsServer {
    fn from(address: ([u8; 4], u16)) -> Self {
        Self { address: address.into(), name: None }
    }
}

impl FromStr for DnsServer {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let address = text.parse::<SocketAddr>().or_else(|_| text.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, 53)));
        let address = address.map_err(|_| {
            Error::new(ErrorKind::Config, format!("`{text}` is not a DNS server"))
                .with_help("give its address, with a port where it is not 53: 1.1.1.1 or 127.0.0.1:5353")
        })?;
        Ok(Self { address, name: None })
    }
}

impl TryFrom<String> for DnsServer {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        match text.split_once(' ') {
            Some((name, address)) => {
                let one: Self = address.trim_matches(['(', ')']).parse()?;
                Ok(Self::named(one.address, name))
            }
            None => text.parse(),
        }
    }
}

impl From<DnsServer> for String {
    fn from(server: DnsServer) -> Self {
        server.to_string()
    }
}

impl fmt::Display for DnsServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = if self.address.port() == 53 { self.address.ip().to_string() } else { self.address.to_string() };
        match &self.name {
            Some(name) => write!(f, "{name} ({shown})"),
            None => f.write_str(&shown),
        }
    }
}

/// What a server said of one name and type.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Answer {
    /// The values, sorted; empty when the name has none of this type.
    pub values: Vec<String>,
    /// Seconds until they may not be kept any longer; what is left of it where a cache answered.
    pub ttl: Option<u32>,
    /// Whether the server is one of those that the zone comes from.
    pub authoritative: bool,
}

/// Asks one server. `recurse` asks a resolver to find the answer; without it a server tells only what it holds itself.
///
/// # Errors
/// `Unavailable` when no answer came or the server refused to give one: that is never "no such record".
pub async fn ask(cx: &Cx, server: &DnsServer, name: &str, kind: RecordType, recurse: bool) -> Result<Answer> {
    let wire = match kind {
        RecordType::Aaaa => WireType::AAAA,
        RecordType::Cname => WireType::CNAME,
        RecordType::Txt => WireType::TXT,
        RecordType::Mx => WireType::MX,
        _ => WireType::A,
    };
    let message = exchange(cx, server, name, wire, recurse).await?;
    let mut values = Vec::new();
    let mut ttl: Option<u32> = None;
    for record in message.answers.iter().filter(|r| r.record_type() == wire) {
        values.push(text(&record.data));
        ttl = Some(ttl.map_or(record.ttl, |t| t.min(record.ttl)));
    }
    values.sort();
    Ok(Answer { values, ttl, authoritative: message.metadata.authoritative })
}

/// The names of a zone's servers as a resolver finds them; empty where the name is not the head of a zone.
pub(super) async fn ask_name_servers(cx: &Cx, server: &DnsServer, name: &str) -> Result<Vec<String>> {
    let message = exchange(cx, server, name, WireType::NS, true).await?;
    let found = message.answers.iter().filter_map(|r| match &r.data {
        RData::NS(ns) => Some(plain(&ns.0.to_ascii())),
        _ => None,
    });
    Ok(found.collect())
}

async fn exchange(cx: &Cx, server: &DnsServer, name: &str, kind: WireType, recurse: bool) -> Result<Message> {
    let what = format!("ask {server} for {name} {kind}");
    let failed = |why: String| Error::new(ErrorKind::Unavailable, format!("{what}: {why}"));
    let qname = Name::from_ascii(absolute(name))
        .map_err(|e| Error::new(ErrorKind::Config, format!("`{name}` is not a domain name")).with_source(e))?;
    let mut query = Message::new(id(), MessageType::Query, OpCode::Query);
    query.metadata.recursion_desired = recurse;
    query.add_query(Query::query(qname, kind));
    let bytes = query.to_vec().map_err(|e| Error::new(ErrorKind::Unexpected, what.clone()).with_source(e))?;
    let over_udp = cx.run(&what, async { Ok(timeout(PATIENCE, udp(server.address, &bytes)).await) }).await?;
    let answer = match over_udp {
        Ok(Ok(message)) if !message.metadata.truncation => message,
        _ => {
            let over_tcp = async { Ok(timeout(PATIENCE * 2, tcp(server.address, &bytes)).await) };
            match cx.run(&what, over_tcp).await? {
                Ok(Ok(message)) => message,
                Ok(Err(e)) => return Err(failed(e.to_string())),
                Err(_) => return Err(failed("no answer, neither over UDP nor over TCP".to_owned())),
            }
        }
    };
    match answer.metadata.response_code {
        ResponseCode::NoError | ResponseCode::NXDomain => Ok(answer),
        code => Err(failed(format!("it answered {code}"))),
    }
}

/// Unlike for others: a guess that hits also needs the source port, which the system picks.
fn id() -> u16 {
    let bytes = veza_dr_core::OperationId::random();
    u16::from_str_radix(&bytes.as_str()[..4], 16).unwrap_or_default()
}

async fn udp(server: SocketAddr, query: &[u8]) -> std::io::Result<Message> {
    let any: SocketAddr = if server.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0u16; 8], 0).into() };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(server).await?;
    socket.send(query).await?;
    let mut buffer = vec![0; 4096];
    loop {
        let length = socket.recv(&mut buffer).await?;
        // Whatever is no answer to this question is somebody's noise.
        if let Some(message) = parse(&buffer[..length], query) {
            return Ok(message);
        }
    }
}

async fn tcp(server: SocketAddr, query: &[u8]) -> std::io::Result<Message> {
    let mut stream = TcpStream::connect(server).await?;
    let length = u16::try_from(query.len()).map_err(std::io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes()[..], query].concat()).await?;
    let length = stream.read_u16().await?;
    let mut buffer = vec![0; usize::from(length)];
    stream.read_exact(&mut buffer).await?;
    parse(&buffer, query).ok_or_else(|| std::io::Error::other("the answer belongs to no question of ours"))
}

fn parse(answer: &[u8], query: &[u8]) -> Option<Message> {
    let (answer, query) = (Message::from_vec(answer).ok()?, Message::from_vec(query).ok()?);
    let same = answer.metadata.id == query.metadata.id
        && answer.metadata.message_type == MessageType::Response
        && answer.queries == query.queries;
    same.then_some(answer)
}

/// A value as zone files spell it, which is how providers do.
fn text(data: &RData) -> String {
    match data {
        RData::CNAME(name) => plain(&name.0.to_ascii()),
        RData::MX(mx) => format!("{} {}", mx.preference, plain(&mx.exchange.to_ascii())),
        RData::TXT(txt) => {
            let parts = txt.txt_data.iter().map(|part| {
                let inner = String::from_utf8_lossy(part).replace('\\', "\\\\").replace('"', "\\\"");
                format!("\"{inner}\"")
            });
            parts.collect::<Vec<_>>().join(" ")
        }
        other => other.to_string(),
    }
}

/// A value as it is compared: host names in lower case and with their last dot, addresses in their short form.
pub(super) fn comparable(kind: RecordType, value: &str) -> String {
    match kind {
        RecordType::Cname => plain(value),
        RecordType::Mx => match value.split_once(' ') {
            Some((preference, name)) => format!("{preference} {}", plain(name.trim())),
            None => value.to_owned(),
        },
        RecordType::A | RecordType::Aaaa => value.parse::<IpAddr>().map_or(value.to_owned(), |ip| ip.to_string()),
        _ => value.to_owned(),
    }
}
