//! Objects are whole or absent, and stay as they are.

use std::sync::Arc;

use bytes::Bytes;

use super::super::tools::{key, must_fail, noise, read, read_from, store_whole};
use crate::{BackupStore, Condition, Cx, ErrorKind, PutOptions};

/// Nothing shows before `finish`; after it, everything does.
pub async fn an_object_is_whole_or_absent(store: Arc<dyn BackupStore>) {
    let (cx, key) = (Cx::background(), key("database/run/data"));
    let mut writer = store.create(&cx, &key, PutOptions::default()).await.unwrap();
    writer.write(Bytes::from_static(b"first, ")).await.unwrap();
    assert_eq!(store.head(&cx, &key).await.unwrap(), None, "visible before finish");
    assert_eq!(store.list(&cx, "").await.unwrap(), [], "listed before finish");
    assert_eq!(store.list_groups(&cx, "").await.unwrap(), [""; 0], "grouped before finish");
    must_fail(read(&*store, &key).await, ErrorKind::NotFound, "read before finish");
    writer.write(Bytes::from_static(b"second")).await.unwrap();
    let meta = writer.finish().await.unwrap();
    assert_eq!((meta.key.clone(), meta.bytes), (key.clone(), 13));
    assert_eq!(read(&*store, &key).await.unwrap(), "first, second");
}

/// `finish`, `head` and `list` tell the same of an object.
pub async fn finish_head_and_list_agree(store: Arc<dyn BackupStore>) {
    let (cx, key) = (Cx::background(), key("database/run/data"));
    let mut writer = store.create(&cx, &key, PutOptions::default()).await.unwrap();
    writer.write(noise(1, 70_000)).await.unwrap();
    let finished = writer.finish().await.unwrap();
    let looked_up = store.head(&cx, &key).await.unwrap().unwrap();
    assert_eq!((finished.bytes, &finished.tag), (looked_up.bytes, &looked_up.tag));
    let age = chrono::Utc::now() - looked_up.modified;
    assert!(age.num_minutes().abs() < 15, "stored {age} ago by the store's clock");
    assert_eq!(store.list(&cx, "database").await.unwrap(), [looked_up]);
}

/// An object may hold nothing.
pub async fn an_empty_object_is_an_object(store: Arc<dyn BackupStore>) {
    let (cx, key) = (Cx::background(), key("database/empty"));
    let writer = store.create(&cx, &key, PutOptions::default()).await.unwrap();
    assert_eq!(writer.finish().await.unwrap().bytes, 0);
    assert_eq!(read(&*store, &key).await.unwrap(), "");
    assert_eq!(store.list(&cx, "database").await.unwrap().len(), 1);
    let by_put = super::super::tools::key("database/empty-too");
    store.put(&cx, &by_put, Bytes::new(), Condition::Absent).await.unwrap();
    assert_eq!(read(&*store, &by_put).await.unwrap(), "");
}

/// A second object of the same name is refused, here or there, and the first stays.
pub async fn create_never_overwrites(store: Arc<dyn BackupStore>) {
    let key = key("database/run/data");
    store_whole(&*store, &key, Bytes::from_static(b"the first")).await.unwrap();
    must_fail(store_whole(&*store, &key, Bytes::from_static(b"another")).await, ErrorKind::Conflict, "second create");
    assert_eq!(read(&*store, &key).await.unwrap(), "the first");
}

/// As [`create_never_overwrites`] for objects that are sent in several parts.
pub async fn create_never_overwrites_in_parts(store: Arc<dyn BackupStore>) {
    let (cx, key) = (Cx::background(), key("database/run/data"));
    let large = |seed| noise(seed, 12 * 1024 * 1024);
    let mut late = store.create(&cx, &key, PutOptions::default()).await.unwrap();
    late.write(large(1)).await.unwrap();
    store_whole(&*store, &key, large(2)).await.unwrap();
    must_fail(late.finish().await, ErrorKind::Conflict, "finish of the later writer");
    assert!(read(&*store, &key).await.unwrap() == large(2), "the first object was changed");
}

/// Of two writers of one name exactly one succeeds.
pub async fn one_of_two_writers_wins(store: Arc<dyn BackupStore>) {
    let (cx, key) = (Cx::background(), key("database/run/data"));
    let mut a = store.create(&cx, &key, PutOptions::default()).await.unwrap();
    let mut b = store.create(&cx, &key, PutOptions::default()).await.unwrap();
    a.write(Bytes::from_static(b"from a")).await.unwrap();
    b.write(Bytes::from_static(b"from b")).await.unwrap();
    let (a, b) = tokio::join!(a.finish(), b.finish());
    let expected = match (a, b) {
        (Ok(_), lost) => {
            must_fail(lost, ErrorKind::Conflict, "finish of b");
            "from a"
        }
        (lost, Ok(_)) => {
            must_fail(lost, ErrorKind::Conflict, "finish of a");
            "from b"
        }
        (a, b) => panic!("both failed: {a:?}, {b:?}"),
    };
    assert_eq!(read(&*store, &key).await.unwrap(), expected);
}

