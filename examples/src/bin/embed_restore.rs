//! Restores the latest backup of a directory in place: `embed_restore URL DIRECTORY [TO]`.

use std::sync::Arc;

use veza_dr_backup::{Encryption, Repository, Selector, postgres::PostgresConfig, store::DirectoryStore};
use veza_dr_core::{Cx, RestoreRequest, RestoreTarget, Result};
use veza_dr_restore::postgres::PostgresRestore;

#[tokio::main]
#[expect(clippy::print_stdout, reason = "an example talks to its reader")]
async fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let url = args.next().unwrap_or_else(|| "postgres://veza_user@localhost:5432/veza_db".to_owned());
    let directory = args.next().unwrap_or_else(|| "/opt/backups".to_owned());
    let cx = Cx::background();
    let store = DirectoryStore::open("local", directory)?;
    let repository = Repository::new(Arc::new(store), Encryption::default());
    let manifest = repository.manifest(&cx, &"database".parse()?, &Selector::Latest).await?;
    let target = PostgresRestore::new("database".parse()?, PostgresConfig::new(url))?;
    let request = match args.next() {
        Some(to) => RestoreRequest::in_place().to(to),
        None => RestoreRequest::in_place(),
    };
    let plan = target.plan(&cx, &request, &manifest).await?;
    for step in &plan.steps {
        println!("- {}", step.what);
    }
    let report = target.apply(&cx, plan, &manifest, Arc::new(repository.open(&manifest))).await?;
    for step in &report.report.steps {
        println!("{:>8.2} s  {} {}", step.took.as_secs_f64(), step.name, step.detail);
    }
    println!("restored into {}, {} rows proven equal", report.location, report.verification.rows);
    Ok(())
}
