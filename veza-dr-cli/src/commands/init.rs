//! `veza-dr init`: a commented configuration and its JSON Schema.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use serde_json::json;
use veza_dr_core::{Error, ErrorKind, Result};

use super::Session;
use crate::{
    Exit,
    args::Init,
    config::{json_schema, template},
};

const SCHEMA: &str = "veza-dr.schema.json";

pub(crate) fn init(session: &Session, args: &Init) -> Result<Exit> {
    let file = args.file.as_path();
    let schema = file.with_file_name(SCHEMA);
    for path in [file, &schema] {
        if !args.force && path.exists() {
            return Err(exists(path));
        }
    }
    let schema_text = serde_json::to_string_pretty(&json_schema())
        .map_err(|e| Error::new(ErrorKind::Unexpected, "the schema as JSON").with_source(e))?;
    write(&schema, &(schema_text + "\n"), args.force)?;
    write(file, template(), args.force)?;
    session.out.result(
        || json!({ "written": [file, schema] }),
        |_| format!("wrote {} and {}\nnext: edit the former, then veza-dr check", file.display(), schema.display()),
    );
    Ok(Exit::Ok)
}

/// Writes a file that only its owner may read: passwords may be put into it.
fn write(path: &Path, text: &str, force: bool) -> Result<()> {
    let create = |path: &Path| -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    };
    let written = if force {
        // Beside and renamed, so that a full disk does not cost the file that is there.
        let beside = path.with_extension(format!("new-{}", std::process::id()));
        create(&beside).and_then(|()| fs::rename(&beside, path)).inspect_err(|_| {
            let _ = fs::remove_file(&beside);
        })
    } else {
        create(path)
    };
    written.map_err(|e| match e.kind() {
        io::ErrorKind::AlreadyExists => exists(path),
        kind => {
            let kind = match kind {
                io::ErrorKind::NotFound => ErrorKind::NotFound,
                io::ErrorKind::PermissionDenied => ErrorKind::Denied,
                io::ErrorKind::StorageFull => ErrorKind::Full,
                _ => ErrorKind::Unexpected,
            };
            Error::new(kind, format!("{} cannot be written", path.display())).with_source(e)
        }
    })
}

fn exists(path: &Path) -> Error {
    Error::new(ErrorKind::Conflict, format!("{} exists and is left as it is", path.display()))
        .with_help("add --force to overwrite it")
}
