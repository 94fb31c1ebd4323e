//! The catalogue, one word of it at a time.

use std::fmt::Write;

use crate::catalogue::{Code, Reason, answer};
use crate::cli::{CliError, alike, print};

/// More alike than this, one word is meant by the other; from 0 to 1.
const ALIKE: f64 = 0.8;

pub(super) fn explain(what: &str) -> Result<(), CliError> {
    match words(what) {
        Some(text) => print::text(&text),
        None => Err(CliError::Unexplained { what: what.to_owned(), next_step: meant(what) }),
    }
}

/// What the catalogue says of a code, of a reason, or of the status of an answer.
fn words(what: &str) -> Option<String> {
    let mut text = String::new();
    let number = what.trim_start_matches("ERR_").trim_start_matches("err_");
    if let Some(code) = Code::ALL.iter().find(|code| code.as_str().trim_start_matches("ERR_") == number) {
        // Writing into a text can't fail.
        let _ = writeln!(text, "{}: {}\n", code.as_str(), code.title());
        for reason in Reason::ALL.iter().filter(|reason| reason.code() == *code) {
            let _ = writeln!(text, "{}\n  {}", reason.as_str(), reason.next_step());
        }
        return Some(text);
    }
    if let Some(reason) = Reason::ALL.iter().find(|reason| reason.as_str().eq_ignore_ascii_case(what)) {
        let code = reason.code();
        let _ = writeln!(text, "{} {}: {}", code.as_str(), reason.as_str(), code.title());
        if reason.template() != "{}" {
            let _ = writeln!(text, "message:   {}", reason.template().replacen("{}", "…", 1));
        }
        let last =
            if reason.is_final() { "stays until somebody changes something" } else { "is tried again by itself" };
        let _ = writeln!(text, "it:        {last}\nnext step: {}", reason.next_step());
        return Some(text);
    }
    let rows = answer::ALL.iter().filter(|row| row.status.to_string() == what || row.name.eq_ignore_ascii_case(what));
    for row in rows {
        let phrase = row.phrase.map(|phrase| format!(" {phrase}")).unwrap_or_default();
        let _ = writeln!(text, "{}{phrase}: {}\n  {}", row.status, row.name, row.next_step);
    }
    (!text.is_empty()).then_some(text)
}

/// The reason that is spelled most alike.
fn meant(what: &str) -> String {
    let near = alike::most(what, Reason::ALL.iter().map(|reason| reason.as_str()), ALIKE);
    let codes: Vec<&str> = Code::ALL.iter().map(|code| code.as_str()).collect();
    near.map_or_else(|| format!("the codes are {}", codes.join(", ")), |known| format!("did you mean {known}?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_of_the_catalogue_is_explained() {
        for code in Code::ALL {
            let text = words(code.as_str()).unwrap();
            assert!(text.starts_with(&format!("{}: {}\n", code.as_str(), code.title())), "{text}");
        }
        for reason in Reason::ALL {
            let text = words(&reason.as_str().to_lowercase()).unwrap();
            assert!(text.contains(reason.next_step()), "{text}");
        }
        for row in answer::ALL {
            assert!(words(&row.status.to_string()).unwrap().contains(row.next_step));
        }
        assert_eq!(words("1200"), words("ERR_1200"));
    }

    #[test]
    fn a_word_that_is_nearly_right_is_guessed() {
        assert_eq!(words("ImageNotFond"), None);
        assert_eq!(meant("ImageNotFond"), "did you mean ImageNotFound?");
        assert!(meant("x").contains("ERR_1100"));
    }
}
