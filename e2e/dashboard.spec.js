// The dashboard, as its users meet it: everything by mouse and keyboard, in both themes and on a small screen. No page
// may complain on the console, ask another origin for anything, or be closed to people who cannot see it.
//   E2E_URL          the dashboard
//   E2E_TOKEN        an operator's token, to make one-time links with
//   E2E_SHELL_IMAGE  a local image with a shell, which prints a line each second
//   E2E_DNS          the only name server that the dashboard's server asks: address and port, where a journey may listen
import { expect, test } from '@playwright/test';
import { readFile } from 'node:fs/promises';
import { Names } from './names.js';
import { needs } from './needs.js';
import { link, look, state, watch } from './screens.js';
import { signIn } from './session.js';

const { E2E_URL, E2E_TOKEN, E2E_SHELL_IMAGE, E2E_DNS } = process.env;

test.describe.configure({ mode: 'serial' });

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

test('a project with its members, its variables, its domains and its end', async ({ page, request }, info) => {
  needs('E2E_URL', 'E2E_TOKEN', 'E2E_DNS');
  test.setTimeout(300_000);
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

  await test.step('a domain is added, proven and removed, and the page says so by itself', async () => {
    const names = new Names();
    await names.start(E2E_DNS);
    await page.goto(`${E2E_URL}/agents/kettle`);
    await page.getByRole('link', { name: 'domains' }).click();
    await expect(page.getByText('No domains yet')).toBeVisible();
    const form = page.getByRole('form', { name: 'New domain' });
    await form.getByLabel('Domain').fill('kettle.localhost');
    await form.getByRole('button', { name: 'Add' }).click();
    await expect(form.getByRole('alert')).toContainText('public domain');
    expect(seen.splice(0).filter((one) => !one.includes('400'))).toEqual([]);
    await form.getByLabel('Domain').fill('Kettle.Example.com');
    await form.getByRole('button', { name: 'Add' }).click();
    const card = page.getByRole('article', { name: 'kettle.example.com' });
    // It is looked for at once, and what was found is said without a reload.
    await expect(card.locator('.notice')).toContainText('does not exist');
    await expect(card.locator('[data-state=pending]')).toBeVisible();
    const { items } = await (await request.get(`${E2E_URL}/v1/instances/kettle/domains`, { headers })).json();
    const records = card.getByRole('list', { name: /^Records of which one/ });
    for (const { name, value } of items[0].verification) {
      await expect(records).toContainText(name);
      await expect(records).toContainText(value);
    }
    await page.context().grantPermissions(['clipboard-read', 'clipboard-write'], { origin: E2E_URL });
    const [{ name, value }] = items[0].verification;
    await card.getByRole('button', { name: `copy the value of ${name}` }).click();
    await expect(card.getByText('Copied').first()).toBeVisible();
    expect(await page.evaluate(() => navigator.clipboard.readText())).toBe(value);
    await look(page, info, 'domains-pending');
    names.records.set(name, 'ryokan-verification=other');
    await card.getByRole('button', { name: /^check/ }).click();
    await expect(card.locator('.notice')).toContainText('has another value');
    // Somebody else asks for a check, and the page follows the events.
    names.records.set(name, value);
    const checked = await request.post(`${E2E_URL}/v1/instances/kettle/domains/kettle.example.com/check`, { headers });
    expect((await checked.json()).state).toBe('verified');
    await expect(card.locator('[data-state=active]')).toBeVisible();
    await expect(card.getByRole('link', { name: 'kettle.example.com' })).toHaveAttribute('href', /kettle\.example\.com/);
    await look(page, info, 'domains-active');
    await page.getByRole('link', { name: 'overview' }).click();
    await expect(page.getByRole('link', { name: /kettle\.example\.com/ })).toBeVisible();
    await page.getByRole('link', { name: 'domains' }).click();
    // By keyboard: the dialog has the focus, and gives it back.
    await card.getByRole('button', { name: 'remove kettle.example.com' }).press('Enter');
    await page.keyboard.press('Escape');
    await expect(card.getByRole('button', { name: 'remove kettle.example.com' })).toBeFocused();
    await page.keyboard.press('Enter');
    await page.getByRole('dialog').getByRole('button', { name: 'remove' }).press('Enter');
    await expect(page.getByText('No domains yet')).toBeVisible();
    names.stop();
  });

  await test.step('caps of the project and of one agent are set, seen and removed', async () => {
    await page.goto(`${E2E_URL}/projects/tea`);
    await page.getByRole('link', { name: 'billing' }).click();
    const table = page.getByRole('region', { name: 'Table of caps' });
    await expect(table).toContainText('None: the balance is the only bound');
    const form = page.getByRole('form', { name: 'A cap' });
    const set = async (of, on, during, amount) => {
      await form.getByRole('combobox', { name: /^Of/ }).selectOption(of);
      await form.getByRole('combobox', { name: /^On/ }).selectOption(on);
      await form.getByRole('combobox', { name: /^In/ }).selectOption(during);
      await form.getByLabel('At most, in satoshis').fill(String(amount));
      await form.getByRole('button', { name: 'Set the cap' }).click();
      await expect(form.getByLabel('At most, in satoshis')).toHaveValue('');
    };
    await set('the project', 'compute', 'month', 9_000_000);
    await set('kettle', 'models', 'day', 5000);
    await set('kettle', 'tools', 'total', 70_000);
    const row = (text) => table.getByRole('row').filter({ hasText: text });
    await expect(row('9,000,000 sat a month')).toContainText('the project');
    await expect(row('5,000 sat a day')).toContainText('kettle');
    await expect(row('70,000 sat in all')).toContainText('tools');
    // The same again with another amount is another amount.
    await set('kettle', 'models', 'day', 6000);
    await expect(row('6,000 sat a day')).toBeVisible();
    await expect(table.getByRole('row')).toHaveCount(4);
    await page.getByRole('button', { name: 'remove the cap of kettle for models, a day' }).click();
    await page.getByRole('dialog').getByRole('button', { name: 'remove' }).click();
    await expect(table.getByRole('row')).toHaveCount(3);
    const { items } = await (await request.get(`${E2E_URL}/v1/projects/tea/caps`, { headers })).json();
    expect(items.map((cap) => `${cap.kind} ${cap.period} ${cap.amount}`).sort()).toEqual([
      'compute month 9000000',
      'tools total 70000',
    ]);
    await page.goto(`${E2E_URL}/projects/tea`);
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
