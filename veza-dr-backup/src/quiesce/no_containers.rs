//! This build cannot speak with Docker.

use std::time::Duration;

use veza_dr_core::{Error, ErrorKind, Result};

use super::{plan::ContainerSelection, todo::Undo};

/// A container that was found.
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub(super) id: String,
    pub(super) name: String,
}

#[derive(Debug, Clone)]
pub(super) struct Containers;

impl Containers {
    pub(super) async fn connect(_: Option<&str>) -> Result<Self> {
        Err(Error::new(ErrorKind::Unsupported, "this build has no support for docker")
            .with_help("enable the cargo feature `docker`"))
    }

    pub(super) async fn find(&self, _: &ContainerSelection) -> Result<Vec<Found>> {
        Ok(Vec::new())
    }

    pub(super) async fn is_running(&self, _: &Found) -> Result<bool> {
        Ok(false)
    }

    pub(super) async fn stop(&self, _: &Found, _: Duration) -> Result<()> {
        Ok(())
    }

    pub(super) async fn pause(&self, _: &Found) -> Result<()> {
        Ok(())
    }

    pub(super) async fn undo(&self, _: &Undo, _: bool) -> Result<()> {
        Ok(())
    }
}
