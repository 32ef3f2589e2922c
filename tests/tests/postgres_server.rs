//! The private PostgreSQL server behaves, starts on every major, and leaves nothing behind.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use veza_dr_tests::postgres_majors::MATRIX;
use veza_dr_tests::postgres_server::{PgOptions, PgServer, TlsFiles};

fn alive(pid: i32) -> bool {
    Path::new(&format!("/proc/{pid}/status")).exists()
        && !std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default().contains("State:\tZ")
}

fn wait_dead(pid: i32) -> bool {
    let deadline = Instant::now() + Duration::from_secs(20);
    while alive(pid) && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(50));
    }
    !alive(pid)
}

#[tokio::test]
async fn survives_kill_and_restart_and_ends_with_its_value() {
    let mut server = PgServer::start(PgOptions::default().with("fsync", "on")).await.unwrap();
    server.create_database("a \"b\" %/é").await.unwrap();
    let database = "a \"b\" %/é";
    assert_eq!(server.sql(database, "CREATE TABLE t AS SELECT 1 AS a; SELECT a FROM t").await.unwrap(), "1");
    let (first, port) = (server.pid().unwrap(), server.port());
    server.kill9();
    assert!(wait_dead(first));
    assert!(server.client(database).await.is_err());
    server.restart().await.unwrap();
    assert_eq!(server.port(), port);
    assert_eq!(server.sql(database, "SELECT a FROM t").await.unwrap(), "1");
    assert!(server.log().contains("was not properly shut down"), "{}", server.log());

    let url = server.url_with_password(database);
    let output = server.tool("psql").args(["-XAtc", "SELECT current_database()", &url]).output().await.unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap().trim(), database);
    assert!(!server.url(database).contains(server.password()));

    let (pid, data) = (server.pid().unwrap(), server.data_dir().to_path_buf());
    drop(server);
    assert!(!alive(pid) && !data.exists());
}

#[tokio::test]
async fn needs_the_password() {
    let server = PgServer::start(PgOptions::default()).await.unwrap();
    let error = server.client_as("postgres", "wrong", "postgres").await.unwrap_err().to_string();
    assert!(error.contains("password authentication failed"), "{error}");
    let error = server.sql("postgres", "SELECT 1/0").await.unwrap_err().to_string();
    assert!(error.contains("division by zero"), "{error}");
}

#[tokio::test]
async fn serves_tls_with_the_given_certificate() {
    let dir = tempfile::tempdir().unwrap();
    let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (cert, key) = (dir.path().join("cert"), dir.path().join("key"));
    std::fs::write(&cert, certified.cert.pem()).unwrap();
    std::fs::write(&key, certified.signing_key.serialize_pem()).unwrap();
    let options = PgOptions { tls: Some(TlsFiles { cert: cert.clone(), key }), ..PgOptions::default() };
    let server = PgServer::start(options.with_hba("hostnossl template1 all all reject")).await.unwrap();
    let question = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
    for (mode, database, expected) in
        [("disable", "postgres", Some("f")), ("verify-full", "template1", Some("t")), ("disable", "template1", None)]
    {
        let mut command = server.tool("psql");
        command.env("PGHOST", "localhost").env("PGHOSTADDR", "127.0.0.1");
        command.env("PGSSLMODE", mode).env("PGSSLROOTCERT", &cert).args(["-XAtc", question, "-d", database]);
        let output = command.output().await.unwrap();
        let found = output.status.success().then(|| String::from_utf8(output.stdout).unwrap().trim().to_owned());
        assert_eq!(found.as_deref(), expected, "{mode} {database}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

#[tokio::test]
async fn every_major_of_the_matrix_starts() {
    for major in MATRIX {
        let server = PgServer::start(PgOptions::major(major).unwrap()).await.unwrap();
        let number: u32 = server.sql("postgres", "SHOW server_version_num").await.unwrap().parse().unwrap();
        assert_eq!((number / 10_000, server.major()), (major, major));
        let dump = server.run_tool("pg_dump", &["-d", "postgres"]).await.unwrap();
        assert!(String::from_utf8(dump).unwrap().contains("PostgreSQL database dump complete"));
    }
}

#[tokio::test]
async fn a_base_backup_starts_in_place() {
    let server = PgServer::start(PgOptions::default()).await.unwrap();
    server.sql("postgres", "CREATE TABLE t AS SELECT 42 AS a").await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    std::fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let target = dir.path().join("data").display().to_string();
    server.run_tool("pg_basebackup", &["-D", &target, "-c", "fast", "-X", "stream"]).await.unwrap();
    let copy = PgServer::start_on(Path::new(&target), server.password(), PgOptions::default()).await.unwrap();
    assert_eq!(copy.sql("postgres", "SELECT a FROM t").await.unwrap(), "42");
}

#[tokio::test]
#[ignore = "not a test of its own: the next one starts it in a process of its own, to kill that"]
async fn victim() {
    let server = PgServer::start(PgOptions::default()).await.unwrap();
    let file = std::env::var_os("VEZA_DR_TESTS_VICTIM").unwrap();
    std::fs::write(file, format!("{} {}", server.pid().unwrap(), server.data_dir().display())).unwrap();
    tokio::time::sleep(Duration::from_secs(60)).await;
}

#[tokio::test]
async fn a_killed_test_process_takes_its_server_along() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("pid");
    let mut test = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "victim"])
        .env("VEZA_DR_TESTS_VICTIM", &file)
        .spawn()
        .unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    let mut line = String::new();
    while !line.contains("data") && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(100));
        line = std::fs::read_to_string(&file).unwrap_or_default();
    }
    let (pid, data) = line.split_once(' ').expect("the victim started a server");
    test.kill().unwrap();
    test.wait().unwrap();
    assert!(wait_dead(pid.parse().unwrap()), "the server outlived its test");
    std::fs::remove_dir_all(Path::new(data).parent().unwrap()).unwrap();
}
