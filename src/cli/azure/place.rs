//! Where files are: paths of this machine and addresses of stores, in the words of `spec.model.uri`.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use super::reference;

/// What a path has to have encoded in a URI: everything but RFC 3986's unreserved letters and the slash.
const ENCODED: AsciiSet = NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');

/// Schemes that a deployment may name as they are.
const KNOWN: [&str; 9] = ["http", "https", "s3", "azure", "abfss", "gs", "hf", "oci", "pvc"];

/// Longest URI, as the schema has it.
const LONGEST: usize = 2048;

/// Where something is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// Its URI.
    pub(super) uri: String,
    /// Its absolute path, when it is on this machine.
    pub(super) path: Option<String>,
}

/// Finds the place that a text names, which is no reference to a workspace; `folder` is what relative paths count from.
///
/// # Errors
/// Why it is no place, in words.
pub(super) fn find(text: &str, folder: &str) -> Result<Place, String> {
    if reference::parse(text).is_some() {
        return Err(format!("{text:?} names something in an Azure ML workspace, which this cluster does not have"));
    }
    let place = if let Some((scheme, rest)) = scheme(text) {
        match scheme.as_str() {
            // The command line of 2021 wrote file:../model, URIs are file:///model.
            "file" => {
                let path = rest.strip_prefix("//").unwrap_or(rest);
                let path =
                    percent_decode_str(path).decode_utf8().map_err(|_| format!("is {text:?}, which is not UTF-8"))?;
                local(&path, folder)?
            }
            "wasb" | "wasbs" => Place { uri: blob(rest).ok_or_else(|| wrong_blob(text))?, path: None },
            "runs" | "models" | "mlflow-artifacts" => {
                return Err(format!(
                    "{text:?} is kept by an MLflow server; download it (mlflow artifacts download --artifact-uri {text}) and \
                     write the folder, or the address of the store that has it"
                ));
            }
            known if KNOWN.contains(&known) && rest.starts_with("//") => {
                Place { uri: format!("{known}:{rest}"), path: None }
            }
            drive if drive.len() == 1 => {
                return Err(format!("{text:?} is a path of Windows; write it relative to this file, with '/'"));
            }
            other => {
                return Err(format!(
                    "has the scheme {other}://; known are {}:// and paths of files",
                    KNOWN.join("://, ")
                ));
            }
        }
    } else {
        local(text, folder)?
    };
    if place.uri.len() > LONGEST {
        return Err(format!("has {} characters as a URI; at most {LONGEST} are possible", place.uri.len()));
    }
    Ok(place)
}

/// `scheme:rest`; a file may have a colon too, but not after such letters alone.
fn scheme(text: &str) -> Option<(String, &str)> {
    let (scheme, rest) = text.split_once(':')?;
    let is_scheme = scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+.-".contains(&byte));
    let is_uri = rest.starts_with(['/', '\\']) || scheme.eq_ignore_ascii_case("file");
    (is_scheme && is_uri).then(|| (scheme.to_ascii_lowercase(), rest))
}

/// `//container@account.blob.core.windows.net/path` → `azure://account/container/path`.
fn blob(rest: &str) -> Option<String> {
    let (container, rest) = rest.strip_prefix("//")?.split_once('@')?;
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let account = host.split('.').next().filter(|account| !account.is_empty())?;
    (!container.is_empty()).then(|| format!("azure://{account}/{container}/{path}"))
}

fn wrong_blob(text: &str) -> String {
    format!("is {text:?}; it must look like wasbs://CONTAINER@ACCOUNT.blob.core.windows.net/PATH")
}

/// A path of this machine.
///
/// # Errors
/// When there is none in it.
pub(super) fn local(text: &str, folder: &str) -> Result<Place, String> {
    if text.is_empty() || text.contains('\0') {
        return Err("names no file or folder".to_owned());
    }
    let path = resolve(text, folder);
    Ok(Place { uri: format!("file://{}", utf8_percent_encode(&path, &ENCODED)), path: Some(path) })
}

/// The absolute path, by its letters alone: `..` takes the part before away, whatever links say. A trailing slash stays.
pub(super) fn resolve(text: &str, folder: &str) -> String {
    let joined = if text.starts_with('/') { text.to_owned() } else { format!("{folder}/{text}") };
    let mut parts: Vec<&str> = Vec::new();
    for part in joined.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            name => parts.push(name),
        }
    }
    let slash = if text.ends_with('/') && !parts.is_empty() { "/" } else { "" };
    format!("/{}{slash}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FOLDER: &str = "/home/me/endpoints";

    fn uri(text: &str) -> String {
        find(text, FOLDER).unwrap().uri
    }

    #[test]
    fn paths_count_from_the_folder_of_the_file() {
        for (text, expected) in [
            ("model.pkl", "file:///home/me/endpoints/model.pkl"),
            ("./model/", "file:///home/me/endpoints/model/"),
            ("../../model-1/./model", "file:///home/model-1/model"),
            ("../../../../../x", "file:///x"),
            ("/data//model/", "file:///data/model/"),
            (".", "file:///home/me/endpoints"),
            ("file:../model.pkl", "file:///home/me/model.pkl"),
            ("file:///data/a%20b", "file:///data/a%20b"),
        ] {
            assert_eq!(uri(text), expected, "{text}");
        }
    }

    #[test]
    fn what_a_uri_reserves_is_encoded() {
        assert_eq!(uri("my model#1?/ü%.pkl"), "file:///home/me/endpoints/my%20model%231%3F/%C3%BC%25.pkl");
        assert_eq!(uri("model:v1.pkl"), "file:///home/me/endpoints/model%3Av1.pkl");
    }

    #[test]
    fn addresses_of_stores_stay_and_wasbs_is_rewritten() {
        for (text, expected) in [
            ("https://a.blob.core.windows.net/c/p?sig=x", "https://a.blob.core.windows.net/c/p?sig=x"),
            ("S3://models/iris/", "s3://models/iris/"),
            ("abfss://c@a.dfs.core.windows.net/p/", "abfss://c@a.dfs.core.windows.net/p/"),
            ("wasbs://c@a.blob.core.windows.net/p/q/", "azure://a/c/p/q/"),
            ("wasb://c@a.blob.core.windows.net", "azure://a/c/"),
            ("pvc://claim/path", "pvc://claim/path"),
        ] {
            assert_eq!(uri(text), expected, "{text}");
        }
    }

    #[test]
    fn what_nobody_can_fetch_is_refused() {
        for text in [
            "ftp://host/x",
            "runs:/0a1b/model",
            "wasbs://a.blob.core.windows.net/p",
            "",
            r"C:\model",
            "dbfs:/x",
            "azureml:a:1",
        ] {
            assert!(find(text, FOLDER).is_err(), "{text}");
        }
        assert!(find(&"x".repeat(2100), FOLDER).is_err());
    }

    proptest! {
        #[test]
        fn the_path_can_be_read_back_from_the_uri(text in "[^:\0]{1,60}") {
            let place = find(&text, FOLDER).unwrap();
            let encoded = place.uri.strip_prefix("file://").unwrap();
            let path = place.path.unwrap();
            prop_assert_eq!(percent_decode_str(encoded).decode_utf8().unwrap(), path.as_str());
            prop_assert!(path.starts_with('/') && !path.split('/').any(|part| part == ".." || part == "."));
            prop_assert!(encoded.bytes().all(|byte| byte.is_ascii_graphic() && !b"?#[]\\".contains(&byte)));
        }
    }
}
