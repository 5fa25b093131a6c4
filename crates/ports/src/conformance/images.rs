//! Images that are there, or not.

use super::Harness;

pub async fn images_are_found_by_name_only(h: &Harness) {
    let image = h.runtime.find_image(&h.image).await.unwrap().expect("the test image is in the engine");
    assert!(image.id.starts_with("sha256:"), "{image:?}");
    let missing = "ryokan-test/does-not-exist:1".parse().unwrap();
    assert_eq!(h.runtime.find_image(&missing).await.unwrap(), None);
    // Whoever has seen an id has not been given the image.
    let hex = image.id.trim_start_matches("sha256:");
    for id in [hex.get(..12), Some(hex), Some(&image.id)].into_iter().flatten() {
        if let Ok(id) = id.parse() {
            assert_eq!(h.runtime.find_image(&id).await.unwrap(), None, "{id}");
        }
    }
}
