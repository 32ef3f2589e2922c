//! Writes that meet faults on their way.

use super::*;

#[tokio::test]
async fn a_server_that_asks_to_slow_down_is_asked_again() {
    let s = shaky().await;
    let fired = s.proxy.add(Rule::new(Fault::slow_down()).method("PUT").times(2));
    write(&s.store, &key("a"), b"small").await.unwrap();
    assert_eq!(fired.fired(), 2);
    assert_eq!(read(&s.direct, &key("a")).await.unwrap(), b"small");
}

#[tokio::test]
async fn a_server_that_stays_overloaded_is_an_error_and_nothing_is_there() {
    let s = shaky().await;
    s.proxy.add(Rule::new(Fault::slow_down()).method("PUT"));
    let e = write(&s.store, &key("a"), b"small").await.unwrap_err();
    assert_eq!((e.kind(), e.effect()), (ErrorKind::Throttled, Effect::None));
    assert_eq!(e.retry(), Retry::Exhausted { attempts: 3 });
    let e = write(&s.store, &key("b"), &noise(11 * MIB)).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Throttled, "{e:?}");
    s.proxy.clear();
    s.must_be_empty().await;
}

#[tokio::test]
async fn a_part_cut_off_is_sent_again() {
    let s = shaky().await;
    let body = noise(16 * MIB);
    let cut = s.proxy.add(Rule::new(Fault::ResetRequestAfter(1_000_000)).path("partNumber=2").times(1));
    let lost = s.proxy.add(Rule::new(Fault::LoseResponse).path("partNumber=3").times(1));
    let head = s.proxy.add(Rule::new(Fault::ResetOnHead).path("partNumber=1").times(1));
    write(&s.store, &key("a"), &body).await.unwrap();
    assert_eq!((cut.fired(), lost.fired(), head.fired()), (1, 1, 1));
    assert!(read(&s.direct, &key("a")).await.unwrap() == body);
    assert_eq!(s.uploads().await, 0);
}

#[tokio::test]
async fn a_part_that_never_arrives_leaves_nothing() {
    let s = shaky().await;
    s.proxy.add(Rule::new(Fault::ResetRequestAfter(1_000_000)).path("partNumber=2"));
    let e = write(&s.store, &key("a"), &noise(16 * MIB)).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Unavailable, "{e:?}");
    s.must_be_empty().await;
}

#[tokio::test]
async fn a_part_changed_on_the_way_is_not_accepted() {
    let s = shaky().await;
    let fired = s.proxy.add(Rule::new(Fault::CorruptRequestAt(1_234_567)).path("partNumber=2"));
    let e = write(&s.store, &key("a"), &noise(16 * MIB)).await.unwrap_err();
    assert!(fired.fired() > 0);
    assert_eq!(e.kind(), ErrorKind::Corrupt, "{e:?}");
    s.must_be_empty().await;
}

#[tokio::test]
async fn a_small_object_changed_on_the_way_is_not_accepted() {
    let s = shaky().await;
    s.proxy.add(Rule::new(Fault::CorruptRequestAt(3)).method("PUT"));
    let e = write(&s.store, &key("a"), b"small").await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Corrupt, "{e:?}");
    s.must_be_empty().await;
}

#[tokio::test]
async fn an_error_inside_of_a_success_is_an_error() {
    let s = shaky().await;
    let body = noise(11 * MIB);
    let fired = s.proxy.add(Rule::new(Fault::error_in_ok()).method("POST").path(COMPLETE).times(1));
    write(&s.store, &key("a"), &body).await.unwrap();
    assert_eq!(fired.fired(), 1);
    assert!(read(&s.direct, &key("a")).await.unwrap() == body);
    s.proxy.add(Rule::new(Fault::error_in_ok()).method("POST").path(COMPLETE));
    let e = write(&s.store, &key("b"), &body).await.unwrap_err();
    exhausted(&e, ErrorKind::Unavailable);
    assert_eq!(s.direct.head(&Cx::background(), &key("b")).await.unwrap(), None);
    assert_eq!(s.uploads().await, 0);
}

#[tokio::test]
async fn an_empty_success_is_not_believed() {
    let s = shaky().await;
    let nothing = Fault::Reply { status: 200, body: String::new() };
    s.proxy.add(Rule::new(nothing).method("POST").path(COMPLETE));
    let e = write(&s.store, &key("a"), &noise(11 * MIB)).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Unavailable, "{e:?}");
    s.must_be_empty().await;
}

