//! What becomes of the text of a file: objects from what is well, a line and a reason for what is not.

mod common;

use proptest::prelude::*;
use wasmesh_control_plane::source::folder::parse::{Parsed, parse, parse_bytes};

fn keys(parsed: &Parsed) -> Vec<String> {
    parsed.objects.iter().map(|object| object.value.key().to_string()).collect()
}

/// A text that gives these objects and no problem.
fn gives(text: &str, expected: &[&str]) {
    let parsed = parse(text);
    assert_eq!(parsed.problems, [], "{text}");
    assert_eq!(keys(&parsed), expected, "{text}");
}

/// A text that gives these objects and has these problems: line, object and how the reason begins.
fn lacks(text: &str, objects: &[&str], problems: &[(u64, &str, &str)]) {
    let parsed = parse(text);
    assert_eq!(keys(&parsed), objects, "{text}");
    let found: Vec<_> = parsed
        .problems
        .iter()
        .map(|found| {
            let object = found.value.object.as_ref().map(ToString::to_string).unwrap_or_default();
            (found.line, object, found.value.reason.clone())
        })
        .collect();
    assert_eq!(found.len(), problems.len(), "{found:?}");
    for ((line, object, reason), expected) in found.iter().zip(problems) {
        assert_eq!((*line, object.as_str()), (expected.0, expected.1), "{reason}");
        assert!(reason.starts_with(expected.2), "{reason:?} does not start with {:?}", expected.2);
    }
}

const SERVICE: &str = "apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec: {ports: [{port: 80}]}\n";

#[test]
fn many_documents_and_namespaces() {
    gives(SERVICE, &["Service default/web"]);
    gives(
        &format!("# head\n---\n{SERVICE}---\n# nothing\n---\n{}...\n", SERVICE.replace("web", "w2, namespace: shop")),
        &["Service default/web", "Service shop/w2"],
    );
    gives(&SERVICE.replace('\n', "\r\n"), &["Service default/web"]);
    gives(&format!("\u{feff}{SERVICE}"), &["Service default/web"]);
    gives("", &[]);
    gives("apiVersion: v1\nkind: Node\nmetadata: {name: n1, namespace: ignored}\n", &["Node n1"]);
    gives("apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: what a pod does not say\n", &["Pod default/p"]);
}

#[test]
fn objects_are_where_their_text_begins() {
    let lines: Vec<_> =
        parse(&format!("# a\n{SERVICE}---\n\n{SERVICE}")).objects.iter().map(|object| object.line).collect();
    assert_eq!(lines, [2, 8]);
}

#[test]
fn json_is_read_too() {
    gives(
        "{\n\t\"apiVersion\": \"v1\",\n\t\"kind\": \"Service\",\n\t\"metadata\": {\"name\": \"web\", \
         \"annotations\": {\"note\": \"a\\/\\ud83d\\ude00\\u0041\"}},\n\t\"spec\": {\"ports\": [{\"port\": 80}]}\n}\n",
        &["Service default/web"],
    );
    lacks(
        "{\n  \"apiVersion\": \"v1\",\n  \"kind\": \"Service\",\n  \"metadata\": {\"name\": \"web\"},\n  \"spec\": 3\n}\n",
        &[],
        &[(5, "Service default/web", "not a valid Service: expected mapping")],
    );
}

