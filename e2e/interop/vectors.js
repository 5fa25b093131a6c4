// Writes crates/brc/vectors: what the genuine SDK makes of fixed keys, for our own functions to be held against.
// Run by hand (`node vectors.js`) when a vector is added; what is random in them (vectors of AES, serial numbers) changes.
import { writeFileSync } from 'node:fs';
import {
  AuthFetch, Certificate, KeyDeriver, MasterCertificate, P2PKH, PrivateKey, ProtoWallet, PublicKey,
  SimplifiedFetchTransport, Utils, VerifiableCertificate,
} from 'sdk-2';

const folder = new URL('../../crates/brc/vectors/', import.meta.url);
const save = (name, value) => writeFileSync(new URL(`${name}.json`, folder), `${JSON.stringify(value, null, 1)}\n`);
const hex = (bytes) => Buffer.from(bytes).toString('hex');

const alice = PrivateKey.fromHex('11'.repeat(32));
const bob = PrivateKey.fromHex('22'.repeat(32));
const keys = [alice, bob, PrivateKey.fromHex('7f'.repeat(32)), PrivateKey.fromHex(`${'00'.repeat(31)}02`)];
const anyone = new PrivateKey(1);

const derive = [];
for (const ours of [...keys, anyone]) {
  for (const theirs of keys) {
    for (const [level, protocol, keyId] of [
      [2, 'auth message signature', 'bm9uY2U= c2Vzc2lvbg=='],
      [2, '3241645161d8', 'prefix suffix'],
      [1, 'Hello World 7', '1'],
      [0, 'abcde', 'ключ é 😀'],
    ]) {
      const deriver = new KeyDeriver(ours);
      const wallet = new ProtoWallet(ours);
      const counterparty = theirs.toPublicKey().toString();
      const data = Utils.toArray(`data of ${keyId}`, 'utf8');
      const { signature } = await wallet.createSignature({ data, protocolID: [level, protocol], keyID: keyId, counterparty });
      const { ciphertext } = await wallet.encrypt({ plaintext: data, protocolID: [level, protocol], keyID: keyId, counterparty });
      derive.push({
        ours: ours.toHex().padStart(64, '0'),
        theirs: counterparty,
        level,
        protocol,
        keyId,
        invoice: deriver.computeInvoiceNumber([level, protocol], keyId),
        private: deriver.derivePrivateKey([level, protocol], keyId, counterparty).toHex().padStart(64, '0'),
        public: deriver.derivePublicKey([level, protocol], keyId, counterparty).toString(),
        data: hex(data),
        signature: hex(signature),
        ciphertext: hex(ciphertext),
      });
    }
  }
}
save('derive', derive);

// Requests as AuthFetch signs them.
const fetcher = new AuthFetch(new ProtoWallet(alice));
const id = Array.from({ length: 32 }, (_, i) => i);
const requests = [];
for (const [method, url, headers, body] of [
  ['GET', 'http://localhost:7700/', {}, undefined],
  ['GET', 'http://localhost:7700/v1/projects?x=1&y=%20z', {}, undefined],
  ['POST', 'http://localhost:7700/api/v1/project/list', { 'Content-Type': 'application/json; charset=utf-8' }, '{"a":1}'],
  ['POST', 'http://localhost:7700/api/v1/register', { 'content-type': 'application/json' }, undefined],
  ['POST', 'http://localhost:7700/a%2Fb/ü', { 'content-type': 'text/plain' }, 'Grüße 😀'],
  ['POST', 'http://localhost:7700/empty', {}, undefined],
  ['DELETE', 'http://localhost:7700/v1/tokens/1', { 'x-bsv-b': '2', 'X-BSV-A': '1', 'x-bsv-a-b': '3', authorization: 'Bearer x' }, undefined],
  ['PUT', 'http://localhost:7700/big', { 'content-type': 'text/plain' }, 'x'.repeat(252)],
  ['PUT', 'http://localhost:7700/big', { 'content-type': 'text/plain' }, 'x'.repeat(253)],
  ['PUT', 'http://localhost:7700/big', { 'content-type': 'text/plain' }, 'x'.repeat(65535)],
  ['PUT', 'http://localhost:7700/big', { 'content-type': 'text/plain' }, 'x'.repeat(65536)],
]) {
  const parsed = new URL(url);
  const preimage = (await fetcher.serializeRequest(method, headers, body, parsed, id)).toArray();
  // What goes over the wire: AuthFetch gives JSON without a body an empty object.
  const sent = body ?? (headers['content-type'] === 'application/json' ? '{}' : null);
  requests.push({
    method, path: parsed.pathname, query: parsed.search, headers: Object.entries(headers),
    body: sent?.startsWith('xx') ? null : sent, fill: sent?.startsWith('xx') ? sent.length : undefined,
    preimage: preimage.length > 5000 ? undefined : hex(preimage),
    sha256: hex(await crypto.subtle.digest('SHA-256', new Uint8Array(preimage))),
  });
}
save('requests', requests);

