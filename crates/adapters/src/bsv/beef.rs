//! One pass over a transaction with its ancestors: form, scripts, values and merkle paths. The roots that it rests on are
//! returned, for the headers to confirm.

use bsv_rs::transaction::Beef;
use bsv_rs::transaction::beef_stream::{HeadersFn, SpendRefusal, StreamVerifier, Verdict, display_hex};
use ryokan_ports::payment::{PaymentError, Verified};

/// The interpreter's steps for one input. An ordinary payment takes a few hundred.
const WORK: u64 = 200_000;
/// Inputs that may have to be run, of the payment and all its ancestors.
const MOST_INPUTS: usize = 2_000;
/// Blocks that one payment may rest on: each is a question to the service of headers.
const MOST_ROOTS: usize = 64;

/// Heights and roots, as explorers show them.
pub(super) type Roots = Vec<(u64, String)>;

pub(super) fn read(beef: &[u8], script: &[u8]) -> Result<(Verified, Roots), PaymentError> {
    let malformed = |why: String| PaymentError::Malformed(why);
    let parsed = Beef::from_binary(beef).map_err(|e| malformed(e.to_string()))?;
    let subject =
        parsed.atomic_txid.clone().ok_or_else(|| malformed("it is no Atomic BEEF (BRC-95)".into()))?;
    let transaction = parsed
        .find_atomic_transaction(&subject)
        .ok_or_else(|| malformed("it does not hold the transaction that it is about".into()))?;
    let inputs: usize = parsed.txs.iter().filter_map(|tx| tx.tx()).map(|tx| tx.inputs.len()).sum();
    if inputs > MOST_INPUTS {
        return Err(malformed(format!("it and its ancestors have {inputs} inputs; {MOST_INPUTS} are taken")));
    }
    let mut verifier = StreamVerifier::new(beef, HeadersFn(|_, _: &_| true), None);
    verifier.set_work_limit(Some(WORK));
    let roots = match verifier.run().map_err(|e| malformed(e.to_string()))? {
        Verdict::Valid { roots, .. } => roots,
        Verdict::Invalid { offset, kind, .. } => {
            return Err(malformed(format!("byte {offset}: {kind:?}")));
        }
        Verdict::SpendRefused { why: SpendRefusal::CreatesValue, .. } => {
            return Err(malformed("it creates money".into()));
        }
        Verdict::SpendRefused { why, .. } => return Err(malformed(format!("{why:?}"))),
        Verdict::Unverifiable { check, .. } => {
            return Err(malformed(format!(
                "it cannot be mined at once ({check:?}); pay without a time lock"
            )));
        }
    };
    if roots.is_empty() || roots.len() > MOST_ROOTS {
        return Err(malformed(format!("it rests on {} blocks; 1 to {MOST_ROOTS} are taken", roots.len())));
    }
    let output = transaction.outputs.first().ok_or_else(|| malformed("it has no output".into()))?;
    if output.locking_script.to_binary() != script {
        return Err(PaymentError::Elsewhere);
    }
    let verified = Verified {
        txid: transaction.id(),
        satoshis: output.satoshis.unwrap_or(0),
        extended: transaction.to_ef().map_err(|e| malformed(e.to_string()))?,
    };
    Ok((verified, roots.into_iter().map(|(height, root)| (height, display_hex(&root))).collect()))
}
