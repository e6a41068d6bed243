//! What workers and the keeper of policies tell each other.

use tokio::sync::{mpsc, oneshot};
use wasmesh_policy_host::Snapshot;

use super::{
    fitted::Fitted,
    past::Past,
    record::{Consequence, Role},
};
use crate::worker::CellKey;

/// Where a program works: a cell of a worker, and its role there.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Place {
    /// Which worker.
    pub worker: usize,
    /// Which cell.
    pub cell: CellKey,
    /// As what.
    pub role: Role,
}

/// The state of an instance.
pub struct Copied {
    /// The state.
    pub state: Snapshot,
    /// What it is called in the recording of that instance, if there is one.
    pub recorded_as: Option<u64>,
}

/// What a worker remembers of a place.
pub struct Last {
    /// The last picks, the oldest first.
    pub picks: Vec<Past>,
    /// The state of the instance, if it can be copied.
    pub copied: Option<Copied>,
}

/// From a worker to the keeper.
#[derive(Debug)]
pub enum Note {
    /// An instance has failed and is gone.
    Fault {
        /// Where.
        place: Place,
        /// The metric's label.
        reason: &'static str,
        /// For people.
        detail: String,
        /// What follows from it.
        consequence: Consequence,
    },
    /// A recording has ended.
    Recorded,
}

/// A worker's way to the keeper. Faults are rare, and quarantine bounds them: the channel need not.
#[derive(Debug, Clone)]
pub struct Notes(pub mpsc::UnboundedSender<Note>);

impl Notes {
    /// Sends a note. Nobody reads them only when the proxy is ending.
    pub fn send(&self, note: Note) {
        let _ = self.0.send(note);
    }
}

/// From the keeper to a worker.
pub enum Order {
    /// Seat this one, in the place of whatever was there, and give that back.
    Seat(Box<Fitted>, oneshot::Sender<Option<Box<Fitted>>>),
    /// Leave this place empty.
    Clear(Place),
    /// Say what state the instance there is in, for one that is to go on from it.
    Snapshot(Place, oneshot::Sender<Option<Copied>>),
    /// Write no more of what happens there.
    EndRecording(Place),
    /// Say what has been picked there lately, and what state the instance is in.
    Explain(Place, oneshot::Sender<Option<Last>>),
}
