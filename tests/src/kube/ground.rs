//! What everything stands on: a folder, and processes that never outlive the test.

use std::{
    fs,
    fs::File,
    io::Read,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

/// Waits until the test has ended, however it ended: then its end of the pipe is closed. Ends what runs by the pids in the
/// folder, and removes it, with the control groups that it names.
const CARETAKER: &str = r#"trap '' INT TERM HUP
cat > /dev/null
for file in "$0"/*.pid; do [ -f "$file" ] && kill -KILL "$(cat "$file")" 2> /dev/null; done
groups=$(cat "$0/cgroups")
for again in 1 2 3 4 5 6 7 8 9 10; do
    rm -rf "$0" && find $groups -depth -type d -exec rmdir {} + && exit
    sleep 0.2
done"#;

/// The file that names control groups which are to be removed, as patterns.
pub(super) const CGROUPS: &str = "cgroups";

/// A folder, and a caretaker for when the test is no more. A test that is killed drops nothing, nor do statics.
pub(super) struct Ground {
    folder: PathBuf,
    caretaker: Child,
}

/// A running process with a log; killed when dropped.
pub(super) struct Daemon {
    child: Child,
    pid_file: PathBuf,
    log: PathBuf,
}

impl Ground {
    /// # Panics
    /// When the machine gives no folder or no process.
    pub(super) fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("wasmesh-kube-").tempdir().expect("a temporary folder").keep();
        let mut caretaker = Command::new("sh");
        caretaker.args(["-c", CARETAKER]).arg(&folder).stdin(Stdio::piped());
        // Whoever waits for the end of our output must not wait for the caretaker.
        caretaker.stdout(Stdio::null()).stderr(Stdio::null());
        let caretaker = caretaker.spawn().expect("a caretaker");
        let ground = Self { folder, caretaker };
        ground.write(CGROUPS, "");
        ground
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Writes a file and returns where it is.
    ///
    /// # Panics
    /// When it cannot be written.
    pub(super) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        path
    }

    /// Starts a process; its log is `NAME.log`, and goes on where one of this name had one before.
    ///
    /// # Panics
    /// When it does not start.
    #[track_caller]
    pub(super) fn start(&self, name: &str, command: &mut Command) -> Daemon {
        let log = self.path(&format!("{name}.log"));
        let out = File::options().create(true).append(true).open(&log).expect("a log");
        command.stdin(Stdio::null()).stdout(out.try_clone().expect("a log")).stderr(out).current_dir(&self.folder);
        let child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let pid_file = self.write(&format!("{name}.pid"), &child.id().to_string());
        Daemon { child, pid_file, log }
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        drop(self.caretaker.stdin.take());
        let _ = self.caretaker.wait();
    }
}

impl Daemon {
    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    /// # Panics
    /// When it has ended; with the end of its log.
    #[track_caller]
    pub(super) fn must_run(&mut self) {
        if let Ok(Some(status)) = self.child.try_wait() {
            panic!("{status}: {}", self.last_words());
        }
    }

    /// The end of its log.
    pub(super) fn last_words(&self) -> String {
        tail(&self.log)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_file(&self.pid_file);
    }
}

fn tail(log: &Path) -> String {
    let mut bytes = Vec::new();
    let read = File::open(log).and_then(|mut file| file.read_to_end(&mut bytes));
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<_> = text.lines().collect();
    let last = lines[lines.len().saturating_sub(20)..].join("\n");
    read.map_or_else(|error| format!("{}: {error}", log.display()), |_| format!("{}:\n{last}", log.display()))
}
