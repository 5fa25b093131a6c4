// Journeys in a real Chromium: Debian's, or the one that RYOKAN_CHROMIUM names. `e2e/run` starts what they visit.
import { defineConfig } from '@playwright/test';

export default defineConfig({
  testDir: '.',
  // Real agents have images of their own: see agents.config.js.
  // And the SDKs of others need no browser: see scripts/interop.
  testIgnore: ['agents/**', 'interop/**'],
  outputDir: 'test-results',
  // One machine, one server: journeys do not race each other.
  workers: 1,
  timeout: 120_000,
  // Bounds for a machine that does other things too; what works does not wait for them.
  expect: { timeout: 30_000 },
  forbidOnly: Boolean(process.env.CI),
  reporter: [['list']],
  use: {
    browserName: 'chromium',
    // A colour on its way from one theme to the other is neither: axe would measure it.
    contextOptions: { reducedMotion: 'reduce' },
    screenshot: 'only-on-failure',
    trace: 'retain-on-failure',
    launchOptions: {
      executablePath: process.env.RYOKAN_CHROMIUM ?? '/usr/bin/chromium',
      args: [
        // Agents run untrusted pages only in tests of our own; root cannot use Chromium's sandbox.
        '--no-sandbox',
        '--disable-gpu',
        '--disable-quic',
        '--no-first-run',
        '--disable-background-networking',
        '--disable-component-update',
        '--disable-sync',
      ],
    },
  },
});
