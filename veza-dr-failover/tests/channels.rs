//! Every notification channel delivers to a real receiver on this machine what it should, tries again when that can
//! help, and never shows a secret.

#![cfg(all(feature = "http", feature = "smtp"))]

mod common;

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use common::Receiver;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::TcpListener,
};
use veza_dr_core::{Action, Cx, ErrorKind, Event, EventSink, Phase, RetryPolicy, SecretString};
use veza_dr_failover::notify::{
    CommandChannel, Delivery, DeliveryRecord, Filter, HookUrl, Ping, Queued, Slack, Smtp, SmtpConfig, SmtpTls, Webhook,
    sign,
};

fn event(phase: Phase, text: &str) -> Event {
    let at = "2026-11-23T10:45:00Z".parse().expect("a step of the scene");
    Event::new(at, Action::Backup, phase, text).about("database".parse().expect("a step of the scene"))
}

fn url(receiver: &Receiver, path: &str) -> HookUrl {
    HookUrl::parse(SecretString::from(format!("http://{}{path}", receiver.at))).expect("a step of the scene")
}

#[derive(Debug, Default)]
struct Kept(Mutex<Vec<(String, u32, Option<String>)>>);

impl DeliveryRecord for Kept {
    fn record(&self, d: &Delivery) {
        self.0.lock().expect("a step of the scene").push((d.channel.clone(), d.attempts, d.error.clone()));
    }
}

fn quick() -> RetryPolicy {
    RetryPolicy::default().with_attempts(4).with_first(Duration::from_millis(5))
}

#[tokio::test]
async fn a_webhook_is_signed_and_tried_again_until_it_is_taken() {
    let receiver = Receiver::start(&[500, 503]).await;
    let key = SecretString::from("canary-key");
    let webhook = Webhook::new(url(&receiver, "/canary-path?token=canary-q")).unwrap().signed_with(key.clone());
    assert!(!format!("{webhook:?}").contains("canary"), "{webhook:?}");
    let kept = Arc::new(Kept::default());
    let queued = Queued::start("ops", Arc::new(webhook), Filter::default(), quick(), vec![kept.clone()]);
    let failed = event(Phase::Failed, "no space left").in_store("offsite").with_help("free some");
    queued.tell(&Cx::background(), &failed).await.unwrap();
    queued.tell(&Cx::background(), &event(Phase::Started, "not told: info")).await.unwrap();
    queued.close(Duration::from_secs(10)).await;
    assert_eq!(*kept.0.lock().unwrap(), [("ops".to_owned(), 3, None)]);
    let taken = receiver.taken();
    assert_eq!(taken.len(), 3);
    let last = &taken[2];
    assert_eq!((last.method.as_str(), last.path.as_str()), ("POST", "/canary-path?token=canary-q"));
    let body: serde_json::Value = serde_json::from_str(&last.body).unwrap();
    assert_eq!(body["subject"], "[high] backup of database in offsite failed");
    assert_eq!((&body["text"], &body["help"]), (&"no space left".into(), &"free some".into()));
    assert_eq!((&body["severity"], &body["at"]), (&"high".into(), &"2026-11-23T10:45:00Z".into()));
    let signature = last.signature.clone().unwrap();
    let (at, tag) = signature.strip_prefix("t=").unwrap().split_once(",v1=").unwrap();
    assert_eq!(tag, sign(&key, format!("{at}.{}", last.body).as_bytes()));
    assert!((chrono::Utc::now().timestamp() - at.parse::<i64>().unwrap()).abs() < 60);
}

