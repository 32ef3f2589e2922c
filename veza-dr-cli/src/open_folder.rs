//! Opens folders that may lie on a mount that hangs: nobody else waits for it.

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
    sync::{LazyLock, Mutex, PoisonError},
    time::Duration,
};

use tokio::sync::oneshot;
use veza_dr_core::{Cx, Error, ErrorKind, Result};

/// A mount that answers at all does so within this time.
const PATIENCE: Duration = Duration::from_secs(20);

/// Folders that somebody waits for. A thread that hangs in the kernel cannot be ended: one for each folder is enough.
static ASKED: LazyLock<Mutex<HashSet<PathBuf>>> = LazyLock::new(Mutex::default);

/// Does `open` on a thread of its own, which keeps neither the runtime nor the program from ending.
///
/// # Errors
/// `Unavailable` when it takes too long, or hangs since an earlier try; those of `open`; `Cancelled`.
pub(crate) async fn patiently<T: Send + 'static>(
    cx: &Cx,
    path: &Path,
    open: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    within(cx, path, PATIENCE, open).await
}

async fn within<T: Send + 'static>(
    cx: &Cx,
    path: &Path,
    patience: Duration,
    open: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let hangs = || {
        let text = format!("the folder {} does not answer", path.display());
        Error::new(ErrorKind::Unavailable, text)
            .with_help("does its mount hang? see the server it comes from, or umount -f")
    };
    let asked = || ASKED.lock().unwrap_or_else(PoisonError::into_inner);
    let began = std::time::Instant::now();
    let place = path.to_owned();
    // Another task may be opening the same folder right now.
    while !asked().insert(place.clone()) {
        if began.elapsed() >= patience {
            return Err(hangs());
        }
        cx.run("open a folder", async {
            tokio::time::sleep(Duration::from_millis(5)).await;
            Ok(())
        })
        .await?;
    }
    let (answer, heard) = oneshot::channel();
    let thread = std::thread::Builder::new().name("open-folder".to_owned()).spawn(move || {
        let opened = open();
        ASKED.lock().unwrap_or_else(PoisonError::into_inner).remove(&place);
        // Nobody waits any more after a time-out.
        let _ = answer.send(opened);
    });
    if let Err(e) = thread {
        asked().remove(path);
        return Err(Error::new(ErrorKind::Unavailable, "no thread to open a folder with").with_source(e));
    }
    cx.run("open a folder", async {
        match tokio::time::timeout(patience, heard).await {
            Ok(Ok(opened)) => opened,
            Ok(Err(_)) => Err(Error::new(ErrorKind::Unexpected, "the thread that opens a folder died")),
            Err(_) => Err(hangs()),
        }
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_folder_that_hangs_is_given_up_and_holds_one_thread() {
        let (cx, patience) = (Cx::background(), Duration::from_millis(100));
        let (let_go, hanging) = std::sync::mpsc::channel::<()>();
        let path = Path::new("/hangs");
        let first = within(&cx, path, patience, move || {
            let _ = hanging.recv();
            Ok(())
        });
        // The task that waits is not held up: this timer would not run otherwise.
        let e = tokio::time::timeout(patience * 20, first).await.unwrap().unwrap_err();
        assert_eq!(e.kind(), ErrorKind::Unavailable);
        assert!(e.chain().contains("/hangs does not answer"), "{}", e.chain());
        let e = within(&cx, path, patience, || -> Result<()> { panic!("a second thread") }).await.unwrap_err();
        assert_eq!(e.kind(), ErrorKind::Unavailable);
        assert_eq!(within(&cx, Path::new("/answers"), patience, || Ok(7)).await.unwrap(), 7);
        // Once it answers again it is asked again.
        let_go.send(()).unwrap();
        assert_eq!(within(&cx, path, patience * 20, || Ok(8)).await.unwrap(), 8);
    }
}
