//! Rows of a backup brought back into the live database: one user, one conversation, whatever hangs on them.

use std::sync::Arc;

use veza_dr_core::{Cx, ErrorKind, Result};
use veza_dr_restore::postgres::{OnConflict, PostgresRestore, RowsPlan, RowsReport, RowsRequest};
use veza_dr_tests::{
    fixtures::fixture,
    oracle::{DatabaseState, Oracle},
    postgres_server::{PgOptions, PgServer},
    product::{Depot, config},
};

struct Site {
    server: PgServer,
    depot: Depot,
    target: PostgresRestore,
}

impl Site {
    /// A server with `source` filled by these statements and backed up.
    async fn with(statements: &str) -> Self {
        let server = PgServer::start(PgOptions::default()).await.unwrap();
        server.create_database("source").await.unwrap();
        server.sql("source", statements).await.unwrap();
        Self::of(server).await
    }

    async fn of(server: PgServer) -> Self {
        let depot = Depot::new();
        let config = config(&server, "source");
        depot.backup(&config).await.unwrap();
        let target = PostgresRestore::new(Depot::component(), config).unwrap();
        Self { server, depot, target }
    }

    async fn plan(&self, request: &RowsRequest) -> Result<RowsPlan> {
        let manifest = self.depot.latest().await?;
        let data = Arc::new(self.depot.repository.open(&manifest));
        self.target.plan_rows(&Cx::background(), request, &manifest, data).await
    }

    /// Plans and applies.
    async fn bring(&self, request: &RowsRequest) -> Result<RowsReport> {
        let plan = self.plan(request).await?;
        self.target.apply_rows(&Cx::background(), &plan).await
    }

    async fn sql(&self, statements: &str) -> String {
        self.server.sql("source", statements).await.unwrap_or_else(|e| panic!("{statements}: {e}"))
    }

    async fn state(&self) -> DatabaseState {
        Oracle::of(&self.server).read("source").await.unwrap()
    }

    async fn databases(&self) -> String {
        let sql = "SELECT string_agg(datname, ' ' ORDER BY datname) FROM pg_database WHERE NOT datistemplate";
        self.server.sql("postgres", sql).await.unwrap()
    }
}

/// Table, missing, different, identical of each table of a plan.
fn numbers(plan: &RowsPlan) -> Vec<(&str, u64, u64, u64)> {
    plan.tables.iter().map(|t| (t.table.as_str(), t.missing, t.different, t.identical)).collect()
}

fn done(report: &RowsReport) -> Vec<(&str, u64, u64, u64)> {
    report.tables.iter().map(|t| (t.table.as_str(), t.inserted, t.updated, t.kept)).collect()
}

