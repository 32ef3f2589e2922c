//! The command line with an S3 store: made, found, proven and restored from the bucket alone, encrypted to a key that
//! only the restoring side has.

#![cfg(all(feature = "postgres", feature = "s3"))]

mod common;

use common::{Place, Ran};
use serde_json::json;
use veza_dr_cli::{Environment, Exit};
use veza_dr_tests::{
    postgres_server::{PgOptions, PgServer},
    s3_server::S3Server,
};

const ROWS: &str = "SELECT count(*) || ' ' || md5(string_agg(t::text, ',' ORDER BY i)) FROM t";

fn run(place: &Place, args: &[&str], variables: &[(&str, &str)]) -> Ran {
    tokio::task::block_in_place(|| {
        let run = || place.run_with(args, |io| io.with_env(Environment::of(variables.iter().copied())));
        std::thread::scope(|s| s.spawn(run).join().expect("a run"))
    })
}

fn config(server: &PgServer, s3: &S3Server, encryption: &str) -> String {
    format!(
        "sources:
  database: {{ postgres: {{ url: \"{}\", password: \"${{env:PG_PASSWORD}}\", bin_dir: \"{}\", jobs: 2 }} }}
stores:
  offsite:
    s3:
      bucket: veza-backups
      region: us-east-1
      endpoint: \"{}\"
      path_style: true
      prefix: prod/eu
      access_key_id: \"${{env:S3_KEY_ID}}\"
      secret_access_key: \"${{env:S3_SECRET}}\"
    encryption: {{ {encryption} }}
",
        server.url("source"),
        server.bin("").display(),
        s3.endpoint(),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn backed_up_to_a_bucket_and_brought_back_from_it() {
    let s3 = S3Server::start().await.unwrap();
    s3.create_bucket("veza-backups").await.unwrap();
    let server = PgServer::start(PgOptions::default()).await.unwrap();
    server.create_database("source").await.unwrap();
    server
        .sql("source", "CREATE TABLE t AS SELECT i, md5(i::text) AS m FROM generate_series(1, 20000) i")
        .await
        .unwrap();
    let before = server.sql("source", ROWS).await.unwrap();

    let keys = tempfile::tempdir().unwrap();
    let identity = keys.path().join("key.txt");
    let made = std::process::Command::new("age-keygen").arg("-o").arg(&identity).output().unwrap();
    assert!(made.status.success(), "{made:?}");
    let text = std::fs::read_to_string(&identity).unwrap();
    let recipient = text.lines().find_map(|l| l.strip_prefix("# public key: ")).unwrap().to_owned();

    let sealed = Place::with(&config(&server, &s3, &format!("recipients: [\"{recipient}\"]")));
    let password = server.password().to_owned();
    let variables =
        [("PG_PASSWORD", password.as_str()), ("S3_KEY_ID", s3.access_key()), ("S3_SECRET", s3.secret_key())];
    let checked = run(&sealed, &["check", "--json"], &variables);
    let store = checked.json()["checks"][0].clone();
    assert_eq!((&store["name"], &store["ok"]), (&json!("offsite"), &json!(true)), "{}", checked.all());

    let backup = run(&sealed, &["backup", "--json"], &variables);
    assert_eq!(backup.exit, Exit::Ok, "{}", backup.all());
    let id = backup.json()["results"][0]["id"].as_str().unwrap().to_owned();
    // The host that backs up proves what it stored without being able to read it.
    let objects = run(&sealed, &["verify", "database", "--json"], &variables);
    assert_eq!(
        (objects.exit, &objects.json()["results"][0]["verdict"]),
        (Exit::Ok, &json!("equal")),
        "{}",
        objects.all()
    );
    let unreadable = run(&sealed, &["restore", "database", "--to", "copy", "--yes", "--json"], &variables);
    assert_ne!(unreadable.exit, Exit::Ok, "{}", unreadable.all());
    assert!(unreadable.all().contains("identity"), "{}", unreadable.all());

    // Another machine: nothing but the bucket, the key and the configuration.
    server.sql("source", "DROP TABLE t").await.unwrap();
    let open = format!("recipients: [\"{recipient}\"], identity_file: \"{}\"", identity.display());
    let elsewhere = Place::with(&config(&server, &s3, &open));
    let listed = run(&elsewhere, &["list", "--json"], &variables).json();
    assert_eq!((&listed[0]["id"], &listed[0]["verified_level"]), (&json!(id), &json!("objects")));
    let restored = run(&elsewhere, &["restore", "database", "--yes", "--json"], &variables);
    assert_eq!((restored.exit, &restored.json()["verdict"]), (Exit::Ok, &json!("equal")), "{}", restored.all());
    assert_eq!(server.sql("source", ROWS).await.unwrap(), before);

    for ran in [&checked, &backup, &unreadable, &restored] {
        assert!(!ran.all().contains(s3.secret_key()) && !ran.all().contains(&password), "{}", ran.all());
    }
    let wrong = [("PG_PASSWORD", password.as_str()), ("S3_KEY_ID", s3.access_key()), ("S3_SECRET", "wrong")];
    let denied = run(&elsewhere, &["list", "--json"], &wrong);
    assert_eq!((denied.exit, &denied.json()["error"]["kind"]), (Exit::Denied, &json!("denied")), "{}", denied.all());
}
