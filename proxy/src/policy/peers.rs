//! How many proxies balance over the same endpoints, as the control plane tells.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
};

use wasmesh_core::name::ServiceName;

/// The number for each Service, shared by whoever hears of it and whoever is asked for it.
#[derive(Debug, Clone, Default)]
pub struct Peers(Arc<Mutex<HashMap<ServiceName, Arc<AtomicU32>>>>);

/// So many Services may have numbers that nobody asks for.
const MAX_UNASKED: usize = 1024;

impl Peers {
    /// The number for a Service, now and from now on; 0 until the control plane has told.
    pub fn of(&self, service: &ServiceName) -> Arc<AtomicU32> {
        let mut services = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(services.entry(service.clone()).or_default())
    }

    /// Takes note of new numbers. Those that nobody asks for are forgotten when there are very many: a module may be on its
    /// way to its first question.
    pub fn tell(&self, told: Vec<(ServiceName, u32)>) {
        let mut services = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if services.len() > MAX_UNASKED {
            services.retain(|_, count| Arc::strong_count(count) > 1);
        }
        for (service, count) in told {
            services.entry(service).or_default().store(count, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_has_asked_sees_what_is_told() {
        let (peers, [web, db]) = (Peers::default(), ["default/web", "default/db"].map(|name| name.parse().unwrap()));
        let asked = peers.of(&web);
        peers.tell(vec![(web.clone(), 7), (db.clone(), 3)]);
        assert_eq!(asked.load(Ordering::Relaxed), 7);
        assert_eq!(peers.of(&db).load(Ordering::Relaxed), 3, "told before it was asked");
        let many = (0..=MAX_UNASKED).map(|n| (format!("default/s{n}").parse().unwrap(), 1)).collect();
        peers.tell(many);
        peers.tell(vec![]);
        let kept = peers.0.lock().unwrap().len();
        assert_eq!((kept, peers.of(&web).load(Ordering::Relaxed)), (1, 7));
    }
}
