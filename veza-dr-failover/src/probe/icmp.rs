//! Whether a machine answers an echo request, as `ping` asks it.

use std::{
    io::ErrorKind as Io,
    net::{IpAddr, SocketAddr},
    os::fd::OwnedFd,
    time::Duration,
};

use async_trait::async_trait;
use rustix::{
    io::Errno,
    net::{AddressFamily, SocketFlags, SocketType, ipproto, socket_with},
};
use tokio::net::UdpSocket;
use veza_dr_core::{Cx, Error, ErrorKind, Observation, OperationId, Result, ServiceProbe};

use super::{
    PATIENCE,
    connect::resolve,
    look::{Contact, Seen, Stop, look},
};

/// So often is the question repeated while no answer comes.
const TRIES: u32 = 3;
const HEADER: usize = 8;

/// Sends ICMP echo requests until one is answered. Healthy means that the machine and the way to it are there; silence
/// proves little, as many networks drop such requests. Needs no privilege where `net.ipv4.ping_group_range` lets the
/// user in, else `CAP_NET_RAW`; without either it is an error, never an observation.
///
/// ```
/// use veza_dr_core::ServiceProbe;
/// assert_eq!(veza_dr_failover::probe::IcmpProbe::new("1.1.1.1").name(), "icmp 1.1.1.1");
/// ```
#[derive(Debug, Clone)]
pub struct IcmpProbe {
    name: String,
    host: String,
    patience: Duration,
}

impl IcmpProbe {
    /// Looks at a machine.
    #[must_use]
    pub fn new(host: impl Into<String>) -> Self {
        let host = host.into();
        Self { name: format!("icmp {host}"), host, patience: PATIENCE }
    }

    /// How long it waits; 5 s by default.
    #[must_use]
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    async fn ask(&self) -> Result<Seen, Stop> {
        let to = resolve(&self.host, 0).await?.remove(0);
        // To the system a datagram socket is one, whatever its protocol; so the runtime can watch it.
        let socket = UdpSocket::from_std(open(to.ip())?.into()).map_err(|e| cannot("watched", &e))?;
        let word = OperationId::random();
        for sequence in 1..=u16::try_from(TRIES).unwrap_or(u16::MAX) {
            send(&socket, &request(to.ip(), sequence, word.as_str()), to).await?;
            let wait = self.patience / TRIES;
            if let Ok(answered) = tokio::time::timeout(wait, answer(&socket, to.ip(), word.as_str())).await {
                answered?;
                return Ok(Seen::healthy(format!("{} answers", to.ip())));
            }
        }
        Ok(Seen::silent(format!("{} does not answer an echo request", to.ip())))
    }
}

#[async_trait]
impl ServiceProbe for IcmpProbe {
    fn name(&self) -> &str {
        &self.name
    }

    async fn observe(&self, cx: &Cx) -> Result<Observation> {
        // The last try ends when the patience does: it is the one to say that nobody answered.
        let limit = self.patience + Duration::from_millis(100);
        look(cx, &self.name, limit, &Contact::default(), self.ask()).await
    }
}

/// A socket for anybody, where the system has them; else one for the privileged.
fn open(to: IpAddr) -> Result<OwnedFd, Stop> {
    let (family, protocol) = match to {
        IpAddr::V4(_) => (AddressFamily::INET, ipproto::ICMP),
        IpAddr::V6(_) => (AddressFamily::INET6, ipproto::ICMPV6),
    };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let made = socket_with(family, SocketType::DGRAM, flags, Some(protocol))
        .or_else(|_| socket_with(family, SocketType::RAW, flags, Some(protocol)));
    made.map_err(|e| match e {
        Errno::ACCESS | Errno::PERM => Error::new(ErrorKind::Denied, "this user may not send echo requests")
            .with_help("allow it: sysctl net.ipv4.ping_group_range='0 2147483647'; or use a tcp probe")
            .into(),
        e => cannot("opened", &e),
    })
}

fn cannot(what: &str, e: &dyn std::fmt::Display) -> Stop {
    Error::new(ErrorKind::Unexpected, format!("a socket for echo requests cannot be {what}: {e}")).into()
}

async fn send(socket: &UdpSocket, packet: &[u8], to: SocketAddr) -> Result<(), Stop> {
    let sent = socket.send_to(packet, to).await;
    sent.map(|_| ()).map_err(|e| match e.kind() {
        Io::PermissionDenied => {
            Error::new(ErrorKind::Denied, format!("this machine may not send echo requests to {}", to.ip())).into()
        }
        _ => unreachable(to.ip(), "used", &e),
    })
}

async fn answer(socket: &UdpSocket, from: IpAddr, word: &str) -> Result<(), Stop> {
    let mut buffer = [0u8; 512];
    loop {
        let (length, _) = socket.recv_from(&mut buffer).await.map_err(|e| unreachable(from, "read", &e))?;
        if is_answer(&buffer[..length], from, word) {
            return Ok(());
        }
    }
}

fn unreachable(to: IpAddr, what: &str, e: &std::io::Error) -> Stop {
    match e.kind() {
        Io::HostUnreachable | Io::NetworkUnreachable | Io::NetworkDown => {
            Seen::silent(format!("there is no way to {to}")).into()
        }
        _ => cannot(what, e),
    }
}

/// The word in it makes an answer ours, whoever else pings.
fn is_answer(packet: &[u8], from: IpAddr, word: &str) -> bool {
    // A raw socket of IPv4 also gives the IP header.
    let start = match packet.first() {
        Some(first) if from.is_ipv4() && first >> 4 == 4 => usize::from(first & 0x0f) * 4,
        _ => 0,
    };
    let kind = if from.is_ipv4() { 0 } else { 129 };
    packet.get(start..).is_some_and(|icmp| icmp.first() == Some(&kind) && icmp.get(HEADER..) == Some(word.as_bytes()))
}

fn request(to: IpAddr, sequence: u16, word: &str) -> Vec<u8> {
    let kind = if to.is_ipv4() { 8 } else { 128 };
    let mut packet = vec![kind, 0, 0, 0, 0x7e, 0x2a];
    packet.extend(sequence.to_be_bytes());
    packet.extend(word.as_bytes());
    // The kernel fills in that of IPv6.
    if to.is_ipv4() {
        let sum = checksum(&packet);
        packet[2..4].copy_from_slice(&sum.to_be_bytes());
    }
    packet
}

/// RFC 1071.
fn checksum(bytes: &[u8]) -> u16 {
    let mut sum = 0u32;
    for pair in bytes.chunks(2) {
        sum += u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    #[expect(clippy::cast_possible_truncation, reason = "it was folded into sixteen bits above")]
    let folded = sum as u16;
    !folded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_sums_up_to_nothing_and_its_answer_is_known_by_its_word() {
        let from: IpAddr = "127.0.0.1".parse().unwrap();
        let mut packet = request(from, 7, "word");
        assert_eq!(checksum(&packet), 0);
        assert!(!is_answer(&packet, from, "word"), "a request is no answer");
        packet[0] = 0;
        assert!(is_answer(&packet, from, "word"));
        assert!(!is_answer(&packet, from, "other"));
        let mut raw = vec![0x45; 20];
        raw.extend(&packet);
        assert!(is_answer(&raw, from, "word"));
        assert!(!is_answer(b"\x45", from, "word") && !is_answer(b"", from, "word"));
    }
}
