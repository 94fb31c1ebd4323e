//! What an error comes from.

use std::error::Error;

use anyhow::Chain;

/// An error and everything that it comes from, each in its own words. A cause that was told by what it led to, as many
/// libraries do, is left out.
#[must_use]
pub fn told(error: &(dyn Error + 'static)) -> Vec<String> {
    let mut told: Vec<String> = Vec::new();
    for cause in Chain::new(error).map(ToString::to_string) {
        if told.last().is_none_or(|last| !last.contains(&cause)) {
            told.push(cause);
        }
    }
    told
}

/// The first cause of an error, which says most; the error itself when it comes from nothing.
#[must_use]
pub fn root<'error>(error: &'error (dyn Error + 'static)) -> &'error (dyn Error + 'static) {
    Chain::new(error).next_back().unwrap_or(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{words}")]
    struct Link {
        words: &'static str,
        source: Option<Box<Link>>,
    }

    fn link(words: &'static str, source: Option<Link>) -> Link {
        Link { words, source: source.map(Box::new) }
    }

    #[test]
    fn what_was_told_is_not_told_again() {
        let error = link("asking failed: refused", Some(link("refused", Some(link("no route", None)))));
        assert_eq!(told(&error), ["asking failed: refused", "no route"]);
        assert_eq!(root(&error).to_string(), "no route");
        let alone = link("alone", None);
        assert_eq!((told(&alone), root(&alone).to_string()), (vec!["alone".to_owned()], "alone".to_owned()));
    }
}
