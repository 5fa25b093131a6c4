// The dashboard, as its users meet it: everything by mouse and keyboard, in both themes and on a small screen. No page
// may complain on the console, ask another origin for anything, or be closed to people who cannot see it.
//   E2E_URL          the dashboard
//   E2E_TOKEN        an operator's token, to make one-time links with
//   E2E_SHELL_IMAGE  a local image with a shell, which prints a line each second
import AxeBuilder from '@axe-core/playwright';
import { expect, test } from '@playwright/test';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { needs } from './needs.js';
import { signIn } from './session.js';

const { E2E_URL, E2E_TOKEN, E2E_SHELL_IMAGE } = process.env;

test.describe.configure({ mode: 'serial' });

/** What must never be seen on any page. */
function watch(page) {
  const seen = [];
  page.on('console', (message) => message.type() === 'error' && seen.push(`console: ${message.text()}`));
  page.on('pageerror', (error) => seen.push(`error: ${error}`));
  page.on('request', (request) => {
    const url = request.url();
    if (!url.startsWith(E2E_URL) && !/^(data|blob|ws):/.test(url)) seen.push(`left the origin: ${url}`);
  });
  return seen;
}

async function link(login, request) {
  const headers = { authorization: `Bearer ${E2E_TOKEN}` };
  const answer = await request.post(`${E2E_URL}/v1/users/${login}/login-link`, { headers });
  expect(answer.status()).toBe(201);
  return (await answer.json()).url;
}

/** The screen in both themes: a picture of each, and nothing that keeps people out. */
async function look(page, info, name) {
  for (const colorScheme of ['light', 'dark']) {
    await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' });
    await expect(page.locator('html')).toHaveAttribute('data-theme', colorScheme);
    await page.screenshot({ path: info.outputPath(`${name}-${colorScheme}.png`), fullPage: true });
    // The themes differ in colours alone.
    const axe = new AxeBuilder({ page });
    const { violations } = await (colorScheme === 'light' ? axe : axe.withRules('color-contrast')).analyze();
    const serious = violations.filter((one) => ['serious', 'critical'].includes(one.impact));
    expect(serious.map((one) => `${one.id}: ${one.nodes.map((node) => node.html).join(' | ')}`)).toEqual([]);
  }
  // Nothing is wider than a telephone.
  const size = page.viewportSize();
  await page.setViewportSize({ width: 390, height: 844 });
  await page.screenshot({ path: info.outputPath(`${name}-small.png`), fullPage: true });
  const width = await page.evaluate(() => document.documentElement.scrollWidth);
  expect(width, `${name} is wider than the screen`).toBeLessThanOrEqual(390);
  await page.setViewportSize(size);
  await page.emulateMedia({ colorScheme: 'light' });
}

const state = (page, name) => page.locator('main').locator(`[data-state="${name}"]`);

