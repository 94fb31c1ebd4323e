//! How it should be. Pure: the same input gives the same output; time and chance arrive as arguments.

pub mod admission;
pub mod build;
pub mod change;
pub mod deployment;
pub mod diagnose;
pub mod download;
pub mod endpoint;
pub mod quota;
pub mod seen;
pub mod status;
pub mod traffic;
pub mod validate;

/// What holds for the whole installation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Image of the storage initializer for new revisions.
    pub fetch_image: String,
    /// The claim for shared downloads of new revisions that name none.
    pub cache_claim: Option<String>,
    /// DNS name of the gateway's Service.
    pub gateway_host: String,
    /// The cluster's DNS domain, as `cluster.local`.
    pub cluster_domain: String,
}

#[cfg(test)]
mod tests;
