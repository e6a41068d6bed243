//! From the source's changes to published snapshots: one owner of the registry, one value handed out.

use std::{
    sync::Arc,
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
    afar::{Patience, Wanted},
    events,
    findings::Findings,
    published::Published,
    registry::Registry,
    source::SourceUpdate,
    translate::Problem,
};

/// Changes that follow each other this closely are published together: a rollout writes a Service's slices one by one, and a
/// proxy has nothing from seeing each step.
const COALESCE: Duration = Duration::from_millis(2);
/// Nobody waits longer than this for changes that keep coming.
const COALESCE_AT_MOST: Duration = Duration::from_millis(10);

/// Applies updates and publishes what changed, until the source ends or nobody listens any more.
pub async fn run(
    registry: Registry,
    mut updates: mpsc::Receiver<SourceUpdate>,
    publish: watch::Sender<Option<Arc<Published>>>,
    findings: Findings,
) {
    let mut publisher = Publisher {
        registry,
        source_problems: Vec::new(),
        content: ContentSum::default(),
        sequence: 0,
        publish,
        findings,
    };
    loop {
        tokio::select! {
            update = updates.recv() => match update {
                Some(first) => publisher.take(first),
                None => return,
            },
            // Before the source has been read there is nothing on trial.
            () = publisher.findings.trials.changed() => {}
            () = publisher.findings.afar.changed() => {}
        }
        let end = tokio::time::sleep(COALESCE_AT_MOST);
        tokio::pin!(end);
        loop {
            tokio::select! {
                () = &mut end => break,
                () = tokio::time::sleep(COALESCE) => break,
                more = updates.recv() => match more {
                    Some(update) => publisher.take(update),
                    None => break,
                },
            }
        }
        if !publisher.has_published() {
            publisher.wait_for_modules(&mut updates).await;
        }
        publisher.publish();
    }
}

/// Everything that must be kept from one publication to the next.
struct Publisher {
    registry: Registry,
    source_problems: Vec<Problem>,
    content: ContentSum,
    sequence: u64,
    publish: watch::Sender<Option<Arc<Published>>>,
    findings: Findings,
}

impl Publisher {
    fn take(&mut self, update: SourceUpdate) {
        self.registry.apply(update.changes);
        self.source_problems = update.problems;
    }

    /// Whether proxies are served.
    fn has_published(&self) -> bool {
        self.publish.borrow().is_some()
    }

    /// Has what policies name fetched from afar, and takes over what has come.
    fn want(&mut self) {
        let wanted = self.registry.wanted();
        self.follow(wanted.clone());
        let now_wanted = self.registry.wanted();
        if now_wanted != wanted {
            // What was served instead is not wanted any more, and makes room.
            self.follow(now_wanted);
        }
    }

    fn follow(&mut self, wanted: Wanted) {
        let fetched = self.findings.afar.follow(wanted, self.registry.secrets());
        self.registry.set_fetched(fetched);
    }

    /// Waits for the modules that the first snapshot should have. What changes meanwhile is in it: whoever comes first must not be told
    /// of endpoints that have gone since.
    async fn wait_for_modules(&mut self, updates: &mut mpsc::Receiver<SourceUpdate>) {
        let afar = self.findings.afar.clone();
        let mut patience = Patience::new(Instant::now());
        loop {
            self.want();
            tokio::select! {
                () = afar.settled(&mut patience) => return,
                update = updates.recv() => match update {
                    Some(update) => self.take(update),
                    None => return,
                },
            }
        }
    }

    fn publish(&mut self) {
        self.want();
        self.registry.set_aborts(self.findings.trials.follow(self.registry.trials()));
        let problems = self.source_problems.iter().chain(self.registry.problems());
        self.findings.problems.replace(problems.cloned().collect());
        self.findings.policies.replace(self.registry.policies());
        self.findings.zones.replace(self.registry.zones());
        // Before anybody is told of them.
        self.findings.modules.replace(self.registry.modules());
        let snapshot = self.registry.snapshot();
        let before = self.publish.borrow().as_ref().map(|published| published.snapshot.clone());
        if before.as_ref().is_some_and(|before| before.differences(&snapshot, same_service).next().is_none()) {
            return;
        }
        let before = before.unwrap_or_default();
        self.content.follow(before.differences(&snapshot, same_service));
        self.findings.owners.follow(before.differences(&snapshot, same_service));
        self.sequence += 1;
        let (version, sequence) = (self.content.version(), self.sequence);
        let published = Published { snapshot, version, sequence, at: Instant::now() };
        events::published(&published, self.content.endpoints);
        self.publish.send_replace(Some(Arc::new(published)));
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
