//! The folder source on a real directory. Every step waits for the update it causes, never for a time.

mod common;

use std::{fs, io::Write, os::unix::fs::symlink, path::Path, time::Duration};

use common::shown;
use tempfile::TempDir;
use tokio::{
    sync::mpsc::{Receiver, channel},
    task::JoinHandle,
    time::timeout,
};
use wasmesh_control_plane::{
    registry::Registry,
    source::{
        SourceUpdate,
        folder::{FolderError, run},
    },
    translate::Problem,
};

/// Far more than any step takes, and less than a rescan that would hide a missed event.
const PATIENCE: Duration = Duration::from_secs(8);

/// A control plane that reads a directory, as far as the registry.
struct Reader {
    updates: Receiver<SourceUpdate>,
    registry: Registry,
    problems: Vec<Problem>,
    source: JoinHandle<Result<(), FolderError>>,
}

impl Reader {
    async fn of(dir: &Path) -> Self {
        let (sender, updates) = channel(1);
        let source = tokio::spawn(run(dir.to_owned(), sender));
        let mut reader = Self { updates, registry: Registry::default(), problems: Vec::new(), source };
        reader.step().await;
        reader
    }

    async fn step(&mut self) {
        let Ok(Some(update)) = timeout(PATIENCE, self.updates.recv()).await else {
            panic!("no update came; the Services are {:?}, the problems {:?}", self.services(), self.problems);
        };
        self.registry.apply(update.changes);
        self.problems = update.problems;
    }

    /// Takes updates until the Services are these: `name` or `name@ADDRESS`.
    async fn until(&mut self, expected: &[&str]) {
        while self.services() != expected {
            self.step().await;
        }
    }

    async fn until_problems(&mut self, number: usize) {
        while self.problems.len() != number {
            self.step().await;
        }
    }

    fn services(&self) -> Vec<String> {
        let snapshot = self.registry.snapshot();
        let shown = snapshot.iter().map(|(name, service)| match service.spec.value.vips().first() {
            Some(vip) => format!("{}@{vip}", name.name()),
            None => name.name().to_owned(),
        });
        let mut shown: Vec<_> = shown.collect();
        shown.sort();
        shown
    }
}

fn web(name: &str, address: &str) -> String {
    format!("apiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec: {{clusterIP: {address}}}\n")
}

#[tokio::test]
async fn an_empty_directory_gives_an_empty_update() {
    let dir = TempDir::new().unwrap();
    let reader = Reader::of(dir.path()).await;
    assert!(reader.services().is_empty() && reader.problems.is_empty());
}

#[tokio::test]
async fn a_missing_directory_is_an_error_that_names_it() {
    let dir = TempDir::new().unwrap();
    let missing = dir.path().join("missing");
    let (sender, _updates) = channel(1);
    let error = run(missing.clone(), sender).await.unwrap_err().to_string();
    assert!(error.starts_with(&format!("cannot read the source directory {}: ", missing.display())), "{error}");
}

#[tokio::test]
async fn the_source_ends_when_nobody_listens() {
    let dir = TempDir::new().unwrap();
    let reader = Reader::of(dir.path()).await;
    drop(reader.updates);
    timeout(PATIENCE, reader.source).await.expect("an end").unwrap().unwrap();
}

#[tokio::test]
async fn writes_renames_and_deletions_are_followed() {
    let dir = TempDir::new().unwrap();
    let path = |name: &str| dir.path().join(name);
    fs::write(path("a.yaml"), web("a", "10.0.0.1")).unwrap();
    let mut reader = Reader::of(dir.path()).await;
    assert_eq!(reader.services(), ["a@10.0.0.1"]);

    fs::write(path("a.yaml"), web("a", "10.0.0.2")).unwrap();
    reader.until(&["a@10.0.0.2"]).await;

    // As editors write: aside, then over it.
    fs::write(path(".a.yaml.swp"), web("a", "10.0.0.3")).unwrap();
    fs::rename(path(".a.yaml.swp"), path("a.yaml")).unwrap();
    reader.until(&["a@10.0.0.3"]).await;

    fs::write(path("b.json"), r#"{"apiVersion": "v1", "kind": "Service", "metadata": {"name": "b"}, "spec": {}}"#)
        .unwrap();
    reader.until(&["a@10.0.0.3", "b"]).await;

    fs::remove_file(path("a.yaml")).unwrap();
    reader.until(&["b"]).await;
}

#[tokio::test]
async fn a_slow_writer_takes_nothing_away() {
    let dir = TempDir::new().unwrap();
    let path = |name: &str| dir.path().join(name);
    fs::write(path("a.yaml"), web("a", "10.0.0.1")).unwrap();
    let mut reader = Reader::of(dir.path()).await;
    // As `(sleep 1; cat) > a.yaml`: the file is emptied first, and others change meanwhile.
    let mut slow = fs::File::create(path("a.yaml")).unwrap();
    for (number, name) in ["b", "c", "d"].into_iter().enumerate() {
        fs::write(path(&format!("{name}.yaml")), web(name, &format!("10.0.1.{number}"))).unwrap();
        while reader.services().len() < number + 2 {
            assert_eq!(reader.services()[0], "a@10.0.0.1");
            reader.step().await;
        }
    }
    assert_eq!(reader.services()[0], "a@10.0.0.1");
    slow.write_all(web("a", "10.0.0.2").as_bytes()).unwrap();
    drop(slow);
    reader.until(&["a@10.0.0.2", "b@10.0.1.0", "c@10.0.1.1", "d@10.0.1.2"]).await;
    reader.until_problems(0).await;
}

#[tokio::test]
async fn an_editor_that_renames_the_old_file_away_first_takes_nothing_away() {
    let dir = TempDir::new().unwrap();
    let path = |name: &str| dir.path().join(name);
    fs::write(path("a.yaml"), web("a", "10.0.0.1")).unwrap();
    let mut reader = Reader::of(dir.path()).await;
    for number in 2..6 {
        fs::rename(path("a.yaml"), path("a.yaml~")).unwrap();
        fs::write(path("a.yaml"), web("a", &format!("10.0.0.{number}"))).unwrap();
        while reader.services() != [format!("a@10.0.0.{number}")] {
            reader.step().await;
            assert_eq!(reader.services().len(), 1);
        }
    }
    fs::remove_file(path("a.yaml")).unwrap();
    reader.until(&[]).await;
}

#[tokio::test]
async fn a_change_of_equal_length_right_after_reading_is_seen() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("a.yaml");
    fs::write(&path, web("a", "10.0.0.1")).unwrap();
    let mut reader = Reader::of(dir.path()).await;
    for number in 2..9 {
        fs::write(&path, web("a", &format!("10.0.0.{number}"))).unwrap();
        reader.until(&[&format!("a@10.0.0.{number}")]).await;
    }
}

