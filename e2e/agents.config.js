// Journeys in the pages of real agents, which `scripts/test-agents` starts.
import { defineConfig } from '@playwright/test';
import config from './playwright.config.js';

export default defineConfig(config, {
  testDir: './agents',
  testIgnore: [],
  // Playwright empties this folder first; the other journeys may be running.
  outputDir: 'test-results-agents',
  timeout: 900_000,
});
