// The genuine `cars` command, with a wallet of ours where it looks for one, against a real server on the real engine: what
// it prints is believed only when the server says the same.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import * as sdk from 'sdk-1';
import { Chain } from './chain.js';
import { Server, within } from './server.js';
import { wallets } from './wallet.js';

const { wallet } = wallets(sdk);
/** Where clients look for the wallet of whoever sits before the machine. */
const PORT = 3321;

// A wallet behind BRC-100's JSON.
const serve = async (holder) => {
  const answers = {
    getVersion: async () => ({ version: 'test-1.0.0' }),
    getNetwork: async () => ({ network: 'mainnet' }),
    isAuthenticated: async () => ({ authenticated: true }),
    waitForAuthentication: async () => ({ authenticated: true }),
  };
  const server = createServer(async (request, response) => {
    let body = '';
    for await (const piece of request) body += piece;
    const method = request.url.slice(1);
    const act = answers[method] ?? (typeof holder[method] === 'function' ? (args) => holder[method](args) : null);
    try {
      if (!act) throw new Error(`the wallet has no ${method}`);
      const answer = JSON.stringify(await act(body ? JSON.parse(body) : {}));
      response.writeHead(200, { 'content-type': 'application/json' }).end(answer);
    } catch (error) {
      response.writeHead(400, { 'content-type': 'application/json' }).end(JSON.stringify({ message: error.message }));
    }
  });
  await new Promise((resolve, reject) => server.once('error', reject).listen(PORT, '127.0.0.1', resolve));
  return server;
};

