//! Single tables: into another database, and back where they were dropped, with all that stands on them.

use veza_dr_core::{Cx, ErrorKind, Outcome, RestoreRequest, RestoreTarget, Verdict};
use veza_dr_restore::postgres::PostgresRestore;
use veza_dr_tests::{
    oracle::Oracle,
    postgres_server::{PgOptions, PgServer},
    product::{Depot, config},
};

const SCHEMA: &str = "CREATE ROLE reader; CREATE ROLE keeper; CREATE SCHEMA shop; CREATE TYPE shop.state AS ENUM ('new', 'paid'); \
     CREATE DOMAIN shop.money AS numeric CHECK (VALUE >= 0); CREATE SEQUENCE shop.numbers START 100; \
     CREATE TABLE shop.clients (id int PRIMARY KEY, name text UNIQUE); \
     CREATE FUNCTION shop.stamp() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.note := upper(NEW.note); RETURN NEW; END'; \
     CREATE TABLE shop.orders (id serial PRIMARY KEY, number int DEFAULT nextval('shop.numbers'), client int REFERENCES shop.clients, \
        state shop.state DEFAULT 'new', total shop.money, note text, twice numeric GENERATED ALWAYS AS (total * 2) STORED, \
        CONSTRAINT sane CHECK (total < 1000000)); \
     CREATE INDEX orders_state ON shop.orders (state) WHERE state = 'new'; \
     CREATE TRIGGER stamp BEFORE INSERT ON shop.orders FOR EACH ROW EXECUTE FUNCTION shop.stamp(); \
     ALTER TABLE shop.orders ENABLE ROW LEVEL SECURITY; CREATE POLICY mine ON shop.orders FOR SELECT TO reader USING (client = 1); \
     CREATE RULE quiet AS ON DELETE TO shop.orders WHERE OLD.id < 0 DO INSTEAD NOTHING; \
     GRANT SELECT, INSERT (note) ON shop.orders TO reader; ALTER TABLE shop.orders OWNER TO keeper; \
     CREATE STATISTICS shop.linked ON client, state FROM shop.orders; COMMENT ON TABLE shop.orders IS 'what was bought'; \
     COMMENT ON COLUMN shop.orders.note IS 'shouted'; \
     CREATE TABLE shop.other (id int PRIMARY KEY, t text); INSERT INTO shop.other VALUES (1, 'stays'); \
     CREATE TABLE shop.visits (id int, day date, PRIMARY KEY (id, day)) PARTITION BY RANGE (day); \
     CREATE TABLE shop.visits_1 PARTITION OF shop.visits FOR VALUES FROM ('2024-01-01') TO ('2024-02-01'); \
     CREATE TABLE shop.visits_2 PARTITION OF shop.visits DEFAULT; \
     INSERT INTO shop.clients SELECT i, 'client ' || i FROM generate_series(1, 20) i; \
     INSERT INTO shop.orders (client, total, note) SELECT 1 + i % 20, i, 'note ' || i FROM generate_series(1, 300) i; \
     INSERT INTO shop.visits SELECT i, '2024-01-20'::date + i FROM generate_series(1, 40) i";

async fn shop() -> (PgServer, Depot) {
    let server = PgServer::start(PgOptions::default()).await.unwrap();
    server.create_database("source").await.unwrap();
    server.sql("source", SCHEMA).await.unwrap();
    let depot = Depot::new();
    depot.backup(&config(&server, "source")).await.unwrap();
    (server, depot)
}

