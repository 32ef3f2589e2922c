//! Large objects, odd pieces, many at once.

use std::sync::Arc;

use tokio::task::JoinSet;

use super::super::tools::{key, noise, read, read_from, store_whole};
use crate::{BackupStore, Cx, PutOptions};

/// An object of several parts, written in pieces of odd sizes, comes back as it was.
pub async fn a_large_object_is_streamed(store: Arc<dyn BackupStore>) {
    let (cx, key) = (Cx::background(), key("database/run/large"));
    let body = noise(3, 40 * 1024 * 1024 + 17);
    let mut writer = store.create(&cx, &key, PutOptions::default()).await.unwrap();
    let mut rest = body.clone();
    let mut size = 1;
    while !rest.is_empty() {
        writer.write(rest.split_to(size.min(rest.len()))).await.unwrap();
        size = (size * 3 + 1) % 3_000_017;
    }
    assert_eq!(writer.finish().await.unwrap().bytes, body.len() as u64);
    assert!(read(&*store, &key).await.unwrap() == body, "it came back changed");
    let offset = 33 * 1024 * 1024 + 5;
    assert!(read_from(&*store, &key, offset).await.unwrap() == body.slice(offset as usize..), "from {offset}");
}

/// A size hint that is wrong, either way, harms nothing.
pub async fn a_size_hint_is_only_a_hint(store: Arc<dyn BackupStore>) {
    let cx = Cx::background();
    for (name, hint) in [("none", 0), ("low", 1000), ("high", 1 << 40)] {
        let key = key(&format!("database/run/{name}"));
        let body = noise(hint, 11 * 1024 * 1024);
        let mut writer = store.create(&cx, &key, PutOptions::default().with_size_hint(hint)).await.unwrap();
        writer.write(body.clone()).await.unwrap();
        writer.finish().await.unwrap();
        assert!(read(&*store, &key).await.unwrap() == body, "{name}");
    }
}

/// Writers at work at the same time do not mix.
pub async fn many_writers_at_once(store: Arc<dyn BackupStore>) {
    let mut writers = JoinSet::new();
    for n in 0..24_u64 {
        let store = Arc::clone(&store);
        writers.spawn(async move {
            let key = key(&format!("database/run/chunk-{n}"));
            let body = noise(n, 700_000 + n as usize);
            let cx = Cx::background();
            let mut writer = store.create(&cx, &key, PutOptions::default()).await.unwrap();
            for start in (0..body.len()).step_by(50_000) {
                writer.write(body.slice(start..body.len().min(start + 50_000))).await.unwrap();
            }
            writer.finish().await.unwrap();
            (key, body)
        });
    }
    for (key, body) in writers.join_all().await {
        assert!(read(&*store, &key).await.unwrap() == body, "{key}");
    }
    assert_eq!(store.list(&Cx::background(), "database").await.unwrap().len(), 24);
}

/// A sweep touches neither what is published nor writers begun after its time.
pub async fn a_sweep_spares_the_published_and_the_young(store: Arc<dyn BackupStore>) {
    let (cx, published, young) = (Cx::background(), key("run/published"), key("run/young"));
    store_whole(&*store, &published, noise(1, 100_000)).await.unwrap();
    let body = noise(2, 9 * 1024 * 1024);
    let mut writer = store.create(&cx, &young, PutOptions::default()).await.unwrap();
    writer.write(body.clone()).await.unwrap();
    assert_eq!(store.sweep(&cx, chrono::Utc::now() - chrono::TimeDelta::hours(1)).await.unwrap(), 0);
    writer.finish().await.unwrap();
    assert!(read(&*store, &young).await.unwrap() == body);
    store.sweep(&cx, chrono::Utc::now() + chrono::TimeDelta::hours(1)).await.unwrap();
    assert!(read(&*store, &young).await.unwrap() == body);
    assert!(read(&*store, &published).await.unwrap() == noise(1, 100_000));
}
