//! What a proxy is told of its peers: how many balance over the same endpoints.

use std::collections::BTreeMap;

use wasmesh_core::name::ServiceName;
use wasmesh_proto::wire;

/// Up to this number every change is told: one more or less makes a difference.
const FEW: u32 = 8;

/// What one proxy has been told.
#[derive(Debug, Default)]
pub(super) struct Told(BTreeMap<ServiceName, u32>);

impl Told {
    /// What is to be told now, if these are the numbers of all Services that matter to the proxy.
    pub(super) fn news(&mut self, now: Vec<(ServiceName, u32)>) -> Option<wire::Peers> {
        let before = std::mem::take(&mut self.0);
        let mut services = Vec::new();
        for (service, count) in now {
            // The proxy itself may not be counted yet.
            let count = count.max(1);
            let told = before.get(&service).copied().filter(|told| !is_news(*told, count));
            if told.is_none() {
                services.push(wire::ServicePeers { service: service.to_string(), count });
            }
            self.0.insert(service, told.unwrap_or(count));
        }
        (!services.is_empty()).then_some(wire::Peers { services })
    }
}

/// Whether a number differs from the one that was told by so much that it matters: by more than a quarter.
fn is_news(told: u32, now: u32) -> bool {
    told != now && (told.min(now) <= FEW || u64::from(told.abs_diff(now)) * 4 > u64::from(told))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is told of one Service when these numbers come one after the other; 0 for nothing.
    fn told(counts: &[u32]) -> Vec<u32> {
        let mut told = Told::default();
        let news = counts.iter().map(|count| {
            let news = told.news(vec![("a/x".parse().unwrap(), *count)]);
            news.map_or(0, |news| news.services[0].count)
        });
        news.collect()
    }

    #[test]
    fn small_numbers_are_told_exactly_and_large_ones_by_their_size() {
        assert_eq!(told(&[0, 1, 2, 2, 1]), [1, 0, 2, 0, 1]);
        assert_eq!(told(&[100, 101, 125, 126, 100, 94, 8]), [100, 0, 0, 126, 0, 94, 8]);
    }

    #[test]
    fn what_stops_to_matter_is_told_anew_when_it_matters_again() {
        let mut told = Told::default();
        let x = || vec![("a/x".parse().unwrap(), 3)];
        assert!(told.news(x()).is_some());
        assert!(told.news(Vec::new()).is_none());
        assert!(told.news(x()).is_some());
    }
}
