//! A cold start: the objects of the store, the key, stock tools, and the recipe that lies beside each backup.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
    time::Instant,
};

use tokio::{io::AsyncWriteExt, process::Command};
use veza_dr_core::{
    BackupStore, Cx, Error, ErrorKind, ExposeSecret, Manifest, ObjectKey, Result, SecretString, Verification,
};

use super::{
    ground,
    place::{Place, PlaceSpec, Raised, free_port},
    postgres_place,
    run::DrillPart,
    stage::{Staged, staged},
};

/// Where a cold start reads a backup: the store as it is, and the key as a file.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ColdSource {
    /// The store, without anything that decrypts.
    pub store: Arc<dyn BackupStore>,
    /// The private key of the backup's recipient.
    pub key_file: Option<PathBuf>,
}

impl ColdSource {
    /// Reads from `store`, and decrypts with the key in `key_file`.
    #[must_use]
    pub fn new(store: Arc<dyn BackupStore>, key_file: Option<PathBuf>) -> Self {
        Self { store, key_file }
    }
}

/// Fetches, follows the recipe, compares.
pub(super) async fn stage(cx: &Cx, part: &DrillPart, folder: &Path) -> Result<Staged> {
    let began = Instant::now();
    let mut raised = None;
    let done = bring_back(cx, part, folder, &mut raised).await;
    staged(raised, done, began)
}

async fn bring_back(cx: &Cx, part: &DrillPart, folder: &Path, kept: &mut Option<Raised>) -> Result<Verification> {
    let manifest = &part.manifest;
    let Some(source) = &part.cold else {
        return Err(Error::new(ErrorKind::Config, format!("{} has no store to start from", part.component)));
    };
    ground::make(folder)?;
    let fetched = folder.join("fetched");
    ground::make_private(&fetched)?;
    let here = fetch(cx, source, manifest, &fetched).await?;
    let recipe = here.join("RECOVER.md");
    let recipe = std::fs::read_to_string(&recipe).map_err(|e| ground::cannot("read", &recipe, &e))?;
    let mut settings: Vec<(&str, String)> = Vec::new();
    if let Some(key) = &source.key_file {
        settings.push(("AGE_KEY", key.display().to_string()));
    }
    let place = folder.join("place");
    let mut password = None;
    let mut path = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin".to_owned();
    let raised = match &part.spec {
        PlaceSpec::Postgres { bin_dir } => {
            let raised = postgres_place::raise_empty(cx, bin_dir.as_deref(), &place, manifest, &part.data).await?;
            if let Place::Postgres { port, user, password: secret, bin_dir, .. } = &raised.place {
                settings.push(("PGHOST", "127.0.0.1".to_owned()));
                settings.push(("PGPORT", port.to_string()));
                settings.push(("PGUSER", user.clone()));
                settings.push(("TARGET_DB", manifest.source.database.clone().unwrap_or_default()));
                path = format!("{}:{path}", bin_dir.display());
                password = Some(secret.clone());
            }
            raised
        }
        PlaceSpec::Redis { redis_server } => {
            ground::make_private(&place)?;
            let state = folder.join("restore");
            ground::make_private(&state)?;
            let port = free_port().await?;
            settings.push(("DATA_DIR", place.display().to_string()));
            settings.push(("REDIS_PORT", port.to_string()));
            let password = SecretString::from(String::new());
            let place_of = Place::Redis { port, password, redis_server: redis_server.clone(), state };
            Raised { place: place_of, server: None, folder: place }
        }
        PlaceSpec::Folder => {
            ground::make_private(&place)?;
            let tree = place.join("tree");
            settings.push(("TARGET", tree.display().to_string()));
            Raised { place: Place::Folder { path: tree }, server: None, folder: place }
        }
    };
    let raised = kept.insert(raised);
    let script = script(&recipe, &settings)?;
    follow(cx, &here, &script, &path, password.as_ref()).await?;
    part.restore.compare(cx, &raised.place, manifest).await
}

