//! Words that may have been meant.

/// The one of `known` that is spelled most like `word`, where that is more alike than `least` (Jaro-Winkler, 0 to 1). Upper and
/// lower case are the same.
pub(super) fn most<'a>(word: &str, known: impl Iterator<Item = &'a str>, least: f64) -> Option<&'a str> {
    let word = word.to_lowercase();
    let alike = known.map(|known| (strsim::jaro_winkler(&known.to_lowercase(), &word), known));
    let near = alike.filter(|(likeness, _)| *likeness > least);
    near.max_by(|one, other| one.0.total_cmp(&other.0)).map(|(_, known)| known)
}
