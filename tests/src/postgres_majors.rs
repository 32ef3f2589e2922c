//! Installed PostgreSQL majors: the distribution's own and those of `tests/servers/fetch-postgres.sh`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::Result;
use crate::fixtures::servers_dir;

/// The majors of the matrix.
pub const MATRIX: [u32; 5] = [14, 15, 16, 17, 18];

/// The binary directory of every installed major, by major.
///
/// The distribution's packages win over the fetched ones, because they come with their own client tools. The fetched
/// ones are looked for in `VEZA_DR_PG_MAJORS`, else in `postgres` under [`servers_dir`].
pub fn installed() -> BTreeMap<u32, PathBuf> {
    let fetched = std::env::var_os("VEZA_DR_PG_MAJORS").map_or_else(|| servers_dir().join("postgres"), PathBuf::from);
    let mut found = BTreeMap::new();
    for parent in [Path::new("/usr/lib/postgresql"), &fetched] {
        let Ok(entries) = std::fs::read_dir(parent) else {
            continue;
        };
        for entry in entries.flatten() {
            let Some(major) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
                continue;
            };
            let bin = entry.path().join("bin");
            if bin.join("postgres").is_file() {
                found.entry(major).or_insert(bin);
            }
        }
    }
    found
}

/// The binary directory of one major, or an error that says how to get it.
pub fn bin_dir(major: u32) -> Result<PathBuf> {
    installed().remove(&major).ok_or_else(|| {
        format!("no PostgreSQL {major}: install it, or run\n  tests/servers/fetch-postgres.sh target/servers/postgres")
            .into()
    })
}

/// The server the tests use when they ask for none: `VEZA_DR_PG_BIN`, else the distribution's newest, else the
/// newest that was fetched.
pub fn default_bin_dir() -> Result<PathBuf> {
    if let Some(dir) = std::env::var_os("VEZA_DR_PG_BIN") {
        return Ok(dir.into());
    }
    let mut found: Vec<PathBuf> = installed().into_values().collect();
    let distribution = found.iter().rposition(|bin| bin.starts_with("/usr"));
    match distribution {
        Some(index) => Ok(found.swap_remove(index)),
        None => found.pop().ok_or_else(|| "no PostgreSQL server: apt-get install postgresql postgresql-contrib".into()),
    }
}
