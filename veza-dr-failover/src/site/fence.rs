//! The mark that keeps a site from coming back: a file on its machine, with the number of the run that set it.

use std::time::Duration;

use veza_dr_core::{Cx, Effect, Error, ErrorKind, Result};

use super::{
    engine::Restart,
    machine::{Machine, Said},
    settings::ComposeProject,
};
use crate::shell::quoted;

const LIMIT: Duration = Duration::from_secs(20);
/// What a fence or unfence command may take.
const COMMAND_LIMIT: Duration = Duration::from_secs(60);

/// Locks the mark for the rest of the script, where `flock` is there, and reads it into `old`: nothing, a number, or
/// `unreadable`.
const READ: &str = r#"set -u
umask 022
if [ -d "${m%/*}" ] && command -v flock >/dev/null 2>&1 && [ -w "${m%/*}" ]; then
    exec 9>"$m.lock"; flock -w 10 9 || { echo "veza-dr-fence busy"; exit 0; }
fi
old=
if [ -e "$m" ]; then
    old=$(head -n 1 "$m" 2>/dev/null)
    case $old in ''|*[!0-9]*) echo "veza-dr-fence unreadable"; exit 0 ;; esac
fi
"#;

/// A container's restart policy before the fence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Kept {
    pub(super) container: String,
    pub(super) policy: Restart,
}

/// The mark of one site.
#[derive(Debug)]
pub(super) struct Fence<'a> {
    pub(super) project: &'a ComposeProject,
    pub(super) machine: &'a Machine,
}

