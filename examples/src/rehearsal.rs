//! A drill from code: three components brought back in private places, destroyed, brought back again, compared.

use std::{path::Path, sync::Arc};

use async_trait::async_trait;
use veza_dr_backup::{Repository, Selector, files::FilesConfig, postgres::PostgresConfig, redis::RedisConfig};
use veza_dr_core::{Cx, Error, ErrorKind, Manifest, RestoreRequest, RestoreTarget, Result, Scenario, Verification};
use veza_dr_failover::{
    drill::{Drill, DrillPart, DrillRecord, Place, PlaceSpec, RestoreInto, lock},
    report::{Language, RecoveryReport, ReportFolder},
};
use veza_dr_restore::{
    files::FilesRestore,
    postgres::PostgresRestore,
    redis::{RedisRestore, RedisRestoreOptions},
};

/// Rehearses the newest backups of `database`, `redis` and `files`; keeps the record in the repository's store.
///
/// # Errors
/// When it could not begin. That it failed is in the record.
pub async fn rehearse(cx: &Cx, repository: &Repository, bin_dir: &Path, state_dir: &Path) -> Result<DrillRecord> {
    let names = ["database".parse()?, "redis".parse()?, "files".parse()?];
    let scenario = Scenario::guide(&names).remove(2);
    let mut drill = Drill::new(scenario, state_dir, std::env::temp_dir());
    "first_run".clone_into(&mut drill.by);
    drill.control = true;
    for name in names {
        let manifest = repository.manifest(cx, &name, &Selector::Latest).await?;
        let spec = match manifest.engine.as_str() {
            "postgres" => PlaceSpec::Postgres { bin_dir: Some(bin_dir.to_owned()) },
            "redis" => PlaceSpec::Redis { redis_server: "redis-server".into() },
            _ => PlaceSpec::Folder,
        };
        let data = Arc::new(repository.open(&manifest));
        let restore = Arc::new(Private { manifest: manifest.clone() });
        let damaged = damaged(repository, &manifest);
        let part = DrillPart::new(manifest, repository.name(), data, spec, restore);
        drill.parts.push(match damaged {
            Some(copy) => part.with_damaged(veza_dr_failover::drill::Damage::BitFlip, copy),
            None => part,
        });
        let store = repository.store().clone();
        drill.witnesses.push(Arc::new(veza_dr_failover::drill::StoreWitness::new(store, name)));
    }
    let lock = lock(state_dir)?;
    drill.run(cx, &lock, &[repository.store().clone()]).await
}

fn damaged(repository: &Repository, manifest: &Manifest) -> Option<Arc<veza_dr_backup::StoredBackup>> {
    use veza_dr_failover::drill::{Damage, DamagedStore};
    let store = DamagedStore::new(repository.store().clone(), manifest, Damage::BitFlip)?;
    Some(Arc::new(Repository::new(Arc::new(store), repository.encryption().clone()).open(manifest)))
}

/// Seals the report of a drill in `folder`, and writes it as a page.
///
/// # Errors
/// When either cannot be written.
pub fn page(record: &DrillRecord, folder: &Path, file: &Path) -> Result<RecoveryReport> {
    let sealed = ReportFolder::new(folder).append(record.report())?;
    std::fs::write(file, sealed.html(Language::English)).map_err(|e| {
        Error::new(ErrorKind::Unavailable, format!("{} cannot be written", file.display())).with_source(e)
    })?;
    Ok(sealed)
}

/// Restores one component into whatever private place the drill made for it.
#[derive(Debug)]
struct Private {
    manifest: Manifest,
}

impl Private {
    fn database(&self, port: u16, user: &str) -> String {
        let name = self.manifest.source.database.as_deref().unwrap_or("postgres");
        format!("postgres://{user}@127.0.0.1:{port}/{name}?sslmode=disable")
    }

    fn files(&self) -> Result<FilesRestore> {
        let roots = self.manifest.contents.iter().map(|c| c.name.clone());
        FilesRestore::new(self.manifest.component.clone(), FilesConfig::new(roots))
    }
}

#[async_trait]
impl RestoreInto for Private {
    async fn target(&self, cx: &Cx, place: &Place) -> Result<(Box<dyn RestoreTarget>, RestoreRequest)> {
        cx.check("set up a private restore")?;
        let component = self.manifest.component.clone();
        match place {
            Place::Postgres { port, user, password, bin_dir, .. } => {
                let config = PostgresConfig::new(self.database(*port, user));
                let config = config.with_password(password.clone()).with_bin_dir(bin_dir);
                Ok((Box::new(PostgresRestore::new(component, config)?), RestoreRequest::in_place()))
            }
            Place::Redis { port, password, redis_server, state, .. } => {
                let config = RedisConfig::new(format!("redis://127.0.0.1:{port}")).with_password(password.clone());
                let options = RedisRestoreOptions::new(state).with_redis_server(redis_server);
                Ok((Box::new(RedisRestore::new(component, config, options)?), RestoreRequest::in_place()))
            }
            Place::Folder { path, .. } => {
                Ok((Box::new(self.files()?), RestoreRequest::in_place().to(path.display().to_string())))
            }
            other => Err(Error::new(ErrorKind::Unsupported, format!("nothing restores into {}", other.location()))),
        }
    }

    async fn compare(&self, cx: &Cx, place: &Place, manifest: &Manifest) -> Result<Verification> {
        match place {
            Place::Folder { path, .. } => self.files()?.verify_below(cx, path, manifest).await,
            place => self.target(cx, place).await?.0.verify(cx, manifest).await,
        }
    }
}
