//! Work that goes on when nobody watches: each job has a folder on the machine that does it, with its command, process
//! id, output and exit code. Whoever asks for the same job again finds it, running or done.

use std::time::Duration;

use veza_dr_core::{Cx, Effect, Error, ErrorKind, Result};

use super::{
    control::{Job, JobResult},
    machine::{Machine, Said, pause_for},
};
use crate::shell::quoted;

/// A job that ends with one of these codes did nothing, and is forgotten so that it can be asked for again.
pub(super) const REFUSED: [i32; 3] = [95, 96, 97];

/// One look at a job lasts at most this long; then it is looked at again.
const LOOK: Duration = Duration::from_secs(10);
/// How often a connection that was cut is made anew, a second apart.
const RECONNECTS: u32 = 6;

/// The machine's part. Whoever creates `pid` runs the command: that is what makes a job run once, however often and
/// from wherever it is started.
const SCRIPT: &str = r#"set -u
umask 077
mkdir -p "$d" || exit 91
[ -e "$d/command" ] || ln "$d/command.$$" "$d/command" 2>/dev/null || [ -e "$d/command" ] || cp "$d/command.$$" "$d/command"
if [ "$(cat "$d/command")" != "$(cat "$d/command.$$")" ]; then
    rm -f "$d/command.$$"; echo "veza-dr-job other"; exit 0
fi
rm -f "$d/command.$$"
began() { sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | cut -d ' ' -f 20; }
if [ ! -e "$d/rc" ] && [ ! -e "$d/pid" ]; then
    cat > "$d/run.$$" <<'VEZA_DR_RUN'
began() { sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | cut -d ' ' -f 20; }
me="$$ $(began "$$")"
set -C
{ echo "$me" > "$1/pid"; } 2>/dev/null || { rm -f "$0"; exit 0; }
set +C
sh "$1/command" > "$1/output" 2>&1 < /dev/null
rc=$?
echo "$rc" > "$1/rc.new" && mv "$1/rc.new" "$1/rc"
rm -f "$0"
VEZA_DR_RUN
    if command -v setsid >/dev/null 2>&1; then
        setsid sh "$d/run.$$" "$d" < /dev/null > /dev/null 2>&1 &
    else
        nohup sh "$d/run.$$" "$d" < /dev/null > /dev/null 2>&1 &
    fi
    find "${d%/*}" -mindepth 1 -maxdepth 1 -mtime +30 -exec rm -rf {} + 2>/dev/null
fi
n=0
while :; do
    if [ -e "$d/rc" ]; then
        rc=$(cat "$d/rc"); echo "veza-dr-job done $rc"; tail -c 16384 "$d/output" 2>/dev/null
        case " $refused " in *" $rc "*) rm -rf "$d" ;; esac
        exit 0
    fi
    if [ -s "$d/pid" ]; then
        p= s=; read -r p s < "$d/pid"
        if ! kill -0 "$p" 2>/dev/null || { [ -n "$s" ] && [ "$(began "$p")" != "$s" ]; }; then
            [ -e "$d/rc" ] && continue
            echo "veza-dr-job lost"; tail -c 16384 "$d/output" 2>/dev/null; exit 0
        fi
    fi
    n=$((n + 1)); [ "$n" -gt "$looks" ] && { echo "veza-dr-job running"; exit 0; }
    sleep 0.1 2>/dev/null || sleep 1
done
"#;

/// Runs a command under `job`, or finds it again, and waits for its end.
pub(super) async fn run(
    cx: &Cx,
    machine: &Machine,
    jobs_dir: &str,
    job: &Job,
    command: &str,
    refusals: &[i32],
) -> Result<JobResult> {
    let script = script(jobs_dir, job, command, refusals);
    let what = format!("job {}", job.0);
    let mut cuts = 0;
    let mut begun = false;
    loop {
        let said = match machine.sh(cx, &what, &script, LOOK * 2).await {
            Ok(said) => said,
            Err(e) => {
                begun |= e.effect() != Effect::None;
                if !begun {
                    return Err(e);
                }
                cuts += 1;
                if e.kind() != ErrorKind::Unavailable || cuts > RECONNECTS {
                    return Err(e.with_effect(Effect::Unknown).with_help(format!(
                        "the job goes on by itself on {}, recorded in {jobs_dir}: run the same again to find it",
                        machine.name()
                    )));
                }
                tracing::warn!(job = %job.0, error = %e.chain(), "the connection was cut; the job is looked for again");
                pause_for(cx, &what, Duration::from_secs(1)).await.map_err(|e| e.with_effect(Effect::Unknown))?;
                continue;
            }
        };
        begun = true;
        if let Some(result) = read(machine, jobs_dir, &what, &said)? {
            return Ok(result);
        }
        cuts = 0;
    }
}

fn script(jobs_dir: &str, job: &Job, command: &str, refusals: &[i32]) -> String {
    let mut end = "VEZA_DR_COMMAND".to_owned();
    while command.contains(&end) {
        end.push('_');
    }
    let refused: Vec<String> = refusals.iter().map(i32::to_string).collect();
    let looks = LOOK.as_millis() / 100;
    format!(
        "d={}/{}\nrefused='{}' looks={looks}\numask 077\nmkdir -p \"$d\" || exit 91\n\
         cat > \"$d/command.$$\" <<'{end}' || exit 91\n{command}\n{end}\n{SCRIPT}",
        quoted(jobs_dir),
        quoted(&file_name(&job.0)),
        refused.join(" "),
    )
}