/// The guide's tables, small: users with rooms and messages.
const SMALL: &str = "CREATE TABLE users (id text PRIMARY KEY, name text NOT NULL, profile json, invited_by text REFERENCES users); \
     CREATE TABLE rooms (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, owner text NOT NULL REFERENCES users); \
     CREATE TABLE messages (id serial PRIMARY KEY, room_id int NOT NULL REFERENCES rooms ON DELETE CASCADE, \
        user_id text NOT NULL REFERENCES users, content text, length int GENERATED ALWAYS AS (char_length(content)) STORED, \
        created_at timestamptz NOT NULL); \
     INSERT INTO users SELECT 'u' || i, 'user ' || i, '{\"a\":  1}', CASE WHEN i > 1 THEN 'u' || i / 2 END FROM generate_series(1, 40) i; \
     INSERT INTO rooms (owner) SELECT 'u' || 1 + i % 20 FROM generate_series(1, 10) i; \
     INSERT INTO messages (room_id, user_id, content, created_at) \
        SELECT 1 + i % 10, 'u' || 1 + i % 20, CASE WHEN i % 7 > 0 THEN 'message ' || i END, '2023-12-01'::timestamptz + i * interval '1 day' \
        FROM generate_series(1, 200) i";

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_shows_the_rows_and_writes_nothing() {
    let site = Site::with(SMALL).await;
    site.sql("UPDATE users SET name = 'changed' WHERE id = 'u3'; DELETE FROM users WHERE id = 'u33'").await;
    let before = site.state().await;
    let request = RowsRequest::new("users", "id IN ('u2', 'u3', 'u33')");
    let plan = site.plan(&request).await.unwrap();
    assert_eq!(numbers(&plan), [("public.users", 1, 1, 1)]);
    let users = &plan.tables[0];
    assert_eq!(
        (plan.rows(), users.key.as_slice(), users.why.as_str()),
        (3, ["\"id\"".to_owned()].as_slice(), "asked for")
    );
    assert_eq!(users.columns, ["id", "name", "profile", "invited_by"]);
    let mut sample = users.sample.clone();
    sample.sort();
    let row = |v: [&str; 4]| v.map(|t| Some(t.to_owned())).to_vec();
    assert_eq!(sample[0], row(["u2", "user 2", "{\"a\":  1}", "u1"]));
    assert_eq!(sample[2], row(["u33", "user 33", "{\"a\":  1}", "u16"]));
    assert!(plan.blockers.is_empty() && plan.warnings.is_empty(), "{plan:?}");
    before.assert_same(&site.state().await);
    assert_eq!(site.databases().await, "postgres source");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_user_comes_back_alone_with_children_or_with_parents() {
    let site = Site::with(SMALL).await;
    let whole = site.state().await;
    // Alone: nothing else refers to this one.
    site.sql("DELETE FROM users WHERE id = 'u40'").await;
    assert_eq!(done(&site.bring(&RowsRequest::new("users", "id = 'u40'")).await.unwrap()), [("public.users", 1, 0, 0)]);
    whole.assert_same(&site.state().await);
    // With all that hangs on it: rooms, messages in them, users it invited and their messages.
    site.sql(
        "BEGIN; SET LOCAL session_replication_role = replica; DELETE FROM users WHERE id IN ('u10', 'u20'); \
              DELETE FROM rooms WHERE owner = 'u10'; DELETE FROM messages WHERE user_id = 'u10'; COMMIT",
    )
    .await;
    site.bring(&RowsRequest::new("users", "id = 'u10'").with_children(true)).await.unwrap();
    whole.assert_same(&site.state().await);
    // A message whose room and author are gone: refused with the way out, and done with it.
    site.sql(
        "BEGIN; SET LOCAL session_replication_role = replica; DELETE FROM users WHERE id IN ('u9', 'u4'); \
              DELETE FROM rooms WHERE id = 9; DELETE FROM messages WHERE id = 8; COMMIT",
    )
    .await;
    let before = site.state().await;
    let request = RowsRequest::new("messages", "id = 8");
    let plan = site.plan(&request).await.unwrap();
    assert!(plan.blockers.iter().all(|b| b.contains("--with-parents")) && !plan.blockers.is_empty(), "{plan:?}");
    let e = site.target.apply_rows(&Cx::background(), &plan).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Conflict);
    before.assert_same(&site.state().await);
    let plan = site.plan(&request.with_parents(true)).await.unwrap();
    let order: Vec<&str> = plan.tables.iter().map(|t| t.table.as_str()).collect();
    assert_eq!(order, ["public.users", "public.rooms", "public.messages"]);
    site.target.apply_rows(&Cx::background(), &plan).await.unwrap();
    whole.assert_same(&site.state().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conversation_since_a_date_comes_back() {
    let site = Site::with(SMALL).await;
    let whole = site.state().await;
    let condition = "room_id = 3 AND created_at >= '2024-01-01'";
    let lost: u64 = site.sql(&format!("SELECT count(*) FROM messages WHERE {condition}")).await.parse().unwrap();
    assert!(lost > 10);
    site.sql(&format!("DELETE FROM messages WHERE {condition}")).await;
    let report = site.bring(&RowsRequest::new("public.messages", condition)).await.unwrap();
    assert_eq!(done(&report), [("public.messages", lost, 0, 0)]);
    whole.assert_same(&site.state().await);
    // Again: nothing is left to do.
    let report = site.bring(&RowsRequest::new("messages", condition)).await.unwrap();
    assert_eq!(done(&report), [("public.messages", 0, 0, lost)]);
    whole.assert_same(&site.state().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_are_there_are_kept_replaced_or_refused() {
    let site = Site::with(SMALL).await;
    let whole = site.state().await;
    site.sql("DELETE FROM users WHERE id = 'u40'; UPDATE users SET profile = '{}' WHERE id = 'u39'").await;
    let changed = site.state().await;
    let request = RowsRequest::new("users", "id IN ('u38', 'u39', 'u40')");
    let e = site.bring(&request.clone().on_conflict(OnConflict::Fail)).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Conflict, "{e:?}");
    changed.assert_same(&site.state().await);
    let report = site.bring(&request).await.unwrap();
    assert_eq!(done(&report), [("public.users", 1, 0, 2)]);
    assert_eq!(site.sql("SELECT profile FROM users WHERE id = 'u39'").await, "{}");
    let report = site.bring(&request.on_conflict(OnConflict::Update)).await.unwrap();
    assert_eq!(done(&report), [("public.users", 0, 1, 2)]);
    whole.assert_same(&site.state().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn sequences_move_on_and_are_not_moved_back() {
    let site = Site::with("CREATE TABLE a (id serial PRIMARY KEY, t text); CREATE TABLE b (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY); \
        INSERT INTO a (t) SELECT 'x' FROM generate_series(1, 50); INSERT INTO b SELECT FROM generate_series(1, 50)").await;
    // The live database was made anew and counts from the beginning; another went on.
    site.sql("TRUNCATE a, b; ALTER SEQUENCE a_id_seq RESTART; SELECT setval('b_id_seq', 900)").await;
    for table in ["a", "b"] {
        site.bring(&RowsRequest::new(table, "id > 40")).await.unwrap();
    }
    assert_eq!(
        site.sql("INSERT INTO a (t) VALUES ('y') RETURNING id; INSERT INTO b DEFAULT VALUES RETURNING id").await,
        "51\n901"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_of_every_shape() {
    let site = Site::with("CREATE TABLE no_key (a int, j json, p point, x xml); \
        INSERT INTO no_key VALUES (1, '{\"a\": 1}', '(1,2)', '<a/>'), (1, NULL, NULL, NULL), (2, 'null', '(0,0)', ''); \
        CREATE TABLE pair (a int, b text, c json, PRIMARY KEY (b, a)); INSERT INTO pair VALUES (1, 'x', '[1]'), (1, 'y', NULL), (2, 'x', '3'); \
        CREATE TABLE parted (id int, day date, PRIMARY KEY (id, day)) PARTITION BY RANGE (day); \
        CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM ('2024-01-01') TO ('2024-02-01'); \
        CREATE TABLE parted_2 PARTITION OF parted DEFAULT; \
        INSERT INTO parted SELECT i, '2024-01-20'::date + i FROM generate_series(1, 30) i; \
        CREATE TABLE hen (id int PRIMARY KEY, egg int); CREATE TABLE egg (id int PRIMARY KEY, hen int REFERENCES hen DEFERRABLE); \
        ALTER TABLE hen ADD FOREIGN KEY (egg) REFERENCES egg DEFERRABLE INITIALLY DEFERRED; \
        BEGIN; INSERT INTO hen VALUES (1, 1), (2, 2); INSERT INTO egg VALUES (1, 2), (2, 1); COMMIT; \
        CREATE TABLE \"Odd \"\"name\"\"\" (\"Col 1\" int PRIMARY KEY, \"select\" text); INSERT INTO \"Odd \"\"name\"\"\" VALUES (1, E'\\\\N\\n')").await;
    let whole = site.state().await;
    site.sql(
        "DELETE FROM no_key WHERE j IS NULL OR a = 2; DELETE FROM pair WHERE a = 1; DELETE FROM parted WHERE id < 20; \
        BEGIN; DELETE FROM egg; DELETE FROM hen; COMMIT; DELETE FROM \"Odd \"\"name\"\"\"",
    )
    .await;
    let plan = site.plan(&RowsRequest::new("no_key", "true")).await.unwrap();
    assert_eq!(numbers(&plan), [("public.no_key", 2, 0, 1)]);
    assert!(plan.warnings.iter().any(|w| w.contains("no primary key")), "{:?}", plan.warnings);
    for request in [
        RowsRequest::new("no_key", "true"),
        RowsRequest::new("pair", "b = 'x' OR c IS NULL"),
        RowsRequest::new("parted", "id <= 25"),
        RowsRequest::new("hen", "id = 1").with_children(true).with_parents(true),
        RowsRequest::new("public.Odd \"name\"", "\"Col 1\" = 1"),
    ] {
        site.bring(&request).await.unwrap_or_else(|e| panic!("{request:?}: {e:?}"));
    }
    whole.assert_same(&site.state().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_stands_in_the_way_is_said_and_leaves_nothing() {
    let meddle = "CREATE FUNCTION meddle() RETURNS bool LANGUAGE sql AS 'DELETE FROM public.messages RETURNING true'";
    let site = Site::with(&format!("{SMALL}; {meddle}")).await;
    let before = site.state().await;
    site.sql("CREATE SEQUENCE canary; ALTER TABLE rooms RENAME TO halls; ALTER TABLE users DROP COLUMN profile").await;
    let changed = site.state().await;
    assert!(!before.diff(&changed).is_empty());
    let plan = site.plan(&RowsRequest::new("rooms", "true")).await.unwrap();
    assert!(plan.blockers.iter().any(|b| b.contains("public.rooms does not exist")), "{:?}", plan.blockers);
    let plan = site.plan(&RowsRequest::new("users", "true")).await.unwrap();
    assert!(plan.blockers.iter().any(|b| b.contains("no column profile")), "{:?}", plan.blockers);
    for (condition, says) in [
        ("id = ", "syntax error"),
        ("nosuch = 1", "nosuch"),
        ("true); DROP TABLE users; --", ""),
        ("id = 'x') OR true; DELETE FROM messages", ""),
        ("meddle()", "read-only"),
    ] {
        let e = site.plan(&RowsRequest::new("users", condition)).await.unwrap_err();
        assert_eq!(e.kind(), ErrorKind::Config, "{condition}: {e:?}");
        assert!(e.chain().contains(says), "{condition}: {}", e.chain());
    }
    assert_eq!(site.plan(&RowsRequest::new("nosuch", "true")).await.unwrap_err().kind(), ErrorKind::NotFound);
    changed.assert_same(&site.state().await);
    assert_eq!(site.databases().await, "postgres source");
}

#[tokio::test(flavor = "multi_thread")]
async fn triggers_are_announced_and_a_trigger_that_eats_rows_fails_it_all() {
    let site = Site::with(SMALL).await;
    site.sql(
        "DELETE FROM users WHERE id IN ('u30', 'u31', 'u35', 'u37', 'u38'); \
              CREATE FUNCTION eat() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'; \
              CREATE TRIGGER eater BEFORE INSERT ON users FOR EACH ROW WHEN (NEW.id = 'u37') EXECUTE FUNCTION eat()",
    )
    .await;
    let before = site.state().await;
    let plan = site.plan(&RowsRequest::new("users", "true")).await.unwrap();
    assert!(plan.tables[0].missing > 3 && plan.warnings.iter().any(|w| w.contains("eater")), "{plan:?}");
    let e = site.target.apply_rows(&Cx::background(), &plan).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Mismatch);
    before.assert_same(&site.state().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_live_table_is_searched_by_its_key() {
    let server = PgServer::start(PgOptions::default()).await.unwrap();
    server.create_database("source").await.unwrap();
    server.psql_file("source", &fixture("veza.sql"), &[]).await.unwrap();
    server.sql("source", "DROP INDEX messages_search").await.unwrap();
    let site = Site::of(server).await;
    let condition = "room_id = md5('r7')::uuid AND created_at >= '2023-06-10'";
    let lost = site
        .sql(&format!("WITH d AS (DELETE FROM messages WHERE {condition} RETURNING 1) SELECT count(*) FROM d"))
        .await;
    let plan = site.plan(&RowsRequest::new("messages", condition)).await.unwrap();
    assert_eq!(plan.tables[0].missing.to_string(), lost);
    // 300,000 rows would be read once for each row that is looked for.
    site.sql("SELECT pg_stat_reset()").await;
    let started = std::time::Instant::now();
    site.target.apply_rows(&Cx::background(), &plan).await.unwrap();
    assert!(started.elapsed().as_secs() < 10, "{:?}", started.elapsed());
    assert_eq!(site.sql(&format!("SELECT count(*) FROM messages WHERE {condition}")).await, lost);
}
