//! What the doctor may be told.

use clap::Args;
use hyper::Uri;

use super::output::Diagnosis;
use super::web_address;

/// What is looked at.
#[derive(Args, Clone, Debug)]
pub struct Doctor {
    /// Namespace of the operator and the gateway.
    #[arg(long, value_name = "NAME", default_value = "mooring-system")]
    pub system_namespace: String,
    /// Where the gateway is asked, in place of a port-forward to one of its pods: `http://mooring-gateway.mooring-system.svc`
    /// within the cluster.
    #[arg(long, value_parser = web_address)]
    pub url: Option<Uri>,
    /// A finding to leave out, by its number; may be repeated.
    #[arg(long, value_name = "NUMBER")]
    pub skip: Vec<String>,
    /// Fail when no webhook is asked, and not only warn.
    #[arg(long)]
    pub webhook: bool,
    /// Form of the output.
    #[arg(short, long, value_enum, default_value_t = Diagnosis::Table)]
    pub output: Diagnosis,
}
