// From a folder to an agent, and what its project pays: deployments, revisions, money and keys, as their users meet them.
//   E2E_URL          the dashboard of a server that charges
//   E2E_TOKEN        an operator's token
//   E2E_SHELL_IMAGE  a local image with a shell
import { expect, test } from '@playwright/test';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { needs } from './needs.js';
import { link, look, state, watch } from './screens.js';
import { signIn } from './session.js';

const { E2E_URL, E2E_TOKEN, E2E_SHELL_IMAGE } = process.env;

/** A folder with these files; removed by the caller. */
async function folder(files) {
  const root = await mkdtemp(join(tmpdir(), 'ryokan-e2e-'));
  for (const [name, text] of Object.entries(files)) {
    await mkdir(dirname(join(root, name)), { recursive: true });
    await writeFile(join(root, name), text);
  }
  return root;
}

/** Drops a folder of this machine, as a hand does: scripts cannot make such an event. */
async function dropFolder(page, target, path) {
  await target.scrollIntoViewIfNeeded();
  const box = await target.boundingBox();
  const session = await page.context().newCDPSession(page);
  const at = { x: box.x + box.width / 2, y: box.y + box.height / 2 };
  const data = { items: [], files: [path], dragOperationsMask: 1 };
  for (const type of ['dragEnter', 'dragOver', 'drop']) await session.send('Input.dispatchDragEvent', { type, ...at, data });
  await session.detach();
}

