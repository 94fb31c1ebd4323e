//! The Secret by which the replicas of the gateway know one another.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use kube::Client;
use kube::api::{Api, ObjectMeta, PostParams};
use tokio_util::sync::CancellationToken;

use super::place::Place;
use crate::process::key;

/// Its only key.
const KEY: &str = "secret";
/// How often it is looked for: gateways that run need it only to find new ones.
const INTERVAL: Duration = Duration::from_mins(1);
/// Pause after a failure: the first gateways wait.
const PAUSE: Duration = Duration::from_secs(2);

/// Makes the Secret whenever it is missing, until `shutdown`. One that is there is never changed.
pub async fn keep(client: Client, place: Place, shutdown: CancellationToken) {
    let secrets = Api::<Secret>::namespaced(client, &place.namespace);
    let mut failing = false;
    loop {
        let pause = match make_if_missing(&secrets, &place.name).await {
            Ok(made) => {
                if made {
                    tracing::info!(secret = place.name, "made the secret of the gateway's replicas");
                }
                failing = false;
                INTERVAL
            }
            Err(error) => {
                if !std::mem::replace(&mut failing, true) {
                    tracing::warn!(secret = place.name, %error, "making the secret of the gateway's replicas failed");
                }
                PAUSE
            }
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = shutdown.cancelled() => return,
        }
    }
}

async fn make_if_missing(secrets: &Api<Secret>, name: &str) -> Result<bool, Box<dyn std::error::Error + Send + Sync>> {
    if secrets.get_metadata_opt(name).await?.is_some() {
        return Ok(false);
    }
    let secret = Secret {
        metadata: ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() },
        immutable: Some(true),
        string_data: Some(BTreeMap::from([(KEY.to_owned(), key::fresh()?)])),
        ..Secret::default()
    };
    match secrets.create(&PostParams::default(), &secret).await {
        Ok(_) => Ok(true),
        // Another operator was quicker; its secret is as good.
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
        Err(error) => Err(error.into()),
    }
}
