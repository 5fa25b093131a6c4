//! Identity keys.

use ryokan_model::{IdentityKeyId, Millis, UserId};
use ryokan_store::StoreError;
use ryokan_store::identity_keys::IdentityKey;
use ryokan_store::test_util::for_each_engine;
use ryokan_store::users::User;

fn user(n: u8) -> User {
    User {
        id: UserId::from_parts(Millis(1), [n; 10]),
        login: format!("u{n}"),
        name: String::new(),
        operator: false,
        password_hash: None,
        disabled: false,
        email: None,
        created_at: Millis(1),
    }
}

fn key(n: u8, of: &User, public_key: &str) -> IdentityKey {
    IdentityKey {
        id: IdentityKeyId::from_parts(Millis(i64::from(n)), [n; 10]),
        user: of.id,
        kind: "brc".into(),
        public_key: public_key.into(),
        label: format!("key {n}"),
        created_at: Millis(5),
        last_used_at: None,
    }
}

#[tokio::test]
async fn a_key_is_one_accounts_and_goes_with_it() {
    for_each_engine(|database| async move {
        let store = database.open().await;
        let (a, b) = (user(1), user(2));
        let (first, second) = (key(1, &a, "02aa"), key(2, &a, "03bb"));
        let taken = key(3, &b, "02aa");
        let of_a = a.id;
        store
            .write(move |tx| {
                tx.insert_user(&a)?;
                tx.insert_user(&b)?;
                tx.insert_identity_key(&first)?;
                tx.insert_identity_key(&second)
            })
            .await
            .unwrap();
        let refused = store.write(move |tx| tx.insert_identity_key(&taken)).await.unwrap_err();
        let StoreError::UniqueViolation { constraint } = refused else { panic!("{refused:?}") };
        assert!(constraint.contains("identity_keys"), "{constraint}");
        let rows = store.read(move |tx| tx.identity_keys_of(of_a)).await.unwrap();
        assert_eq!(rows.iter().map(|k| k.label.as_str()).collect::<Vec<_>>(), ["key 1", "key 2"]);
        let one = store.read(|tx| tx.identity_keys("", 1)).await.unwrap();
        let after = one[0].id.to_string();
        let rest = store.read(move |tx| tx.identity_keys(&after, 5)).await.unwrap();
        assert_eq!((one.len(), rest.len()), (1, 1));
        let id = one[0].id;
        store
            .write(move |tx| {
                tx.touch_identity_key(id, Millis(9))?;
                tx.set_email(of_a, "a@example.com", Millis(9))
            })
            .await
            .unwrap();
        let found = store.read(|tx| tx.identity_key("brc", "02aa")).await.unwrap().unwrap();
        assert_eq!(found.last_used_at, Some(Millis(9)));
        assert!(store.read(|tx| tx.identity_key("ssh", "02aa")).await.unwrap().is_none());
        let row = store.read(move |tx| tx.user(of_a)).await.unwrap().unwrap();
        assert_eq!(row.email.as_deref(), Some("a@example.com"));
        assert!(store.write(move |tx| tx.delete_identity_key(id)).await.unwrap());
        assert!(!store.write(move |tx| tx.delete_identity_key(id)).await.unwrap());
        store.write(move |tx| tx.delete_user(of_a, Millis(10))).await.unwrap();
        let (left, row) = store
            .read(move |tx| Ok::<_, StoreError>((tx.identity_keys("", 5)?, tx.user(of_a)?)))
            .await
            .unwrap();
        assert!(left.is_empty() && row.unwrap().email.is_none());
    })
    .await;
}
