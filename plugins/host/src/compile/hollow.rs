//! A component without what its functions do: all that its types are told by, at a fraction of what the whole takes to compile.

use wasmparser::{Parser, Payload};

/// No locals; `unreachable`, which fits every type; and the end.
const SHORTEST: usize = 3;
const NO_LOCALS: u8 = 0x00;
const UNREACHABLE: u8 = 0x00;
const NOP: u8 = 0x01;
const END: u8 = 0x0b;

/// The component with bodies that do nothing, each as long as the one that was there, so that nothing else moves. What cannot be read
/// is left as it is, for whoever compiles it to say what is wrong.
pub(crate) fn hollow(wasm: &[u8]) -> Vec<u8> {
    let mut hollow = wasm.to_vec();
    for payload in Parser::new(0).parse_all(wasm) {
        let Ok(payload) = payload else { break };
        if let Payload::CodeSectionEntry(body) = payload
            && let Some(body) = hollow.get_mut(body.range())
            && body.len() >= SHORTEST
        {
            body.fill(NOP);
            (body[0], body[1]) = (NO_LOCALS, UNREACHABLE);
            body[body.len() - 1] = END;
        }
    }
    hollow
}

#[cfg(test)]
mod tests {
    use wasmtime::component::Component;

    use super::hollow;
    use crate::engine::engine;

    #[test]
    fn it_has_the_same_types_and_does_nothing() {
        let text = r#"(component
            (core module $inner
                (memory (export "memory") 1)
                (func (export "none"))
                (func (export "answer") (param i32) (result i32) (local i64 f32)
                    (block (result i32) (i32.add (local.get 0) (i32.const 42)))))
            (core instance $inner (instantiate $inner))
            (func (export "answer") (param "n" u32) (result u32) (canon lift (core func $inner "answer"))))"#;
        let wasm = wat::parse_str(text).unwrap();
        let hollow = hollow(&wasm);
        assert_eq!(hollow.len(), wasm.len());
        assert_ne!(hollow, wasm);
        let engine = engine().unwrap();
        let [whole, hollow] = [&wasm, &hollow].map(|wasm| Component::from_binary(&engine, wasm).unwrap());
        let names = |component: &Component| {
            let ty = component.component_type();
            ty.exports(&engine).map(|(name, item)| format!("{name}: {item:?}").len()).collect::<Vec<_>>()
        };
        assert_eq!(names(&whole), names(&hollow));
    }

    #[test]
    fn what_cannot_be_read_is_left() {
        for broken in [&b"\0asm"[..], b"", b"nothing of the kind"] {
            assert_eq!(hollow(broken), broken);
        }
    }
}
