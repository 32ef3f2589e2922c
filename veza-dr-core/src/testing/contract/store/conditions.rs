//! Small writes take place only where their condition holds, whoever else writes.

use std::sync::Arc;

use bytes::Bytes;
use tokio::task::JoinSet;

use super::super::tools::{key, must_fail, read, store_whole};
use crate::{BackupStore, Condition, Cx, ErrorKind, VersionTag};

const A: Bytes = Bytes::from_static(b"{\"a\":1}\n");
const B: Bytes = Bytes::from_static(b"{\"b\":2}\n");

/// `Absent` writes once.
pub async fn absent_writes_only_where_nothing_is(store: Arc<dyn BackupStore>) {
    let (cx, key) = (Cx::background(), key("locks/x.json"));
    store.put(&cx, &key, A, Condition::Absent).await.unwrap();
    must_fail(store.put(&cx, &key, B, Condition::Absent).await, ErrorKind::Conflict, "second put");
    assert_eq!(read(&*store, &key).await.unwrap(), A);
}

/// `Absent` and `create` exclude each other.
pub async fn absent_and_create_exclude_each_other(store: Arc<dyn BackupStore>) {
    let (cx, put, created) = (Cx::background(), key("run/put"), key("run/created"));
    store.put(&cx, &put, A, Condition::Absent).await.unwrap();
    must_fail(store_whole(&*store, &put, B).await, ErrorKind::Conflict, "create over put");
    store_whole(&*store, &created, A).await.unwrap();
    must_fail(store.put(&cx, &created, B, Condition::Absent).await, ErrorKind::Conflict, "put over create");
    for key in [put, created] {
        assert_eq!(read(&*store, &key).await.unwrap(), A, "{key}");
    }
}

/// `Matches` replaces the named version and no other; a stale mark changes nothing.
pub async fn matches_replaces_only_the_named_version(store: Arc<dyn BackupStore>) {
    let (cx, key) = (Cx::background(), key("locks/x.json"));
    let first = store.put(&cx, &key, A, Condition::Absent).await.unwrap();
    let second = store.put(&cx, &key, B, Condition::Matches(first.clone())).await.unwrap();
    assert_ne!(first, second, "different contents, one mark");
    let stale = store.put(&cx, &key, A, Condition::Matches(first)).await;
    must_fail(stale, ErrorKind::Conflict, "put with a stale mark");
    assert_eq!(read(&*store, &key).await.unwrap(), B);
    let made_up = Condition::Matches(VersionTag("\"no-such-version\"".into()));
    must_fail(store.put(&cx, &key, A, made_up).await, ErrorKind::Conflict, "put with a made-up mark");
    assert_eq!(read(&*store, &key).await.unwrap(), B);
    store.put(&cx, &key, A, Condition::Matches(second)).await.unwrap();
    assert_eq!(read(&*store, &key).await.unwrap(), A);
}

/// `Matches` never creates.
pub async fn matches_never_creates(store: Arc<dyn BackupStore>) {
    let (cx, key) = (Cx::background(), key("locks/x.json"));
    let tag = store.put(&cx, &key, A, Condition::Absent).await.unwrap();
    store.delete(&cx, &key).await.unwrap();
    must_fail(store.put(&cx, &key, B, Condition::Matches(tag)).await, ErrorKind::Conflict, "put over nothing");
    assert_eq!(store.head(&cx, &key).await.unwrap(), None);
}

/// `Always` creates and replaces.
pub async fn always_writes(store: Arc<dyn BackupStore>) {
    let (cx, key) = (Cx::background(), key("notes/x.json"));
    store.put(&cx, &key, A, Condition::Always).await.unwrap();
    store.put(&cx, &key, B, Condition::Always).await.unwrap();
    assert_eq!(read(&*store, &key).await.unwrap(), B);
    assert_eq!(store.list(&cx, "notes").await.unwrap().len(), 1);
}

/// The mark that `put` returns is the one that `head` and `list` show.
pub async fn put_head_and_list_agree(store: Arc<dyn BackupStore>) {
    let (cx, key) = (Cx::background(), key("locks/x.json"));
    let tag = store.put(&cx, &key, A, Condition::Absent).await.unwrap();
    let meta = store.head(&cx, &key).await.unwrap().unwrap();
    assert_eq!((&meta.tag, meta.bytes), (&tag, A.len() as u64));
    assert_eq!(store.list(&cx, "locks").await.unwrap(), [meta]);
}

/// Of many `Absent` writers at once exactly one wins, and its bytes are there.
pub async fn one_of_many_absent_writers_wins(store: Arc<dyn BackupStore>) {
    race(store, key("locks/x.json"), Condition::Absent).await;
}

/// Of many writers that name the same version exactly one wins.
pub async fn one_of_many_matching_writers_wins(store: Arc<dyn BackupStore>) {
    let key = key("locks/x.json");
    let tag = store.put(&Cx::background(), &key, A, Condition::Absent).await.unwrap();
    race(store, key, Condition::Matches(tag)).await;
}

async fn race(store: Arc<dyn BackupStore>, key: crate::ObjectKey, condition: Condition) {
    let mut writers = JoinSet::new();
    for n in 0..16 {
        let (store, key, condition) = (Arc::clone(&store), key.clone(), condition.clone());
        writers.spawn(async move {
            let body = format!("writer {n}");
            let done = store.put(&Cx::background(), &key, body.clone().into(), condition).await;
            (body, done)
        });
    }
    let mut winners = Vec::new();
    for (body, done) in writers.join_all().await {
        match done {
            Ok(tag) => winners.push((body, tag)),
            Err(e) => assert_eq!(e.kind(), ErrorKind::Conflict, "{body}: {e:?}"),
        }
    }
    let [(body, tag)] = &winners[..] else { panic!("{} writers won: {winners:?}", winners.len()) };
    assert_eq!(read(&*store, &key).await.unwrap(), *body);
    assert_eq!(store.head(&Cx::background(), &key).await.unwrap().unwrap().tag, *tag);
}

/// No increment is lost when several count up in one object.
pub async fn counting_together_loses_nothing(store: Arc<dyn BackupStore>) {
    const WORKERS: u64 = 4;
    const EACH: u64 = 5;
    let key = key("locks/count");
    store.put(&Cx::background(), &key, Bytes::from_static(b"0"), Condition::Absent).await.unwrap();
    let mut workers = JoinSet::new();
    for _ in 0..WORKERS {
        let (store, key) = (Arc::clone(&store), key.clone());
        workers.spawn(async move {
            let mut left = EACH;
            while left > 0 {
                let tag = store.head(&Cx::background(), &key).await.unwrap().unwrap().tag;
                let count: u64 = std::str::from_utf8(&read(&*store, &key).await.unwrap()).unwrap().parse().unwrap();
                let next = (count + 1).to_string();
                match store.put(&Cx::background(), &key, next.into(), Condition::Matches(tag)).await {
                    Ok(_) => left -= 1,
                    Err(e) => assert_eq!(e.kind(), ErrorKind::Conflict, "{e:?}"),
                }
            }
        });
    }
    workers.join_all().await;
    assert_eq!(read(&*store, &key).await.unwrap(), (WORKERS * EACH).to_string());
}
