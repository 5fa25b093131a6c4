// The newest events, newest first. A stream that is taken up again may tell one twice, and a page of old ones may come
// after new ones; here each is once, in order, and no more than can be looked at.
import type { Event } from '$lib/api/types';

export const MOST = 500;

export function merge(events: Event[], event: Event): Event[] {
  const at = events.findIndex((one) => one.seq <= event.seq);
  if (at >= 0 && events[at]?.seq === event.seq) return events;
  const merged = at < 0 ? [...events, event] : [...events.slice(0, at), event, ...events.slice(at)];
  return merged.length > MOST ? merged.slice(0, MOST) : merged;
}
