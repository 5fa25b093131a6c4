import { expect, test } from 'vitest';
import type { LedgerLine } from '$lib/api/types';
import { balances } from './balance';

const HOUR = 3_600_000;
const now = Date.UTC(2026, 10, 21, 22, 30);
const line = (at: number, balance_after: number) => ({ at, balance_after }) as LedgerLine;

test('each step ends with the last line before its end, and the last is now', () => {
  const lines = [
    line(now - 60_000, 70),
    line(now - HOUR, 80),
    line(now - HOUR - 1, 90),
    line(now - 3 * HOUR, 100),
  ];
  const values = balances(lines, false, 'hour', now);
  expect(values.length).toBe(48);
  expect(values.slice(-5)).toEqual([0, 100, 100, 80, 70]);
  expect(new Set(values.slice(0, -4))).toEqual(new Set([0]));
});

test('a line at the very turn of a step belongs to the next one', () => {
  const turn = Date.UTC(2026, 10, 21, 22);
  expect(balances([line(turn, 5)], false, 'hour', now).slice(-2)).toEqual([0, 5]);
  expect(balances([line(turn - 1, 5)], false, 'hour', now).slice(-2)).toEqual([5, 5]);
});

test('what is before the lines that are known is not made up', () => {
  const values = balances([line(now - HOUR, -3)], true, 'hour', now);
  expect(values.slice(-3)).toEqual([undefined, -3, -3]);
});

test('without lines there never was anything, and a clock ahead of ours hides nothing', () => {
  expect(balances([], false, 'day', now)).toEqual(new Array(30).fill(0));
  expect(balances([line(now + 2 * HOUR, 7)], false, 'hour', now).at(-1)).toBe(7);
});
