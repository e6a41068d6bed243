//! epoll, level-triggered, with a number per socket.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    time::Duration,
};

use rustix::{
    buffer::spare_capacity,
    event::{
        Timespec,
        epoll::{self, CreateFlags, EventData, EventFlags},
    },
    time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, timerfd_create, timerfd_settime},
};

/// What a socket is watched for; errors and hang-ups are always told, as if they were bytes to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Interest {
    pub(crate) read: bool,
    pub(crate) write: bool,
}

/// A socket that can be read or written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ready {
    pub(crate) key: u64,
    pub(crate) read: bool,
    pub(crate) write: bool,
    /// Nothing more can be sent on it, nor will more come than what can be read already.
    pub(crate) broken: bool,
}

/// A set of watched sockets. A socket leaves it when it is closed.
pub(crate) struct Poll {
    epoll: OwnedFd,
    events: Vec<epoll::Event>,
}

/// Ticks.
pub(crate) struct Clock(OwnedFd);

impl Clock {
    /// Waits for the next tick: the kernel sets a clock anew when it has been read.
    pub(crate) fn heard(&self) {
        let _ = rustix::io::read(&self.0, &mut [0; 8]);
    }
}

impl Interest {
    pub(crate) const READ: Self = Self { read: true, write: false };

    fn flags(self) -> EventFlags {
        let mut flags = EventFlags::empty();
        flags.set(EventFlags::IN, self.read);
        flags.set(EventFlags::OUT, self.write);
        flags
    }
}

impl Poll {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self { epoll: epoll::create(CreateFlags::CLOEXEC)?, events: Vec::with_capacity(256) })
    }

    pub(crate) fn add(&self, socket: impl AsFd, key: u64, interest: Interest) -> io::Result<()> {
        Ok(epoll::add(&self.epoll, socket, EventData::new_u64(key), interest.flags())?)
    }

    pub(crate) fn change(&self, socket: impl AsFd, key: u64, interest: Interest) -> io::Result<()> {
        Ok(epoll::modify(&self.epoll, socket, EventData::new_u64(key), interest.flags())?)
    }

    /// A clock is ready every so often until it is dropped: more precise than the patience of a wait, which is one of whole
    /// milliseconds.
    pub(crate) fn add_clock(&self, key: u64, interval: Duration) -> io::Result<Clock> {
        let clock = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK)?;
        let interval = Timespec::try_from(interval).map_err(io::Error::other)?;
        let ticks = Itimerspec { it_interval: interval, it_value: interval };
        timerfd_settime(&clock, TimerfdTimerFlags::empty(), &ticks)?;
        epoll::add(&self.epoll, &clock, EventData::new_u64(key), EventFlags::IN)?;
        Ok(Clock(clock))
    }

    /// Waits until something is ready and puts it into `ready`; nothing if `patience` ran out.
    pub(crate) fn wait(&mut self, ready: &mut Vec<Ready>, patience: Option<Duration>) -> io::Result<()> {
        let patience = patience.and_then(|patience| Timespec::try_from(patience).ok());
        self.events.clear();
        match epoll::wait(&self.epoll, spare_capacity(&mut self.events), patience.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let broken = EventFlags::ERR | EventFlags::HUP;
        ready.clear();
        ready.extend(self.events.iter().map(|event| Ready {
            key: event.data.u64(),
            read: { event.flags }.intersects(EventFlags::IN | broken),
            write: { event.flags }.intersects(EventFlags::OUT),
            broken: { event.flags }.intersects(broken),
        }));
        Ok(())
    }
}
