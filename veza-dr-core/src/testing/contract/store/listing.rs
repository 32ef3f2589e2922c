//! Listings are sorted, bounded by their prefix, and show objects only.

use std::sync::Arc;

use bytes::Bytes;
use tokio::task::JoinSet;

use super::super::tools::key;
use crate::{BackupStore, Condition, Cx};

async fn fill(store: &Arc<dyn BackupStore>, keys: impl IntoIterator<Item = String>) {
    let mut keys = keys.into_iter();
    let mut writes = JoinSet::new();
    loop {
        while writes.len() < 16
            && let Some(text) = keys.next()
        {
            let store = Arc::clone(store);
            writes.spawn(async move {
                store.put(&Cx::background(), &key(&text), Bytes::from_static(b"x"), Condition::Absent).await.unwrap();
            });
        }
        let Some(done) = writes.join_next().await else { return };
        done.unwrap();
    }
}

async fn listed(store: &Arc<dyn BackupStore>, prefix: &str) -> Vec<String> {
    let metas = store.list(&Cx::background(), prefix).await.unwrap();
    metas.into_iter().map(|m| m.key.to_string()).collect()
}

async fn groups(store: &Arc<dyn BackupStore>, prefix: &str) -> Vec<String> {
    store.list_groups(&Cx::background(), prefix).await.unwrap()
}

/// No key is also a group of others: a directory cannot hold both.
const KEYS: [&str; 9] = ["a-b/z", "a/1", "a/1-2/x", "a/2", "a/3/deep/er", "ab/1", "b", "b.c/1", "c/only/below"];

/// Keys come sorted by their bytes; a prefix ends at a `/`.
pub async fn a_listing_is_sorted_and_ends_at_its_prefix(store: Arc<dyn BackupStore>) {
    fill(&store, KEYS.map(str::to_owned)).await;
    let mut all = KEYS;
    all.sort_unstable();
    assert_eq!(listed(&store, "").await, all);
    assert_eq!(listed(&store, "a").await, ["a/1", "a/1-2/x", "a/2", "a/3/deep/er"]);
    assert_eq!(listed(&store, "ab").await, ["ab/1"]);
    assert_eq!(listed(&store, "a/3").await, ["a/3/deep/er"]);
    assert_eq!(listed(&store, "a/1").await, [""; 0], "an object is not below itself");
    assert_eq!(listed(&store, "c/only").await, ["c/only/below"]);
}

/// Groups are the names of the next level that hold objects.
pub async fn groups_are_the_next_level(store: Arc<dyn BackupStore>) {
    fill(&store, KEYS.map(str::to_owned)).await;
    assert_eq!(groups(&store, "").await, ["a", "a-b", "ab", "b.c", "c"]);
    assert_eq!(groups(&store, "a").await, ["1-2", "3"]);
    assert_eq!(groups(&store, "a/3").await, ["deep"]);
    assert_eq!(groups(&store, "b").await, [""; 0], "an object is not a group");
}

/// What is not there lists as nothing.
pub async fn an_unknown_prefix_lists_nothing(store: Arc<dyn BackupStore>) {
    assert_eq!(listed(&store, "").await, [""; 0]);
    assert_eq!(groups(&store, "").await, [""; 0]);
    fill(&store, ["a/1".to_owned()]).await;
    for prefix in ["b", "a/2", "a/1/x", "A"] {
        assert_eq!(listed(&store, prefix).await, [""; 0], "{prefix}");
        assert_eq!(groups(&store, prefix).await, [""; 0], "{prefix}");
    }
}

/// A prefix cannot lead out of the store: refused or empty, never more.
pub async fn a_prefix_cannot_climb(store: Arc<dyn BackupStore>) {
    fill(&store, ["a/1".to_owned()]).await;
    for prefix in ["..", "a/..", "/", ".tmp", "a/../a"] {
        let cx = Cx::background();
        assert!(store.list(&cx, prefix).await.unwrap_or_default().is_empty(), "{prefix}");
        assert!(store.list_groups(&cx, prefix).await.unwrap_or_default().is_empty(), "{prefix}");
    }
}

/// More objects than any page of a listing holds.
pub async fn a_long_listing_is_complete(store: Arc<dyn BackupStore>) {
    const COUNT: usize = 1105;
    let expected: Vec<String> = (0..COUNT).map(|n| format!("many/{n:04}/x")).collect();
    fill(&store, expected.clone()).await;
    assert_eq!(listed(&store, "many").await, expected);
    let names: Vec<String> = (0..COUNT).map(|n| format!("{n:04}")).collect();
    assert_eq!(groups(&store, "many").await, names);
}
