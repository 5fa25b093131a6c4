// What becomes of a question, and who may answer it.
import type { Approval, ApprovalState, Role } from '$lib/api/types';
import { reaches } from '$lib/projects/roles';
import type { Tone } from '$lib/ui/tone';

export const TONES: Record<ApprovalState, Tone> = {
  open: 'busy',
  granted: 'good',
  refused: 'bad',
  expired: 'quiet',
};

/** For how long a question may be granted; the longest is the server's. */
export const TIMES = [
  ['5m', '5 minutes'],
  ['15m', '15 minutes'],
  ['1h', 'an hour'],
  ['8h', '8 hours'],
  ['24h', 'a day'],
] as const;

/** Who could write the rule answers: for the level that did not allow it. */
export function mayAnswer(one: Pick<Approval, 'level'>, role: Role | undefined, operator: boolean): boolean {
  if (operator) return true;
  if (one.level === 'system') return false;
  return reaches(role, one.level === 'project' ? 'admin' : 'developer');
}

export const ANSWERS: Record<Approval['level'], string> = {
  system: 'Operators answer this.',
  project: 'Admins of the project answer this.',
  instance: 'Developers of the project answer this.',
};
