//! What each verb does.

mod artifact;
mod convert;
mod create;
mod credentials;
mod delete;
mod doctor;
mod explain;
mod instance_type;
mod invoke;
mod logs;
mod quota;
mod regenerate;
mod rollout;
mod traffic;
mod update;

use kube::api::ListParams;

use super::arguments::catalogue::{InstanceTypes, Quotas};
use super::arguments::change::Ending;
use super::arguments::deployment::{Deployment, DeploymentName, Rollout};
use super::arguments::endpoint::Endpoint;
use super::arguments::{Arguments, Command};
use super::connect::{Connection, connect};
use super::table::Listed;
use super::talk::say;
use super::{CliError, follow, man, print, talk};
use crate::api::artifact::ArtifactKind;
use crate::api::deployment::OnlineDeployment;
use crate::api::endpoint::OnlineEndpoint;

/// Runs one command.
///
/// # Errors
/// [`CliError`], with the exit code that belongs to it.
pub async fn run(arguments: Arguments) -> Result<(), CliError> {
    let cluster = &arguments.cluster;
    if let Some(note) = arguments.workspace.note() {
        say!("note: {note}");
    }
    match arguments.command {
        Command::Completion { shell } => {
            // Into memory first: clap panics when it can't write.
            let mut script = Vec::new();
            let mut grammar = talk::called().grammar();
            let name = grammar.get_name().to_owned();
            clap_complete::generate(shell, &mut grammar, name, &mut script);
            print::bytes(&script)
        }
        Command::Man { directory } => {
            let count = man::write(talk::called().grammar(), &directory)?;
            say!("{count} pages are in {}", directory.display());
            Ok(())
        }
        Command::Version => print::text(concat!("mooring ", env!("CARGO_PKG_VERSION"), "\n")),
        Command::Convert(asked) => convert::convert(&asked),
        Command::Explain(asked) => explain::explain(&asked.what),
        Command::Doctor(asked) => doctor::run(&connect(cluster).await?, &asked).await,
        Command::Endpoint(verb) => endpoint(&connect(cluster).await?, verb).await,
        Command::Deployment(verb) => deployment(&connect(cluster).await?, verb).await,
        Command::Model(verb) => artifact::run(&connect(cluster).await?, ArtifactKind::Model, &verb).await,
        Command::Code(verb) => artifact::run(&connect(cluster).await?, ArtifactKind::Code, &verb).await,
        Command::InstanceType(InstanceTypes::List(list)) => {
            instance_type::list(&connect(cluster).await?, list.output).await
        }
        Command::Quota(Quotas::Show(show)) => quota::show(&connect(cluster).await?, show.output).await,
    }
}

async fn endpoint(connection: &Connection, verb: Endpoint) -> Result<(), CliError> {
    match verb {
        Endpoint::Create(asked) => create::endpoint(connection, &asked).await,
        Endpoint::Update(asked) => update::endpoint(connection, &asked).await,
        Endpoint::Delete(asked) => delete::endpoint(connection, &asked).await,
        Endpoint::List(list) => {
            let endpoints: Vec<OnlineEndpoint> = connection.list(&ListParams::default()).await?;
            print::objects(list.output, endpoints)
        }
        Endpoint::Show(show) => print::object(show.output, connection.endpoint(&show.name).await?),
        Endpoint::GetCredentials(get) => {
            let found = credentials::of(connection, &get.name, &get.caller, credentials::AN_HOUR).await?;
            print::document(get.output, &found)
        }
        Endpoint::RegenerateKeys(asked) => regenerate::keys(connection, &asked).await,
        Endpoint::GetLogs(asked) => {
            let deployment = DeploymentName { name: asked.deployment, endpoint_name: Some(asked.name) };
            logs::get(connection, &deployment, &asked.logs).await
        }
        Endpoint::Traffic(asked) => traffic::traffic(connection, &asked).await,
        Endpoint::Invoke(request) => invoke::invoke(connection, request).await,
    }
}

async fn deployment(connection: &Connection, verb: Deployment) -> Result<(), CliError> {
    match verb {
        Deployment::Create(asked) => create::deployment(connection, &asked).await,
        Deployment::Update(asked) => update::deployment(connection, &asked).await,
        Deployment::Delete(asked) => delete::deployment(connection, &asked).await,
        Deployment::List(list) => {
            let deployments = match &list.endpoint_name {
                Some(endpoint) => connection.deployments_of(endpoint).await?,
                None => connection.list(&ListParams::default()).await?,
            };
            print::objects(list.output, deployments)
        }
        Deployment::Show(show) => print::object(show.output, connection.named(&show.deployment).await?),
        Deployment::Scale(asked) => rollout::scale(connection, &asked).await,
        Deployment::Restart(asked) => rollout::restart(connection, &asked).await,
        Deployment::Rollout(Rollout::Status(asked)) => rollout::status(connection, &asked).await,
        Deployment::GetLogs(asked) => logs::get(connection, &asked.deployment, &asked.logs).await,
    }
}

impl Ending {
    /// Prints what came of a change, when that is wanted.
    fn print<K>(self, object: K) -> Result<(), CliError>
    where
        K: Listed + serde::Serialize + kube::Resource<DynamicType = ()>,
    {
        self.output.map_or(Ok(()), |output| print::object(output, object))
    }
}

/// How a change of an endpoint ends: waited for, and printed.
async fn ended(connection: &Connection, object: OnlineEndpoint, ending: Ending) -> Result<(), CliError> {
    let object = if ending.waiting.no_wait { object } else { follow::endpoint(connection, &object).await? };
    ending.print(object)
}

/// How a change of a deployment ends: waited for, and printed.
async fn ended_deployment(connection: &Connection, object: OnlineDeployment, ending: Ending) -> Result<(), CliError> {
    let object = if ending.waiting.no_wait { object } else { follow::deployment(connection, &object).await? };
    ending.print(object)
}
