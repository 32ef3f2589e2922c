//! The quiescer as what every backup calls around its read.

use async_trait::async_trait;
use veza_dr_core::{BackupId, ComponentName, Cx, Result};

use super::Quiescer;
use crate::BackupHooks;

#[async_trait]
impl BackupHooks for Quiescer {
    async fn before(&self, cx: &Cx, component: &ComponentName, _: &BackupId) -> Result<()> {
        self.rest(cx, component).await
    }

    async fn after_read(&self, cx: &Cx, component: &ComponentName, _: &BackupId) -> Result<()> {
        self.put_back(cx, component).await
    }
}
