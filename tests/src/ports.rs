//! Free ports on the loopback interface.

use std::net::{Ipv4Addr, TcpListener};

use crate::Result;

/// A port on 127.0.0.1 that nothing listened on a moment ago.
///
/// Another process can take it before the server does, so callers retry with a new one.
pub fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// Different free ports, each with a sibling `distance` above that is free as well, for servers that derive one port
/// from another.
pub fn free_port_pairs<const N: usize>(distance: u16) -> Result<[u16; N]> {
    let mut ports = [0; N];
    // Held until all are found, so that none is given out twice.
    let mut held = Vec::new();
    let mut found = 0;
    for _ in 0..500 {
        if found == N {
            return Ok(ports);
        }
        let first = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = first.local_addr()?.port();
        let Some(sibling) = port.checked_add(distance) else { continue };
        if let Ok(second) = TcpListener::bind((Ipv4Addr::LOCALHOST, sibling)) {
            ports[found] = port;
            found += 1;
            held.extend([first, second]);
        }
    }
    Err(format!("not {N} pairs of free ports {distance} apart").into())
}
