//! A Compose project is closed off, and opened again.

use veza_dr_core::{Cx, Effect, Error, ErrorKind, Result};

use super::{compose_site::ComposeSite, engine::Restart, fence::Kept};

impl ComposeSite {
    /// Marks it as fenced, closes it off and keeps its containers from coming back.
    pub(super) async fn close(&self, cx: &Cx, epoch: u64, reason: &str) -> Result<()> {
        let fence = self.fence_mark();
        fence.set(cx, epoch, reason).await?;
        let rest = async {
            if let Some(command) = &self.project.fence_command {
                fence.command(cx, "the fence command", command, epoch).await?;
            }
            let engine = self.engine(cx).await?;
            let mut kept = Vec::new();
            for (container, all) in self.seen(cx, &engine).await? {
                let policy = Restart::of(&all);
                if policy != Restart::no() {
                    kept.push(Kept { container: container.id, policy });
                }
            }
            fence.keep(cx, &kept).await?;
            for Kept { container, .. } in &kept {
                engine.set_restart(cx, container, &Restart::no()).await?;
            }
            Ok(())
        };
        rest.await.map_err(|e: Error| {
            let text = format!("site {}: it is marked as fenced, but not everything was done", self.project.name);
            let told = Error::new(e.kind(), text).with_effect(Effect::Applied);
            let help = e.help().map(str::to_owned);
            let told = told.with_source(e);
            match help {
                Some(help) => told.with_help(help),
                None => told,
            }
        })
    }

    /// Undoes that, unless a later run fenced it.
    pub(super) async fn open(&self, cx: &Cx, epoch: u64) -> Result<()> {
        let fence = self.fence_mark();
        match fence.read(cx).await? {
            None => return Ok(()),
            Some(there) if there > epoch => return Err(fence.higher(there, epoch)),
            Some(_) => {}
        }
        // What was set apart to be read would start without the networks that others reach it by.
        self.put_back(cx).await?;
        let engine = self.engine(cx).await?;
        let containers = engine.containers(cx, &self.project.project).await?;
        for Kept { container, policy } in fence.kept(cx).await? {
            // One that was made anew has its policy from the Compose file.
            if containers.iter().any(|c| c.id == container) {
                engine.set_restart(cx, &container, &policy).await?;
            }
        }
        if let Some(command) = &self.project.unfence_command {
            fence.command(cx, "the command that lifts the fence", command, epoch).await?;
        }
        // Last: while anything is missing, the site counts as fenced.
        fence.lift(cx, epoch).await
    }

    /// Nothing is started at a site that is fenced.
    pub(super) async fn refuse_fenced(&self, cx: &Cx, what: &str) -> Result<()> {
        match self.fence_mark().read(cx).await? {
            None => Ok(()),
            Some(epoch) => Err(self.fenced_error(what, epoch)),
        }
    }

    pub(super) fn fenced_error(&self, what: &str, epoch: u64) -> Error {
        let name = &self.project.name;
        let text =
            format!("site {name} is fenced (by run number {epoch}): {what} would make it serve beside the other");
        Error::new(ErrorKind::Conflict, text).with_help(format!(
            "see the reason in {} on {}; a fail-back lifts it: veza-dr failover back",
            self.project.fence_mark(),
            self.machine.name()
        ))
    }
}