/// A writer that is dropped leaves nothing, and its name is free.
pub async fn a_dropped_writer_leaves_nothing(store: Arc<dyn BackupStore>) {
    let (cx, key) = (Cx::background(), key("database/run/data"));
    let mut writer = store.create(&cx, &key, PutOptions::default()).await.unwrap();
    writer.write(noise(1, 9 * 1024 * 1024)).await.unwrap();
    drop(writer);
    assert_eq!(store.list(&cx, "").await.unwrap(), []);
    store_whole(&*store, &key, Bytes::from_static(b"later")).await.unwrap();
    assert_eq!(read(&*store, &key).await.unwrap(), "later");
}

/// An aborted writer leaves nothing, and its name is free.
pub async fn an_aborted_writer_leaves_nothing(store: Arc<dyn BackupStore>) {
    let (cx, key) = (Cx::background(), key("database/run/data"));
    let mut writer = store.create(&cx, &key, PutOptions::default()).await.unwrap();
    writer.write(noise(1, 9 * 1024 * 1024)).await.unwrap();
    writer.abort().await.unwrap();
    assert_eq!(store.list(&cx, "").await.unwrap(), []);
    store_whole(&*store, &key, Bytes::from_static(b"later")).await.unwrap();
    assert_eq!(read(&*store, &key).await.unwrap(), "later");
}

/// `get` begins at any byte; at the end there is nothing.
pub async fn get_begins_at_an_offset(store: Arc<dyn BackupStore>) {
    let (key, body) = (key("database/run/data"), noise(7, 300_001));
    store_whole(&*store, &key, body.clone()).await.unwrap();
    for offset in [0, 1, 65_535, 65_536, 150_000, 300_000, 300_001] {
        let rest = read_from(&*store, &key, offset as u64).await.unwrap();
        assert!(rest == body.slice(offset..), "from byte {offset}: {} bytes", rest.len());
    }
}

/// What is not there is `NotFound` to `get` and `None` to `head`.
pub async fn a_missing_object_is_not_found(store: Arc<dyn BackupStore>) {
    let (cx, there) = (Cx::background(), key("database/run/data"));
    store_whole(&*store, &there, Bytes::from_static(b"x")).await.unwrap();
    for missing in ["database/run/other", "database/run", "database/run/data/below", "nowhere/at/all"] {
        let missing = key(missing);
        must_fail(read(&*store, &missing).await, ErrorKind::NotFound, missing.as_str());
        assert_eq!(store.head(&cx, &missing).await.unwrap(), None, "{missing}");
    }
}

/// `delete` removes one object, may be repeated, and frees the name.
pub async fn delete_may_be_repeated(store: Arc<dyn BackupStore>) {
    let (cx, gone, stays) = (Cx::background(), key("database/run/a"), key("database/run/ab"));
    for k in [&gone, &stays] {
        store_whole(&*store, k, Bytes::from_static(b"x")).await.unwrap();
    }
    for _ in 0..2 {
        store.delete(&cx, &gone).await.unwrap();
    }
    // The name of a group, and one that never was.
    store.delete(&cx, &key("database/run")).await.unwrap();
    store.delete(&cx, &key("never/was/there")).await.unwrap();
    assert_eq!(store.head(&cx, &gone).await.unwrap(), None);
    assert_eq!(store.list(&cx, "").await.unwrap().len(), 1);
    assert_eq!(read(&*store, &stays).await.unwrap(), "x");
    store_whole(&*store, &gone, Bytes::from_static(b"again")).await.unwrap();
    assert_eq!(read(&*store, &gone).await.unwrap(), "again");
}

/// A group whose last object is deleted is gone, and can come back.
pub async fn an_emptied_group_is_gone(store: Arc<dyn BackupStore>) {
    let (cx, key) = (Cx::background(), key("database/run/deep/down/data"));
    store_whole(&*store, &key, Bytes::from_static(b"x")).await.unwrap();
    store.delete(&cx, &key).await.unwrap();
    for prefix in ["", "database", "database/run", "database/run/deep"] {
        assert_eq!(store.list_groups(&cx, prefix).await.unwrap(), [""; 0], "below `{prefix}`");
    }
    store_whole(&*store, &key, Bytes::from_static(b"y")).await.unwrap();
    assert_eq!(read(&*store, &key).await.unwrap(), "y");
    assert_eq!(store.list_groups(&cx, "").await.unwrap(), ["database"]);
}
