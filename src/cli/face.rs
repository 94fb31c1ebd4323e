//! The face of waiting: how far a deployment is, live on a terminal, else one line for each change. All on standard error.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::one_line;
use super::talk::{self, say};
use crate::api::deployment::{DeploymentError, Download, OnlineDeployment, Phase, Phases};
use crate::api::size::size;

/// How often a spinner turns.
const TURN: Duration = Duration::from_millis(120);
/// The names of the phases, as `get-logs` prints them.
const PHASES: [&str; 4] = ["SystemSetup", "UserContainerImagePull", "ModelDownload", "UserContainerStart"];
/// Columns of the longest of them.
const WIDTH: usize = 22;

/// What waiting looks like.
pub(super) struct Face {
    begun: Instant,
    live: Option<Live>,
    last: String,
}

/// Lines that are drawn anew.
struct Live {
    all: MultiProgress,
    phases: [ProgressBar; 4],
    sum: ProgressBar,
}

impl Face {
    pub(super) fn new() -> Self {
        let live = (std::io::stderr().is_terminal() && talk::is_welcome()).then(Live::new);
        Self { begun: Instant::now(), live, last: String::new() }
    }

    /// Shows how far a deployment is.
    pub(super) fn see(&mut self, name: &str, deployment: &OnlineDeployment) {
        let status = deployment.status.clone().unwrap_or_default();
        let phases = status.phases.unwrap_or_default();
        let state = status.provisioning_state.map_or_else(|| "not seen yet".to_owned(), |state| format!("{state:?}"));
        let ready = status.ready.clone().unwrap_or_else(|| format!("0/{}", deployment.spec.instance_count));
        let trouble = status.error.as_ref().map(trouble);
        let elapsed = self.begun.elapsed().as_secs();
        if let Some(live) = &self.live {
            live.show(phases, status.download.as_ref());
            let trouble = trouble.map(|trouble| format!(": {trouble}")).unwrap_or_default();
            live.sum.set_message(format!("deployment {name:?}: {ready} instances, {state}{trouble}"));
            return;
        }
        let mut line: Vec<String> =
            PHASES.iter().zip(list(phases)).map(|(name, phase)| format!("{name} {phase:?}")).collect();
        line.push(format!("{ready} instances"));
        line.push(state);
        line.extend(status.download.as_ref().map(amounts));
        line.extend(trouble);
        let line = line.join(", ");
        if line != self.last {
            say!("{elapsed:>4}s  {name}: {line}");
            self.last = line;
        }
    }

    /// Says something in between.
    pub(super) fn say(&mut self, words: &str) {
        match &self.live {
            Some(live) => live.sum.set_message(words.to_owned()),
            None if words != self.last => {
                say!("{:>4}s  {words}", self.begun.elapsed().as_secs());
                words.clone_into(&mut self.last);
            }
            None => {}
        }
    }

    /// Takes the live lines away.
    pub(super) fn end(self) {
        if let Some(live) = self.live {
            // A terminal that is gone has nothing to be cleared.
            let _ = live.all.clear();
        }
    }
}

impl Live {
    fn new() -> Self {
        let all = MultiProgress::with_draw_target(ProgressDrawTarget::stderr());
        let line = || {
            let bar = all.add(ProgressBar::new_spinner());
            bar.set_style(style("  {msg}"));
            bar
        };
        let phases = [line(), line(), line(), line()];
        let sum = all.add(ProgressBar::new_spinner());
        sum.set_style(style("{spinner} {elapsed} {msg}"));
        sum.enable_steady_tick(TURN);
        Self { all, phases, sum }
    }

    fn show(&self, phases: Phases, download: Option<&Download>) {
        for (index, (bar, phase)) in self.phases.iter().zip(list(phases)).enumerate() {
            let name = PHASES.get(index).copied().unwrap_or_default();
            let sign = match phase {
                Phase::Waiting => ' ',
                Phase::InProgress => '>',
                Phase::Succeeded => '✓',
                Phase::Failed => '✗',
            };
            let amounts = download.filter(|_| name == "ModelDownload" && phase == Phase::InProgress).map(amounts);
            let amounts = amounts.map(|amounts| format!("  {amounts}")).unwrap_or_default();
            bar.set_message(format!("{sign} {name:<WIDTH$} {phase:?}{amounts}"));
        }
    }
}

/// A template of ours, which is sound.
fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner())
}

fn list(phases: Phases) -> [Phase; 4] {
    [phases.system_setup, phases.user_container_image_pull, phases.model_download, phases.user_container_start]
}

/// What is wrong while it is still tried again.
fn trouble(error: &DeploymentError) -> String {
    format!("{} {}: {}", error.code.as_str(), error.reason, one_line(&error.message))
}

/// `1.2 GiB of 4.0 GiB (30 %), 12 s left, 100.0 MiB/s`.
fn amounts(download: &Download) -> String {
    let rate = size(u64::try_from(download.bytes_per_second).unwrap_or_default());
    format!("{}, {rate}/s", download.summary)
}
