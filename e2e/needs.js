import { test } from '@playwright/test';

/** Skips a journey that lacks what it needs; where skips are refused, fails it. */
export function needs(...names) {
  for (const name of names) {
    if (!process.env[name] && process.env.RYOKAN_REFUSE_SKIPS) throw new Error(`${name} is not set`);
    test.skip(!process.env[name], `${name} is not set`);
  }
}
