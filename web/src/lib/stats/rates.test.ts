import { expect, test } from 'vitest';
import type { Stats } from '$lib/api/types';
import { ceiling, point } from './rates';

const sample = (at: number, received: number) =>
  ({
    at,
    cpu_percent: 3,
    memory_bytes: 5,
    network_rx_bytes: received,
    network_tx_bytes: 0,
    block_read_bytes: 0,
    block_write_bytes: 0,
  }) as Stats;

test('counters become rates', () => {
  expect(point(undefined, sample(0, 500)).received).toBe(0);
  expect(point(sample(1000, 500), sample(3000, 1500)).received).toBe(500);
  expect(point(sample(1000, 500), sample(2000, 0)).received).toBe(0);
  expect(point(sample(1000, 0), sample(1000, 9)).received).toBe(0);
});

test('the top of a plot is a round figure', () => {
  expect([
    ceiling([], 1),
    ceiling([3, 4.2], 1),
    ceiling([100], 1),
    ceiling([1001], 1),
    ceiling([0.3], 0.01),
  ]).toEqual([1, 5, 100, 2000, 0.5]);
});
