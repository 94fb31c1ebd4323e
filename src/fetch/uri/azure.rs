//! `https://ACCOUNT.blob.core.windows.net/CONTAINER/PATH`, `azure://ACCOUNT/CONTAINER/PATH` and
//! `abfss://CONTAINER@ACCOUNT.dfs.core.windows.net/PATH`: three ways to write one place.

use super::{decode, invalid};
use crate::fetch::failure::Failure;

/// What follows the service's name in the host of an account: each of Microsoft's clouds, and accounts with a DNS zone
/// of their own (`ACCOUNT.z01.blob.storage.azure.net`).
///
/// Source: Azure CLI, `az cloud list`, `storageEndpoint`; Azure Storage, "storage account endpoints".
const CLOUDS: [&str; 4] = ["core.windows.net", "core.usgovcloudapi.net", "core.chinacloudapi.cn", "storage.azure.net"];

/// A blob or a prefix of a container of Azure Storage.
#[derive(Clone, PartialEq, Eq)]
pub struct Address {
    /// Name of the storage account.
    pub account: String,
    /// Host of the account's blob service.
    pub host: String,
    /// Name of the container.
    pub container: String,
    /// The path, decoded. Ends with `/`, or is empty, when only a prefix can be meant.
    pub path: String,
    /// The shared access signature in the uri's query. Secret.
    pub sas: Option<String>,
}

/// Whether an https url with this host is Azure Storage.
pub(super) fn is_host(host: &str) -> bool {
    account(host, "blob").is_some()
}

/// Reads what follows `https://`.
pub(super) fn https(uri: &str, rest: &str) -> Result<Address, Failure> {
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let host = host.to_ascii_lowercase();
    let host = host.strip_suffix(":443").unwrap_or(&host);
    let account = account(host, "blob").ok_or_else(|| invalid(uri, "has no host of Azure's blob service"))?;
    with_container(uri, account, host.to_owned(), path)
}

/// Reads what follows `azure://`.
pub(super) fn azure(uri: &str, rest: &str) -> Result<Address, Failure> {
    let (place, path) = rest.split_once('/').unwrap_or((rest, ""));
    if is_host(place) {
        return https(uri, rest);
    }
    with_container(uri, place, format!("{place}.blob.core.windows.net"), path)
}

/// Reads what follows `abfss://`.
pub(super) fn abfss(uri: &str, rest: &str) -> Result<Address, Failure> {
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let form = "is not of the form abfss://CONTAINER@ACCOUNT.dfs.core.windows.net/PATH";
    let (container, host) = authority.split_once('@').ok_or_else(|| invalid(uri, form))?;
    let host = host.to_ascii_lowercase();
    let account = account(&host, "dfs").ok_or_else(|| invalid(uri, form))?;
    // The same bytes lie behind both services of the account.
    let host = host.replacen(".dfs.", ".blob.", 1);
    address(uri, account, host.clone(), container, path)
}

/// The account whose `service` has this host.
fn account<'a>(host: &'a str, service: &str) -> Option<&'a str> {
    let before = |cloud: &&str| host.strip_suffix(*cloud)?.strip_suffix('.')?.strip_suffix(service)?.strip_suffix('.');
    let labels = CLOUDS.iter().find_map(before)?;
    labels.split('.').next().filter(|account| !account.is_empty())
}

fn with_container(uri: &str, account: &str, host: String, rest: &str) -> Result<Address, Failure> {
    let (rest, query) = match rest.split_once('?') {
        Some((rest, query)) => (rest, format!("?{query}")),
        None => (rest, String::new()),
    };
    let (container, path) = rest.split_once('/').unwrap_or((rest, ""));
    address(uri, account, host, container, &format!("{path}{query}"))
}

