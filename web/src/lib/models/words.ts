// Usage of models by day, what a model can do, and budgets, as people read them.
import type { ModelUsage, Period, Provider, ProviderModel } from '$lib/api/types';
import { bytes, count } from '$lib/format';
import type { Tone } from '$lib/ui/tone';

const DAY = 86_400_000;

/** How many days are shown. */
export const SPANS: [number, string][] = [
  [7, 'a week'],
  [30, 'thirty days'],
  [90, 'ninety days'],
];

export const PERIODS: [Period, string][] = [
  ['day', 'a day'],
  ['month', 'a month'],
  ['total', 'in all'],
];

export const tokens = (one: ModelUsage) => one.tokens.input + one.tokens.output;

/** One value a day, the last one today, by UTC. What is not told was not used. */
export function daily(
  rows: ModelUsage[],
  days: number,
  now: number,
  of: (one: ModelUsage) => number,
): number[] {
  const first = Math.floor(now / DAY) - days + 1;
  const values = new Array<number>(days).fill(0);
  for (const row of rows) {
    const at = Math.floor(row.day / DAY) - first;
    if (at >= 0 && at < days) values[at] = (values[at] ?? 0) + of(row);
  }
  return values;
}

/** The day on which so many days begin. */
export const begin = (days: number, now: number): string =>
  new Date((Math.floor(now / DAY) - days + 1) * DAY).toLocaleDateString('en-GB', {
    day: 'numeric',
    month: 'short',
    timeZone: 'UTC',
  });

/** A UTC day. */
export const date = (day: number): string =>
  new Date(day).toLocaleDateString('en-GB', { dateStyle: 'medium', timeZone: 'UTC' });

/** How a provider does. */
export function state(one: Provider): { tone: Tone; word: string } {
  if (!one.enabled) return { tone: 'quiet', word: 'off' };
  if (one.problem) return { tone: 'bad', word: 'does not answer' };
  return one.checked_at ? { tone: 'good', word: 'answers' } : { tone: 'busy', word: 'not asked yet' };
}

/** What a model can do, as far as anybody says. */
export function abilities({ capabilities: can }: Pick<ProviderModel, 'capabilities'>): string {
  return [
    can.context != null && `${count(can.context)} tokens of context`,
    can.max_output != null && `${count(can.max_output)} of output`,
    can.tools && 'tools',
    can.images && 'images',
    can.embeddings && 'embeddings',
    can.bytes != null && bytes(can.bytes),
  ]
    .filter(Boolean)
    .join(', ');
}
