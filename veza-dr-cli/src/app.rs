//! One run of the program: parse, set up, dispatch, tell how it ended.

use std::{ffi::OsString, pin::Pin, sync::Arc, time::Duration};

use clap::{Parser, error::ErrorKind as ClapKind};
use indicatif::MultiProgress;
use tokio_util::sync::CancellationToken;
use veza_dr_core::{Cx, Error, ErrorKind, Result};

use crate::{
    Exit, Io,
    args::{Cli, Command, LogFormat},
    commands::{self, Session},
    logging,
    render::{Bars, Output, PlainProgress},
    signals::Signals,
    wiring::install_crypto,
};

/// Runs the program with these arguments (the first is its own name) and returns how it ended.
///
/// ```
/// use veza_dr_cli::{Exit, Io, run};
/// let (io, output) = Io::captured();
/// assert_eq!(run(["veza-dr", "backup", "--no-such-flag"], io), Exit::Usage);
/// assert!(output.stderr().contains("--no-such-flag"));
/// ```
pub fn run(args: impl IntoIterator<Item = impl Into<OsString>>, io: Io) -> Exit {
    let args: Vec<OsString> = args.into_iter().map(Into::into).collect();
    if !asks_for_log(&args) {
        return run_plainly(args, io);
    }
    // A server that recovers takes every code up to 125, even a panic's 101, for the end of its log: it would stop
    // short, and begin a new history.
    let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run_plainly(args, io)));
    match ended.unwrap_or(Exit::WalUnknown) {
        Exit::Ok => Exit::Ok,
        Exit::NotFound => Exit::NotFound,
        _ => Exit::WalUnknown,
    }
}

/// Whether this is `veza-dr wal fetch …`.
fn asks_for_log(args: &[OsString]) -> bool {
    let wal = args.iter().position(|a| a == "wal");
    wal.is_some_and(|at| args[at..].iter().any(|a| a == "fetch"))
}

fn run_plainly(args: Vec<OsString>, io: Io) -> Exit {
    install_crypto();
    let cli = match Cli::try_parse_from(&args) {
        Ok(cli) => cli,
        Err(e) => return refuse(&e, &args, io),
    };
    let bars = MultiProgress::new();
    if io.is_process {
        let daemon = match &cli.command {
            Command::Serve(_) if cli.global.json => Some(LogFormat::Json),
            Command::Serve(args) => Some(args.log),
            _ => None,
        };
        logging::set_up(&cli.global, bars.clone(), io.env.get(logging::variable()), daemon);
    }
    let (env, is_process, with_bars) = (io.env.clone(), io.is_process, io.is_process && io.stderr_is_terminal);
    let out = Output::new(io, cli.global.json, cli.global.quiet);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(e) => {
            let e = Error::new(ErrorKind::Unexpected, "the runtime cannot be started").with_source(e);
            out.error(&e, Exit::Unexpected);
            return Exit::Unexpected;
        }
    };
    let exit = runtime.block_on(async {
        let mut cx = Cx::new(CancellationToken::new());
        let signals = if is_process { Signals::listen(&cx, out.stderr()) } else { Signals::default() };
        if with_bars && !cli.global.no_progress && !cli.global.quiet {
            cx = cx.with_progress(Arc::new(Bars::new(bars)));
        } else if !cli.global.no_progress && !cli.global.quiet {
            cx = cx.with_progress(Arc::new(PlainProgress::new(out.stderr())));
        }
        let session = Session { cx, out, env, global: cli.global };
        let result = dispatch(&session, &cli.command).await;
        let stopped = signals.exit();
        match result {
            // Work that was finished before the signal reached it is finished.
            Ok(Exit::Ok) => Exit::Ok,
            Ok(exit) => stopped.unwrap_or(exit),
            Err(e) => {
                let exit = match (e.kind(), stopped) {
                    (ErrorKind::Cancelled, Some(stopped)) => stopped,
                    _ => Exit::from(&e),
                };
                session.out.error(&e, exit);
                exit
            }
        }
    });
    // A question that was interrupted still waits for its line on a thread of its own: it must not hold the exit up.
    runtime.shutdown_timeout(Duration::from_millis(200));
    exit
}

async fn dispatch(session: &Session, command: &Command) -> Result<Exit> {
    let work = match command {
        Command::Init(args) => return commands::init(session, args),
        Command::Check => boxed(|| commands::check(session)),
        Command::Backup(args) => boxed(|| commands::backup(session, args)),
        Command::List(args) => boxed(|| commands::list(session, args)),
        Command::Show(args) => boxed(|| commands::show(session, args)),
        Command::Verify(args) => boxed(|| commands::verify(session, args)),
        Command::Restore(args) => boxed(|| commands::restore(session, args)),
        Command::RestoreRows(args) => boxed(|| commands::restore_rows(session, args)),
        Command::Prune(args) => boxed(|| commands::prune(session, args)),
        Command::Recover(args) => boxed(|| commands::recover(session, args)),
        Command::Rollback(args) => boxed(|| commands::rollback(session, args)),
        Command::Release(args) => boxed(|| commands::release(session, args)),
        Command::Dns(args) => boxed(|| commands::dns(session, args)),
        Command::Assess(args) => boxed(|| commands::assess(session, args)),
        Command::Status(args) => boxed(|| commands::status(session, args)),
        Command::Serve(args) => boxed(|| commands::serve(session, args)),
        Command::Failover(args) => boxed(|| commands::failover(session, args)),
        Command::Drill(args) => boxed(|| commands::drill(session, args)),
        Command::Report(args) => boxed(|| commands::report(session, args)),
        Command::Validate(args) => boxed(|| commands::validate(session, args)),
        #[cfg(feature = "postgres")]
        Command::Wal(args) => boxed(|| commands::wal(session, args)),
        Command::Schema => return Ok(commands::schema(session)),
        Command::Completions(args) => return Ok(commands::completions(session, args)),
        Command::Man => return commands::man(session),
    };
    work.await
}

type Work<'a> = Pin<Box<dyn Future<Output = Result<Exit>> + 'a>>;

/// A command's work on the heap, made in a frame of its own: side by side they outgrow the stack of a thread.
fn boxed<'a, F: Future<Output = Result<Exit>> + 'a>(make: impl FnOnce() -> F) -> Work<'a> {
    Box::pin(make())
}

/// What clap says when it does not run a command: help and version are results, everything else is a usage error.
fn refuse(e: &clap::Error, args: &[OsString], io: Io) -> Exit {
    let json = args.iter().any(|a| a == "--json");
    let colours = io.stderr_is_terminal && io.env.get("NO_COLOR").is_none_or(|v| v.is_empty());
    let out = Output::new(io, json, false);
    let text = if colours { e.render().ansi().to_string() } else { e.render().to_string() };
    match e.kind() {
        ClapKind::DisplayHelp | ClapKind::DisplayVersion => {
            out.raw(&e.render().to_string());
            Exit::Ok
        }
        _ if json => {
            let plain = e.render().to_string();
            let message = plain.trim().trim_start_matches("error: ").to_owned();
            out.error(&Error::new(ErrorKind::Config, message), Exit::Usage);
            Exit::Usage
        }
        _ => {
            out.stderr().line(text.trim_end());
            Exit::Usage
        }
    }
}
