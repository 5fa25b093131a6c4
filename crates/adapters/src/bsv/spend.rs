//! Making a transaction: every input is signed by its own key over all inputs and outputs, and the sums are checked.

use bsv_rs::primitives::PrivateKey;
use bsv_rs::script::LockingScript;
use bsv_rs::script::template::SignOutputs;
use bsv_rs::script::templates::P2PKH;
use bsv_rs::transaction::{Transaction, TransactionOutput};
use ryokan_ports::payment::{Output, PaymentError, Signed, Spent};

/// The most on either side, so that one signing is bounded.
const MOST: usize = 500;

/// The signatures follow from keys and content alone (RFC 6979), so that the same call makes the same transaction.
pub(super) async fn sign(inputs: Vec<Spent>, outputs: Vec<Output>) -> Result<Signed, PaymentError> {
    let wrong = |why: &dyn std::fmt::Display| PaymentError::Malformed(why.to_string());
    if inputs.is_empty() || outputs.is_empty() || inputs.len() > MOST || outputs.len() > MOST {
        return Err(wrong(&format!("it must have 1 to {MOST} inputs and outputs")));
    }
    let sum = |mut all: Box<dyn Iterator<Item = u64> + '_>| {
        all.try_fold(0u64, u64::checked_add).ok_or_else(|| wrong(&"its sums are more than all money"))
    };
    let taken = sum(Box::new(inputs.iter().map(|i| i.satoshis)))?;
    let given = sum(Box::new(outputs.iter().map(|o| o.satoshis)))?;
    if given > taken {
        return Err(wrong(&"it creates money"));
    }
    let mut transaction = Transaction::new();
    for input in &inputs {
        // Whoever may see the error may not see the key.
        let key = PrivateKey::from_hex(input.key.expose()).map_err(|_| wrong(&"a key is not one"))?;
        let script = P2PKH::lock_from_address(&key.public_key().to_address()).map_err(|e| wrong(&e))?;
        let unlock = P2PKH::unlock(&key, SignOutputs::All, false);
        transaction
            .add_input_from(&input.txid, input.output, &script, input.satoshis, unlock)
            .map_err(|e| wrong(&e))?;
    }
    for output in &outputs {
        let script = LockingScript::from_binary(&output.script).map_err(|e| wrong(&e))?;
        transaction.add_output(TransactionOutput::new(output.satoshis, script)).map_err(|e| wrong(&e))?;
    }
    transaction.sign().await.map_err(|e| wrong(&e))?;
    let extended = transaction.to_ef().map_err(|e| wrong(&e))?;
    Ok(Signed { txid: transaction.id(), extended })
}

#[cfg(test)]
mod tests {
    use bsv_rs::transaction::{MerklePath, MerklePathLeaf};
    use proptest::prelude::*;
    use ryokan_model::Secret;

    use super::super::beef;
    use super::*;

    fn key(n: u8) -> PrivateKey {
        PrivateKey::from_bytes(&[n; 32]).unwrap()
    }

    fn script(key: &PrivateKey) -> Vec<u8> {
        P2PKH::lock_from_address(&key.public_key().to_address()).unwrap().to_binary()
    }

    /// A mined transaction with these outputs, each to the key of its place.
    fn mined(height: u32, amounts: &[u64]) -> Transaction {
        let mut source = Transaction::new();
        for (n, satoshis) in (1u8..).zip(amounts) {
            let script = LockingScript::from_binary(&script(&key(n))).unwrap();
            source.add_output(TransactionOutput::new(*satoshis, script)).unwrap();
        }
        // Another one for each height.
        source.lock_time = height;
        source.inputs.push(bsv_rs::transaction::TransactionInput::new("ab".repeat(32), 0));
        source.inputs[0].unlocking_script = Some(bsv_rs::script::UnlockingScript::new());
        let leaves = vec![MerklePathLeaf::new(0, "cd".repeat(32)), MerklePathLeaf::new_txid(1, source.id())];
        source.merkle_path = Some(MerklePath::new(height, vec![leaves]).unwrap());
        source
    }

