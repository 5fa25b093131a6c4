// A real agent is started with the mouse: its card, its form, its progress, and then its own address.
//   E2E_LOGIN_URL   a one-time login link
//   E2E_URL         the dashboard
//   E2E_TEMPLATE    which agent; the instance gets that name too
//   E2E_FIELDS      a JSON object: what to fill in, by label
import { expect, test } from '@playwright/test';
import { signIn } from '../session.js';

const { E2E_LOGIN_URL, E2E_URL, E2E_TEMPLATE, E2E_FIELDS } = process.env;

test(`${E2E_TEMPLATE} is started with the mouse`, async ({ page, context }, info) => {
  await signIn(page, E2E_LOGIN_URL);
  await expect(page.getByRole('heading', { level: 1 })).toHaveText('Your agents');
  await page.goto(E2E_URL);
  await page.getByRole('link', { name: 'New agent' }).click();
  await page.getByRole('link', { name: E2E_TEMPLATE, exact: true }).click();
  await page.getByLabel('Name', { exact: true }).fill(E2E_TEMPLATE);
  for (const [label, value] of Object.entries(JSON.parse(E2E_FIELDS))) {
    await page.getByLabel(label, { exact: false }).fill(value);
  }
  await page.screenshot({ path: info.outputPath('form.png'), fullPage: true });
  await page.getByRole('button', { name: 'Create' }).click();
  await expect(page.getByRole('region', { name: 'Progress' }).getByText('Ready')).toBeVisible({ timeout: 300_000 });
  await page.screenshot({ path: info.outputPath('ready.png'), fullPage: true });
  const [agent] = await Promise.all([
    context.waitForEvent('page'),
    page.getByRole('link', { name: `Open ${E2E_TEMPLATE}` }).click(),
  ]);
  await agent.waitForLoadState();
  expect(new URL(agent.url()).hostname).toBe(`${E2E_TEMPLATE}.localhost`);
  await agent.screenshot({ path: info.outputPath('opened.png') });
});
