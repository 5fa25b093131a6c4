// The balance over time, out of the lines of the statement.
import type { LedgerLine } from '$lib/api/types';
import { from, SPANS, type Step } from './usage';

/**
 * What the balance was at the end of each step; the last one is now. `lines` begin with the newest. Before the oldest
 * line there was nothing, unless there are `more` lines: then nobody knows here.
 */
export function balances(
  lines: LedgerLine[],
  more: boolean,
  step: Step,
  now: number,
): (number | undefined)[] {
  const { milliseconds, steps } = SPANS[step];
  const first = from(step, now);
  const values: (number | undefined)[] = [];
  let at = 0;
  for (let n = steps - 1; n >= 0; n--) {
    const end = first + (n + 1) * milliseconds;
    // What is later than now is only a clock that differs from the server's.
    while (n < steps - 1 && at < lines.length && lines[at]!.at >= end) at += 1;
    values.push(lines[at]?.balance_after ?? (more ? undefined : 0));
  }
  return values.reverse();
}