#[test]
fn lists_are_read_item_by_item() {
    let list = "apiVersion: v1\nkind: List\nitems:\n\
                - {apiVersion: v1, kind: Service, metadata: {name: a}}\n\
                - {apiVersion: apps/v1, kind: Deployment, metadata: {name: b}}\n\
                - {apiVersion: v1, kind: Node, metadata: {name: c}}\n";
    gives(list, &["Service default/a", "Node c"]);
    gives(
        "apiVersion: v1\nkind: ServiceList\nitems: [{metadata: {name: a}}, {kind: Service, metadata: {name: b}}]\n",
        &["Service default/a", "Service default/b"],
    );
    gives(
        "apiVersion: discovery.k8s.io/v1\nkind: EndpointSliceList\nitems: [{metadata: {name: a}, addressType: IPv4}]",
        &["EndpointSlice default/a"],
    );
    gives("apiVersion: v1\nkind: List\nitems: null\n", &[]);
    gives("apiVersion: v1\nkind: List\nitems: []\n", &[]);
    gives("apiVersion: example.com/v1\nkind: ShoppingList\nitems: [milk, 3]\n", &[]);
    gives(
        "items: [{kind: Service, apiVersion: v1, metadata: {name: a}}]\nkind: List\napiVersion: v1\n",
        &["Service default/a"],
    );
}

#[test]
fn a_broken_item_does_not_take_the_others() {
    let list = "apiVersion: v1\nkind: List\nitems:\n\
                - {apiVersion: v1, kind: Service, metadata: {name: a}, spec: {ports: [{port: eighty}]}}\n\
                - {apiVersion: v1, kind: Service, metadata: {name: b}}\n\
                - {apiVersion: v1, kind: Service, metadata: {}}\n\
                - {kind: Service, metadata: {name: c}}\n\
                - apiVersion: v1\n  kind: Service\n  metadata: {name: d}\n  spec:\n    ports: none\n\
                - {apiVersion: v1, kind: Service, metadata: {name: e}}\n";
    lacks(
        list,
        &["Service default/b", "Service default/e"],
        &[
            (4, "Service default/a", "not a valid Service: invalid i32"),
            (6, "", "metadata.name is missing"),
            (7, "", "apiVersion is missing"),
            (12, "Service default/d", "not a valid Service: expected sequence"),
        ],
    );
}

#[test]
fn a_list_with_too_many_broken_items_ends_with_a_word_about_the_rest() {
    let mut list = "apiVersion: v1\nkind: List\nitems:\n".to_owned();
    for _ in 0..20 {
        list += "- {apiVersion: v1, kind: Service, metadata: {name: a}, spec: 3}\n";
    }
    let parsed = parse(&list);
    assert_eq!(parsed.problems.len(), 17);
    assert_eq!((parsed.problems[16].line, parsed.problems[16].value.object.as_ref()), (20, None));
}

#[test]
fn other_kinds_are_none_of_our_business() {
    gives("apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {name: a}\nspec: {rules: 3}\n", &[]);
    gives("apiVersion: serving.knative.dev/v1\nkind: Service\nmetadata: [what]\n", &[]);
    gives("apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a}\nspec: {replicas: many}\n", &[]);
}

#[test]
fn a_secret_is_read_as_it_may_open_a_registry() {
    gives("apiVersion: v1\nkind: Secret\nmetadata: {name: a}\ndata: {a: Yg==}\n", &["Secret default/a"]);
}

