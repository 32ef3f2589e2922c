//! Backs a database up to a directory from inside a program: `embed_backup URL DIRECTORY`.

use std::sync::Arc;

use veza_dr_backup::{
    BackupOptions, Encryption, Repository, back_up,
    postgres::{PostgresConfig, PostgresTarget},
    store::DirectoryStore,
};
use veza_dr_core::{Cx, Result};

#[tokio::main]
async fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let url = args.next().unwrap_or_else(|| "postgres://veza_user@localhost:5432/veza_db".to_owned());
    let directory = args.next().unwrap_or_else(|| "/opt/backups".to_owned());
    let target = PostgresTarget::new("database".parse()?, PostgresConfig::new(url))?;
    let store = DirectoryStore::open("local", directory)?;
    let repository = Repository::new(Arc::new(store), Encryption::default());
    let report = back_up(&Cx::background(), &target, &[repository], &BackupOptions::default()).await?;
    report.ensure_complete()?;
    #[expect(clippy::print_stdout, reason = "an example talks to its reader")]
    if let Some(manifest) = report.manifest() {
        println!("backup {} of {} rows in {:?}", report.id, manifest.rows(), report.took);
    }
    Ok(())
}
