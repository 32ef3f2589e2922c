//! Object Lock: what a backup stored cannot be deleted or changed before its time; leases stay free to move.

use std::sync::Arc;

use veza_dr_backup::{
    BackupOptions, Encryption, Repository, back_up,
    store::{S3ObjectLock, S3Store},
};
use veza_dr_core::{
    BackupStore, Cx,
    testing::{MemoryBackupTarget, MemoryDatabase},
};

use crate::bucket::{config, server};

const LOCKED: &str = "locked";

#[tokio::test(flavor = "multi_thread")]
async fn a_locked_backup_outlives_whoever_deletes_it() {
    let server = server().await;
    server.create_bucket(LOCKED).await.unwrap();
    let versions = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";
    let answer = server.request("PUT", "/locked?versioning=", versions).await.unwrap();
    assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
    let lock = b"<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled></ObjectLockConfiguration>";
    let answer = server.request("PUT", "/locked?object-lock=", lock).await.unwrap();
    assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));

    let mut settings = config(&server, server.endpoint());
    settings.bucket = LOCKED.to_owned();
    settings.prefix = None;
    settings.object_lock = Some(S3ObjectLock { compliance: true, days: 2 });
    let store: Arc<dyn BackupStore> = Arc::new(S3Store::connect("s3", settings).await.unwrap());
    let repository = Repository::new(store, Encryption::default());
    let target = MemoryBackupTarget::new("db", MemoryDatabase::with_keys(50)).unwrap();
    let cx = Cx::background();
    // The second run renews the lease's object, which must not be locked.
    for _ in 0..2 {
        back_up(&cx, &target, std::slice::from_ref(&repository), &BackupOptions::default()).await.unwrap();
    }
    let keys = server.list_objects(LOCKED, "db/2").await.unwrap();
    assert!(keys.len() >= 6 && keys.iter().any(|k| k.ends_with("manifest.json")), "{keys:?}");
    for key in &keys {
        let retention = server.request("GET", &format!("/{LOCKED}/{key}?retention="), b"").await.unwrap();
        let text = String::from_utf8_lossy(&retention.body).into_owned();
        assert!(retention.status == 200 && text.contains("<Mode>COMPLIANCE</Mode>"), "{key}: {text}");
        let until = text.split("<RetainUntilDate>").nth(1).and_then(|t| t.split('<').next()).unwrap();
        let left = chrono::DateTime::parse_from_rfc3339(until).unwrap().to_utc() - chrono::Utc::now();
        assert!((46..=48).contains(&left.num_hours()), "{key}: {until}");

        let bytes = server.get_object(LOCKED, key).await.unwrap();
        let version = version_of(&server, key).await;
        let target = format!("/{LOCKED}/{key}?versionId={version}");
        let refused = server.request("DELETE", &target, b"").await.unwrap();
        assert_eq!(refused.status, 403, "{key}: {}", String::from_utf8_lossy(&refused.body));
        let kept = server.request("GET", &target, b"").await.unwrap();
        assert_eq!((kept.status, veza_dr_tests::http::dechunked(&kept).unwrap()), (200, bytes), "{key}");
    }
    for free in server.list_objects(LOCKED, "locks/").await.unwrap() {
        let retention = server.request("GET", &format!("/{LOCKED}/{free}?retention="), b"").await.unwrap();
        assert_ne!(retention.status, 200, "{free}: {}", String::from_utf8_lossy(&retention.body));
    }
}

async fn version_of(server: &veza_dr_tests::s3_server::S3Server, key: &str) -> String {
    let answer = server.request("GET", &format!("/{LOCKED}?prefix={}&versions=", key.replace('/', "%2F")), b"").await;
    let text = String::from_utf8(veza_dr_tests::http::dechunked(&answer.unwrap()).unwrap()).unwrap();
    let version = text.split("<VersionId>").nth(1).and_then(|t| t.split('<').next());
    version.unwrap_or_else(|| panic!("no version of {key}: {text}")).to_owned()
}
