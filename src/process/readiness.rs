//! Whether a process can do its work, as `/ready` tells it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Named parts that must all be ready. Cheap to clone; all clones speak of the same process.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<Mutex<BTreeMap<&'static str, bool>>>);

impl Readiness {
    /// Parts that are not ready yet.
    #[must_use]
    pub fn waiting_for(parts: &[&'static str]) -> Self {
        Self(Arc::new(Mutex::new(parts.iter().map(|part| (*part, false)).collect())))
    }

    /// Says whether one part is ready.
    pub fn set(&self, part: &'static str, ready: bool) {
        self.parts().insert(part, ready);
    }

    /// The parts that are missing; empty when the process is ready.
    #[must_use]
    pub fn missing(&self) -> Vec<&'static str> {
        self.parts().iter().filter(|(_, ready)| !**ready).map(|(part, _)| *part).collect()
    }

    fn parts(&self) -> MutexGuard<'_, BTreeMap<&'static str, bool>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_ready_when_its_last_part_is() {
        let readiness = Readiness::waiting_for(&["caches", "routes"]);
        readiness.clone().set("caches", true);
        assert_eq!(readiness.missing(), ["routes"]);
        readiness.set("routes", true);
        assert!(readiness.missing().is_empty());
    }
}
