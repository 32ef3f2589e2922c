//! `veza-dr wal`: keeps a server's write-ahead log, and gives it back.

use serde_json::json;
use veza_dr_backup::postgres::wal::WalArchive;
use veza_dr_core::{ComponentName, Error, ErrorKind, Result};

use super::Session;
use crate::{
    Exit,
    args::{Wal, WalCommand},
    config::Source,
    wiring::{Access, Wiring},
};

pub(crate) async fn wal(session: &Session, args: &Wal) -> Result<Exit> {
    match &args.command {
        WalCommand::Push { path, name, of } => {
            let archive = archive(session, of.component.as_ref(), Access::Write).await?;
            let pushed = archive.push(&session.cx, path, name).await?;
            // Nothing for people: it would fill the server's log.
            session.out.json_only(|| json!({ "name": name.as_str(), "stores": pushed }));
            Ok(Exit::Ok)
        }
        WalCommand::Fetch { name, path, of } => {
            let fetched = async {
                archive(session, of.component.as_ref(), Access::Read).await?.fetch(&session.cx, name, path).await
            };
            match fetched.await {
                Ok(found) => {
                    session.out.json_only(|| json!({ "name": name.as_str(), "from": found }));
                    Ok(Exit::Ok)
                }
                // Only this one tells the server that its log ends here.
                Err(e) if e.kind() == ErrorKind::NotFound => Err(e),
                Err(e) => {
                    session.out.error(&e, Exit::WalUnknown);
                    Ok(Exit::WalUnknown)
                }
            }
        }
    }
}

async fn archive(session: &Session, named: Option<&ComponentName>, access: Access) -> Result<WalArchive> {
    let wiring = session.wiring().map_err(not_the_log)?;
    let component = component(&wiring, named)?;
    let opened = wiring.open(&session.cx, Some(&component), session.store(), access).await.map_err(not_the_log)?;
    if let Some((store, e)) = opened.failed.into_iter().next() {
        let text = format!("store {store} of {component} cannot be opened");
        return Err(Error::new(ErrorKind::Unavailable, text).with_source(e));
    }
    let options = wiring.options(&component);
    Ok(WalArchive::new(component, opened.repositories).with_compression(options.compression))
}

/// A configuration file or a store that is not there is not the end of the log.
fn not_the_log(e: Error) -> Error {
    match e.kind() {
        ErrorKind::NotFound => Error::new(ErrorKind::Config, "the archive cannot be opened").with_source(e),
        _ => e,
    }
}

fn component(wiring: &Wiring, named: Option<&ComponentName>) -> Result<ComponentName> {
    if let Some(named) = named {
        return match wiring.source(named)? {
            Source::Postgres(_) => Ok(named.clone()),
            other => Err(Error::new(ErrorKind::Config, format!("{named} is {}, not PostgreSQL", other.engine()))),
        };
    }
    let of = |c: &ComponentName| matches!(wiring.source(c), Ok(Source::Postgres(_)));
    let found: Vec<ComponentName> = wiring.components().into_iter().filter(of).collect();
    match found.as_slice() {
        [one] => Ok(one.clone()),
        [] => Err(Error::new(ErrorKind::Config, "the configuration names no PostgreSQL source")
            .with_help("add one under `sources`: its name is the folder that the log is kept under")),
        several => {
            let names: Vec<&str> = several.iter().map(ComponentName::as_str).collect();
            Err(Error::new(ErrorKind::Config, format!("whose log is it: {}?", names.join(", ")))
                .with_help(format!("veza-dr wal --component {} …", names[0])))
        }
    }
}
