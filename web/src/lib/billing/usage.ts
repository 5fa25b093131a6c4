// Usage by step, with the steps in which there was none.
import type { UsageSum } from '$lib/api/types';

const HOUR = 3_600_000;

export const SPANS = {
  hour: { milliseconds: HOUR, steps: 48, words: 'two days, by hour' },
  day: { milliseconds: 24 * HOUR, steps: 30, words: 'thirty days, by day' },
} as const;

export type Step = keyof typeof SPANS;

/** The time of the first step that is shown. */
export function from(step: Step, now: number): number {
  const { milliseconds, steps } = SPANS[step];
  return (Math.floor(now / milliseconds) - steps + 1) * milliseconds;
}

/** The same, for people: the day, and the time where it matters. */
export const begin = (step: Step, now: number): string =>
  new Date(from(step, now)).toLocaleString('en-GB', {
    day: 'numeric',
    month: 'short',
    ...(step === 'hour' ? { hour: '2-digit', minute: '2-digit' } : {}),
  });

export interface Row {
  name: string;
  unit: string;
  of: (sum: UsageSum) => number;
}

export const ROWS: Row[] = [
  { name: 'Processor', unit: 'core hours', of: (sum) => sum.cpu_millis / HOUR },
  { name: 'Memory', unit: 'GB hours', of: (sum) => sum.memory_mb_seconds / 3_600_000 },
  { name: 'Disk', unit: 'GB hours', of: (sum) => sum.disk_mb_seconds / 3_600_000 },
  { name: 'Network', unit: 'GB', of: (sum) => sum.network_bytes / 1e9 },
  { name: 'GPU', unit: 'GPU hours', of: (sum) => sum.gpu_millis / HOUR },
  { name: 'Charged', unit: 'sat', of: (sum) => sum.microsats / 1e6 },
];

/** One value a step. What is not told was not used. */
export function filled(sums: UsageSum[], step: Step, now: number, of: Row['of']): number[] {
  const { milliseconds, steps } = SPANS[step];
  const first = from(step, now);
  const values = new Array<number>(steps).fill(0);
  for (const sum of sums) {
    const at = Math.floor((sum.start - first) / milliseconds);
    if (at >= 0 && at < steps) values[at] = (values[at] ?? 0) + of(sum);
  }
  return values;
}

/** The months that there may be an invoice of, the newest first: `2026-11`. */
export function months(since: number, now: number): string[] {
  const found: string[] = [];
  const [first, last] = [new Date(since), new Date(now)];
  let [year, month] = [last.getUTCFullYear(), last.getUTCMonth()];
  while (
    found.length < 240 &&
    (year > first.getUTCFullYear() || (year === first.getUTCFullYear() && month >= first.getUTCMonth()))
  ) {
    found.push(`${year}-${String(month + 1).padStart(2, '0')}`);
    month -= 1;
    if (month < 0) [year, month] = [year - 1, 11];
  }
  return found;
}