describe('cars 1.2.9', { timeout: 600_000 }, () => {
  let chain, server, purse, holder, folder, id, uuid, second;
  const said = [];

  const cars = async (...words) => {
    const run = new Promise((resolve) => {
      const options = { cwd: folder, timeout: 60_000, env: { ...process.env, CI: '1', NO_COLOR: '1' } };
      const child = execFile(join(import.meta.dirname, 'node_modules/.bin/cars'), words, options, (error, stdout, stderr) => {
        resolve({ code: error ? (error.code ?? 1) : 0, text: `${stdout}${stderr}` });
      });
      child.stdin.end();
    });
    const result = await within(run, `cars ${words.join(' ')}`, 70);
    said.push(`$ cars ${words.join(' ')}\n${result.text}`);
    return result.text;
  };

  before(async () => {
    chain = await Chain.start();
    server = await Server.start({
      RYOKAN_REQUESTS_PER_SECOND: '1000',
      RYOKAN_ARC_URL: `${chain.url}/arc`,
      RYOKAN_HEADERS_URL: `${chain.url}/headers`,
      RYOKAN_ENGINE_SOCKET: process.env.RYOKAN_INTEROP_ENGINE ?? 'unix:///var/run/docker.sock',
    });
    holder = chain.payer(sdk, wallet());
    purse = await serve(holder);
    folder = mkdtempSync(join(tmpdir(), 'ryokan-cars.'));
    const fetcher = new sdk.AuthFetch(holder);
    const call = async (path, body) => {
      const options = { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) };
      return (await within(fetcher.fetch(`${server.url}/api/v1${path}`, options), path)).json();
    };
    await call('/register', {});
    id = (await call('/project/create', { name: 'Cars and more' })).projectId;
    uuid = `${id.slice(0, 8)}-${id.slice(8, 12)}-${id.slice(12, 16)}-${id.slice(16, 20)}-${id.slice(20)}`;
    second = wallet();
    await within(new sdk.AuthFetch(second).fetch(`${server.url}/api/v1/register`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: '{}' }), 'register');
    writeFileSync(join(folder, 'deployment-info.json'), JSON.stringify({
      schema: 'bsv-app', schemaVersion: '1.0',
      configs: [{ name: 'ours', provider: 'CARS', CARSCloudURL: server.url, projectID: id, network: 'mainnet', deploy: ['frontend', 'backend'] }],
    }));
  });
  after(async () => {
    purse?.close();
    purse?.closeAllConnections();
    await server.call('DELETE', `/v1/projects/${uuid}?cascade=true`).catch(() => {});
    for (let tries = 0; tries < 100; tries += 1) {
      if ((await server.get('/v1/instances')).items.length === 0) break;
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
    // What was built for it stays on the engine; nobody else needs it.
    const docker = (...words) => new Promise((resolve) => execFile('docker', words, (_, stdout) => resolve(stdout ?? '')));
    const built = (await docker('images', '-q', '--filter', `label=ryokan.project=${uuid}`)).split(/\s+/).filter(Boolean);
    if (built.length > 0) await docker('rmi', '-f', ...new Set(built));
    await server.remove();
    chain.stop();
    rmSync(folder, { recursive: true, force: true });
    if (process.env.RYOKAN_INTEROP_SHOW) console.log(said.join('\n'));
  });

  test('lists and shows', async () => {
    assert.match(await cars('project', 'ls', 'ours'), /cars-and-more/);
    assert.match(await cars('project', 'info', 'ours'), new RegExp(id));
    assert.match(await cars('global-info', 'ours'), /1000/);
  });

  test('tops up, for real', async () => {
    const text = await cars('project', 'topup', 'ours', '--amount', '777');
    assert.equal((await server.get(`/v1/projects/${uuid}/balance`)).balance, 777, text);
    assert.match(await cars('project', 'billing-stats', 'ours'), /777/);
  });

  test('uploads an artifact that becomes a healthy agent behind its address', async () => {
    const manifest = {
      schema: 'mandala-agent', schemaVersion: '1.0', agent: { type: 'custom', dockerfile: 'Dockerfile', runtime: 'docker' },
      env: { GREETING: 'from the artifact' }, resources: { cpu: '250m', memory: '64Mi' }, ports: [3000],
      healthCheck: { path: '/health', port: 3000, intervalSeconds: 1 },
      deployments: [{ provider: 'mandala', projectID: id, network: 'mainnet' }],
    };
    writeFileSync(join(folder, 'agent-manifest.json'), JSON.stringify(manifest));
    writeFileSync(join(folder, 'Dockerfile'), 'FROM ryokan/hello:dev\nLABEL made-by=cars\n');
    await new Promise((resolve, reject) => {
      execFile('tar', ['-czf', 'artifact.tgz', 'agent-manifest.json', 'Dockerfile'], { cwd: folder }, (error) => (error ? reject(error) : resolve()));
    });
    const promised = await cars('release', 'get-upload-url', 'ours');
    const url = /https?:\/\/\S+\/api\/v1\/upload\/\S+/.exec(promised)?.[0];
    assert.ok(url, promised);
    await cars('release', 'upload-files', url, 'artifact.tgz');
    const done = async () => (await server.get(`/v1/projects/${uuid}/deployments`)).items[0];
    for (let tries = 0; tries < 600 && !['succeeded', 'failed', 'cancelled'].includes((await done()).state); tries += 1) {
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
    const row = await done();
    assert.equal(row.state, 'succeeded', `${JSON.stringify(row)}\n${await cars('release', 'logs', row.id, 'ours')}`);
    const [agent] = (await server.get('/v1/instances')).items;
    assert.equal(agent.state, 'ready');
    const page = await fetch(`${server.url}/gateway/${agent.name}/health`, { headers: { authorization: `Bearer ${server.token}` } });
    assert.equal(page.status, 200);
    assert.match(await cars('project', 'releases', 'ours'), new RegExp(row.id));
    assert.match(await cars('project', 'resource-logs', 'ours', '--resource', 'backend'), /\S/);
    assert.match(await cars('project', 'logs', 'ours'), /instance\.ready/);
  });

  test('admins come and go', async () => {
    await cars('project', 'add-admin', second.identity, 'ours');
    const members = async () => (await server.get(`/v1/projects/${uuid}/members`)).items.map((member) => member.role).sort();
    assert.deepEqual(await members(), ['admin', 'owner']);
    assert.match(await cars('project', 'list-admins', 'ours'), new RegExp(second.identity.slice(0, 20)));
    await cars('project', 'remove-admin', second.identity, 'ours');
    assert.deepEqual(await members(), ['owner']);
    await cars('project', 'remove-admin', holder.identity, 'ours');
    assert.deepEqual(await members(), ['owner']);
  });

  test('variables are set, and reach the agent', async () => {
    await cars('project', 'webui-config:set', 'COLOUR', 'indigo', 'ours');
    assert.deepEqual((await server.get(`/v1/projects/${uuid}/env`)).env, { COLOUR: 'indigo' });
    const spec = async () => (await server.get('/v1/instances')).items[0];
    for (let tries = 0; tries < 100 && (await spec()).state !== 'ready'; tries += 1) {
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
    assert.equal((await spec()).spec.inherited.env.COLOUR, 'indigo');
  });

  test('deletes the project with all that it has', async () => {
    await cars('project', 'delete', 'ours', '--force');
    assert.equal((await server.call('GET', `/v1/projects/${uuid}`)).status, 404);
    for (let tries = 0; tries < 100 && (await server.get('/v1/instances')).items.length > 0; tries += 1) {
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
    assert.deepEqual((await server.get('/v1/instances')).items, []);
  });
});
