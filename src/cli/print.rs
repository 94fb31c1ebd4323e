//! Data on standard output.

use std::io::Write;

use kube::ResourceExt;
use serde::Serialize;

use super::CliError;
use super::arguments::Output;

/// Prints objects; `row` gives the cells of a table below `head`.
pub(super) fn objects<K: Serialize + ResourceExt, const N: usize>(
    output: Output,
    objects: &[K],
    head: [&str; N],
    row: impl Fn(&K) -> [String; N],
) -> Result<(), CliError> {
    match output {
        Output::Table => text(&table(head, &objects.iter().map(row).collect::<Vec<_>>())),
        Output::Name => text(&objects.iter().map(|object| object.name_any() + "\n").collect::<String>()),
        Output::Json | Output::Yaml => document(output, &objects),
    }
}

/// Prints one document.
pub(super) fn document<T: Serialize>(output: Output, document: &T) -> Result<(), CliError> {
    let json = |error: serde_json::Error| CliError::Write(error.into());
    match output {
        Output::Json => text(&(serde_json::to_string_pretty(document).map_err(json)? + "\n")),
        _ => text(&serde_saphyr::to_string(document).map_err(|error| CliError::Write(error.into()))?),
    }
}

/// Prints a text as it is.
pub(super) fn text(text: &str) -> Result<(), CliError> {
    bytes(text.as_bytes())
}

/// Prints bytes as they are.
pub(super) fn bytes(bytes: &[u8]) -> Result<(), CliError> {
    let mut out = std::io::stdout().lock();
    out.write_all(bytes).and_then(|()| out.flush()).map_err(|error| CliError::Write(error.into()))
}

fn table<const N: usize>(head: [&str; N], rows: &[[String; N]]) -> String {
    let head = head.map(str::to_owned);
    let lines: Vec<&[String; N]> = std::iter::once(&head).chain(rows).collect();
    let widths: Vec<usize> = (0..N)
        .map(|column| {
            lines.iter().filter_map(|line| line.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
        })
        .collect();
    let mut text = String::new();
    for line in lines {
        let cells: Vec<String> = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [["iris".to_owned(), "ä".to_owned()], ["a".to_owned(), "Succeeded".to_owned()]];
        assert_eq!(table(["NAME", "STATE"], &rows), "NAME  STATE\niris  ä\na     Succeeded\n");
    }
}
