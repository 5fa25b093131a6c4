// Rules and verdicts as people read them.
import type { PolicyEffect, PolicyLevel, PolicyVerdict, Rule } from '$lib/api/types';
import { moment } from '$lib/format';
import type { Tone } from '$lib/ui/tone';

export const VERDICTS: Record<PolicyVerdict, { word: string; tone: Tone }> = {
  allow: { word: 'allowed', tone: 'good' },
  deny: { word: 'denied', tone: 'bad' },
  ask: { word: 'to be asked', tone: 'busy' },
};

export const EFFECTS: Record<PolicyEffect, { tone: Tone; means: string }> = {
  allow: { tone: 'good', means: 'allow: if nothing above forbids it' },
  deny: { tone: 'bad', means: 'deny: whatever else there is' },
  ask: { tone: 'busy', means: 'ask: a person grants it for a time' },
  delegate: { tone: 'quiet', means: 'delegate: left to the levels below' },
};

export const LEVELS: PolicyLevel[] = ['system', 'project', 'instance'];

/** What a rule is about, besides its action. */
export function resources(rule: Pick<Rule, 'resources'>): string {
  const { methods, schemes, hosts, ports, paths, addresses, names } = rule.resources;
  const lists = [methods, schemes, hosts, ports?.map((port) => `port ${port}`), paths, addresses, names];
  const said = lists.filter((list) => list && list.length > 0).map((list) => list?.join(', '));
  return said.length > 0 ? said.join(' · ') : 'everything';
}

/** `instance:ID`, as subjects and actors are told, with the name where that is known. */
export function named(who: string, names: Map<string, string>): string {
  const [kind, id] = who.split(':');
  return id === undefined ? who : `${kind} ${names.get(id) ?? id}`;
}

/** When it counts; empty for always. */
export function conditions(rule: Pick<Rule, 'conditions'>): string {
  const { window, tainted, budget, until } = rule.conditions;
  const said: string[] = [];
  if (until != null) said.push(`until ${moment(until)}`);
  if (window) {
    const days = window.days && window.days.length > 0 ? `${window.days.join(', ')} ` : '';
    said.push(`${days}${window.from} to ${window.to}${window.zone ? ` (${window.zone})` : ''}`);
  }
  if (tainted != null)
    said.push(
      tainted ? 'once it has read what nobody vouches for' : 'until it reads what nobody vouches for',
    );
  if (budget) said.push(`while ${budget.at_least} of ${budget.name} are left`);
  return said.join('; ');
}
