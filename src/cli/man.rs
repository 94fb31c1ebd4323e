//! Manual pages, one for each command.

use std::fs;
use std::io;
use std::path::Path;

use clap::Command;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};

use super::CliError;

/// Writes the page of every command of a grammar into a directory, which is made when it is not there.
///
/// # Errors
/// [`CliError::WritePage`] when a file can't be written.
pub(super) fn write(grammar: Command, directory: &Path) -> Result<usize, CliError> {
    let failed = |source| CliError::WritePage { directory: directory.display().to_string(), source };
    fs::create_dir_all(directory).map_err(failed)?;
    let pages = pages(grammar).map_err(failed)?;
    for (name, page) in &pages {
        fs::write(directory.join(name), page).map_err(failed)?;
    }
    Ok(pages.len())
}

/// File name and text of each page.
fn pages(grammar: Command) -> io::Result<Vec<(String, Vec<u8>)>> {
    fn walk(command: &Command, pages: &mut Vec<(String, Vec<u8>)>) -> io::Result<()> {
        pages.push(page(command)?);
        command.get_subcommands().try_for_each(|verb| walk(verb, pages))
    }
    let mut grammar = grammar.disable_help_subcommand(true);
    grammar.build();
    let mut pages = Vec::new();
    walk(&grammar, &mut pages)?;
    Ok(pages)
}

fn page(command: &Command) -> io::Result<(String, Vec<u8>)> {
    // Each verb is of the version of the program.
    let source = concat!("mooring ", env!("CARGO_PKG_VERSION"));
    let man = Man::new(command.clone()).source(source).manual("Mooring");
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    if command.has_subcommands() {
        man.render_subcommands_section(&mut page)?;
    }
    let more = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    sections(&more).to_writer(&mut page)?;
    Ok((man.get_filename(), page))
}

/// The paragraphs below the options of `--help`, each as the section that manual pages have for it.
fn sections(more: &str) -> Roff {
    let mut roff = Roff::new();
    for paragraph in more.split("\n\n") {
        let (first, rest) = paragraph.split_once('\n').unwrap_or((paragraph, ""));
        let (heading, told) = match first {
            "Example:" | "Examples:" => ("EXAMPLES", ""),
            "Exit codes:" => ("EXIT STATUS", ""),
            _ if first.starts_with("Example") => ("EXAMPLES", first),
            _ => ("NOTES", first),
        };
        roff.control("SH", [heading]);
        if !told.is_empty() {
            roff.text([roman(told)]);
        }
        if !rest.is_empty() {
            // As it is, line by line.
            roff.control("nf", []);
            rest.lines().for_each(|line| {
                roff.text([roman(line)]);
            });
            roff.control("fi", []);
        }
    }
    roff
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::cli::arguments::Arguments;

    #[test]
    fn every_command_has_its_page_with_an_example() {
        fn names(command: &Command, above: &str, all: &mut Vec<String>) {
            let name = format!("{above}{}", command.get_name());
            all.push(format!("{name}.1"));
            command.get_subcommands().for_each(|verb| names(verb, &format!("{name}-"), all));
        }
        let mut wanted = Vec::new();
        names(&Arguments::command(), "", &mut wanted);
        let pages = pages(Arguments::command()).unwrap();
        assert_eq!(pages.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>(), wanted);
        for (name, page) in pages {
            let page = String::from_utf8(page).unwrap();
            let examples = page.split_once("\n.SH EXAMPLES\n").map(|(_, examples)| examples);
            assert!(examples.is_some_and(|examples| examples.contains("mooring ")), "{name} has no example: {page}");
        }
    }

    #[test]
    fn exit_codes_have_the_section_that_manual_pages_have_for_them() {
        let pages = pages(Arguments::command()).unwrap();
        let (_, first) = &pages[0];
        let first = String::from_utf8(first.clone()).unwrap();
        assert!(first.contains(".SH \"EXIT STATUS\"\n.nf\n  0    done\n"), "{first}");
    }
}
