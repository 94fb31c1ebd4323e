//! A container that runs: its probes, until it has ended.

use std::convert::Infallible;
use std::time::Duration;

use bollard::query_parameters::WaitContainerOptions;
use futures::StreamExt;
use jiff::Timestamp;
use k8s_openapi::api::core::v1 as core;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use super::container::{self, Found};
use super::probe::{Question, Row, Verdict};
use super::view::End;
use super::{Instance, Running, SILENCE};
use crate::plan::build::pod::SERVER;
use crate::plan::seen::note::Topic;

impl Instance {
    /// Asks a running container until it ends.
    pub(super) async fn watch(&self, container: &Running) -> End {
        let server = self.blueprint.server();
        let question = |of: fn(&core::Container) -> Option<&core::Probe>| server.and_then(of).and_then(Question::of);
        let (started, has_started) = watch::channel(false);
        let kill = tokio::select! {
            end = self.end() => return end,
            kill = self.startup(container, question(|it| it.startup_probe.as_ref()), &started) => kill,
            kill = self.liveness(container, question(|it| it.liveness_probe.as_ref()), has_started.clone()) => kill,
            never = self.readiness(container, question(|it| it.readiness_probe.as_ref()), has_started.clone()) => match never {},
        };
        let text = format!("Container {SERVER} failed {kill} probe, will be restarted");
        self.tell(|view, now| {
            view.note(Topic::KilledByProbe, Some(SERVER), text, now);
            view.set_ready(false, now);
        });
        container::stop(&self.shared.engine, &self.name, self.blueprint.grace).await;
        self.end().await
    }

    /// Resolves when the container has to be ended.
    async fn startup(
        &self,
        container: &Running,
        question: Option<Question>,
        started: &watch::Sender<bool>,
    ) -> &'static str {
        let begin = || {
            self.tell(|view, _| view.server.started = true);
            started.send_replace(true);
        };
        let Some(question) = question.filter(|_| !self.show.borrow().server.started) else {
            begin();
            return std::future::pending().await;
        };
        let mut probe = Probe::new("Startup", question, container);
        loop {
            match self.verdict(container, &mut probe).await {
                Verdict::Healthy => {
                    begin();
                    return std::future::pending().await;
                }
                Verdict::Unhealthy => return "startup",
                Verdict::Open => {}
            }
        }
    }

    /// Resolves when the container has to be ended.
    async fn liveness(
        &self,
        container: &Running,
        question: Option<Question>,
        mut started: watch::Receiver<bool>,
    ) -> &'static str {
        let Some(question) = question else { return std::future::pending().await };
        let _ = started.wait_for(|started| *started).await;
        let mut probe = Probe::new("Liveness", question, container);
        loop {
            if self.verdict(container, &mut probe).await == Verdict::Unhealthy {
                return "liveness";
            }
        }
    }

    async fn readiness(
        &self,
        container: &Running,
        question: Option<Question>,
        mut started: watch::Receiver<bool>,
    ) -> Infallible {
        let _ = started.wait_for(|started| *started).await;
        let Some(question) = question else {
            self.tell(|view, now| view.set_ready(true, now));
            return std::future::pending().await;
        };
        let mut probe = Probe::new("Readiness", question, container);
        loop {
            match self.verdict(container, &mut probe).await {
                Verdict::Healthy => self.tell(|view, now| view.set_ready(true, now)),
                Verdict::Unhealthy => self.tell(|view, now| view.set_ready(false, now)),
                Verdict::Open => {}
            }
        }
    }

    /// Asks when it is time to, and says what all answers up to now mean.
    async fn verdict(&self, container: &Running, probe: &mut Probe) -> Verdict {
        sleep_until(probe.next).await;
        probe.next = Instant::now() + probe.question.period;
        let answer = match container.ports.get(&probe.question.port) {
            Some(address) => probe.question.ask(*address).await,
            None => Err(format!("the engine has not published port {}", probe.question.port)),
        };
        if let Err(words) = &answer {
            let text = format!("{} probe failed: {words}", probe.kind);
            self.tell(|view, now| view.note(Topic::Unhealthy, Some(SERVER), text, now));
        }
        probe.row.add(answer.is_ok(), &probe.question)
    }

    /// Resolves when the container has ended, however long that takes.
    async fn end(&self) -> End {
        let engine = &self.shared.engine;
        loop {
            {
                let mut waits = std::pin::pin!(engine.api.wait_container(&self.name, None::<WaitContainerOptions>));
                // An exit code other than 0 is an error to the library; what it was is looked up.
                let _ = waits.next().await;
            }
            match container::look(engine, &self.name).await {
                Ok(Some(Found::Ended(end))) => {
                    let message = self.message(&end).await;
                    return End { message, ..end };
                }
                // Somebody has taken it away.
                Ok(None | Some(Found::Made)) => {
                    let now = Timestamp::now();
                    let reason = "ContainerStatusUnknown".to_owned();
                    let message = "the container is no longer there".to_owned();
                    return End { exit_code: 137, reason, message, started: now, finished: now };
                }
                Ok(Some(Found::Running { .. })) => sleep(Duration::from_millis(200)).await,
                Err(_) => sleep(SILENCE).await,
            }
        }
    }
}

/// A question with its answers.
struct Probe {
    kind: &'static str,
    question: Question,
    row: Row,
    next: Instant,
}

impl Probe {
    /// The delay counts from the start of the container, whichever agent saw it.
    fn new(kind: &'static str, question: Question, container: &Running) -> Self {
        let passed = Duration::try_from(Timestamp::now().duration_since(container.since)).unwrap_or_default();
        let next = Instant::now() + question.delay.saturating_sub(passed);
        Self { kind, question, row: Row::default(), next }
    }
}
