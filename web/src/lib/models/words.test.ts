import { expect, test } from 'vitest';
import type { ModelUsage, Provider } from '$lib/api/types';
import { abilities, begin, daily, state, tokens } from './words';

const DAY = 86_400_000;
const row = (day: number, input: number, output: number) =>
  ({ day: day * DAY, tokens: { input, output, cached: 0 } }) as ModelUsage;

test('days without calls are there, and what is before them is not', () => {
  const now = 100 * DAY + 5;
  const rows = [row(100, 1, 2), row(100, 4, 0), row(98, 5, 5), row(97, 9, 9)];
  expect(daily(rows, 3, now, tokens)).toEqual([10, 0, 7]);
  expect(begin(3, Date.UTC(2026, 10, 22, 23))).toBe('20 Nov');
});

test('a provider that is off is not told to be broken', () => {
  const one = { enabled: true, problem: null, checked_at: 1 } as Provider;
  expect(state(one).word).toBe('answers');
  expect(state({ ...one, problem: 'refused' }).tone).toBe('bad');
  expect(state({ ...one, problem: 'refused', enabled: false }).word).toBe('off');
});

test('what nobody says of a model is not told', () => {
  const nothing = {
    bytes: null,
    context: null,
    embeddings: null,
    images: null,
    max_output: null,
    tools: null,
  };
  expect(abilities({ capabilities: nothing })).toBe('');
  expect(abilities({ capabilities: { ...nothing, context: 4096, tools: true, images: false } })).toBe(
    '4,096 tokens of context, tools',
  );
});
