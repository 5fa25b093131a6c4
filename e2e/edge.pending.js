// Not run by Playwright yet (its name ends otherwise): it hangs at its first form against the embedded dashboard, and passes
// against one served by vite. Why is the first thing to find out.
// What agents ask for beyond their room, and what people decide about it: credentials, rules, the audit, approvals and
// models, as their users meet them.
//   E2E_URL          the dashboard of a server
//   E2E_TOKEN        an operator's token
//   E2E_SHELL_IMAGE  a local image with a shell
import { expect, test } from '@playwright/test';
import { spawn } from 'node:child_process';
import { needs } from './needs.js';
import { link, look, state, watch } from './screens.js';
import { signIn } from './session.js';

const { E2E_URL, E2E_TOKEN, E2E_SHELL_IMAGE } = process.env;

/** Fields of a form by the beginning of their labels. A label around a choice holds the words of the choices, too. */
const text = (form, name) => form.getByRole('textbox', { name: new RegExp(`^${name}`) });
const choice = (form, name) => form.getByRole('combobox', { name: new RegExp(`^${name}`) });
const secret = (form) => form.locator('input[type=password]');

/** A model on loopback, until it is told to end. */
async function model(key) {
  const env = { ...process.env, FAKE_MODEL_KEY: key, FORCE_COLOR: '0' };
  const child = spawn(process.execPath, ['model.js', '127.0.0.1'], { env, stdio: ['ignore', 'pipe', 'inherit'] });
  const port = await new Promise((resolve, reject) => {
    child.once('error', reject).once('exit', () => reject(new Error('the model ended')));
    child.stdout.once('data', (text) => resolve(String(text).trim()));
  });
  return { address: `http://127.0.0.1:${port}/v1`, stop: () => child.kill() };
}