#[tokio::test]
async fn what_can_never_be_taken_is_given_up_at_once_and_no_error_shows_the_address() {
    let receiver = Receiver::start(&[404]).await;
    let kept = Arc::new(Kept::default());
    let webhook = Arc::new(Webhook::new(url(&receiver, "/canary")).unwrap());
    let queued = Queued::start("ops", webhook, Filter::default(), quick(), vec![kept.clone()]);
    queued.tell(&Cx::background(), &event(Phase::Failed, "x")).await.unwrap();
    queued.close(Duration::from_secs(10)).await;
    assert_eq!(receiver.taken().len(), 1);
    let error = kept.0.lock().unwrap()[0].2.clone().unwrap();
    assert_eq!(error, format!("http://{}/… answered 404 Not Found", receiver.at));
    // Nobody listens: the library's own words name the whole address.
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let gone = HookUrl::parse(SecretString::from(format!("http://{free}/canary"))).unwrap();
    let e = Slack::new(gone).unwrap().tell(&Cx::background(), &event(Phase::Failed, "x")).await.unwrap_err();
    assert!(e.is_retryable() && !e.chain().contains("canary") && !format!("{e:?}").contains("canary"), "{e:?}");
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let receiver = Receiver::start(&[302]).await;
    let e = Webhook::new(url(&receiver, "/")).unwrap().tell(&Cx::background(), &event(Phase::Failed, "x")).await;
    assert_eq!(e.unwrap_err().kind(), ErrorKind::Config);
    assert_eq!(receiver.taken().len(), 1);
}

#[tokio::test]
async fn a_chat_gets_text_whose_markup_is_harmless() {
    let receiver = Receiver::start(&[]).await;
    let slack = Slack::new(url(&receiver, "/T0/B0")).unwrap();
    slack.tell(&Cx::background(), &event(Phase::Failed, "<!channel> & more")).await.unwrap();
    let body: serde_json::Value = serde_json::from_str(&receiver.taken()[0].body).unwrap();
    let text = body["text"].as_str().unwrap();
    assert!(text.starts_with("*[high] backup of database failed*\n&lt;!channel&gt; &amp; more\n"), "{text}");
}

#[tokio::test]
async fn a_watcher_hears_of_start_success_and_failure_with_the_tail_of_the_log() {
    let receiver = Receiver::start(&[]).await;
    let ping = Ping::new("database".parse().unwrap(), url(&receiver, "/uuid")).unwrap();
    let cx = Cx::background();
    let other = event(Phase::Failed, "of another").about("redis".parse().unwrap());
    for told in [
        event(Phase::Started, "begins"),
        other,
        event(Phase::Retrying, "connection refused"),
        event(Phase::Failed, "gave up"),
        event(Phase::Started, "begins again"),
        event(Phase::Succeeded, "backed up to local"),
    ] {
        ping.tell(&cx, &told).await.unwrap();
    }
    let taken = receiver.taken();
    let paths: Vec<&str> = taken.iter().map(|t| t.path.as_str()).collect();
    assert_eq!(paths, ["/uuid/start", "/uuid/fail", "/uuid/start", "/uuid"]);
    let expected = "2026-11-23T10:45:00Z [info] backup of database started: begins\n\
                    2026-11-23T10:45:00Z [low] backup of database failed and will be tried again: connection refused\n\
                    2026-11-23T10:45:00Z [high] backup of database failed: gave up\n";
    assert_eq!(taken[1].body, expected);
    assert!(taken[3].body.starts_with("2026-11-23T10:45:00Z [info] backup of database started: begins again\n"));
    for n in 0..500 {
        ping.tell(&cx, &event(Phase::Retrying, &format!("{n} {}", "x".repeat(500)))).await.unwrap();
    }
    ping.tell(&cx, &event(Phase::Failed, "last")).await.unwrap();
    let tail = receiver.taken().pop().unwrap().body;
    assert!(tail.len() <= 10_000 && tail.ends_with("failed: last\n"), "{}", tail.len());
}

/// A mail server that speaks just enough, and answers the receiver's address as told.
async fn mail_server(answer: &'static str) -> (u16, tokio::task::JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a step of the scene");
    let port = listener.local_addr().expect("a step of the scene").port();
    let served = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.expect("a step of the scene");
        let (read, mut write) = stream.into_split();
        let mut lines = BufReader::new(read).lines();
        let mut heard = Vec::new();
        write.write_all(b"220 test\r\n").await.expect("a step of the scene");
        let mut in_data = false;
        while let Ok(Some(line)) = lines.next_line().await {
            heard.push(line.clone());
            let word = line.split(' ').next().unwrap_or_default().to_ascii_uppercase();
            let reply = match word.as_str() {
                "." => {
                    in_data = false;
                    "250 taken\r\n"
                }
                _ if in_data => continue,
                "EHLO" => "250-test\r\n250-AUTH PLAIN\r\n250 8BITMIME\r\n",
                "AUTH" => "235 welcome\r\n",
                "RCPT" => answer,
                "DATA" => {
                    in_data = true;
                    "354 go on\r\n"
                }
                "QUIT" => {
                    write.write_all(b"221 bye\r\n").await.expect("a step of the scene");
                    break;
                }
                _ => "250 ok\r\n",
            };
            if write.write_all(reply.as_bytes()).await.is_err() {
                break;
            }
        }
        heard
    });
    (port, served)
}

