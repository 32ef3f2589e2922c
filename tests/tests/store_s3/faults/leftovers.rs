//! What unfinished uploads leave is freed.

use super::*;

#[tokio::test]
async fn dropped_and_aborted_uploads_are_freed() {
    let s = shaky().await;
    let cx = Cx::background();
    let mut aborted = s.direct.create(&cx, &key("a"), PutOptions::default()).await.unwrap();
    aborted.write(noise(11 * MIB).into()).await.unwrap();
    assert_eq!(s.uploads().await, 1);
    aborted.abort().await.unwrap();
    assert_eq!(s.uploads().await, 0);
    let mut dropped = s.direct.create(&cx, &key("b"), PutOptions::default()).await.unwrap();
    dropped.write(noise(11 * MIB).into()).await.unwrap();
    drop(dropped);
    let began = Instant::now();
    while s.uploads().await > 0 {
        assert!(began.elapsed() < Duration::from_secs(20), "the upload was not freed");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_sweep_frees_old_uploads_below_its_prefix_only() {
    let s = shaky().await;
    let other = shaky().await;
    let cx = Cx::background();
    for shaky in [&s, &other] {
        let mut killed = shaky.direct.create(&cx, &key("a"), PutOptions::default()).await.unwrap();
        killed.write(noise(11 * MIB).into()).await.unwrap();
        // As after a kill: nobody frees it.
        std::mem::forget(killed);
    }
    let hour = chrono::TimeDelta::hours(1);
    assert_eq!(s.direct.sweep(&cx, chrono::Utc::now() - hour).await.unwrap(), 0);
    assert_eq!(s.uploads().await, 1);
    assert_eq!(s.direct.sweep(&cx, chrono::Utc::now() + hour).await.unwrap(), 1);
    assert_eq!((s.uploads().await, other.uploads().await), (0, 1));
    assert_eq!(other.direct.sweep(&cx, chrono::Utc::now() + hour).await.unwrap(), 1);
}
