//! Deployments: an artifact is uploaded to a signed address, unpacked, built, and released as instances.
//!
//! The request makes a row and an address; the upload uses the address up and enqueues one durable job; the job may be
//! killed at any point and begins again from the artifact. What ran before goes on until what is new has become ready.

pub mod collect;
pub mod create;
mod databases;
mod dockerfiles;
pub mod look;
mod note;
mod release;
pub mod run;
pub mod unpack;
pub mod upload;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use hmac::{Hmac, Mac as _};
use ryokan_model::addon::Addon;
use ryokan_model::image::ImageRef;
use ryokan_model::quantity::{Bytes, Cpus};
use ryokan_model::{DeploymentId, Millis, Name, ProjectId};
use ryokan_ports::build::REGISTRY;
use sha2::Sha256;

use crate::{Error, Result};

/// What an operator decides about builds.
#[derive(Debug, Clone)]
pub struct Settings {
    /// What generated Dockerfiles begin from.
    pub node_base: ImageRef,
    pub python_base: ImageRef,
    /// Serves `/usr/share/nginx/html` on port 8080; a small server of ours on `node_base` when absent.
    pub frontend_base: Option<ImageRef>,
    /// What databases beside agents run.
    pub databases: BTreeMap<Addon, ImageRef>,
    /// Of one build: time, memory, processor, disk, log, network.
    pub limits: ryokan_ports::build::BuildLimits,
    /// The largest artifact.
    pub max_artifact: Bytes,
    /// How long an upload URL is good.
    pub upload_time: Duration,
    pub unpack: unpack::UnpackLimits,
    /// Of an instance, the images of so many of its newest revisions that were ever ready are kept.
    pub keep_revisions: u32,
    /// Where artifacts are unpacked; what is in it is ours to remove.
    pub work: PathBuf,
}

impl Settings {
    pub fn new(work: PathBuf) -> Result<Self> {
        let image = |name: &str| name.parse::<ImageRef>().map_err(Error::from);
        Ok(Self {
            node_base: image("docker.io/library/node:22-slim")?,
            python_base: image("docker.io/library/python:3.12-slim")?,
            frontend_base: None,
            databases: Addon::ALL
                .into_iter()
                .map(|addon| Ok((addon, image(addon.default_image())?)))
                .collect::<Result<_>>()?,
            limits: ryokan_ports::build::BuildLimits {
                time: Duration::from_mins(15),
                memory: Bytes::mebi(2048),
                cpus: Cpus::from_millis(2000),
                disk: Bytes::mebi(10 * 1024),
                log_bytes: 4 * 1024 * 1024,
                network: "bridge".into(),
            },
            max_artifact: Bytes::mebi(512),
            upload_time: Duration::from_hours(1),
            unpack: unpack::UnpackLimits::default(),
            keep_revisions: 10,
            work,
        })
    }
}

/// Signs upload addresses.
#[derive(Clone)]
pub struct UploadKey(Hmac<Sha256>);

impl UploadKey {
    pub fn new(key: &[u8; 32]) -> Self {
        Self(Hmac::new_from_slice(key).unwrap_or_else(|_| unreachable!("HMAC takes any key")))
    }

    /// Over everything that the address is bound to; each field has its length, so none can run into the next.
    fn mac(&self, bound: &Bound<'_>) -> Hmac<Sha256> {
        let mut mac = self.0.clone();
        mac.update(b"ryokan upload url\0");
        let fields = [
            bound.deployment.to_string(),
            bound.project.to_string(),
            bound.until.0.to_string(),
            bound.max_size.to_string(),
            bound.sha256.unwrap_or_default().to_owned(),
        ];
        for field in fields {
            mac.update(&u32::try_from(field.len()).unwrap_or(u32::MAX).to_be_bytes());
            mac.update(field.as_bytes());
        }
        mac
    }

    fn sign(&self, bound: &Bound<'_>) -> String {
        hex::encode(self.mac(bound).finalize().into_bytes())
    }

    /// In constant time.
    fn verify(&self, bound: &Bound<'_>, signature: &str) -> bool {
        hex::decode(signature).is_ok_and(|bytes| self.mac(bound).verify_slice(&bytes).is_ok())
    }
}

impl std::fmt::Debug for UploadKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("UploadKey([redacted])")
    }
}

/// What an upload address is bound to.
struct Bound<'a> {
    deployment: DeploymentId,
    project: ProjectId,
    until: Millis,
    max_size: u64,
    sha256: Option<&'a str>,
}

impl<'a> Bound<'a> {
    fn of(row: &'a ryokan_store::deployments::Deployment) -> Self {
        Self {
            deployment: row.id,
            project: row.project,
            until: row.upload_until,
            max_size: row.max_size,
            sha256: row.wanted_sha256.as_deref(),
        }
    }
}

fn image_name(project: ProjectId, name: &Name, deployment: DeploymentId) -> Result<ImageRef> {
    let text = format!("{REGISTRY}/{}/{name}:{deployment}", project.0.simple());
    text.parse().map_err(|_| Error::internal(format!("{text} is not an image's name")))
}

/// Whether an image was built here for another project than this.
pub(crate) fn is_foreign(image: &ImageRef, project: ProjectId) -> bool {
    let repository = image.repository();
    repository
        .strip_prefix(&format!("{REGISTRY}/"))
        .is_some_and(|rest| rest.split('/').next() != Some(&project.0.simple().to_string()))
}

/// Whether an image was built here, for whomever: then it is nowhere else.
pub(crate) fn is_built_here(image: &ImageRef) -> bool {
    image.repository().strip_prefix(REGISTRY).is_some_and(|rest| rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_bound_to_each_field() {
        let key = UploadKey::new(&[7; 32]);
        let id = |n: i64| DeploymentId::from_parts(Millis(n), [1; 10]);
        let project = |n: i64| ProjectId::from_parts(Millis(n), [1; 10]);
        let bound = |d, p, until, max_size, sha256| Bound {
            deployment: id(d),
            project: project(p),
            until: Millis(until),
            max_size,
            sha256,
        };
        let signature = key.sign(&bound(1, 1, 5, 6, None));
        assert!(key.verify(&bound(1, 1, 5, 6, None), &signature));
        for other in [
            bound(2, 1, 5, 6, None),
            bound(1, 2, 5, 6, None),
            bound(1, 1, 6, 6, None),
            bound(1, 1, 5, 7, None),
            bound(1, 1, 5, 6, Some("aa")),
            bound(1, 1, 56, 0, None),
        ] {
            assert!(!key.verify(&other, &signature));
        }
        assert!(!UploadKey::new(&[8; 32]).verify(&bound(1, 1, 5, 6, None), &signature));
        for bad in ["", "zz", &signature[2..], &format!("{signature}00")] {
            assert!(!key.verify(&bound(1, 1, 5, 6, None), bad), "{bad}");
        }
    }

    #[test]
    fn what_was_built_for_others_is_foreign() {
        let (a, b) = (ProjectId::from_parts(Millis(1), [1; 10]), ProjectId::from_parts(Millis(1), [2; 10]));
        let image =
            image_name(a, &"x".parse().unwrap(), DeploymentId::from_parts(Millis(1), [1; 10])).unwrap();
        assert!(!is_foreign(&image, a) && is_foreign(&image, b) && is_built_here(&image));
        assert!(!is_built_here(&"ryokan.local.example/x".parse().unwrap()));
        assert!(is_foreign(&format!("Ryokan.Local/{}/x", a.0.simple()).parse().unwrap(), b));
        assert!(!is_foreign(&"ryokan/hello:dev".parse().unwrap(), b));
    }
}
