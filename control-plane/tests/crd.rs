//! The CustomResourceDefinition that is shipped is the one that the code means.

use std::{env, fs, path::Path};

use wasmesh_control_plane::translate::policy::custom_resource_definition;

const HEAD: &str = "# Made from control-plane/src/translate/policy/spec.rs. To renew it:
# UPDATE_CRD=1 cargo test -p wasmesh-control-plane --test crd
";

#[test]
fn the_shipped_definition_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/crd.yaml");
    let meant = format!("{HEAD}{}", serde_saphyr::to_string(&custom_resource_definition()).unwrap());
    if env::var_os("UPDATE_CRD").is_some() {
        fs::write(&path, &meant).unwrap();
    }
    let shipped = fs::read_to_string(&path).unwrap();
    assert!(shipped == meant, "deploy/crd.yaml is that of an earlier version: its first lines say how to renew it");
}