#[tokio::test]
async fn a_completion_whose_answer_is_lost_is_found_out() {
    let s = shaky().await;
    let body = noise(11 * MIB);
    let fired = s.proxy.add(Rule::new(Fault::LoseResponse).method("POST").path(COMPLETE));
    write(&s.store, &key("a"), &body).await.unwrap();
    assert_eq!(fired.fired(), 1, "it was there: there was nothing to send again");
    assert!(read(&s.direct, &key("a")).await.unwrap() == body);
}

#[tokio::test]
async fn a_put_whose_answer_is_lost_is_found_out() {
    let s = shaky().await;
    let cx = Cx::background();
    let fired = s.proxy.add(Rule::new(Fault::LoseResponse).method("PUT"));
    let first = s.store.put(&cx, &key("a"), "1".into(), Condition::Absent).await.unwrap();
    let second = s.store.put(&cx, &key("a"), "2".into(), Condition::Matches(first)).await.unwrap();
    assert_eq!(fired.fired(), 2);
    let there = s.direct.head(&cx, &key("a")).await.unwrap().unwrap();
    assert_eq!(there.tag, second);
    assert_eq!(read(&s.direct, &key("a")).await.unwrap(), b"2");
}

#[tokio::test]
async fn somebody_elses_object_is_not_taken_for_ours() {
    let s = shaky().await;
    let cx = Cx::background();
    // The very same bytes: only who wrote them differs.
    s.direct.put(&cx, &key("a"), "same".into(), Condition::Absent).await.unwrap();
    s.proxy.add(Rule::new(Fault::LoseResponse).method("PUT").times(1));
    let e = s.store.put(&cx, &key("a"), "same".into(), Condition::Absent).await.unwrap_err();
    assert_eq!((e.kind(), e.effect()), (ErrorKind::Conflict, Effect::None));
}

#[tokio::test]
async fn a_put_that_never_arrived_is_sent_again() {
    let s = shaky().await;
    let fired = s.proxy.add(Rule::new(Fault::CloseBeforeResponse).method("PUT").times(2));
    s.store.put(&Cx::background(), &key("a"), "1".into(), Condition::Absent).await.unwrap();
    assert_eq!(fired.fired(), 2);
    assert_eq!(read(&s.direct, &key("a")).await.unwrap(), b"1");
}

#[tokio::test]
async fn an_outcome_that_cannot_be_found_out_is_called_unknown() {
    let s = shaky().await;
    s.proxy.add(Rule::new(Fault::LoseResponse));
    let e = s.store.put(&Cx::background(), &key("a"), "1".into(), Condition::Absent).await.unwrap_err();
    assert_eq!((e.kind(), e.effect()), (ErrorKind::Unavailable, Effect::Unknown), "{e:?}");
}

#[tokio::test]
async fn a_server_that_stops_reading_is_given_up() {
    // Parts too large for the buffers of two connections.
    let s = shaky_with(|c| (c.attempts, c.part_size) = (1, 32 << 20)).await;
    let pause = Duration::from_secs(600);
    s.proxy.add(Rule::new(Fault::StallRequest { after: 100_000, pause }).path("partNumber="));
    let began = Instant::now();
    let e = write(&s.store, &key("a"), &noise(33 * MIB)).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Unavailable, "{e:?}");
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    s.must_be_empty().await;
}

#[tokio::test]
async fn a_cancelled_upload_stops_at_once_and_is_freed() {
    let s = shaky().await;
    let pause = Duration::from_secs(600);
    s.proxy.add(Rule::new(Fault::StallRequest { after: 100_000, pause }).path("partNumber="));
    let cx = Cx::background();
    let mut writer = s.store.create(&cx, &key("a"), PutOptions::default()).await.unwrap();
    writer.write(noise(11 * MIB).into()).await.unwrap();
    let canceller = cx.clone();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(100)).await;
        canceller.cancel();
    });
    let began = Instant::now();
    let e = writer.finish().await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Cancelled);
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    while s.uploads().await > 0 {
        assert!(began.elapsed() < Duration::from_secs(20), "the upload was not freed");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    s.must_be_empty().await;
}