fn mail(port: u16) -> Smtp {
    let to = vec!["Ops <ops@example.org>".to_owned(), "boss@example.org".to_owned()];
    let mut config = SmtpConfig::new("127.0.0.1", "Veza DR <dr@example.org>", to);
    (config.port, config.tls) = (Some(port), SmtpTls::None);
    config.login = Some(("dr".to_owned(), SecretString::from("canary-password")));
    assert!(!format!("{config:?}").contains("canary"));
    Smtp::new(config).expect("a step of the scene")
}

#[tokio::test]
async fn a_mail_has_its_sender_receivers_subject_and_text() {
    let (port, served) = mail_server("250 ok\r\n").await;
    let smtp = mail(port);
    let told = event(Phase::Failed, "no space left\r\nBcc: x@example.org").with_help("free some");
    smtp.tell(&Cx::background(), &told).await.unwrap();
    drop(smtp);
    let heard = tokio::time::timeout(Duration::from_secs(10), served).await.unwrap().unwrap();
    let has = |line: &str| assert!(heard.iter().any(|l| l == line), "{line} in {heard:#?}");
    // \0dr\0canary-password
    has("AUTH PLAIN AGRyAGNhbmFyeS1wYXNzd29yZA==");
    has("MAIL FROM:<dr@example.org>");
    has("RCPT TO:<ops@example.org>");
    has("RCPT TO:<boss@example.org>");
    has("Subject: [high] backup of database failed");
    has("no space left");
    has("what to do: free some");
    let headers = heard.iter().skip_while(|l| *l != "DATA").take_while(|l| !l.is_empty());
    assert!(!headers.into_iter().any(|l| l.starts_with("Bcc:")), "{heard:#?}");
}

#[tokio::test]
async fn a_mail_that_is_refused_for_good_is_not_sent_again() {
    for (answer, kind, again) in
        [("550 no such user\r\n", ErrorKind::Denied, false), ("451 later\r\n", ErrorKind::Unavailable, true)]
    {
        let (port, _served) = mail_server(answer).await;
        let e = mail(port).tell(&Cx::background(), &event(Phase::Failed, "x")).await.unwrap_err();
        assert_eq!((e.kind(), e.is_retryable()), (kind, again), "{}", e.chain());
        assert!(!e.chain().contains("canary"));
    }
}

#[tokio::test]
async fn a_program_gets_the_event_and_a_slow_one_is_ended() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    let script = format!("cat > {0}; echo \"$VEZA_DR_EVENT_SEVERITY $VEZA_DR_EVENT_COMPONENT\" >> {0}", out.display());
    let words = |script: &str| ["sh", "-c", script].map(str::to_owned).to_vec();
    let channel = CommandChannel::new(words(&script)).unwrap();
    channel.tell(&Cx::background(), &event(Phase::Failed, "it is \"so\"")).await.unwrap();
    let text = std::fs::read_to_string(out).unwrap();
    let (json, rest) = text.rsplit_once('}').unwrap();
    let value: serde_json::Value = serde_json::from_str(&format!("{json}}}")).unwrap();
    assert_eq!((&value["text"], rest), (&"it is \"so\"".into(), "high database\n"));
    let failing = CommandChannel::new(words("exit 3")).unwrap();
    assert!(failing.tell(&Cx::background(), &event(Phase::Failed, "x")).await.unwrap_err().is_retryable());
    let slow = CommandChannel::new(words("exec sleep 30")).unwrap().with_timeout(Duration::from_millis(100));
    let e = slow.tell(&Cx::background(), &event(Phase::Failed, "x")).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Unavailable);
}
