//! The service itself: it takes orders.

use std::{sync::Arc, time::Duration};

use axum::{
    Json, Router,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use prometheus_client::{metrics::counter::Counter, registry::Registry};
use tokio::{net::TcpListener, time::timeout};
use tokio_postgres::{Client, NoTls};
use veza_dr_backup::{Repository, RunRetries, SchedulerHandle};
use veza_dr_core::{BackupTarget, Clock, Cx, Error, ErrorKind, Result, SystemClock};
use veza_dr_failover::{
    http::Health,
    metrics::{Format, Metrics, encode},
};

use super::{Protection, WriteGate};

/// How long an order waits for a backup to have read before the customer is asked to come again.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the service needs.
#[derive(Debug)]
pub struct Settings {
    /// Its database.
    pub database: tokio_postgres::Config,
    /// The same database, as backups read it.
    pub target: Arc<dyn BackupTarget>,
    /// Where backups go.
    pub repository: Repository,
    /// When they are made: a cron expression.
    pub schedule: String,
    /// What happens when one fails.
    pub retries: RunRetries,
}

/// A shop: `POST /orders`, `GET /metrics`, `GET /dr`.
#[derive(Debug)]
pub struct Shop {
    shared: Arc<Shared>,
    protection: Protection,
}

#[derive(Debug)]
struct Shared {
    database: Client,
    gate: WriteGate,
    orders: Counter,
    registry: Registry,
    metrics: Metrics,
}

impl Shop {
    /// Connects to the database and makes its table where there is none.
    ///
    /// # Errors
    /// `Unavailable` when the database does not answer, `Config` for a schedule that is none.
    pub async fn open(settings: Settings) -> Result<Self> {
        let gate = WriteGate::default();
        let Settings { database, target, repository, schedule, retries } = settings;
        let protection = Protection::new(target, repository, &schedule, retries, &gate)?;
        let (database, connection) = database.connect(NoTls).await.map_err(away)?;
        // Ends when the client is dropped; what it fails with, the client's calls fail with.
        tokio::spawn(connection);
        let table = "CREATE TABLE IF NOT EXISTS orders (id bigserial PRIMARY KEY, item text NOT NULL)";
        database.batch_execute(table).await.map_err(away)?;

        // The registry that the service has anyway; what is known of its backups joins it under a prefix.
        let mut registry = Registry::with_prefix("shop");
        let orders = Counter::default();
        registry.register("orders", "Orders taken", orders.clone());
        let metrics = protection.metrics().clone();
        metrics.register(registry.sub_registry_with_prefix("dr"));
        Ok(Self { shared: Arc::new(Shared { database, gate, orders, registry, metrics }), protection })
    }

    /// To look at its backups and to ask for one.
    #[must_use]
    pub fn backups(&self) -> SchedulerHandle {
        self.protection.handle()
    }

    /// What its writes pass.
    #[must_use]
    pub fn gate(&self) -> WriteGate {
        self.shared.gate.clone()
    }

    /// Serves until `cx` is cancelled; requests that came before are answered, and a backup that is being made is
    /// finished.
    ///
    /// # Errors
    /// `Unavailable` when the listener fails.
    pub async fn run(self, cx: &Cx, listener: TcpListener) -> Result<()> {
        let router = Router::new()
            .route("/orders", post(order))
            .route("/metrics", get(scrape))
            .route("/dr", get(recovery))
            .with_state(self.shared);
        let stop = cx.token().clone().cancelled_owned();
        let serve = async {
            axum::serve(listener, router)
                .with_graceful_shutdown(stop)
                .await
                .map_err(|e| Error::new(ErrorKind::Unavailable, "serve").with_source(e))
        };
        tokio::try_join!(self.protection.run(cx), serve)?;
        Ok(())
    }
}

async fn order(State(shop): State<Arc<Shared>>, item: String) -> Response {
    let Ok(_open) = timeout(PATIENCE, shop.gate.pass()).await else {
        return (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "5")], "come again\n").into_response();
    };
    match shop.database.execute("INSERT INTO orders (item) VALUES ($1)", &[&item]).await {
        Ok(_) => {
            shop.orders.inc();
            StatusCode::CREATED.into_response()
        }
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "the order was perhaps not taken\n").into_response(),
    }
}

async fn scrape(State(shop): State<Arc<Shared>>, headers: HeaderMap) -> Response {
    let format = Format::negotiate(headers.get(header::ACCEPT).and_then(|v| v.to_str().ok()));
    match encode(&shop.registry, format) {
        Ok(text) => ([(header::CONTENT_TYPE, format.content_type())], text).into_response(),
        Err(e) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{e}\n")).into_response(),
    }
}

/// 200 while the schedule of backups is being met, 503 with the reasons while it is not.
async fn recovery(State(shop): State<Arc<Shared>>) -> Response {
    let health = Health::of(shop.metrics.status().as_ref(), SystemClock.now());
    let status = if health.healthy { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(health)).into_response()
}

fn away(e: tokio_postgres::Error) -> Error {
    Error::new(ErrorKind::Unavailable, "the shop's database").with_source(e)
}
