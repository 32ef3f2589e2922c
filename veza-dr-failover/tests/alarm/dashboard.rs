//! The one button of the dashboard: what is open is on the first page, and whoever takes care is on record after it.

use std::{net::SocketAddr, sync::Arc};

use chrono::Utc;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use veza_dr_core::{Cx, SystemClock};
use veza_dr_failover::{
    alarm::Facts,
    alerts::Subject,
    dashboard::{Dashboard, DashboardConfig},
    http::{Server, ServerConfig},
    measure::Outage,
    metrics::Metrics,
};

use crate::{
    markup::Page,
    scene::{Ears, hours, record},
};

const TOKEN: &str = "0123456789abcdef";

async fn send(at: SocketAddr, method: &str, path: &str, headers: &str, body: &str) -> (u16, String, String) {
    let mut stream = TcpStream::connect(at).await.unwrap();
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {at}\r\nContent-Type: application/x-www-form-urlencoded\r\n\
         Content-Length: {length}\r\nConnection: close\r\n{headers}\r\n{body}"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head[9..12].parse().unwrap(), head.to_owned(), body.to_owned())
}

#[tokio::test]
async fn what_is_open_is_on_the_first_page_and_its_button_acknowledges() {
    let place = tempfile::tempdir().unwrap();
    let desk = Arc::new(Ears::new().desk(place.path(), Arc::new(SystemClock)));
    let config = DashboardConfig::new(place.path());
    let dashboard = Dashboard::open(config, Metrics::new()).unwrap().with_desk(desk.clone());
    let cx = Cx::background();
    let config = ServerConfig::new("127.0.0.1:0".parse().unwrap()).with_token(TOKEN.to_owned().into());
    let server = Server::bind(config, dashboard.routes(&cx)).await.unwrap();
    let at = server.address();
    let (serving, watching) = (cx.clone(), cx.clone());
    let served = tokio::spawn(async move { server.run(&serving).await });
    tokio::spawn(async move { dashboard.watch(&watching).await });
    let known = format!("Authorization: Bearer {TOKEN}\r\n");
    let page = |language: &'static str| {
        let known = known.clone();
        async move { send(at, "GET", &format!("/?lang={language}"), &known, "").await.2 }
    };
    assert!(!page("en").await.contains("action=\"/alarms/"), "nothing is open");

    let now = Utc::now();
    let mut facts = Facts::at(now);
    (facts.watched, facts.served, facts.strictest_rto) = (true, Some(false), Some(hours(2)));
    facts.outage = serde_json::from_value::<Outage>(serde_json::json!({ "began": now, "detected": now })).ok();
    let late = record("20261101T000000Z-aaaaaa", "recovery", "backend", now - chrono::TimeDelta::days(1), 90, Some(3));
    facts.ended = vec![Subject::of_record(&late)];
    desk.evaluate(&facts).unwrap();
    let view = desk.view().unwrap();
    let incident = view.incident.unwrap().incident.id;
    let alert = view.alerts.iter().find(|a| a.alert == "RecoveryTimeExceeded").unwrap().id.clone();
    // The page sees it by itself.
    let mut body = page("en").await;
    for _ in 0..600 {
        if body.contains(&alert) {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        body = page("en").await;
    }
    let shown = Page::parse(&body);
    shown.is_accessible("en");
    assert!(shown.text.contains("users are not served") && shown.text.contains("RecoveryTimeExceeded"));
    for id in [&incident, &alert] {
        assert!(body.contains(&format!("method=\"post\" action=\"/alarms/{id}?lang=en\"")));
    }
    let french = page("fr").await;
    Page::parse(&french).is_accessible("fr");
    assert!(french.contains("Je m'en occupe") || french.contains("Je m&#39;en occupe"));

    let path = format!("/alarms/{incident}?lang=fr");
    let nobody = || desk.view().unwrap().incident.unwrap().acknowledged_by;
    let own = format!("Origin: http://{at}\r\n");
    let (code, head, _) = send(at, "POST", "/login", &own, &format!("token={TOKEN}&next=%2F")).await;
    assert_eq!(code, 303, "{head}");
    let cookie = head.lines().find_map(|l| l.strip_prefix("set-cookie: ")).unwrap().split(';').next().unwrap();
    let cookie = format!("Cookie: {cookie}\r\n");
    for (headers, path, body, status) in [
        (String::new(), path.as_str(), "by=eve", 401),
        (cookie.clone(), path.as_str(), "by=eve", 403),
        (format!("{cookie}Origin: http://evil.example\r\n"), path.as_str(), "by=eve", 403),
        (known.clone(), path.as_str(), "", 400),
        (known.clone(), path.as_str(), "by=%20", 400),
        (known.clone(), path.as_str(), "by=a%0Ab", 400),
        (known.clone(), "/alarms/nothing", "by=ann", 404),
    ] {
        let (code, head, _) = send(at, "POST", path, &headers, body).await;
        assert_eq!((code, nobody()), (status, None), "{headers} {path} {body}: {head}");
    }
    assert_eq!(send(at, "POST", &path, &known, &format!("by={}", "x".repeat(101))).await.0, 400);
    assert_eq!(send(at, "POST", &path, &known, &format!("by={}", "x".repeat(2000))).await.0, 413);
    assert_eq!(send(at, "GET", &path, &known, "").await.0, 405, "looking changes nothing");
    assert_eq!(nobody(), None);

    let (code, head, _) = send(at, "POST", &path, &format!("{cookie}{own}"), "by=Zo%C3%A9+%3Cdba%3E").await;
    assert!(code == 303 && head.contains("location: /?lang=fr"), "{head}");
    assert_eq!(nobody().as_deref(), Some("Zoé <dba>"));
    let body = page("en").await;
    assert!(body.contains("Zoé &lt;dba&gt;") && !body.contains(&format!("/alarms/{incident}")), "at once");
    // A fact of the past is closed by it.
    assert_eq!(send(at, "POST", &format!("/alarms/{alert}"), &known, "by=ann").await.0, 303);
    assert!(!page("en").await.contains(&alert));
    let over = desk.view().unwrap().over;
    assert_eq!(over.iter().find(|a| a.id == alert).unwrap().acknowledged_by.as_deref(), Some("ann"));
    cx.cancel();
    served.await.unwrap().unwrap();
}
