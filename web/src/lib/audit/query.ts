// What is asked of the audit. It knows one action or all of them; "egress" is two, which are asked for apart and shown
// as one.
import type { AuditEntry } from '$lib/api/types';

export const EGRESS = 'egress';

export interface Wanted {
  project?: string;
  /** One action, `egress`, or empty for all. */
  action: string;
  decision: string;
  instance: string;
  user: string;
  resource: string;
  /** The last so many milliseconds; 0 for all. */
  span: number;
}

/** One for each request that it takes. */
export function queries(wanted: Wanted, now: number): Record<string, string>[] {
  const said = {
    project: wanted.project ?? '',
    decision: wanted.decision,
    instance: wanted.instance.trim(),
    user: wanted.user.trim(),
    resource: wanted.resource.trim(),
    since: wanted.span > 0 ? String(now - wanted.span) : '',
  };
  const query = Object.fromEntries(Object.entries(said).filter(([, value]) => value !== ''));
  if (wanted.action === EGRESS)
    return ['egress.request', 'egress.connect'].map((action) => ({ ...query, action }));
  return [wanted.action ? { ...query, action: wanted.action } : query];
}

/** Several answers as one, the newest first, at most so many. */
export function merged(pages: { items: AuditEntry[]; more: boolean }[], most: number) {
  const items = pages.flatMap((page) => page.items);
  if (pages.length > 1) items.sort((a, b) => b.at - a.at || (a.id < b.id ? 1 : -1));
  return { items: items.slice(0, most), more: pages.some((page) => page.more) || items.length > most };
}
