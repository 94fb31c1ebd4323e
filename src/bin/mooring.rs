//! The command line: from the arguments to `cli::command`.

use std::error::Error;
use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use clap::FromArgMatches;
use mooring_operator::cli::arguments::Arguments;
use mooring_operator::cli::called::Called;
use mooring_operator::cli::talk::{self, Manner};
use mooring_operator::cli::{CliError, command, complete};

fn main() -> anyhow::Result<ExitCode> {
    let mut line = std::env::args_os();
    let called = Called::by(&line.next().unwrap_or_default());
    if called == Called::Completer {
        return Ok(end(called, complete::words(line.collect())));
    }
    let arguments = arguments(called, std::env::args_os());
    talk::begin(Manner { called, only_errors: arguments.talk.only_show_errors });
    talk::log(arguments.talk);
    // Every library uses the same provider; a second installation is no error.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let mut builder = if arguments.command.is_busy() {
        tokio::runtime::Builder::new_multi_thread()
    } else {
        tokio::runtime::Builder::new_current_thread()
    };
    let runtime = builder.enable_all().build()?;
    Ok(end(called, runtime.block_on(command::run(arguments))))
}

/// What was typed; ends the program where that can't be understood, or where help is all that was asked for.
fn arguments(called: Called, line: impl Iterator<Item = OsString>) -> Arguments {
    let mut grammar = called.grammar();
    let matches = grammar.clone().try_get_matches_from_mut(line);
    let arguments = matches.and_then(|mut matches| Arguments::from_arg_matches_mut(&mut matches));
    arguments.unwrap_or_else(|error| error.format(&mut grammar).exit())
}

fn end(called: Called, ended: Result<(), CliError>) -> ExitCode {
    let Err(error) = ended else { return ExitCode::SUCCESS };
    if error.reader_is_gone() {
        return ExitCode::SUCCESS;
    }
    let mut told = error.to_string();
    let mut lines = vec![format!("{}: {told}", called.words())];
    let mut cause = error.source();
    while let Some(next) = cause {
        // Many libraries repeat the cause in their own words.
        if !told.contains(&next.to_string()) {
            told = next.to_string();
            lines.push(format!("  because: {told}"));
        }
        cause = next.source();
    }
    // Whoever has closed standard error does not want to hear of it.
    let _ = writeln!(std::io::stderr(), "{}", called.rewrite(&lines.join("\n")));
    ExitCode::from(error.exit_code())
}
