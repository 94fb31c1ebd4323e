//! What an instance is up to, in the three blocks of the managed product: state, events, log.

use std::cmp::Reverse;
use std::fmt::Write;
use std::pin::Pin;

use futures::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt};
use k8s_openapi::api::core::v1::{ContainerStatus, Event, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;
use kube::api::{ListParams, LogParams};

use crate::api::condition;
use crate::api::deployment::OnlineDeployment;
use crate::api::label;
use crate::cli::CliError;
use crate::cli::arguments::deployment::{Container, DeploymentName, Logs};
use crate::cli::connect::{Connection, PATIENCE, within};
use crate::cli::machine::Happened;
use crate::cli::talk::{say, tell};
use crate::cli::target::Target;
use crate::cli::{one_line, print};

/// Bytes of a log that are printed at a time.
const CHUNK: usize = 64 * 1024;
/// The API server's answer to who lacks a right.
const FORBIDDEN: u16 = 403;
/// Its answer to who asks for the log of a container that has not started.
const BAD_REQUEST: u16 = 400;

pub(super) async fn get(target: &Target, name: &DeploymentName, request: &Logs) -> Result<(), CliError> {
    let deployment = target.named(name).await?;
    let instances = instances(target, &deployment, request).await?;
    print::text(&state(&deployment))?;
    match instances.as_slice() {
        [] => {
            tell!("there is no instance yet: {}; try again later", waits_for(&deployment));
            Ok(())
        }
        [instance] => {
            events(target, &deployment, instance).await?;
            log(target, &deployment, instance, request).await
        }
        several => {
            for instance in several {
                print::text(&format!("\nInstance: {}\n", instance.name_any()))?;
                events(target, &deployment, instance).await?;
            }
            print::text("\nContainer logs:\n")?;
            // Side by side while they are followed, one after the other else.
            let logs = several.iter().map(|instance| prefixed(target, &deployment, instance, request));
            if request.follow {
                futures::future::try_join_all(logs).await.map(drop)
            } else {
                for log in logs {
                    log.await?;
                }
                Ok(())
            }
        }
    }
}

/// All of them or the one that was asked for, else the newest: while a change rolls out, the one that it is about.
async fn instances(target: &Target, deployment: &OnlineDeployment, request: &Logs) -> Result<Vec<Pod>, CliError> {
    let (mut pods, lister) = match target {
        Target::Cluster(connection) => {
            let selector = label::instance_selector(&deployment.name_any());
            let selector: Vec<String> = selector.iter().map(|(key, value)| format!("{key}={value}")).collect();
            let selector = selector.join(",");
            let pods: Vec<Pod> = connection.list(&ListParams::default().labels(&selector)).await?;
            (pods, format!("kubectl get pods --namespace {} -l {selector}", connection.namespace))
        }
        Target::Local(machine) => {
            let name = deployment.deployment_name();
            let shown = format!("mooring deployment get-logs --local -e {} -n {name}", deployment.spec.endpoint_name);
            (machine.store.pods(&deployment.spec.endpoint_name, name)?, format!("{shown} --all-instances"))
        }
    };
    if let Some(asked) = request.instance.as_deref() {
        let found = pods.into_iter().find(|pod| pod.name_any() == asked);
        return found.map(|found| vec![found]).ok_or_else(|| CliError::NotFound {
            kind: "instance",
            name: asked.to_owned(),
            place: target.place(),
            next_step: format!("see `{lister}`"),
        });
    }
    let count = pods.len();
    pods.sort_by_key(|pod| {
        (pod.metadata.deletion_timestamp.is_some(), Reverse(pod.creation_timestamp()), pod.name_any())
    });
    if request.all_instances {
        return Ok(pods);
    }
    pods.truncate(1);
    if let Some(newest) = pods.first()
        && count > 1
    {
        say!(
            "{} is the newest of {count} instances; choose one with --instance, or take --all-instances",
            newest.name_any()
        );
    }
    Ok(pods)
}

fn state(deployment: &OnlineDeployment) -> String {
    let status = deployment.status.clone().unwrap_or_default();
    let phases = status.phases.unwrap_or_default();
    let mut text = format!(
        "Instance status:\nSystemSetup: {:?}\nUserContainerImagePull: {:?}\nModelDownload: {:?}\nUserContainerStart: {:?}\n",
        phases.system_setup, phases.user_container_image_pull, phases.model_download, phases.user_container_start
    );
    if let Some(error) = status.error {
        let code = error.code.as_str();
        // Writing into a text can't fail.
        let _ =
            write!(text, "{code}: {}: {}\nNext step: {}\n", error.reason, one_line(&error.message), error.next_step);
    }
    text
}

/// What has to happen before there is an instance.
fn waits_for(deployment: &OnlineDeployment) -> String {
    if deployment.spec.instance_count == 0 {
        return "instanceCount is 0".to_owned();
    }
    let conditions = deployment.status.iter().flat_map(|status| &status.conditions);
    let ready = conditions.into_iter().find(|one| one.type_ == condition::READY && one.status != "True");
    ready.map_or_else(|| "the operator is at it".to_owned(), |ready| one_line(&ready.message))
}

async fn events(target: &Target, deployment: &OnlineDeployment, instance: &Pod) -> Result<(), CliError> {
    let mut text = "\nContainer events:\n".to_owned();
    let happened = match target {
        Target::Cluster(connection) => in_cluster(connection, instance).await?,
        Target::Local(machine) => machine.events(deployment, &instance.name_any())?,
    };
    let Some(happened) = happened else { return Ok(()) };
    for Happened { reason, kind, time, message } in &happened {
        let message = one_line(message);
        let _ = writeln!(text, "Kind: Pod, Name: {reason}, Type: {kind}, Time: {time}, Message: {message}");
    }
    print::text(&text)
}

/// The events of a pod, the oldest first; `None` for who may not read them, which is said.
async fn in_cluster(connection: &Connection, instance: &Pod) -> Result<Option<Vec<Happened>>, CliError> {
    let selection = format!(
        "involvedObject.kind=Pod,involvedObject.name={},involvedObject.uid={}",
        instance.name_any(),
        instance.uid().unwrap_or_default()
    );
    let mut events: Vec<Event> = match connection.list(&ListParams::default().fields(&selection)).await {
        Ok(events) => events,
        // Who may read logs may not always read events.
        Err(CliError::Denied { source, .. }) if source.code == FORBIDDEN => {
            say!("the events are left out: {}", source.message);
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    events.sort_by_key(time);
    let happened = |event: Event| Happened {
        time: time(&event).map(|time| time.0.to_string()).unwrap_or_default(),
        kind: event.type_.unwrap_or_default(),
        reason: event.reason.unwrap_or_default(),
        message: event.message.unwrap_or_default(),
    };
    Ok(Some(events.into_iter().map(happened).collect()))
}

/// What is read of a log.
struct Open {
    log: Pin<Box<dyn AsyncBufRead>>,
    act: String,
}

/// Opens the log of an instance; `None` when there is none yet, which is said.
async fn open(
    target: &Target,
    deployment: &OnlineDeployment,
    instance: &Pod,
    request: &Logs,
) -> Result<Option<Open>, CliError> {
    let (name, container) = (instance.name_any(), request.container);
    if !has(instance, container) {
        return Err(CliError::NoContainer { instance: name, container });
    }
    if request.previous && !has_ended(status(instance, container)) {
        return Err(CliError::NoPrevious { instance: name, container });
    }
    if let Some(what) = waits_for_before_its_start(instance, container) {
        tell!("there is no log yet: {what}; try again later");
        return Ok(None);
    }
    let act = format!("reading the log of container {} of instance {name:?}", container.as_str());
    let connection = match target {
        Target::Cluster(connection) => connection,
        Target::Local(machine) => {
            let log = machine.log(deployment, &name, request).await?;
            return Ok(Some(Open { log: Box::pin(log), act }));
        }
    };
    let parameters = LogParams {
        container: Some(container.as_str().to_owned()),
        tail_lines: Some(request.lines),
        previous: request.previous,
        follow: request.follow,
        timestamps: request.timestamps,
        ..LogParams::default()
    };
    match connection.ask(act.clone(), connection.api::<Pod>().log_stream(&name, &parameters)).await {
        Ok(log) => Ok(Some(Open { log: Box::pin(log), act })),
        // It went on between two looks; the API server says what it waits for.
        Err(CliError::Denied { source, .. }) if source.code == BAD_REQUEST => {
            tell!("there is no log yet: {}; try again later", one_line(&source.message));
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

async fn log(target: &Target, deployment: &OnlineDeployment, instance: &Pod, request: &Logs) -> Result<(), CliError> {
    let Some(Open { mut log, act }) = open(target, deployment, instance, request).await? else { return Ok(()) };
    print::text("\nContainer logs:\n")?;
    let mut chunk = vec![0; CHUNK];
    let mut last = None;
    loop {
        let length = more(target, &act, request, log.read(&mut chunk)).await?;
        let Some(bytes) = chunk.get(..length).filter(|bytes| !bytes.is_empty()) else { break };
        print::bytes(bytes)?;
        last = bytes.last().copied();
    }
    print::end_of_line(last)
}

/// Every line with the name of its instance.
async fn prefixed(
    target: &Target,
    deployment: &OnlineDeployment,
    instance: &Pod,
    request: &Logs,
) -> Result<(), CliError> {
    let Some(Open { mut log, act }) = open(target, deployment, instance, request).await? else { return Ok(()) };
    let name = instance.name_any();
    let mut line = Vec::new();
    loop {
        line.clear();
        if more(target, &act, request, log.read_until(b'\n', &mut line)).await? == 0 {
            return Ok(());
        }
        if line.last() != Some(&b'\n') {
            line.push(b'\n');
        }
        print::bytes(&[name.as_bytes(), b"  ", &line].concat())?;
    }
}

/// The next bytes of a log: those of one that is followed may be long in coming.
async fn more(
    target: &Target,
    act: &str,
    request: &Logs,
    read: impl Future<Output = std::io::Result<usize>>,
) -> Result<usize, CliError> {
    let longest = target.patience().unwrap_or(PATIENCE);
    let read = if request.follow { read.await } else { within(longest, act.to_owned(), read).await? };
    read.map_err(|source| CliError::Log { act: act.to_owned(), source })
}

fn has(instance: &Pod, container: Container) -> bool {
    let mut containers =
        instance.spec.iter().flat_map(|spec| spec.containers.iter().chain(spec.init_containers.iter().flatten()));
    containers.any(|one| one.name == container.as_str())
}

fn status(instance: &Pod, container: Container) -> Option<&ContainerStatus> {
    let status = instance.status.as_ref()?;
    let mut statuses =
        status.container_statuses.iter().flatten().chain(status.init_container_statuses.iter().flatten());
    statuses.find(|one| one.name == container.as_str())
}

/// Whether the container has ended before, and so has a log of an earlier run.
fn has_ended(status: Option<&ContainerStatus>) -> bool {
    status.and_then(|status| status.last_state.as_ref()).is_some_and(|state| state.terminated.is_some())
}

/// What a container that has never run waits for.
fn waits_for_before_its_start(instance: &Pod, container: Container) -> Option<String> {
    let Some(status) = status(instance, container) else {
        let conditions = instance.status.iter().flat_map(|status| status.conditions.iter().flatten());
        let scheduled = conditions.into_iter().find(|one| one.type_ == "PodScheduled" && one.status != "True");
        let why = scheduled.and_then(|one| one.message.as_deref()).unwrap_or("the cluster has not looked at it yet");
        return Some(format!("instance {} has no machine: {}", instance.name_any(), one_line(why)));
    };
    let waiting = status.state.as_ref()?.waiting.as_ref().filter(|_| !has_ended(Some(status)))?;
    let reason = waiting.reason.as_deref().unwrap_or("waiting");
    let message = waiting.message.as_deref().filter(|message| !message.is_empty());
    let message = message.map(|message| format!(": {}", one_line(message))).unwrap_or_default();
    Some(format!("container {} is at {reason}{message}", container.as_str()))
}

fn time(event: &Event) -> Option<Time> {
    let precise = event.event_time.as_ref().map(|time| Time(time.0));
    event.last_timestamp.clone().or(precise).or_else(|| event.first_timestamp.clone())
}
