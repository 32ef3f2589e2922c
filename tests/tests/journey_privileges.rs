//! What a role may read, how it connects, and where its password never shows.

use std::path::PathBuf;

use veza_dr_backup::postgres::{PostgresConfig, PostgresTarget};
use veza_dr_core::{BackupTarget, Cx, ErrorKind, Outcome, RestoreRequest, SecretString, Verdict};
use veza_dr_tests::{
    oracle::Oracle,
    postgres_options::TlsFiles,
    postgres_server::{PgOptions, PgServer},
    product::Depot,
};

const OWNER_PASSWORD: &str = "owner-canary-7f3a91";

/// A database owned by a role that is nothing but an owner who may create databases.
async fn owned() -> PgServer {
    let server = PgServer::start(PgOptions::default()).await.unwrap();
    let sql = format!("CREATE ROLE owner LOGIN CREATEDB PASSWORD '{OWNER_PASSWORD}'");
    // Over a connection, not by psql: another test looks at every process's arguments.
    server.client("postgres").await.unwrap().batch_execute(&sql).await.unwrap();
    server.create_database_with("app", "OWNER owner TEMPLATE template0").await.unwrap();
    let sql = "SET ROLE owner; CREATE SCHEMA app; CREATE TABLE app.users (id int PRIMARY KEY, name text); \
         INSERT INTO app.users SELECT i, 'user ' || i FROM generate_series(1, 100) i; \
         CREATE TABLE app.notes (id serial PRIMARY KEY, author int REFERENCES app.users, t text); \
         INSERT INTO app.notes (author, t) SELECT i, 'note' FROM generate_series(1, 100) i; \
         CREATE MATERIALIZED VIEW app.counted AS SELECT count(*) FROM app.notes; \
         SELECT lo_from_bytea(777, 'large')";
    server.sql("app", sql).await.unwrap();
    server
}

