//! The last good state of a folder: scans in, changes and problems out, without touching a disk.

mod common;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

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
    translate::policy::Module,
};

fn scan<'a>(files: impl IntoIterator<Item = (&'a str, FileRead)>) -> Scan {
    let files: BTreeMap<_, _> = files.into_iter().map(|(path, read)| (PathBuf::from(path), read)).collect();
    Scan { files, unlisted: Vec::new() }
}

/// Takes a scan in where no object names a file.
fn reconcile(state: &mut FolderState, scan: Scan) -> SourceUpdate {
    state.reconcile(scan, |manifest, name| panic!("{name:?} is read for {}", manifest.display()))
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
    let first = reconcile(&mut state, scan([("a.yaml", text(&(web("a", 1) + &web("b", 1))))]));
    assert_eq!(changes(&first), ["+a@1", "+b@1"]);
    let second = reconcile(&mut state, scan([("a.yaml", text(&(web("b", 2) + &web("a", 1))))]));
    assert_eq!(changes(&second), ["+b@2"]);
    assert_eq!(changes(&reconcile(&mut state, scan([("a.yaml", FileRead::Unchanged)]))), [""; 0]);
    assert_eq!(changes(&reconcile(&mut state, scan([]))), ["-a", "-b"]);
}

#[test]
fn an_object_that_moves_to_another_file_is_no_change() {
    let mut state = FolderState::default();
    reconcile(&mut state, scan([("a.yaml", text(&web("a", 1)))]));
    let moved = reconcile(&mut state, scan([("b.yaml", text(&web("a", 1)))]));
    assert_eq!((changes(&moved), moved.problems), (vec![], vec![]));
}

#[test]
fn a_broken_document_keeps_what_the_file_gave_before() {
    let mut state = FolderState::default();
    reconcile(&mut state, scan([("a.yaml", text(&(web("a", 1) + &web("b", 1) + &web("c", 1))))]));

    let broken = reconcile(&mut state, scan([("a.yaml", text(&(BROKEN.to_owned() + &web("b", 2))))]));
    assert_eq!(changes(&broken), ["+b@2"]);
    let listed = ["a.yaml:2: Service default/a: not a valid Service: expected mapping start; \
         kept as before until this is mended: Service default/a, Service default/c"];
    assert_eq!(shown(&broken.problems), listed);

    // It is listed for as long as it lasts, and what is kept is kept through further bad edits.
    assert_eq!(shown(&reconcile(&mut state, scan([("a.yaml", FileRead::Unchanged)])).problems), listed);
    let worse = reconcile(&mut state, scan([("a.yaml", text("{"))]));
    assert_eq!(changes(&worse), [""; 0]);
    assert_eq!(worse.problems.len(), 1);

    let mended = reconcile(&mut state, scan([("a.yaml", text(&web("a", 3)))]));
    assert_eq!((changes(&mended), mended.problems), (vec!["-b".into(), "-c".into(), "+a@3".into()], vec![]));
}

#[test]
fn a_file_that_cannot_be_read_keeps_what_it_gave() {
    let mut state = FolderState::default();
    reconcile(&mut state, scan([("a.yaml", text(&web("a", 1)))]));
    let unreadable =
        reconcile(&mut state, scan([("a.yaml", FileRead::Unreadable("the file cannot be read: denied".into()))]));
    assert_eq!(changes(&unreadable), [""; 0]);
    assert_eq!(
        shown(&unreadable.problems),
        ["a.yaml: the file cannot be read: denied; kept as before until this is mended: Service default/a"]
    );
    let back = reconcile(&mut state, scan([("a.yaml", text(&web("a", 1)))]));
    assert_eq!((changes(&back), back.problems), (vec![], vec![]));
}

#[test]
fn an_emptied_file_keeps_what_it_gave() {
    for empty in ["", "\n", "# to be written\n---\n"] {
        let mut state = FolderState::default();
        reconcile(&mut state, scan([("a.yaml", text(&web("a", 1)))]));
        let emptied = reconcile(&mut state, scan([("a.yaml", text(empty))]));
        assert_eq!(changes(&emptied), [""; 0], "{empty:?}");
        assert_eq!(
            shown(&emptied.problems),
            ["a.yaml: the file is empty: delete it to remove its objects; \
              kept as before until this is mended: Service default/a"]
        );
        assert_eq!(changes(&reconcile(&mut state, scan([("a.yaml", text(empty))]))), [""; 0], "and stays so");
        let filled = reconcile(&mut state, scan([("a.yaml", text(&web("b", 1)))]));
        assert_eq!((changes(&filled), filled.problems), (vec!["-a".into(), "+b@1".into()], vec![]));
    }
}

