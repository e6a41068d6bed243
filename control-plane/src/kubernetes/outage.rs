//! What does not work is said once, and once more when it works again.

use std::sync::atomic::{AtomicBool, Ordering};

use metrics::counter;

use super::follow::Event;

/// Whether something has been said not to work.
#[derive(Debug, Default)]
pub struct Outage(AtomicBool);

impl Outage {
    /// It does not work. Whether that is news.
    pub fn begins(&self) -> bool {
        !self.0.swap(true, Ordering::Relaxed)
    }

    /// It works. Whether that is news, because it did not.
    pub fn ends(&self) -> bool {
        self.0.swap(false, Ordering::Relaxed)
    }

    /// Takes notice of what the watch of a resource says. `meanwhile` is what follows while it is broken.
    pub fn watch<K>(&self, resource: &'static str, meanwhile: &str, event: &Event<K>) {
        match event {
            Event::Failed { reason, .. } => {
                counter!("wasmesh_control_plane_watch_failures_total", "resource" => resource).increment(1);
                if self.begins() {
                    tracing::warn!("{resource} cannot be followed, {meanwhile}; it is tried again: {reason}");
                } else {
                    tracing::debug!("{resource} cannot be followed: {reason}");
                }
            }
            Event::ListEnds | Event::Applied(_) | Event::Deleted(_) | Event::Works => {
                if self.ends() {
                    tracing::info!("{resource} can be followed again");
                }
            }
            Event::ListBegins | Event::Listed(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Event, Outage};

    #[test]
    fn only_changes_are_news() {
        let outage = Outage::default();
        assert!(!outage.ends());
        assert!(outage.begins());
        assert!(!outage.begins());
        assert!(outage.ends());
        assert!(!outage.ends());
    }

    #[test]
    fn a_list_that_begins_mends_nothing() {
        let outage = Outage::default();
        let tell = |event: Event<()>| outage.watch("secrets", "nothing follows", &event);
        tell(Event::Failed { reason: "closed".to_owned(), is_final: false });
        tell(Event::ListBegins);
        tell(Event::Listed(()));
        assert!(!outage.begins());
        tell(Event::ListEnds);
        assert!(outage.begins());
    }
}
