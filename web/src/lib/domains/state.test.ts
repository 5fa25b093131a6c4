import { expect, test } from 'vitest';
import type { Domain } from '$lib/api/types';
import { again, tone, wanting } from './state';

const now = 1_000_000;
const domain = (more: Partial<Domain>) => ({ state: 'pending', ...more }) as Domain;

test('it is looked at again when something is due, and never at once', () => {
  expect(again([], now)).toBe(60_000);
  expect(again([domain({ next_check: now + 30_000 })], now)).toBe(32_000);
  // Checks are late on a busy server: it is not asked without a pause.
  expect(again([domain({ next_check: now - 90_000 })], now)).toBe(2000);
  expect(again([domain({ state: 'active', next_check: now + 86_400_000 })], now)).toBe(60_000);
  expect(again([domain({ state: 'failed', next_check: null })], now)).toBe(60_000);
});

test('the soonest of all counts, and what the gateway takes up is soonest', () => {
  const waiting = domain({ next_check: now + 30_000 });
  const proven = domain({ state: 'verified', next_check: now + 86_400_000 });
  expect(again([waiting, proven, domain({ state: 'failed' })], now)).toBe(1000);
});

test('one that is served with a reason needs somebody', () => {
  const served = domain({ state: 'active' });
  const failing = domain({ state: 'active', reason: 'the TXT record is gone' });
  expect([tone(served), wanting(served)]).toEqual(['good', false]);
  expect([tone(failing), wanting(failing)]).toEqual(['busy', true]);
  expect([tone(domain({ state: 'failed' })), wanting(domain({ state: 'failed' }))]).toEqual(['bad', true]);
});
