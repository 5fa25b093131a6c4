//! Idempotency keys: claimed once, known again after a rotation, forgotten after a day with their secrets.

use ryokan_model::{Millis, Secret, UserId};
use ryokan_store::test_util::for_each_engine;
use ryokan_store::{Claimed, IDEMPOTENCY_WINDOW, Key, Seal};

#[tokio::test]
async fn a_key_stands_for_one_request_until_it_expires() {
    for_each_engine(|database| async move {
        let store = database.open().await;
        let seal = std::sync::Arc::new(Seal::new(vec![Key::generate()]).unwrap());
        let user = UserId::from_parts(Millis(1), [1; 10]);
        let claim = |text: &'static str, subject: &'static str, now: i64| {
            let (store, prints) = (store.clone(), seal.fingerprints("test", text.as_bytes()));
            async move {
                store
                    .write(move |tx| tx.claim_idempotency_key(user, "k", &prints, subject, Millis(now)))
                    .await
                    .unwrap()
            }
        };
        assert_eq!(claim("a", "first", 10).await, Claimed::First);
        let ring = seal.clone();
        store
            .write(move |tx| tx.put_idempotent_secret(&ring, user, "k", &Secret::new("s"), Millis(10)))
            .await
            .unwrap();
        assert_eq!(claim("a", "second", 11).await, Claimed::Again("first".into()));
        assert_eq!(claim("b", "second", 11).await, Claimed::Taken);
        assert_eq!(claim("b", "second", 10 + IDEMPOTENCY_WINDOW).await, Claimed::First);
        // The first secret is as old as its key was.
        let end = Millis(10 + IDEMPOTENCY_WINDOW);
        assert_eq!(store.write(move |tx| tx.purge_idempotency_keys(end)).await.unwrap(), 1);
        let ring = seal.clone();
        assert_eq!(store.read(move |tx| tx.idempotent_secret(&ring, user, "k")).await.unwrap(), None);
        let end = Millis(10 + 2 * IDEMPOTENCY_WINDOW);
        assert_eq!(store.write(move |tx| tx.purge_idempotency_keys(end)).await.unwrap(), 1);
    })
    .await;
}

#[test]
fn fingerprints_are_keyed_and_outlive_a_rotation_of_the_ring() {
    let (old, new) = (Key::generate(), Key::generate());
    let before = Seal::new(vec![old.clone()]).unwrap().fingerprints("p", b"text");
    let after = Seal::new(vec![new.clone(), old]).unwrap().fingerprints("p", b"text");
    assert!(after.contains(&before[0]) && after[0] != before[0]);
    let other = Seal::new(vec![new]).unwrap();
    assert_eq!(other.fingerprints("p", b"text"), after[..1]);
    assert_ne!(other.fingerprints("q", b"text"), after[..1]);
    assert_ne!(other.fingerprints("p", b"texts"), after[..1]);
}
