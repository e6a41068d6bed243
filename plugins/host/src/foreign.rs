//! What reads modules of strangers, as a function of their bytes with what must hold of the outcome: for fuzzing.

use wasmparser::Validator;

use crate::{
    compile::hollow,
    direct::{core_module, shape},
};

/// A module that is to be a policy, up to the point from where on the engine takes care of it.
///
/// # Panics
/// When a valid module is made an invalid one.
pub fn module(bytes: &[u8]) {
    let Ok(shape) = shape::inspect(bytes) else { return };
    let is_valid = Validator::new().validate_all(bytes).is_ok();
    let hollow = hollow(bytes);
    assert!(!is_valid || Validator::new().validate_all(&hollow).is_ok(), "without its code it is not valid");
    let Ok(Some(main)) = shape.main.map(|main| bytes.get(main)) else { return };
    if let Ok(prepared) = core_module::prepare(main, shape.has_feedback) {
        let was_valid = Validator::new().validate_all(main).is_ok();
        assert!(!was_valid || Validator::new().validate_all(&prepared).is_ok(), "prepared it is not valid");
    }
}
