//! Measurements, not tests: `cargo test --release --test store_s3 throughput -- --ignored --nocapture`.
#![allow(clippy::print_stderr, reason = "prints what it measured")]

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use veza_dr_core::{BackupStore, Condition, Cx, ObjectKey, PutOptions};

use crate::bucket::fresh;

fn rate(what: &str, bytes: usize, took: Duration) {
    eprintln!("{what}: {:.0} MiB/s ({took:.2?})", bytes as f64 / 1_048_576.0 / took.as_secs_f64());
}

/// This process's peak of resident memory so far, in MiB.
fn peak_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|l| l.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

async fn measure(store: &Arc<dyn BackupStore>, writers: usize, mib: usize) {
    let cx = Cx::background();
    let piece: &'static [u8] = vec![0x5a; 256 * 1024].leak();
    let total = writers * mib * 1024 * 1024;
    let began = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..writers {
        let (store, cx) = (store.clone(), cx.clone());
        tasks.spawn(async move {
            let key: ObjectKey = format!("bench/{writers}/{n}").parse().unwrap();
            let mut writer = store.create(&cx, &key, PutOptions::default()).await.unwrap();
            for _ in 0..mib * 4 {
                writer.write(piece.into()).await.unwrap();
            }
            writer.finish().await.unwrap();
            key
        });
    }
    let keys = tasks.join_all().await;
    rate(&format!("{writers} writers, {mib} MiB each"), total, began.elapsed());
    let began = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for key in keys {
        let (store, cx) = (store.clone(), cx.clone());
        tasks.spawn(async move {
            let mut reader = store.get(&cx, &key, 0).await.unwrap();
            let mut read = 0;
            while let Some(piece) = reader.next().await.unwrap() {
                read += piece.len();
            }
            read
        });
    }
    assert_eq!(tasks.join_all().await.into_iter().sum::<usize>(), total);
    rate("  read", total, began.elapsed());
    eprintln!("  peak memory of the process so far: {} MiB", peak_memory());
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn on_loopback() {
    let (store, _server) = fresh().await;
    let store: Arc<dyn BackupStore> = Arc::new(store);
    measure(&store, 1, 512).await;
    measure(&store, 4, 128).await;
    measure(&store, 16, 32).await;
    let cx = Cx::background();
    let began = Instant::now();
    for n in 0..200 {
        let key = format!("small/{n}").parse().unwrap();
        store.put(&cx, &key, vec![7; 4096].into(), Condition::Absent).await.unwrap();
    }
    eprintln!("put of 4 KiB: {:.2?} each", began.elapsed() / 200);
}
