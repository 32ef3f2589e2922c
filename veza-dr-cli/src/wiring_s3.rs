//! S3 settings as the store takes them.

use std::sync::Arc;

use veza_dr_core::{BackupStore, Cx, Result};
#[cfg(not(feature = "s3"))]
use veza_dr_core::{Error, ErrorKind};

use crate::{config::S3Settings, wiring::Wiring};

impl Wiring {
    /// The bucket of a store.
    #[cfg(feature = "s3")]
    pub(crate) async fn s3(&self, cx: &Cx, name: &str, settings: &S3Settings) -> Result<Arc<dyn BackupStore>> {
        use crate::{config::Text, secrets::Given};
        use veza_dr_backup::store::{S3Config, S3Encryption, S3ObjectLock, S3Store};

        let base = format!("stores.{name}.s3");
        let at = |key: &str| format!("{base}.{key}");
        let text = |key: &str, text: &Option<Text>| text.as_ref().map(|t| self.text(&at(key), t)).transpose();
        let given = |text, file| Given { text, file, command: None };
        let mut config = S3Config::new(self.text(&at("bucket"), &settings.bucket)?);
        config.region = text("region", &settings.region)?;
        config.endpoint = text("endpoint", &settings.endpoint)?;
        config.prefix = text("prefix", &settings.prefix)?;
        config.path_style = settings.path_style;
        let id = given(settings.access_key_id.as_ref(), settings.access_key_id_file.as_ref());
        config.access_key_id = self.secret(cx, &at("access_key_id"), id).await?;
        let key = given(settings.secret_access_key.as_ref(), settings.secret_access_key_file.as_ref());
        config.secret_access_key = self.secret(cx, &at("secret_access_key"), key).await?;
        let token = given(settings.session_token.as_ref(), settings.session_token_file.as_ref());
        config.session_token = self.secret(cx, &at("session_token"), token).await?;
        let key_id = text("sse_kms_key_id", &settings.sse_kms_key_id)?;
        config.encryption = key_id.map(|key_id| S3Encryption::Kms { key_id: Some(key_id) });
        config.storage_class = text("storage_class", &settings.storage_class)?;
        config.object_lock = settings.object_lock.map(|lock| S3ObjectLock {
            compliance: lock.mode == crate::config::ObjectLockMode::Compliance,
            days: lock.days,
        });
        if let Some(size) = settings.part_size {
            config.part_size = size.bytes();
        }
        config.ca_file = text("ca_file", &settings.ca_file)?.map(|file| self.loaded.resolve(&file));
        Ok(Arc::new(S3Store::connect(name, config).await.map_err(|e| self.at(&base, e))?))
    }

    /// Refuses: this build has no S3.
    #[cfg(not(feature = "s3"))]
    pub(crate) async fn s3(&self, _: &Cx, name: &str, _: &S3Settings) -> Result<Arc<dyn BackupStore>> {
        Err(Error::new(ErrorKind::Unsupported, format!("store {name}: this build has no support for s3"))
            .with_help("enable the cargo feature: cargo install veza-dr-cli --features s3"))
    }
}
