import { expect, test } from 'vitest';
import type { Event } from '$lib/api/types';
import { merge, MOST } from './merge';

const event = (seq: number) => ({ seq }) as Event;
const after = (...seqs: number[]) =>
  seqs
    .map(event)
    .reduce(merge, [])
    .map((one) => one.seq);

test('newest first, each once, whatever order they come in', () => {
  expect(after(1, 2, 3)).toEqual([3, 2, 1]);
  expect(after(3, 1, 2, 3, 1)).toEqual([3, 2, 1]);
});

test('the oldest are forgotten', () => {
  const many = after(...Array.from({ length: MOST + 20 }, (_, seq) => seq));
  expect([many.length, many[0], many.at(-1)]).toEqual([MOST, MOST + 19, 20]);
});