#[tokio::test]
async fn new_directories_are_followed() {
    let dir = TempDir::new().unwrap();
    let mut reader = Reader::of(dir.path()).await;
    let sub = dir.path().join("team/shop");
    fs::create_dir_all(&sub).unwrap();
    fs::write(sub.join("a.yml"), web("a", "10.0.0.1")).unwrap();
    reader.until(&["a@10.0.0.1"]).await;
    fs::write(sub.join("a.yml"), web("a", "10.0.0.2")).unwrap();
    reader.until(&["a@10.0.0.2"]).await;
    fs::remove_dir_all(dir.path().join("team")).unwrap();
    reader.until(&[]).await;
}

#[tokio::test]
async fn a_config_map_mount_is_swapped_in_one_step() {
    let dir = TempDir::new().unwrap();
    let generation = |number: u8| {
        let hidden = dir.path().join(format!("..gen_{number}"));
        fs::create_dir(&hidden).unwrap();
        for name in ["a", "b"] {
            fs::write(
                hidden.join(format!("{name}.yaml")),
                web(name, &format!("10.0.{number}.{}", name.len()))
                    .replace("10.0", if name == "a" { "10.1" } else { "10.2" }),
            )
            .unwrap();
        }
        symlink(format!("..gen_{number}"), dir.path().join("..data_tmp")).unwrap();
        fs::rename(dir.path().join("..data_tmp"), dir.path().join("..data")).unwrap();
    };
    generation(1);
    for name in ["a.yaml", "b.yaml"] {
        symlink(Path::new("..data").join(name), dir.path().join(name)).unwrap();
    }
    let mut reader = Reader::of(dir.path()).await;
    assert_eq!(reader.services(), ["a@10.1.1.1", "b@10.2.1.1"]);
    generation(2);
    reader.until(&["a@10.1.2.1", "b@10.2.2.1"]).await;
    assert_eq!(shown(&reader.problems), [""; 0]);
}

#[tokio::test]
async fn a_bad_edit_is_named_and_the_last_good_state_stays() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("a.yaml");
    fs::write(&path, web("a", "10.0.0.1")).unwrap();
    let mut reader = Reader::of(dir.path()).await;
    fs::write(&path, web("a", "[")).unwrap();
    reader.until_problems(1).await;
    assert_eq!(reader.services(), ["a@10.0.0.1"]);
    assert!(shown(&reader.problems)[0].starts_with(&format!("{}:", path.display())), "{:?}", reader.problems);
    fs::write(&path, web("a", "10.0.0.2")).unwrap();
    reader.until(&["a@10.0.0.2"]).await;
    assert_eq!(shown(&reader.problems), [""; 0]);
}

#[tokio::test]
async fn a_directory_that_goes_away_keeps_its_state_and_is_followed_again() {
    let parent = TempDir::new().unwrap();
    let (dir, aside) = (parent.path().join("source"), parent.path().join("aside"));
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join("a.yaml"), web("a", "10.0.0.1")).unwrap();
    let mut reader = Reader::of(&dir).await;
    fs::rename(&dir, &aside).unwrap();
    reader.until_problems(1).await;
    assert_eq!(reader.services(), ["a@10.0.0.1"]);

    fs::create_dir(&dir).unwrap();
    fs::write(dir.join("a.yaml"), web("a", "10.0.0.2")).unwrap();
    reader.until(&["a@10.0.0.2"]).await;
    fs::write(dir.join("a.yaml"), web("a", "10.0.0.3")).unwrap();
    reader.until(&["a@10.0.0.3"]).await;
}

#[tokio::test]
async fn links_that_lead_nowhere_or_up_do_no_harm() {
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join("a.yaml"), web("a", "10.0.0.1")).unwrap();
    symlink("missing", dir.path().join("b.yaml")).unwrap();
    symlink(".", dir.path().join("again")).unwrap();
    let reader = Reader::of(dir.path()).await;
    assert_eq!(reader.services(), ["a@10.0.0.1"]);
    assert_eq!(reader.problems.len(), 1);
}

#[tokio::test]
async fn replicas_of_one_folder_publish_the_same_versions() {
    let dir = TempDir::new().unwrap();
    for name in ["tutorial.yaml", "behaviours.yaml"] {
        fs::write(dir.path().join(name), common::manifest(name)).unwrap();
    }
    let (one, other) = (Reader::of(dir.path()).await, Reader::of(dir.path()).await);
    assert_eq!(common::versions(&one.registry.snapshot()), common::versions(&other.registry.snapshot()));
    assert_eq!(one.registry.snapshot(), other.registry.snapshot());
}
