//! The unix socket on which the proxy speaks to the holder of the rules.
//!
//! Who may speak is decided by the uid that the kernel vouches for (SO_PEERCRED). The mode of the file is a second door:
//! it is shut to all but the proxy where we may give the file away, which needs CAP_CHOWN; a container with NET_ADMIN
//! alone may not, and leaves it open.

use std::{
    fs, io,
    os::unix::fs::{FileTypeExt, PermissionsExt, chown},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, bail};
use tokio::net::{UnixListener, UnixStream};
use wasmesh_core::capture::message::Reply;

use super::{events, session::Session};

/// How long to wait after accept has failed: the usual cause, no free file descriptors, does not pass by itself.
const PAUSE: Duration = Duration::from_millis(50);

/// The listening socket; its file goes with it.
pub(super) struct CaptureSocket {
    listener: UnixListener,
    path: PathBuf,
    proxy_uid: u32,
}

impl CaptureSocket {
    /// Listens; a file that a predecessor has left is replaced.
    pub(super) fn bind(path: &Path, proxy_uid: u32) -> anyhow::Result<Self> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)
                .with_context(|| format!("cannot make the folder of {} (--socket)", path.display()))?;
        }
        remove_stale(path)?;
        let listener =
            UnixListener::bind(path).with_context(|| format!("cannot listen on {} (--socket)", path.display()))?;
        let mode = if chown(path, Some(proxy_uid), None).is_ok() { 0o600 } else { 0o666 };
        fs::set_permissions(path, fs::Permissions::from_mode(mode))
            .with_context(|| format!("cannot open {} to the proxy (--socket)", path.display()))?;
        Ok(Self { listener, path: path.to_owned(), proxy_uid })
    }

    /// The next connection of somebody who may speak; may be cancelled and called again.
    pub(super) async fn accept(&self) -> Session {
        loop {
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    let uid = stream.peer_cred().ok().map(|peer| peer.uid());
                    if uid.is_some_and(|uid| uid == self.proxy_uid || uid == 0) {
                        return Session::new(stream);
                    }
                    events::stranger(uid);
                    turn_away(stream, self.proxy_uid);
                }
                Err(error) => {
                    events::accept_failed(&error);
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }
}

impl Drop for CaptureSocket {
    fn drop(&mut self) {
        // A file that stays is replaced by the next one who listens.
        let _ = fs::remove_file(&self.path);
    }
}

fn turn_away(stream: UnixStream, proxy_uid: u32) {
    let why = format!("only the proxy's user, {proxy_uid}, and root may speak here");
    // Whether the stranger hears it is all the same.
    let _ = Session::new(stream).reply(&Reply::Error(why));
}

fn remove_stale(path: &Path) -> anyhow::Result<()> {
    let Ok(found) = fs::symlink_metadata(path) else { return Ok(()) };
    if !found.file_type().is_socket() {
        bail!("{} is there and no socket (--socket): choose another path or remove it", path.display());
    }
    if std::os::unix::net::UnixStream::connect(path).is_ok() {
        bail!("another process listens on {} (--socket): one holder of the rules is enough", path.display());
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error)
            .with_context(|| format!("cannot remove {}, which a predecessor has left (--socket)", path.display())),
        _ => Ok(()),
    }
}