fn address(uri: &str, account: &str, host: String, container: &str, rest: &str) -> Result<Address, Failure> {
    if rest.contains('#') {
        return Err(invalid(uri, "holds #; write %23 when the path has it"));
    }
    let is_name = |text: &str| {
        let text = text.strip_prefix('$').unwrap_or(text);
        !text.is_empty() && text.len() <= 63 && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    if !is_name(account) || account.starts_with('$') {
        return Err(invalid(uri, "has no valid name of a storage account"));
    }
    if !is_name(container) {
        return Err(invalid(uri, "has no valid name of a container"));
    }
    let (path, sas) = match rest.split_once('?') {
        Some((path, query)) if query.split('&').any(|pair| pair.starts_with("sig=")) => (path, Some(query.to_owned())),
        Some(_) => return Err(invalid(uri, "has a query that is no shared access signature; write %3F for ?")),
        None => (rest, None),
    };
    let path = decode(uri, path)?;
    Ok(Address { account: account.to_owned(), host, container: container.to_owned(), path, sas })
}

#[cfg(test)]
mod tests {
    use super::super::{Location, parse};
    use super::*;
    use crate::catalogue::Reason;

    fn read(uri: &str) -> (String, String, String, String, Option<String>) {
        let Location::Azure(Address { account, host, container, path, sas }) = parse(uri).unwrap() else {
            panic!("{uri} is not Azure")
        };
        (account, host, container, path, sas)
    }

    #[test]
    fn each_form_means_the_same_place() {
        let place = read("https://acct.blob.core.windows.net/models/a%20b/c");
        assert_eq!(place.0, "acct");
        assert_eq!((place.2.as_str(), place.3.as_str(), &place.4), ("models", "a b/c", &None));
        for uri in [
            "HTTPS://Acct.Blob.Core.Windows.Net:443/models/a%20b/c",
            "azure://acct/models/a%20b/c",
            "azure://acct.blob.core.windows.net/models/a%20b/c",
            "abfss://models@acct.dfs.core.windows.net/a%20b/c",
        ] {
            assert_eq!(read(uri), place, "{uri}");
        }
        assert_eq!(read("azure://acct/models").3, "");
        assert_eq!(read("azure://acct/models/d/").3, "d/");
    }

    #[test]
    fn every_cloud_is_known() {
        assert_eq!(read("abfss://c@a.dfs.core.usgovcloudapi.net/x").1, "a.blob.core.usgovcloudapi.net");
        assert_eq!(read("https://a.blob.core.chinacloudapi.cn/c/x").1, "a.blob.core.chinacloudapi.cn");
        assert_eq!(read("https://a.z01.blob.storage.azure.net/c/x").0, "a");
        for uri in ["https://a.blob.core.example.com/c/x", "https://blob.core.windows.net/c/x"] {
            assert!(matches!(parse(uri).unwrap(), Location::Http(_)), "{uri}");
        }
    }

    #[test]
    fn a_signature_in_the_query_is_kept_apart() {
        for uri in
            ["https://a.blob.core.windows.net/c/x?sv=1&sig=S%2B", "abfss://c@a.dfs.core.windows.net/x?sv=1&sig=S%2B"]
        {
            assert_eq!((read(uri).3, read(uri).4), ("x".into(), Some("sv=1&sig=S%2B".into())), "{uri}");
        }
        assert_eq!(read("azure://a/c?sig=x").2, "c");
    }

    #[test]
    fn what_is_no_place_is_refused() {
        for uri in [
            "azure://",
            "azure://a",
            "azure://a/",
            "azure://a/c d/x",
            "azure://a/c/../x",
            "azure://a/c/x#y",
            "azure://a/c/x?snapshot=1",
            "azure://a_b/c/x",
            "abfss://a.dfs.core.windows.net/x",
            "abfss://c@a.blob.core.windows.net/x",
            "abfss://c@example.com/x",
            "https://a.blob.core.windows.net/",
        ] {
            let failure = parse(uri).err().unwrap_or_else(|| panic!("{uri} is taken"));
            assert_eq!(failure.reason, Reason::ArtifactUriInvalid, "{uri}");
        }
    }
}
