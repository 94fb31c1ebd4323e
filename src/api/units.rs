//! Units that users write: percentages and Kubernetes quantities.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize};

/// Whole percent, 0 to 100.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[serde(transparent)]
pub struct Percent(pub i32);

impl JsonSchema for Percent {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Percent".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "integer", "format": "int32", "minimum": 0, "maximum": 100})
    }
}

/// An amount of a resource as Kubernetes writes it: `500m`, `2`, `1Gi`. Kept as written; two amounts are
/// compared by [`Quantity::compare`], never as text (`1000m` is `1`).
#[derive(Serialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(transparent)]
pub struct Quantity(String);

/// A text that is no Kubernetes quantity.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0:?} is not a quantity such as 500m, 2 or 1Gi")]
pub struct QuantityError(String);

impl Quantity {
    /// The text as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The amount in thousandths of a unit (millicores, millibytes), rounded up as Kubernetes does.
    ///
    /// # Errors
    /// When the text is no quantity or does not fit.
    pub fn millis(&self) -> Result<i128, QuantityError> {
        millis(&self.0).ok_or_else(|| QuantityError(self.0.clone()))
    }

    /// Compares two amounts by value.
    ///
    /// # Errors
    /// When one of them is no quantity.
    pub fn compare(&self, other: &Self) -> Result<Ordering, QuantityError> {
        Ok(self.millis()?.cmp(&other.millis()?))
    }
}

impl From<&str> for Quantity {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Quantity {
    /// Accepts a bare number too: `cpu: 2` is what people write.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Text(String),
            Whole(i64),
            Fraction(f64),
        }
        Ok(Self(match Written::deserialize(deserializer)? {
            Written::Text(text) => text,
            Written::Whole(number) => number.to_string(),
            Written::Fraction(number) => number.to_string(),
        }))
    }
}

impl JsonSchema for Quantity {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Quantity".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "x-kubernetes-int-or-string": true,
            "maxLength": 32,
            "pattern": r"^\+?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))(([KMGTPE]i)|[mkMGTPE]|([eE](\+|-)?[0-9]+))?$",
        })
    }
}

/// The suffixes of `apimachinery/pkg/api/resource`, as (suffix, thousandths of a unit).
const SUFFIXES: [(&str, i128); 13] = [
    ("Ki", 1_000 << 10),
    ("Mi", 1_000 << 20),
    ("Gi", 1_000 << 30),
    ("Ti", 1_000 << 40),
    ("Pi", 1_000 << 50),
    ("Ei", 1_000 << 60),
    ("m", 1),
    ("k", 1_000_000),
    ("M", 1_000_000_000),
    ("G", 1_000_000_000_000),
    ("T", 1_000_000_000_000_000),
    ("P", 1_000_000_000_000_000_000),
    ("E", 1_000_000_000_000_000_000_000),
];

fn millis(text: &str) -> Option<i128> {
    let text = text.strip_prefix('+').unwrap_or(text);
    let (digits, scale) = SUFFIXES
        .iter()
        .find_map(|(suffix, scale)| Some((text.strip_suffix(suffix)?, *scale)))
        .or_else(|| exponent(text))
        .unwrap_or((text, 1_000));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if (whole.is_empty() && fraction.is_empty())
        || fraction.len() > 18
        || !whole.bytes().chain(fraction.bytes()).all(|byte| byte.is_ascii_digit())
    {
        return None;
    }
    let unit = 10_i128.pow(u32::try_from(fraction.len()).ok()?);
    let number: i128 = format!("{whole}{fraction}").parse().ok()?;
    let scaled = number.checked_mul(scale)?;
    Some(scaled / unit + i128::from(scaled % unit != 0))
}

fn exponent(text: &str) -> Option<(&str, i128)> {
    let (digits, power) = text.split_once(['e', 'E'])?;
    let power: u32 = power.strip_prefix('+').unwrap_or(power).parse().ok()?;
    Some((digits, 10_i128.checked_pow(power.checked_add(3)?)?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn compare(left: &str, right: &str) -> Ordering {
        Quantity::from(left).compare(&Quantity::from(right)).unwrap()
    }

    #[test]
    fn amounts_are_compared_by_value_not_by_text() {
        for (left, right) in
            [("1000m", "1"), ("1024Mi", "1Gi"), ("0.5", "500m"), ("1e3", "1k"), (".1", "100m"), ("2", "2.0")]
        {
            assert_eq!(compare(left, right), Ordering::Equal, "{left} and {right}");
        }
        assert_eq!(compare("1G", "1Gi"), Ordering::Less);
        assert_eq!(compare("10", "9"), Ordering::Greater);
    }

    #[test]
    fn a_fraction_of_a_thousandth_rounds_up() {
        assert_eq!(Quantity::from("0.0001").millis(), Ok(1));
    }

    #[test]
    fn words_are_no_quantities() {
        for text in ["", "m", "Gi", "1.5.2", "a", "1x", "--1", "1e99"] {
            assert!(Quantity::from(text).millis().is_err(), "{text}");
        }
    }

    #[test]
    fn a_bare_number_is_a_quantity() {
        let read: Vec<Quantity> = serde_json::from_str(r#"[2, "500m", 0.5]"#).unwrap();
        assert_eq!(read, ["2".into(), "500m".into(), "0.5".into()]);
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in "\\PC*") {
            let _ = Quantity::from(text.as_str()).millis();
        }

        #[test]
        fn whole_units_are_a_thousand_thousandths(number in 0_i64..i64::MAX / 1000) {
            prop_assert_eq!(Quantity::from(number.to_string().as_str()).millis(), Ok(i128::from(number) * 1000));
        }
    }
}
