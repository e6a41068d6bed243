//! Tasks of HTTP/2 connections stay on their worker's thread.

/// Spawns onto the local set of this thread.
#[derive(Clone, Copy)]
pub(super) struct LocalExecutor;

impl<F: Future<Output: 'static> + 'static> hyper::rt::Executor<F> for LocalExecutor {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}
