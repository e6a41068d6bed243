//! From the source's changes to published snapshots: one owner of the registry, one value handed out.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::{mpsc, watch};
use wasmesh_core::{
    name_map::Difference,
    service::Service,
    snapshot::same_service,
    version::{CanonicalWriter, Version},
};

use crate::{
    events, policies::modules::Modules, published::Published, registry::Registry, source::SourceUpdate,
    translate::Problem,
};

/// Changes that come within this time of the first are published together: a rollout writes a Service's slices one by
/// one, and a proxy has nothing from seeing each step.
const COALESCE: Duration = Duration::from_millis(10);

/// What is wrong with the objects as they are now; shown to people.
#[derive(Clone, Default)]
pub struct Problems(Arc<Mutex<Vec<Problem>>>);

impl Problems {
    /// All of them.
    pub fn list(&self) -> Vec<Problem> {
        self.lock().clone()
    }

    fn replace(&self, now: Vec<Problem>) {
        events::problems_changed(&self.list(), &now);
        *self.lock() = now;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Problem>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Applies updates and publishes what changed, until the source ends or nobody listens any more.
pub async fn run(
    mut registry: Registry,
    mut updates: mpsc::Receiver<SourceUpdate>,
    publish: watch::Sender<Option<Arc<Published>>>,
    modules: Modules,
    problems: Problems,
) {
    let mut source_problems = Vec::new();
    let mut content = ContentSum::default();
    let mut sequence = 0;
    while let Some(first) = updates.recv().await {
        let mut take = |update: SourceUpdate| {
            registry.apply(update.changes);
            source_problems = update.problems;
        };
        take(first);
        let window = tokio::time::sleep(COALESCE);
        tokio::pin!(window);
        loop {
            tokio::select! {
                () = &mut window => break,
                more = updates.recv() => match more {
                    Some(update) => take(update),
                    None => break,
                },
            }
        }
        problems.replace(source_problems.iter().cloned().chain(registry.problems().cloned()).collect());
        // Before anybody is told of them.
        modules.replace(registry.modules());
        let snapshot = registry.snapshot();
        let before = publish.borrow().as_ref().map(|published| published.snapshot.clone());
        if before.as_ref().is_some_and(|before| before.differences(&snapshot, same_service).next().is_none()) {
            continue;
        }
        content.follow(before.unwrap_or_default().differences(&snapshot, same_service));
        sequence += 1;
        let published = Published { snapshot, version: content.version(), sequence, at: Instant::now() };
        events::published(&published, content.endpoints);
        publish.send_replace(Some(Arc::new(published)));
    }
}

/// A sum over the versions of all Services, kept up by what changes.
#[derive(Default)]
struct ContentSum {
    sum: u64,
    endpoints: usize,
}

impl ContentSum {
    fn follow<'a>(&mut self, differences: impl Iterator<Item = Difference<'a, Arc<Service>>>) {
        for (_, before, now) in differences {
            if let Some(before) = before {
                self.sum = self.sum.wrapping_sub(Self::hash(before));
                self.endpoints -= before.endpoints.len();
            }
            if let Some(now) = now {
                self.sum = self.sum.wrapping_add(Self::hash(now));
                self.endpoints += now.endpoints.len();
            }
        }
    }

    fn hash(service: &Service) -> u64 {
        let mut writer = CanonicalWriter::default();
        writer.number(service.spec.version.0);
        writer.number(service.endpoints.version().0);
        writer.finish()
    }

    fn version(&self) -> Version {
        Version(self.sum)
    }
}
