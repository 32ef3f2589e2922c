//! Calls end soon after their context does, and leave nothing half done in sight.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;

use super::super::tools::{key, must_fail, noise, read, soon, store_whole};
use crate::{BackupStore, Condition, Cx, Effect, ErrorKind, PutOptions};

const X: Bytes = Bytes::from_static(b"x");

/// Every method refuses to begin under a context that has ended, and changes nothing.
async fn nothing_begins_under(store: Arc<dyn BackupStore>, ended: Cx) {
    let (there, new) = (key("run/there"), key("run/new"));
    store_whole(&*store, &there, X).await.unwrap();
    let kind = ErrorKind::Cancelled;
    soon("calls", async {
        must_fail(store.put(&ended, &new, X, Condition::Absent).await, kind, "put");
        must_fail(store.get(&ended, &there, 0).await.map(|_| ()), kind, "get");
        must_fail(store.head(&ended, &there).await, kind, "head");
        must_fail(store.list(&ended, "").await, kind, "list");
        must_fail(store.list_groups(&ended, "").await, kind, "list_groups");
        must_fail(store.delete(&ended, &there).await, kind, "delete");
        must_fail(store.sweep(&ended, chrono::Utc::now()).await, kind, "sweep");
        must_fail(store.create(&ended, &new, PutOptions::default()).await.map(|_| ()), kind, "create");
    })
    .await;
    let keys: Vec<_> = store.list(&Cx::background(), "").await.unwrap().into_iter().map(|m| m.key).collect();
    assert_eq!(keys, [there]);
}

/// A context that was cancelled before.
pub async fn nothing_begins_when_cancelled(store: Arc<dyn BackupStore>) {
    let cx = Cx::background();
    cx.cancel();
    nothing_begins_under(store, cx).await;
}

/// A deadline that has passed.
pub async fn nothing_begins_after_the_deadline(store: Arc<dyn BackupStore>) {
    nothing_begins_under(store, Cx::background().with_deadline(SystemTime::now() - Duration::from_secs(1))).await;
}

/// Cancelled between two writes, a writer fails and publishes nothing.
pub async fn a_cancelled_writer_publishes_nothing(store: Arc<dyn BackupStore>) {
    let (cx, key) = (Cx::background(), key("run/data"));
    let mut writer = store.create(&cx, &key, PutOptions::default()).await.unwrap();
    writer.write(noise(1, 9 * 1024 * 1024)).await.unwrap();
    cx.cancel();
    soon("write and finish", async {
        let wrote = writer.write(noise(2, 9 * 1024 * 1024)).await;
        must_fail(wrote, ErrorKind::Cancelled, "write");
        must_fail(writer.finish().await.map(|_| ()), ErrorKind::Cancelled, "finish");
    })
    .await;
    assert_eq!(store.list(&Cx::background(), "").await.unwrap(), []);
}

/// A writer whose deadline passes fails; what it began stays out of sight.
pub async fn a_late_writer_publishes_nothing(store: Arc<dyn BackupStore>) {
    let cx = Cx::background().with_deadline(SystemTime::now() + Duration::from_secs(1));
    let key = key("run/data");
    let mut writer = store.create(&cx, &key, PutOptions::default()).await.unwrap();
    writer.write(X).await.unwrap();
    tokio::time::sleep(Duration::from_millis(1100)).await;
    must_fail(soon("finish", writer.finish()).await.map(|_| ()), ErrorKind::Cancelled, "finish");
    assert_eq!(store.list(&Cx::background(), "").await.unwrap(), []);
}

/// Cancelled while it runs, a write either took place whole or not at all, and says which or that it cannot tell.
pub async fn a_write_cancelled_mid_way_is_whole_or_absent(store: Arc<dyn BackupStore>) {
    let body = noise(5, 6 * 1024 * 1024);
    for delay in [0, 300, 1_000, 3_000, 10_000, 30_000] {
        let (cx, key) = (Cx::background(), key(&format!("run/data-{delay}")));
        let mut writer = store.create(&cx, &key, PutOptions::default()).await.unwrap();
        writer.write(body.clone()).await.unwrap();
        let canceller = tokio::spawn({
            let cx = cx.clone();
            async move {
                tokio::time::sleep(Duration::from_micros(delay)).await;
                cx.cancel();
            }
        });
        let done = soon("finish", writer.finish()).await;
        canceller.await.unwrap();
        let there = read(&*store, &key).await;
        match (done, there) {
            (Ok(_), Ok(found)) => assert!(found == body, "acknowledged and different"),
            (Ok(_), Err(e)) => panic!("acknowledged and not there: {e:?}"),
            (Err(e), Ok(found)) => {
                assert_ne!(e.effect(), Effect::None, "it took place, and the error says that it did not: {e:?}");
                assert!(found == body, "half an object is visible");
            }
            (Err(_), Err(missing)) => assert_eq!(missing.kind(), ErrorKind::NotFound),
        }
    }
}

/// A reader stops when cancelled; it never ends early as if that were all.
pub async fn a_cancelled_reader_does_not_seem_to_end(store: Arc<dyn BackupStore>) {
    let (cx, key) = (Cx::background(), key("run/data"));
    store_whole(&*store, &key, noise(1, 20 * 1024 * 1024)).await.unwrap();
    let mut reader = store.get(&cx, &key, 0).await.unwrap();
    assert!(reader.next().await.unwrap().is_some());
    cx.cancel();
    let rest = soon("read", async {
        loop {
            match reader.next().await {
                Ok(Some(_)) => {}
                other => return other,
            }
        }
    });
    must_fail(rest.await, ErrorKind::Cancelled, "read");
}
