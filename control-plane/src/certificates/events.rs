//! What happens to certificates: each event is one function that writes its log line and counts it.

use metrics::counter;

const WRITTEN: &str = "wasmesh_control_plane_certificates_written_total";
const FAILED: &str = "wasmesh_control_plane_certificate_failures_total";

/// Gives every metric its help text and its zero.
pub fn describe() {
    metrics::describe_counter!(WRITTEN, "Certificates that this replica has made and stored, by what was made.");
    metrics::describe_counter!(FAILED, "Attempts to read or renew the certificates that have failed.");
    for what in ["authority", "serving"] {
        counter!(WRITTEN, "what" => what).absolute(0);
    }
    counter!(FAILED).absolute(0);
}

/// A serving certificate has been made of the CA that was there.
pub fn renewed(secret: &str, why: &str) {
    counter!(WRITTEN, "what" => "serving").increment(1);
    tracing::info!(secret, "the serving certificate is renewed: {why}");
}

/// The first CA of this installation has been made.
pub fn created(secret: &str) {
    counter!(WRITTEN, "what" => "authority").increment(1);
    tracing::info!(secret, "the mesh has a certificate authority now");
}

/// A CA has been made in place of one that was there.
pub fn replaced(secret: &str, why: &str) {
    counter!(WRITTEN, "what" => "authority").increment(1);
    tracing::error!(
        secret,
        "the certificate authority is made anew: {why}. Sidecars that run already trust the old one: they go on with what \
         they know, and are updated again once their pods have been replaced (kubectl rollout restart)"
    );
}

/// What was served has been stored again, because what was stored had been lost.
pub fn restored(secret: &str, why: &str) {
    tracing::warn!(
        secret,
        "what was stored has been damaged or deleted, and what is served has been put in its place: {why}. To have another \
         certificate authority, scale the control plane to 0, delete the Secret, and scale it up again"
    );
}

/// What is served is now another certificate.
pub fn adopted(secret: &str) {
    tracing::info!(secret, "serving with the certificate that is stored");
}

/// A CA has been made that is going to sign when the one that does is near its end.
pub fn next_added(secret: &str, why: &str) {
    counter!(WRITTEN, "what" => "authority").increment(1);
    tracing::info!(
        secret,
        "there is a second certificate authority, which is going to sign: {why}. Pods that are made from now on trust both"
    );
}

/// That one signs now.
pub fn succeeded(secret: &str, why: &str) {
    counter!(WRITTEN, "what" => "serving").increment(1);
    tracing::warn!(
        secret,
        "the next certificate authority signs from now on: {why}. Pods that were made before it was there trust only the one before: \
         restart them (kubectl rollout restart)"
    );
}

/// The Secret could not be read or written.
pub fn failed(secret: &str, has_one: bool, is_news: bool, error: &str) {
    counter!(FAILED).increment(1);
    let meanwhile =
        if has_one { "the certificate that is there goes on being served" } else { "nothing can be served yet" };
    if is_news {
        tracing::warn!(secret, "cannot take care of the certificates, {meanwhile}; it is tried again: {error}");
    } else {
        tracing::debug!(secret, "cannot take care of the certificates, {meanwhile}: {error}");
    }
}

/// The Secret can be read and written again.
pub fn mended(secret: &str) {
    tracing::info!(secret, "the certificates can be taken care of again");
}
