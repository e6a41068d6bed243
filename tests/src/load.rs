//! Clients that ask over and over, and what they were told.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
};

use crate::{Client, Tally, until};

/// A load: threads, each with a kept connection, that GET one URL without pause.
///
/// Requests belong to phases: [`Load::next_phase`] begins one, and every request that is *started* later belongs to it.
pub struct Load {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    phase: AtomicUsize,
    ending: AtomicBool,
    log: Mutex<Log>,
}

#[derive(Default)]
struct Log {
    answered: BTreeMap<usize, Tally>,
    errors: Vec<String>,
}

impl Load {
    /// Starts.
    pub fn start(proxy: SocketAddr, url: &str, connections: usize) -> Self {
        let shared =
            Arc::new(Shared { phase: AtomicUsize::new(0), ending: AtomicBool::new(false), log: Mutex::default() });
        let threads = (0..connections).map(|_| {
            let (shared, url) = (Arc::clone(&shared), url.to_owned());
            thread::spawn(move || shared.ask(&mut Client::of(proxy), &url))
        });
        Self { threads: threads.collect(), shared }
    }

    /// Begins the next phase.
    pub fn next_phase(&self) {
        self.shared.phase.fetch_add(1, Ordering::SeqCst);
    }

    /// Waits until so many requests of the present phase have been answered, and tells by whom.
    #[track_caller]
    pub fn wait_answered(&self, requests: usize) -> Tally {
        let phase = self.shared.phase.load(Ordering::SeqCst);
        let answered = || self.shared.log().answered.get(&phase).cloned().unwrap_or_default();
        until(&format!("{requests} requests of phase {phase} are answered"), || {
            answered().total() >= requests || !self.shared.log().errors.is_empty()
        });
        answered()
    }

    /// Ends it and returns what went wrong.
    ///
    /// # Panics
    /// When a client did.
    pub fn finish(self) -> Vec<String> {
        self.shared.ending.store(true, Ordering::SeqCst);
        self.threads.into_iter().for_each(|thread| thread.join().expect("a client that does not panic"));
        std::mem::take(&mut self.shared.log().errors)
    }

    /// Ends it.
    ///
    /// # Panics
    /// When anything but a 200 was answered to any request.
    #[track_caller]
    pub fn finish_without_error(self) {
        let errors = self.finish();
        assert!(errors.is_empty(), "{} requests went wrong, the first: {}", errors.len(), errors[0]);
    }
}

impl Shared {
    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ask(&self, client: &mut Client, url: &str) {
        while !self.ending.load(Ordering::SeqCst) {
            let phase = self.phase.load(Ordering::SeqCst);
            match client.try_get(url) {
                Ok(response) if response.status == 200 => {
                    self.log().answered.entry(phase).or_default().add(response.backend());
                }
                Ok(response) => self.log().errors.push(format!("{} {}", response.status, response.text().trim())),
                Err(error) => self.log().errors.push(error.to_string()),
            }
        }
    }
}
