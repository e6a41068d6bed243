//! Files of a drill: a clock that can be turned, a disk that is small.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, chown},
    path::PathBuf,
    process::Command,
};

use tempfile::TempDir;
use wasmesh_tests::netns::PROXY_UID;

/// The folder; gone when dropped, with what is mounted in it.
#[derive(Debug)]
pub(crate) struct Places {
    folder: TempDir,
    is_mounted: bool,
}

impl Default for Places {
    fn default() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("a readable folder");
        Self { folder, is_mounted: false }
    }
}

impl Places {
    /// A folder of the proxy's user, on a disk of 64 KiB.
    pub(crate) fn small_disk(&mut self) -> PathBuf {
        let disk = self.disk();
        fs::create_dir(&disk).expect("a folder");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=64k", "tmpfs"]).arg(&disk).status();
        assert!(mounted.is_ok_and(|status| status.success()), "no small disk can be mounted");
        self.is_mounted = true;
        chown(&disk, Some(PROXY_UID), Some(PROXY_UID)).expect("an owner");
        fs::set_permissions(&disk, fs::Permissions::from_mode(0o700)).expect("its folder");
        disk
    }

    /// Leaves no room on it.
    pub(crate) fn fill_disk(&self) {
        let disk = self.disk();
        let fills = |number: u32| fs::write(disk.join(format!("filler-{number}")), [0; 4096]).is_ok();
        assert!(!(0..1000).all(fills), "the disk is not small");
    }

    /// What a process is to be started by so that its clock follows [`set_clock`](Self::set_clock).
    pub(crate) fn clock(&self) -> Vec<String> {
        self.set_clock("+0");
        let library = fs::read_dir("/usr/lib").into_iter().flatten().flatten().find_map(|folder| {
            let library = folder.path().join("faketime/libfaketimeMT.so.1");
            library.exists().then_some(library)
        });
        let library = library.expect("libfaketime (Debian: faketime)");
        let (library, file) = (library.display(), self.clock_file());
        vec![
            "env".to_owned(),
            format!("LD_PRELOAD={library}"),
            format!("FAKETIME_TIMESTAMP_FILE={}", file.display()),
            "FAKETIME_NO_CACHE=1".to_owned(),
            // As with a real clock that is set: what measures durations goes on.
            "FAKETIME_DONT_FAKE_MONOTONIC=1".to_owned(),
        ]
    }

    /// By so many seconds, such as `+3600`, the wall clock is wrong from now on.
    pub(crate) fn set_clock(&self, seconds: &str) {
        let aside = self.folder.path().join("clock.new");
        fs::write(&aside, seconds).and_then(|()| fs::rename(&aside, self.clock_file())).expect("a clock");
    }

    fn clock_file(&self) -> PathBuf {
        self.folder.path().join("clock")
    }

    fn disk(&self) -> PathBuf {
        self.folder.path().join("disk")
    }
}

impl Drop for Places {
    fn drop(&mut self) {
        if self.is_mounted {
            let _ = Command::new("umount").arg(self.disk()).status();
        }
    }
}
