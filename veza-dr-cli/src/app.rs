//! One run of the program: parse, set up, dispatch, tell how it ended.

use std::{ffi::OsString, sync::Arc, time::Duration};

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
        let result = dispatch(&session, cli.command).await;
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

async fn dispatch(session: &Session, command: Command) -> Result<Exit> {
    match command {
        Command::Init(args) => commands::init(session, &args),
        Command::Check => commands::check(session).await,
        Command::Backup(args) => commands::backup(session, &args).await,
        Command::List(args) => commands::list(session, &args).await,
        Command::Show(args) => commands::show(session, &args).await,
        Command::Verify(args) => commands::verify(session, &args).await,
        Command::Restore(args) => commands::restore(session, &args).await,
        Command::RestoreRows(args) => commands::restore_rows(session, &args).await,
        Command::Prune(args) => commands::prune(session, &args).await,
        Command::Recover(args) => commands::recover(session, &args).await,
        Command::Rollback(args) => commands::rollback(session, &args).await,
        Command::Release(args) => commands::release(session, &args).await,
        Command::Dns(args) => commands::dns(session, &args).await,
        Command::Assess(args) => commands::assess(session, &args).await,
        Command::Status(args) => commands::status(session, &args).await,
        Command::Serve(args) => commands::serve(session, &args).await,
        Command::Failover(args) => commands::failover(session, &args).await,
        Command::Drill(args) => commands::drill(session, &args).await,
        Command::Validate(args) => commands::validate(session, &args).await,
        #[cfg(feature = "postgres")]
        Command::Wal(args) => commands::wal(session, &args).await,
        Command::Schema => Ok(commands::schema(session)),
        Command::Completions(args) => Ok(commands::completions(session, &args)),
        Command::Man => commands::man(session),
    }
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
