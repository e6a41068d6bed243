//! The last good state of a folder: scans in, changes and problems out, without touching a disk.

mod common;

use std::{collections::BTreeMap, path::PathBuf};

use common::shown;
use wasmesh_control_plane::{
    registry::ObjectChange,
    source::{
        SourceUpdate,
        folder::{
            parse::parse,
            scan::{FileRead, Scan},
            state::FolderState,
        },
    },
};

fn scan<'a>(files: impl IntoIterator<Item = (&'a str, FileRead)>) -> Scan {
    let files: BTreeMap<_, _> = files.into_iter().map(|(path, read)| (PathBuf::from(path), read)).collect();
    Scan { files, unlisted: Vec::new() }
}

fn text(text: &str) -> FileRead {
    FileRead::Parsed(parse(text))
}

/// A Service on one line; a second version of it has another address.
fn web(name: &str, version: u8) -> String {
    format!(
        "---\n{{apiVersion: v1, kind: Service, metadata: {{name: {name}}}, spec: {{clusterIP: 10.0.0.{version}}}}}\n"
    )
}

/// What an update changes, one word each: `+name@version` or `-name`.
fn changes(update: &SourceUpdate) -> Vec<String> {
    let word = |change: &ObjectChange| match change {
        ObjectChange::Delete(key) => format!("-{}", key.name),
        ObjectChange::Upsert(object) => {
            let wasmesh_control_plane::translate::Object::Service(service) = object else { panic!("{object:?}") };
            let address = service.spec.as_ref().and_then(|spec| spec.cluster_ip.clone()).unwrap_or_default();
            format!("+{}@{}", object.key().name, address.trim_start_matches("10.0.0."))
        }
    };
    update.changes.iter().map(word).collect()
}

const BROKEN: &str = "---\n{apiVersion: v1, kind: Service, metadata: {name: a}, spec: 3}\n";

#[test]
fn only_what_differs_is_a_change() {
    let mut state = FolderState::default();
    let first = state.reconcile(scan([("a.yaml", text(&(web("a", 1) + &web("b", 1))))]));
    assert_eq!(changes(&first), ["+a@1", "+b@1"]);
    let second = state.reconcile(scan([("a.yaml", text(&(web("b", 2) + &web("a", 1))))]));
    assert_eq!(changes(&second), ["+b@2"]);
    assert_eq!(changes(&state.reconcile(scan([("a.yaml", FileRead::Unchanged)]))), [""; 0]);
    assert_eq!(changes(&state.reconcile(scan([]))), ["-a", "-b"]);
}

#[test]
fn an_object_that_moves_to_another_file_is_no_change() {
    let mut state = FolderState::default();
    state.reconcile(scan([("a.yaml", text(&web("a", 1)))]));
    let moved = state.reconcile(scan([("b.yaml", text(&web("a", 1)))]));
    assert_eq!((changes(&moved), moved.problems), (vec![], vec![]));
}

#[test]
fn a_broken_document_keeps_what_the_file_gave_before() {
    let mut state = FolderState::default();
    state.reconcile(scan([("a.yaml", text(&(web("a", 1) + &web("b", 1) + &web("c", 1))))]));

    let broken = state.reconcile(scan([("a.yaml", text(&(BROKEN.to_owned() + &web("b", 2))))]));
    assert_eq!(changes(&broken), ["+b@2"]);
    let listed = ["a.yaml:2: Service default/a: not a valid Service: expected mapping start; \
         kept as before until this is mended: Service default/a, Service default/c"];
    assert_eq!(shown(&broken.problems), listed);

    // It is listed for as long as it lasts, and what is kept is kept through further bad edits.
    assert_eq!(shown(&state.reconcile(scan([("a.yaml", FileRead::Unchanged)])).problems), listed);
    let worse = state.reconcile(scan([("a.yaml", text("{"))]));
    assert_eq!(changes(&worse), [""; 0]);
    assert_eq!(worse.problems.len(), 1);

    let mended = state.reconcile(scan([("a.yaml", text(&web("a", 3)))]));
    assert_eq!((changes(&mended), mended.problems), (vec!["-b".into(), "-c".into(), "+a@3".into()], vec![]));
}

