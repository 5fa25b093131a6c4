// Payments by the genuine SDK (BRC-105): what is asked, what is taken, what is credited, and each way to get credit for
// nothing. The chain is ours; the transactions are real ones.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import * as one from 'sdk-1';
import * as two from 'sdk-2';
import { Chain } from './chain.js';
import { Server, within } from './server.js';
import { wallets } from './wallet.js';

for (const [generation, sdk] of [['1.10.4', one], ['2.1.0', two]]) {
  describe(`payments with @bsv/sdk ${generation}`, { timeout: 300_000 }, () => {
    const { Raw, wallet } = wallets(sdk);
    let chain, server;
    before(async () => {
      chain = await Chain.start();
      server = await Server.start({
        RYOKAN_REQUESTS_PER_SECOND: '1000',
        RYOKAN_ARC_URL: `${chain.url}/arc`,
        RYOKAN_HEADERS_URL: `${chain.url}/headers`,
        RYOKAN_TESTNET_HEADERS_URL: `${chain.url}/nowhere`,
      });
    });
    after(async () => {
      await server.remove();
      chain.stop();
    });

    const customer = async (cheat) => {
      const holder = chain.payer(sdk, wallet(), cheat);
      const fetcher = new sdk.AuthFetch(holder);
      const call = async (path, body) => {
        const options = { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body ?? {}) };
        const answer = await within(fetcher.fetch(`${server.url}/api/v1${path}`, options), path);
        return { status: answer.status, headers: answer.headers, body: await answer.json() };
      };
      assert.equal((await call('/register')).status, 200);
      const made = await call('/project/create', { name: 'paid for' });
      assert.equal(made.status, 200, JSON.stringify(made.body));
      return { holder, call, id: made.body.projectId, pay: (amount, suffix = 'pay') => call(`/project/${made.body.projectId}/${suffix}`, { amount }) };
    };
    const uuid = (id) => `${id.slice(0, 8)}-${id.slice(8, 12)}-${id.slice(12, 16)}-${id.slice(16, 20)}-${id.slice(20)}`;
    const balance = async (id) => (await server.get(`/v1/projects/${uuid(id)}/balance`)).balance;
    const told = () => {
      chain.taken.length = 0;
      chain.answer = { status: 200, txStatus: 'SEEN_ON_NETWORK' };
    };

    test('what is asked for is paid, broadcast and credited once', async () => {
      told();
      const { pay, call, id } = await customer();
      const paid = await pay(777);
      assert.equal(paid.status, 200, JSON.stringify(paid.body));
      assert.equal(paid.headers.get('x-bsv-payment-satoshis-paid'), '777');
      assert.equal(await balance(id), 777);
      assert.equal(chain.taken.length, 1);
      const { records } = (await call(`/project/${id}/billing/stats`, {})).body;
      assert.deepEqual(records.map((r) => [r.type, r.amount_sats, r.balance_after]), [['credit', '777', '777']]);
      const { projects } = (await call('/project/list')).body;
      assert.equal(projects.find((project) => project.id === id).balance, '777');
    });

    // Fault 1 of MandalaNode.
    test('other spellings of the path cost the same or do not exist', async () => {
      const { pay, id } = await customer();
      for (const suffix of ['pay/', 'PAY', 'Pay', '%70ay', 'pay//']) {
        const answer = await pay(1_000_000, suffix);
        assert.ok([404, 405].includes(answer.status) || (await balance(id)) === 1_000_000, `${suffix}: ${answer.status}`);
        if (answer.status === 200) return;
      }
      assert.equal(await balance(id), 0);
    });

    // Fault 2.
    test('an underpayment is not taken, and nothing is broadcast', async () => {
      told();
      const cheap = (outputs) => outputs.map((output) => ({ ...output, satoshis: 1 }));
      const { pay, id } = await customer(cheap);
      const refused = await pay(5_000_000).catch((error) => ({ status: 0, error }));
      assert.notEqual(refused.status, 200);
      assert.equal(await balance(id), 0);
      assert.equal(chain.taken.length, 0);
    });

    test('a payment to somebody else is not taken', async () => {
      told();
      const other = new sdk.P2PKH().lock(sdk.PrivateKey.fromRandom().toPublicKey().toHash()).toHex();
      const { pay, id } = await customer((outputs) => outputs.map((output) => ({ ...output, lockingScript: other })));
      const refused = await pay(500).catch((error) => ({ status: 0, error }));
      assert.notEqual(refused.status, 200);
      assert.equal(await balance(id), 0);
      assert.equal(chain.taken.length, 0);
    });

    // A payment by hand: each of its parts can be used again.
    const byHand = async (holder, id, amount) => {
      const raw = new Raw(server.url, holder);
      assert.equal((await raw.hello()).status, 200);
      const path = `/api/v1/project/${id}/pay`;
      const send = async (body, payment) => {
        const request = await raw.request('POST', path, JSON.stringify(body));
        if (payment) {
          // It is signed with the rest.
          const nonce = sdk.Utils.toBase64([...crypto.getRandomValues(new Uint8Array(32))]);
          const rid = [...crypto.getRandomValues(new Uint8Array(32))];
          const headers = { 'content-type': 'application/json', 'x-bsv-payment': payment };
          const data = (await raw.fetcher.serializeRequest('POST', headers, JSON.stringify(body), new URL(server.url + path), rid)).toArray();
          const { signature } = await holder.createSignature({
            data, protocolID: [2, 'auth message signature'], keyID: `${nonce} ${raw.session.initialNonce}`, counterparty: raw.session.identityKey,
          });
          Object.assign(request.headers, headers, {
            'x-bsv-auth-nonce': nonce, 'x-bsv-auth-signature': sdk.Utils.toHex(signature), 'x-bsv-auth-request-id': sdk.Utils.toBase64(rid),
          });
        }
        const answer = await raw.send(path, request);
        return { ...answer, body: JSON.parse(answer.text) };
      };
      const asked = await send({ amount });
      assert.equal(asked.status, 402, asked.text);
      assert.ok(await raw.isSigned(asked));
      const prefix = asked.headers.get('x-bsv-payment-derivation-prefix');
      assert.equal(asked.headers.get('x-bsv-payment-satoshis-required'), String(amount));
      const suffix = sdk.Utils.toBase64([...crypto.getRandomValues(new Uint8Array(32))]);
      const { publicKey } = await holder.getPublicKey({
        protocolID: [2, '3241645161d8'], keyID: `${prefix} ${suffix}`, counterparty: raw.session.identityKey,
      });
      const lockingScript = new sdk.P2PKH().lock(sdk.PublicKey.fromString(publicKey).toAddress()).toHex();
      const { tx, txid } = await holder.createAction({ outputs: [{ satoshis: amount, lockingScript }] });
      const payment = JSON.stringify({ derivationPrefix: prefix, derivationSuffix: suffix, transaction: sdk.Utils.toBase64(tx) });
      return { send, payment, txid, tx, prefix, suffix };
    };

    // Fault 3.
    test('the same payment again gives the first answer, and no second credit', async () => {
      told();
      const { holder, id } = await customer();
      const { send, payment, tx, suffix } = await byHand(holder, id, 1000);
      const first = await send({ amount: 1000 }, payment);
      assert.equal(first.status, 200, first.text);
      const again = await send({ amount: 1000 }, payment);
      assert.equal(again.status, 200, again.text);
      assert.deepEqual(again.body, first.body);
      assert.equal(await balance(id), 1000);
      // The same transaction for another request to pay.
      const other = await byHand(holder, id, 1000);
      const moved = JSON.stringify({ derivationPrefix: other.prefix, derivationSuffix: suffix, transaction: sdk.Utils.toBase64(tx) });
      const refused = await send({ amount: 1000 }, moved);
      assert.equal(refused.status, 400, refused.text);
      assert.equal(await balance(id), 1000);
    });

    // Fault 4.
    test('nothing is asked of whoever may not pay, or for what is no amount', async () => {
      told();
      const { call, id } = await customer();
      const stranger = await customer();
      for (const amount of ['100', -1, 0, 1.5, null, 1e30]) {
        const refused = await call(`/project/${id}/pay`, { amount });
        assert.equal(refused.status, 400, `${amount}: ${JSON.stringify(refused.body)}`);
        assert.match(refused.body.error, /amount/);
      }
      const hidden = await stranger.call(`/project/${id}/pay`, { amount: 10 });
      assert.equal(hidden.status, 404);
      assert.equal(chain.taken.length, 0);
    });

    test('a prefix is for one identity, project and amount', async () => {
      told();
      const { holder, id } = await customer();
      const { send, payment } = await byHand(holder, id, 300);
      assert.equal((await send({ amount: 301 }, payment)).status, 400);
      const stranger = await customer();
      const theirs = await byHand(stranger.holder, stranger.id, 300);
      assert.equal((await theirs.send({ amount: 300 }, payment)).status, 400);
      assert.equal(await balance(stranger.id), 0);
      assert.equal(await balance(id), 0);
      assert.equal((await send({ amount: 300 }, payment)).status, 200);
      assert.equal(await balance(id), 300);
    });

    test('a proof for a block that is not on the chain is refused', async () => {
      told();
      const { holder, id } = await customer();
      const { send, payment } = await byHand(holder, id, 400);
      const roots = new Map(chain.roots);
      chain.roots.clear();
      const refused = await send({ amount: 400 }, payment);
      assert.equal(refused.status, 400, refused.text);
      assert.match(refused.body.error, /block/);
      for (const [height] of roots) chain.roots.set(height, '00'.repeat(32));
      assert.equal((await send({ amount: 400 }, payment)).status, 400);
      assert.equal(chain.taken.length, 0);
      for (const [height, root] of roots) chain.roots.set(height, root);
      assert.equal((await send({ amount: 400 }, payment)).status, 200);
      assert.equal(await balance(id), 400);
    });

    test('a double spend that miners refuse is no credit, and another payment may follow', async () => {
      told();
      const { holder, id, pay } = await customer();
      const { send, payment } = await byHand(holder, id, 250);
      chain.answer = { status: 200, txStatus: 'DOUBLE_SPEND_ATTEMPTED' };
      const refused = await send({ amount: 250 }, payment);
      assert.equal(refused.status, 400, refused.text);
      assert.match(refused.body.error, /refused/);
      assert.equal(await balance(id), 0);
      told();
      assert.equal((await pay(250)).status, 200);
      assert.equal(await balance(id), 250);
    });

    test('whoever paid while the network is away is credited when it is back, also over a restart', async () => {
      told();
      const { holder, id } = await customer();
      const { send, payment } = await byHand(holder, id, 650);
      chain.answer = { status: 503 };
      const kept = await send({ amount: 650 }, payment);
      assert.equal(kept.status, 503, kept.text);
      assert.match(kept.body.error, /do not pay again/);
      assert.equal(await balance(id), 0);
      told();
      await server.restart();
      for (let tries = 0; tries < 900 && (await balance(id)) === 0; tries += 1) {
        await new Promise((resolve) => setTimeout(resolve, 100));
      }
      assert.equal(await balance(id), 650);
    });

    test('garbage is refused by name', async () => {
      const { holder, id } = await customer();
      const { send, prefix, suffix } = await byHand(holder, id, 100);
      const offers = [
        'nonsense', '{}', JSON.stringify({ derivationPrefix: prefix, derivationSuffix: suffix, transaction: '!!!' }),
        JSON.stringify({ derivationPrefix: prefix, derivationSuffix: suffix, transaction: 'AQID' }),
        JSON.stringify({ derivationPrefix: 'bm9uZQ==', derivationSuffix: suffix, transaction: 'AQID' }),
      ];
      for (const offer of offers) {
        const refused = await send({ amount: 100 }, offer);
        assert.equal(refused.status, 400, `${offer}: ${refused.text}`);
        assert.match(refused.body.error, /x-bsv-payment/);
      }
      assert.equal(await balance(id), 0);
    });
  });
}
