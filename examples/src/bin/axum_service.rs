//! A shop that backs its own database up every six hours: `axum_service URL DIRECTORY`. Ends on Ctrl-C or SIGTERM, with
//! the backup finished that it is making.

use std::sync::Arc;

use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};
use veza_dr_backup::{
    Encryption, Repository, RunRetries,
    postgres::{PostgresConfig, PostgresTarget},
    store::DirectoryStore,
};
use veza_dr_core::{Cx, Error, ErrorKind, Result};
use veza_dr_examples::axum_service::{Settings, Shop};

#[tokio::main]
async fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let url = args.next().unwrap_or_else(|| "postgres://veza_user@localhost:5432/veza_db".to_owned());
    let directory = args.next().unwrap_or_else(|| "/opt/backups".to_owned());
    let database = url.parse().map_err(|e| Error::new(ErrorKind::Config, "the database's address").with_source(e))?;
    let target = PostgresTarget::new("database".parse()?, PostgresConfig::new(url))?;
    let store = DirectoryStore::open("local", directory)?;
    let shop = Shop::open(Settings {
        database,
        target: Arc::new(target),
        repository: Repository::new(Arc::new(store), Encryption::default()),
        schedule: "0 */6 * * *".to_owned(),
        retries: RunRetries::default(),
    })
    .await?;
    let listening = TcpListener::bind("127.0.0.1:8080").await;
    let listener = listening.map_err(|e| Error::new(ErrorKind::Unavailable, "127.0.0.1:8080").with_source(e))?;
    let mut terminate = signal(SignalKind::terminate())
        .map_err(|e| Error::new(ErrorKind::Unexpected, "SIGTERM cannot be awaited").with_source(e))?;
    let cx = Cx::background();
    let stop = cx.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = terminate.recv() => {}
        }
        stop.cancel();
    });
    shop.run(&cx, listener).await
}
