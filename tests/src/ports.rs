//! Free ports on the loopback interface.

use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::sync::Mutex;

use crate::Result;

/// Below the range from which systems number outgoing connections and servers that ask for any port.
const FIRST: u16 = 12_000;
const COUNT: u64 = 10_000;

/// The claims of this process, each a locked file: a port is no other test's until the process ends.
static CLAIMS: Mutex<Vec<File>> = Mutex::new(Vec::new());

/// A port on 127.0.0.1 that nothing listens on, by TCP or UDP, and that no other test takes while this process runs.
///
/// A free port alone is not enough: several programs of tests run at once, and servers that share a port
/// (`SO_REUSEPORT`) both start, and then answer each other's questions.
pub fn free_port() -> Result<u16> {
    let [port] = free_port_pairs(0)?;
    Ok(port)
}

/// Different free ports, each with a sibling `distance` above that is free as well, for servers that derive one port
/// from another.
pub fn free_port_pairs<const N: usize>(distance: u16) -> Result<[u16; N]> {
    let folder = std::env::temp_dir().join("veza-dr-tests-ports");
    std::fs::create_dir_all(&folder)?;
    let mut ports = [0; N];
    let mut found = 0;
    for _ in 0..2000 {
        if found == N {
            return Ok(ports);
        }
        let port = FIRST + u16::try_from(RandomState::new().hash_one(found) % COUNT)?;
        let Some(sibling) = port.checked_add(distance) else { continue };
        let claim = File::create(folder.join(port.to_string()))?;
        if claim.try_lock().is_err() || !is_free(port) || !is_free(sibling) {
            continue;
        }
        CLAIMS.lock().map_err(|_| "a test panicked while it claimed a port")?.push(claim);
        ports[found] = port;
        found += 1;
    }
    Err(format!("not {N} pairs of free ports {distance} apart").into())
}

fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() && UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_port_is_given_twice_nor_one_that_is_taken() {
        let mut given = HashSet::new();
        for _ in 0..200 {
            let port = free_port().unwrap();
            assert!(given.insert(port), "{port} given twice");
            // A server may hold it, or not yet, or no longer: it stays ours.
            drop(TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap());
        }
        let listening = TcpListener::bind((Ipv4Addr::LOCALHOST, *given.iter().next().unwrap())).unwrap();
        assert!(!is_free(listening.local_addr().unwrap().port()));
        let talking = UdpSocket::bind((Ipv4Addr::LOCALHOST, *given.iter().last().unwrap())).unwrap();
        assert!(!is_free(talking.local_addr().unwrap().port()));
    }
}
