//! Container images without a container engine: one layer in the layout of OCI, in one tar file.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, process::Command};

use serde_json::json;
use sha2::{Digest, Sha256};

/// The blocks of a tar file.
const BLOCK: usize = 512;

/// What the processor is called in images.
const ARCHITECTURE: &str = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };

/// An image that is being made.
pub struct Image {
    name: String,
    entrypoint: Vec<String>,
    layer: Tar,
}

impl Image {
    /// `NAME:TAG`, with this command.
    pub fn new(name: &str, entrypoint: &[&str]) -> Self {
        let entrypoint = entrypoint.iter().map(|word| (*word).to_owned()).collect();
        Self { name: name.to_owned(), entrypoint, layer: Tar::default() }
    }

    /// With a program at this path, and the libraries that it names, where it looks for them.
    ///
    /// # Panics
    /// When they cannot be read.
    pub fn program(mut self, path: &str, from: &Path) -> Self {
        self.layer.file(path, 0o755, &read(from));
        for library in libraries(from) {
            self.layer.file(&library, 0o755, &read(Path::new(&library)));
        }
        self
    }

    /// With all files of this folder, at the paths that they have in it.
    ///
    /// # Panics
    /// When they cannot be read.
    pub fn files(mut self, folder: &Path) -> Self {
        let mut folders = vec![folder.to_owned()];
        while let Some(next) = folders.pop() {
            let entries = fs::read_dir(&next).unwrap_or_else(|error| panic!("{}: {error}", next.display()));
            for path in entries.map(|entry| entry.expect("an entry of a folder").path()) {
                if path.is_dir() {
                    folders.push(path);
                    continue;
                }
                let mode = fs::metadata(&path).expect("a file").permissions().mode() & 0o777;
                let name = path.strip_prefix(folder).expect("a path in the folder");
                self.layer.file(&format!("/{}", name.display()), mode, &read(&path));
            }
        }
        self
    }

    /// The whole tar file, as `ctr images import` takes it.
    pub(super) fn pack(self) -> Vec<u8> {
        let layer = self.layer.end();
        let config = json!({
            "architecture": ARCHITECTURE,
            "os": "linux",
            "config": { "Entrypoint": self.entrypoint, "Env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"] },
            "rootfs": { "type": "layers", "diff_ids": [digest(&layer)] },
        });
        let config = config.to_string().into_bytes();
        let kind = |kind: &str| format!("application/vnd.oci.image.{kind}");
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": kind("manifest.v1+json"),
            "config": { "mediaType": kind("config.v1+json"), "digest": digest(&config), "size": config.len() },
            "layers": [{ "mediaType": kind("layer.v1.tar"), "digest": digest(&layer), "size": layer.len() }],
        });
        let manifest = manifest.to_string().into_bytes();
        let index = json!({
            "schemaVersion": 2,
            "mediaType": kind("index.v1+json"),
            "manifests": [{
                "mediaType": kind("manifest.v1+json"),
                "digest": digest(&manifest),
                "size": manifest.len(),
                "platform": { "architecture": ARCHITECTURE, "os": "linux" },
                "annotations": { "io.containerd.image.name": self.name },
            }],
        });
        let mut tar = Tar::default();
        tar.file("/oci-layout", 0o644, br#"{"imageLayoutVersion":"1.0.0"}"#);
        tar.file("/index.json", 0o644, index.to_string().as_bytes());
        for blob in [config, manifest, layer] {
            tar.file(&format!("/blobs/sha256/{}", &digest(&blob)["sha256:".len()..]), 0o644, &blob);
        }
        tar.end()
    }
}

/// A tar file that is being written.
#[derive(Default)]
struct Tar {
    bytes: Vec<u8>,
    /// What is in it: two programs may need the same library.
    paths: Vec<String>,
}

impl Tar {
    /// `path` is absolute. Folders are made where they are missing.
    fn file(&mut self, path: &str, mode: u32, content: &[u8]) {
        let path = path.trim_start_matches('/').to_owned();
        if self.paths.contains(&path) {
            return;
        }
        for (end, _) in path.match_indices('/') {
            let folder = path[..=end].to_owned();
            if !self.paths.contains(&folder) {
                self.entry(folder, 0o755, b'5', &[]);
            }
        }
        self.entry(path, mode, b'0', content);
    }

    fn entry(&mut self, path: String, mode: u32, kind: u8, content: &[u8]) {
        let header = header(&path, mode, kind, content.len());
        self.bytes.extend(header);
        self.bytes.extend(content);
        self.bytes.resize(self.bytes.len().next_multiple_of(BLOCK), 0);
        self.paths.push(path);
    }

    /// Two empty blocks are its end.
    fn end(mut self) -> Vec<u8> {
        self.bytes.resize(self.bytes.len() + 2 * BLOCK, 0);
        self.bytes
    }
}

/// In the format of POSIX (ustar): numbers are octal and end with a zero byte, everything is root's and from 1970.
fn header(path: &str, mode: u32, kind: u8, size: usize) -> [u8; BLOCK] {
    assert!(path.len() < 100, "{path}: too long for a plain tar file");
    let mut header = [0; BLOCK];
    let mut put = |at: usize, bytes: &[u8]| header[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, path.as_bytes());
    put(100, format!("{mode:07o}").as_bytes());
    put(108, b"0000000");
    put(116, b"0000000");
    put(124, format!("{size:011o}").as_bytes());
    put(136, b"00000000000");
    put(156, &[kind]);
    put(257, b"ustar\x0000");
    // The sum is made with blanks in its place.
    put(148, b"        ");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    header
}

fn digest(bytes: &[u8]) -> String {
    let digest: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{digest}")
}

/// The paths of the libraries that a program is linked with; none of a static one.
fn libraries(program: &Path) -> Vec<String> {
    let output = Command::new("ldd").arg(program).output().expect("ldd");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let words = said.lines().filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/')));
    words.map(str::to_owned).collect()
}

fn read(path: &Path) -> Vec<u8> {
    fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::{
        io::Write,
        process::{Command, Stdio},
    };

    use super::Tar;

    #[test]
    fn tar_reads_what_is_written() {
        let mut tar = Tar::default();
        tar.file("/usr/bin/program", 0o755, &[7; 513]);
        tar.file("/usr/bin/program", 0o755, b"once only");
        tar.file("/etc/empty", 0o644, b"");
        let mut command = Command::new("tar");
        command.args(["--list", "--verbose", "--numeric-owner", "--utc"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(&tar.end()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success());
        let listed = String::from_utf8(output.stdout).unwrap();
        let files: Vec<_> = listed.lines().filter(|line| line.starts_with('-')).map(str::to_owned).collect();
        assert_eq!(files.len(), 2, "{listed}");
        assert!(files[0].starts_with("-rwxr-xr-x 0/0") && files[0].ends_with("usr/bin/program"), "{listed}");
        assert!(files[0].contains(" 513 "), "{listed}");
    }
}
