//! Data on standard output.

use std::io::{IsTerminal, Write};

use kube::{Resource, ResourceExt};
use serde::Serialize;

use super::CliError;
use super::arguments::output::{Document, Output};
use super::table::{Listed, table};

/// Prints a list of objects.
pub(super) fn objects<K>(output: Output, mut objects: Vec<K>) -> Result<(), CliError>
where
    K: Listed + Serialize + Resource<DynamicType = ()>,
{
    objects.iter_mut().for_each(tidy);
    match document_of(output) {
        Some(form) => document(form, &objects),
        None => text(&lines(output, &objects)),
    }
}

/// Prints one object.
pub(super) fn object<K>(output: Output, mut object: K) -> Result<(), CliError>
where
    K: Listed + Serialize + Resource<DynamicType = ()>,
{
    tidy(&mut object);
    match document_of(output) {
        Some(form) => document(form, &object),
        None => text(&lines(output, &[object])),
    }
}

/// Prints one document, its fields in the order of the alphabet as kubectl has them.
pub(super) fn document<T: Serialize>(form: Document, document: &T) -> Result<(), CliError> {
    let tree = serde_json::to_value(document).map_err(|error| CliError::Form(error.into()))?;
    match form {
        Document::Json => text(&format!("{tree:#}\n")),
        Document::Yaml => text(&serde_saphyr::to_string(&tree).map_err(|error| CliError::Form(error.into()))?),
    }
}

/// Prints what is no object: a document, the `name` of each item, or the lines of `table`.
pub(super) fn items<'a, T: Serialize>(
    output: Output,
    items: &'a [T],
    name: impl Fn(&'a T) -> &'a str,
    table: impl FnOnce() -> String,
) -> Result<(), CliError> {
    match (document_of(output), output) {
        (Some(form), _) => document(form, &items),
        (None, Output::Name) => text(&items.iter().flat_map(|item| [name(item), "\n"]).collect::<String>()),
        (None, _) => text(&table()),
    }
}

/// Prints a text as it is.
pub(super) fn text(text: &str) -> Result<(), CliError> {
    bytes(text.as_bytes())
}

/// Prints bytes as they are.
pub(super) fn bytes(bytes: &[u8]) -> Result<(), CliError> {
    let mut out = std::io::stdout().lock();
    out.write_all(bytes).and_then(|()| out.flush()).map_err(CliError::Write)
}

/// Ends a line that was left open, where a person would see the prompt in it.
pub(super) fn end_of_line(last: Option<u8>) -> Result<(), CliError> {
    if std::io::stdout().is_terminal() && last.is_some_and(|last| last != b'\n') { text("\n") } else { Ok(()) }
}

fn document_of(output: Output) -> Option<Document> {
    match output {
        Output::Json => Some(Document::Json),
        Output::Yaml => Some(Document::Yaml),
        Output::Table | Output::Wide | Output::Name => None,
    }
}

fn lines<K: Listed + ResourceExt>(output: Output, objects: &[K]) -> String {
    if output == Output::Name {
        return objects.iter().map(|object| object.name_any() + "\n").collect();
    }
    if output == Output::Wide {
        let rows = objects.iter().map(|object| [object.cells(), object.more()].concat());
        return table(&[K::HEAD, K::MORE].concat(), &rows.collect::<Vec<_>>());
    }
    table(K::HEAD, &objects.iter().map(Listed::cells).collect::<Vec<_>>())
}

/// Takes out who wrote which field: nobody reads it.
pub(super) fn tidy<K: Resource>(object: &mut K) {
    object.meta_mut().managed_fields = None;
}
