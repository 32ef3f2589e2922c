//! Reads that meet faults on their way.

use super::*;

/// Reads 12 MiB through `rule`; the reads must have met it `times` times.
async fn read_through(rule: Rule, times: usize) {
    // A reset throws away what was received and not yet read: several in a row may come to no progress at all.
    let s = shaky_with(|c| c.attempts = 6).await;
    let body = noise(12 * MIB);
    write(&s.direct, &key("a"), &body).await.unwrap();
    let fired = s.proxy.add(rule);
    let read = read(&s.store, &key("a")).await.unwrap();
    assert!(read == body, "{} bytes came back", read.len());
    assert_eq!(fired.fired(), times);
    assert_eq!(s.proxy.count("GET", "/a"), times + 1);
}

#[tokio::test]
async fn go_on_after_a_reset() {
    read_through(Rule::new(Fault::ResetResponseAfter(2_500_000)).method("GET").times(4), 4).await;
}

#[tokio::test]
async fn go_on_after_a_connection_that_ends_early() {
    read_through(Rule::new(Fault::TruncateResponseAfter(2_000_000)).method("GET").times(3), 3).await;
}

#[tokio::test]
async fn go_on_when_nothing_comes_any_more() {
    let pause = Duration::from_secs(600);
    read_through(Rule::new(Fault::StallResponse { after: 3_000_000, pause }).method("GET").times(1), 1).await;
}

#[tokio::test]
async fn without_progress_end_in_an_error() {
    let s = shaky().await;
    write(&s.direct, &key("a"), &noise(2 * MIB)).await.unwrap();
    let fired = s.proxy.add(Rule::new(Fault::ResetResponseAfter(1000)).method("GET"));
    let e = read(&s.store, &key("a")).await.unwrap_err();
    exhausted(&e, ErrorKind::Unavailable);
    assert!((2..=4).contains(&fired.fired()), "{} attempts", fired.fired());
}

#[tokio::test]
async fn that_stall_for_ever_end_in_an_error() {
    let s = shaky().await;
    write(&s.direct, &key("a"), &noise(2 * MIB)).await.unwrap();
    let pause = Duration::from_secs(600);
    s.proxy.add(Rule::new(Fault::StallResponse { after: 1000, pause }).method("GET"));
    let began = Instant::now();
    let e = read(&s.store, &key("a")).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Unavailable, "{e:?}");
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
}

#[tokio::test]
async fn never_mix_two_versions() {
    let s = shaky().await;
    let cx = Cx::background();
    write(&s.direct, &key("a"), &noise(4 * MIB)).await.unwrap();
    s.proxy.add(Rule::new(Fault::ResetResponseAfter(1_000_000)).method("GET").times(1));
    let mut reader = s.store.get(&cx, &key("a"), 0).await.unwrap();
    reader.next().await.unwrap();
    s.direct.put(&cx, &key("a"), vec![0; 4 * MIB].into(), Condition::Always).await.unwrap();
    let e = loop {
        match reader.next().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("it seemed to end"),
            Err(e) => break e,
        }
    };
    assert_eq!(e.kind(), ErrorKind::Conflict, "{e:?}");
}
