//! Folders of the site's machine: a private one for what a drill keeps there, and what lies at the paths that a project
//! mounts.

use std::{collections::BTreeMap, path::Path, time::Duration};

use veza_dr_core::{Cx, Effect, Error, ErrorKind, Result};

use super::{compose_site::ComposeSite, machine::Said};
use crate::shell::quoted;

const LIMIT: Duration = Duration::from_secs(30);
/// A process that was asked to end gets this long, in tenths of a second.
const GRACE: u32 = 50;

/// What lies at a path of the site's machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Lies {
    Nothing,
    Socket,
    /// A folder or file; where it is once links are followed.
    Thing(String),
}

/// The processes whose working directory is in `$d`, or whose command line names it; not this shell, whose own command
/// line does not.
const PROCESSES: &str = r#"found() {
    {
        grep -lF -e "$d" /proc/[0-9]*/cmdline
        ls -ld /proc/[0-9]*/cwd | grep -F -e "-> $d" | grep -o '/proc/[0-9]*/cwd'
    } 2> /dev/null | cut -d / -f 3 | sort -u | while read -r n; do
        [ ! -d "/proc/$n" ] || echo "$n $(cat "/proc/$n/comm" 2> /dev/null)"
    done
}
"#;

impl ComposeSite {
    /// Makes a folder that only its user may enter, and a file in it that only they may read. Neither may be there before.
    pub(crate) async fn keep_private(&self, cx: &Cx, folder: &str, name: &str, text: &str) -> Result<()> {
        let mut end = "VEZA_DR_TEXT".to_owned();
        while text.contains(&end) {
            end.push('_');
        }
        let (above, bytes) = (Path::new(folder).parent().unwrap_or(Path::new("/")).display().to_string(), text.len());
        let script = format!(
            "d={}\nn={}\numask 077\nmkdir -p {} && mkdir \"$d\" || exit 1\ncat > \"$d/$n\" <<'{end}' || exit 1\n{text}\n{end}\n\
             [ \"$(($(wc -c < \"$d/$n\")))\" -eq {} ] || {{ echo 'not all of it was written' >&2; exit 1; }}\n",
            quoted(folder),
            quoted(name),
            quoted(&above),
            bytes + 1,
        );
        let said = self.in_folder(cx, "write", folder, &script).await?;
        if said.code == 0 {
            return Ok(());
        }
        let text = format!("site {}: {folder} cannot be made on {}", self.project.name, self.machine.name());
        Err(Error::new(ErrorKind::Unavailable, text)
            .with_source(said.stderr.trim().to_owned())
            .with_effect(Effect::Unknown)
            .with_help("is there room, and may its user write there? see sites.NAME.jobs_dir"))
    }

    /// Ends every process that works in a folder, and removes it. Says what was removed and what is left, which is looked
    /// up, not believed.
    ///
    /// # Errors
    /// When the machine cannot be asked.
    pub(crate) async fn clear_private(&self, cx: &Cx, folder: &str) -> Result<(Vec<String>, Option<String>)> {
        let script = format!(
            "d={}\n{PROCESSES}\
             for s in INT KILL; do\n\
             found | while read -r n c; do kill -s \"$s\" \"$n\" 2> /dev/null && [ \"$s\" = INT ] && echo \"process $n ($c)\"; done\n\
             i=0\nwhile [ -n \"$(found)\" ] && [ \"$i\" -lt {GRACE} ]; do i=$((i + 1)); sleep 0.1 2> /dev/null || sleep 1; done\n\
             done\n\
             if [ -e \"$d\" ] || [ -L \"$d\" ]; then rm -rf \"$d\" && echo \"folder $d\"; fi\n\
             if [ -e \"$d\" ] || [ -L \"$d\" ]; then echo \"$d is still there\" >&2; exit 1; fi\n\
             f=$(found)\nif [ -n \"$f\" ]; then echo \"processes still work in $d: $f\" >&2; exit 1; fi\n",
            quoted(folder),
        );
        let said = self.in_folder(cx, "remove", folder, &script).await?;
        let left = (said.code != 0).then(|| said.stderr.trim().to_owned());
        Ok((said.stdout.lines().map(str::to_owned).collect(), left))
    }

    async fn in_folder(&self, cx: &Cx, verb: &str, folder: &str, script: &str) -> Result<Said> {
        self.machine.sh(cx, &format!("site {}: {verb} {folder}", self.project.name), script, LIMIT).await
    }