test('people decide what leaves a room', async ({ page, request }, info) => {
  needs('E2E_URL', 'E2E_TOKEN', 'E2E_SHELL_IMAGE');
  test.setTimeout(300_000);
  const seen = watch(page);
  const headers = { authorization: `Bearer ${E2E_TOKEN}` };
  const post = (path, data) => request.post(`${E2E_URL}${path}`, { headers, data });
  const tab = (name) => page.getByRole('link', { name, exact: true });
  const sure = (word) => page.getByRole('dialog').getByRole('button', { name: word }).click();
  const KEY = `tea-key-${Date.now()}`;
  const fake = await model(KEY);

  try {
    expect((await post('/v1/projects', { name: 'edge' })).status()).toBe(201);
    const agent = { name: 'wanderer', project: 'edge', image: E2E_SHELL_IMAGE, pull: 'never', memory: '64Mi' };
    const made = await post('/v1/instances', agent);
    expect(made.ok(), await made.text()).toBe(true);
    await signIn(page, await link('operator', request));
    await expect(page.getByRole('heading', { level: 1 })).toHaveText('Your agents');

    await test.step('a credential goes in, and its value never comes out', async () => {
      await page.goto(`${E2E_URL}/projects/edge/credentials`);
      await expect(page.getByText('No credentials yet.')).toBeVisible();
      const form = page.getByRole('form', { name: 'New credential' });
      await text(form, 'Name').fill('forge');
      await choice(form, 'Kind').selectOption('basic');
      await text(form, 'User name').fill('x-access-token');
      await expect(secret(form)).toHaveAttribute('type', 'password');
      await secret(form).fill(KEY);
      await text(form, 'Hosts').fill('http://not a host');
      await form.getByRole('button', { name: 'Add' }).click();
      await expect(form.getByRole('alert')).toBeVisible();
      expect(seen.splice(0).filter((one) => !one.includes('400'))).toEqual([]);
      await text(form, 'Hosts').fill('forge.example *.forge.example');
      await text(form, 'Variable').fill('FORGE_TOKEN');
      await form.getByRole('button', { name: 'Add' }).click();
      const card = page.getByRole('article', { name: 'forge' });
      await expect(card).toContainText('forge.example, *.forge.example');
      await expect(card).toContainText('ryk_cred_');
      await expect(text(form, 'User name')).toHaveValue('');
      await look(page, info, 'credentials');
      await card.getByRole('button', { name: 'rotate forge' }).click();
      const dialog = page.getByRole('dialog');
      await expect(secret(dialog)).toBeFocused();
      await secret(dialog).fill(`${KEY}-2`);
      await look(page, info, 'credential-rotate');
      await dialog.getByRole('button', { name: 'Set it' }).click();
      await expect(dialog).toBeHidden();
      expect(await page.content()).not.toContain(KEY);
      await card.getByRole('button', { name: 'switch forge off' }).click();
      await sure('Switch off');
      await expect(state(page, 'off')).toBeVisible();
      await card.getByRole('button', { name: 'switch forge on' }).click();
      await expect(state(page, 'on')).toBeVisible();
      await card.getByRole('button', { name: 'delete forge' }).click();
      await sure('Delete');
      await expect(page.getByText('No credentials yet.')).toBeVisible();
    });

    await test.step('a dry run says which rule decides, before and after there is one', async () => {
      await tab('egress').click();
      await tab('rules').click();
      const run = page.getByRole('form', { name: 'What would be decided' });
      await choice(run, 'Who').selectOption({ label: 'wanderer' });
      await text(run, 'What').fill('GET https://api.example.com/tea');
      await run.getByRole('button', { name: 'Ask' }).click();
      await expect(state(page, 'denied')).toBeVisible();
      const form = page.getByRole('form', { name: 'New rule' });
      await text(form, 'Hosts').fill('api.example.com');
      await text(form, 'Note').fill('tea is brewed there');
      await form.getByRole('button', { name: 'Add' }).click();
      const rules = page.getByRole('region', { name: 'Rules of the project' });
      await expect(rules).toContainText('tea is brewed there');
      await run.getByRole('button', { name: 'Ask' }).click();
      await expect(state(page, 'allowed')).toBeVisible();
      await expect(run.getByRole('list', { name: 'Level by level' })).toContainText('tea is brewed there');
      await choice(form, 'Of').selectOption('instance');
      await choice(form, 'Effect').selectOption('deny');
      await choice(form, 'Action').selectOption('egress.request');
      await text(form, 'Methods').fill('delete');
      await form.getByRole('button', { name: 'Add' }).click();
      const own = page.getByRole('region', { name: 'Rules of its agents' });
      await expect(own).toContainText('DELETE');
      await expect(own).toContainText('wanderer');
      await look(page, info, 'rules');
      await own.getByRole('button', { name: /^remove deny/ }).click();
      await sure('Remove');
      await expect(own).toContainText('None.');
    });

    await test.step('what an agent asked for is there, with why', async () => {
      await expect
        .poll(async () => (await (await request.get(`${E2E_URL}/v1/instances/wanderer`, { headers })).json()).state)
        .toBe('ready');
      const command = ['/bin/busybox', 'wget', '-O', '-', 'http://hidden.example.com/leaf'];
      expect((await post('/v1/instances/wanderer/exec', { command })).ok()).toBe(true);
      await tab('audit').click();
      const decisions = page.getByRole('region', { name: 'Decisions' });
      await expect(async () => {
        await page.getByRole('button', { name: 'Search' }).click();
        await expect(decisions).toContainText('hidden.example.com', { timeout: 1000 });
      }).toPass({ timeout: 30_000 });
      await expect(decisions).toContainText('wanderer');
      await expect(state(page, 'denied').first()).toBeVisible();
      await look(page, info, 'audit');
      await choice(page, 'Decision').selectOption('allow');
      await page.getByRole('button', { name: 'Search' }).click();
      await expect(decisions).toContainText('Nothing of the kind.');
      await choice(page, 'Decision').selectOption('');
      await choice(page, 'Action').selectOption('');
      await text(page, 'What begins with').fill('GET http://hidden');
      await page.getByRole('button', { name: 'Search' }).click();
      await expect(decisions).toContainText('hidden.example.com');
      const [exported] = await Promise.all([
        page.waitForEvent('download'),
        page.getByRole('link', { name: 'Export' }).click(),
      ]);
      expect(exported.suggestedFilename()).toBe('audit.ndjson');
    });

    await test.step('an agent asks, live, and a person answers', async () => {
      await tab('approvals').click();
      await expect(page.getByText('Nothing is asked.')).toBeVisible();
      await look(page, info, 'approvals-empty');
      const rule = { level: 'project', project: 'edge', effect: 'ask', action: 'egress.request' };
      const asking = { ...rule, resources: { hosts: ['asked.example.com'] } };
      expect((await post('/v1/policies', asking)).status()).toBe(201);
      const get = (path) => {
        const command = ['/bin/busybox', 'wget', '-O', '-', `http://asked.example.com/${path}`];
        return post('/v1/instances/wanderer/exec', { command });
      };
      await get('one');
      // Nobody looked again: the stream of events told it.
      const one = page.getByRole('article', { name: 'GET http://asked.example.com/one' });
      await expect(one).toContainText('instance wanderer');
      await look(page, info, 'approvals');
      await choice(one, 'for how long').selectOption('5m');
      await one.getByRole('button', { name: /^grant/ }).click();
      await expect(state(page, 'granted')).toBeVisible();
      await get('two');
      await tab('Approvals').click();
      await expect(page.getByRole('heading', { level: 1 })).toHaveText('Approvals');
      const two = page.getByRole('article', { name: 'GET http://asked.example.com/two' });
      await two.getByRole('button', { name: /^refuse/ }).click();
      const answered = page.getByRole('region', { name: 'Answered questions' });
      await expect(answered.getByRole('row').filter({ hasText: '/two' }).first()).toContainText('refused');
      await expect(page.getByText('Nothing is asked.')).toBeVisible();
      await look(page, info, 'approvals-answered');
    });

    await test.step('a provider answers, and what it is asked is counted', async () => {
      await tab('System').click();
      await expect(page.getByRole('region', { name: 'Rules of the system' })).toContainText('delegate');
      await look(page, info, 'system-rules');
      await tab('models').click();
      await expect(page.getByText('No providers yet.')).toBeVisible();
      const form = page.getByRole('form', { name: 'New provider' });
      await text(form, 'Name').fill('kettle');
      await choice(form, 'Kind').selectOption('openai');
      await text(form, 'Address').fill(fake.address);
      await secret(form).fill(KEY);
      await form.getByRole('button', { name: 'Add' }).click();
      const card = page.getByRole('article', { name: 'kettle' });
      await expect(state(page, 'answers')).toBeVisible();
      await card.getByText('Its models').click();
      await expect(card.getByRole('list', { name: 'Models of kettle' })).toContainText('fake-1');
      const asked = { model: 'fake-1', messages: [{ role: 'user', content: 'ping-tea' }] };
      const project = { ...headers, 'x-ryokan-project': 'edge' };
      const said = await request.post(`${E2E_URL}/v1/chat/completions`, { headers: project, data: asked });
      expect(said.status(), await said.text()).toBe(200);
      await look(page, info, 'system-models');
      expect(await page.content()).not.toContain(KEY);
      await page.goto(`${E2E_URL}/projects/edge/models`);
      await expect(page.getByRole('region', { name: 'Table of calls' })).toContainText('kettle/fake-1');
      await expect(page.getByRole('region', { name: 'Spend by day and model' })).toContainText('fake-1');
      const budget = page.getByRole('form', { name: 'A budget' });
      await budget.getByLabel('At most').fill('5');
      await budget.getByRole('button', { name: 'Set the budget' }).click();
      await expect(page.getByRole('region', { name: 'Table of budgets' })).toContainText('5 tokens a day');
      await look(page, info, 'models');
      await page.getByRole('button', { name: 'remove the budget of the project' }).click();
      await sure('Remove');
      await expect(page.getByRole('region', { name: 'Table of budgets' })).toContainText('None');
    });

    await test.step('the switch stops all calls of the project', async () => {
      await page.getByRole('button', { name: 'stop edge’s calls' }).click();
      await sure('Stop');
      await expect(state(page, 'stopped')).toBeVisible();
      const project = { ...headers, 'x-ryokan-project': 'edge' };
      const asked = { model: 'fake-1', messages: [{ role: 'user', content: 'ping-tea' }] };
      const refused = await request.post(`${E2E_URL}/v1/chat/completions`, { headers: project, data: asked });
      expect(refused.ok()).toBe(false);
      await look(page, info, 'models-stopped');
      await page.getByRole('button', { name: 'let edge’s calls go on' }).click();
      await expect(state(page, 'let through')).toBeVisible();
    });

    await test.step('the system’s own credentials and audit', async () => {
      await page.goto(`${E2E_URL}/settings/system/credentials`);
      await expect(page.getByText('No credentials yet.')).toBeVisible();
      await tab('audit').click();
      await expect(page.getByRole('region', { name: 'Decisions' })).toContainText('hidden.example.com');
      await look(page, info, 'system-audit');
    });
    expect(seen).toEqual([]);
  } finally {
    fake.stop();
    await request.delete(`${E2E_URL}/v1/providers/kettle`, { headers });
    await request.delete(`${E2E_URL}/v1/projects/edge?cascade=true`, { headers });
  }
});
