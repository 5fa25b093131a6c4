// Journeys in the pages of real agents, which `scripts/test-agents` starts.
import { defineConfig } from '@playwright/test';
import config from './playwright.config.js';

export default defineConfig(config, { testDir: './agents', testIgnore: [], timeout: 900_000 });
