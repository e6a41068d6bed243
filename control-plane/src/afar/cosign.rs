//! Signatures as cosign has always made them: a payload that names the artefact's digest, signed with ECDSA over P-256.

use std::path::Path;

use anyhow::{Context, bail};
use base64::{Engine, engine::general_purpose::STANDARD};
use ring::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use serde::Deserialize;
use x509_parser::{pem::parse_x509_pem, prelude::FromDer, x509::SubjectPublicKeyInfo};

/// The layers of a signature's manifest that are payloads.
pub(super) const PAYLOAD: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
/// The annotation of a layer that has the signature of its payload.
pub(super) const SIGNATURE: &str = "dev.cosignproject.cosign/signature";

/// What payloads say they are.
const TYPE: &str = "cosign container image signature";
/// What kind of key it is, and on which curve: id-ecPublicKey and prime256v1 of RFC 5480.
const EC_PUBLIC_KEY: &str = "1.2.840.10045.2.1";
const P256: &str = "1.2.840.10045.3.1.7";
/// An uncompressed point of P-256.
const POINT_BYTES: usize = 65;

/// Whose signatures count.
#[derive(Debug, Clone)]
pub(super) struct CosignKey {
    point: Vec<u8>,
}

/// Why a signature does not count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadSignature {
    #[error("it is no Base64")]
    NotBase64,
    #[error("it is by another key, or its payload has been changed")]
    OtherKey,
    #[error("its payload is none of cosign's")]
    NoPayload,
    #[error("it is for {0}")]
    OtherImage(String),
}

impl CosignKey {
    /// Reads `cosign.pub`.
    ///
    /// # Errors
    /// When the file cannot be read, or has no such key; the error names it.
    pub(super) fn read(path: &Path) -> anyhow::Result<Self> {
        let pem =
            std::fs::read(path).with_context(|| format!("cannot read {} (--module-cosign-key)", path.display()))?;
        Self::from_pem(&pem).with_context(|| format!("cannot use {} (--module-cosign-key)", path.display()))
    }

    fn from_pem(pem: &[u8]) -> anyhow::Result<Self> {
        let expected = "expected a public key as `cosign generate-key-pair` makes it: PEM, ECDSA over P-256";
        let Ok((_, pem)) = parse_x509_pem(pem) else { bail!("it is not PEM: {expected}") };
        if pem.label != "PUBLIC KEY" {
            bail!("it has a {}: {expected}", pem.label);
        }
        let Ok((_, key)) = SubjectPublicKeyInfo::from_der(&pem.contents) else {
            bail!("it has no public key: {expected}")
        };
        let curve = key.algorithm.parameters.as_ref().and_then(|curve| curve.as_oid().ok());
        let is_p256 = key.algorithm.algorithm.to_id_string() == EC_PUBLIC_KEY
            && curve.is_some_and(|curve| curve.to_id_string() == P256);
        let point = key.subject_public_key.data.to_vec();
        if !is_p256 || point.len() != POINT_BYTES {
            bail!("its key is of another kind: {expected}");
        }
        Ok(Self { point })
    }

    /// Whether a payload is signed by this key and says that an artefact is meant: `digest`, with `sha256:` before it.
    pub(super) fn verify(&self, payload: &[u8], signature: &str, digest: &str) -> Result<(), BadSignature> {
        let signature = STANDARD.decode(signature.trim()).map_err(|_| BadSignature::NotBase64)?;
        let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, &self.point);
        key.verify(payload, &signature).map_err(|_| BadSignature::OtherKey)?;
        let Payload { critical } = serde_json::from_slice(payload).map_err(|_| BadSignature::NoPayload)?;
        if critical.kind != TYPE {
            return Err(BadSignature::NoPayload);
        }
        let signed = critical.image.docker_manifest_digest;
        if signed == digest { Ok(()) } else { Err(BadSignature::OtherImage(signed)) }
    }
}

#[derive(Deserialize)]
struct Payload {
    critical: Critical,
}

#[derive(Deserialize)]
struct Critical {
    #[serde(rename = "type")]
    kind: String,
    image: SignedImage,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct SignedImage {
    docker_manifest_digest: String,
}

#[cfg(test)]
mod tests {
    use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PublicKeyData, SigningKey};
    use serde_json::json;

    use super::*;

    fn payload(kind: &str, digest: &str) -> Vec<u8> {
        let image = json!({ "docker-manifest-digest": digest });
        let critical = json!({ "identity": { "docker-reference": "" }, "image": image, "type": kind });
        json!({ "critical": critical, "optional": null }).to_string().into_bytes()
    }

    fn public(pair: &KeyPair) -> CosignKey {
        CosignKey::from_pem(pair.public_key_pem().as_bytes()).unwrap()
    }

    #[test]
    fn only_the_keys_own_signature_of_this_very_image_counts() {
        let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let other = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let sign = |pair: &KeyPair, payload: &[u8]| STANDARD.encode(pair.sign(payload).unwrap());
        let key = public(&pair);
        let good = payload(TYPE, "sha256:aa");
        let signature = sign(&pair, &good);
        assert_eq!(key.verify(&good, &signature, "sha256:aa"), Ok(()));
        assert_eq!(key.verify(&good, &signature, "sha256:bb"), Err(BadSignature::OtherImage("sha256:aa".to_owned())));
        assert_eq!(key.verify(&good, &sign(&other, &good), "sha256:aa"), Err(BadSignature::OtherKey));
        assert_eq!(key.verify(&payload(TYPE, "sha256:bb"), &signature, "sha256:bb"), Err(BadSignature::OtherKey));
        assert_eq!(key.verify(&good, "?", "sha256:aa"), Err(BadSignature::NotBase64));
        assert_eq!(key.verify(&good, "", "sha256:aa"), Err(BadSignature::OtherKey));
        for odd in [payload("atomic container signature", "sha256:aa"), b"{}".to_vec(), b"sha256:aa".to_vec()] {
            assert_eq!(key.verify(&odd, &sign(&pair, &odd), "sha256:aa"), Err(BadSignature::NoPayload));
        }
    }

    #[test]
    fn a_file_without_such_a_key_is_refused() {
        let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let p384 = KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap();
        for (pem, reason) in [
            ("ssh-ed25519 AAAA".to_owned(), "not PEM"),
            (pair.serialize_pem(), "PRIVATE KEY"),
            (p384.public_key_pem(), "another kind"),
            ("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n".to_owned(), "no public key"),
        ] {
            let error = format!("{:#}", CosignKey::from_pem(pem.as_bytes()).unwrap_err());
            assert!(error.contains(reason) && error.contains("cosign generate-key-pair"), "{error}");
        }
        assert_eq!(public(&pair).point, pair.der_bytes());
    }

    /// Made with `openssl dgst -sha256 -sign`, as cosign's own are.
    #[test]
    fn signatures_of_others_are_read() {
        let key = CosignKey::from_pem(include_bytes!("testdata/cosign.pub")).unwrap();
        let (payload, signature) = (include_bytes!("testdata/payload.json"), include_str!("testdata/payload.sig"));
        assert_eq!(key.verify(payload, signature, &format!("sha256:{}", "0a".repeat(32))), Ok(()));
    }
}