#[test]
fn broken_documents_are_named_by_line_and_reason() {
    lacks("name: a\n", &[], &[(1, "", "kind is missing")]);
    lacks("\n\nkind: Service\nmetadata: {name: a}\n", &[], &[(3, "", "apiVersion is missing: write \"v1\"")]);
    lacks("apiVersion: v1beta1\nkind: Service\n", &[], &[(1, "", "Service of apiVersion \"v1beta1\" is not read")]);
    lacks(
        "apiVersion: discovery.k8s.io/v1beta1\nkind: EndpointSlice\n",
        &[],
        &[(1, "", "EndpointSlice of apiVersion")],
    );
    lacks("apiVersion: v1\nkind: Service\nspec: {}\n", &[], &[(1, "", "metadata.name is missing")]);
    lacks("apiVersion: v1\nkind: Service\nmetadata: {name: ''}\n", &[], &[(1, "", "metadata.name is missing")]);
    lacks(
        "apiVersion: v1\nkind: Service\nmetadata: {name: A b}\n",
        &[],
        &[(1, "", "metadata.name \"A b\" is not allowed")],
    );
    lacks(
        "apiVersion: v1\nkind: Service\nmetadata: {name: a, namespace: x/y}\n",
        &[],
        &[(1, "", "metadata.namespace")],
    );
    lacks("3\n", &[], &[(1, "", "not a Kubernetes object: expected mapping")]);
    lacks("- a\n- b\n", &[], &[(1, "", "not a Kubernetes object: expected mapping")]);
    lacks("apiVersion: v1\nkind: [Service]\n", &[], &[(2, "", "not a Kubernetes object: expected string")]);
    lacks(
        "apiVersion: v1\nkind: Service\nmetadata: {name: a\nspec: {}\n",
        &[],
        &[(4, "", "not a Kubernetes object: while parsing a flow mapping")],
    );
    lacks(
        "apiVersion: v1\nkind: Service\nkind: Service\n",
        &[],
        &[(3, "", "not a Kubernetes object: duplicate mapping key")],
    );
    lacks(
        "apiVersion: v1\nkind: Service\n\tmetadata: {}\n",
        &[],
        &[(2, "", "not a Kubernetes object: while scanning a plain scalar, found a tab")],
    );
    lacks(
        "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec:\n  ports:\n  - {port: 99999999999}\n",
        &[],
        &[(6, "Service default/a", "not a valid Service: invalid i32")],
    );
    lacks("apiVersion: v1\nkind: List\nitems: {a: b}\n", &[], &[(3, "", "not a valid List: expected sequence")]);
    lacks("apiVersion: v1\nkind: List\nitems: [3]\n", &[], &[(3, "", "not a valid List: expected mapping")]);
}

#[test]
fn a_broken_document_does_not_take_its_neighbours() {
    let text = format!("{SERVICE}---\nkind: [\n---\n{}", SERVICE.replace("web", "w2"));
    lacks(&text, &["Service default/web", "Service default/w2"], &[(6, "", "")]);
}

#[test]
fn aliases_work_and_bombs_do_not() {
    gives("apiVersion: v1\nkind: Service\nmetadata: {name: &n web, labels: {app: *n}}\n", &["Service default/web"]);
    let mut bomb =
        "apiVersion: v1\nkind: Service\nmetadata: {name: a}\na: &a [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for (next, last) in ('b'..='z').zip('a'..) {
        bomb += &format!("{next}: &{next} [*{last}, *{last}, *{last}, *{last}, *{last}, *{last}, *{last}, *{last}]\n");
    }
    let parsed = parse(&bomb);
    assert_eq!((parsed.objects.len(), parsed.problems.len()), (0, 1));
}

#[test]
fn deep_nesting_is_refused_and_not_followed() {
    for open in ["[", "{a: ", "- "] {
        let parsed =
            parse(&format!("apiVersion: v1\nkind: Service\nmetadata: {{name: a}}\nx: {}", open.repeat(100_000)));
        assert_eq!((parsed.objects.len(), parsed.problems.len()), (0, 1), "{open}");
    }
}

#[test]
fn bytes_that_are_no_text_are_a_problem_with_a_line() {
    let mut bytes = SERVICE.as_bytes().to_vec();
    bytes.extend(b"# \xff\n");
    let parsed = parse_bytes(&bytes);
    assert_eq!(parsed.objects, []);
    assert_eq!((parsed.problems[0].line, parsed.problems.len()), (5, 1));
}

proptest! {
    #[test]
    fn any_text_is_survived(text in "(---\n|\\.\\.\\.|kind: (Service|List)\n|apiVersion: v1\n|items:\n|- |  |[&*]a |[\\[\\]{},:]|metadata: |name|\\PC|\n|\t|\"|'|\\|){0,40}") {
        parse(&text);
    }

    #[test]
    fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        parse_bytes(&bytes);
    }
}
