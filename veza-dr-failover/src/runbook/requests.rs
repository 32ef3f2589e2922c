//! What people ask of a run that is under way in another process of this machine: small files in the state folder.

use std::{
    fs::{self, File},
    io::Write,
    path::PathBuf,
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};
use veza_dr_core::{Cx, Error, ErrorKind, OperationId, Result};

use super::{Engine, Mode, Record, RunOptions, RunReport, engine::name_of, live::Live};

/// A live run looks for requests much more often than this.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case", tag = "ask")]
enum Request {
    /// To go on ungracefully.
    Ungraceful { who: String },
    /// To go on with a step.
    Approve { step: String, who: String, comment: Option<String> },
}

impl Engine {
    /// Asks a live run, from another process, to go on ungracefully.
    ///
    /// # Errors
    /// When the request cannot be left in the state folder.
    pub fn request_ungraceful(&self, run: &str) -> Result<()> {
        self.leave(run, &Request::Ungraceful { who: self.who.clone() }).map(drop)
    }

    /// Agrees, from another process of this machine, to steps of a run that is under way, and waits until the run has
    /// written that down. Of the options only what concerns approvals counts.
    ///
    /// # Errors
    /// `NotFound` without such a run, `Config` for a step that its plan does not have, `Conflict` when the run does not
    /// take the approval up: it is under way on another machine, or has come to its end.
    pub async fn approve(&self, cx: &Cx, run: &str, options: &RunOptions) -> Result<RunReport> {
        self.plan_of(run)?.known_steps(options.approve.iter())?;
        let who = name_of(&self.who, options);
        let mut left = Vec::new();
        for step in &options.approve {
            let (step, who, comment) = (step.clone(), who.clone(), options.comment.clone());
            left.push(self.leave(run, &Request::Approve { step, who, comment })?);
        }
        let limit = Instant::now() + PATIENCE;
        loop {
            let late = Instant::now() >= limit;
            if late {
                // Not to be found by a run of another day. One that was taken is gone already.
                left.iter().for_each(|path| drop(fs::remove_file(path)));
            }
            let report = self.report(run)?;
            if options.approve.iter().all(|step| report.approvals.iter().any(|a| a.step == *step)) {
                return Ok(report);
            }
            if late {
                let text = format!("run {run} did not take the approval up: nothing was done");
                return Err(Error::new(ErrorKind::Conflict, text).with_help(
                    "approve it on the machine that runs it, or resume it there once it rests: veza-dr failover status",
                ));
            }
            cx.run("wait for the run to take the approval up", async {
                sleep(Duration::from_millis(100)).await;
                Ok(())
            })
            .await?;
        }
    }

    fn leave(&self, run: &str, request: &Request) -> Result<PathBuf> {
        let name = format!("{}{}.json", prefix(run), OperationId::random());
        let (path, aside) = (self.journals.folder().join(&name), self.journals.folder().join(format!("new-{name}")));
        let cannot =
            |e| Error::new(ErrorKind::Unavailable, format!("{} cannot be written", path.display())).with_source(e);
        let json = serde_json::to_vec(request)
            .map_err(|e| Error::new(ErrorKind::Unexpected, "a request cannot be written").with_source(e))?;
        // The run must never see half of one.
        let put = || {
            let mut file = File::create(&aside)?;
            file.write_all(&json)?;
            file.sync_all()?;
            fs::rename(&aside, &path)
        };
        put().map_err(cannot)?;
        Ok(path)
    }
}

fn prefix(run: &str) -> String {
    format!("{run}.request-")
}

impl Live<'_> {
    /// Takes up what was asked for since the last look.
    pub(super) fn look_for_requests(&self) -> Result<()> {
        let run = self.state().run.clone();
        // A folder that cannot be read now was written to a moment ago: the journal will tell.
        let Ok(entries) = fs::read_dir(self.engine.journals.folder()) else { return Ok(()) };
        for entry in entries.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if !name.starts_with(&prefix(&run)) {
                continue;
            }
            let read = fs::read(entry.path()).map_err(|e| e.to_string());
            match read.and_then(|bytes| serde_json::from_slice(&bytes).map_err(|e| e.to_string())) {
                Ok(Request::Ungraceful { who }) => {
                    if self.state().mode != Mode::Ungraceful {
                        self.record(Record::ModeChanged { mode: Mode::Ungraceful, who })?;
                    }
                }
                Ok(Request::Approve { step, who, comment }) => {
                    if self.bound.plan().step(&step).is_some() && !self.state().approved.contains_key(&step) {
                        self.record(Record::Approved { step, who, comment })?;
                    }
                }
                Err(why) => {
                    self.record(Record::Warning { text: format!("the request {name} cannot be read: {why}") })?;
                }
            }
            // On record now; read once more after a crash here, it changes nothing.
            let _ = fs::remove_file(entry.path());
        }
        Ok(())
    }
}
