//! A backup of format version 1, made once and never made again: it must be readable and restorable for ever.

use std::path::Path;

use veza_dr_backup::{Level, Repository, verify_objects};
use veza_dr_core::{Cx, RestoreRequest, Verdict};
use veza_dr_restore::postgres::verify_structure;
use veza_dr_tests::{
    fixtures::fixture,
    postgres_server::{PgOptions, PgServer},
    product::{Depot, config},
};

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

async fn proven(repository: &Repository) {
    let entries = repository.list(&Cx::background(), &Depot::component()).await.unwrap();
    assert_eq!(entries.len(), 1);
    assert_eq!(entries[0].id.as_str(), "20261123T143629Z-f6860f");
    let manifest = entries[0].manifest().expect("a complete backup");
    assert_eq!((manifest.format, manifest.rows()), (1, 103));
    let objects = verify_objects(&Cx::background(), repository, manifest).await.unwrap();
    assert_eq!(objects.verdict(), Verdict::Equal, "{:?}", objects.findings);
    let structure = verify_structure(&Cx::background(), repository, manifest).await.unwrap();
    assert_eq!(structure.verdict(), Verdict::Equal, "{:?}", structure.findings);
    let proof = repository.record_proof(&Cx::background(), manifest, Level::Structure, &structure).await.unwrap();
    let again = repository.list(&Cx::background(), &Depot::component()).await.unwrap();
    assert_eq!(again[0].proven().map(|p| p.level), Some(proof.level));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_of_format_1_restores() {
    let depot = Depot::new();
    copy(&fixture("format-v1/database"), &depot.path().join("database"));
    proven(&depot.repository).await;
    let server = PgServer::start(PgOptions::default()).await.unwrap();
    let report = depot
        .restore(&config(&server, "golden"), &RestoreRequest::in_place())
        .await
        .unwrap_or_else(|e| panic!("{e:#?}"));
    assert_eq!(report.verification.verdict(), Verdict::Equal);
    let sql = "SELECT string_agg(name || coalesce(born::text, '-'), '|' ORDER BY id), \
         (SELECT sum(words) || ' ' || max(id) FROM messages), convert_from(lo_get(4242), 'UTF8') FROM users";
    let seen = server.psql("golden", &["-Atc", sql], None).await.unwrap();
    assert_eq!(seen.trim_end(), "Zoé1990-02-01|tab\tand \\ slash-|0044-03-15 BC|300 100|large object");
}
