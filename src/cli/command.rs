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

use super::arguments::catalogue::{InstanceTypes, Quotas};
use super::arguments::change::Ending;
use super::arguments::deployment::{Deployment, DeploymentName, Rollout};
use super::arguments::endpoint::Endpoint;
use super::arguments::{Arguments, Command};
use super::table::Listed;
use super::talk::say;
use super::target::Target;
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
        Command::Convert(asked) => convert::convert(&asked).await,
        Command::Explain(asked) => explain::explain(&asked.what),
        Command::Doctor(asked) => match Target::of(cluster).await? {
            Target::Cluster(connection) => doctor::run(&connection, &asked).await,
            Target::Local(machine) => doctor::of_machine(&machine, &asked).await,
        },
        Command::Endpoint(verb) => endpoint(&Target::of(cluster).await?, verb).await,
        // On the heap: it is the largest by far.
        Command::Deployment(verb) => Box::pin(deployment(&Target::of(cluster).await?, verb)).await,
        Command::Model(verb) => artifact::run(&Target::of(cluster).await?, ArtifactKind::Model, &verb).await,
        Command::Code(verb) => artifact::run(&Target::of(cluster).await?, ArtifactKind::Code, &verb).await,
        Command::InstanceType(InstanceTypes::List(list)) => {
            instance_type::list(&Target::of(cluster).await?, list.output).await
        }
        Command::Quota(Quotas::Show(show)) => {
            let target = Target::of(cluster).await?;
            quota::show(target.cluster("this machine has no quotas")?, show.output).await
        }
    }
}

async fn endpoint(target: &Target, verb: Endpoint) -> Result<(), CliError> {
    match verb {
        Endpoint::Create(asked) => create::endpoint(target, &asked).await,
        Endpoint::Update(asked) => update::endpoint(target, &asked).await,
        Endpoint::Delete(asked) => delete::endpoint(target, &asked).await,
        Endpoint::List(list) => print::objects(list.output, target.endpoints().await?),
        Endpoint::Show(show) => print::object(show.output, target.endpoint(&show.name).await?),
        Endpoint::GetCredentials(get) => {
            let found = credentials::of(target, &get.name, &get.caller, credentials::AN_HOUR).await?;
            print::document(get.output, &found)
        }
        Endpoint::RegenerateKeys(asked) => regenerate::keys(target, &asked).await,
        Endpoint::GetLogs(asked) => {
            let deployment = DeploymentName { name: asked.deployment, endpoint_name: Some(asked.name) };
            logs::get(target, &deployment, &asked.logs).await
        }
        Endpoint::Traffic(asked) => traffic::traffic(target, &asked).await,
        Endpoint::Invoke(request) => invoke::invoke(target, request).await,
    }
}

async fn deployment(target: &Target, verb: Deployment) -> Result<(), CliError> {
    match verb {
        // Larger than all others: they read, upload, change and wait.
        Deployment::Create(asked) => Box::pin(create::deployment(target, &asked)).await,
        Deployment::Update(asked) => Box::pin(update::deployment(target, &asked)).await,
        Deployment::Delete(asked) => delete::deployment(target, &asked).await,
        Deployment::List(list) => print::objects(list.output, target.deployments(list.endpoint_name.as_deref()).await?),
        Deployment::Show(show) => print::object(show.output, target.named(&show.deployment).await?),
        Deployment::Scale(asked) => rollout::scale(target, &asked).await,
        Deployment::Restart(asked) => rollout::restart(target, &asked).await,
        Deployment::Rollout(Rollout::Status(asked)) => rollout::status(target, &asked).await,
        Deployment::GetLogs(asked) => logs::get(target, &asked.deployment, &asked.logs).await,
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
async fn ended(target: &Target, object: OnlineEndpoint, ending: Ending) -> Result<(), CliError> {
    let object = if ending.waiting.no_wait { object } else { follow::endpoint(target, &object).await? };
    ending.print(object)
}

/// How a change of a deployment ends: waited for, and printed.
async fn ended_deployment(target: &Target, object: OnlineDeployment, ending: Ending) -> Result<(), CliError> {
    let object = if ending.waiting.no_wait { object } else { follow::deployment(target, &object).await? };
    ending.print(object)
}