fn only(tables: &[&str]) -> RestoreRequest {
    RestoreRequest::default().only(tables.iter().map(|t| (*t).to_owned()))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_table_comes_back_where_it_was() {
    let (server, depot) = shop().await;
    let oracle = Oracle::of(&server);
    let before = oracle.read("source").await.unwrap();
    let config = config(&server, "source");
    server.sql("source", "DROP TABLE shop.orders").await.unwrap();
    let report = depot.restore(&config, &only(&["shop.orders"])).await.unwrap_or_else(|e| panic!("{e:#?}"));
    assert_eq!((report.verification.verdict(), report.verification.rows), (Verdict::Equal, 300));
    assert!(report.replaced.is_none());
    let after = oracle.read("source").await.unwrap();
    before.assert_same(&after);
    assert_eq!(server.sql("source", "INSERT INTO shop.orders (total) VALUES (1) RETURNING id").await.unwrap(), "301");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partitioned_table_stands_for_its_partitions() {
    let (server, depot) = shop().await;
    let oracle = Oracle::of(&server);
    let before = oracle.read("source").await.unwrap();
    server.sql("source", "DROP TABLE shop.visits").await.unwrap();
    depot.restore(&config(&server, "source"), &only(&["shop.visits"])).await.unwrap_or_else(|e| panic!("{e:#?}"));
    before.assert_same(&oracle.read("source").await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_it_stood_on_comes_back_too_when_it_is_gone() {
    let (server, depot) = shop().await;
    let oracle = Oracle::of(&server);
    let before = oracle.read("source").await.unwrap();
    server.sql("source", "DROP TABLE shop.orders, shop.clients; DROP TYPE shop.state; DROP DOMAIN shop.money; DROP FUNCTION shop.stamp").await.unwrap();
    depot
        .restore(&config(&server, "source"), &only(&["shop.clients", "shop.orders"]))
        .await
        .unwrap_or_else(|e| panic!("{e:#?}"));
    before.assert_same(&oracle.read("source").await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_there_is_not_touched() {
    let (server, depot) = shop().await;
    let oracle = Oracle::of(&server);
    let config = config(&server, "source");
    server.sql("source", "DELETE FROM shop.orders WHERE id > 5").await.unwrap();
    let before = oracle.read("source").await.unwrap();
    let target = PostgresRestore::new(Depot::component(), config.clone()).unwrap();
    let plan = target.plan(&Cx::background(), &only(&["orders"]), &depot.latest().await.unwrap()).await.unwrap();
    assert!(
        plan.blockers.iter().any(|b| b.contains("shop.orders exists") && b.contains("restore-rows")),
        "{:?}",
        plan.blockers
    );
    let e = depot.restore(&config, &only(&["orders"])).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Conflict);
    let e = depot.restore(&config, &only(&["shop.nosuch"])).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::NotFound);
    before.assert_same(&oracle.read("source").await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn into_another_database_come_the_table_and_what_it_stands_on_alone() {
    let (server, depot) = shop().await;
    let oracle = Oracle::of(&server);
    let before = oracle.read("source").await.unwrap();
    let request = only(&["shop.orders", "shop.visits"]).to("parts");
    let report = depot.restore(&config(&server, "source"), &request).await.unwrap_or_else(|e| panic!("{e:#?}"));
    assert_eq!(report.verification.verdict(), Verdict::Equal);
    let parts = oracle.read("parts").await.unwrap();
    for key in [
        "rows/shop.orders",
        "rows/shop.visits",
        "relation/shop.orders",
        "trigger/shop.orders/stamp",
        "index/shop.orders_state",
    ] {
        assert_eq!(parts.get(key), before.get(key), "{key}");
    }
    assert!(parts.get("rows/shop.orders").unwrap().starts_with("300 rows"));
    assert_eq!(parts.get("sequence/shop.orders_id_seq"), before.get("sequence/shop.orders_id_seq"));
    assert!(parts.keys("rows/shop.other").next().is_none());
    // Its foreign key needs a table that was not asked for: not silently less.
    let left = report.report.steps.iter().find(|s| s.name == "left out").expect("a warning");
    assert!(left.outcome == Outcome::Warning && left.detail.contains("orders_client_fkey"), "{left:?}");
    before.assert_same(&oracle.read("source").await.unwrap());
}
