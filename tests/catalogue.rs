//! No row of the catalogue without a test that produces it.

#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use std::fs;
use std::path::Path;

use mooring_operator::catalogue::Reason;

/// The test sources: all of `tests`, and what stands behind `#[cfg(test)]` in `src` or in a folder `tests` there.
fn sources(folder: &Path, is_test: bool, into: &mut String) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_dir() {
            sources(&path, is_test || name == "tests", into);
        } else if path.extension().is_some_and(|extension| extension == "rs" || extension == "jsonl") {
            let text = fs::read_to_string(&path).unwrap();
            let from = if is_test { Some(0) } else { text.find("#[cfg(test)]") };
            into.push_str(from.map_or("", |from| &text[from..]));
        }
    }
}

#[test]
fn every_reason_has_a_test_that_produces_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut tests = String::new();
    sources(&root.join("src"), false, &mut tests);
    sources(&root.join("tests"), true, &mut tests);
    let missing: Vec<&str> = Reason::ALL
        .iter()
        .map(|reason| reason.as_str())
        .filter(|reason| {
            let names = [
                format!("\"{reason}\""),
                format!("Reason::{reason} "),
                format!("Reason::{reason})"),
                format!("Reason::{reason},"),
            ];
            !names.iter().any(|name| tests.contains(name))
        })
        .collect();
    assert!(missing.is_empty(), "no test produces {missing:?}");
}
