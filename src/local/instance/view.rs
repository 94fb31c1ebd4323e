//! What is seen of one instance, and kept for an agent that comes after this one.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::plan::seen::note::{Note, Topic};

/// Notes that are kept of one instance.
const MOST_NOTES: usize = 16;

/// What is seen of one instance.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct View {
    /// Its name, and that of its container.
    pub name: String,
    /// The digest of the template that it was made from.
    pub revision: String,
    /// Its number.
    pub number: u32,
    /// When it was made.
    pub created: Timestamp,
    /// The storage initializer, where there is something to fetch or to look at.
    pub initializer: Option<ContainerView>,
    /// The inference server.
    pub server: ContainerView,
    /// Whether it can serve.
    pub ready: bool,
    /// Since when that is so, or not so.
    pub ready_since: Timestamp,
    /// What happened to it.
    pub notes: Vec<Note>,
}

/// What is seen of one container.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct ContainerView {
    /// What it does now.
    pub state: State,
    /// How it ended before.
    pub last: Option<End>,
    /// How often it was started again.
    pub restarts: i32,
    /// Whether it has passed its startup probe.
    pub started: bool,
    /// The image that it was made from.
    pub image: String,
}

/// What a container does.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub enum State {
    /// It does not run, in the kubelet's words for why.
    Waiting {
        /// As `ErrImagePull`.
        reason: String,
        /// The facts.
        message: String,
    },
    /// It runs.
    Running {
        /// When it was started.
        since: Timestamp,
    },
    /// It has ended.
    Ended(End),
}

/// How a container ended.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct End {
    /// Its exit code.
    pub exit_code: i32,
    /// The kubelet's word: `Completed`, `Error`, `OOMKilled`.
    pub reason: String,
    /// Its termination message.
    pub message: String,
    /// When it was started.
    pub started: Timestamp,
    /// When it ended.
    pub finished: Timestamp,
}

impl View {
    /// An instance of which nothing is done yet.
    #[must_use]
    pub fn new(name: String, revision: String, number: u32, has_initializer: bool, now: Timestamp) -> Self {
        let waiting = if has_initializer { "PodInitializing" } else { "ContainerCreating" };
        Self {
            name,
            revision,
            number,
            created: now,
            initializer: has_initializer.then(|| ContainerView::waiting(waiting)),
            server: ContainerView::waiting(waiting),
            ready: false,
            ready_since: now,
            notes: Vec::new(),
        }
    }

    /// Says whether it can serve.
    pub fn set_ready(&mut self, ready: bool, now: Timestamp) {
        if self.ready != ready {
            (self.ready, self.ready_since) = (ready, now);
        }
    }

    /// Remembers what happened; the same again only counts.
    pub fn note(&mut self, topic: Topic, container: Option<&str>, text: String, now: Timestamp) {
        let same =
            |note: &&mut Note| note.topic == topic && note.container.as_deref() == container && note.text == text;
        if let Some(note) = self.notes.iter_mut().find(same) {
            note.count = note.count.saturating_add(1);
            note.last = now;
            return;
        }
        if self.notes.len() >= MOST_NOTES {
            self.notes.remove(0);
        }
        self.notes.push(Note { last: now, topic, container: container.map(str::to_owned), text, count: 1 });
    }
}

impl ContainerView {
    fn waiting(reason: &str) -> Self {
        Self {
            state: State::Waiting { reason: reason.to_owned(), message: String::new() },
            last: None,
            restarts: 0,
            started: false,
            image: String::new(),
        }
    }

    /// It does not run, for this reason.
    pub fn wait(&mut self, reason: &str, message: &str) {
        self.started = false;
        self.state = State::Waiting { reason: reason.to_owned(), message: message.to_owned() };
    }

    /// It has ended.
    pub fn end(&mut self, end: End) {
        self.started = false;
        self.last = Some(end.clone());
        self.state = State::Ended(end);
    }

    /// Whether it has ended well.
    #[must_use]
    pub const fn is_done(&self) -> bool {
        matches!(&self.state, State::Ended(end) if end.exit_code == 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_happens_again_is_counted_and_old_things_are_forgotten() {
        let mut view = View::new("n".into(), "r".into(), 0, true, Timestamp::UNIX_EPOCH);
        for _ in 0..3 {
            view.note(Topic::Unhealthy, Some("inference-server"), "x".into(), Timestamp::UNIX_EPOCH);
        }
        assert_eq!((view.notes.len(), view.notes[0].count), (1, 3));
        for number in 0..40 {
            view.note(Topic::Unhealthy, None, number.to_string(), Timestamp::UNIX_EPOCH);
        }
        assert_eq!(view.notes.len(), MOST_NOTES);
    }
}