/// Copies a backup's objects as any client of the store would; returns its folder.
async fn fetch(cx: &Cx, source: &ColdSource, manifest: &Manifest, into: &Path) -> Result<PathBuf> {
    let mut wanted: Vec<(String, String)> =
        ["manifest.json", "RECOVER.md"].iter().map(|name| (manifest.id.to_string(), (*name).to_owned())).collect();
    wanted.extend(manifest.objects.iter().map(|o| (manifest.owner(o).to_string(), o.name.clone())));
    for (owner, name) in wanted {
        let key: ObjectKey = format!("{}/{owner}/{name}", manifest.component).parse()?;
        let to = into.join(&owner).join(&name);
        let failed = |e: std::io::Error| ground::cannot("written", &to, &e);
        if let Some(parent) = to.parent() {
            tokio::fs::create_dir_all(parent).await.map_err(failed)?;
        }
        let mut reader = source.store.get(cx, &key, 0).await?;
        let mut file = tokio::fs::File::create(&to).await.map_err(failed)?;
        while let Some(piece) = reader.next().await? {
            cx.check("fetch the backup")?;
            file.write_all(&piece).await.map_err(failed)?;
        }
        file.flush().await.map_err(failed)?;
    }
    Ok(into.join(manifest.id.as_str()))
}

/// The commands of a recipe, with the variables that it asks to be set.
fn script(recipe: &str, settings: &[(&str, String)]) -> Result<String> {
    let (mut out, mut fence) = (String::new(), None::<String>);
    let mut set = Vec::new();
    for line in recipe.lines() {
        match &fence {
            None if line.starts_with("```") && line.ends_with("sh") => fence = Some(line[..line.len() - 2].to_owned()),
            None => {}
            Some(end) if line == end => fence = None,
            Some(_) => {
                let name = line.strip_prefix("export ").and_then(|l| l.split('=').next());
                let known = name.filter(|n| settings.iter().any(|(s, _)| s == n) || *n == "PGHOST");
                if known.is_none() {
                    out.push_str(line);
                    out.push('\n');
                    continue;
                }
                // One line may set several.
                for (name, value) in settings.iter().filter(|(s, _)| line.contains(&format!("{s}="))) {
                    out.push_str(&format!("export {name}='{}'\n", value.replace('\'', "'\\''")));
                    set.push(*name);
                }
            }
        }
    }
    let unset: Vec<&str> = settings.iter().map(|(n, _)| *n).filter(|n| !set.contains(n) && *n != "AGE_KEY").collect();
    if fence.is_some() || out.is_empty() || !unset.is_empty() {
        let text = format!("the recipe does not have what a cold start needs: {}", unset.join(", "));
        return Err(Error::new(ErrorKind::Corrupt, text));
    }
    Ok(out)
}

/// Runs the recipe in a shell that has stock tools alone.
async fn follow(cx: &Cx, here: &Path, script: &str, path: &str, password: Option<&SecretString>) -> Result<()> {
    let file = here.join("recipe.sh");
    std::fs::write(&file, script).map_err(|e| ground::cannot("written", &file, &e))?;
    let mut command = Command::new("/bin/sh");
    command.arg("-eu").arg(&file).current_dir(here).env_clear().env("PATH", path).env("HOME", here);
    if let Some(password) = password {
        command.env("PGPASSWORD", password.expose_secret()).env("PGSSLMODE", "disable");
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let failed = |e: std::io::Error| Error::new(ErrorKind::Unavailable, "the recipe cannot be run").with_source(e);
    let said = cx.run("follow the recipe", async { command.output().await.map_err(failed) }).await?;
    if said.status.success() {
        return Ok(());
    }
    let text = |b: &[u8]| {
        let all = String::from_utf8_lossy(b).into_owned();
        let last: Vec<&str> = all.lines().rev().filter(|l| !l.trim().is_empty()).take(4).collect();
        last.into_iter().rev().collect::<Vec<_>>().join("; ")
    };
    let why = format!("{}: {} {}", said.status, text(&said.stderr), text(&said.stdout));
    // The recipe checks every object's sum first, and counts at its end.
    Err(Error::new(ErrorKind::Mismatch, "the recipe of the backup, followed with stock tools, failed").with_source(why))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_recipes_variables_are_set_and_a_recipe_without_them_is_refused() {
        let recipe = "# x\n```sh\nexport PGHOST=localhost PGPORT=5432 PGUSER=postgres   # a superuser\nexport TARGET_DB=x\n\
                      export LC_ALL=C\n```\ntext\n````sh\n```\necho hi\n````\n";
        let set = [("PGHOST", "h".to_owned()), ("PGPORT", "1".to_owned()), ("TARGET_DB", "it's".to_owned())];
        let out = script(recipe, &set).unwrap();
        assert_eq!(
            out,
            "export PGHOST='h'\nexport PGPORT='1'\nexport TARGET_DB='it'\\''s'\nexport LC_ALL=C\n```\necho hi\n"
        );
        assert!(script("nothing", &set).is_err());
        assert!(script(recipe, &[("DATA_DIR", "x".to_owned())]).is_err());
    }
}
