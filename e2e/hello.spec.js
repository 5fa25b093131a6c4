// The first journey of a newcomer: sign in by the one-time link, open the agent, see that it lives.
//   E2E_AGENT_URL   where the hello agent is
//   E2E_AGENT_PATH  the same agent under a path prefix, where wildcard names cannot be had (optional)
//   E2E_LOGIN_URL   the one-time login link (optional: without it the agent is visited as it is)
//   E2E_AGENT_NAME  what the agent should call itself (optional)
import { expect, test } from '@playwright/test';
import { needs } from './needs.js';
import { signIn } from './session.js';

const { E2E_AGENT_URL, E2E_AGENT_PATH, E2E_LOGIN_URL, E2E_AGENT_NAME } = process.env;

/** Everything that the page shows must work, and nothing may be said on its console. */
async function meetTheAgent(page, url) {
  const complaints = [];
  const ours = (message) => message.type() === 'error' && message.location().url.startsWith(url);
  page.on('console', (message) => ours(message) && complaints.push(message.text()));
  page.on('pageerror', (error) => complaints.push(String(error)));

  await page.goto(url);
  await expect(page.getByRole('heading', { level: 1 })).toContainText('Hello, I am');
  if (E2E_AGENT_NAME) await expect(page.locator('#name')).toHaveText(E2E_AGENT_NAME);

  await expect(page.locator('#ws-state')).toHaveText('open');
  for (const text of ['konnichiwa', '<b>旅館</b>']) {
    await page.locator('#ws-input').fill(text);
    await page.locator('#ws-send').click();
    await expect(page.locator('#ws-log li').first()).toHaveText(text);
  }

  // The clock ticks: three events in order, none lost. Recorded in the page, since a busy machine may look too seldom.
  const clock = page.locator('#clock');
  await expect(clock).toHaveAttribute('data-id', /\d+/);
  const ticks = await clock.evaluate(
    (element) =>
      new Promise((done) => {
        const seen = [Number(element.dataset.id)];
        new MutationObserver(() => {
          const id = Number(element.dataset.id);
          if (id !== seen.at(-1) && seen.push(id) === 3) done(seen);
        }).observe(element, { attributeFilter: ['data-id'] });
      }),
  );
  expect(ticks).toEqual([ticks[0], ticks[0] + 1, ticks[0] + 2]);

  expect(complaints).toEqual([]);
}

test('a newcomer signs in and meets the agent', async ({ page }, info) => {
  needs('E2E_AGENT_URL');
  if (E2E_LOGIN_URL) {
    const response = await page.goto(E2E_LOGIN_URL);
    expect(response?.status()).toBe(200);
    // Following the link does not use it up (previews follow links, too); the button does.
    await page.screenshot({ path: info.outputPath('login.png') });
    await page.getByRole('button', { name: 'Sign in' }).click();
    await expect(page.getByRole('heading', { level: 1 })).toHaveText('Your agents');
    await page.screenshot({ path: info.outputPath('agents.png') });
  }
  await meetTheAgent(page, E2E_AGENT_URL);
  await page.screenshot({ path: info.outputPath('agent.png') });
  await page.emulateMedia({ colorScheme: 'dark' });
  await page.screenshot({ path: info.outputPath('agent-dark.png') });

  // Under a path the page shares the dashboard's origin, so it is shown in a sandbox that has none.
  if (E2E_AGENT_PATH) {
    const response = await page.goto(E2E_AGENT_PATH);
    expect(response?.headers()['content-security-policy']).toContain('sandbox');
    await expect(page.getByRole('heading', { level: 1 })).toContainText('Hello, I am');
    expect(await page.evaluate(() => window.origin)).toBe('null');
  }
});

test('the one-time link opens once', async ({ browser }) => {
  needs('E2E_LOGIN_URL');
  const context = await browser.newContext();
  const page = await context.newPage();
  await signIn(page, E2E_LOGIN_URL);
  await expect(page.getByRole('alert')).toContainText('used already');
  await expect(page.getByLabel('Password')).toBeVisible();
  expect(await context.cookies()).toEqual([]);
  await context.close();
});
