//! Reading a recording.

use std::{
    collections::{BTreeMap, HashSet},
    io::BufRead,
};

use crate::format::{Begun, End, FORMAT, Head, Line, Pick};

/// A recording, by instance.
#[derive(Debug, Clone, PartialEq)]
pub struct Recording {
    /// What was recorded.
    pub head: Head,
    /// By their numbers, which rise: whoever goes on from another one comes after it.
    pub instances: BTreeMap<u64, Course>,
    /// How it ended; `None` if it was cut off.
    pub end: Option<End>,
    /// Picks that cannot be replayed, because the beginning of their instance was lost.
    pub without_beginning: usize,
}

/// What happened to one instance.
#[derive(Debug, Clone, PartialEq)]
pub struct Course {
    /// Its beginning.
    pub begun: Begun,
    /// Picks, reports and snapshots, in order.
    pub lines: Vec<Line>,
}

/// Why something is no recording.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// It cannot be read at all.
    #[error("line {line} cannot be read: {why}")]
    Io {
        /// From 1.
        line: usize,
        /// What the system says.
        why: std::io::Error,
    },
    /// A line is not as it should be.
    #[error("line {line} is no line of a recording: {why}")]
    Line {
        /// From 1.
        line: usize,
        /// What is wrong with it.
        why: String,
    },
    /// It is of another time.
    #[error("it is of format {0}, and this is for format {FORMAT}: use the wasmesh of the version that recorded it")]
    Format(u32),
    /// It does not begin as a recording does.
    #[error("it does not begin as a recording does: `wasmesh policy record` makes one")]
    NoHead,
}

impl Recording {
    /// Reads one. A last line that is not whole was cut off, which is no error.
    ///
    /// # Errors
    /// It is none.
    pub fn read(from: impl BufRead) -> Result<Self, Unreadable> {
        let mut lines = from.split(b'\n').enumerate().peekable();
        let head = match lines.next() {
            Some((_, Ok(first))) => serde_json::from_slice(&first).ok(),
            Some((_, Err(why))) => return Err(Unreadable::Io { line: 1, why }),
            None => None,
        };
        let Some(Line::Recording(head)) = head else { return Err(Unreadable::NoHead) };
        if head.format != FORMAT {
            return Err(Unreadable::Format(head.format));
        }
        let mut recording = Self { head, instances: BTreeMap::new(), end: None, without_beginning: 0 };
        while let Some((at, text)) = lines.next() {
            let line = at + 1;
            let text = text.map_err(|why| Unreadable::Io { line, why })?;
            let bad = |why: String| Unreadable::Line { line, why };
            match serde_json::from_slice(&text) {
                Ok(read) => recording.add(read).map_err(|why| bad(why.to_owned()))?,
                Err(_) if lines.peek().is_none() => break,
                Err(error) => return Err(bad(error.to_string())),
            }
        }
        recording.leave_out_orphans();
        Ok(recording)
    }

    /// How many picks it has.
    pub fn picks(&self) -> usize {
        self.all_picks().count()
    }

    /// Whether it has an end, and all that was written before that.
    pub fn is_whole(&self) -> bool {
        self.end.as_ref().is_some_and(|end| end.picks == self.picks() as u64)
    }

    /// How many of them are of requests with strings that the policy could read, which are not recorded.
    pub fn with_strings(&self) -> usize {
        self.all_picks().filter(|pick| pick.had_strings).count()
    }

    fn all_picks(&self) -> impl Iterator<Item = &Pick> {
        self.instances.values().flat_map(|course| &course.lines).filter_map(|line| match line {
            Line::Pick(pick) => Some(pick),
            _ => None,
        })
    }

    fn add(&mut self, line: Line) -> Result<(), &'static str> {
        let instance = match &line {
            Line::Recording(_) => return Err("a recording begins once"),
            Line::End(end) => {
                self.end = Some(end.clone());
                return Ok(());
            }
            Line::Instance(begun) => {
                let course = Course { begun: begun.clone(), lines: Vec::new() };
                let before = self.instances.insert(begun.instance, course);
                return before.map_or(Ok(()), |_| Err("this instance has begun before"));
            }
            Line::Pick(pick) => pick.instance,
            Line::Completed(report) => report.instance,
            Line::Snapshot { instance, .. } => *instance,
        };
        let course = self.instances.get_mut(&instance).ok_or("this instance has not begun")?;
        course.lines.push(line);
        Ok(())
    }

    /// Whoever goes on from a state that is not there cannot be replayed, nor whoever goes on from that one.
    fn leave_out_orphans(&mut self) {
        let mut known = HashSet::new();
        let mut lost = 0;
        self.instances.retain(|_, course| {
            let has_beginning = course.begun.from.is_none_or(|from| known.contains(&from));
            if has_beginning {
                known.extend(course.lines.iter().filter_map(|line| match line {
                    Line::Snapshot { snapshot, .. } => Some(*snapshot),
                    _ => None,
                }));
            } else {
                lost += course.lines.iter().filter(|line| matches!(line, Line::Pick(_))).count();
            }
            has_beginning
        });
        self.without_beginning = lost;
    }
}
