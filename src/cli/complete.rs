//! How a line may go on that begins with `kubectl mooring`: what kubectl asks a `kubectl_complete-mooring`.

use std::ffi::OsString;
use std::io;

use super::called::Called;
use super::{CliError, print};

/// kubectl's own number for: no files, when there is nothing else.
const NO_FILES: u8 = 4;
/// kubectl's own number for: no space after the word.
const NO_SPACE: u8 = 2;

/// Prints each word that may stand in the place of the last one, and in the end what a shell may do besides.
///
/// # Errors
/// [`CliError::Write`] when the output can't be written.
pub fn words(line: Vec<OsString>) -> Result<(), CliError> {
    print::text(&answer(line).map_err(CliError::Write)?)
}

fn answer(mut line: Vec<OsString>) -> io::Result<String> {
    line.insert(0, OsString::from("mooring"));
    let last = line.len().saturating_sub(1);
    let folder = std::env::current_dir().ok();
    let found = clap_complete::engine::complete(&mut Called::Completer.grammar(), line, last, folder.as_deref())?;
    let mut text = String::new();
    let mut how = NO_FILES;
    for one in found.iter().filter(|one| !one.is_hide_set()) {
        let word = one.get_value().to_string_lossy();
        if word.ends_with('/') {
            how |= NO_SPACE;
        }
        text.push_str(&word);
        if let Some(help) = one.get_help() {
            text.push('\t');
            text.push_str(help.to_string().lines().next().unwrap_or_default());
        }
        text.push('\n');
    }
    Ok(text + &format!(":{how}\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words_of(line: &[&str]) -> Vec<String> {
        let answer = answer(line.iter().map(OsString::from).collect()).unwrap();
        answer.lines().map(|line| line.split('\t').next().unwrap().to_owned()).collect()
    }

    #[test]
    fn verbs_flags_and_values_are_offered_in_the_form_that_kubectl_reads() {
        assert_eq!(words_of(&["endpoint", "sh"]), ["show", ":4"]);
        assert_eq!(words_of(&["endpoint", "get-credentials", "--out"]), ["--output", ":4"]);
        assert_eq!(words_of(&["endpoint", "get-credentials", "-o", ""]), ["json", "yaml", ":4"]);
        assert!(words_of(&[""]).contains(&"deployment".to_owned()));
        assert_eq!(
            words_of(&["endpoint", "create", "-f", "src/c"]),
            ["src/catalogue.rs", "src/catalogue/", "src/cli.rs", "src/cli/", ":6"]
        );
    }
}