#[test]
fn a_file_that_cannot_be_read_keeps_what_it_gave() {
    let mut state = FolderState::default();
    state.reconcile(scan([("a.yaml", text(&web("a", 1)))]));
    let unreadable =
        state.reconcile(scan([("a.yaml", FileRead::Unreadable("the file cannot be read: denied".into()))]));
    assert_eq!(changes(&unreadable), [""; 0]);
    assert_eq!(
        shown(&unreadable.problems),
        ["a.yaml: the file cannot be read: denied; kept as before until this is mended: Service default/a"]
    );
    let back = state.reconcile(scan([("a.yaml", text(&web("a", 1)))]));
    assert_eq!((changes(&back), back.problems), (vec![], vec![]));
}

#[test]
fn a_deleted_file_takes_its_objects_along_kept_ones_too() {
    let mut state = FolderState::default();
    state.reconcile(scan([("a.yaml", text(&web("a", 1)))]));
    state.reconcile(scan([("a.yaml", text(BROKEN))]));
    let gone = state.reconcile(scan([]));
    assert_eq!((changes(&gone), gone.problems), (vec!["-a".into()], vec![]));
}

#[test]
fn a_directory_that_cannot_be_listed_keeps_what_is_below() {
    let mut state = FolderState::default();
    state.reconcile(scan([("d/a.yaml", text(&web("a", 1))), ("d/sub/b.yaml", text(&web("b", 1)))]));
    let mut blind = scan([("d/a.yaml", FileRead::Unchanged)]);
    blind.unlisted.push(("d/sub".into(), "the directory cannot be read: denied".into()));
    let update = state.reconcile(blind);
    assert_eq!(changes(&update), [""; 0]);
    assert_eq!(
        shown(&update.problems),
        ["d/sub: the directory cannot be read: denied; kept as before until this is mended: Service default/b"]
    );

    let mut gone = scan([]);
    gone.unlisted.push(("d".into(), "the directory cannot be read: gone".into()));
    assert_eq!(changes(&state.reconcile(gone)), [""; 0]);
    assert_eq!(changes(&state.reconcile(scan([]))), ["-a", "-b"]);
}

#[test]
fn of_duplicates_the_first_in_path_order_counts() {
    let mut state = FolderState::default();
    let update =
        state.reconcile(scan([("b.yaml", text(&web("a", 2))), ("a.yaml", text(&(web("a", 1) + &web("a", 3))))]));
    assert_eq!(changes(&update), ["+a@1"]);
    assert_eq!(
        shown(&update.problems),
        [
            "a.yaml:4: Service default/a: the same object is at a.yaml:2, and that one counts: remove one",
            "b.yaml:2: Service default/a: the same object is at a.yaml:2, and that one counts: remove one",
        ]
    );
    let mended = state.reconcile(scan([("b.yaml", FileRead::Unchanged)]));
    assert_eq!((changes(&mended), mended.problems), (vec!["+a@2".into()], vec![]));
}

#[test]
fn what_is_there_beats_what_was_kept() {
    let mut state = FolderState::default();
    state.reconcile(scan([("a.yaml", text(&web("a", 1)))]));
    let moved = state.reconcile(scan([("a.yaml", text(BROKEN)), ("b.yaml", text(&web("a", 2)))]));
    assert_eq!(changes(&moved), ["+a@2"]);
}

#[test]
fn a_long_list_of_kept_objects_is_cut() {
    let mut state = FolderState::default();
    let many: String = (1..9).map(|number| web(&format!("s{number}"), 1)).collect();
    state.reconcile(scan([("a.yaml", text(&many))]));
    let update = state.reconcile(scan([("a.yaml", text("{"))]));
    assert!(shown(&update.problems)[0].ends_with("Service default/s5 and 3 more"), "{:?}", update.problems);
}

#[test]
fn problems_are_plain_in_json() {
    let mut state = FolderState::default();
    let update = state.reconcile(scan([("a.yaml", text(BROKEN))]));
    assert_eq!(
        serde_json::to_value(&update.problems).unwrap(),
        serde_json::json!([{
            "object": "Service default/a",
            "place": "a.yaml:2",
            "reason": "not a valid Service: expected mapping start",
        }])
    );
}
