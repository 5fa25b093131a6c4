// From samples, some of which count from the container's start, to what a plot shows.
import type { Stats } from '$lib/api/types';

export const KEPT = 120;

export interface Point {
  cpu: number;
  memory: number;
  received: number;
  sent: number;
  read: number;
  written: number;
}

/** What happened between two samples, by the second. A counter that began anew counts as nothing. */
export function point(before: Stats | undefined, now: Stats): Point {
  const seconds = before ? (now.at - before.at) / 1000 : 0;
  const rate = (of: (stats: Stats) => number) =>
    before && seconds > 0 ? Math.max(0, of(now) - of(before)) / seconds : 0;
  return {
    cpu: now.cpu_percent,
    memory: now.memory_bytes,
    received: rate((stats) => stats.network_rx_bytes),
    sent: rate((stats) => stats.network_tx_bytes),
    read: rate((stats) => stats.block_read_bytes),
    written: rate((stats) => stats.block_write_bytes),
  };
}

/** A round figure that is not below any of the values: 1, 2 or 5 times a power of ten. */
export function ceiling(values: number[], least: number): number {
  const most = Math.max(least, ...values);
  const power = 10 ** Math.floor(Math.log10(most));
  return [1, 2, 5, 10].map((step) => step * power).find((step) => step >= most) ?? most;
}