impl Fence<'_> {
    fn mark(&self) -> String {
        self.project.fence_mark()
    }

    async fn ask(&self, cx: &Cx, what: &str, head: &str, tail: &str) -> Result<(Said, String)> {
        let script = format!("m={}\n{head}{READ}{tail}", quoted(&self.mark()));
        let said = self.machine.sh(cx, &format!("site {}: {what}", self.project.name), &script, LIMIT).await?;
        let answer = said.stdout.lines().find_map(|l| l.strip_prefix("veza-dr-fence ")).unwrap_or_default().to_owned();
        let (site, mark, at) = (&self.project.name, self.mark(), self.machine.name());
        match answer.as_str() {
            "" => {
                let text = format!("site {site}: {what}: {mark} on {at} cannot be used");
                Err(Error::new(ErrorKind::Denied, text)
                    .with_source(said.stderr.trim().to_owned())
                    .with_help("let its user write there, or set fence.dir"))
            }
            "unreadable" => {
                let text = format!("site {site}: the fence mark {mark} on {at} holds no number");
                Err(Error::new(ErrorKind::Corrupt, text)
                    .with_help("the site counts as fenced: read the file, and remove it by hand"))
            }
            "busy" => {
                Err(Error::new(ErrorKind::Conflict, format!("site {site}: another run is at the fence mark {mark}")))
            }
            _ => Ok((said, answer)),
        }
    }

    /// The number on the mark; `None` without one.
    pub(super) async fn read(&self, cx: &Cx) -> Result<Option<u64>> {
        let (_, answer) = self.ask(cx, "read the fence", "", "echo \"veza-dr-fence ${old:-none}\"\n").await?;
        match answer.as_str() {
            "none" => Ok(None),
            number => number.parse().map(Some).map_err(|_| {
                Error::new(ErrorKind::Corrupt, format!("`{number}` on the fence mark {} is too large", self.mark()))
            }),
        }
    }

    /// Puts the mark up, on disk for good, unless one with a higher number is there.
    pub(super) async fn set(&self, cx: &Cx, epoch: u64, reason: &str) -> Result<()> {
        let head = format!(
            "mkdir -p {} || exit 91\nepoch={epoch} reason={}\n",
            quoted(&self.project.fence_dir),
            quoted(&one_line(reason))
        );
        let tail = r#"if [ -n "$old" ] && [ "$old" -gt "$epoch" ]; then echo "veza-dr-fence higher $old"; exit 0; fi
printf '%s\nsince: %s\nreason: %s\n' "$epoch" "$(date -u +%Y-%m-%dT%H:%M:%SZ)" "$reason" > "$m.new" || exit 91
sync "$m.new" 2>/dev/null || sync
mv "$m.new" "$m" || exit 91
sync "${m%/*}" 2>/dev/null || sync
echo "veza-dr-fence set"
"#;
        let (_, answer) =
            self.ask(cx, "set the fence", &head, tail).await.map_err(|e| e.with_effect(Effect::Unknown))?;
        self.refuse_higher(&answer, epoch)
    }

    /// Puts down what the restart policies were, but for containers that are on record already.
    pub(super) async fn keep(&self, cx: &Cx, policies: &[Kept]) -> Result<()> {
        let mut tail = "f=\"$m.policies\"\ntouch \"$f\" || exit 91\n".to_owned();
        for Kept { container, policy } in policies {
            let line = quoted(&format!("{container} {} {}", policy.word, policy.most));
            tail.push_str(&format!(
                "grep -q {} \"$f\" || echo {line} >> \"$f\" || exit 91\n",
                quoted(&format!("^{container} "))
            ));
        }
        tail.push_str("sync \"$f\" 2>/dev/null || sync\necho \"veza-dr-fence kept\"\n");
        self.ask(cx, "keep the restart policies", "", &tail).await.map(drop)
    }

    /// What the restart policies were.
    pub(super) async fn kept(&self, cx: &Cx) -> Result<Vec<Kept>> {
        let tail = "cat \"$m.policies\" 2>/dev/null\necho \"veza-dr-fence read\"\n";
        let (said, _) = self.ask(cx, "read the kept restart policies", "", tail).await?;
        let line = |line: &str| {
            let mut words = line.split_whitespace();
            let (container, word, most) = (words.next()?, words.next()?, words.next()?.parse().ok()?);
            Some(Kept { container: container.to_owned(), policy: Restart { word: word.to_owned(), most } })
        };
        let lines = said.stdout.lines().filter(|l| !l.starts_with("veza-dr-fence "));
        lines
            .map(|l| {
                line(l).ok_or_else(|| {
                    Error::new(ErrorKind::Corrupt, format!("{}.policies: `{l}` is no restart policy", self.mark()))
                })
            })
            .collect()
    }

    /// Takes the mark down, with what was kept.
    pub(super) async fn lift(&self, cx: &Cx, epoch: u64) -> Result<()> {
        let tail = r#"if [ -n "$old" ] && [ "$old" -gt "$epoch" ]; then echo "veza-dr-fence higher $old"; exit 0; fi
rm -f "$m.policies" "$m" || exit 91
sync "${m%/*}" 2>/dev/null || sync
echo "veza-dr-fence lifted"
"#;
        let (_, answer) = self.ask(cx, "lift the fence", &format!("epoch={epoch}\n"), tail).await?;
        self.refuse_higher(&answer, epoch)
    }

    fn refuse_higher(&self, answer: &str, epoch: u64) -> Result<()> {
        let Some(higher) = answer.strip_prefix("higher ") else { return Ok(()) };
        Err(self.higher(higher.parse().unwrap_or(u64::MAX), epoch))
    }

    pub(super) fn higher(&self, there: u64, epoch: u64) -> Error {
        let text = format!("site {} is fenced by run number {there}, which is newer than {epoch}", self.project.name);
        Error::new(ErrorKind::Conflict, text).with_help(format!(
            "see who fenced it: {} on {}",
            self.mark(),
            self.machine.name()
        ))
    }

    /// Runs the command of the configuration that closes the site off, or opens it.
    pub(super) async fn command(&self, cx: &Cx, what: &str, command: &str, epoch: u64) -> Result<()> {
        let site = &self.project.name;
        // A pipe would hide the exit code from a POSIX shell: the output goes to a file instead.
        let script = format!(
            "o=$(mktemp) || exit 91\nexport VEZA_DR_SITE={} VEZA_DR_PROJECT={} VEZA_DR_EPOCH={epoch}\n\
             sh -c {} < /dev/null > \"$o\" 2>&1\nrc=$?\ntail -c 4096 \"$o\"\nrm -f \"$o\"\nexit $rc\n",
            quoted(site),
            quoted(&self.project.project),
            quoted(command)
        );
        let said = self.machine.sh(cx, &format!("site {site}: {what}"), &script, COMMAND_LIMIT).await?;
        if said.code == 0 {
            return Ok(());
        }
        let text = format!("site {site}: {what} failed with code {}", said.code);
        let cause = format!("{}{}", said.stdout, said.stderr);
        Err(Error::new(ErrorKind::Unavailable, text).with_source(cause.trim().to_owned()).with_effect(Effect::Unknown))
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
