//! Error texts of container runtimes, cut at the `": "` between a cause and what it caused.

/// The parts of `text`, with everything that users choose taken out: what stands in quotes, and urls. A fixed phrase
/// is compared with a whole part, or with its beginning or end, so that a name that looks like one is none.
#[must_use]
pub fn of(text: &str) -> Vec<String> {
    masked(text).split([':', '\n']).map(|part| part.trim().to_owned()).filter(|part| !part.is_empty()).collect()
}

/// `text` with `_` in the place of quoted texts, urls, and a colon that is not followed by a space.
fn masked(text: &str) -> String {
    let mut masked = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        if matches!(first, '"' | '`') {
            let body = rest.get(1..).unwrap_or_default();
            if let Some(end) = end_of_quote(body, first) {
                masked.push('_');
                rest = body.get(end + 1..).unwrap_or_default();
                continue;
            }
        }
        if rest.starts_with("http://") || rest.starts_with("https://") {
            let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
            // A colon or comma behind the url is the writer's.
            let url = rest.get(..end).unwrap_or(rest).trim_end_matches([':', ',', ')']);
            masked.push('_');
            rest = rest.get(url.len()..).unwrap_or_default();
            continue;
        }
        let next = rest.get(first.len_utf8()..).unwrap_or_default();
        // `host:5000/name:tag` is one word.
        let joins = first == ':' && !next.is_empty() && !next.starts_with(char::is_whitespace);
        masked.push(if joins { '_' } else { first });
        rest = next;
    }
    masked
}

/// Where the quoted text ends; a quote behind a backslash is part of it.
fn end_of_quote(body: &str, quote: char) -> Option<usize> {
    let mut escaped = false;
    body.char_indices().find_map(|(index, character)| {
        let ends = character == quote && !escaped;
        escaped = character == '\\' && !escaped;
        ends.then_some(index)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_quotes_and_urls_are_no_parts() {
        let text = r#"failed to resolve "x: not found": get https://a.b/denied: unauthorized?x=1: dial tcp 1.2.3.4:5: refused"#;
        assert_eq!(of(text), ["failed to resolve _", "get _", "unauthorized?x=1", "dial tcp 1.2.3.4_5", "refused"]);
    }

    #[test]
    fn a_quote_that_does_not_end_is_a_character() {
        assert_eq!(of("a \" b: c"), ["a \" b", "c"]);
    }

    #[test]
    fn an_escaped_quote_does_not_end_a_name() {
        assert_eq!(of(r#"x "a\": not found: \"b": y"#), ["x _", "y"]);
    }
}
