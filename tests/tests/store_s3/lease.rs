//! Leases and the capability probe on a real bucket.

use std::{sync::Arc, time::Duration};

use veza_dr_backup::store::{Lease, S3Store, probe_conditional_put};
use veza_dr_core::{BackupStore, Cx, ErrorKind};
use veza_dr_tests::fault_proxy::{Fault, FaultProxy, Rule};

use crate::bucket::{config, fresh, server};

#[tokio::test]
async fn an_honest_server_passes_the_probe() {
    let (store, _server) = fresh().await;
    let cx = Cx::background();
    let seen = probe_conditional_put(&cx, &store).await.unwrap();
    assert!(seen.conditional_put && seen.can_write && seen.can_read && seen.can_delete && seen.overwrite, "{seen:?}");
    assert_eq!(seen.findings, [""; 0]);
    assert!(seen.clock_skew_seconds.abs() <= 1, "{seen:?}");
    assert_eq!(store.list(&cx, "").await.unwrap(), []);
}

#[tokio::test]
async fn one_of_many_gets_it_keeps_it_and_gives_it_back() {
    let (store, _server) = fresh().await;
    let store: Arc<dyn BackupStore> = Arc::new(store);
    let cx = Cx::background();
    // The server's clock tells whole seconds, so the lease is some of them long.
    let ttl = Duration::from_secs(3);
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let store = store.clone();
        tasks.spawn(async move { Lease::acquire(&Cx::background(), store, "database", ttl).await });
    }
    let mut held = Vec::new();
    for outcome in tasks.join_all().await {
        match outcome {
            Ok(guard) => held.push(guard),
            Err(e) => assert_eq!(e.kind(), ErrorKind::Conflict, "{e:?}"),
        }
    }
    let guard = held.pop().unwrap();
    assert!(held.is_empty(), "several hold it");
    tokio::time::sleep(ttl + ttl / 2).await;
    guard.check().unwrap();
    let e = Lease::acquire(&cx, store.clone(), "database", ttl).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Conflict);
    guard.release(&cx).await.unwrap();
    assert_eq!(Lease::acquire(&cx, store, "database", ttl).await.unwrap().epoch(), 2);
}

#[tokio::test]
async fn lost_answers_do_not_cost_the_lease() {
    let server = server().await;
    let proxy = FaultProxy::start(&server.address()).await.unwrap();
    let store: Arc<dyn BackupStore> =
        Arc::new(S3Store::connect("shaky", config(&server, proxy.endpoint())).await.unwrap());
    let cx = Cx::background();
    let fired = proxy.add(Rule::new(Fault::LoseResponse).method("PUT").path("locks/database.json"));
    let ttl = Duration::from_secs(3);
    let guard = Lease::acquire(&cx, store, "database", ttl).await.unwrap();
    tokio::time::sleep(ttl + ttl / 2).await;
    guard.check().unwrap();
    guard.release(&cx).await.unwrap();
    assert!(fired.fired() >= 4, "{} writes met the fault", fired.fired());
}

#[tokio::test]
async fn without_permission_to_write_there_is_no_lease() {
    let server = server().await;
    let proxy = FaultProxy::start(&server.address()).await.unwrap();
    let store: Arc<dyn BackupStore> =
        Arc::new(S3Store::connect("read-only", config(&server, proxy.endpoint())).await.unwrap());
    proxy.add(Rule::new(Fault::access_denied()).method("PUT"));
    let e = Lease::acquire(&Cx::background(), store, "database", Duration::from_secs(3)).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Denied, "{e:?}");
    assert!(e.help().is_some());
}
