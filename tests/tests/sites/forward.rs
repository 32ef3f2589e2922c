//! Addresses of a site's machine, reached through a real sshd.

use std::net::{SocketAddr, TcpListener as StdListener};
use std::path::Path;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use veza_dr_core::{Cx, ErrorKind};
use veza_dr_failover::site::ComposeSite;
use veza_dr_tests::ports::free_port;
use veza_dr_tests::sshd::Sshd;
use veza_dr_tests::tcp_proxy::TcpProxy;

use crate::{over, project};

fn site(sshd: &Sshd, port: u16) -> ComposeSite {
    let mut project = project("far", Path::new("/none.yml"), Path::new("/none"), None);
    project.ssh = Some(over(sshd, port));
    ComposeSite::new(project).unwrap()
}

/// Sends back what it is sent.
async fn echo() -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let task = tokio::spawn(async move {
        let mut connections = tokio::task::JoinSet::new();
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            connections.spawn(async move {
                let (mut from, mut to) = stream.split();
                let _ = tokio::io::copy(&mut from, &mut to).await;
            });
        }
    });
    (address, task)
}

/// Sends so much and reads it back.
async fn echoed(to: SocketAddr, seed: u8) -> std::io::Result<bool> {
    let sent: Vec<u8> = (0..200_000u32).map(|n| (n % 251) as u8 ^ seed).collect();
    let (mut from, mut into) = TcpStream::connect(to).await?.into_split();
    let send = async {
        into.write_all(&sent).await?;
        into.shutdown().await
    };
    let mut got = Vec::new();
    let (done, read) = tokio::join!(send, from.read_to_end(&mut got));
    done?;
    read?;
    Ok(got == sent)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_of_its_machine_is_reached_through_ssh_as_long_as_the_site_is_there() {
    let cx = Cx::background();
    let sshd = Sshd::start("").unwrap();
    let far = site(&sshd, sshd.port());
    let (there, server) = echo().await;

    let here = far.reach(&cx, there).await.unwrap();
    assert!(here.ip().is_loopback() && here != there);
    assert_eq!(far.reach(&cx, there).await.unwrap(), here, "one port for one address");
    let all = (0..60).map(|seed| echoed(here, seed));
    for whole in futures::future::join_all(all).await {
        assert!(whole.unwrap());
    }

    // What is refused over there looks like a connection that is closed; it is not taken for an answer.
    let dead: SocketAddr = ([127, 0, 0, 1], free_port().unwrap()).into();
    let nowhere = far.reach(&cx, dead).await.unwrap();
    let mut stream = TcpStream::connect(nowhere).await.unwrap();
    assert_eq!(stream.read(&mut [0; 1]).await.unwrap_or(0), 0);
    // Nor is what takes no connection and refuses none: its queue is full.
    let full = StdListener::bind("127.0.0.1:0").unwrap();
    rustix::net::listen(&full, 0).unwrap();
    let silent = full.local_addr().unwrap();
    full.set_nonblocking(true).unwrap();
    let mut queued = Vec::new();
    while let Ok(Ok(one)) = tokio::time::timeout(Duration::from_millis(500), TcpStream::connect(silent)).await {
        queued.push(one);
    }
    assert_eq!(far.answer(&cx, &[there, dead, silent, there]).await.unwrap(), [true, false, false, true]);

    let near = ComposeSite::new(project("near", Path::new("/none.yml"), Path::new("/none"), None)).unwrap();
    assert_eq!(near.reach(&cx, there).await.unwrap(), there);
    assert_eq!(near.answer(&cx, &[there, dead, silent]).await.unwrap(), [true, false, false]);

    server.abort();
    assert!(server.await.unwrap_err().is_cancelled());
    assert_eq!(far.answer(&cx, &[there]).await.unwrap(), [false], "it answered before");

    drop(far);
    let began = Instant::now();
    while TcpStream::connect(here).await.is_ok() {
        assert!(began.elapsed() < Duration::from_secs(10), "the port is there without its site");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_way_that_is_cut_ends_its_connections_is_made_anew_and_one_that_is_not_allowed_is_told() {
    let cx = Cx::background();
    let sshd = Sshd::start("").unwrap();
    let proxy = TcpProxy::start(&format!("127.0.0.1:{}", sshd.port())).await.unwrap();
    let far = site(&sshd, proxy.port());
    let (there, _server) = echo().await;
    let here = far.reach(&cx, there).await.unwrap();
    let mut stream = TcpStream::connect(here).await.unwrap();
    stream.write_all(b"x").await.unwrap();
    assert_eq!(stream.read(&mut [0; 9]).await.unwrap(), 1);

    proxy.cut();
    let ended = tokio::time::timeout(Duration::from_secs(20), stream.read(&mut [0; 9])).await.unwrap();
    assert_eq!(ended.unwrap_or(0), 0, "nobody waits for ever for an answer that cannot come");
    let began = Instant::now();
    loop {
        // The end of `ssh` may be seen a little later than the end of its connections.
        assert_eq!(far.reach(&cx, there).await.unwrap(), here, "the same port");
        if echoed(here, 1).await.unwrap_or(false) {
            break;
        }
        assert!(began.elapsed() < Duration::from_secs(20), "it leads there again");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }

    proxy.refuse().await;
    proxy.cut();
    let began = Instant::now();
    let e = loop {
        match far.reach(&cx, there).await {
            Err(e) => break e,
            Ok(_) => assert!(began.elapsed() < Duration::from_secs(20), "the way is gone"),
        }
    };
    assert_eq!(e.kind(), ErrorKind::Unavailable, "{}", e.chain());
    assert!(e.to_string().contains(&format!("site far: {there} cannot be reached")), "{}", e.chain());
    assert_eq!(far.answer(&cx, &[there]).await.unwrap_err().kind(), ErrorKind::Unavailable, "not known is no answer");

    let strict = Sshd::start("AllowTcpForwarding no\nAllowStreamLocalForwarding yes").unwrap();
    let e = site(&strict, strict.port()).answer(&cx, &[there]).await.unwrap_err();
    assert!(e.kind() == ErrorKind::Denied && e.to_string().contains("leads no connection on"), "{}", e.chain());
}
