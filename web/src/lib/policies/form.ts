// A rule as its form has it, and as the API wants it: what was left empty is left out.
import type { CreateRule, PolicyEffect, PolicyLevel } from '$lib/api/types';
import { entries } from '$lib/format';
import { networked } from './actions';

export interface Draft {
  level: PolicyLevel;
  instance: string;
  effect: PolicyEffect;
  action: string;
  hosts: string;
  methods: string;
  paths: string;
  ports: string;
  addresses: string;
  names: string;
  subject: string;
  /** As `datetime-local` has it: the time of who looks. */
  until: string;
  tainted: boolean;
  note: string;
}

export const empty = (level: PolicyLevel): Draft => ({
  level,
  instance: '',
  effect: 'allow',
  action: 'egress.*',
  hosts: '',
  methods: '',
  paths: '',
  ports: '',
  addresses: '',
  names: '',
  subject: '',
  until: '',
  tainted: false,
  note: '',
});

/** Where a path or a method can be told: requests, not connections. */
export const looksInside = (action: string) => ['egress.request', 'web.fetch'].includes(action);

export function rule(draft: Draft, project?: string): CreateRule {
  const network = networked(draft.action);
  // What is not asked for this action is not said of it, whatever was typed before.
  const named = !network || draft.action === '*';
  const inside = looksInside(draft.action);
  const lists = {
    hosts: network ? entries(draft.hosts) : [],
    ports: network ? entries(draft.ports) : [],
    addresses: network ? entries(draft.addresses) : [],
    methods: inside ? entries(draft.methods.toUpperCase()) : [],
    paths: inside ? entries(draft.paths) : [],
    names: named ? entries(draft.names) : [],
  };
  const resources = Object.fromEntries(Object.entries(lists).filter(([, list]) => list.length > 0));
  const conditions = {
    ...(draft.until ? { until: new Date(draft.until).getTime() } : {}),
    ...(draft.tainted ? { tainted: true } : {}),
  };
  return {
    level: draft.level,
    ...(draft.level === 'project' ? { project } : {}),
    ...(draft.level === 'instance' ? { instance: draft.instance } : {}),
    effect: draft.effect,
    action: draft.action,
    resources,
    conditions,
    ...(draft.subject.trim() ? { subject: draft.subject.trim() } : {}),
    ...(draft.note.trim() ? { note: draft.note.trim() } : {}),
  } as CreateRule;
}
