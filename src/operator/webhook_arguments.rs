//! The webhook's part of the command line.

use std::net::SocketAddr;

use clap::ValueEnum;
use jiff::SignedDuration;

use super::admission::Settings;
use super::place::Place;
use crate::webhook::certificate::Period;
use crate::webhook::registration::Reached;
use crate::webhook::review::TrafficGuard;

/// What the command line says of the webhook.
#[derive(clap::Args, Debug)]
#[command(next_help_heading = "Admission webhook")]
pub struct Webhook {
    /// Address to listen on for the API server; no webhook without it.
    #[arg(long, env = "MOORING_WEBHOOK_LISTEN", requires = "webhook_secret", requires = "webhook_configuration")]
    webhook_listen: Option<SocketAddr>,
    /// Service by which the API server reaches it, as NAMESPACE/NAME; by the address without it.
    #[arg(long, env = "MOORING_WEBHOOK_SERVICE", value_name = "NAMESPACE/NAME")]
    webhook_service: Option<Place>,
    /// Secret of its certificate, as NAMESPACE/NAME; it must exist and may be empty.
    #[arg(long, env = "MOORING_WEBHOOK_SECRET", value_name = "NAMESPACE/NAME")]
    webhook_secret: Option<Place>,
    /// `ValidatingWebhookConfiguration` to fill; it must exist.
    #[arg(long, env = "MOORING_WEBHOOK_CONFIGURATION", value_name = "NAME")]
    webhook_configuration: Option<String>,
    /// How long a certificate is shown before the next one is made, as 720h; it is good for three times that.
    #[arg(long, env = "MOORING_WEBHOOK_CERTIFICATE_PERIOD", value_name = "DURATION", default_value = "720h")]
    webhook_certificate_period: SignedDuration,
    /// Somebody else (cert-manager) puts certificates into the Secret: tls.crt, tls.key and ca.crt.
    #[arg(long, env = "MOORING_WEBHOOK_CERTIFICATE_GIVEN")]
    webhook_certificate_given: bool,
    /// What becomes of the deletion of a deployment that has live traffic.
    #[arg(long, env = "MOORING_WEBHOOK_TRAFFIC_GUARD", value_name = "WHAT", default_value = "deny")]
    webhook_traffic_guard: Guard,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Guard {
    Deny,
    Warn,
    Off,
}

impl Webhook {
    /// The settings, when there is a webhook. Only objects of `namespace` are asked about, if there is one.
    #[must_use]
    pub fn settings(self, namespace: Option<String>) -> Option<Settings> {
        let (listen, secret, configuration) = (self.webhook_listen?, self.webhook_secret?, self.webhook_configuration?);
        let service = |place: Place| Reached::Service { namespace: place.namespace, name: place.name };
        Some(Settings {
            listen,
            secret,
            configuration,
            namespace,
            reached: self.webhook_service.map_or(Reached::Address(listen), service),
            period: (!self.webhook_certificate_given).then_some(Period(self.webhook_certificate_period)),
            guard: match self.webhook_traffic_guard {
                Guard::Deny => TrafficGuard::Deny,
                Guard::Warn => TrafficGuard::Warn,
                Guard::Off => TrafficGuard::Off,
            },
        })
    }
}