test('a folder becomes an agent, and its project pays', async ({ page, browser, request }, info) => {
  needs('E2E_URL', 'E2E_TOKEN', 'E2E_SHELL_IMAGE');
  test.setTimeout(480_000);
  const seen = watch(page);
  const headers = { authorization: `Bearer ${E2E_TOKEN}` };
  const get = async (path) => (await request.get(`${E2E_URL}${path}`, { headers })).json();
  const manifest = (more) =>
    JSON.stringify({
      schema: 'mandala-agent',
      name: 'steep',
      agent: { dockerfile: 'Dockerfile' },
      resources: { memory: '64Mi', cpu: '0.25' },
      ports: [3000],
      ...more,
    });
  const long = `${'a-rather-long-name/'.repeat(7)}${'x'.repeat(120)}.txt`;
  const good = await folder({
    'agent-manifest.json': manifest({ healthCheck: { path: '/health', startupSeconds: 60 } }),
    Dockerfile: 'FROM ryokan/hello:dev\nCOPY --chown=65532:65532 旅館.txt /data/note.txt\n',
    '旅館.txt': 'from a browser\n',
    '.dockerignore': '# not theirs\nsecret.env\n',
    'secret.env': 'KEY=hush',
    'node_modules/tea/index.js': 'module.exports = 1;',
    [long]: 'x',
  });
  const broken = await folder({
    'agent-manifest.json': manifest({}),
    Dockerfile: `FROM ${E2E_SHELL_IMAGE}\nCMD ["/bin/sh", "-c", "echo the kettle is broken; exit 3"]\n`,
  });
  const slow = await folder({
    'agent-manifest.json': manifest({}),
    Dockerfile: `FROM ${E2E_SHELL_IMAGE}\nRUN sleep 120\n`,
  });
  const bare = await folder({ 'index.js': '' });
  await signIn(page, await link('operator', request));
  await expect(page.getByRole('heading', { level: 1 })).toHaveText('Your agents');
  expect((await request.post(`${E2E_URL}/v1/projects`, { headers, data: { name: 'oolong' } })).status()).toBe(201);

  await test.step('a folder without a manifest is refused before it is sent', async () => {
    await page.goto(`${E2E_URL}/projects/oolong/deployments`);
    await expect(page.getByText('Nothing was deployed yet')).toBeVisible();
    await look(page, info, 'deployments-empty');
    await dropFolder(page, page.getByRole('region', { name: 'Deploy a folder' }), bare);
    await expect(page.getByRole('alert')).toContainText('no agent-manifest.json');
  });

  await test.step('a folder is chosen, sent, built, and becomes ready', async () => {
    await page.getByLabel('The folder to deploy').setInputFiles(good);
    await expect(page.getByText(/^5 files/)).toBeVisible();
    await expect(page.getByText('Left out: node_modules, secret.env')).toBeVisible();
    await look(page, info, 'deploy-folder');
    await expect(page.getByLabel('Name of the agent')).toHaveValue('steep');
    await page.getByLabel('Name of the agent').fill('No!');
    await page.getByRole('button', { name: 'Deploy' }).click();
    await expect(page.getByRole('alert')).toBeVisible();
    expect(seen.splice(0).filter((one) => !one.includes('400'))).toEqual([]);
    await page.getByLabel('Name of the agent').fill('steep');
    await page.getByRole('button', { name: 'Deploy' }).click();
    const log = page.getByRole('log');
    await expect(log).toContainText('FROM ryokan/hello:dev');
    await expect(state(page, 'succeeded')).toBeVisible({ timeout: 90_000 });
    await expect(page.getByText('steep is ready.', { exact: true })).toBeVisible();
    await look(page, info, 'deployed');
    const [agent] = await Promise.all([
      page.context().waitForEvent('page'),
      page.getByRole('link', { name: 'Open steep' }).click(),
    ]);
    await expect(agent.getByRole('heading', { level: 1 })).toContainText('Hello, I am');
    await agent.close();
    // What was dropped is what is there, by its name of two scripts.
    const note = await request.get(`${E2E_URL}/v1/instances/steep/files?path=/data/note.txt`, { headers });
    expect(await note.text()).toBe('from a browser\n');
  });

  await test.step('a broken version is taken back', async () => {
    await page.getByRole('link', { name: 'All deployments' }).click();
    await dropFolder(page, page.getByRole('region', { name: 'Deploy a folder' }), broken);
    await expect(page.getByText(/^2 files/)).toBeVisible();
    await page.getByRole('button', { name: 'Deploy' }).click();
    await expect(state(page, 'failed')).toBeVisible({ timeout: 120_000 });
    await expect(page.getByRole('alert')).toContainText('the kettle is broken');
    await look(page, info, 'taken-back');
    await page.getByRole('link', { name: 'All deployments' }).click();
    await expect(state(page, 'succeeded')).toBeVisible();
    await expect(state(page, 'failed')).toBeVisible();
    await look(page, info, 'deployments');
  });

  await test.step('one that takes too long is cancelled', async () => {
    await page.getByLabel('The folder to deploy').setInputFiles(slow);
    await page.getByRole('button', { name: 'Deploy' }).click();
    await expect(page.getByRole('log')).toContainText('RUN sleep 120');
    await expect(state(page, 'building')).toBeVisible();
    await look(page, info, 'building');
    await page.getByRole('button', { name: 'cancel this deployment' }).click();
    await page.getByRole('dialog').getByRole('button', { name: 'Cancel' }).click();
    await expect(state(page, 'cancelled')).toBeVisible();
    expect((await get('/v1/instances/steep')).state).toBe('ready');
  });

  await test.step('it is rolled back by hand', async () => {
    await page.goto(`${E2E_URL}/agents/steep/revisions`);
    const table = page.getByRole('region', { name: 'Revisions' });
    await expect(table.locator('[data-state=live]')).toBeVisible();
    await expect(table.locator('[data-state=failed]')).toBeVisible();
    const before = (await get('/v1/instances/steep/revisions')).items[0].number;
    // A second good one, so that there is something to go back from.
    const patch = await request.patch(`${E2E_URL}/v1/instances/steep`, { headers, data: { env: { LEAF: 'rolled' } } });
    expect(patch.status()).toBe(202);
    await expect.poll(async () => (await get('/v1/instances/steep/revisions')).items[0]).toMatchObject({
      state: 'live',
    });
    await expect.poll(async () => (await get('/v1/instances/steep/revisions')).items[0].number).toBeGreaterThan(before);
    const back = page.getByRole('button', { name: /^roll back to revision/ }).first();
    await expect(back).toBeVisible();
    await look(page, info, 'revisions');
    await back.click();
    await look(page, info, 'roll-back');
    await page.getByRole('dialog').getByRole('button', { name: 'roll back' }).click();
    await expect(page.getByRole('dialog')).toHaveCount(0);
    await expect
      .poll(async () => {
        const { state, spec } = await get('/v1/instances/steep');
        return [state, spec.env?.LEAF];
      })
      .toEqual(['ready', undefined]);
    await expect(table.locator('[data-state=live]')).toBeVisible();
  });

  await test.step('the operator credits and refunds, and the statement has it', async () => {
    await page.goto(`${E2E_URL}/projects/oolong`);
    await page.getByRole('link', { name: 'billing' }).click();
    await expect(page.getByText('The balance never changed')).toBeVisible();
    const form = page.getByRole('form', { name: 'Credit or refund' });
    const move = async (what, amount, reason) => {
      await form.getByLabel('What').selectOption(what);
      await form.getByLabel('Amount in satoshis').fill(String(amount));
      await form.getByLabel('Reason').fill(reason);
      await form.getByRole('button', { name: 'Write it down' }).click();
    };
    await move('credits', 1_250_000, 'by bank, no. 17');
    await expect(form.getByText('Credited: 1,250,000 sat.')).toBeVisible();
    await move('refunds', 9_000_000, 'too much');
    await expect(form.getByRole('alert')).toBeVisible();
    expect(seen.splice(0).filter((one) => !/400|409/.test(one))).toEqual([]);
    await move('refunds', 250_000, 'back by bank');
    await expect(form.getByText('Refunded: 250,000 sat.')).toBeVisible();
    const ledger = page.getByRole('region', { name: 'Ledger' });
    await expect(ledger.getByRole('row').filter({ hasText: 'by bank, no. 17' })).toContainText('+1,250,000 sat');
    expect((await get('/v1/projects/oolong/balance')).balance).toBeLessThanOrEqual(1_000_000);
    const [csv] = await Promise.all([
      page.waitForEvent('download'),
      page.getByRole('button', { name: 'Download as CSV' }).click(),
    ]);
    expect(csv.suggestedFilename()).toMatch(/^oolong-\d{4}-\d\d\.csv$/);
    expect(await readFile(await csv.path(), 'utf8')).toContain('1250000');
    await page.getByLabel('E-mail address').fill('till@example.com');
    await page.getByLabel('Webhook', { exact: true }).fill('https://example.com/till');
    await page.getByRole('button', { name: 'Save' }).click();
    await expect(page.getByText('is missing: messages are signed with it')).toBeVisible();
    await page.getByLabel('Secret of the webhook').fill('a secret of some length');
    await page.getByRole('button', { name: 'Save' }).click();
    await expect(page.getByText('Saved.')).toBeVisible();
    expect(seen.splice(0).filter((one) => !one.includes('400'))).toEqual([]);
    // Nobody waits a month for plots of one: this alone is made up.
    await page.route('**/usage?*', (route) => {
      const first = Number(new URL(route.request().url()).searchParams.get('from'));
      const sum = (_, at) => ({
        start: first + at * 86_400_000,
        cpu_millis: Math.round(4e7 * (1 + Math.sin(at / 3))),
        memory_mb_seconds: at < 12 ? 0 : 3_600_000 * (20 + at),
        disk_mb_seconds: 5_184_000 * 24,
        network_bytes: at === 20 ? 3e12 : 4e7 * at,
        gpu_millis: 0,
        microsats: 2e9 * at,
      });
      return route.fulfill({ json: { items: Array.from({ length: 30 }, sum) } });
    });
    await page.getByLabel('Time of the plots').selectOption('day');
    await expect(page.getByRole('img', { name: /^Network: 3,\d+ GB in all/ })).toBeVisible();
    await look(page, info, 'billing');
    await page.unroute('**/usage?*');
  });

  await test.step('prices are the server’s, or the project’s own', async () => {
    const table = page.getByRole('region', { name: 'Prices in force' });
    await expect(table.getByRole('row').filter({ hasText: 'A core' })).toContainText('8,640,000 sat');
    await page.getByText('Prices of this project’s own').click();
    const form = page.getByRole('form', { name: 'Own prices' });
    await expect(form.getByLabel('A core')).toHaveValue('1000');
    await form.getByLabel('A core').fill('750');
    await form.getByLabel('Reason').fill('a friend of the house');
    await form.getByRole('button', { name: 'Set own prices' }).click();
    await expect(page.getByText(/This project’s own, in force since .*: a friend of the house/)).toBeVisible();
    await expect(table.getByRole('row').filter({ hasText: 'A core' })).toContainText('750 sat');
    await form.getByRole('button', { name: 'use the server’s prices' }).click();
    await page.getByRole('dialog').getByRole('button', { name: 'use the server’s' }).click();
    await expect(page.getByText('The server’s, as for everybody')).toBeVisible();
    await page.getByText('All that were set').click();
    const before = page.getByRole('region', { name: 'All prices that were set' });
    await expect(before.getByRole('row').filter({ hasText: 'a friend of the house' })).toContainText('750 sat');
    expect((await get('/v1/projects/oolong/prices')).current.rates.core).toBe(1000);
    await look(page, info, 'prices');
  });

  await test.step('a viewer sees it all, and is told how to pay', async () => {
    await request.post(`${E2E_URL}/v1/users`, { headers, data: { login: 'sen' } });
    await request.put(`${E2E_URL}/v1/projects/oolong/members/sen`, { headers, data: { role: 'viewer' } });
    const other = await browser.newContext();
    const theirs = await other.newPage();
    const theirSeen = watch(theirs);
    await signIn(theirs, await link('sen', request));
    await expect(theirs.getByRole('heading', { level: 1 })).toHaveText('Your agents');
    await theirs.goto(`${E2E_URL}/projects/oolong/billing`);
    await expect(theirs.getByText('ask the operator of this server')).toBeVisible();
    await expect(theirs.getByText('Mail to till@example.com.')).toBeVisible();
    await expect(theirs.getByRole('form')).toHaveCount(0);
    await expect(theirs.getByRole('img', { name: /^Balance of two days: .* now/ })).toBeVisible();
    const { id } = await get('/v1/projects/oolong');
    const { mainnetPublicKey } = await get('/api/v1/public');
    await expect(theirs.getByRole('region', { name: 'Top-up' })).toContainText(mainnetPublicKey.publicKey);
    await theirs.getByLabel('Satoshis to pay').fill('4321');
    await expect(theirs.getByText('topup ryokan --amount 4321')).toBeVisible();
    await expect(theirs.getByRole('region', { name: 'Text of the program' })).toContainText(id.replaceAll('-', ''));
    await look(theirs, info, 'billing-viewer');
    await theirs.getByRole('link', { name: 'deployments' }).click();
    await expect(theirs.locator('main [data-state=succeeded]')).toBeVisible();
    await expect(theirs.getByRole('region', { name: 'Deploy a folder' })).toHaveCount(0);
    await theirs.goto(`${E2E_URL}/agents/steep/domains`);
    await expect(theirs.getByText('Admins of the project add them.')).toBeVisible();
    await expect(theirs.getByRole('form')).toHaveCount(0);
    expect(theirSeen).toEqual([]);
    await other.close();
    await request.delete(`${E2E_URL}/v1/users/sen`, { headers });
  });

  await test.step('a cap that is reached suspends, and says so everywhere', async () => {
    const form = page.getByRole('form', { name: 'A cap' });
    await form.getByRole('combobox', { name: /^In/ }).selectOption('day');
    await form.getByLabel('At most, in satoshis').fill('0');
    await form.getByRole('button', { name: 'Set the cap' }).click();
    await expect(page.getByRole('region', { name: 'Table of caps' }).locator('[data-state=reached]')).toBeVisible();
    await expect.poll(async () => (await get('/v1/projects/oolong/balance')).suspended_for).toBe('cap');
    // Without a reload, and so is its end.
    await expect(page.getByRole('alert')).toContainText('it reached a cap');
    await look(page, info, 'suspended');
    await page.goto(`${E2E_URL}/agents/steep`);
    await expect(page.getByText('It is suspended: a cap is reached')).toBeVisible();
    await expect(state(page, 'stopped')).toBeVisible();
    await look(page, info, 'suspended-agent');
    await page.getByRole('link', { name: 'Billing' }).click();
    await page.getByRole('button', { name: /^remove the cap of the project/ }).click();
    await page.getByRole('dialog').getByRole('button', { name: 'remove' }).click();
    await expect(page.getByText('None: the balance is the only bound')).toBeVisible();
    await expect(page.getByText('This project is suspended')).toHaveCount(0);
    await expect.poll(async () => (await get('/v1/instances/steep')).state, { timeout: 60_000 }).toBe('ready');
  });

  await test.step('identity keys are added and removed', async () => {
    await page.goto(`${E2E_URL}/settings/account`);
    const form = page.getByRole('form', { name: 'New key' });
    await form.getByLabel('Public key').fill('02beef');
    await form.getByRole('button', { name: 'Add the key' }).click();
    await expect(form.getByRole('alert')).toBeVisible();
    expect(seen.splice(0).filter((one) => !one.includes('400'))).toEqual([]);
    // The generator of the curve: a point that is nobody's.
    await form.getByLabel('Public key').fill('0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798');
    await form.getByLabel('Label').fill('wallet');
    await form.getByRole('button', { name: 'Add the key' }).click();
    await expect(page.getByRole('row').filter({ hasText: 'wallet' })).toBeVisible();
    await look(page, info, 'keys');
    await page.getByRole('button', { name: 'remove the key wallet' }).click();
    await page.getByRole('dialog').getByRole('button', { name: 'remove' }).click();
    await expect(page.getByRole('row').filter({ hasText: 'wallet' })).toHaveCount(0);
  });

  await request.delete(`${E2E_URL}/v1/projects/oolong?cascade=true`, { headers });
  for (const path of [good, broken, slow, bare]) await rm(path, { recursive: true });
  expect(seen).toEqual([]);
});
