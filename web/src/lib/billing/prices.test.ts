import { expect, test } from 'vitest';
import { monthly, RATES } from './prices';

const rates = { core: 1000, memory_gb: 500, disk_gb: 10, network_gb: 200, gpu: 20_000 };

test('thirty days of a core are 8640 times five minutes, and a gigabyte that went by is no time', () => {
  expect(RATES.map((row) => monthly(rates, row))).toEqual([
    8_640_000,
    4_320_000,
    86_400,
    172_800_000,
    undefined,
  ]);
});
