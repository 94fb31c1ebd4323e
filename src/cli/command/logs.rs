//! The log of a container of an instance.

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{ListParams, LogParams};

use crate::api::deployment::OnlineDeployment;
use crate::api::label;
use crate::cli::CliError;
use crate::cli::arguments::GetLogs;
use crate::cli::connect::{Connection, api};
use crate::cli::print;

pub(super) async fn get(connection: &Connection, request: GetLogs) -> Result<(), CliError> {
    let deployment: OnlineDeployment = connection.get("OnlineDeployment", "deployment", &request.name).await?;
    let pods = connection.api::<Pod>();
    let instance = if let Some(instance) = &request.instance {
        Some(instance.clone())
    } else {
        let selector = format!("{}={}", label::ONLINE_DEPLOYMENT, request.name);
        let all = pods.list(&ListParams::default().labels(&selector)).await.map_err(api("listing the instances"))?;
        all.items.first().map(ResourceExt::name_any)
    };
    let Some(instance) = instance else {
        let ready = deployment.status.as_ref().and_then(|status| {
            status.conditions.iter().find(|condition| condition.type_ == crate::api::condition::READY)
        });
        let why = ready.map_or("the operator has not looked at it yet", |ready| ready.message.as_str());
        eprintln!("there is no instance yet ({why}); try again later");
        return Ok(());
    };
    let container = request.container.as_str();
    let parameters = LogParams {
        container: Some(container.to_owned()),
        tail_lines: Some(request.lines),
        previous: request.previous,
        ..LogParams::default()
    };
    match pods.logs(&instance, &parameters).await {
        Ok(log) => {
            eprintln!("{instance}, container {container}:");
            print::text(&log)
        }
        // "container is waiting to start": the API server says for what.
        Err(kube::Error::Api(status)) if status.code == 400 => {
            eprintln!("{instance}, container {container}: {}; try again later", status.message);
            Ok(())
        }
        Err(error) => Err(api("reading the log")(error)),
    }
}
