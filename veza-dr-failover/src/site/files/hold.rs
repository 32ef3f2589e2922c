//! Only one restore, rollback or release of a component works on a machine at a time.

use std::{process::Stdio, time::Duration};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    process::{Child, ChildStdin},
};
use veza_dr_core::{Cx, Error, ErrorKind, Result};

use super::scripts::Desk;

const LIMIT: Duration = Duration::from_secs(30);

/// A shell there that holds the lock for as long as this value and this process last: it ends with its input. Whoever
/// comes next leaves a name of their own, so that a connection that was lost unseen is no way to work beside them.
#[derive(Debug)]
pub(super) struct Hold {
    _child: Child,
    _stdin: ChildStdin,
}

impl Hold {
    pub(super) async fn take(cx: &Cx, desk: &Desk) -> Result<Self> {
        let what = desk.what("begin to work on its files");
        let script = desk.script(
            r#"mkdir -p "$s" && [ -w "$s" ] || failed "write to $s"
exec 9>"$s/lock" || failed "write $s/lock"
flock -n 9 || { say busy; exit 0; }
keep owner "$me"
say held
exec cat > /dev/null
"#,
        );
        let mut command = desk.machine.piped("sh -s");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.process_group(0).kill_on_drop(true);
        let lost = |e: std::io::Error| Error::new(ErrorKind::Unavailable, what.clone()).with_source(e);
        let mut child = command.spawn().map_err(lost)?;
        let (Some(mut stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(Error::new(ErrorKind::Unexpected, format!("{what}: no pipes")));
        };
        let mut line = String::new();
        let begin = async {
            // A shell that ended early tells more by what it says than this error does.
            let _ = stdin.write_all(script.as_bytes()).await;
            let _ = stdin.flush().await;
            Ok(tokio::time::timeout(LIMIT, BufReader::new(stdout).read_line(&mut line)).await)
        };
        if cx.run(&what, begin).await?.is_err() {
            let text = format!("{what}: {} did not answer within {} s", desk.machine.name(), LIMIT.as_secs());
            return Err(Error::new(ErrorKind::Unavailable, text));
        }
        match line.trim().strip_prefix("veza-dr-files ") {
            Some("held") => Ok(Self { _child: child, _stdin: stdin }),
            Some("busy") => {
                let text = format!("{what}: another restore, rollback or release works there");
                Err(Error::new(ErrorKind::Conflict, text).with_help("wait for it to end"))
            }
            said => {
                let mut complaint = String::new();
                if let Some(mut stderr) = child.stderr.take() {
                    let read = stderr.read_to_string(&mut complaint);
                    let _ = tokio::time::timeout(Duration::from_secs(2), read).await;
                }
                match said.and_then(|said| said.strip_prefix("failed ")) {
                    Some(failed) => Err(desk.failure(&what, &format!("cannot {failed}"), &complaint)),
                    None => Err(desk.machine.lost(&what, &complaint)),
                }
            }
        }
    }
}
