//! The three settings that a target has while it replicates from us, and their return to what they were.

use std::collections::BTreeMap;

use veza_dr_core::{Cx, ErrorKind, ExposeSecret, Result, SecretString};

use super::{control::Control, state_dir::Settings};

/// In the order in which they are set. `repl-diskless-load` comes first: it is harmless, so a missing right shows
/// before anything matters.
const NAMES: [&str; 3] = ["repl-diskless-load", "masteruser", "masterauth"];

/// What they are now.
pub(crate) async fn read(cx: &Cx, on: &Control) -> Result<Settings> {
    let mut found = BTreeMap::new();
    for name in NAMES {
        if let Some(value) = on.config(cx, name).await? {
            found.insert(name.to_owned(), value);
        }
    }
    Ok(Settings(found))
}

/// Sets them for our master.
pub(crate) async fn set(cx: &Cx, on: &Control, user: &str, secret: &SecretString, swapdb: bool) -> Result<()> {
    let load = if swapdb { "swapdb" } else { "disabled" };
    for (name, value) in NAMES.into_iter().zip([load, user, secret.expose_secret()]) {
        on.set_config(cx, name, value).await?;
    }
    Ok(())
}

/// Sets those back that are not as they were, to nothing too; all are tried even when one fails.
pub(crate) async fn put_back(cx: &Cx, on: &Control, settings: &Settings) -> Result<()> {
    let mut failed = None;
    for (name, value) in &settings.0 {
        let back = async {
            // Who may not change settings has not changed any.
            if on.config(cx, name).await?.as_deref() == Some(value) {
                return Ok(());
            }
            on.set_config(cx, name, value).await
        };
        match back.await {
            Ok(()) => {}
            Err(e) if e.kind() == ErrorKind::Cancelled => return Err(e),
            Err(e) => failed = Some(e.with_help(format!("set it by hand: CONFIG SET {name} …"))),
        }
    }
    failed.map_or(Ok(()), Err)
}
