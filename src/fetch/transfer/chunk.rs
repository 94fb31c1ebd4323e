//! Objects cut into the parts that are asked for, written and remembered one by one.

use crate::fetch::download::Span;

/// Bytes of a chunk. A fetch that is killed asks again for at most one of them per connection.
pub const CHUNK: u64 = 8 << 20;

/// How many chunks an object of `size` bytes has; an empty one has one as well.
#[must_use]
pub fn count(size: u64) -> usize {
    usize::try_from(size.div_ceil(CHUNK).max(1)).unwrap_or(usize::MAX)
}

/// The bytes of chunk `index` of an object of `size` bytes.
#[must_use]
pub fn span(index: usize, size: u64) -> Span {
    let start = (index as u64).saturating_mul(CHUNK).min(size);
    Span { start, end: start.saturating_add(CHUNK).min(size) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_byte_is_in_one_chunk(size in prop_oneof![0..3 * CHUNK, (0..4u64).prop_map(|chunks| chunks * CHUNK)]) {
            let mut end = 0;
            for index in 0..count(size) {
                let span = span(index, size);
                prop_assert_eq!(span.start, end);
                prop_assert!(span.end > span.start || size == 0);
                end = span.end;
            }
            prop_assert_eq!(end, size);
        }
    }
}
