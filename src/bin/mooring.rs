//! The command line: from the arguments to `cli::command`.

use std::error::Error;
use std::process::ExitCode;

use clap::Parser;
use mooring_operator::cli::arguments::Arguments;
use mooring_operator::cli::command;

fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    // Every library uses the same provider; a second installation is no error.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let mut builder = if arguments.command.is_busy() {
        tokio::runtime::Builder::new_multi_thread()
    } else {
        tokio::runtime::Builder::new_current_thread()
    };
    let runtime = builder.enable_all().build()?;
    let Err(error) = runtime.block_on(command::run(arguments)) else { return Ok(ExitCode::SUCCESS) };
    if error.reader_is_gone() {
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!("mooring: {error}");
    let mut told = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        // Many libraries repeat the cause in their own words.
        if !told.contains(&next.to_string()) {
            told = next.to_string();
            eprintln!("  because: {told}");
        }
        cause = next.source();
    }
    Ok(ExitCode::from(error.exit_code()))
}
