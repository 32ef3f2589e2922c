//! `veza-dr validate`: what must be true of a site before users are led to it.

use std::path::Path;

use veza_dr_core::{Error, ErrorKind, Result};
use veza_dr_failover::validate::{Verdict, junit};

use super::Session;
use crate::{
    Exit,
    args::Validate,
    render::{validate_json, validate_plan_json, validate_plan_text, validate_text},
};

pub(crate) async fn validate(session: &Session, args: &Validate) -> Result<Exit> {
    let wiring = session.wiring()?;
    let suite = wiring.validation(&session.cx, args.site.as_deref(), &args.only, session.store()).await?;
    let site = args.site.as_deref();
    if args.plan {
        let plan = suite.plan();
        session.out.result(|| validate_plan_json(site, &plan), |paint| validate_plan_text(site, &plan, paint));
        return Ok(Exit::Ok);
    }
    let report = suite.run(&session.cx).await;
    let written = match &args.junit {
        Some(file) => write(file, &junit(site.unwrap_or("validation"), &report)),
        None => Ok(()),
    };
    session.out.result(|| validate_json(site, &report), |paint| validate_text(site, &report, paint));
    let verdict = report.verdict();
    match written {
        Ok(()) => Ok(if verdict == Verdict::Pass { Exit::Ok } else { Exit::ValidationFailed }),
        // The result was printed; it is the file that is missing.
        Err(e) => {
            session.out.warn(&e);
            Ok(if verdict == Verdict::Pass { Exit::Partial } else { Exit::ValidationFailed })
        }
    }
}

fn write(file: &Path, text: &str) -> Result<()> {
    std::fs::write(file, text).map_err(|e| {
        Error::new(ErrorKind::Config, format!("{} cannot be written", file.display()))
            .with_source(e)
            .with_help("give --junit a file in a folder that exists")
    })
}
