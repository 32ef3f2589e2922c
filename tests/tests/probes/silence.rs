//! Peers that say nothing, names that do not resolve, machines that answer a ping.

use std::net::SocketAddr;

use veza_dr_core::{ErrorKind, Health, ServiceProbe};
use veza_dr_failover::probe::{
    DiskProbe, DnsProbe, HttpProbe, IcmpProbe, PostgresProbe, RedisProbe, Room, TcpProbe, WebSocketProbe,
};

use crate::{
    look,
    servers::{anywhere, listen, mute},
};

/// Every kind of probe that speaks to a peer.
fn probes(at: SocketAddr) -> Vec<Box<dyn ServiceProbe>> {
    let (host, port) = (at.ip().to_string(), at.port());
    vec![
        Box::new(HttpProbe::new(&format!("http://{at}/")).unwrap()),
        Box::new(WebSocketProbe::new(&format!("ws://{at}/")).unwrap()),
        Box::new(PostgresProbe::new(&host, port, "u", "d")),
        Box::new(RedisProbe::new(&host, port)),
    ]
}

#[tokio::test]
async fn a_peer_that_accepts_and_never_answers_is_down_within_the_deadline() {
    let peer = mute(listen(anywhere()));
    let looks = probes(peer.at).into_iter().map(|probe| async move {
        let seen = look(probe.as_ref(), 1).await.unwrap();
        assert_eq!(seen.health, Health::Down, "{}: {seen:?}", probe.name());
    });
    futures::future::join_all(looks).await;
    // To TCP alone such a peer looks well: its probe promises no more.
    assert_eq!(look(&TcpProbe::new("127.0.0.1", peer.at.port()), 1).await.unwrap().health, Health::Healthy);
}

#[tokio::test]
async fn a_refusal_is_down_and_reached_and_a_name_that_does_not_resolve_is_an_error() {
    let closed = listen(anywhere()).local_addr().unwrap();
    for probe in probes(closed) {
        let seen = look(probe.as_ref(), 5).await.unwrap();
        assert!(seen.health == Health::Down && seen.reached, "{}: {seen:?}", probe.name());
        assert!(seen.detail.contains("refuses connections"), "{}: {seen:?}", probe.name());
    }
    let e = look(&TcpProbe::new("no-such-host.invalid", 80), 5).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Unavailable, "{e:?}");
}

#[tokio::test]
async fn a_ping_is_answered_or_not_allowed_and_never_invented() {
    match look(&IcmpProbe::new("127.0.0.1"), 5).await {
        Ok(seen) => assert!(seen.health == Health::Healthy && seen.reached, "{seen:?}"),
        Err(e) => assert_eq!(e.kind(), ErrorKind::Denied, "{e:?}"),
    }
}

#[tokio::test]
async fn a_name_server_that_does_not_answer_is_down() {
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let probe = DnsProbe::new("api.veza.test").by(vec![socket.local_addr().unwrap()]);
    let seen = look(&probe, 1).await.unwrap();
    assert!(seen.health == Health::Down && !seen.reached, "{seen:?}");
}

#[tokio::test]
async fn room_on_a_disk_is_compared_with_what_is_wanted() {
    let dir = tempfile::tempdir().unwrap();
    let probe = DiskProbe::new(dir.path()).with_inodes(Room::Percent(0.0));
    let enough = look(&probe.clone().with_free(Room::Units(1)), 5).await.unwrap();
    assert_eq!(enough.health, Health::Healthy, "{enough:?}");
    let little = look(&probe.with_free(Room::Units(u64::MAX)), 5).await.unwrap();
    assert!(little.health == Health::Degraded && little.detail.contains("less than wanted"), "{little:?}");
    let e = look(&DiskProbe::new("/no/such/path"), 5).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::NotFound);
}
