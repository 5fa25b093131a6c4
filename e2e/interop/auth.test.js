// Mutual authentication (BRC-103/104) by the genuine SDK in both generations, and the server's side of each effect.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import * as one from 'sdk-1';
import * as two from 'sdk-2';
import { Server, within } from './server.js';
import { wallets } from './wallet.js';

const certifierKey = two.PrivateKey.fromHex('7e'.repeat(32));
const EMAIL = 'exOl3KM0dIJ04EW5pZgbZmPag6MdJXd3/a1enmUU/BA=';

for (const [generation, sdk] of [['1.10.4', one], ['2.1.0', two]]) {
  describe(`@bsv/sdk ${generation}`, { timeout: 300_000 }, () => {
    const { Raw, wallet } = wallets(sdk);
    let server;
    before(async () => {
      server = await Server.start({
        RYOKAN_CERTIFIERS: certifierKey.toPublicKey().toString(),
        RYOKAN_REQUESTS_PER_SECOND: '1000',
      });
    });
    after(() => server.remove());

    // AuthFetch with a bound on its patience. The status is all that it shows of an answer without a body.
    const client = (holder = wallet(), to = server) => {
      const fetcher = new sdk.AuthFetch(holder);
      const call = async (method, path, body, headers) => {
        const options = { method, headers: headers ?? (body === undefined ? {} : { 'content-type': 'application/json' }), body };
        const answer = await within(fetcher.fetch(to.url + path, options), `${method} ${path}`);
        const text = await answer.text();
        return { status: answer.status, headers: answer.headers, body: text.startsWith('{') || text.startsWith('[') ? JSON.parse(text) : text };
      };
      return { holder, fetcher, call };
    };
    const registered = async (holder) => {
      const made = client(holder);
      const answer = await made.call('POST', '/api/v1/register', '{}');
      assert.equal(answer.status, 200, JSON.stringify(answer.body));
      return made;
    };
    const userOf = async (holder) => {
      for (const user of (await server.get('/v1/users?limit=500')).items) {
        const keys = (await server.get(`/v1/users/${user.id}/keys`)).items;
        if (keys.some((key) => key.key === holder.identity)) return user;
      }
      return null;
    };

    test('an unknown identity shakes hands, is refused, registers once', async () => {
      const { call, holder } = client();
      const refused = await call('GET', '/v1/projects');
      assert.equal(refused.status, 401);
      assert.equal(refused.body.code, 'unauthenticated');
      assert.equal(await userOf(holder), null);
      const count = (await server.get('/v1/users?limit=500')).items.length;
      const answer = await call('POST', '/api/v1/register', '{}');
      assert.deepEqual(answer.body, { message: 'User registered', userCount: count + 1 });
      const again = await call('POST', '/api/v1/register', '{}');
      assert.deepEqual(again.body, { message: 'User already registered', userCount: count + 1 });
      const user = await userOf(holder);
      assert.ok(user.login.startsWith(`brc-${holder.identity.slice(0, 8)}`), user.login);
      assert.equal(user.has_password, false);
      assert.equal((await call('GET', '/v1/projects')).body.items.length, 1);
    });

    test('registrations at the same moment make one account', async () => {
      const holder = wallet();
      const answers = await Promise.all([1, 2, 3, 4].map(() => client(holder).call('POST', '/api/v1/register', '{}')));
      assert.deepEqual(answers.map((a) => a.status), [200, 200, 200, 200]);
      assert.equal(answers.filter((a) => a.body.message === 'User registered').length, 1);
      assert.ok(await userOf(holder));
    });

    test('queries, JSON, UTF-8, 70 KB, other content types, no body', async () => {
      const { call, holder } = await registered();
      const events = await call('GET', '/v1/events?limit=5&subject=%20z');
      assert.ok([200, 400].includes(events.status), `${events.status}`);
      assert.equal((await call('GET', '/v1/tokens?limit=7&after=')).status, 200);
      assert.equal((await call('PATCH', '/v1/users/me', JSON.stringify({ name: 'Grüße 😀' }))).status, 200);
      assert.equal((await userOf(holder)).name, 'Grüße 😀');
      const long = `{"name":"long"${' '.repeat(70_000)}}`;
      assert.equal((await call('PATCH', '/v1/users/me', long)).status, 200);
      assert.equal((await userOf(holder)).name, 'long');
      const charset = { 'content-type': 'application/json; charset=utf-8' };
      assert.equal((await call('PATCH', '/v1/users/me', '{"name":"charset"}', charset)).status, 200);
      assert.equal((await call('PATCH', '/v1/users/me', '{"name":"text"}', { 'content-type': 'text/plain' })).status, 200);
      assert.equal((await userOf(holder)).name, 'text');
      assert.equal((await call('POST', '/api/v1/register')).status, 200);
      const extra = { 'content-type': 'application/json', 'x-bsv-zoo': '1', 'x-bsv-alpha-b': '2' };
      assert.equal((await call('POST', '/api/v1/register', '{}', extra)).status, 200);
    });

    test('answers of every kind are signed, empty ones too', async () => {
      const { call } = await registered();
      const name = `p-${Date.now().toString(36)}`;
      assert.equal((await call('POST', '/v1/projects', JSON.stringify({ name }))).status, 201);
      assert.ok((await server.get('/v1/projects')).items.some((p) => p.name === name));
      assert.equal((await call('DELETE', `/v1/projects/${name}`)).status, 204);
      assert.ok(!(await server.get('/v1/projects')).items.some((p) => p.name === name));
      assert.equal((await call('GET', '/v1/nothing/here')).status, 404);
      assert.equal((await call('PUT', '/v1/projects', '{}')).status, 405);
      assert.equal((await call('POST', '/v1/projects', '{"nmae":1}')).status, 400);
      assert.equal((await call('GET', '/v1/users')).status, 403);
      assert.equal((await call('GET', '/v1/openapi.json')).status, 200);
    });

    test('five at once', async () => {
      const { call } = await registered();
      const answers = await Promise.all([1, 2, 3, 4, 5].map((n) => call('GET', `/v1/projects/none-${n}`)));
      answers.forEach((answer, n) => {
        assert.equal(answer.status, 404);
        assert.ok(answer.body.detail.includes(`none-${n + 1}`), answer.body.detail);
      });
    });

    test('after a restart the client shakes hands again by itself, and the server is who it was', async () => {
      const { call, holder } = await registered();
      const before = (await call('GET', '/v1/projects')).headers.get('x-bsv-auth-identity-key');
      await server.restart();
      const answer = await call('PATCH', '/v1/users/me', '{"name":"after"}');
      assert.equal(answer.status, 200);
      assert.equal(answer.headers.get('x-bsv-auth-identity-key'), before);
      assert.equal((await userOf(holder)).name, 'after');
    });

    test('a token and an identity key of one user see the same', async () => {
      const login = `alice-${generation[0]}`;
      await server.call('POST', '/v1/users', { login });
      const { body: token } = await server.call('POST', '/v1/tokens', { label: 't', scope: 'admin', user: login });
      const { call, holder } = client();
      const added = await server.call('POST', `/v1/users/${login}/keys`, { key: holder.identity, label: 'wallet' });
      assert.equal(added.status, 201);
      assert.equal((await call('POST', '/v1/projects', `{"name":"side-${login}"}`)).status, 201);
      const byToken = await server.get('/v1/projects', token.secret);
      const bySignature = await call('GET', '/v1/projects');
      assert.deepEqual(bySignature.body, byToken);
      assert.equal(byToken.items.length, 2);
      // Nobody else's: not the operator's, nor for another key.
      assert.ok(!byToken.items.some((p) => p.name === 'operator'));
      await server.call('PATCH', `/v1/users/${login}`, { disabled: true });
      assert.equal((await call('GET', '/v1/projects')).status, 401);
      assert.equal((await call('POST', '/api/v1/register', '{}')).status, 403);
      await server.call('PATCH', `/v1/users/${login}`, { disabled: false });
      assert.equal((await call('GET', '/v1/projects')).status, 200);
      assert.equal((await server.call('DELETE', `/v1/users/${login}/keys/${holder.identity}`)).status, 204);
      assert.equal((await call('GET', '/v1/projects')).status, 401);
    });

    test('an operator adds and removes keys at the command line', async () => {
      const login = `carol-${generation[0]}`;
      await server.command('users', 'create', login);
      const { call, holder } = client();
      assert.equal((await call('GET', '/v1/users/me')).status, 401);
      await server.command('users', 'keys', 'add', holder.identity, login, '--label', 'phone');
      assert.equal((await call('GET', '/v1/users/me')).body.login, login);
      const [key] = JSON.parse(await server.command('users', 'keys', 'ls', login, '--json')).items;
      assert.deepEqual([key.key, key.label, key.kind], [holder.identity, 'phone', 'brc']);
      await server.command('users', 'keys', 'rm', holder.identity, login);
      assert.equal((await call('GET', '/v1/users/me')).status, 401);
    });

    test('a user adds a key of its own by the proof that it holds it', async () => {
      const login = `bob-${generation[0]}`;
      await server.call('POST', '/v1/users', { login });
      const { body: token } = await server.call('POST', '/v1/tokens', { label: 't', scope: 'admin', user: login });
      const { call, holder } = client();
      const counterparty = (await call('GET', '/v1/projects')).headers.get('x-bsv-auth-identity-key');
      const sign = async (who, of) => sdk.Utils.toHex((await who.createSignature({
        data: sdk.Utils.toArray(of, 'utf8'), protocolID: [2, 'ryokan identity key'], keyID: of, counterparty,
      })).signature);
      const add = (proof) => server.call('POST', '/v1/users/me/keys', { key: holder.identity, proof }, token.secret);
      assert.equal((await add(undefined)).body.field, 'proof');
      assert.equal((await add(await sign(wallet(), login))).status, 400);
      assert.equal((await add(await sign(holder, 'mallory'))).status, 400);
      assert.equal((await call('GET', '/v1/projects')).status, 401);
      assert.equal((await add(await sign(holder, login))).status, 201);
      assert.equal((await call('GET', '/v1/users/me')).body.login, login);
      assert.equal((await add(await sign(holder, login))).status, 409);
    });

    test('a certificate fills the address, before registration and after', async () => {
      const certifier = new sdk.ProtoWallet(sdk.PrivateKey.fromHex('7e'.repeat(32)));
      const certified = async (email, by = certifier) => {
        const holder = wallet();
        holder.certificates.push(await sdk.MasterCertificate.issueCertificateForSubject(
          by, holder.identity, { email, other: 'secret' }, EMAIL, async () => `${'00'.repeat(32)}.0`));
        return holder;
      };
      const email = `alice-${generation[0]}@example.com`;
      // Clients send certificates beside their first request, not before it.
      const becomes = async (holder, wanted) => {
        for (let tries = 0; tries < 50; tries += 1) {
          if ((await userOf(holder)).email === wanted) return;
          await new Promise((resolve) => setTimeout(resolve, 100));
        }
        assert.equal((await userOf(holder)).email, wanted);
      };
      const early = await certified(email);
      await registered(early);
      await becomes(early, email);
      // Known first, certified later.
      const late = wallet();
      await registered(late);
      assert.equal((await userOf(late)).email, undefined);
      late.certificates.push(await sdk.MasterCertificate.issueCertificateForSubject(
        certifier, late.identity, { email: `late-${email}` }, EMAIL, async () => `${'00'.repeat(32)}.0`));
      assert.equal((await client(late).call('GET', '/v1/projects')).status, 200);
      await becomes(late, `late-${email}`);
      // A certifier whom nobody named is not believed.
      const stranger = await certified('president@example.com', new sdk.ProtoWallet(sdk.PrivateKey.fromRandom()));
      await (await registered(stranger)).call('GET', '/v1/projects');
      await new Promise((resolve) => setTimeout(resolve, 500));
      assert.equal((await userOf(stranger)).email, undefined);
    });

    // The older one waits for ever when there are none.
    if (generation[0] !== '1') test('a client that asks for our certificates is told that there are none', async () => {
      const { call, fetcher } = await registered();
      assert.equal((await call('GET', '/v1/projects')).status, 200);
      const wanted = { certifiers: [certifierKey.toPublicKey().toString()], types: { [EMAIL]: ['email'] } };
      assert.deepEqual(await within(fetcher.sendCertificateRequest(server.url, wanted), 'a certificate request'), []);
    });

    test('replays, forgeries and strangers\' sessions are refused', async () => {
      const holder = wallet();
      await registered(holder);
      const raw = new Raw(server.url, holder);
      await raw.hello();
      const path = '/v1/projects';
      const init = await raw.request('POST', path, `{"name":"once-${generation[0]}"}`);
      const first = await raw.send(path, init);
      assert.equal(first.status, 201);
      assert.ok(await raw.isSigned(first));
      const replay = await raw.send(path, init);
      assert.equal(replay.status, 401);
      assert.equal(JSON.parse(replay.text).code, 'replayed');
      assert.ok(await raw.isSigned(replay));
      assert.equal((await server.get(path)).items.filter((p) => p.name === `once-${generation[0]}`).length, 1);

      const forged = { ...(await raw.request('POST', path, '{"name":"mine"}')), body: '{"name":"theirs"}' };
      const refused = await raw.send(path, forged);
      assert.equal(refused.status, 401);
      assert.equal(JSON.parse(refused.text).code, 'wrong_signature');
      assert.ok(await raw.isSigned(refused));
      const moved = await raw.send('/v1/projects?limit=1', await raw.request('GET', path));
      assert.equal(moved.status, 401);
      const names = (await server.get(path)).items.map((p) => p.name);
      assert.ok(!names.includes('mine') && !names.includes('theirs'));

      // Another identity in this session; a session that is none; half of the headers.
      const other = await raw.request('GET', path);
      other.headers['x-bsv-auth-identity-key'] = wallet().identity;
      assert.equal(JSON.parse((await raw.send(path, other)).text).code, 'wrong_identity');
      const lost = await raw.request('GET', path);
      lost.headers['x-bsv-auth-your-nonce'] = sdk.Utils.toBase64([...crypto.getRandomValues(new Uint8Array(48))]);
      const stale = await raw.send(path, lost);
      assert.equal(stale.status, 401);
      assert.ok(stale.text.includes('Session not found for nonce'));
      assert.ok(!stale.headers.has('x-bsv-auth-signature'));
      const half = await raw.request('GET', path);
      delete half.headers['x-bsv-auth-signature'];
      assert.equal((await raw.send(path, half)).status, 401);
    });

    test('bodies are bounded, streams and second credentials are refused, in signed answers', async () => {
      const raw = new Raw(server.url, (await registered()).holder);
      await raw.hello();
      const big = await raw.send('/v1/projects', await raw.request('POST', '/v1/projects', 'x'.repeat(1024 * 1024 + 1)));
      assert.equal(big.status, 413);
      assert.ok(await raw.isSigned(big));
      const stream = await raw.request('GET', '/v1/events');
      const refused = await raw.send('/v1/events', { ...stream, headers: { ...stream.headers, accept: 'text/event-stream' } });
      assert.equal(refused.status, 406);
      assert.ok(await raw.isSigned(refused));
      const both = await raw.request('GET', '/v1/projects');
      const answer = await raw.send('/v1/projects', { ...both, headers: { ...both.headers, authorization: 'Bearer x' } });
      assert.equal(answer.status, 400);
      assert.ok(await raw.isSigned(answer));
    });

    test('a page of another origin may ask, without cookies', async () => {
      const preflight = (path, headers) => fetch(server.url + path, {
        method: 'OPTIONS', headers: { origin: 'https://wallet.example', 'access-control-request-method': 'POST', 'access-control-request-headers': headers },
      });
      const auth = 'content-type,x-bsv-auth-signature,x-bsv-auth-nonce,x-evil';
      for (const [path, headers] of [['/.well-known/auth', 'content-type'], ['/api/v1/register', auth], ['/v1/projects', auth]]) {
        const answer = await preflight(path, headers);
        assert.equal(answer.status, 204, path);
        assert.equal(answer.headers.get('access-control-allow-origin'), '*');
        assert.equal(answer.headers.get('access-control-allow-credentials'), null);
        assert.ok(!answer.headers.get('access-control-allow-headers').includes('x-evil'));
      }
      assert.equal((await preflight('/v1/projects', 'authorization')).headers.get('access-control-allow-origin'), null);
      const raw = new Raw(server.url, wallet());
      await raw.hello();
      const init = await raw.request('GET', '/v1/projects');
      const answer = await raw.send('/v1/projects', { ...init, headers: { ...init.headers, origin: 'https://wallet.example' } });
      assert.equal(answer.headers.get('access-control-allow-origin'), '*');
      assert.ok(answer.headers.get('access-control-expose-headers').includes('x-bsv-auth-signature'));
      assert.ok(await raw.isSigned(answer));
    });

    test('too many requests are refused in a signed answer, too many handshakes at all', async () => {
      const tight = await Server.start({ RYOKAN_REQUESTS_PER_SECOND: '1' });
      try {
        const raw = new Raw(tight.url, wallet());
        await raw.hello();
        let answer;
        for (let n = 0; n < 15 && answer?.status !== 429; n += 1) {
          answer = await raw.send('/v1/projects', await raw.request('GET', '/v1/projects'));
        }
        assert.equal(answer.status, 429);
        assert.ok(await raw.isSigned(answer));
      } finally {
        await tight.remove();
      }
      const crowd = new Raw(server.url, wallet());
      const statuses = [];
      for (let n = 0; n < 70; n += 1) statuses.push((await crowd.hello()).status);
      assert.ok(statuses.includes(429), `${statuses}`);
    });
  });
}
