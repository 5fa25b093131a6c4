// What an event says to a person.
import type { Event } from '$lib/api/types';

/** "instance.stop_requested" is "stop requested"; the noun is left out where all are about the same thing. */
export const said = (event: Event) =>
  event.kind.split('.').slice(1).join(' ').replaceAll('_', ' ') || event.kind;

export function detail(event: Event): string {
  const data = (event.data ?? {}) as Record<string, unknown>;
  const text = (name: string) => (typeof data[name] === 'string' ? (data[name] as string) : '');
  if (event.kind === 'instance.exec') return Array.isArray(data.command) ? data.command.join(' ') : '';
  return text('message') || text('path') || text('error') || text('reason');
}
