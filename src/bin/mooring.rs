//! The command line: from the arguments to `cli::command`.

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use clap::FromArgMatches;
use mooring_operator::cli::arguments::Arguments;
use mooring_operator::cli::called::Called;
use mooring_operator::cli::talk::{self, Manner};
use mooring_operator::cli::{CliError, command, complete};
use mooring_operator::process::cause;

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
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
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
    let told = format!("{}: {}", called.words(), cause::told(&error).join("\n  because: "));
    // Whoever has closed standard error does not want to hear of it.
    let _ = writeln!(std::io::stderr(), "{}", called.rewrite(&told));
    ExitCode::from(error.exit_code())
}
