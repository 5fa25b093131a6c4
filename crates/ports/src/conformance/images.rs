//! Images that are there, or not.

use ryokan_model::spec::PullPolicy;

use super::Harness;
use crate::runtime::{ImageRequest, RuntimeError};

pub async fn images_that_are_not_there_are_clear(h: &Harness) {
    let here = ImageRequest { image: h.image.clone(), policy: PullPolicy::IfMissing, credentials: None };
    let image = h.runtime.image(&here, &|_| ()).await.unwrap();
    assert!(image.id.starts_with("sha256:"), "{image:?}");
    let image = "ryokan-test/does-not-exist:1".parse().unwrap();
    let missing = ImageRequest { image, policy: PullPolicy::Never, credentials: None };
    match h.runtime.image(&missing, &|_| ()).await {
        Err(RuntimeError::Image { image, reason, retry }) => {
            assert_eq!(image, "ryokan-test/does-not-exist:1");
            assert!(!retry && reason.contains("never"), "{reason}");
        }
        other => panic!("{other:?}"),
    }
}
