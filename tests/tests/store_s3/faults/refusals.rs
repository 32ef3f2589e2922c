//! Answers that say no, each named and with advice.

use super::*;

/// What `put`, `get` and `list` say when the server answers everything with `fault`.
async fn all_say(fault: Fault, kind: ErrorKind, help: &str) {
    let s = shaky().await;
    let cx = Cx::background();
    let fired = s.proxy.add(Rule::new(fault));
    let errors = [
        s.store.put(&cx, &key("a"), "1".into(), Condition::Absent).await.unwrap_err(),
        s.store.get(&cx, &key("a"), 0).await.unwrap_err(),
        s.store.list(&cx, "").await.unwrap_err(),
        write(&s.store, &key("b"), &noise(11 * MIB)).await.unwrap_err(),
    ];
    for e in &errors {
        assert_eq!((e.kind(), e.effect()), (kind, Effect::None), "{e:?}");
        assert!(e.help().is_some_and(|h| h.contains(help)), "{e:?}");
    }
    assert_eq!(fired.fired(), errors.len(), "a refusal is not asked for twice");
}

#[tokio::test]
async fn expired_credentials() {
    all_say(Fault::expired_token(), ErrorKind::Denied, "expired").await;
}

#[tokio::test]
async fn forbidden() {
    all_say(Fault::access_denied(), ErrorKind::Denied, "s3:PutObject").await;
}

#[tokio::test]
async fn a_wrong_clock() {
    all_say(Fault::clock_skew(), ErrorKind::Denied, "clock").await;
}

#[tokio::test]
async fn a_full_store() {
    let s = shaky().await;
    s.proxy.add(Rule::new(Fault::insufficient_storage()).method("PUT"));
    let e = write(&s.store, &key("a"), b"small").await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Full, "{e:?}");
    let e = write(&s.store, &key("b"), &noise(11 * MIB)).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Full, "{e:?}");
    assert!(e.help().is_some());
    s.must_be_empty().await;
}

#[tokio::test]
async fn a_wrong_secret_that_no_error_repeats() {
    let server = server().await;
    let mut config = config(&server, server.endpoint());
    config.secret_access_key = Some("canary-secret".to_owned().into());
    config.session_token = Some("canary-token".to_owned().into());
    let store = S3Store::connect("wrong", config).await.unwrap();
    let e = store.list(&Cx::background(), "").await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Denied, "{e:?}");
    for text in [format!("{e:?}"), e.chain(), format!("{store:?}")] {
        assert!(!text.contains("canary"), "{text}");
        assert!(!text.contains(server.access_key()), "{text}");
    }
}

#[tokio::test]
async fn a_bucket_that_is_not_there() {
    let server = server().await;
    let mut config = config(&server, server.endpoint());
    config.bucket = "no-such-bucket".into();
    let store = S3Store::connect("lost", config).await.unwrap();
    let cx = Cx::background();
    // Writing would make this server create the bucket.
    for e in [store.list(&cx, "").await.unwrap_err(), store.get(&cx, &key("a"), 0).await.unwrap_err()] {
        assert_eq!(e.kind(), ErrorKind::Config, "{e:?}");
        assert!(e.help().is_some_and(|h| h.contains("bucket")), "{e:?}");
    }
}

#[tokio::test]
async fn nobody_there() {
    let server = server().await;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let free = listener.local_addr().unwrap();
    drop(listener);
    let mut config = config(&server, format!("http://{free}"));
    config.attempts = 2;
    let store = S3Store::connect("gone", config).await.unwrap();
    let e = store.put(&Cx::background(), &key("a"), "1".into(), Condition::Absent).await.unwrap_err();
    assert_eq!((e.kind(), e.effect()), (ErrorKind::Unavailable, Effect::None), "{e:?}");
    assert!(e.help().is_some());
}
