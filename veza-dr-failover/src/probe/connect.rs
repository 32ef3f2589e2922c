//! TCP connections of probes: which failure says something about the service, and which only about us.

use std::{io, net::SocketAddr};

use futures::{StreamExt, stream::FuturesUnordered};
use tokio::net::TcpStream;
use veza_dr_core::{Error, ErrorKind};

use super::look::{Contact, Seen, Stop};

/// Looks a host up. A name that does not resolve says nothing about the machine behind it.
pub(super) async fn resolve(host: &str, port: u16) -> Result<Vec<SocketAddr>, Error> {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let found = tokio::net::lookup_host((bare, port)).await.map(Iterator::collect::<Vec<_>>);
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) => Err(unresolved(host)),
        Err(e) => Err(unresolved(host).with_source(e)),
    }
}

fn unresolved(host: &str) -> Error {
    Error::new(ErrorKind::Unavailable, format!("the name {host} does not resolve, so nothing was asked"))
        .with_help("give the site's address as an IP address: a disaster may take the name server with it")
}

/// Connects to the first address that answers; all are tried at once, so that one that is cut off costs no time.
pub(super) async fn connect(host: &str, port: u16, contact: &Contact) -> Result<TcpStream, Stop> {
    let mut tries: FuturesUnordered<_> =
        resolve(host, port).await?.into_iter().map(|at| async move { (at, TcpStream::connect(at).await) }).collect();
    let mut worst = None;
    while let Some((at, tried)) = tries.next().await {
        match tried {
            Ok(stream) => {
                contact.made();
                // Only what small packets cost in time is lost when the option cannot be set.
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Err(e) => {
                let stop = failed(&at.to_string(), &e);
                // A refusal is an answer: it says more than the silence of another address.
                if worst.is_none() || matches!(&stop, Stop::Seen(_)) && e.kind() == io::ErrorKind::ConnectionRefused {
                    worst = Some(stop);
                }
            }
        }
    }
    Err(worst.unwrap_or_else(|| unresolved(host).into()))
}

/// What a failed connection or exchange says.
pub(super) fn failed(at: &str, e: &io::Error) -> Stop {
    use io::ErrorKind as Io;
    match e.kind() {
        Io::ConnectionRefused => Seen::down(format!("{at} refuses connections")).into(),
        Io::ConnectionReset | Io::ConnectionAborted | Io::BrokenPipe | Io::UnexpectedEof => {
            Seen::down(format!("{at} closed the connection")).into()
        }
        Io::HostUnreachable | Io::NetworkUnreachable | Io::TimedOut | Io::NetworkDown => {
            Seen::silent(format!("{at} cannot be reached: {e}")).into()
        }
        Io::PermissionDenied => Error::new(ErrorKind::Denied, format!("this machine may not connect to {at}"))
            .with_help("a local firewall rule forbids it")
            .into(),
        Io::InvalidData => Seen::down(format!("{at}: {e}")).into(),
        _ => Error::new(ErrorKind::Unexpected, format!("{at} could not be asked: {e}")).into(),
    }
}

/// `host:port`, with the brackets of an IPv6 address.
pub(super) fn address(host: &str, port: u16) -> String {
    if host.contains(':') && !host.starts_with('[') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}