    /// What lies at each of these paths.
    pub(crate) async fn look_at(&self, cx: &Cx, paths: impl Iterator<Item = String>) -> Result<BTreeMap<String, Lies>> {
        let paths: Vec<String> = paths.collect();
        let mut script = "t() {\nif [ -S \"$1\" ]; then echo socket\n\
                          elif [ -e \"$1\" ]; then r=$(readlink -f \"$1\") && echo \"thing $r\" || echo unknown\n\
                          else echo nothing; fi\n}\n"
            .to_owned();
        for path in &paths {
            script.push_str(&format!("t {}\n", quoted(path)));
        }
        let what = format!("site {}: look at what the project mounts", self.project.name);
        let said = self.machine.sh(cx, &what, &script, LIMIT).await?;
        let lines: Vec<&str> = said.stdout.lines().collect();
        let unclear = || Error::new(ErrorKind::Unexpected, &*what).with_source(said.stderr.trim().to_owned());
        // A name with a line break would shift all that follow.
        if lines.len() != paths.len() {
            return Err(unclear());
        }
        let one = |line: &str| match line.split_once(' ').unwrap_or((line, "")) {
            ("nothing", _) => Some(Lies::Nothing),
            ("socket", _) => Some(Lies::Socket),
            ("thing", place) if place.starts_with('/') => Some(Lies::Thing(place.to_owned())),
            _ => None,
        };
        paths.into_iter().zip(lines).map(|(path, line)| Ok((path, one(line).ok_or_else(unclear)?))).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::site::ComposeProject;

    fn here() -> ComposeSite {
        ComposeSite::new(ComposeProject::new("here", "/none.yml", "none")).unwrap()
    }

    #[tokio::test]
    async fn a_private_folder_is_nobody_elses_and_goes_with_whoever_works_in_it() {
        let (cx, dir) = (Cx::background(), tempfile::tempdir().unwrap());
        let folder = dir.path().join("jobs/it's one").display().to_string();
        let text = "{\"a\": \"$HOME `id` VEZA_DR_TEXT\\n\"}\nVEZA_DR_TEXT\n";
        here().keep_private(&cx, &folder, "project.yml", text).await.unwrap();
        let file = Path::new(&folder).join("project.yml");
        assert_eq!(std::fs::read_to_string(&file).unwrap(), format!("{text}\n"));
        for (path, mode) in [(Path::new(&folder), 0o700), (&file, 0o600)] {
            assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, mode);
        }
        let e = here().keep_private(&cx, &folder, "other", "x").await.unwrap_err();
        assert!(e.chain().contains("exists") && !Path::new(&folder).join("other").exists(), "{}", e.chain());

        let mut inside = std::process::Command::new("sleep").arg("600").current_dir(&folder).spawn().unwrap();
        let mut names = std::process::Command::new("sh");
        let mut names = names.args(["-c", "sleep 600; true", &folder]).spawn().unwrap();
        let mut other = std::process::Command::new("sleep").arg("600").current_dir(dir.path()).spawn().unwrap();
        let (ended, named) = (std::thread::spawn(move || inside.wait()), std::thread::spawn(move || names.wait()));
        let (removed, left) = here().clear_private(&cx, &folder).await.unwrap();
        assert_eq!(left, None);
        assert_eq!(removed.last(), Some(&format!("folder {folder}")), "{removed:?}");
        // The shell's own child names nothing, and ends by itself.
        assert_eq!(removed.len(), 3, "{removed:?}");
        assert!(!ended.join().unwrap().unwrap().success() && !named.join().unwrap().unwrap().success());
        assert!(!Path::new(&folder).exists() && other.try_wait().unwrap().is_none());
        other.kill().unwrap();
        other.wait().unwrap();
        assert_eq!(here().clear_private(&cx, &folder).await.unwrap(), (Vec::new(), None), "again is no harm");
    }

    #[tokio::test]
    async fn what_lies_at_a_path_is_told_with_where_links_lead() {
        let (cx, dir) = (Cx::background(), tempfile::tempdir().unwrap());
        let root = dir.path().canonicalize().unwrap();
        let at = |name: &str| root.join(name).display().to_string();
        std::fs::write(at("it's a file"), "").unwrap();
        std::os::unix::fs::symlink(at("it's a file"), at("link")).unwrap();
        std::os::unix::fs::symlink(at("nowhere"), at("broken")).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
        let all = ["it's a file", "link", "broken", "socket", "missing"].map(at);
        let found = here().look_at(&cx, all.iter().cloned()).await.unwrap();
        let thing = Lies::Thing(at("it's a file"));
        let wanted = [&thing, &thing, &Lies::Nothing, &Lies::Socket, &Lies::Nothing];
        assert_eq!(all.each_ref().map(|path| &found[path]), wanted);
        assert!(here().look_at(&cx, std::iter::empty()).await.unwrap().is_empty());
    }
}
