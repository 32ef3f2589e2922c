//! Where results and remarks go, and in which form.

use std::{
    fmt,
    io::Write,
    sync::{Arc, Mutex, PoisonError},
};

use anstyle::{AnsiColor, Style};
use serde_json::Value;
use veza_dr_core::{Cx, Error, Outcome, Result};

use super::{Asker, error_json, error_text};
use crate::{Exit, Io};

/// A writer that remarks and progress share.
#[derive(Clone)]
pub(crate) struct SharedWriter(Arc<Mutex<Box<dyn Write + Send>>>);

impl fmt::Debug for SharedWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SharedWriter")
    }
}

impl SharedWriter {
    pub(crate) fn new(writer: Box<dyn Write + Send>) -> Self {
        Self(Arc::new(Mutex::new(writer)))
    }

    pub(crate) fn line(&self, text: &str) {
        let mut writer = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // A reader that went away (`| head`) is no failure of the work.
        let _ = writeln!(writer, "{text}").and_then(|()| writer.flush());
    }

    pub(super) fn part(&self, text: &str) {
        let mut writer = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = write!(writer, "{text}").and_then(|()| writer.flush());
    }
}

/// Colours, where they are welcome.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Paint(bool);

impl Paint {
    /// `NO_COLOR` set to anything switches colours off, as <https://no-color.org> asks.
    pub(crate) fn on(is_terminal: bool, no_color: Option<String>) -> Self {
        Self(is_terminal && no_color.is_none_or(|v| v.is_empty()))
    }

    pub(crate) fn is_on(self) -> bool {
        self.0
    }

    fn style(self, text: &str, style: Style) -> String {
        if self.0 { format!("{style}{text}{style:#}") } else { text.to_owned() }
    }

    pub(crate) fn good(self, text: &str) -> String {
        self.style(text, AnsiColor::Green.on_default())
    }

    pub(crate) fn bad(self, text: &str) -> String {
        self.style(text, AnsiColor::Red.on_default().bold())
    }

    pub(crate) fn warn(self, text: &str) -> String {
        self.style(text, AnsiColor::Yellow.on_default())
    }

    pub(crate) fn strong(self, text: &str) -> String {
        self.style(text, Style::new().bold())
    }

    pub(crate) fn outcome(self, outcome: Outcome) -> String {
        match outcome {
            Outcome::Ok => self.good("ok"),
            Outcome::Warning => self.warn("warning"),
            Outcome::Failed => self.bad("FAILED"),
            Outcome::Skipped => "skipped".to_owned(),
            _ => "unknown".to_owned(),
        }
    }
}

/// Standard output for results, standard error for remarks, and the person who may be asked.
pub(crate) struct Output {
    stdout: SharedWriter,
    stderr: SharedWriter,
    asker: Asker,
    can_ask: bool,
    json: bool,
    quiet: bool,
    paint: Paint,
    paint_err: Paint,
}

impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Output").field("json", &self.json).field("quiet", &self.quiet).finish_non_exhaustive()
    }
}

impl Output {
    pub(crate) fn new(io: Io, json: bool, quiet: bool) -> Self {
        let no_color = io.env.get("NO_COLOR");
        let stderr = SharedWriter::new(io.stderr);
        Self {
            stdout: SharedWriter::new(io.stdout),
            asker: Asker::new(io.stdin, stderr.clone()),
            stderr,
            can_ask: io.stdin_is_terminal && io.stderr_is_terminal,
            json,
            quiet,
            paint: Paint::on(io.stdout_is_terminal, no_color.clone()),
            paint_err: Paint::on(io.stderr_is_terminal, no_color),
        }
    }

    pub(crate) fn stderr(&self) -> SharedWriter {
        self.stderr.clone()
    }

    /// Who asks, where a person is there to answer.
    pub(crate) fn asker(&self) -> Option<Asker> {
        self.can_ask().then(|| self.asker.clone())
    }

    /// Whether a person is there to answer.
    pub(crate) fn can_ask(&self) -> bool {
        self.can_ask && !self.json
    }

    /// A document for those who asked for JSON; people were told otherwise.
    pub(crate) fn json_only(&self, json: impl FnOnce() -> Value) {
        if self.json {
            self.result(json, |_| String::new());
        }
    }

    /// The result, in the form that was asked for. Only the one that is printed is made.
    pub(crate) fn result(&self, json: impl FnOnce() -> Value, text: impl FnOnce(Paint) -> String) {
        if self.json {
            // Indented: a person reads it as often as a program does.
            self.stdout
                .line(&serde_json::to_string_pretty(&json()).unwrap_or_else(|e| format!("{{\"error\":\"{e}\"}}")));
        } else {
            let text = text(self.paint);
            self.stdout.line(text.trim_end_matches('\n'));
        }
    }

    /// Text that is the result in every form: a schema, a script, a manual.
    pub(crate) fn raw(&self, text: &str) {
        self.stdout.line(text.trim_end_matches('\n'));
    }

    /// Something shown before a question: for people only, as JSON has one document and it comes at the end.
    pub(crate) fn show(&self, text: impl FnOnce(Paint) -> String) {
        if !self.json {
            self.stderr.line(text(self.paint_err).trim_end_matches('\n'));
        }
    }

    /// A remark that is no result.
    pub(crate) fn remark(&self, text: &str) {
        if !self.quiet {
            self.stderr.line(text);
        }
    }

    /// A failure of a part of the work, told at once; the result has it too.
    pub(crate) fn warn(&self, e: &Error) {
        self.stderr.line(&error_text("warning", e, self.paint_err));
    }

    /// The failure of the whole command: text for people on standard error, and the one JSON document on standard
    /// output where that was asked for.
    pub(crate) fn error(&self, e: &Error, exit: Exit) {
        self.json_only(|| error_json(e, exit));
        self.stderr.line(&error_text("error", e, self.paint_err));
    }

    /// Asks whether to go ahead; `false` also when nobody can be asked.
    ///
    /// # Errors
    /// `Cancelled` when the question was interrupted.
    pub(crate) async fn confirm(&self, cx: &Cx, question: &str) -> Result<bool> {
        if !self.can_ask() {
            self.stderr.line(&format!("{question} Nobody is there to ask: nothing was done. Add --yes to go ahead."));
            return Ok(false);
        }
        let answer = self.asker.ask(cx, &format!("{question} [y/N] ")).await?;
        let yes = matches!(answer.to_ascii_lowercase().as_str(), "y" | "yes");
        if !yes {
            self.stderr.line("Nothing was done.");
        }
        Ok(yes)
    }
}
