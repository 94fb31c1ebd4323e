//! Trees of JSON and YAML as what they say they are.

use serde::de::DeserializeOwned;
use serde_json::Value;

/// A tree as a type. Files are read by way of a tree: a program has the code for each type once, and not for each form.
///
/// # Errors
/// What is wrong, behind the path of where it is wrong: `spec.instanceCount: invalid type: …`.
pub fn typed<T: DeserializeOwned>(tree: Value) -> Result<T, String> {
    serde_path_to_error::deserialize(tree).map_err(|error| format!("{}: {}", error.path(), error.inner()))
}