#[test]
fn a_file_that_never_gave_anything_may_be_empty() {
    let mut state = FolderState::default();
    assert_eq!(reconcile(&mut state, scan([("a.yaml", text(""))])), SourceUpdate::default());
    // Nor is a list without items a mistake, or a file with objects that are no business of ours.
    let list = "{apiVersion: v1, kind: List, items: []}";
    for nothing in [list, "{apiVersion: v1, kind: ConfigMap, metadata: {name: a}}"] {
        reconcile(&mut state, scan([("a.yaml", text(&web("a", 1)))]));
        let update = reconcile(&mut state, scan([("a.yaml", text(nothing))]));
        assert_eq!((changes(&update), update.problems), (vec!["-a".into()], vec![]));
    }
}

#[test]
fn a_file_cut_short_takes_nothing_away() {
    let whole = web("a", 1) + &web("b", 1) + &web("c", 1);
    let ends: Vec<_> = whole.match_indices("---").map(|(at, _)| at).chain([whole.len()]).collect();
    for cut in 0..whole.len() {
        let mut state = FolderState::default();
        reconcile(&mut state, scan([("a.yaml", text(&whole))]));
        let update = reconcile(&mut state, scan([("a.yaml", text(&whole[..cut]))]));
        // Where a document has just ended, or the next has only been announced, the rest could be gone on purpose.
        let looks_whole = cut > 4 && ends.iter().any(|end| (*end..=end + 4).contains(&cut) || cut + 1 == *end);
        if !looks_whole {
            assert_eq!(changes(&update), [""; 0], "cut after {:?}", &whole[..cut]);
        }
    }
}

#[test]
fn a_file_that_has_only_just_gone_keeps_its_objects_for_whoever_has_them_now() {
    let mut state = FolderState::default();
    reconcile(&mut state, scan([("a.yaml", text(&(web("a", 1) + &web("b", 1))))]));
    let moved = reconcile(&mut state, scan([("a.yaml", FileRead::Missing), ("z.yaml", text(&web("a", 2)))]));
    assert_eq!((changes(&moved), moved.problems), (vec!["+a@2".into()], vec![]));
    // It comes back empty at first, as an editor makes it.
    let back = reconcile(&mut state, scan([("a.yaml", text("")), ("z.yaml", FileRead::Unchanged)]));
    assert_eq!((changes(&back), back.problems.len()), (vec![], 1));
    let gone = reconcile(&mut state, scan([("z.yaml", FileRead::Unchanged)]));
    assert_eq!((changes(&gone), gone.problems), (vec!["-b".into()], vec![]));
}

#[test]
fn a_deleted_file_takes_its_objects_along_kept_ones_too() {
    let mut state = FolderState::default();
    reconcile(&mut state, scan([("a.yaml", text(&web("a", 1)))]));
    reconcile(&mut state, scan([("a.yaml", text(BROKEN))]));
    let gone = reconcile(&mut state, scan([]));
    assert_eq!((changes(&gone), gone.problems), (vec!["-a".into()], vec![]));
}

#[test]
fn a_directory_that_cannot_be_listed_keeps_what_is_below() {
    let mut state = FolderState::default();
    reconcile(&mut state, scan([("d/a.yaml", text(&web("a", 1))), ("d/sub/b.yaml", text(&web("b", 1)))]));
    let mut blind = scan([("d/a.yaml", FileRead::Unchanged)]);
    blind.unlisted.push(("d/sub".into(), "the directory cannot be read: denied".into()));
    let update = reconcile(&mut state, blind);
    assert_eq!(changes(&update), [""; 0]);
    assert_eq!(
        shown(&update.problems),
        ["d/sub: the directory cannot be read: denied; kept as before until this is mended: Service default/b"]
    );

    let mut gone = scan([]);
    gone.unlisted.push(("d".into(), "the directory cannot be read: gone".into()));
    assert_eq!(changes(&reconcile(&mut state, gone)), [""; 0]);
    assert_eq!(changes(&reconcile(&mut state, scan([]))), ["-a", "-b"]);
}

#[test]
fn of_duplicates_the_first_in_path_order_counts() {
    let mut state = FolderState::default();
    let update =
        reconcile(&mut state, scan([("b.yaml", text(&web("a", 2))), ("a.yaml", text(&(web("a", 1) + &web("a", 3))))]));
    assert_eq!(changes(&update), ["+a@1"]);
    assert_eq!(
        shown(&update.problems),
        [
            "a.yaml:4: Service default/a: the same object is at a.yaml:2, and that one counts: remove one",
            "b.yaml:2: Service default/a: the same object is at a.yaml:2, and that one counts: remove one",
        ]
    );
    let mended = reconcile(&mut state, scan([("b.yaml", FileRead::Unchanged)]));
    assert_eq!((changes(&mended), mended.problems), (vec!["+a@2".into()], vec![]));
}

