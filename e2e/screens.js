// What every journey through the dashboard asks of its screens.
import AxeBuilder from '@axe-core/playwright';
import { expect } from '@playwright/test';

const { E2E_URL, E2E_TOKEN } = process.env;

/** What must never be seen on any page. */
export function watch(page) {
  const seen = [];
  page.on('console', (message) => message.type() === 'error' && seen.push(`console: ${message.text()}`));
  page.on('pageerror', (error) => seen.push(`error: ${error}`));
  page.on('request', (request) => {
    const url = request.url();
    if (!url.startsWith(E2E_URL) && !/^(data|blob|ws):/.test(url)) seen.push(`left the origin: ${url}`);
  });
  return seen;
}

/** A one-time link for an account. */
export async function link(login, request) {
  const headers = { authorization: `Bearer ${E2E_TOKEN}` };
  const answer = await request.post(`${E2E_URL}/v1/users/${login}/login-link`, { headers });
  expect(answer.status()).toBe(201);
  return (await answer.json()).url;
}

/** The screen in both themes: a picture of each, and nothing that keeps people out. */
export async function look(page, info, name) {
  for (const colorScheme of ['light', 'dark']) {
    await page.emulateMedia({ colorScheme });
    await expect(page.locator('html')).toHaveAttribute('data-theme', colorScheme);
    await page.screenshot({ path: info.outputPath(`${name}-${colorScheme}.png`), fullPage: true });
    // The themes differ in colours alone.
    const axe = new AxeBuilder({ page });
    const { violations } = await (colorScheme === 'light' ? axe : axe.withRules('color-contrast')).analyze();
    const serious = violations.filter((one) => ['serious', 'critical'].includes(one.impact));
    const told = serious.map((one) => `${one.id}: ${one.nodes.map((node) => `${node.html} ${node.failureSummary}`).join(' | ')}`);
    expect(told.join('\n'), `${name}, ${colorScheme}`).toBe('');
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

export const state = (page, name) => page.locator('main').locator(`[data-state="${name}"]`);
