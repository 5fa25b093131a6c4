import { expect, test } from 'vitest';
import type { UsageSum } from '$lib/api/types';
import { filled, from, months, ROWS } from './usage';

const HOUR = 3_600_000;
const now = Date.UTC(2026, 10, 21, 22, 30);
const sum = (start: number, cpu_millis: number) => ({ start, cpu_millis }) as UsageSum;
const cpu = ROWS[0]!.of;

test('steps without usage are there, and the last is the present one', () => {
  expect(from('hour', now)).toBe(Date.UTC(2026, 10, 19, 23));
  const values = filled(
    [sum(Date.UTC(2026, 10, 21, 22), 2 * HOUR), sum(now - 3 * HOUR, HOUR)],
    'hour',
    now,
    cpu,
  );
  expect([values.length, values[47], values[46], values[44]]).toEqual([48, 2, 0, 1]);
});

test('what is outside the plot is not in it', () => {
  const values = filled([sum(from('day', now) - 1, HOUR), sum(now + 25 * HOUR, HOUR)], 'day', now, cpu);
  expect(values).toEqual(new Array(30).fill(0));
});

test('months from the first to this one, over the turn of a year', () => {
  expect(months(Date.UTC(2025, 10, 30), Date.UTC(2026, 1, 1))).toEqual([
    '2026-02',
    '2026-01',
    '2025-12',
    '2025-11',
  ]);
  expect(months(now, now)).toEqual(['2026-11']);
});