test('an operator runs an agent from the first click to the last', async ({ page, context, request }, info) => {
  needs('E2E_URL', 'E2E_TOKEN', 'E2E_SHELL_IMAGE');
  // Some forty screens are looked at, each in two themes, perhaps on a busy machine.
  test.setTimeout(480_000);
  const seen = watch(page);

  await test.step('signs in, and is brought to where it wanted to go', async () => {
    await page.goto(`${E2E_URL}/settings/tokens`);
    await expect(page).toHaveURL(/\/login\?return=%2Fsettings%2Ftokens$/);
    await look(page, info, 'sign-in');
    const url = new URL(await link('operator', request));
    url.searchParams.set('return', '/settings/tokens');
    await page.goto(url.href);
    await look(page, info, 'sign-in-link');
    await page.getByRole('button', { name: 'Sign in' }).click();
    await expect(page.getByRole('heading', { level: 1 })).toHaveText('Your tokens');
    // The only complaint that is allowed: nobody was signed in.
    expect(seen.splice(0).filter((one) => !one.includes('401'))).toEqual([]);
    // The session is out of reach of scripts.
    expect(await page.evaluate(() => document.cookie)).toBe('');
  });

  await test.step('makes an agent, and is told at the field what is wrong', async () => {
    await page.goto(E2E_URL);
    await page.getByRole('link', { name: 'New agent' }).click();
    await expect(page.getByRole('list', { name: 'Templates' }).getByRole('listitem')).not.toHaveCount(0);
    await look(page, info, 'templates');
    await page.getByRole('link', { name: 'hello', exact: true }).click();
    await page.getByLabel('Name').fill('guest');
    await page.getByText('Advanced').click();
    await page.getByLabel('Memory').fill('1Ki');
    await page.getByRole('button', { name: 'Create' }).click();
    await expect(page.getByLabel('Memory')).toBeFocused();
    await expect(page.getByRole('alert')).toContainText('6Mi');
    await look(page, info, 'form');
    expect(seen.splice(0).filter((one) => !one.includes('400'))).toEqual([]);
    await page.getByLabel('Memory').fill('48Mi');
    await page.getByRole('button', { name: 'Create' }).click();
    const progress = page.getByRole('region', { name: 'Progress' });
    await expect(progress.getByText('Accepted')).toBeVisible();
    await expect(progress.getByText('Ready')).toBeVisible();
    await look(page, info, 'progress');
  });

  await test.step('opens it', async () => {
    const [agent] = await Promise.all([
      context.waitForEvent('page'),
      page.getByRole('link', { name: 'Open guest' }).click(),
    ]);
    await expect(agent.getByRole('heading', { level: 1 })).toContainText('Hello, I am');
    await agent.close();
    await page.getByRole('link', { name: 'To its page' }).click();
    await expect(page.getByRole('heading', { level: 1 })).toHaveText('guest');
    await expect(state(page, 'ready')).toBeVisible();
    await look(page, info, 'overview');
  });

  await test.step('stops, starts and restarts it', async () => {
    await page.getByRole('button', { name: 'stop' }).click();
    await expect(state(page, 'stopped')).toBeVisible();
    await page.getByRole('button', { name: 'start', exact: true }).click();
    await expect(state(page, 'ready')).toBeVisible();
    await page.getByRole('button', { name: 'restart' }).click();
    await page.getByRole('link', { name: 'events' }).click();
    await expect(page.getByRole('cell', { name: 'restart requested' })).toBeVisible();
    await expect(state(page, 'ready')).toBeVisible();
    await look(page, info, 'events');
  });

  await test.step('runs an image of its own', async () => {
    await page.goto(`${E2E_URL}/new/custom`);
    await page.getByLabel('Name').fill('shell');
    await page.getByLabel('Image').fill(E2E_SHELL_IMAGE);
    await page.getByRole('button', { name: 'Create' }).click();
    await page.getByRole('link', { name: 'To its page' }).click();
    await expect(state(page, 'ready')).toBeVisible();
  });

  await test.step('reads its log as it grows', async () => {
    await page.getByRole('link', { name: 'logs' }).click();
    const log = page.getByRole('log');
    const last = async () => Number((await log.locator('.text').last().textContent())?.split(' ').at(-1));
    await expect(log).toContainText('line');
    const before = await last();
    await expect.poll(last).toBeGreaterThan(before + 1);
    await expect(log.locator('.err').first()).toBeVisible();
    await page.getByRole('button', { name: 'Pause' }).click();
    const paused = await last();
    await expect(page.getByRole('button', { name: /Go on \(([2-9]|\d\d)/ })).toBeVisible();
    expect(await last()).toBe(paused);
    await page.getByRole('button', { name: /Go on/ }).click();
    await expect.poll(last).toBeGreaterThan(paused);
    await page.getByLabel('Search the log').fill('line 1');
    await expect(page.getByText(/^\d+ of \d+ lines$/)).toBeVisible();
    await page.getByLabel('Search the log').fill('');
    await look(page, info, 'logs');
  });

  await test.step('works in its terminal', async () => {
    await page.getByRole('link', { name: 'terminal' }).click();
    await page.getByRole('button', { name: 'Open', exact: true }).click();
    const rows = page.locator('.xterm-rows');
    await expect(rows).toContainText('$');
    await page.keyboard.type('stty size; echo $((6*7)) > /data/answer; cat /data/answer\n');
    await expect(rows).toContainText('42');
    const columns = async () => Number(/\d+ (\d+)/.exec((await rows.textContent()) ?? '')?.[1]);
    const wide = await columns();
    await look(page, info, 'terminal');
    await page.setViewportSize({ width: 700, height: 800 });
    await page.locator('.xterm-helper-textarea').focus();
    await page.keyboard.type('clear; stty size\n');
    await expect.poll(columns).toBeLessThan(wide);
    await page.setViewportSize({ width: 1280, height: 720 });
    await page.keyboard.type('exit 3\n');
    await expect(page.getByRole('alert')).toContainText('ended with 3');
    await page.getByLabel('Command').fill('no-such-shell');
    await page.getByRole('button', { name: 'Open anew' }).click();
    await expect(page.getByRole('alert')).toBeVisible();
    // A WebSocket that is refused is told on the console by the browser itself.
    expect(seen.splice(0).filter((one) => !one.includes('WebSocket'))).toEqual([]);
  });

  await test.step('takes files out and puts files in', async () => {
    await page.getByRole('link', { name: 'files' }).click();
    await page.getByRole('link', { name: 'data/' }).click();
    const [download] = await Promise.all([
      page.waitForEvent('download'),
      page.getByRole('link', { name: 'answer' }).click(),
    ]);
    expect(download.suggestedFilename()).toBe('answer');
    expect(await readFile(await download.path(), 'utf8')).toBe('42\n');
    await page.locator('input[type=file]').setInputFiles({
      name: 'notes 旅館.txt',
      mimeType: 'text/plain',
      buffer: Buffer.from('put here by hand\n'),
    });
    await expect(page.getByRole('link', { name: 'notes 旅館.txt' })).toBeVisible();
    await look(page, info, 'files');
    const [back] = await Promise.all([
      page.waitForEvent('download'),
      page.getByRole('link', { name: 'notes 旅館.txt' }).click(),
    ]);
    expect(await readFile(await back.path(), 'utf8')).toBe('put here by hand\n');
    await page.getByRole('navigation', { name: 'Folders' }).getByRole('link', { name: '/' }).click();
    await expect(page.getByRole('link', { name: 'bin/', exact: true })).toBeVisible();
  });

  await test.step('sees what it uses', async () => {
    await page.getByRole('link', { name: 'stats' }).click();
    await expect(page.getByRole('img', { name: /^Memory: used [1-9]/ })).toBeVisible();
    await expect(page.locator('polyline').first()).toHaveAttribute('points', /(\S+ ){3}/);
    await look(page, info, 'stats');
  });

  await test.step('is told why one has failed', async () => {
    const headers = { authorization: `Bearer ${E2E_TOKEN}` };
    const command = ['/bin/sh', '-c', 'echo the kettle is broken >&2; exit 3'];
    const data = { name: 'broken', image: E2E_SHELL_IMAGE, command, restart: { mode: 'never' } };
    expect((await request.post(`${E2E_URL}/v1/instances`, { headers, data })).status()).toBe(202);
    await page.goto(`${E2E_URL}/agents/broken`);
    await expect(state(page, 'failed')).toBeVisible();
    await expect(page.getByRole('alert')).toBeVisible();
    await expect(page.getByText('the kettle is broken').last()).toBeVisible();
    await look(page, info, 'failed');
    await request.delete(`${E2E_URL}/v1/instances/broken`, { headers });
    await expect(page.getByText('There is no agent of this name any more')).toBeVisible();
    expect(seen.splice(0).filter((one) => !one.includes('404'))).toEqual([]);
  });

  await test.step('sees all agents, live', async () => {
    await page.goto(E2E_URL);
    const row = page.getByRole('listitem').filter({ hasText: 'shell' });
    await expect(row.locator('[data-state=ready]')).toBeVisible();
    await look(page, info, 'agents');
    await page.getByLabel('Search agents').fill('HELLO');
    await expect(row).toHaveCount(0);
    await page.getByLabel('Only this state').selectOption('ready');
    await expect(page.getByRole('link', { name: 'guest', exact: true })).toBeVisible();
    await page.getByLabel('Search agents').fill('');
    await page.getByLabel('Only this state').selectOption('');
    // What somebody else does is seen without a reload.
    const headers = { authorization: `Bearer ${E2E_TOKEN}` };
    await request.post(`${E2E_URL}/v1/instances/guest/stop`, { headers });
    await expect(page.getByRole('listitem').filter({ hasText: 'guest' }).locator('[data-state=stopped]')).toBeVisible();
    // A broken connection is said, and made good.
    await context.setOffline(true);
    await page.evaluate(() => dispatchEvent(new Event('online')));
    await row.getByRole('button', { name: 'stop shell' }).click();
    await expect(page.getByRole('alert')).toContainText('does not answer');
    await context.setOffline(false);
    seen.splice(0);
    await row.getByRole('button', { name: 'stop shell' }).click();
    await expect(row.locator('[data-state=stopped]')).toBeVisible();
  });

  await test.step('deletes both, by name', async () => {
    for (const name of ['guest', 'shell']) {
      await page.getByRole('link', { name, exact: true }).click();
      await page.getByRole('button', { name: 'delete' }).click();
      const dialog = page.getByRole('dialog');
      await expect(dialog.getByRole('button', { name: 'Delete' })).toBeDisabled();
      if (name === 'guest') await look(page, info, 'delete');
      await dialog.getByLabel(`Type ${name} to confirm`).fill(name);
      await dialog.getByRole('button', { name: 'Delete' }).click();
      await expect(page.getByRole('heading', { level: 1 })).toHaveText('Your agents');
      await expect(page.getByRole('link', { name, exact: true })).toHaveCount(0);
    }
    // Who looks at what is just being deleted may be told that it is gone.
    expect(seen.splice(0).filter((one) => !one.includes('404'))).toEqual([]);
  });

  expect(seen).toEqual([]);
});

test('tokens and users, and what another user sees', async ({ page, browser, request }, info) => {
  needs('E2E_URL', 'E2E_TOKEN');
  test.setTimeout(240_000);
  const seen = watch(page);
  await signIn(page, await link('operator', request));

  await test.step('a token is shown once, works, and is revoked', async () => {
    await page.getByRole('link', { name: 'Tokens' }).click();
    await page.getByLabel('Label').fill('laptop');
    await page.getByLabel('Scope').selectOption('read');
    await page.getByRole('button', { name: 'Make a token' }).click();
    const secret = await page.getByLabel('The new token').inputValue();
    expect(secret).toMatch(/^ryk_/);
    await look(page, info, 'tokens');
    const headers = { authorization: `Bearer ${secret}` };
    expect((await request.get(`${E2E_URL}/v1/instances`, { headers })).status()).toBe(200);
    expect((await request.post(`${E2E_URL}/v1/projects`, { headers, data: { name: 'no' } })).status()).toBe(403);
    await page.reload();
    await expect(page.getByRole('row').filter({ hasText: 'laptop' })).toBeVisible();
    await expect(page.getByText(secret)).toHaveCount(0);
    await page.getByRole('button', { name: 'revoke laptop' }).click();
    await page.getByRole('dialog').getByRole('button', { name: 'revoke' }).click();
    await expect(page.getByRole('row').filter({ hasText: 'laptop' })).toHaveCount(0);
    expect((await request.get(`${E2E_URL}/v1/instances`, { headers })).status()).toBe(401);
  });

  const headers = { authorization: `Bearer ${E2E_TOKEN}` };
  const data = { template: 'hello', name: 'private' };
  expect((await request.post(`${E2E_URL}/v1/instances`, { headers, data })).status()).toBe(202);

  await test.step('another user sees nothing of the first', async () => {
    await page.getByRole('link', { name: 'Users' }).click();
    await page.getByRole('textbox', { name: 'Login', exact: true }).fill('mika');
    await page.getByRole('button', { name: 'Make the account' }).click();
    const invitation = await page.getByLabel('The one-time link').inputValue();
    await look(page, info, 'users');

    const other = await browser.newContext();
    const theirs = await other.newPage();
    const theirSeen = watch(theirs);
    await signIn(theirs, invitation);
    await expect(theirs.getByRole('heading', { name: 'No guests yet' })).toBeVisible();
    await expect(theirs.getByRole('link', { name: 'Run hello' })).toBeVisible();
    await look(theirs, info, 'empty');
    await expect(theirs.getByRole('link', { name: 'Users' })).toHaveCount(0);
    expect(theirSeen.splice(0)).toEqual([]);
    await theirs.goto(`${E2E_URL}/agents/private`);
    await expect(theirs.getByText('There is no agent of this name')).toBeVisible();
    await look(theirs, info, 'nothing');
    await theirs.goto(`${E2E_URL}/settings/users`);
    await expect(theirs.getByRole('alert')).toBeVisible();
    // A password of their own, by which they sign in from now on.
    await theirs.goto(`${E2E_URL}/settings/account`);
    await theirs.getByLabel('New password').fill('a long enough one');
    await look(theirs, info, 'account');
    await theirs.getByRole('button', { name: 'Set it' }).click();
    await theirs.getByLabel('Login').fill('mika');
    await theirs.getByLabel('Password').fill('wrong wrong wrong');
    await theirs.keyboard.press('Enter');
    await expect(theirs.getByRole('alert')).toContainText('wrong');
    await theirs.getByLabel('Password').fill('a long enough one');
    await theirs.keyboard.press('Enter');
    await expect(theirs.getByRole('heading', { level: 1 })).toHaveText('Your agents');

    // Locked out, the session ends at once, and the page says so by itself: its stream of events has ended.
    await page.getByRole('button', { name: 'disable mika' }).click();
    await expect(page.getByRole('row').filter({ hasText: 'mika' })).toContainText('disabled');
    await expect(theirs).toHaveURL(/\/login/);
    await page.getByRole('button', { name: 'delete mika' }).click();
    await page.getByRole('dialog').getByRole('button', { name: 'delete' }).click();
    await expect(page.getByRole('row').filter({ hasText: 'mika' })).toHaveCount(0);
    await other.close();
  });

  await request.delete(`${E2E_URL}/v1/instances/private?force=true`, { headers });
  await page.getByRole('button', { name: 'Sign out' }).click();
  await expect(page.getByRole('heading', { level: 1 })).toHaveText('Sign in');
  expect(seen).toEqual([]);
});

test('a project with its members, its variables and its end', async ({ page, request }, info) => {
  needs('E2E_URL', 'E2E_TOKEN');
  test.setTimeout(240_000);
  const seen = watch(page);
  const headers = { authorization: `Bearer ${E2E_TOKEN}` };
  await request.post(`${E2E_URL}/v1/users`, { headers, data: { login: 'nao' } });
  await signIn(page, await link('operator', request));

  await page.getByRole('link', { name: 'Projects', exact: true }).click();
  await look(page, info, 'projects');
  await page.getByLabel('Name').fill('no such name!');
  await page.getByRole('button', { name: 'Make a project' }).click();
  await expect(page.getByRole('alert')).toBeVisible();
  expect(seen.splice(0).filter((one) => !one.includes('400'))).toEqual([]);
  await page.getByLabel('Name').fill('tea');
  await page.getByLabel('Network').selectOption('testnet');
  await page.getByRole('button', { name: 'Make a project' }).click();
  await expect(page.getByRole('heading', { level: 1 })).toHaveText('tea');
  const data = { template: 'hello', name: 'kettle', project: 'tea' };
  expect((await request.post(`${E2E_URL}/v1/instances`, { headers, data })).status()).toBe(202);

  await test.step('members come, change and go', async () => {
    await page.getByRole('link', { name: 'members' }).click();
    await page.getByLabel('Login').fill('nobody');
    await page.getByRole('button', { name: 'Add' }).click();
    await expect(page.getByRole('alert')).toContainText('nobody');
    await page.getByLabel('Login').fill('nao');
    await page.getByRole('button', { name: 'Add' }).click();
    await expect(page.getByLabel('role of nao')).toHaveValue('developer');
    await page.getByLabel('role of nao').selectOption('viewer');
    await look(page, info, 'members');
    const members = await request.get(`${E2E_URL}/v1/projects/tea/members`, { headers });
    expect((await members.json()).items.map((one) => `${one.login} ${one.role}`)).toEqual(['nao viewer', 'operator owner']);
    // The last owner stays, and is told why.
    await page.getByLabel('role of operator').selectOption('viewer');
    await expect(page.getByRole('alert')).toContainText('last owner');
    await expect(page.getByLabel('role of operator')).toHaveValue('owner');
    expect(seen.splice(0).filter((one) => !/400|409/.test(one))).toEqual([]);
  });

  await test.step('variables reach the agents', async () => {
    await page.getByRole('link', { name: 'variables' }).click();
    const set = async (name, value, secret) => {
      await page.getByLabel('Name').fill(name);
      await page.getByLabel('Value').fill(value);
      await page.getByLabel('Secret').setChecked(secret);
      await page.getByRole('button', { name: 'Set it' }).click();
      await expect(page.getByRole('row').filter({ hasText: name })).toBeVisible();
    };
    await set('LEAF', 'sencha', false);
    await set('HOUSE_KEY', 'under the mat', true);
    await expect(page.getByText('under the mat')).toHaveCount(0);
    await look(page, info, 'variables');
    await page.getByRole('button', { name: 'remove HOUSE_KEY' }).click();
    await page.getByRole('dialog').getByRole('button', { name: 'remove' }).click();
    await expect(page.getByRole('row').filter({ hasText: 'HOUSE_KEY' })).toHaveCount(0);
    await expect
      .poll(async () => {
        const answer = await request.get(`${E2E_URL}/v1/instances/kettle`, { headers });
        const { state, spec } = await answer.json();
        return [state, spec.inherited];
      })
      .toEqual(['ready', { env: { LEAF: 'sencha' } }]);
  });

  await test.step('what it has, and its end', async () => {
    await page.getByRole('link', { name: 'overview' }).click();
    await expect(page.getByRole('list', { name: 'Agents' }).locator('[data-state=ready]')).toBeVisible();
    await look(page, info, 'project');
    await page.getByRole('link', { name: 'settings' }).click();
    await look(page, info, 'project-settings');
    await page.getByRole('textbox', { name: 'Name', exact: true }).fill('green-tea');
    await page.getByRole('button', { name: 'Rename' }).click();
    await expect(page.getByRole('heading', { level: 1 })).toHaveText('green-tea');
    await page.getByRole('button', { name: 'delete the project green-tea' }).click();
    await page.getByRole('dialog').getByRole('button', { name: 'delete' }).click();
    await expect(page.getByRole('heading', { level: 1 })).toHaveText('Projects');
    await expect(page.getByRole('link', { name: 'green-tea' })).toHaveCount(0);
    await expect
      .poll(async () => (await request.get(`${E2E_URL}/v1/instances/kettle`, { headers })).status())
      .toBe(404);
  });

  await request.delete(`${E2E_URL}/v1/users/nao`, { headers });
  expect(seen).toEqual([]);
});

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
    await expect(page.getByText('steep is ready')).toBeVisible();
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
    await page.getByRole('dialog').getByRole('button', { name: 'cancel' }).last().click();
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
    await look(theirs, info, 'billing-viewer');
    await theirs.getByRole('link', { name: 'deployments' }).click();
    await expect(theirs.locator('main [data-state=succeeded]')).toBeVisible();
    await expect(theirs.getByRole('region', { name: 'Deploy a folder' })).toHaveCount(0);
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

test('the keyboard is enough', async ({ page, request }) => {
  needs('E2E_URL', 'E2E_TOKEN');
  await page.goto(await link('operator', request));
  await expect(page.getByRole('button', { name: 'Sign in' })).toBeFocused();
  await page.keyboard.press('Enter');
  await expect(page.getByRole('heading', { level: 1 })).toHaveText('Your agents');
  await page.keyboard.press('Tab');
  await expect(page.getByRole('link', { name: 'To the content' })).toBeFocused();
  for (let at = 0; at < 30; at++) {
    await page.keyboard.press('Tab');
    const focused = page.locator(':focus');
    if ((await focused.textContent())?.trim() === 'New agent') break;
    // Wherever the focus is, it is seen.
    expect(await focused.evaluate((element) => getComputedStyle(element).outlineStyle)).not.toBe('none');
  }
  await page.keyboard.press('Enter');
  await expect(page.getByRole('heading', { level: 1 })).toHaveText('New agent');
});
