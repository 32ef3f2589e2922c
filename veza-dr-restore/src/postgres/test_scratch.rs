//! A database beside the source, for one test.

use std::sync::Arc;

use async_trait::async_trait;
use veza_dr_backup::postgres::{Endpoint, PostgresConfig};
use veza_dr_core::{
    ArtifactSource, ComponentName, Cx, Error, ErrorKind, Manifest, Report, RestoreCaps, RestorePlan, RestoreReport,
    RestoreRequest, RestoreTarget, Result, TargetInfo, Verification,
};

use super::{PostgresRestore, kept, proof, server};
use crate::testing::ScratchPlace;

/// A database under a fresh name, `shop__vdr_test_…`, on the server of another: see [`crate::testing::RoundTrip`].
///
/// The role must be allowed to create databases. A test process that is killed leaves the database behind, for
/// `DROP DATABASE` to remove.
#[derive(Debug)]
pub struct PostgresScratch {
    info: TargetInfo,
    endpoint: Endpoint,
    restore: PostgresRestore,
}

impl PostgresScratch {
    /// Beside the database that `config` names, which is not touched. No I/O.
    ///
    /// ```
    /// use veza_dr_backup::postgres::PostgresConfig;
    /// use veza_dr_restore::testing::PostgresScratch;
    /// let config = PostgresConfig::new("postgres://postgres@127.0.0.1:5432/shop");
    /// let place = PostgresScratch::beside("database".parse()?, config)?;
    /// assert!(place.database().starts_with("shop__vdr_test_"));
    /// # Ok::<(), veza_dr_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Config` when the URL cannot be read.
    pub fn beside(component: ComponentName, config: PostgresConfig) -> Result<Self> {
        let source = Endpoint::parse(&config)?;
        let endpoint = source.with_database(&kept::test_name(source.database()));
        let restore = PostgresRestore::new(component.clone(), config)?;
        let info = TargetInfo { component, engine: "postgres".to_owned(), location: endpoint.location() };
        Ok(Self { info, endpoint, restore })
    }

    /// The database's name, to connect to while a test looks.
    #[must_use]
    pub fn database(&self) -> &str {
        self.endpoint.database()
    }
}

#[async_trait]
impl ScratchPlace for PostgresScratch {
    fn target(&self) -> &dyn RestoreTarget {
        self
    }

    async fn remove(&self, cx: &Cx) -> Result<()> {
        let endpoint = self.endpoint.clone().pin(cx).await?;
        let on = server::maintenance(cx, &endpoint).await?;
        let live = endpoint.database();
        // Also what a restore that failed has kept to go on with.
        let mut names = vec![live.to_owned()];
        names.extend(kept::find(cx, &on, &self.info.component, live).await?.into_iter().map(|f| f.name));
        for row in on.query(cx, "look for databases", "SELECT datname::text FROM pg_catalog.pg_database", &[]).await? {
            let name: String = row.get(0);
            if kept::is_staging_name(live, &name) && !names.contains(&name) {
                names.push(name);
            }
        }
        let mut failed = None;
        for name in names {
            if let Err(e) = server::drop_database(cx, &endpoint, &on, &name).await {
                let text = format!("the scratch database {name} stays behind");
                let error = Error::new(e.kind(), text).with_source(e).with_help(format!("DROP DATABASE \"{name}\""));
                failed = failed.or(Some(error));
            }
        }
        failed.map_or(Ok(()), Err)
    }
}

/// Restores into the scratch database and nowhere else.
#[async_trait]
impl RestoreTarget for PostgresScratch {
    fn info(&self) -> &TargetInfo {
        &self.info
    }

    fn capabilities(&self) -> RestoreCaps {
        RestoreCaps::new(true, false, true)
    }

    async fn plan(&self, cx: &Cx, request: &RestoreRequest, from: &Manifest) -> Result<RestorePlan> {
        self.restore.plan(cx, &request.clone().to(self.database()), from).await
    }

    async fn apply(
        &self,
        cx: &Cx,
        plan: RestorePlan,
        from: &Manifest,
        data: Arc<dyn ArtifactSource>,
    ) -> Result<RestoreReport> {
        if plan.request.to.as_deref() != Some(self.database()) {
            return Err(Error::new(ErrorKind::Config, format!("the plan is none for {}", self.info.location)));
        }
        self.restore.apply(cx, plan, from, data).await
    }

    async fn verify(&self, cx: &Cx, against: &Manifest) -> Result<Verification> {
        proof::whole(cx, &self.endpoint.clone().pin(cx).await?, against).await
    }

    async fn rollback(&self, _: &Cx) -> Result<Report> {
        Err(nothing_replaced())
    }

    async fn release(&self, _: &Cx) -> Result<Report> {
        Err(nothing_replaced())
    }
}

fn nothing_replaced() -> Error {
    Error::new(ErrorKind::Unsupported, "a scratch database replaces nothing")
}
