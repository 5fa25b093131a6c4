// OpenClaw's Control UI through the gateway: nobody pastes a token, nobody approves a device, and a crash costs seconds.
//   E2E_LOGIN_URL   a one-time login link
//   E2E_AGENT_URL   where the agent is
//   E2E_CRASH       a command that kills the agent's processes
import { execSync } from 'node:child_process';
import { expect, test } from '@playwright/test';
import { signIn } from '../session.js';

const { E2E_LOGIN_URL, E2E_AGENT_URL, E2E_CRASH } = process.env;

// Many times what it takes on an idle machine; on a busy one a first turn takes minutes.
const TURN = 240_000;

/** The box in which one writes, once the page is connected. */
const composer = (page) => page.getByRole('textbox', { name: 'Chat composer' });

/** Says `ping-WORD` in the chat and waits for the model's answer, which has the word backwards. */
async function talk(page, word) {
  const box = composer(page);
  await expect(box).toBeEnabled({ timeout: TURN });
  await box.fill(`please ping-${word}`);
  await box.press('Enter');
  await expect(page.getByText(`pong-${[...word].reverse().join('')}`).first()).toBeVisible({ timeout: TURN });
}

test('a signed-in user chats in the Control UI, also after a crash', async ({ page }, info) => {
  const sockets = [];
  page.on('websocket', (socket) => sockets.push(socket));
  await signIn(page, E2E_LOGIN_URL);
  await expect(page.getByRole('heading', { level: 1 })).toHaveText('Your agents');

  await page.goto(E2E_AGENT_URL);
  await expect.poll(() => sockets.length, { timeout: 30_000 }).toBeGreaterThan(0);
  await expect(composer(page)).toBeEnabled({ timeout: TURN });
  await page.screenshot({ path: info.outputPath('opened.png') });
  for (const complaint of [/pairing required/i, /origin not allowed/i, /unauthorized/i]) {
    await expect(page.getByText(complaint)).toHaveCount(0);
  }
  await talk(page, 'konnichiwa');
  await page.screenshot({ path: info.outputPath('answered.png') });

  if (E2E_CRASH) {
    execSync(E2E_CRASH);
    // The gateway's page for an agent that starts reloads itself until the agent is back.
    await expect(async () => {
      const answer = await page.goto(E2E_AGENT_URL);
      expect(answer?.status()).toBe(200);
    }).toPass({ timeout: TURN });
    await talk(page, 'ryokan');
    await page.screenshot({ path: info.outputPath('after-crash.png') });
  }
});
