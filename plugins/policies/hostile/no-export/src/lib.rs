//! A component that exports nothing.

#[allow(missing_docs, unreachable_pub, clippy::all, reason = "generated")]
mod bindings {
    wit_bindgen::generate!({
        inline: "package example:nothing; world nothing { }",
    });
}