/// A name for the job's folder: never another one's, whatever the job is called.
fn file_name(job: &str) -> String {
    let mut name = String::new();
    for byte in job.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => name.push(char::from(byte)),
            b'.' if !name.is_empty() => name.push('.'),
            other => name.push_str(&format!("%{other:02x}")),
        }
    }
    name
}

fn read(machine: &Machine, jobs_dir: &str, what: &str, said: &Said) -> Result<Option<JobResult>> {
    let (first, rest) = said.stdout.split_once('\n').unwrap_or((said.stdout.as_str(), ""));
    let mut words = first.split_whitespace();
    match (words.next(), words.next(), words.next()) {
        (Some("veza-dr-job"), Some("done"), Some(code)) => {
            let code = code.parse().map_err(|_| unexpected(what, first))?;
            Ok(Some(JobResult::new(code, rest)))
        }
        (Some("veza-dr-job"), Some("running"), _) => Ok(None),
        (Some("veza-dr-job"), Some("other"), _) => {
            let text = format!("{what}: another command ran under this name on {}", machine.name());
            Err(Error::new(ErrorKind::Conflict, text).with_help(format!("its record is in {jobs_dir}")))
        }
        (Some("veza-dr-job"), Some("lost"), _) => {
            let text = format!("{what}: it was killed on {} before it told how it ended", machine.name());
            let said = rest.trim();
            let e = Error::new(ErrorKind::Unavailable, text).with_effect(Effect::Unknown).with_help(format!(
                "look what it did (its record is in {jobs_dir}); it is not run a second time under this name"
            ));
            Err(if said.is_empty() { e } else { e.with_source(said.to_owned()) })
        }
        _ if said.code == 91 => {
            let text = format!("{what}: {} has no folder for jobs at {jobs_dir}", machine.name());
            Err(Error::new(ErrorKind::Denied, text)
                .with_source(said.stderr.trim().to_owned())
                .with_help("let its user write there, or set `jobs_dir`"))
        }
        _ => Err(unexpected(what, &format!("{first} {}", said.stderr.trim()))),
    }
}

fn unexpected(what: &str, said: &str) -> Error {
    Error::new(ErrorKind::Unexpected, format!("{what}: its record makes no sense"))
        .with_source(said.to_owned())
        .with_effect(Effect::Unknown)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn go(dir: &std::path::Path, job: &str, command: &str) -> Result<JobResult> {
        let dir = dir.display().to_string();
        run(&Cx::background(), &Machine::Here, &dir, &Job(job.to_owned()), command, &REFUSED).await
    }

    #[tokio::test]
    async fn a_job_runs_once_however_often_it_is_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        let count = dir.path().join("count");
        let command = format!("sleep 0.3; echo x >> {}; echo 'it''s done'; exit 3", count.display());
        let (a, b) = tokio::join!(go(dir.path(), "r/1", &command), go(dir.path(), "r/1", &command));
        let expected = JobResult::new(3, "its done\n");
        assert_eq!((a.unwrap(), b.unwrap()), (expected.clone(), expected.clone()));
        assert_eq!(go(dir.path(), "r/1", &command).await.unwrap(), expected);
        assert_eq!(std::fs::read_to_string(&count).unwrap(), "x\n");
        let e = go(dir.path(), "r/1", "true").await.unwrap_err();
        assert_eq!(e.kind(), ErrorKind::Conflict);
    }

    #[tokio::test]
    async fn a_job_goes_on_without_its_watcher_and_a_killed_one_is_not_repeated() {
        let dir = tempfile::tempdir().unwrap();
        let mark = dir.path().join("mark");
        let command = format!("echo begun; sleep 0.6; echo x >> {}", mark.display());
        let watch = tokio::time::timeout(Duration::from_millis(200), go(dir.path(), "a", &command)).await;
        assert!(watch.is_err() && !mark.exists());
        assert_eq!(go(dir.path(), "a", &command).await.unwrap(), JobResult::new(0, "begun\n"));
        assert_eq!(std::fs::read_to_string(&mark).unwrap(), "x\n");

        let e = go(dir.path(), "b", "echo half; kill -9 $PPID").await.unwrap_err();
        assert_eq!((e.effect(), e.chain().ends_with("half")), (Effect::Unknown, true), "{}", e.chain());
        assert!(go(dir.path(), "b", "echo half; kill -9 $PPID").await.is_err());
    }

    #[tokio::test]
    async fn a_refusal_is_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let gate = dir.path().join("gate");
        let command = format!("[ -e {} ] || exit 95", gate.display());
        assert_eq!(go(dir.path(), "a", &command).await.unwrap().code, 95);
        std::fs::write(&gate, "").unwrap();
        assert_eq!(go(dir.path(), "a", &command).await.unwrap().code, 0);
    }

    #[test]
    fn folders_of_different_jobs_differ() {
        assert_eq!(file_name("run-1/step.a"), "run-1%2fstep.a");
        assert_eq!(file_name("../x"), "%2e.%2fx");
        assert_ne!(file_name("a b"), file_name("a%20b"));
    }
}
