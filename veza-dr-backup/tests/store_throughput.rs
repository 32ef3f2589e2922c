//! Measurements, not tests: `cargo test --release --test store_throughput -- --ignored --nocapture`.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "prints what it measured")]

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use veza_dr_backup::store::DirectoryStore;
use veza_dr_core::{BackupStore, Condition, Cx, ObjectKey, PutOptions};

const PIECE: usize = 256 * 1024;

fn noise(len: usize) -> Bytes {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(len);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.into()
}

fn rate(what: &str, bytes: usize, took: Duration) {
    eprintln!("{what}: {:.0} MiB/s ({took:.2?})", bytes as f64 / 1048576.0 / took.as_secs_f64());
}

/// Writes `writers` objects of `mib` each at once, reads them back, then makes 200 small conditional writes.
async fn measure(store: Arc<dyn BackupStore>, writers: usize, mib: usize) {
    let cx = Cx::background();
    let piece = noise(PIECE);
    let total = writers * mib * 1024 * 1024;
    let began = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..writers {
        let (store, cx, piece) = (store.clone(), cx.clone(), piece.clone());
        tasks.spawn(async move {
            let key: ObjectKey = format!("bench/{writers}/{n}").parse().unwrap();
            let mut writer = store.create(&cx, &key, PutOptions::default()).await.unwrap();
            for _ in 0..mib * 1024 * 1024 / PIECE {
                writer.write(piece.clone()).await.unwrap();
            }
            let wrote = Instant::now();
            writer.finish().await.unwrap();
            (key, wrote.elapsed())
        });
    }
    let done = tasks.join_all().await;
    let finish = done.iter().map(|(_, t)| *t).max().unwrap();
    rate(&format!("{writers} writers, {mib} MiB each (finish {finish:.2?})"), total, began.elapsed());
    let began = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for (key, _) in done {
        let (store, cx) = (store.clone(), cx.clone());
        tasks.spawn(async move {
            let mut reader = store.get(&cx, &key, 0).await.unwrap();
            let mut read = 0;
            while let Some(piece) = reader.next().await.unwrap() {
                read += piece.len();
            }
            store.delete(&cx, &key).await.unwrap();
            read
        });
    }
    let read: usize = tasks.join_all().await.into_iter().sum();
    assert_eq!(read, total);
    rate("  read", total, began.elapsed());
}

async fn small(store: Arc<dyn BackupStore>) {
    let cx = Cx::background();
    let began = Instant::now();
    for n in 0..200 {
        let key = format!("small/{n}").parse().unwrap();
        store.put(&cx, &key, Bytes::from_static(&[7; 4096]), Condition::Absent).await.unwrap();
    }
    eprintln!("put of 4 KiB: {:.2?} each", began.elapsed() / 200);
    let began = Instant::now();
    assert_eq!(store.list(&cx, "small").await.unwrap().len(), 200);
    eprintln!("list of 200: {:.2?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn directory() {
    let base = std::env::var_os("VEZA_DR_BENCH_DIR").unwrap_or_else(|| std::env::temp_dir().into_os_string());
    let place = tempfile::tempdir_in(base).unwrap();
    let store: Arc<dyn BackupStore> = Arc::new(DirectoryStore::open("bench", place.path()).unwrap());
    measure(store.clone(), 1, 1024).await;
    measure(store.clone(), 8, 128).await;
    small(store).await;
}