// Answers as AuthFetch reads them before it verifies.
const responses = [];
for (const [status, headers, body] of [
  [200, { 'content-type': 'application/json' }, '{"ok":true}'],
  [204, {}, null],
  [404, { 'x-bsv-b': 'two', 'x-bsv-a': 'one', 'cache-control': 'no-store' }, ''],
  [402, { 'x-bsv-payment-version': '1.0', 'x-bsv-payment-satoshis-required': '777', 'x-bsv-payment-derivation-prefix': 'cHJlZml4' }, 'pay'],
  [418, {}, 'x'.repeat(253)],
]) {
  const auth = {
    'x-bsv-auth-version': '0.1', 'x-bsv-auth-identity-key': bob.toPublicKey().toString(), 'x-bsv-auth-signature': '00',
    'x-bsv-auth-request-id': Utils.toBase64(id),
  };
  const transport = new SimplifiedFetchTransport('http://localhost', async () =>
    new Response(body, { status, headers: { ...headers, ...auth } }));
  const payload = await new Promise((resolve) => {
    transport.onData(async (message) => resolve(message.payload));
    fetcher.serializeRequest('GET', {}, undefined, new URL('http://localhost/'), id).then((writer) =>
      transport.send({ messageType: 'general', version: '0.1', identityKey: '', nonce: '', yourNonce: '', payload: writer.toArray(), signature: [0] }));
  });
  responses.push({ status, headers: Object.entries({ ...headers, ...auth }), body: body ?? '', preimage: hex(payload) });
}
save('responses', responses);

// Certificates: issued by one, held by another, revealed to a third.
const certificates = [];
const certifier = new ProtoWallet(keys[2]);
const subject = new ProtoWallet(alice);
const verifier = bob.toPublicKey().toString();
for (const [fields, reveal] of [
  [{ email: 'alice@example.com' }, ['email']],
  [{ Zoo: 'z', email: 'alice@example.com', Alias: 'äöü', a_b: '1', 'a-b': '2', ab: '3' }, ['email', 'Alias']],
]) {
  const type = 'exOl3KM0dIJ04EW5pZgbZmPag6MdJXd3/a1enmUU/BA=';
  const master = await MasterCertificate.issueCertificateForSubject(
    certifier, alice.toPublicKey().toString(), fields, type, async () => `${'ab'.repeat(32)}.300`);
  const keyring = await MasterCertificate.createKeyringForVerifier(
    subject, master.certifier, verifier, master.fields, reveal, master.masterKeyring, master.serialNumber);
  const revealed = VerifiableCertificate.fromCertificate(master, keyring);
  if (!(await revealed.verify())) throw new Error('the SDK refuses its own certificate');
  const { type: kind, serialNumber, subject: of, certifier: by, revocationOutpoint, fields: sealed, signature } = master;
  certificates.push({
    verifier: bob.toHex(),
    certificate: { type: kind, serialNumber, subject: of, certifier: by, revocationOutpoint, fields: sealed, signature, keyring },
    binary: hex(new Certificate(kind, serialNumber, of, by, revocationOutpoint, sealed).toBinary(false)),
    revealed: await revealed.decryptFields(new ProtoWallet(bob)),
  });
}
save('certificates', certificates);

// Names as `localeCompare` sorts them.
const visible = Array.from({ length: 94 }, (_, i) => String.fromCharCode(33 + i));
const names = ['ab', 'Ab', 'aB', 'AC', 'ac', 'a-b', 'a_b', 'a b', 'a1', 'a10', 'a2', 'email', 'Email', 'eMail', 'zoo', 'Zoo', 'x-bsv-a', 'x-bsv-ab', 'x-bsv-a-b', 'x-bsv-10', 'x-bsv-9'];
save('order', [...visible, ...names].sort((a, b) => a.localeCompare(b)));

// Outputs that pay (BRC-29).
save('payments', keys.slice(0, 2).map((payer) => {
  const payee = keys[2];
  const to = new KeyDeriver(payer).derivePublicKey([2, '3241645161d8'], 'cHJlZml4 c3VmZml4', payee.toPublicKey().toString());
  return {
    payee: payee.toHex(), payer: payer.toPublicKey().toString(), prefix: 'cHJlZml4', suffix: 'c3VmZml4', key: to.toString(),
    script: new P2PKH().lock(PublicKey.fromString(to.toString()).toHash()).toHex(),
  };
}));
