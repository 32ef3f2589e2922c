//! The page behind a link: only a signature lets in, looking changes nothing, confirming does, and every other path asks for
//! the token as before.

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use veza_dr_core::{Cx, SystemClock};
use veza_dr_failover::{
    alarm::Facts,
    escalation::AckKey,
    http::{Server, ServerConfig, acknowledge_routes, routes},
    measure::Outage,
    metrics::Metrics,
};

use crate::scene::{Ears, hours};

async fn ask(at: std::net::SocketAddr, method: &str, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(at).await.unwrap();
    let request = format!("{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    (answer.split(' ').nth(1).unwrap().parse().unwrap(), answer)
}

#[tokio::test]
async fn a_link_acknowledges_for_who_it_was_sent_to_and_opens_nothing_else() {
    let place = tempfile::tempdir().unwrap();
    let desk = Arc::new(Ears::new().desk(place.path(), Arc::new(SystemClock)));
    let now: DateTime<Utc> = Utc::now();
    let mut facts = Facts::at(now);
    (facts.watched, facts.served, facts.strictest_rto) = (true, Some(false), Some(hours(2)));
    facts.outage = serde_json::from_value::<Outage>(serde_json::json!({ "began": now, "detected": now })).ok();
    desk.evaluate(&facts).unwrap();
    let id = desk.view().unwrap().incident.unwrap().incident.id;
    let key = AckKey::open(&place.path().join("key")).unwrap();
    let metrics = Metrics::new();
    let pages = routes(metrics.registry(), metrics).merge(acknowledge_routes(desk.clone(), key.clone()));
    let config = ServerConfig::new("127.0.0.1:0".parse().unwrap()).with_token("0123456789abcdef".to_owned().into());
    let server = Server::bind(config.with_signed_links(), pages).await.unwrap();
    let (at, cx) = (server.address(), Cx::background());
    let serving = tokio::spawn({
        let cx = cx.clone();
        async move { server.run(&cx).await }
    });
    let taken = || desk.view().unwrap().incident.unwrap().acknowledged_by;
    let link = |who: &str, token: &str| format!("/acknowledge/{id}?by={who}&token={token}");
    let good = key.token(&id, "ann <b>", now + TimeDelta::hours(1));
    let ended = key.token(&id, "ann", now - TimeDelta::seconds(2));
    for (method, path, status) in [
        ("GET", "/metrics".to_owned(), 401),
        ("GET", "/acknowledge".to_owned(), 401),
        ("GET", format!("/acknowledge/{id}"), 403),
        ("POST", format!("/acknowledge/{id}"), 403),
        ("POST", link("bob", &good), 403),
        ("POST", link("ann", &ended), 403),
        ("POST", link("ann%20%3Cb%3E", &format!("{good}0")), 403),
    ] {
        let (told, answer) = ask(at, method, &path).await;
        assert_eq!((told, taken()), (status, None), "{method} {path}: {answer}");
    }
    // Programs that read mail open links: that must not acknowledge.
    let (status, page) = ask(at, "GET", &link("ann%20%3Cb%3E", &good)).await;
    assert_eq!((status, taken()), (200, None));
    assert!(page.contains("<form method=post>") && page.contains("ann &lt;b&gt;"), "{page}");
    assert!(page.to_lowercase().contains("content-security-policy: default-src 'none'"), "{page}");
    let (status, page) = ask(at, "POST", &link("ann%20%3Cb%3E", &good)).await;
    assert_eq!((status, taken()), (200, Some("ann <b>".to_owned())), "{page}");
    cx.cancel();
    serving.await.unwrap().unwrap();
}