    fn inputs_of(source: &Transaction, amounts: &[u64]) -> Vec<Spent> {
        let input = |(n, satoshis): (u8, &u64)| Spent {
            txid: source.id(),
            output: u32::from(n - 1),
            satoshis: *satoshis,
            key: Secret::new(key(n).to_hex()),
        };
        (1u8..).zip(amounts).map(input).collect()
    }

    /// What the network would look at: the transaction with the mined ones that it spends.
    fn proven(signed: &Signed, source: &Transaction, to: &[u8]) -> Result<u64, PaymentError> {
        let mut transaction = Transaction::from_ef(&signed.extended).unwrap();
        for input in &mut transaction.inputs {
            input.source_transaction = Some(Box::new(source.clone()));
        }
        let beef = transaction.to_atomic_beef(false).unwrap();
        let (verified, _) = beef::read(&beef, to)?;
        assert_eq!((&verified.txid, &verified.extended), (&signed.txid, &signed.extended));
        Ok(verified.satoshis)
    }

    fn run<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        /// Its scripts run, its sums are what was asked for, and it is the same one again.
        #[test]
        fn what_is_signed_is_what_was_asked_for(
            amounts in prop::collection::vec(1u64..1_000_000, 1..8),
            part in 1u64..=100,
            change in any::<bool>(),
        ) {
            let source = mined(7, &amounts);
            let all: u64 = amounts.iter().sum();
            let paid = (all * part / 100).max(1);
            let mut outputs = vec![Output { script: script(&key(200)), satoshis: paid }];
            if change && all > paid {
                outputs.push(Output { script: script(&key(201)), satoshis: (all - paid) / 2 });
            }
            let signed = run(sign(inputs_of(&source, &amounts), outputs.clone())).unwrap();
            prop_assert_eq!(run(sign(inputs_of(&source, &amounts), outputs.clone())).unwrap(), signed.clone());
            prop_assert_eq!(proven(&signed, &source, &script(&key(200))).unwrap(), paid);
            let read = Transaction::from_ef(&signed.extended).unwrap();
            prop_assert_eq!(read.inputs.len(), amounts.len());
            let given: Vec<(u64, Vec<u8>)> =
                read.outputs.iter().map(|o| (o.satoshis.unwrap(), o.locking_script.to_binary())).collect();
            prop_assert_eq!(given, outputs.into_iter().map(|o| (o.satoshis, o.script)).collect::<Vec<_>>());
            prop_assert_eq!(read.total_input_satoshis().unwrap(), all);
        }
    }

    #[test]
    fn no_key_but_its_own_spends_an_output() {
        let source = mined(7, &[1_000, 2_000]);
        let outputs = || vec![Output { script: script(&key(200)), satoshis: 2_500 }];
        let mut inputs = inputs_of(&source, &[1_000, 2_000]);
        inputs[1].key = Secret::new(key(9).to_hex());
        let signed = run(sign(inputs, outputs())).unwrap();
        assert!(proven(&signed, &source, &script(&key(200))).is_err());
        // One whose amount is not what it holds.
        let signed = run(sign(inputs_of(&source, &[1_000, 2_001]), outputs())).unwrap();
        let mut transaction = Transaction::from_ef(&signed.extended).unwrap();
        for input in &mut transaction.inputs {
            input.source_transaction = Some(Box::new(source.clone()));
        }
        let beef = transaction.to_atomic_beef(false).unwrap();
        assert!(beef::read(&beef, &script(&key(200))).is_err());
    }

    #[test]
    fn what_makes_no_sense_is_not_signed() {
        let source = mined(7, &[1_000]);
        let to = |satoshis| vec![Output { script: script(&key(200)), satoshis }];
        let inputs = || inputs_of(&source, &[1_000]);
        run(sign(inputs(), to(1_000))).unwrap();
        for (inputs, outputs) in [
            (inputs(), to(1_001)),
            (vec![], to(1)),
            (inputs(), vec![]),
            (inputs_of(&source, &[u64::MAX, 1]), to(1)),
            (vec![Spent { txid: "zz".into(), ..inputs().remove(0) }], to(1)),
            (vec![Spent { key: Secret::new("00".repeat(32)), ..inputs().remove(0) }], to(1)),
        ] {
            let error = run(sign(inputs, outputs)).unwrap_err();
            assert!(matches!(error, PaymentError::Malformed(_)), "{error}");
        }
    }
}