#[test]
fn what_is_there_beats_what_was_kept() {
    let mut state = FolderState::default();
    reconcile(&mut state, scan([("a.yaml", text(&web("a", 1)))]));
    let moved = reconcile(&mut state, scan([("a.yaml", text(BROKEN)), ("b.yaml", text(&web("a", 2)))]));
    assert_eq!(changes(&moved), ["+a@2"]);
}

#[test]
fn a_long_list_of_kept_objects_is_cut() {
    let mut state = FolderState::default();
    let many: String = (1..9).map(|number| web(&format!("s{number}"), 1)).collect();
    reconcile(&mut state, scan([("a.yaml", text(&many))]));
    let update = reconcile(&mut state, scan([("a.yaml", text("{"))]));
    assert!(shown(&update.problems)[0].ends_with("Service default/s5 and 3 more"), "{:?}", update.problems);
}

#[test]
fn problems_are_plain_in_json() {
    let mut state = FolderState::default();
    let update = reconcile(&mut state, scan([("a.yaml", text(BROKEN))]));
    assert_eq!(
        serde_json::to_value(&update.problems).unwrap(),
        serde_json::json!([{
            "object": "Service default/a",
            "place": "a.yaml:2",
            "reason": "not a valid Service: expected mapping start",
        }])
    );
}

/// What an update changes, one word each: `+KIND/name` or `-KIND/name`.
fn keys(update: &SourceUpdate) -> Vec<String> {
    let word = |change: &ObjectChange| match change {
        ObjectChange::Delete(key) => format!("-{}/{}", key.kind, key.name),
        ObjectChange::Upsert(object) => format!("+{}/{}", object.kind(), object.key().name),
    };
    update.changes.iter().map(word).collect()
}

#[test]
fn only_the_config_maps_that_a_policy_names_are_handed_on() {
    let config_map = |name: &str, namespace: &str| {
        format!(
            "---\n{{apiVersion: v1, kind: ConfigMap, metadata: {{name: {name}, namespace: {namespace}}}, \
             binaryData: {{a: AAAA}}}}\n"
        )
    };
    let all = config_map("a", "shop") + &config_map("b", "shop") + &config_map("a", "bank");
    let policy = "{apiVersion: wasmesh.io/v1alpha1, kind: LoadBalancingPolicy, metadata: {name: p, namespace: shop}, \
                  spec: {targetRefs: [], type: Wasm, wasm: {source: {configMapKeyRef: {name: a, key: a}}}}}";
    let mut state = FolderState::default();
    assert_eq!(keys(&reconcile(&mut state, scan([("maps.yaml", text(&all))]))), [""; 0]);
    let both = [("maps.yaml", FileRead::Unchanged), ("policy.yaml", text(policy))];
    assert_eq!(keys(&reconcile(&mut state, scan(both))), ["+LoadBalancingPolicy/p", "+ConfigMap/a"]);
    let without = reconcile(&mut state, scan([("maps.yaml", FileRead::Unchanged)]));
    assert_eq!(keys(&without), ["-LoadBalancingPolicy/p", "-ConfigMap/a"]);
}

#[test]
fn a_policy_whose_module_changes_is_another_object() {
    let policy = "{apiVersion: wasmesh.io/v1alpha1, kind: LoadBalancingPolicy, metadata: {name: p}, \
                  spec: {targetRefs: [], type: Wasm, wasm: {source: {file: p.wasm}}}}";
    let module = |tag: u8| Module::new([b"\0asm\x0d\0\x01\0", &[tag][..]].concat().into()).map_err(|_| unreachable!());
    let mut state = FolderState::default();
    let mut look = |read: FileRead, tag: u8| {
        let update = state.reconcile(scan([("dir/policy.yaml", read)]), |manifest, name| {
            assert_eq!((manifest, name), (Path::new("dir/policy.yaml"), "p.wasm"));
            module(tag)
        });
        keys(&update)
    };
    assert_eq!(look(text(policy), 1), ["+LoadBalancingPolicy/p"]);
    assert_eq!(look(FileRead::Unchanged, 1), [""; 0]);
    assert_eq!(look(FileRead::Unchanged, 2), ["+LoadBalancingPolicy/p"]);
    // A manifest that is broken keeps its policy, and that goes on following its module.
    assert_eq!(look(text("kind: 3\n\tnonsense"), 3), ["+LoadBalancingPolicy/p"]);
}
