//! A place that a test restores into.

use std::fmt::Debug;

use async_trait::async_trait;
use veza_dr_core::{Cx, RestoreTarget, Result};

/// A place that one test restores into, and that holds nothing else: a database under a name of its own, a folder, a
/// private server.
///
/// ```
/// use async_trait::async_trait;
/// use veza_dr_core::{Cx, RestoreTarget, Result, testing::{MemoryDatabase, MemoryRestoreTarget}};
/// use veza_dr_restore::testing::ScratchPlace;
///
/// #[derive(Debug)]
/// struct InMemory(MemoryRestoreTarget);
///
/// #[async_trait]
/// impl ScratchPlace for InMemory {
///     fn target(&self) -> &dyn RestoreTarget {
///         &self.0
///     }
///
///     async fn remove(&self, _: &Cx) -> Result<()> {
///         Ok(()) // Gone with this value.
///     }
/// }
/// let place = InMemory(MemoryRestoreTarget::new("database", MemoryDatabase::new())?);
/// assert_eq!(place.target().info().component.as_str(), "database");
/// # Ok::<(), veza_dr_core::Error>(())
/// ```
#[async_trait]
pub trait ScratchPlace: Debug + Send + Sync + 'static {
    /// What restores into this place and nowhere else. "In place" is this place to it: that is where its
    /// [`RestoreTarget::verify`] looks. Its location must not be that of the source.
    fn target(&self) -> &dyn RestoreTarget;

    /// Removes the place with all that restores left of it, finished or not. Called once after success, failure and
    /// panic; may be called on another runtime than the rest, and when nothing was restored yet. Must be safe to
    /// repeat.
    ///
    /// # Errors
    /// When something stays behind, naming it.
    ///
    /// # Cancellation
    /// `cx` is not the test's own: it ends after a minute.
    async fn remove(&self, cx: &Cx) -> Result<()>;
}
