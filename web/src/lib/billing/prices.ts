// What the project pays for what it uses, row by row.
import type { Rates } from '$lib/api/types';

/** Five minutes, in thirty days. */
const INTERVALS = 12 * 24 * 30;

export const RATES: { field: keyof Rates; name: string; timed: boolean }[] = [
  { field: 'core', name: 'A core', timed: true },
  { field: 'memory_gb', name: 'A GB of memory', timed: true },
  { field: 'disk_gb', name: 'A GB of disk', timed: true },
  { field: 'gpu', name: 'A GPU', timed: true },
  { field: 'network_gb', name: 'A GB over the network', timed: false },
];

/** What thirty days of it come to; nothing of the kind where time does not count. */
export const monthly = (rates: Rates, { field, timed }: (typeof RATES)[number]) =>
  timed ? rates[field] * INTERVALS : undefined;