fn as_owner(server: &PgServer) -> PostgresConfig {
    PostgresConfig::new(format!("postgres://owner@127.0.0.1:{}/app", server.port()))
        .with_password(SecretString::from(OWNER_PASSWORD.to_owned()))
        .with_bin_dir(server.bin(""))
        .with_jobs(2)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_without_more_rights_backs_up_and_restores_its_database() {
    let server = owned().await;
    let oracle = Oracle::of(&server);
    let before = oracle.read("app").await.unwrap();
    let depot = Depot::new();
    depot.backup(&as_owner(&server)).await.unwrap();
    let manifest = depot.latest().await.unwrap();
    let skipped: Vec<&str> = manifest.skipped.iter().map(|s| s.what.as_str()).collect();
    assert_eq!(skipped, ["role passwords"]);
    server.sql("app", "DROP SCHEMA app CASCADE").await.unwrap();
    let report = depot.restore(&as_owner(&server), &RestoreRequest::in_place()).await.unwrap();
    assert_eq!(report.verification.verdict(), Verdict::Equal, "{:?}", report.verification.findings);
    before.assert_same(&oracle.read("app").await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_own_is_refused_before_anything_is_done() {
    let server = owned().await;
    server.sql("postgres", "CREATE ROLE stranger").await.unwrap();
    let sql = "CREATE SCHEMA theirs AUTHORIZATION stranger; GRANT USAGE ON SCHEMA theirs TO owner; \
         CREATE SCHEMA ours_to_read; GRANT USAGE ON SCHEMA ours_to_read TO owner";
    server.sql("app", sql).await.unwrap();
    let depot = Depot::new();
    depot.backup(&as_owner(&server)).await.unwrap();
    let before = Oracle::of(&server).read("app").await.unwrap();
    let e = depot.restore(&as_owner(&server), &RestoreRequest::in_place()).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Conflict, "{e:?}");
    assert!(e.chain().contains("not a member of postgres, stranger, who own"), "{}", e.chain());
    before.assert_same(&Oracle::of(&server).read("app").await.unwrap());
    let databases = "SELECT string_agg(datname, ' ' ORDER BY datname) FROM pg_database WHERE NOT datistemplate";
    assert_eq!(server.sql("postgres", databases).await.unwrap(), "app postgres");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_fails_the_backup_by_name_or_is_named_in_it() {
    let server = owned().await;
    let sql = "CREATE TABLE app.\"the secret\" (id serial PRIMARY KEY); INSERT INTO app.\"the secret\" VALUES (1); \
         CREATE SCHEMA closed; CREATE TABLE closed.t (id int); CREATE SCHEMA half; GRANT USAGE ON SCHEMA half TO owner; \
         CREATE TABLE half.t (id int); GRANT SELECT ON half.t TO owner; CREATE SEQUENCE half.numbers START 7";
    server.sql("app", sql).await.unwrap();
    let depot = Depot::new();
    let e = depot.backup(&as_owner(&server)).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Denied);
    for name in ["app.\"the secret\"", "closed.t", "half.numbers (this role may not read the sequence"] {
        assert!(e.to_string().contains(name), "{e}");
    }
    assert!(!e.to_string().contains("half.t") && e.help().is_some_and(|h| h.contains("allow_unreadable")), "{e:?}");
    assert!(depot.complete().await.is_empty());
    let target = PostgresTarget::new(Depot::component(), as_owner(&server)).unwrap();
    let report = target.check(&Cx::background()).await.unwrap();
    let rights = report.steps.iter().find(|s| s.name == "read rights").unwrap();
    assert_eq!(rights.outcome, Outcome::Failed);
    assert!(rights.detail.contains("closed.t"), "{rights:?}");

    depot.backup(&as_owner(&server).allowing_unreadable(true)).await.unwrap();
    let manifest = depot.latest().await.unwrap();
    let skipped: Vec<&str> = manifest.skipped.iter().map(|s| s.what.as_str()).collect();
    assert_eq!(
        skipped,
        ["role passwords", "app.\"the secret\"", "closed.t", "app.\"the secret_id_seq\"", "half.numbers"]
    );
    let names: Vec<&str> = manifest.contents.iter().map(|c| c.name.as_str()).collect();
    assert_eq!(names, ["app.users", "app.notes", "half.t"]);
    let recipe =
        std::fs::read_to_string(depot.path().join("database").join(manifest.id.to_string()).join("RECOVER.md"));
    assert!(recipe.unwrap().contains("closed.t"));
    // The rest of it comes back, and is proven as far as it goes. A schema of the superuser's only a superuser can make.
    let report = depot
        .restore(&veza_dr_tests::product::config(&server, "app"), &RestoreRequest::default().to("copy"))
        .await
        .unwrap();
    assert_eq!(report.verification.verdict(), Verdict::Equal, "{:?}", report.verification.findings);
    assert_eq!(
        server.sql("copy", "SELECT count(*), to_regclass('closed.t') IS NULL FROM half.t").await.unwrap(),
        "0|t"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_hidden_by_row_level_security_are_never_silently_left_out() {
    let server = owned().await;
    let sql = "SET ROLE owner; ALTER TABLE app.notes ENABLE ROW LEVEL SECURITY; ALTER TABLE app.notes FORCE ROW LEVEL SECURITY; \
         CREATE POLICY few ON app.notes USING (id <= 10)";
    server.sql("app", sql).await.unwrap();
    let depot = Depot::new();
    let e = depot.backup(&as_owner(&server)).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Denied);
    assert!(e.to_string().contains("app.notes (row-level security hides"), "{e}");
    assert!(depot.complete().await.is_empty());
    server.sql("postgres", "ALTER ROLE owner BYPASSRLS").await.unwrap();
    depot.backup(&as_owner(&server)).await.unwrap();
    let manifest = depot.latest().await.unwrap();
    let notes = manifest.contents.iter().find(|c| c.name == "app.notes").unwrap();
    assert_eq!(notes.rows, 100);
}

/// A certificate authority, and a server certificate of it for `name`.
fn certificates(name: &str) -> (tempfile::TempDir, PathBuf, TlsFiles) {
    let dir = tempfile::tempdir().unwrap();
    let ca_key = rcgen::KeyPair::generate().unwrap();
    let mut ca = rcgen::CertificateParams::new(Vec::new()).unwrap();
    ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    ca.distinguished_name.push(rcgen::DnType::CommonName, "test authority");
    let ca_cert = ca.self_signed(&ca_key).unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
    let issuer = rcgen::Issuer::new(ca, ca_key);
    let cert = params.signed_by(&key, &issuer).unwrap();
    let write = |file: &str, text: String| {
        let path = dir.path().join(file);
        std::fs::write(&path, text).unwrap();
        path
    };
    let ca_file = write("ca.pem", ca_cert.pem());
    let files = TlsFiles { cert: write("server.pem", cert.pem()), key: write("server.key", key.serialize_pem()) };
    (dir, ca_file, files)
}

fn over(server: &PgServer, host: &str, mode: &str) -> PostgresConfig {
    let url = format!("postgres://postgres@{host}:{}/source?sslmode={mode}", server.port());
    PostgresConfig::new(url)
        .with_password(SecretString::from(server.password().to_owned()))
        .with_bin_dir(server.bin(""))
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_is_verified_to_the_end_by_us_and_by_the_tools() {
    let (_dir, ca_file, tls) = certificates("localhost");
    // Nothing but TLS gets in.
    let options = PgOptions { tls: Some(tls), ..PgOptions::default() }
        .with_hba("hostssl all all 127.0.0.1/32 scram-sha-256")
        .with_hba("hostnossl source all 127.0.0.1/32 reject");
    let server = PgServer::start(options).await.unwrap();
    server.create_database("source").await.unwrap();
    let depot = Depot::new();
    let verified = over(&server, "localhost", "verify-full").with_ca_file(&ca_file);
    depot.backup(&verified).await.unwrap();
    let report = depot.restore(&verified, &RestoreRequest::default().to("copy")).await.unwrap();
    assert_eq!(report.verification.verdict(), Verdict::Equal);

    // The certificate is for another name, from an unknown authority, or TLS is not wanted at all.
    let (_other, other_ca, _) = certificates("localhost");
    let wrong_name = over(&server, "127.0.0.1", "verify-full").with_ca_file(&ca_file);
    let unknown = over(&server, "localhost", "verify-full").with_ca_file(&other_ca);
    let none = over(&server, "localhost", "verify-full");
    let plain = over(&server, "localhost", "disable");
    for (why, config) in [("name", wrong_name), ("authority", unknown), ("system store", none), ("plain", plain)] {
        let e = depot.backup(&config).await.unwrap_err();
        assert!(matches!(e.kind(), ErrorKind::Unavailable | ErrorKind::Denied), "{why}: {e:?}");
        let said = e.chain();
        let expected = if why == "plain" { "pg_hba.conf" } else { "certificate" };
        assert!(said.contains(expected), "{why}: {said}");
    }
    assert_eq!(depot.complete().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn passwords_are_in_no_argument_no_debug_output_and_no_error() {
    let server = owned().await;
    server.sql("app", "CREATE TABLE app.bulk AS SELECT i, repeat('x', 300) FROM generate_series(1, 60000) i; ALTER TABLE app.bulk OWNER TO owner").await.unwrap();
    let depot = Depot::new();
    let in_url = PostgresConfig::new(format!("postgres://owner:{OWNER_PASSWORD}@127.0.0.1:{}/app", server.port()))
        .with_bin_dir(server.bin(""));
    for config in [as_owner(&server), in_url] {
        let target = PostgresTarget::new(Depot::component(), config.clone()).unwrap();
        assert!(!format!("{config:?} {target:?} {:?}", target.info()).contains(OWNER_PASSWORD));
        let run = async {
            depot.backup(&config).await.unwrap();
            depot.restore(&config, &RestoreRequest::default().to("elsewhere")).await.unwrap();
        };
        let mut run = std::pin::pin!(run);
        let mut tools = 0;
        loop {
            tokio::select! {
                () = &mut run => break,
                () = tokio::time::sleep(std::time::Duration::from_millis(3)) => {
                    for line in arguments() {
                        assert!(!line.contains(OWNER_PASSWORD), "{line}");
                        tools += usize::from(line.contains("pg_dump") || line.contains("pg_restore"));
                    }
                }
            }
        }
        assert!(tools > 0, "no tool was seen: the test looked too seldom");
        let text = format!("{:?}", depot.latest().await.unwrap());
        assert!(!text.contains(OWNER_PASSWORD));
        server.drop_database("elsewhere").await.unwrap();
    }
    let wrong = as_owner(&server).with_password(SecretString::from("wrong-canary-55".to_owned()));
    let e = depot.backup(&wrong).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Denied);
    assert!(!format!("{e:?} {}", e.chain()).contains("canary"), "{e:?}");
    let broken = PostgresConfig::new("postgres://owner:canary-66@host:notaport/app");
    let e = PostgresTarget::new(Depot::component(), broken).map(|_| ()).unwrap_err();
    assert!(!format!("{e:?} {}", e.chain()).contains("canary"), "{e:?}");
    for (file, _) in depot.files() {
        if file.ends_with(".json") || file.ends_with(".md") {
            let text = std::fs::read_to_string(depot.path().join(&file)).unwrap();
            assert!(!text.contains("canary"), "{file}");
        }
    }
}

/// The command lines of all processes of this machine.
fn arguments() -> Vec<String> {
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    processes
        .filter_map(|p| std::fs::read(p.path().join("cmdline")).ok())
        .map(|line| String::from_utf8_lossy(&line).replace('\0', " "))
        .collect()
}
