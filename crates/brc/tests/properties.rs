//! What holds for all values.

use proptest::prelude::*;
use ryokan_brc::preimage::{Request, Response, request_headers};
use ryokan_brc::varint::{self, Reader};
use ryokan_brc::{PrivateKey, Protocol, order};

fn headers() -> impl Strategy<Value = Vec<(String, String)>> {
    prop::collection::btree_map("x-bsv-[a-z0-9][a-z0-9-]{0,12}", "[ -~]{0,300}", 0..6)
        .prop_map(|map| request_headers(map.iter().map(|(n, v)| (n.as_str(), v.as_str()))))
}

fn body() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..600),
        prop::sample::select(vec![0usize, 1, 252, 253, 254, 65535, 65536]).prop_map(|n| vec![b'x'; n]),
    ]
}

proptest! {
    #[test]
    fn a_request_is_read_back(
        id: [u8; 32], method in "[A-Z]{3,7}", path in prop::option::of("/[ -~é]{0,300}"),
        query in prop::option::of("\\?[ -~]{0,100}"), headers in headers(), body in prop::option::of(body()),
    ) {
        let request = Request { id, method, path, query, headers, body };
        let bytes = request.to_bytes();
        prop_assert_eq!(Request::parse(&bytes).unwrap(), request.clone());
        // No part of it is a message, and nothing may follow.
        prop_assert!(Request::parse(&bytes[..bytes.len() - 1]).is_err());
        prop_assert!(Request::parse(&[bytes.as_slice(), &[0]].concat()).is_err());
        // What is absent is signed as something else than what is empty.
        if request.body.is_none() {
            let empty = Request { body: Some(Vec::new()), ..request };
            prop_assert_ne!(empty.to_bytes(), bytes);
        }
    }

    #[test]
    fn an_answer_is_read_back(id: [u8; 32], status in 100u16..1000, headers in headers(), body in body()) {
        let response = Response { id, status, headers, body };
        let bytes = response.to_bytes();
        prop_assert_eq!(Response::parse(&bytes).unwrap(), response);
        prop_assert!(Response::parse(&bytes[..bytes.len() - 1]).is_err());
    }

    #[test]
    fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Request::parse(&bytes);
        if let Ok(response) = Response::parse(&bytes) {
            prop_assert_eq!(response.to_bytes(), bytes);
        }
    }

    #[test]
    fn numbers_are_read_back(number in prop_oneof![0u64..70_000, 0..u64::MAX]) {
        let mut out = Vec::new();
        varint::write(&mut out, number);
        let mut reader = Reader::new(&out);
        prop_assert_eq!(reader.number(), Ok(number));
        prop_assert!(reader.end().is_ok());
    }

    /// Sorting by an order that is none could lose headers or never end.
    #[test]
    fn the_order_is_one(a in "[ -~é]{0,4}", b in "[ -~é]{0,4}", c in "[ -~é]{0,4}") {
        prop_assert_eq!(order::compare(&a, &b), order::compare(&b, &a).reverse());
        prop_assert_eq!(order::compare(&a, &b).is_eq(), a == b);
        if order::compare(&a, &b).is_le() && order::compare(&b, &c).is_le() {
            prop_assert!(order::compare(&a, &c).is_le());
        }
    }

    /// For names without underscores the order is that of bytes, which clients in other languages use.
    #[test]
    fn header_names_without_underscores_sort_by_bytes(a in "x-bsv-[a-z0-9-]{1,9}", b in "x-bsv-[a-z0-9-]{1,9}") {
        prop_assert_eq!(order::compare(&a, &b), a.cmp(&b));
    }

    #[test]
    fn both_sides_derive_the_same(a in 1u8.., b in 1u8.., key_id in "[ -~]{1,40}", data: Vec<u8>) {
        let (a, b) = (PrivateKey::from_bytes(&[a; 32]), PrivateKey::from_bytes(&[b; 32]));
        // A few of these are beyond the curve's order.
        let (Ok(a), Ok(b)) = (a, b) else { return Ok(()) };
        let invoice = Protocol::auth().invoice(&key_id).unwrap();
        let signature = a.derive(&a.shared(&b.public()), &invoice).unwrap().sign(&data);
        let seen = a.public().derive(&b.shared(&a.public()), &invoice).unwrap();
        prop_assert!(seen.verify(&data, &signature));
    }
}
